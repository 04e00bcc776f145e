//! The number of replicas, as a small object of its own.

use http::{Response, StatusCode};
use model::object::StringMap;
use model::select::{LabelSelector, SelectorError};
use model::{GroupVersionKind, Object};
use serde_json::{Value, json};

use crate::body::Body;
use crate::call::{Call, json_response};
use crate::decode;
use crate::error::{Error, Result};
use crate::negotiate::View;
use crate::request::Verb;
use crate::table::{AGE, Column, Columns, ListMetadata, NAME, age, integer, table};
use crate::verbs::{Part, modify, patched_document};

const COLUMNS: &[Column] = &[
    NAME,
    integer("Desired", "How many replicas there are to be."),
    integer("Available", "How many replicas there are."),
    AGE,
];

pub(crate) async fn handle(call: &Call) -> Result<Response<Body>> {
    let gvk = kind();
    if call.target.verb == Verb::Get {
        let object = call.current().await?;
        return Ok(answer(call, &scale_of(&object, &gvk)));
    }
    let options = call.write_options()?;
    let update = if call.target.verb == Verb::Update { Some(decode::other(call, &gvk)?) } else { None };
    let schema = model::schema::builtin(&gvk);
    let modified = modify(call, &options, Part::Scale, |old| {
        let scale = match &update {
            Some(scale) => scale.clone(),
            None => {
                let patched = patched_document(call, scale_of(old, &gvk).value(), schema.as_ref())?;
                Object::from_value(patched).map_err(|e| Error::bad_request(e.to_string()))?
            }
        };
        let mut new = old.clone();
        let replicas = match scale.get(&["spec", "replicas"]) {
            None => 0,
            Some(value) => value.as_i64().ok_or_else(|| {
                Error::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: spec.replicas is no number: {value}"))
            })?,
        };
        new.set(&["spec", "replicas"], replicas);
        // The scale carries the object's revision: an outdated one is a conflict.
        new.set_resource_version(scale.resource_version());
        Ok(new)
    })
    .await?;
    let object = modified.object();
    Ok(answer(call, &scale_of(&object, &gvk)))
}

/// A scale as the client wants to see it.
fn answer(call: &Call, scale: &Object) -> Response<Body> {
    let View::Table(form) = call.view else { return call.answer_other(StatusCode::OK, scale, &[]) };
    let columns = Columns::new(COLUMNS, |scale, now| {
        let replicas = |part| scale.get_i64(&[part, "replicas"]).unwrap_or(0).into();
        vec![scale.name().into(), replicas("spec"), replicas("status"), age(scale, now)]
    });
    let resource_version = scale.resource_version().to_owned();
    let metadata = ListMetadata { resource_version, ..ListMetadata::default() };
    let table = table(&columns, [scale], &metadata, form, true, call.now);
    json_response(StatusCode::OK, Body::full(table.to_string()))
}

/// The kind of it.
pub(crate) fn kind() -> GroupVersionKind {
    GroupVersionKind::new("autoscaling", "v1", "Scale")
}

pub(crate) fn scale_of(object: &Object, gvk: &GroupVersionKind) -> Object {
    let mut scale = Object::new(gvk, object.name());
    for field in ["namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.get(&["metadata", field]) {
            scale.set(&["metadata", field], value.clone());
        }
    }
    let replicas = object.get_i64(&["spec", "replicas"]).unwrap_or(0);
    scale.set(&["spec"], json!({"replicas": replicas}));
    let selector = selector(object.get(&["spec", "selector"]).filter(|s| !s.is_null()));
    let running = object.get(&["status", "replicas"]).and_then(Value::as_i64).unwrap_or(0);
    let mut status = json!({"replicas": running});
    if let Ok(selector) = selector {
        status["selector"] = json!(selector.to_string());
    }
    scale.set(&["status"], status);
    scale
}

/// The selector of an object: some have nothing but labels for one.
fn selector(selector: Option<&Value>) -> Result<LabelSelector, SelectorError> {
    let labels = selector.and_then(Value::as_object).filter(|labels| labels.values().all(Value::is_string));
    match labels {
        Some(labels) => Ok(LabelSelector::from_labels(StringMap::new(Some(labels)).iter())),
        None => LabelSelector::from_json(selector),
    }
}
