//! Expressions that definitions and policies bring along are looked at before they are taken.

use serde_json::{Value, json};

use crate::table::Table;

fn definition(schema: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

fn ruled(rule: Value) -> Value {
    let schema = json!({"type": "object", "properties": {"spec": {
        "type": "object", "properties": {
            "count": {"type": "integer"}, "long": {"type": "string"},
            "parts": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}}},
        "x-kubernetes-validations": [rule],
    }}});
    json!({"spec": {"versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
}

#[test]
fn rules_of_definitions() {
    const AT: &str = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0]";
    let mismatch = format!("{AT}.rule: Invalid value");
    let expensive =
        format!("{AT}.rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x");
    let contributed = format!("{AT}.rule: Forbidden: contributed to estimated rule cost total");
    const TOTAL: &str =
        "spec.validation.openAPIV3Schema: Forbidden: x-kubernetes-validations estimated rule cost total";
    let message = format!("{AT}.messageExpression: Invalid value");
    let optional =
        format!("{AT}.optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule");
    let path = format!("{AT}.fieldPath: Invalid value: \".other\": must be a valid path");
    Table::of(definition(&json!({"type": "object"})))
        .good(&[
            ruled(json!({"rule": "self.count > 0", "message": "more"})),
            ruled(json!({"rule": "self.count >= oldSelf.count", "reason": "FieldValueForbidden", "fieldPath": ".count"})),
            ruled(json!({"rule": "self.count > 0", "messageExpression": "'not %d'.format([self.count])"})),
            ruled(json!({"rule": "!oldSelf.hasValue() || self.count > 0", "optionalOldSelf": true})),
        ])
        .bad(&[
            (ruled(json!({"rule": "self.count == 'a'"})), &[&mismatch]),
            (ruled(json!({"rule": "self.other > 0"})), &[&mismatch]),
            (ruled(json!({"rule": "self.count"})), &[&mismatch]),
            (ruled(json!({"rule": "self.long.contains(self.long)"})), &[&expensive, &contributed, TOTAL]),
            (ruled(json!({"rule": "true", "messageExpression": "1"})), &[&message]),
            (ruled(json!({"rule": "true", "optionalOldSelf": true})), &[&optional]),
            (ruled(json!({"rule": "true", "fieldPath": ".other"})), &[&path]),
        ]);
}

#[test]
fn policies() {
    let with = |name: &str, value: Value| json!({"spec": {name: value}});
    let validation = |value: Value| with("validations", json!([value]));
    Table::of(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "x"},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"],
            }]},
            "variables": [{"name": "replicas", "expression": "object.spec.replicas"}],
            "validations": [{"expression": "variables.replicas <= 5"}],
        },
    }))
    .good(&[
        with("failurePolicy", json!("Ignore")),
        validation(json!({"expression": "has(variables.replicas)", "messageExpression": "'no'", "reason": "Forbidden"})),
        validation(json!({"expression": "authorizer.group('').resource('pods').check('get').allowed()"})),
        validation(json!({"expression": "authorizer.requestResource.check('get').allowed()"})),
        validation(json!({"expression": "request.userInfo.groups.exists(g, g == 'a') && request.operation == 'CREATE'"})),
        with("matchConditions", json!([{"name": "a", "expression": "oldObject == null"}])),
        with("auditAnnotations", json!([{"key": "a", "valueExpression": "'b'"}])),
    ])
    .bad(&[
        (with("failurePolicy", json!("Never")), &["spec.failurePolicy: Unsupported value: \"Never\""]),
        (with("validations", json!([])), &["spec.validations: Required value", "spec.auditAnnotations: Required value"]),
        (with("matchConstraints", json!(null)), &["spec.matchConstraints: Required value"]),
        (validation(json!({"expression": ""})), &["spec.validations[0].expression: Required value"]),
        (validation(json!({"expression": "1"})), &["spec.validations[0].expression: Invalid value: \"1\": must evaluate to bool"]),
        (validation(json!({"expression": "params.x"})), &["spec.validations[0].expression: Invalid value: \"params.x\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'"]),
        (validation(json!({"expression": "request.other"})), &["spec.validations[0].expression: Invalid value"]),
        (validation(json!({"expression": "variables.other"})), &["spec.validations[0].expression: Invalid value"]),
        (validation(json!({"expression": "true", "messageExpression": "1"})), &["spec.validations[0].messageExpression: Invalid value: \"1\": must evaluate to string"]),
        (validation(json!({"expression": "true", "reason": "Because"})), &["spec.validations[0].reason: Unsupported value: \"Because\""]),
        (with("matchConditions", json!([{"name": "", "expression": "variables.replicas > 1"}])), &["spec.matchConditions[0].expression: Invalid value", "spec.matchConditions[0].name: Required value"]),
    ]);
    Table::of(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "x"}, "spec": {"policyName": "p", "validationActions": ["Deny"]},
    }))
    .good(&[
        with("validationActions", json!(["Warn", "Audit"])),
        with("paramRef", json!({"name": "n", "parameterNotFoundAction": "Deny"})),
    ])
    .bad(&[
        (with("policyName", json!("")), &["spec.policyName: Required value"]),
        (with("validationActions", json!([])), &["spec.validationActions: Required value"]),
        (with("validationActions", json!(["Deny", "Warn"])), &["spec.validationActions: Invalid value"]),
        (with("paramRef", json!({"parameterNotFoundAction": "Deny"})), &["spec.paramRef: Required value"]),
        (with("paramRef", json!({"name": "n"})), &["spec.paramRef.parameterNotFoundAction: Required value"]),
    ]);
}
