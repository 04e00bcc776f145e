//! ValidatingAdmissionPolicies: which writes may be, in expressions.

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age, integer, text};
use base::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use model::Object;
use model::validate::text as text_of;
use serde_json::Value;

use crate::refused::{POLICIES, Refused};

pub(crate) fn resource() -> Resource {
    Resource::of::<ValidatingAdmissionPolicy>()
        .category("api-extensions")
        .status()
        .columns(COLUMNS, cells)
        .strategy(Refused(POLICIES))
}

const COLUMNS: &[Column] = &[
    NAME,
    integer("Validations", "How many validations it has."),
    text("ParamKind", "The kind of objects that it takes parameters from."),
    AGE,
];

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let kind = object.get(&["spec", "paramKind"]).filter(|kind| !kind.is_null());
    let kind = kind.map(|kind| format!("{}/{}", text_of(kind, "apiVersion"), text_of(kind, "kind")));
    vec![
        object.name().into(),
        object.get_list(&["spec", "validations"]).len().into(),
        kind.unwrap_or_else(|| "<unset>".to_owned()).into(),
        age(object, now),
    ]
}
