//! Every namespace has the certificate by which its pods know the API: the ConfigMap `kube-root-ca.crt`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Context;
use client::{Action, Api, Controller, Error, ObjectKey, Resource as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
/// When to look again at one that somebody else has changed.
const SOON: Duration = Duration::from_millis(50);

/// Runs the controller.
pub(crate) async fn run(context: Context, authority: String) {
    let namespaces = context.informers.of::<Namespace>();
    let config_maps = context.informers.of::<ConfigMap>();
    let (namespace_store, config_map_store) = (namespaces.store(), config_maps.store());
    let client = context.client.clone();
    let of_config_map = |object: &ConfigMap| {
        let namespace = object.namespace().unwrap_or_default();
        (object.name() == NAME).then(|| ObjectKey::cluster(namespace)).into_iter().collect()
    };
    let reconcile = move |key: ObjectKey| {
        let (namespaces, config_maps) = (namespace_store.clone(), config_map_store.clone());
        let (client, authority) = (client.clone(), authority.clone());
        async move {
            if namespaces.get(&key).is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
                return Ok(Action::Done);
            }
            let api: Api<ConfigMap> = Api::namespaced(&client, &key.name);
            let data = BTreeMap::from([(KEY.to_owned(), authority)]);
            let written = match config_maps.get(&ObjectKey::new(&key.name, NAME)) {
                Some(current) if current.data.as_ref() == Some(&data) => return Ok(Action::Done),
                Some(current) => {
                    let mut changed = ConfigMap::clone(&current);
                    changed.data = Some(data);
                    api.update(&changed).await
                }
                None => {
                    let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
                    api.create(&ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }).await
                }
            };
            match written {
                Ok(_) | Err(Error::AlreadyExists(_) | Error::NotFound(_) | Error::Forbidden(_)) => {
                    Ok(Action::Done)
                }
                Err(Error::Conflict(_)) => Ok(Action::After(SOON)),
                Err(error) => Err(error),
            }
        }
    };
    Controller::new("root-ca", &namespaces)
        .watches(&config_maps, of_config_map)
        .run(reconcile, context.stop)
        .await;
}
