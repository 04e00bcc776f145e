//! What must hold of roles and bindings, and how they are shown.

use model::Object;
use model::default::{Fields, each, existing, text as text_of, unset};
use model::field::{FieldError, Path};
use model::names::{dns1123_subdomain, path_segment};
use model::validate::{Errors, invalid, list, text};
use serde_json::Value;

use crate::access::GROUP;

/// Rules of a role's rules.
pub(crate) fn rules(role: &Object, namespaced: bool, errors: &mut Errors) {
    let all = Path::root("rules");
    for (index, rule) in list(role.value(), "rules").iter().enumerate() {
        let path = all.index(index);
        let is_empty = |name: &str| list(rule, name).is_empty();
        let mut required = |name: &str, why: &str| errors.push(FieldError::required(&path.child(name), why));
        if is_empty("verbs") {
            required("verbs", "verbs must contain at least one value");
        }
        if !is_empty("nonResourceURLs") {
            let place = path.child("nonResourceURLs");
            let mut refuse = |why: &str| {
                errors.push(FieldError::invalid(&place, rule["nonResourceURLs"].clone(), why));
            };
            if namespaced {
                refuse("namespaced rules cannot apply to non-resource URLs");
            }
            if ["apiGroups", "resources", "resourceNames"].iter().any(|name| !is_empty(name)) {
                refuse("rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if is_empty("apiGroups") {
            required("apiGroups", "resource rules must supply at least one api group");
        }
        if is_empty("resources") {
            required("resources", "resource rules must supply at least one resource");
        }
    }
}

/// When it was made.
pub(crate) fn created(object: &Object) -> Value {
    object.get(&["metadata", "creationTimestamp"]).cloned().unwrap_or(Value::Null)
}

/// What a binding leaves out.
pub(crate) fn binding_defaults(fields: &mut Fields) {
    if let Some(role) = existing(fields, "roleRef") {
        unset(role, "apiGroup", GROUP);
    }
    for subject in each(fields, "subjects") {
        if matches!(text_of(subject, "kind"), "User" | "Group") {
            unset(subject, "apiGroup", GROUP);
        }
    }
}

/// Rules of a binding of a role of one of these kinds.
pub(crate) fn binding(binding: &Object, kinds: &[&str], namespaced: bool, errors: &mut Errors) {
    let path = Path::root("roleRef");
    let nothing = Value::Null;
    let role = binding.get(&["roleRef"]).unwrap_or(&nothing);
    if text(role, "apiGroup") != GROUP {
        errors.push(FieldError::not_supported(&path.child("apiGroup"), text(role, "apiGroup"), &[GROUP]));
    }
    if !kinds.contains(&text(role, "kind")) {
        errors.push(FieldError::not_supported(&path.child("kind"), text(role, "kind"), kinds));
    }
    let name = text(role, "name");
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    } else {
        invalid(errors, &path.child("name"), name, path_segment(name));
    }
    let subjects = Path::root("subjects");
    for (index, one) in list(binding.value(), "subjects").iter().enumerate() {
        subject(one, namespaced, &subjects.index(index), errors);
    }
}

fn subject(subject: &Value, namespaced: bool, path: &Path<'_>, errors: &mut Errors) {
    let (name, group) = (text(subject, "name"), text(subject, "apiGroup"));
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    match text(subject, "kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                invalid(errors, &path.child("name"), name, dns1123_subdomain(name));
            }
            if !group.is_empty() {
                errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[""]));
            }
            if !namespaced && text(subject, "namespace").is_empty() {
                errors.push(FieldError::required(&path.child("namespace"), ""));
            }
        }
        kind @ ("User" | "Group") => {
            if name.is_empty() {
                let why = format!("{} name cannot be empty", kind.to_lowercase());
                errors.push(FieldError::invalid(&path.child("name"), name, why));
            }
            if group != GROUP {
                errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[GROUP]));
            }
        }
        kind => {
            let known = ["ServiceAccount", "User", "Group"];
            errors.push(FieldError::not_supported(&path.child("kind"), kind, &known));
        }
    }
}

/// A binding stays one of the same role.
pub(crate) fn binding_change(binding: &Object, old: &Object, errors: &mut Errors) {
    let (new, old) = (binding.get(&["roleRef"]), old.get(&["roleRef"]));
    if new != old {
        let value = new.cloned().unwrap_or(Value::Null);
        errors.push(FieldError::invalid(&Path::root("roleRef"), value, "cannot change roleRef"));
    }
}

/// The role that a binding names, as `Role/x`.
pub(crate) fn reference(binding: &Object) -> String {
    let part = |name: &str| binding.get_str(&["roleRef", name]).unwrap_or_default();
    format!("{}/{}", part("kind"), part("name"))
}

/// The names of the users, groups and service accounts of a binding.
pub(crate) fn subjects(binding: &Object) -> [String; 3] {
    let all = binding.get_list(&["subjects"]);
    ["User", "Group", "ServiceAccount"].map(|kind| {
        let of_kind = all.iter().filter(|subject| text(subject, "kind") == kind);
        let names = of_kind.map(|subject| match text(subject, "namespace") {
            namespace if kind == "ServiceAccount" => format!("{namespace}/{}", text(subject, "name")),
            _ => text(subject, "name").to_owned(),
        });
        names.collect::<Vec<_>>().join(", ")
    })
}
