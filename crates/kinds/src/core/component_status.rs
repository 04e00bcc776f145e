//! ComponentStatuses: how what the server needs fares. None is stored; Kubernetes has given them up, and says so.
//!
//! The store is all that is asked. Controllers and scheduler are in the server's process, which ends when one of
//! them does: as long as it answers they are well.

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
/// All of them, by name.
const COMPONENTS: [&str; 3] = ["controller-manager", STORE, "scheduler"];
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
    if !name.is_empty() && !COMPONENTS.contains(&name.as_str()) {
        let resource = call.resource().group_resource();
        return Err(Error::from(Status::not_found(&resource, &name)));
    }
    let store = call.is_store_well().await;
    let status = |component: &str| {
        let condition = match &store {
            Err(why) if component == STORE => json!({"type": "Healthy", "status": "False", "error": why}),
            _ => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        };
        let mut status = Object::new(&GroupVersionKind::of::<ComponentStatus>(), component);
        status.set(&["conditions"], json!([condition]));
        status
    };
    let warnings = [DEPRECATED.to_owned()];
    Ok(match name.as_str() {
        "" => call.answer_list(&COMPONENTS.map(status), &warnings),
        name => call.answer_one(&status(name), &warnings),
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
