//! The number of replicas, as a small object of its own.

use http::{Response, StatusCode};
use model::field::quote;
use model::object::StringMap;
use model::select::{LabelSelector, SelectorError};
use model::{GroupVersionKind, Object, Status};
use serde_json::{Value, json};

use crate::body::Body;
use crate::call::{Call, json_response};
use crate::decode;
use crate::error::{Error, Result};
use crate::negotiate::View;
use crate::request::Verb;
use crate::resource::{Does, ReplicaPlaces, Replicas, Resource};
use crate::table::{AGE, Column, Columns, ListMetadata, NAME, age, integer, table};
use crate::verbs::{Part, modify, patched_document};

const COLUMNS: &[Column] = &[
    NAME,
    integer("Desired", "How many replicas there are to be."),
    integer("Available", "How many replicas there are."),
    AGE,
];

pub(crate) async fn handle(call: &Call, replicas: &Replicas) -> Result<Response<Body>> {
    let gvk = kind();
    let places = replicas.places.as_deref();
    if call.target.verb == Verb::Get {
        let object = call.current().await?;
        if let Some(places) = places.filter(|places| object.get(&places.wanted()).is_none()) {
            let why = format!("the spec replicas field {} does not exist", quote(&places.named));
            return Err(Status::internal(why).into());
        }
        return Ok(answer(call, &scale_of(&object, &gvk, places)));
    }
    let options = call.write_options()?;
    let update = if call.target.verb == Verb::Update { Some(decode::other(call, &gvk, &[])?) } else { None };
    let schema = model::schema::builtin(&gvk);
    let modified = modify(call, &options, Part::Scale, |old| {
        let scale = match &update {
            Some(scale) => scale.clone(),
            None => {
                let patched = patched_document(call, scale_of(old, &gvk, places).value(), schema.as_ref())?;
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
        match places {
            None => new.set(&["spec", "replicas"], replicas),
            Some(places) if scale.get(&["spec", "replicas"]).is_none() && old.get(&places.wanted()).is_none() => {
                let why = format!("the spec replicas field {} cannot be empty", quote(&places.named));
                return Err(Error::bad_request(why));
            }
            Some(places) => new.set(&places.wanted(), replicas),
        }
        // The scale carries the object's revision: an outdated one is a conflict.
        new.set_resource_version(scale.resource_version());
        Ok(new)
    })
    .await?;
    let object = modified.object();
    Ok(answer(call, &scale_of(&object, &gvk, places)))
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

/// Where an object of a resource has its numbers of replicas, if that is not the usual place.
fn places(resource: &Resource) -> Option<&ReplicaPlaces> {
    let scale = resource.subresources.iter().find_map(|subresource| match &subresource.does {
        Does::Scale(replicas) => Some(replicas),
        Does::Part | Does::Own(_) => None,
    });
    scale?.places.as_deref()
}

/// The scale of an object of a resource.
pub(crate) fn seen(resource: &Resource, object: &Object) -> Object {
    scale_of(object, &kind(), places(resource))
}

/// Puts the number of replicas that a scale wants into the object that it is of.
pub(crate) fn put(resource: &Resource, object: &mut Object, scale: &Object) {
    let Some(replicas) = scale.get(&["spec", "replicas"]).cloned() else { return };
    match places(resource) {
        Some(places) => object.set(&places.wanted(), replicas),
        None => object.set(&["spec", "replicas"], replicas),
    }
}

impl ReplicaPlaces {
    fn wanted(&self) -> Vec<&str> {
        self.wanted.iter().map(String::as_str).collect()
    }
}

fn scale_of(object: &Object, gvk: &GroupVersionKind, places: Option<&ReplicaPlaces>) -> Object {
    let mut scale = Object::new(gvk, object.name());
    for field in ["namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.get(&["metadata", field]) {
            scale.set(&["metadata", field], value.clone());
        }
    }
    if let Some(places) = places {
        let read = |path: &[String]| {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            object.get(&path).cloned()
        };
        let number = |path: &[String]| read(path).as_ref().and_then(Value::as_i64).unwrap_or(0);
        scale.set(&["spec"], json!({"replicas": number(&places.wanted)}));
        let mut status = json!({"replicas": number(&places.running)});
        if let Some(Value::String(selector)) = places.selector.as_deref().and_then(read) {
            status["selector"] = selector.into();
        }
        scale.set(&["status"], status);
        return scale;
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
