//! MutatingAdmissionPolicyBindings: which writes a policy changes.

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age, text};
use base::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicyBinding;
use model::Object;
use model::validate::text as text_of;
use serde_json::Value;

use crate::refused::{POLICIES, Refused};

pub(crate) fn resource() -> Resource {
    Resource::of::<MutatingAdmissionPolicyBinding>()
        .category("api-extensions")
        .columns(COLUMNS, cells)
        .strategy(Refused(POLICIES))
}

const COLUMNS: &[Column] = &[
    NAME,
    text("PolicyName", "The policy."),
    text("ParamRef", "The object that it takes parameters from."),
    AGE,
];

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
