//! ComponentStatuses: how what the server needs fares. None is stored; Kubernetes has given them up, and says so.
//!
//! The store is all that is asked. Controllers and scheduler are in the server's process, and do not fare by themselves.

use apiserver::request::Verb;
use apiserver::table::{Column, NAME, text};
use apiserver::{Body, Call, Error, Resource, Result};
use base::Timestamp;
use http::Response;
use k8s_openapi::api::core::v1::ComponentStatus;
use model::{GroupVersionKind, Object, Status};
use serde_json::{Value, json};

/// What Kubernetes calls the store.
const STORE: &str = "etcd-0";
const DEPRECATED: &str = "v1 ComponentStatus is deprecated in v1.19+";

pub(crate) fn resource() -> Resource {
    Resource::of::<ComponentStatus>()
        .short(&["cs"])
        .columns(COLUMNS, cells)
        .unstored(&[Verb::Get, Verb::List], handle)
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Status", "Whether it is well."),
    text("Message", "What it says."),
    text("Error", "What is wrong with it."),
];

async fn handle(call: Call) -> Result<Response<Body>> {
    let name = call.name().to_owned();
    if !name.is_empty() && name != STORE {
        let resource = call.resource().group_resource();
        return Err(Error::from(Status::not_found(&resource, &name)));
    }
    let condition = match call.is_store_well().await {
        Ok(()) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Err(why) => json!({"type": "Healthy", "status": "False", "error": why}),
    };
    let mut store = Object::new(&GroupVersionKind::of::<ComponentStatus>(), STORE);
    store.set(&["conditions"], json!([condition]));
    let warnings = [DEPRECATED.to_owned()];
    Ok(match name.as_str() {
        "" => call.answer_list(&[store], &warnings),
        _ => call.answer_one(&store, &warnings),
    })
}

fn cells(object: &Object, _: Timestamp) -> Vec<Value> {
    let conditions = object.get_list(&["conditions"]);
    let healthy = conditions.iter().find(|condition| condition["type"] == "Healthy");
    let said = |name: &str| healthy.and_then(|condition| condition[name].as_str()).unwrap_or_default();
    let status = match said("status") {
        "True" => "Healthy",
        "" => "Unknown",
        _ => "Unhealthy",
    };
    vec![object.name().into(), status.into(), said("message").into(), said("error").into()]
}
