//! What admission policies and their bindings have in common, be they to change writes or to look at them: how they
//! are shown, and that none can be made yet.

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age, integer, text};
use base::Timestamp;
use model::Object;
use model::validate::text as text_of;
use serde_json::Value;

use crate::refused::{POLICIES, Refused};

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

/// A kind of policies, with what `list` of its spec has in these columns.
pub(crate) fn policy(resource: Resource, columns: &'static [Column], list: &'static str) -> Resource {
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
    resource.category("api-extensions").columns(columns, cells).strategy(Refused(POLICIES))
}

/// A kind of bindings of policies.
pub(crate) fn binding(resource: Resource) -> Resource {
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
    resource.category("api-extensions").columns(OF_BINDINGS, cells).strategy(Refused(POLICIES))
}
