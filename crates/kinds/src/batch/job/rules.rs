//! Rules of Job.

use model::Object;
use model::field::{FieldError, Path};
use model::names::dns1123_label;
use model::object::StringMap;
use model::select::LabelSelector;
use model::validate::{Errors, immutable, metadata, number};
use serde_json::{Map, Value};

use super::{JOB_NAME, UID};
use crate::job::{self, is_indexed};
use crate::workload::rules::{selects_template, template_labels};

pub(super) fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let path = Path::root("spec");
    own_selector(object, errors);
    job::spec(spec, &path, errors);
    let of_selector = path.child("selector");
    match spec.get("selector") {
        None => errors.push(FieldError::required(&of_selector, "")),
        Some(selector) => metadata::selector(selector, &of_selector, errors),
    }
    if !selects_template(spec) {
        let template = spec.get("template").unwrap_or(&empty);
        template_labels(template, &path.child("template"), errors);
    }
    hostnames(object, errors);
}

/// Where the selector was made, it and the labels of the pods are the ones that were made.
fn own_selector(object: &Object, errors: &mut Errors) {
    let Some(selector) = object.get(&["spec", "selector"]) else { return };
    if object.get(&["spec", "manualSelector"]) == Some(&Value::Bool(true)) {
        return;
    }
    if object.uid().is_empty() {
        let metadata = Path::root("metadata");
        errors.push(FieldError::required(&metadata.child("uid"), ""));
    }
    let spec = Path::root("spec");
    let template = spec.child("template");
    let of_metadata = template.child("metadata");
    let of_labels = of_metadata.child("labels");
    let place = ["spec", "template", "metadata", "labels"];
    let labels = StringMap::new(object.get(&place).and_then(Value::as_object));
    let mut expected = Map::new();
    // In this order Kubernetes looks at them.
    let wanted = [
        (UID[0], object.uid()),
        (JOB_NAME[0], object.name()),
        (UID[1], object.uid()),
        (JOB_NAME[1], object.name()),
    ];
    for (key, value) in wanted {
        expected.insert(key.to_owned(), value.into());
        match labels.get(key) {
            None => {
                let message = format!("must be '{value}'");
                errors.push(FieldError::required(&of_labels.key(key), message));
            }
            Some(other) if other != value => {
                let all = object.get(&place).cloned().unwrap_or(Value::Null);
                errors.push(FieldError::invalid(&of_labels.key(key), all, format!("must be '{value}'")));
            }
            Some(_) => {}
        }
    }
    if let Ok(parsed) = LabelSelector::from_json(Some(selector))
        && !parsed.matches_labels(StringMap::new(Some(&expected)))
    {
        let path = spec.child("selector");
        errors.push(FieldError::invalid(&path, selector.clone(), "`selector` not auto-generated"));
    }
}

/// The last of its pods must be able to have its name for a host's.
fn hostnames(object: &Object, errors: &mut Errors) {
    let completions = object.get_i64(&["spec", "completions"]).unwrap_or_default();
    if object.get(&["spec"]).is_some_and(is_indexed) && completions > 0 {
        let longest = format!("{}-{}", object.name(), completions - 1);
        if !dns1123_label(&longest).is_empty() {
            let metadata = Path::root("metadata");
            let message = format!("will not able to create pod with invalid DNS label: {longest}");
            errors.push(FieldError::invalid(&metadata.child("name"), object.name(), message));
        }
    }
}

pub(super) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    let spec = Path::root("spec");
    let place = ["spec", "completions"];
    let (now, before) = (object.get(&place), old.get(&place));
    if object.get(&["spec"]).is_some_and(is_indexed) {
        let parallelism = object.get(&["spec"]).and_then(|spec| number(spec, "parallelism"));
        if let Some(now) = now.filter(|now| Some(*now) != before && now.as_i64() != parallelism) {
            let message = "can only be modified in tandem with spec.parallelism";
            errors.push(FieldError::invalid(&spec.child("completions"), now.clone(), message));
        }
    } else {
        immutable(errors, now, before, &spec.child("completions"));
    }
    let place = ["spec", "selector"];
    immutable(errors, object.get(&place), old.get(&place), &spec.child("selector"));
    template(object, old, errors);
    for name in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        let place = ["spec", name];
        immutable(errors, object.get(&place), old.get(&place), &spec.child(name));
    }
}

/// Where its pods go may change as long as none has begun.
fn template(object: &Object, old: &Object, errors: &mut Errors) {
    const TEMPLATE: [&str; 2] = ["spec", "template"];
    let mut before = old.clone();
    let waits = old.get(&["spec", "suspend"]) == Some(&Value::Bool(true))
        && old.get(&["status", "startTime"]).is_none();
    if waits {
        let places: [&[&str]; 6] = [
            &["spec", "template", "spec", "affinity", "nodeAffinity"],
            &["spec", "template", "spec", "nodeSelector"],
            &["spec", "template", "spec", "tolerations"],
            &["spec", "template", "metadata", "annotations"],
            &["spec", "template", "metadata", "labels"],
            &["spec", "template", "spec", "schedulingGates"],
        ];
        for place in places {
            match object.get(place) {
                Some(value) => before.set(place, value.clone()),
                None => drop(before.remove(place)),
            }
        }
        let affinity = ["spec", "template", "spec", "affinity"];
        let is_empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
        if object.get(&affinity).is_none() && before.get(&affinity).is_some_and(is_empty) {
            before.remove(&affinity);
        }
    }
    let spec = Path::root("spec");
    immutable(errors, object.get(&TEMPLATE), before.get(&TEMPLATE), &spec.child("template"));
}
