//! Rules of `metadata`, which hold for all kinds.

use std::collections::HashSet;

use serde_json::Value;

use super::{Errors, Rules, Scope, immutable, invalid, list, text};
use crate::field::{FieldError, Path};
use crate::names;
use crate::object::{Object, StringMap};

/// All keys and values of annotations together, in bytes.
pub(crate) const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Finalizers that need no domain.
pub const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// All rules of a new object.
pub fn object(object: &Object, scope: Scope, rules: &dyn Rules, errors: &mut Errors) {
    let path = Path::root("metadata");
    let base = object.generate_name();
    if !base.is_empty() {
        // What is generated gets five characters more, so a trailing dash is fine.
        let sample = format!("{}x", base.trim_end_matches('-'));
        invalid(errors, &path.child("generateName"), base, rules.name(&sample));
    }
    if object.name().is_empty() {
        errors.push(FieldError::required(&path.child("name"), "name or generateName is required"));
    } else {
        invalid(errors, &path.child("name"), object.name(), rules.name(object.name()));
    }
    common(object, scope, errors);
}

/// Rules of labels, annotations, owners and finalizers, on creation and update alike.
pub fn common(object: &Object, scope: Scope, errors: &mut Errors) {
    let path = Path::root("metadata");
    let namespace = path.child("namespace");
    match (scope, object.namespace()) {
        (Scope::Namespaced, None) => errors.push(FieldError::required(&namespace, "")),
        (Scope::Namespaced, Some(name)) => invalid(errors, &namespace, name, names::dns1123_label(name)),
        (Scope::Cluster, Some(_)) => {
            errors.push(FieldError::forbidden(&namespace, "not allowed on this type"))
        }
        (Scope::Cluster, None) => {}
    }
    if object.generation() < 0 {
        let message = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&path.child("generation"), object.generation(), message));
    }
    labels(object.labels(), &path.child("labels"), errors);
    annotations(object.annotations(), &path.child("annotations"), errors);
    owners(object, &path.child("ownerReferences"), errors);
    finalizers(object, &path.child("finalizers"), errors);
}

/// Finalizers of Kubernetes' own kinds: names without a domain are Kubernetes' own, too.
pub fn own_finalizers(object: &Object, errors: &mut Errors) {
    let path = Path::root("metadata");
    let path = path.child("finalizers");
    for (index, name) in object.finalizers().enumerate() {
        own_finalizer(name, &path.index(index), errors);
    }
}

/// The name of a finalizer that may stand without a domain only if it is Kubernetes' own.
pub fn own_finalizer(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
        let message = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(FieldError::invalid(path, name, message));
    }
}

/// Rules of the change from `old`.
pub fn change(object: &Object, old: &Object, errors: &mut Errors) {
    let path = Path::root("metadata");
    if old.is_being_deleted() {
        let known: HashSet<&str> = old.finalizers().collect();
        let mut added: Vec<&str> = object.finalizers().filter(|one| !known.contains(one)).collect();
        added.sort_unstable();
        if !added.is_empty() {
            let list: Vec<String> = added.iter().map(|one| crate::field::quote(one)).collect();
            errors.push(FieldError::forbidden(
                &path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    list.join(", ")
                ),
            ));
        }
    }
    if object.generation() < old.generation() {
        let message = "must not be decremented";
        errors.push(FieldError::invalid(&path.child("generation"), object.generation(), message));
    }
    for name in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        let place = ["metadata", name];
        immutable(errors, object.get(&place), old.get(&place), &path.child(name));
    }
}

/// Rules of labels, wherever they stand.
pub fn labels(labels: StringMap<'_>, path: &Path<'_>, errors: &mut Errors) {
    for (key, value) in labels.iter() {
        invalid(errors, path, key, names::qualified(key));
        invalid(errors, path, value, names::label_value(value));
    }
}

/// Rules of annotations, wherever they stand.
pub fn annotations(annotations: StringMap<'_>, path: &Path<'_>, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in annotations.iter() {
        invalid(errors, path, key, names::qualified(&key.to_lowercase()));
        size += key.len() + value.len();
    }
    if size > MAX_ANNOTATIONS {
        errors.push(FieldError::too_long(path, MAX_ANNOTATIONS));
    }
}

/// Rules of a `metav1.LabelSelector`.
pub fn selector(selector: &Value, path: &Path<'_>, errors: &mut Errors) {
    let labels_path = path.child("matchLabels");
    labels(StringMap::new(selector.get("matchLabels").and_then(Value::as_object)), &labels_path, errors);
    let expressions = path.child("matchExpressions");
    for (index, expression) in list(selector, "matchExpressions").iter().enumerate() {
        let path = expressions.index(index);
        let has_values = !list(expression, "values").is_empty();
        match text(expression, "operator") {
            "In" | "NotIn" if !has_values => errors.push(FieldError::required(
                &path.child("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if has_values => errors.push(FieldError::forbidden(
                &path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(FieldError::invalid(
                &path.child("operator"),
                other,
                "not a valid selector operator",
            )),
        }
        let key = text(expression, "key");
        invalid(errors, &path.child("key"), key, names::qualified(key));
        let values = path.child("values");
        for (at, value) in list(expression, "values").iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            invalid(errors, &values.index(at), value, names::label_value(value));
        }
    }
}

fn owners(object: &Object, path: &Path<'_>, errors: &mut Errors) {
    let mut controllers = 0;
    let mut controller: Option<String> = None;
    let owners = object.get_list(&["metadata", "ownerReferences"]);
    for (index, owner) in owners.iter().enumerate() {
        let path = path.index(index);
        let version = text(owner, "apiVersion");
        if version.is_empty() {
            errors.push(FieldError::required(&path.child("apiVersion"), "must not be empty"));
        } else if version.matches('/').count() > 1 || version.ends_with('/') {
            let message = "must be <group>/<version> or <version>";
            errors.push(FieldError::invalid(&path.child("apiVersion"), version, message));
        }
        for name in ["kind", "name", "uid"] {
            if text(owner, name).is_empty() {
                errors.push(FieldError::required(&path.child(name), "must not be empty"));
            }
        }
        if (version, text(owner, "kind")) == ("v1", "Event") {
            let message = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(&path, owner.clone(), message));
        }
        if owner.get("controller").and_then(Value::as_bool) == Some(true) {
            let name = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
            controllers += 1;
            match &controller {
                // Once: it tells of all of them.
                Some(first) if controllers == 2 => {
                    let message = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for \
                         {first} and {name}"
                    );
                    let field = Path::root("metadata");
                    errors.push(FieldError::invalid(
                        &field.child("ownerReferences"),
                        owners.to_vec(),
                        message,
                    ));
                }
                Some(_) => {}
                None => controller = Some(name),
            }
        }
    }
}

fn finalizers(object: &Object, path: &Path<'_>, errors: &mut Errors) {
    for finalizer in object.finalizers() {
        invalid(errors, path, finalizer, names::qualified(finalizer));
    }
    let has = |name: &str| object.finalizers().any(|finalizer| finalizer == name);
    if has("orphan") && has("foregroundDeletion") {
        let list: Vec<Value> = object.finalizers().map(Value::from).collect();
        let message = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(path, list, message));
    }
}
