//! Objects that must always be there, made through the front door at every start, and
//! again when somebody has removed them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use model::Object;
use serde_json::Value;

use crate::handle::Handle;
use crate::identity::Identity;
use crate::resource::{Installation, Permanent, Resource};
use crate::state::State;

/// When it is looked for what must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// The server starts, or is somewhere else.
    Begins,
    /// It is where it was: what has been removed is made again, and what others keep is left to them.
    GoesOn,
}

/// How many objects are looked at at once.
const TOGETHER: usize = 32;

/// Makes what the resources say must always be there: what is cluster-wide first, since the rest may
/// live in it.
pub(crate) async fn ensure(state: &State, handle: &Handle, installation: &Installation, occasion: Occasion) {
    let mut failed: BTreeMap<&str, String> = BTreeMap::new();
    let (inside, wide): (Vec<_>, Vec<_>) = state.table.all().into_iter().partition(|r| r.namespaced);
    for resource in wide.iter().chain(&inside) {
        let objects = resource.permanent.as_ref().map(|objects| objects(installation)).unwrap_or_default();
        let each = objects.into_iter().map(|object| ensure_object(handle, resource, object, occasion));
        let outcomes: Vec<_> = futures::stream::iter(each).buffer_unordered(TOGETHER).collect().await;
        let wrong = outcomes.into_iter().filter_map(Result::err).next();
        if let (Some(hook), Some(why)) = (resource.hook, wrong) {
            failed.entry(hook).or_insert(why);
        }
    }
    for hook in state.table.all().iter().filter_map(|resource| resource.hook) {
        state.hooks.note(hook, failed.get(hook).cloned().map_or(Ok(()), Err));
    }
}

async fn ensure_object(
    handle: &Handle,
    resource: &Arc<Resource>,
    permanent: Permanent,
    occasion: Occasion,
) -> Result<(), String> {
    let begins = occasion == Occasion::Begins;
    let (document, kept, reconcile) = match permanent {
        Permanent::Made(document) => (document, false, None),
        Permanent::Kept(document) => (document, begins, None),
        Permanent::AtStart(_, _) if !begins => return Ok(()),
        Permanent::AtStart(document, reconcile) | Permanent::Reconciled(document, reconcile) => {
            (document, false, Some(reconcile))
        }
    };
    let Ok(mut object) = Object::from_value(document) else {
        tracing::error!(?resource, "what must be there is no object");
        return Err("what must be there is no object".to_owned());
    };
    object.set_gvk(&resource.gvk());
    let collection = collection(resource, object.namespace().unwrap_or_default());
    let path = format!("{collection}/{}", object.name());
    // Looked for first: an address that the object holds already is refused to a second one like it.
    let mut found = if kept {
        call(handle, Method::PUT, &path, object.value()).await
    } else {
        call(handle, Method::GET, &path, &Value::Null).await
    };
    if let Some(reconcile) = reconcile
        && found.0.is_success()
        && let Ok(existing) = Object::from_slice(found.1.as_bytes())
        && let Some(changed) = reconcile(&existing, &object)
    {
        found = call(handle, Method::PUT, &path, changed.value()).await;
    }
    let made = match found {
        (code, _) if code.is_success() => return Ok(()),
        (StatusCode::NOT_FOUND, _) => call(handle, Method::POST, &collection, object.value()).await,
        failed => failed,
    };
    if !made.0.is_success() && made.0 != StatusCode::CONFLICT {
        tracing::error!(path, answer = %made.1, "cannot make what must be there");
        return Err(format!("cannot make {path}: {}", made.1));
    }
    Ok(())
}

fn collection(resource: &Resource, namespace: &str) -> String {
    let root = if resource.group.is_empty() { "/api" } else { "/apis" };
    let scope = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
    format!("{root}/{}{scope}/{}", resource.gvk().group_version(), resource.plural)
}

/// Applies something to an object; code and answer where that fails.
pub(crate) async fn apply(handle: &Handle, path: &str, object: &Value) -> Result<(), (StatusCode, String)> {
    let (code, answer) = send(handle, Method::PATCH, path, "application/apply-patch+yaml", object).await;
    if code.is_success() { Ok(()) } else { Err((code, answer)) }
}

/// Changes a part of an object.
pub(crate) async fn merge(handle: &Handle, path: &str, object: &Value) -> (StatusCode, String) {
    send(handle, Method::PATCH, path, "application/merge-patch+json", object).await
}

/// Asks the server itself.
pub(crate) async fn call(
    handle: &Handle,
    method: Method,
    path: &str,
    object: &Value,
) -> (StatusCode, String) {
    send(handle, method, path, "application/json", object).await
}

async fn send(
    handle: &Handle,
    method: Method,
    path: &str,
    kind: &str,
    object: &Value,
) -> (StatusCode, String) {
    answer(handle, request(&method, path, kind, object)).await
}

/// A request of the server's own.
pub(crate) fn request(method: &Method, path: &str, kind: &str, object: &Value) -> Request<Bytes> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::USER_AGENT, "kube-apiserver")
        .header(header::CONTENT_TYPE, kind)
        .body(Bytes::from(object.to_string()))
        .expect("method and path are well formed")
}

/// What is answered to a request of the server's own.
pub(crate) async fn answer(handle: &Handle, request: Request<Bytes>) -> (StatusCode, String) {
    let response = handle.call(request, Identity::server()).await;
    let code = response.status();
    let body = response.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    (code, String::from_utf8_lossy(&body).into_owned())
}
