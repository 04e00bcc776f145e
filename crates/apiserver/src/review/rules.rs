//! All that the caller may do in a namespace.

use model::Object;
use serde_json::{Map, Value, json};

use crate::authorisation::PolicyRule;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::state::State;

/// What may the caller?
pub(super) fn of_caller(state: &State, identity: &Identity, review: &mut Object) -> Result<Value> {
    let namespace = review.get_str(&["spec", "namespace"]).unwrap_or_default().to_owned();
    if namespace.is_empty() {
        return Err(Error::bad_request("no namespace on request"));
    }
    let known = state.authorizer.rules(identity, &namespace);
    // Kubernetes does not repeat the question.
    review.set(&["spec"], json!({}));
    let resources = known.rules.iter().filter(|rule| !rule.resources.is_empty()).map(of_resources);
    let paths = known.rules.iter().filter(|rule| !rule.non_resource_urls.is_empty()).map(of_paths);
    let mut status = json!({
        "resourceRules": resources.collect::<Vec<_>>(),
        "nonResourceRules": paths.collect::<Vec<_>>(),
        "incomplete": known.incomplete,
    });
    if !known.errors.is_empty() {
        status["evaluationError"] = known.errors.join(", ").into();
    }
    Ok(status)
}

fn of_resources(rule: &PolicyRule) -> Value {
    let parts = [
        ("verbs", &rule.verbs),
        ("apiGroups", &rule.api_groups),
        ("resources", &rule.resources),
        ("resourceNames", &rule.resource_names),
    ];
    told(&parts)
}

fn of_paths(rule: &PolicyRule) -> Value {
    told(&[("verbs", &rule.verbs), ("nonResourceURLs", &rule.non_resource_urls)])
}

fn told(parts: &[(&str, &Vec<String>)]) -> Value {
    let filled = parts.iter().filter(|(_, values)| !values.is_empty());
    Value::Object(filled.map(|(name, values)| ((*name).to_owned(), json!(values))).collect::<Map<_, _>>())
}
