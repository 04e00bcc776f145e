//! StorageClasses: how volumes are made that claims ask for.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age, text};
use base::Timestamp;
use k8s_openapi::api::storage::v1::StorageClass;
use model::default::{Fields, missing};
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, entries, immutable, invalid, list, text as text_of};
use model::{Object, names};
use serde_json::Value;

pub(crate) fn resource() -> Resource {
    Resource::of::<StorageClass>()
        .short(&["sc"])
        .defaults(defaults)
        .rules(Functions::of(object).change(change))
        .columns(COLUMNS, cells)
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Provisioner", "Who makes the volumes."),
    text("ReclaimPolicy", "What becomes of a volume that is no longer claimed."),
    text("VolumeBindingMode", "When a volume is chosen for a claim."),
    text("AllowVolumeExpansion", "Whether claims may ask for more later."),
    AGE,
];
const RECLAIM_POLICIES: [&str; 2] = ["Delete", "Retain"];
const BINDING_MODES: [&str; 2] = ["Immediate", "WaitForFirstConsumer"];
/// Marks the class of claims that name none, now and formerly.
const DEFAULTS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// Whether it is the class of claims that name none.
pub(crate) fn is_default(class: &Object) -> bool {
    DEFAULTS.iter().any(|name| class.annotation(name) == Some("true"))
}

fn defaults(fields: &mut Fields) {
    missing(fields, "reclaimPolicy", "Delete");
    missing(fields, "volumeBindingMode", "Immediate");
}

fn object(object: &Object, errors: &mut Errors) {
    let value = object.value();
    provisioner(text_of(value, "provisioner"), &Path::root("provisioner"), errors);
    parameters(value, errors);
    let policy = text_of(value, "reclaimPolicy");
    if !policy.is_empty() && !RECLAIM_POLICIES.contains(&policy) {
        errors.push(FieldError::not_supported(&Path::root("reclaimPolicy"), policy, &RECLAIM_POLICIES));
    }
    let mode = text_of(value, "volumeBindingMode");
    if !BINDING_MODES.contains(&mode) {
        errors.push(FieldError::not_supported(&Path::root("volumeBindingMode"), mode, &BINDING_MODES));
    }
    topologies(list(value, "allowedTopologies"), errors);
}

/// Who makes or changes volumes: a qualified name, in upper or lower case.
pub(super) fn provisioner(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    invalid(errors, path, name, names::qualified(&name.to_lowercase()));
}

/// What is passed on to them; whether there was any.
pub(super) fn parameters(value: &Value, errors: &mut Errors) -> bool {
    const MOST: usize = 512;
    const SIZE: usize = 256 << 10;
    let path = Path::root("parameters");
    let count = entries(value, "parameters").count();
    if count > MOST {
        errors.push(FieldError::too_long(&path, MOST));
        return true;
    }
    let mut size = 0;
    for (key, value) in entries(value, "parameters") {
        if key.is_empty() {
            errors.push(FieldError::invalid(&path, "", "field can not be empty."));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > SIZE {
        errors.push(FieldError::too_long(&path, SIZE));
    }
    count > 0
}

fn topologies(terms: &[Value], errors: &mut Errors) {
    let path = Path::root("allowedTopologies");
    let mut seen: Vec<BTreeMap<&str, BTreeSet<&str>>> = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        let path = path.index(index);
        let path = path.child("matchLabelExpressions");
        let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (at, one) in list(term, "matchLabelExpressions").iter().enumerate() {
            let path = path.index(at);
            let values_path = path.child("values");
            let values = list(one, "values");
            if values.is_empty() {
                errors.push(FieldError::required(&values_path, ""));
            }
            let mut before = HashSet::new();
            for (at, value) in values.iter().enumerate() {
                let value = value.as_str().unwrap_or_default();
                if !before.insert(value) {
                    errors.push(FieldError::duplicate(&values_path.index(at), value));
                }
            }
            let key = text_of(one, "key");
            invalid(errors, &path.child("key"), key, names::qualified(key));
            if labels.contains_key(key) {
                errors.push(FieldError::duplicate(&path.child("key"), key));
            }
            labels.insert(key, before.into_iter().collect());
        }
        if seen.contains(&labels) {
            errors.push(FieldError::duplicate(&path, ""));
        }
        seen.push(labels);
    }
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    for field in ["parameters", "provisioner", "reclaimPolicy"] {
        frozen(object, old, field, errors);
    }
    let mode = "volumeBindingMode";
    immutable(errors, object.get(&[mode]), old.get(&[mode]), &Path::root(mode));
}

/// A field that is what it was made as.
pub(super) fn frozen(object: &Object, old: &Object, field: &str, errors: &mut Errors) {
    let is_empty = |value: &&Value| value.as_object().is_some_and(serde_json::Map::is_empty);
    let of = |object: &Object| object.get(&[field]).filter(|value| !is_empty(value)).cloned();
    if of(object) != of(old) {
        errors.push(FieldError::forbidden(&Path::root(field), format!("updates to {field} are forbidden.")));
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let text = |name: &str| Value::from(text_of(object.value(), name));
    let name = object.name();
    vec![
        if is_default(object) { format!("{name} (default)").into() } else { name.into() },
        text("provisioner"),
        text("reclaimPolicy"),
        text("volumeBindingMode"),
        model::validate::flag(object.value(), "allowVolumeExpansion").into(),
        age(object, now),
    ]
}
