//! Every namespace has a service account named `default`.

use client::{Action, Api, Controller, Error, ObjectKey, Resource as _};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::Context;

const NAME: &str = "default";

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let namespaces = context.informers.of::<Namespace>();
    let accounts = context.informers.of::<ServiceAccount>();
    let (namespace_store, account_store) = (namespaces.store(), accounts.store());
    let client = context.client.clone();
    let of_account = |account: &ServiceAccount| {
        let namespace = account.namespace().unwrap_or_default();
        (account.name() == NAME).then(|| ObjectKey::cluster(namespace)).into_iter().collect()
    };
    let reconcile = move |key: ObjectKey| {
        let (namespaces, accounts, client) = (namespace_store.clone(), account_store.clone(), client.clone());
        async move {
            let gone =
                namespaces.get(&key).is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some());
            if gone || accounts.get(&ObjectKey::new(&key.name, NAME)).is_some() {
                return Ok(Action::Done);
            }
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
            let account = ServiceAccount { metadata, ..ServiceAccount::default() };
            match Api::namespaced(&client, &key.name).create(&account).await {
                Ok(_) | Err(Error::AlreadyExists(_) | Error::NotFound(_) | Error::Forbidden(_)) => {
                    Ok(Action::Done)
                }
                Err(error) => Err(error),
            }
        }
    };
    let controller = Controller::new("serviceaccount", &namespaces).watches(&accounts, of_account);
    controller.run(reconcile, context.stop).await;
}
