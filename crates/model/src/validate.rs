//! Whether an object makes sense: the rules of its kind, in Kubernetes' words.
//!
//! Types are checked before, by [`crate::decode`]; defaults are filled in before, by
//! [`crate::default`]. A kind is an entry in a table; kinds without one get the rules of metadata,
//! which hold for all.

mod config_map;
mod container;
mod deployment;
mod discovery;
mod event;
mod lease;
mod metadata;
mod pod;
mod pod_update;
mod probe;
mod replica_set;
mod resources;
mod secret;
mod security;
mod service;
mod volume;

use serde_json::{Map, Value};

use crate::field::{FieldError, Path};
use crate::names;
use crate::object::Object;

/// Whether objects of a kind live in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the cluster as a whole.
    Cluster,
    /// In a namespace.
    Namespaced,
}

/// What gathers errors.
type Errors = Vec<FieldError>;

/// The rules of one kind.
struct Rules {
    version: &'static str,
    kind: &'static str,
    name: fn(&str) -> Vec<String>,
    /// Of the object as it is.
    object: fn(&Object, &mut Errors),
    /// Of the change from the second to the first.
    change: fn(&Object, &Object, &mut Errors),
}

const KINDS: &[Rules] = &[
    rules("v1", "Pod", names::dns1123_subdomain, pod::object, pod_update::change),
    rules("v1", "Service", names::dns1035_label, service::object, service::change),
    rules("v1", "ConfigMap", names::dns1123_subdomain, config_map::object, config_map::change),
    rules("v1", "Secret", names::dns1123_subdomain, secret::object, secret::change),
    rules("v1", "Namespace", names::dns1123_label, nothing, no_change),
    rules("v1", "Node", names::dns1123_subdomain, nothing, no_change),
    rules("v1", "ServiceAccount", names::dns1123_subdomain, nothing, no_change),
    rules("v1", "Endpoints", names::dns1123_subdomain, discovery::endpoints, no_change),
    rules("v1", "Event", names::dns1123_subdomain, event::object, no_change),
    rules(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        names::dns1123_subdomain,
        discovery::slice,
        discovery::slice_change,
    ),
    rules("coordination.k8s.io/v1", "Lease", names::dns1123_subdomain, lease::object, no_change),
    rules("apps/v1", "Deployment", names::dns1123_subdomain, deployment::object, deployment::change),
    rules("apps/v1", "ReplicaSet", names::dns1123_subdomain, replica_set::object, replica_set::change),
];

/// What is wrong with a defaulted object that is to be created.
pub fn create(object: &Object, scope: Scope) -> Vec<FieldError> {
    let rules = rules_of(object);
    let mut errors = Vec::new();
    metadata::object(object, scope, rules.name, &mut errors);
    (rules.object)(object, &mut errors);
    errors
}

/// What is wrong with an object that is to replace `old`.
pub fn update(object: &Object, old: &Object, scope: Scope) -> Vec<FieldError> {
    let rules = rules_of(object);
    let mut errors = Vec::new();
    metadata::change(object, old, &mut errors);
    metadata::common(object, scope, &mut errors);
    (rules.object)(object, &mut errors);
    (rules.change)(object, old, &mut errors);
    errors
}

/// What is wrong with an object that is to replace `old` through its `status` subresource.
pub fn update_status(object: &Object, old: &Object, scope: Scope) -> Vec<FieldError> {
    let mut errors = Vec::new();
    metadata::change(object, old, &mut errors);
    metadata::common(object, scope, &mut errors);
    if object.kind() == "Deployment" || object.kind() == "ReplicaSet" {
        replica_set::status(object, &mut errors);
    }
    errors
}

const fn rules(
    version: &'static str,
    kind: &'static str,
    name: fn(&str) -> Vec<String>,
    object: fn(&Object, &mut Errors),
    change: fn(&Object, &Object, &mut Errors),
) -> Rules {
    Rules { version, kind, name, object, change }
}

fn rules_of(object: &Object) -> &'static Rules {
    static OTHER: Rules = rules("", "", names::dns1123_subdomain, nothing, no_change);
    let (version, kind) = (object.api_version(), object.kind());
    KINDS.iter().find(|rules| rules.version == version && rules.kind == kind).unwrap_or(&OTHER)
}

fn nothing(_: &Object, _: &mut Errors) {}

fn no_change(_: &Object, _: &Object, _: &mut Errors) {}

/// The text in a field, nothing where there is none.
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list in a field.
fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The entries of an object in a field.
fn entries<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.get(name).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

fn number(value: &Value, name: &str) -> Option<i64> {
    value.get(name).and_then(Value::as_i64)
}

fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or_default()
}

/// Reports each of `messages` about a value.
fn invalid(errors: &mut Errors, path: &Path<'_>, value: impl Into<Value>, messages: Vec<String>) {
    if messages.is_empty() {
        return;
    }
    let value = value.into();
    errors.extend(messages.into_iter().map(|message| FieldError::invalid(path, value.clone(), message)));
}

fn not_negative(errors: &mut Errors, value: &Value, name: &str, path: &Path<'_>) {
    if let Some(amount) = number(value, name).filter(|amount| *amount < 0) {
        errors.push(FieldError::invalid(&path.child(name), amount, "must be greater than or equal to 0"));
    }
}

/// One of a few words; a required one may not be empty.
fn one_of(errors: &mut Errors, value: &Value, name: &str, path: &Path<'_>, allowed: &[&str]) {
    let word = text(value, name);
    if word.is_empty() {
        errors.push(FieldError::required(&path.child(name), ""));
    } else if !allowed.contains(&word) {
        errors.push(FieldError::not_supported(&path.child(name), word, allowed));
    }
}

fn immutable(errors: &mut Errors, new: Option<&Value>, old: Option<&Value>, path: &Path<'_>) {
    if new != old {
        let value = new.cloned().unwrap_or(Value::Null);
        errors.push(FieldError::invalid(path, value, "field is immutable"));
    }
}

#[cfg(test)]
mod tests;
