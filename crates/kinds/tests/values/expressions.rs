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

/// Variables each of which is deep and speaks of the one before.
fn nested(count: usize) -> Value {
    let terms = " + 1".repeat(200);
    let before =
        |number: usize| if number == 0 { "1".to_owned() } else { format!("variables.v{}", number - 1) };
    (0..count)
        .map(|n| json!({"name": format!("v{n}"), "expression": format!("{}{terms}", before(n))}))
        .collect()
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
        validation(json!({"expression": "object.spec.replicas\n<= 5"})),
    ])
    .bad(&[
        (with("failurePolicy", json!("Never")), &["spec.failurePolicy: Unsupported value: \"Never\""]),
        (with("validations", json!([])), &["spec.validations: Required value", "spec.auditAnnotations: Required value"]),
        (with("matchConstraints", json!(null)), &["spec.matchConstraints: Required value"]),
        (validation(json!({"expression": ""})), &["spec.validations[0].expression: Required value"]),
        (validation(json!({"expression": "1"})), &["spec.validations[0].expression: Invalid value: \"1\": must evaluate to bool but got int"]),
        (validation(json!({"expression": "params.x"})), &["spec.validations[0].expression: Invalid value: \"params.x\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'"]),
        (validation(json!({"expression": "request.other"})), &["spec.validations[0].expression: Invalid value"]),
        (validation(json!({"expression": "variables.other"})), &["spec.validations[0].expression: Invalid value"]),
        (validation(json!({"expression": "true", "messageExpression": "1"})), &["spec.validations[0].messageExpression: Invalid value: \"1\": must evaluate to string but got int"]),
        (validation(json!({"expression": "true", "messageExpression": "object.metadata.name"})), &["spec.validations[0].messageExpression: Invalid value: \"object.metadata.name\": must evaluate to string but got dyn"]),
        (validation(json!({"expression": "true", "messageExpression": "authorizer.path('/').check('get').reason()"})), &["spec.validations[0].messageExpression: Invalid value"]),
        (validation(json!({"expression": "true", "message": "a\nb"})), &["spec.validations[0].message: Invalid value: \"a\\nb\": message must not contain line breaks"]),
        (with("paramKind", json!({"apiVersion": "a/b/c", "kind": "K_"})), &["spec.paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c", "spec.paramKind.kind: Invalid value: \"K_\": may have mixed case"]),
        (with("auditAnnotations", (0..21).map(|n| json!({"key": format!("k{n}"), "valueExpression": "'a'"})).collect()), &["spec.auditAnnotations: Invalid value"]),
        (json!({"spec": {"variables": nested(4), "validations": [{"expression": "true"}]}}), &["spec.variables[3].expression: Invalid value"]),
        (json!({"spec": {"variables": (0..1001).map(|n| json!({"name": format!("v{n}"), "expression": "1"})).collect::<Value>(), "validations": [{"expression": "true"}]}}), &["spec.variables: Too many: 1001: must have at most 1000 items"]),
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

#[test]
fn policies_that_change_writes() {
    let with = |name: &str, value: Value| json!({"spec": {name: value}});
    let mutation = |value: Value| with("mutations", json!([value]));
    let apply = |expression: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}});
    let patch = |expression: &str| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
    let rule = |operations: Value| {
        json!({"resourceRules": [{
            "operations": operations, "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
        }]})
    };
    let both = json!({
        "patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/a'}]"},
        "applyConfiguration": {"expression": "Object{}"},
    });
    let deletes = "resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \
                   \"CREATE\", \"UPDATE\"";
    Table::of(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "x"},
        "spec": {
            "matchConstraints": rule(json!(["CREATE"])),
            "variables": [{"name": "names", "expression": "object.spec.containers.map(c, c.name)"}],
            "mutations": [apply("Object{spec: Object.spec{replicas: 1}}")], "reinvocationPolicy": "Never",
        },
    }))
    .good(&[
        with("failurePolicy", json!("Ignore")),
        with("reinvocationPolicy", json!("IfNeeded")),
        with("matchConstraints", rule(json!(["*"]))),
        mutation(patch("variables.names.map(n, JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey(n), value: n})")),
        json!({"spec": {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "mutations": [apply("Object{data: params.data}")]}}),
    ])
    .bad(&[
        (with("mutations", json!([])), &["spec.mutations: Required value: mutations must contain at least one item"]),
        (with("reinvocationPolicy", json!(null)), &["spec.reinvocationPolicy: Required value"]),
        (with("reinvocationPolicy", json!("Once")), &["spec.reinvocationPolicy: Unsupported value: \"Once\""]),
        (with("matchConstraints", rule(json!(["DELETE"]))), &[&format!("spec.matchConstraints.{deletes}")]),
        (mutation(json!({})), &["spec.mutations[0].patchType: Required value"]),
        (mutation(json!({"patchType": "Merge"})), &["spec.mutations[0].patchType: Unsupported value: \"Merge\": supported values: \"ApplyConfiguration\", \"JSONPatch\""]),
        (mutation(json!({"patchType": "JSONPatch"})), &["spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch"]),
        (mutation(both), &["spec.mutations[0].applyConfiguration: Invalid value: \"{applyConfiguration}\": must not be specified when patchType is JSONPatch"]),
        (mutation(patch(" ")), &["spec.mutations[0].jsonPatch.expression: Required value"]),
        (mutation(patch("[1]")), &["spec.mutations[0].jsonPatch.expression: Invalid value: \"[1]\": must evaluate to list(JSONPatch) but got list(int)"]),
        (mutation(apply("'a'")), &["spec.mutations[0].applyConfiguration.expression: Invalid value: \"'a'\": must evaluate to Object but got string"]),
        (mutation(apply("Object{data: params.data}")), &["spec.mutations[0].applyConfiguration.expression: Invalid value"]),
    ]);
    let sound = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "x"}, "spec": {"policyName": "p"},
    });
    Table::of(sound)
        .good(&[
            with("paramRef", json!({"selector": {}, "parameterNotFoundAction": "Allow"})),
            with("matchResources", rule(json!(["UPDATE"]))),
        ])
        .bad(&[
            (with("policyName", json!("A!")), &["spec.policyName: Invalid value: \"A!\""]),
            (with("matchResources", rule(json!(["DELETE"]))), &[&format!("spec.matchResources.{deletes}")]),
            (
                with("paramRef", json!({"name": "a/b", "selector": {}, "parameterNotFoundAction": "Deny"})),
                &[
                    "spec.paramRef.name: Invalid value: \"a/b\"",
                    "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
                    "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
                ],
            ),
        ]);
}
