//! What must hold of lists of webhooks.

use std::collections::BTreeSet;

use model::field::{FieldError, Path};
use model::validate::{Errors, list, metadata, number, text};
use model::{Object, names};
use serde_json::Value;

use super::client;
use crate::admission::policies::check_conditions;

/// The versions of reviews that are sent, in the order in which they are told.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];
const SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];

pub(super) fn mutating(object: &Object, errors: &mut Errors) {
    webhooks(object, errors, |webhook, path, errors| {
        word(errors, webhook, "reinvocationPolicy", path, &REINVOCATION_POLICIES);
    });
}

pub(super) fn validating(object: &Object, errors: &mut Errors) {
    webhooks(object, errors, |_, _, _| {});
}

fn webhooks(object: &Object, errors: &mut Errors, more: fn(&Value, &Path<'_>, &mut Errors)) {
    let path = Path::root("webhooks");
    let mut known = BTreeSet::new();
    for (index, webhook) in object.get_list(&["webhooks"]).iter().enumerate() {
        let path = path.index(index);
        one(webhook, &path, errors, more);
        versions(list(webhook, "admissionReviewVersions"), &path.child("admissionReviewVersions"), errors);
        let name = text(webhook, "name");
        if !name.is_empty() && !known.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
    }
}

/// A word that may be left out.
fn word(errors: &mut Errors, value: &Value, name: &str, path: &Path<'_>, allowed: &[&str]) {
    let Some(word) = value.get(name).and_then(Value::as_str) else { return };
    if !allowed.contains(&word) {
        errors.push(FieldError::not_supported(&path.child(name), word, allowed));
    }
}

fn one(webhook: &Value, path: &Path<'_>, errors: &mut Errors, more: fn(&Value, &Path<'_>, &mut Errors)) {
    qualified_name(text(webhook, "name"), &path.child("name"), errors);
    let rules = path.child("rules");
    for (index, rule) in list(webhook, "rules").iter().enumerate() {
        rule_with_operations(rule, &rules.index(index), errors);
    }
    word(errors, webhook, "failurePolicy", path, &FAILURE_POLICIES);
    word(errors, webhook, "matchPolicy", path, &MATCH_POLICIES);
    if webhook.get("sideEffects").is_none_or(Value::is_null) {
        let why = format!("must specify one of {}", SIDE_EFFECTS.join(", "));
        errors.push(FieldError::required(&path.child("sideEffects"), why));
    }
    word(errors, webhook, "sideEffects", path, &SIDE_EFFECTS);
    if let Some(seconds) = number(webhook, "timeoutSeconds").filter(|seconds| !(1..=30).contains(seconds)) {
        let why = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(&path.child("timeoutSeconds"), seconds, why));
    }
    for name in ["namespaceSelector", "objectSelector"] {
        if let Some(selector) = webhook.get(name).filter(|selector| !selector.is_null()) {
            metadata::selector(selector, &path.child(name), errors);
        }
    }
    more(webhook, path, errors);
    let nothing = Value::Null;
    client::rules(webhook.get("clientConfig").unwrap_or(&nothing), &path.child("clientConfig"), errors);
    check_conditions(webhook, path, errors);
}

fn qualified_name(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let wrong = names::dns1123_subdomain(name);
    if !wrong.is_empty() {
        errors.push(FieldError::invalid(path, name, wrong.join(",")));
    } else if name.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        errors.push(FieldError::invalid(path, name, why));
    }
}

/// What must hold of a rule that says of which requests somebody is asked.
pub(crate) fn rule_with_operations(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    let operations = path.child("operations");
    at_least_one(rule, "operations", "if '*' is present, must not specify other operations", path, errors);
    for (index, operation) in list(rule, "operations").iter().enumerate() {
        let operation = operation.as_str().unwrap_or_default();
        if !OPERATIONS.contains(&operation) {
            errors.push(FieldError::not_supported(&operations.index(index), operation, &OPERATIONS));
        }
    }
    at_least_one(rule, "apiGroups", "if '*' is present, must not specify other API groups", path, errors);
    at_least_one(rule, "apiVersions", "if '*' is present, must not specify other API versions", path, errors);
    let versions = path.child("apiVersions");
    for (index, version) in list(rule, "apiVersions").iter().enumerate() {
        if version.as_str().unwrap_or_default().is_empty() {
            errors.push(FieldError::required(&versions.index(index), ""));
        }
    }
    resources(list(rule, "resources"), &path.child("resources"), errors);
    word(errors, rule, "scope", path, &SCOPES);
}

fn at_least_one(rule: &Value, name: &str, why: &str, path: &Path<'_>, errors: &mut Errors) {
    let all = list(rule, name);
    if all.is_empty() {
        errors.push(FieldError::required(&path.child(name), ""));
    } else if all.len() > 1 && all.iter().any(|one| one == "*") {
        errors.push(FieldError::invalid(&path.child(name), all.to_vec(), why));
    }
}

fn resources(all: &[Value], path: &Path<'_>, errors: &mut Errors) {
    if all.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    // `x/*` and `*/x`, as far as they have been seen.
    let (mut whole, mut everywhere) = (BTreeSet::new(), BTreeSet::new());
    let mut is_named = false;
    for (index, named) in all.iter().enumerate() {
        let named = named.as_str().unwrap_or_default();
        if named.is_empty() {
            errors.push(FieldError::required(&path.index(index), ""));
            continue;
        }
        let Some((resource, subresource)) = named.split_once('/') else {
            is_named = named != "*";
            continue;
        };
        let mut refuse = |why: String| errors.push(FieldError::invalid(&path.index(index), named, why));
        if whole.contains(resource) {
            refuse(format!("if '{resource}/*' is present, must not specify {named}"));
        }
        if everywhere.contains(subresource) {
            refuse(format!("if '*/{subresource}' is present, must not specify {named}"));
        }
        if subresource == "*" {
            whole.insert(resource);
        }
        if resource == "*" {
            everywhere.insert(subresource);
        }
    }
    let has = |wanted: &str| all.iter().any(|one| one == wanted);
    if all.len() > 1 && has("*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        errors.push(FieldError::invalid(path, all.to_vec(), why));
    }
    if has("*") && is_named {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.push(FieldError::invalid(path, all.to_vec(), why));
    }
}

fn versions(all: &[Value], path: &Path<'_>, errors: &mut Errors) {
    if all.is_empty() {
        errors.push(FieldError::required(path, format!("must specify one of {}", VERSIONS.join(", "))));
        return;
    }
    let (mut seen, mut is_known) = (BTreeSet::new(), false);
    for (index, version) in all.iter().enumerate() {
        let (path, version) = (path.index(index), version.as_str().unwrap_or_default());
        if !seen.insert(version) {
            errors.push(FieldError::invalid(&path, version, "duplicate version"));
            continue;
        }
        for why in names::dns1035_label(version) {
            errors.push(FieldError::invalid(&path, version, why));
        }
        is_known |= VERSIONS.contains(&version);
    }
    if !is_known {
        let why = format!("must include at least one of {}", VERSIONS.join(", "));
        errors.push(FieldError::invalid(path, all.to_vec(), why));
    }
}

#[cfg(test)]
mod tests {
    use model::field::aggregate;
    use serde_json::json;

    use super::*;

    /// A webhook with something of it changed; null takes something away.
    fn check(change: Value, expected: &[&str]) {
        let mut webhook = json!({
            "name": "a.example.org", "clientConfig": {"url": "https://a"}, "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "rules": [{
                "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
            }],
        });
        for (name, value) in change.as_object().into_iter().flatten() {
            match value {
                Value::Null => drop(webhook.as_object_mut().expect("fields").remove(name)),
                value => webhook[name] = value.clone(),
            }
        }
        let object = json!({"metadata": {"name": "x"}, "webhooks": [webhook]});
        let mut errors = Errors::new();
        mutating(&Object::from_value(object).expect("an object"), &mut errors);
        let found: Vec<String> = errors.iter().map(|error| aggregate(std::slice::from_ref(error))).collect();
        assert_eq!(found, expected, "{change}");
    }

    fn rule(change: Value) -> Value {
        let mut rule = json!({
            "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
        });
        for (name, value) in change.as_object().into_iter().flatten() {
            rule[name] = value.clone();
        }
        json!({"rules": [rule]})
    }

    #[test]
    fn webhooks_are_named_once_and_in_full() {
        check(json!({}), &[]);
        check(json!({"name": ""}), &["webhooks[0].name: Required value"]);
        check(
            json!({"name": "a.b"}),
            &[
                "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots",
            ],
        );
        let object = json!({"metadata": {"name": "x"}, "webhooks": [
            {"name": "a.b.c", "clientConfig": {"url": "https://a"}, "sideEffects": "None", "admissionReviewVersions": ["v1"]},
            {"name": "a.b.c", "clientConfig": {"url": "https://a"}, "sideEffects": "None", "admissionReviewVersions": ["v1"]},
        ]});
        let mut errors = Errors::new();
        validating(&Object::from_value(object).expect("an object"), &mut errors);
        assert_eq!(aggregate(&errors), "webhooks[1].name: Duplicate value: \"a.b.c\"");
    }

    #[test]
    fn what_can_be_chosen_is_one_of_a_few() {
        check(
            json!({"sideEffects": null}),
            &["webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"],
        );
        check(
            json!({"sideEffects": "Some"}),
            &[
                "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
            ],
        );
        check(
            json!({"failurePolicy": "Retry", "matchPolicy": "x", "reinvocationPolicy": "Always"}),
            &[
                "webhooks[0].failurePolicy: Unsupported value: \"Retry\": supported values: \"Fail\", \"Ignore\"",
                "webhooks[0].matchPolicy: Unsupported value: \"x\": supported values: \"Equivalent\", \"Exact\"",
                "webhooks[0].reinvocationPolicy: Unsupported value: \"Always\": supported values: \"IfNeeded\", \"Never\"",
            ],
        );
        for seconds in [0, 31] {
            let expected = format!(
                "webhooks[0].timeoutSeconds: Invalid value: {seconds}: the timeout value must be between 1 and 30 seconds"
            );
            check(json!({"timeoutSeconds": seconds}), &[&expected]);
        }
        check(
            json!({"matchConditions": [{"name": "a", "expression": "x"}]}),
            &[
                "webhooks[0].matchConditions[0].expression: Invalid value: \"x\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'x' (in container '')\n | x\n | ^",
            ],
        );
        check(
            json!({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}),
            &[
                "webhooks[0].objectSelector.matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator",
            ],
        );
    }

    #[test]
    fn versions_are_ones_that_are_sent() {
        check(
            json!({"admissionReviewVersions": null}),
            &["webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1"],
        );
        check(
            json!({"admissionReviewVersions": ["v2"]}),
            &[
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1",
            ],
        );
        check(
            json!({"admissionReviewVersions": ["v2", "v1", "v1"]}),
            &["webhooks[0].admissionReviewVersions[2]: Invalid value: \"v1\": duplicate version"],
        );
    }

    #[test]
    fn rules_say_of_what() {
        let at = "webhooks[0].rules[0]";
        check(
            rule(json!({"operations": [], "apiGroups": [], "apiVersions": [], "resources": []})),
            &["operations", "apiGroups", "apiVersions", "resources"]
                .map(|name| format!("{at}.{name}: Required value"))
                .each_ref()
                .map(String::as_str),
        );
        check(
            rule(json!({"operations": ["LOOK"]})),
            &[
                "webhooks[0].rules[0].operations[0]: Unsupported value: \"LOOK\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"",
            ],
        );
        check(
            rule(json!({"scope": "World", "resources": ["*/*"]})),
            &[
                "webhooks[0].rules[0].scope: Unsupported value: \"World\": supported values: \"*\", \"Cluster\", \"Namespaced\"",
            ],
        );
        for (resources, why) in [
            (json!(["*/*", "pods"]), Some("if '*/*' is present, must not specify other resources")),
            (
                json!(["*", "pods"]),
                Some("if '*' is present, must not specify other resources without subresources"),
            ),
            (json!(["*", "pods/status"]), None),
            (json!(["pods", "pods/status"]), None),
        ] {
            let expected = why.map(|why| format!("{at}.resources: Invalid value: {}: {why}", resources));
            check(
                rule(json!({"resources": resources})),
                &expected.iter().map(String::as_str).collect::<Vec<_>>(),
            );
        }
        check(
            rule(json!({"resources": ["pods/*", "pods/status", "*/scale", "apps/scale"]})),
            &[
                "webhooks[0].rules[0].resources[1]: Invalid value: \"pods/status\": if 'pods/*' is present, must not specify pods/status",
                "webhooks[0].rules[0].resources[3]: Invalid value: \"apps/scale\": if '*/scale' is present, must not specify apps/scale",
            ],
        );
    }
}
