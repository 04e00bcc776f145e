//! IngressClasses: who takes care of which ingresses.

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, NONE, age, text};
use base::Timestamp;
use k8s_openapi::api::networking::v1::IngressClass;
use model::default::{Fields, existing, inside, missing};
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, format, immutable, invalid, text as text_of};
use model::{Object, names};
use serde_json::Value;

use super::ingress::reference;
use crate::spec_and_status::SpecAndStatus;

pub(crate) fn resource() -> Resource {
    Resource::of::<IngressClass>()
        .defaults(defaults)
        .rules(Functions::of(object).change(change))
        .columns(COLUMNS, cells)
        .strategy(SpecAndStatus::default().counted())
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Controller", "Who takes care of the class."),
    text("Parameters", "An object that says more."),
    AGE,
];
const SCOPES: [&str; 2] = ["Cluster", "Namespace"];
const LONGEST_CONTROLLER: usize = 250;

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    if let Some(parameters) = existing(spec, "parameters") {
        missing(parameters, "scope", "Cluster");
    }
}

fn object(object: &Object, errors: &mut Errors) {
    let path = Path::root("spec");
    let controller = object.get_str(&["spec", "controller"]).unwrap_or_default();
    let controller_path = path.child("controller");
    if controller.len() > LONGEST_CONTROLLER {
        errors.push(FieldError::too_long(&controller_path, LONGEST_CONTROLLER));
    }
    format::domain_prefixed_path(errors, &controller_path, controller);
    let Some(parameters) = object.get(&["spec", "parameters"]).filter(|it| !it.is_null()) else { return };
    let path = path.child("parameters");
    reference(parameters, &path, errors);
    let namespace = parameters.get("namespace").and_then(Value::as_str);
    let namespace_path = path.child("namespace");
    match (text_of(parameters, "scope"), namespace) {
        ("Namespace", None) => {
            let message = "`parameters.scope` is set to 'Namespace'";
            errors.push(FieldError::required(&namespace_path, message));
        }
        ("Namespace", Some(name)) => invalid(errors, &namespace_path, name, names::dns1123_label(name)),
        ("Cluster", Some(_)) => {
            errors.push(FieldError::forbidden(&namespace_path, "`parameters.scope` is set to 'Cluster'"));
        }
        ("Cluster", None) => {}
        (other, _) => errors.push(FieldError::not_supported(&path.child("scope"), other, &SCOPES)),
    }
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    const CONTROLLER: &[&str] = &["spec", "controller"];
    let path = Path::root("spec");
    immutable(errors, object.get(CONTROLLER), old.get(CONTROLLER), &path.child("controller"));
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let parameters = object.get(&["spec", "parameters"]).filter(|it| !it.is_null()).map(|parameters| {
        let group = parameters.get("apiGroup").and_then(Value::as_str);
        let group = group.map(|group| format!(".{group}")).unwrap_or_default();
        format!("{}{group}/{}", text_of(parameters, "kind"), text_of(parameters, "name"))
    });
    vec![
        object.name().into(),
        object.get_str(&["spec", "controller"]).unwrap_or_default().into(),
        parameters.unwrap_or_else(|| NONE.to_owned()).into(),
        age(object, now),
    ]
}
