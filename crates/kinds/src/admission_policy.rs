//! What admission policies and their bindings have in common, be they to change writes or to look at them: how they
//! are shown, what is filled in, who may make them.

mod readable;

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age, integer, text};
use base::Timestamp;
use model::Object;
use model::default::{Fields, each, existing, missing};
use model::validate::{Functions, text as text_of};
use serde_json::{Value, json};

use crate::admission::policies;
use crate::spec_and_status::SpecAndStatus;
use readable::Readable;

/// How a column of a policy is called that has so many of what stands in the list of that name.
pub(crate) const fn policy_columns(title: &'static str, what: &'static str) -> [Column; 4] {
    [NAME, integer(title, what), text("ParamKind", "The kind of objects that it takes parameters from."), AGE]
}

const OF_BINDINGS: &[Column] = &[
    NAME,
    text("PolicyName", "The policy."),
    text("ParamRef", "The object that it takes parameters from."),
    AGE,
];

/// The policies that look at writes.
pub(crate) fn validating(resource: Resource, columns: &'static [Column]) -> Resource {
    let strategy = SpecAndStatus::default().counted().with_status();
    let resource = shown(resource, columns, "validations").strategy(Readable::policies(strategy));
    resource.defaults(defaults).rules(Functions::of(policies::check_validating))
}

/// The bindings of those.
pub(crate) fn validating_binding(resource: Resource) -> Resource {
    let strategy = Readable::bindings(SpecAndStatus::default().counted(), "validatingadmissionpolicies");
    let resource = shown_binding(resource).strategy(strategy);
    resource.defaults(binding_defaults).rules(Functions::of(policies::check_validating_binding))
}

/// The policies that change writes.
pub(crate) fn mutating(resource: Resource, columns: &'static [Column]) -> Resource {
    let strategy = Readable::policies(SpecAndStatus::default().counted());
    let resource = shown(resource, columns, "mutations").strategy(strategy);
    resource.defaults(defaults).rules(Functions::of(policies::check_mutating))
}

/// The bindings of those.
pub(crate) fn mutating_binding(resource: Resource) -> Resource {
    let strategy = Readable::bindings(SpecAndStatus::default().counted(), "mutatingadmissionpolicies");
    let resource = shown_binding(resource).strategy(strategy);
    resource.defaults(binding_defaults).rules(Functions::of(policies::check_mutating_binding))
}

fn defaults(fields: &mut Fields) {
    let Some(spec) = existing(fields, "spec") else { return };
    missing(spec, "failurePolicy", "Fail");
    if let Some(constraints) = existing(spec, "matchConstraints") {
        matching(constraints);
    }
}

fn binding_defaults(fields: &mut Fields) {
    if let Some(resources) = existing(fields, "spec").and_then(|spec| existing(spec, "matchResources")) {
        matching(resources);
    }
}

/// What is filled in where it is said which writes are meant.
fn matching(constraints: &mut Fields) {
    missing(constraints, "matchPolicy", "Equivalent");
    missing(constraints, "namespaceSelector", json!({}));
    missing(constraints, "objectSelector", json!({}));
    for name in ["resourceRules", "excludeResourceRules"] {
        for rule in each(constraints, name) {
            missing(rule, "scope", "*");
        }
    }
}

fn shown(resource: Resource, columns: &'static [Column], list: &'static str) -> Resource {
    let cells = move |object: &Object, now: Timestamp| {
        let kind = object.get(&["spec", "paramKind"]).filter(|kind| !kind.is_null());
        let kind = kind.map(|kind| format!("{}/{}", text_of(kind, "apiVersion"), text_of(kind, "kind")));
        vec![
            object.name().into(),
            object.get_list(&["spec", list]).len().into(),
            kind.unwrap_or_else(|| "<unset>".to_owned()).into(),
            age(object, now),
        ]
    };
    resource.category("api-extensions").columns(columns, cells)
}

fn shown_binding(resource: Resource) -> Resource {
    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        let parameters = object.get(&["spec", "paramRef"]).filter(|it| !it.is_null());
        let parameters = parameters.map(|it| match (text_of(it, "namespace"), text_of(it, "name")) {
            ("", name) => format!("*/{name}"),
            (namespace, name) => format!("{namespace}/{name}"),
        });
        vec![
            object.name().into(),
            object.get_str(&["spec", "policyName"]).unwrap_or_default().into(),
            parameters.unwrap_or_else(|| "<unset>".to_owned()).into(),
            age(object, now),
        ]
    }
    resource.category("api-extensions").columns(OF_BINDINGS, cells)
}
