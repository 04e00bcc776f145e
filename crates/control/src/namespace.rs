//! The end of namespaces: everything in them goes first.

use std::time::Duration;

use client::api::{DeleteOptions, ListOptions};
use client::{Action, Api, Client, Controller, Error, ObjectKey, Resource as _, ResourceKind};
use k8s_openapi::api::core::v1::Namespace;
use model::Object;
use serde_json::json;

use crate::{Context, kinds};

/// How soon to look again whether everything is gone.
const AGAIN: Duration = Duration::from_millis(200);
/// What keeps a namespace until this controller is done.
const FINALIZER: &str = "kubernetes";

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let namespaces = context.informers.of::<Namespace>();
    let store = namespaces.store();
    let client = context.client.clone();
    let reconcile = move |key: ObjectKey| {
        let (store, client) = (store.clone(), client.clone());
        async move {
            match store.get(&key).filter(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
                Some(namespace) => end(&client, &namespace).await,
                None => Ok(Action::Done),
            }
        }
    };
    Controller::new("namespace", &namespaces).run(reconcile, context.stop).await;
}

/// Deletes what is left; when nothing is, lets the namespace go.
async fn end(client: &Client, namespace: &Namespace) -> Result<Action, Error> {
    let name = namespace.name();
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(Action::Done);
    }
    let mut left = 0;
    for kind in kinds::all(client).await? {
        if kind.resource.namespaced && kind.can("list") && kind.can("delete") {
            left += clear(client, &kind.resource, name).await?;
        }
    }
    // Events may go on arriving; whatever there is of them goes at the end.
    let events = ResourceKind {
        group: "".into(),
        version: "v1".into(),
        kind: "Event".into(),
        plural: "events".into(),
        namespaced: true,
    };
    if left > 0 {
        return Ok(Action::After(AGAIN));
    }
    clear(client, &events, name).await?;
    let rest: Vec<&String> = finalizers.iter().filter(|finalizer| *finalizer != FINALIZER).collect();
    let finalized = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "uid": namespace.uid(), "resourceVersion": namespace.resource_version()},
        "spec": {"finalizers": rest},
    });
    let api: Api<Namespace> = Api::all(client);
    match api.update_subresource::<Namespace>(name, "finalize", &finalized).await {
        Ok(_) | Err(Error::NotFound(_)) => Ok(Action::Done),
        Err(Error::Conflict(_)) => Ok(Action::After(AGAIN)),
        Err(error) => Err(error),
    }
}

/// Deletes all objects of a kind in a namespace; says how many there were.
async fn clear(client: &Client, kind: &ResourceKind, namespace: &str) -> Result<usize, Error> {
    let api = Api::dynamic(client, kind, Some(namespace));
    let found = api.list_all(&ListOptions::default()).await?;
    for object in found.items.iter().filter(|object| !object.is_being_deleted()) {
        delete(&api, object).await?;
    }
    Ok(found.items.len())
}

async fn delete(api: &Api<Object>, object: &Object) -> Result<(), Error> {
    match api.delete(object.name(), &DeleteOptions::default()).await {
        Ok(()) | Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
