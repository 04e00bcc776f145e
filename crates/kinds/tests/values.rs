//! What every kind says, asked of the entries as the server asks it.
#![forbid(unsafe_code)]

#[path = "values/any.rs"]
mod any;
#[path = "values/batch.rs"]
mod batch;
#[path = "values/bounds.rs"]
mod bounds;
#[path = "values/certificates.rs"]
mod certificates;
#[path = "values/classes.rs"]
mod classes;
#[path = "values/columns.rs"]
mod columns;
#[path = "values/defaults.rs"]
mod defaults;
#[path = "values/definitions.rs"]
mod definitions;
#[path = "values/devices.rs"]
mod devices;
#[path = "values/expressions.rs"]
mod expressions;
#[path = "values/features.rs"]
mod features;
#[path = "values/flow_control.rs"]
mod flow_control;
#[path = "values/networking.rs"]
mod networking;
#[path = "values/others.rs"]
mod others;
#[path = "values/pods.rs"]
mod pods;
#[path = "values/registration.rs"]
mod registration;
#[path = "values/roles.rs"]
mod roles;
#[path = "values/rules.rs"]
mod rules;
#[path = "values/services.rs"]
mod services;
#[path = "values/storage.rs"]
mod storage;
#[path = "values/table.rs"]
mod table;
#[path = "values/volumes.rs"]
mod volumes;
#[path = "values/warnings.rs"]
mod warnings;
#[path = "values/workloads.rs"]
mod workloads;

use apiserver::Resource;
use kinds::Features;
use model::Object;
use model::gvk::GroupVersion;
use serde_json::Value;

/// The entry of a kind; of one that nobody knows, one with nothing particular.
fn resource(version: &str, kind: &str) -> Resource {
    resource_where(&Features::default(), version, kind)
}

/// As [`resource`], where these features are on.
fn resource_where(features: &Features, version: &str, kind: &str) -> Resource {
    let mut served = kinds::served(features).into_iter();
    let known = served.find(|entry| entry.api_version() == version && entry.kind == kind);
    known.unwrap_or_else(|| {
        let version: GroupVersion = version.parse().expect("a version");
        Resource::new(&version.kind(kind), "things")
    })
}

/// A defaulted object.
fn defaulted(object: Value) -> Object {
    let mut object = Object::from_value(object).expect("an object");
    resource(object.api_version(), object.kind()).apply_defaults(&mut object).expect("there is room");
    object
}
