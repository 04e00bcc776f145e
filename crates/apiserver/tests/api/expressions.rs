//! What expressions say of writes: rules of definitions, and policies.

use std::sync::Arc;

use apiserver::{
    Attributes, Authorizer, Deciding, Decision, Identity, KnownRules, PolicyRule, ResourceAttributes, decided,
};
use serde_json::{Value, json};

use crate::cluster::{Cluster, deployment};
use crate::definitions::define;
use crate::roles::grant;

const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object",
                "x-kubernetes-validations": [{"rule": "self.metadata.name.startsWith('w')", "message": "a name with w"}],
                "properties": {"spec": {
                    "type": "object",
                    "properties": {
                        "count": {"type": "integer"}, "most": {"type": "integer"},
                        "parts": {
                            "type": "array", "maxItems": 10, "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["name"],
                            "items": {
                                "type": "object", "required": ["name"],
                                "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
                                "x-kubernetes-validations": [{"rule": "self.size >= oldSelf.size", "message": "parts grow"}],
                            },
                        },
                    },
                    "x-kubernetes-validations": [
                        {"rule": "self.count <= self.most",
                         "messageExpression": "'%d is more than %d'.format([self.count, self.most])",
                         "fieldPath": ".count"},
                        {"rule": "self.most >= oldSelf.most", "message": "only more", "reason": "FieldValueForbidden"},
                    ],
                }},
            }}}],
        },
    })
}

fn widget(name: &str, count: i64, most: i64, size: i64) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name},
           "spec": {"count": count, "most": most, "parts": [{"name": "a", "size": size}]}})
}

fn message(answer: &Value) -> &str {
    answer["message"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_meet_the_rules_of_their_definition() {
    let cluster = Cluster::start().await;
    define(&cluster, &definition()).await;
    let refused = |answer: &(u16, Value), wanted: &str| {
        assert_eq!(answer.0, 422, "{}", answer.1);
        assert!(message(&answer.1).contains(wanted), "{}", answer.1);
    };
    refused(&cluster.send("POST", WIDGETS, &widget("x", 1, 2, 1)).await, "Invalid value: a name with w");
    let answer = cluster.send("POST", WIDGETS, &widget("w", 3, 2, 1)).await;
    refused(&answer, "spec.count: Invalid value: 3 is more than 2");
    let mut now = cluster.ok("POST", WIDGETS, &widget("w", 1, 2, 1)).await;
    let path = format!("{WIDGETS}/w");
    now["spec"]["most"] = json!(1);
    refused(&cluster.send("PUT", &path, &now).await, "spec: Forbidden: only more");
    now["spec"]["most"] = json!(5);
    now["spec"]["parts"][0]["size"] = json!(0);
    refused(&cluster.send("PUT", &path, &now).await, "spec.parts[0]: Invalid value: parts grow");
    now["spec"]["parts"][0]["size"] = json!(2);
    let now = cluster.ok("PUT", &path, &now).await;
    assert_eq!(now["spec"]["most"], 5);
}

fn policy(spec: Value) -> Value {
    let mut policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "p"},
        "spec": {"matchConstraints": {"resourceRules": [{
            "operations": ["CREATE", "UPDATE", "DELETE"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["configmaps"],
        }]}},
    });
    for (name, value) in spec.as_object().expect("fields") {
        policy["spec"][name] = value.clone();
    }
    policy
}

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_say_what_may_be_written() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", MAPS, &map("limit", json!({"longest": "3"}))).await;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "not-the-limit", "expression": "request.name != 'limit'"}],
        "variables": [
            {"name": "longest", "expression": "int(params.data.longest)"},
            {"name": "value", "expression": "object.?data.value.orValue('')"},
        ],
        "validations": [
            {"expression": "request.operation == 'DELETE' || variables.value.size() <= variables.longest",
             "messageExpression": "variables.value + ' is longer than ' + string(variables.longest)"},
            {"expression": "!has(request.name) || request.name != 'secret' || \
                            authorizer.group('').resource('secrets').namespace('default').check('list').allowed()",
             "message": "who makes this may list secrets", "reason": "Forbidden"},
            {"expression": "object == null || namespaceObject.metadata.name == 'default'"},
        ],
    });
    cluster.ok("POST", POLICIES, &policy(spec)).await;
    // Nobody asks a policy that nothing binds.
    cluster.ok("POST", MAPS, &map("a", json!({"value": "longer"}))).await;
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "b"},
        "spec": {"policyName": "p", "validationActions": ["Deny"],
                 "paramRef": {"name": "limit", "namespace": "default", "parameterNotFoundAction": "Deny"}},
    });
    cluster.ok("POST", BINDINGS, &binding).await;
    let denied = testkit::wait_until_async("a policy to be asked", || async {
        let (code, answer) = cluster.send("POST", MAPS, &map("b", json!({"value": "longer"}))).await;
        if code == 422 {
            return Ok(answer);
        }
        let _ = cluster.send("DELETE", &format!("{MAPS}/b"), &json!({})).await;
        Err(format!("{code} {answer}"))
    })
    .await;
    assert_eq!(
        message(&denied),
        "configmaps \"b\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: longer is longer \
         than 3"
    );
    assert_eq!(denied["reason"], "Invalid");
    cluster.ok("POST", MAPS, &map("c", json!({"value": "abc"}))).await;
    cluster.ok("POST", MAPS, &map("secret", json!({}))).await;
    // What was there before stays, and can go.
    let (code, answer) =
        cluster.send("PUT", &format!("{MAPS}/a"), &map("a", json!({"value": "longer"}))).await;
    assert_eq!(code, 422, "{answer}");
    cluster.ok("DELETE", &format!("{MAPS}/a"), &json!({})).await;
    // Parameters are those of now.
    cluster.ok("PUT", &format!("{MAPS}/limit"), &map("limit", json!({"longest": "10"}))).await;
    testkit::wait_until_async("a parameter to be seen", || async {
        let (code, answer) = cluster.send("POST", MAPS, &map("d", json!({"value": "longer"}))).await;
        if code == 201 { Ok(()) } else { Err(format!("{code} {answer}")) }
    })
    .await;
    // One that cannot be evaluated denies.
    cluster.ok("PUT", &format!("{MAPS}/limit"), &map("limit", json!({"longest": "x"}))).await;
    let failed = testkit::wait_until_async("a parameter to be seen", || async {
        let (code, answer) = cluster.send("POST", MAPS, &map("e", json!({}))).await;
        if code == 422 {
            return Ok(answer);
        }
        let _ = cluster.send("DELETE", &format!("{MAPS}/e"), &json!({})).await;
        Err(format!("{code} {answer}"))
    })
    .await;
    assert!(message(&failed).contains("fails to evaluate"), "{failed}");
    cluster.ok("DELETE", &format!("{BINDINGS}/b"), &json!({})).await;
}

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const MUTATING_BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings";

/// A policy that changes ConfigMaps, and its binding.
async fn mutates(cluster: &Cluster, name: &str, spec: Value, bound: Value) {
    let mut policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {"reinvocationPolicy": "Never", "matchConstraints": {"resourceRules": [{
            "operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
        }]}},
    });
    for (name, value) in spec.as_object().expect("fields") {
        policy["spec"][name] = value.clone();
    }
    cluster.ok("POST", MUTATING, &policy).await;
    let mut binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": format!("{name}-b")}, "spec": {"policyName": name},
    });
    for (name, value) in bound.as_object().expect("fields") {
        binding["spec"][name] = value.clone();
    }
    cluster.ok("POST", MUTATING_BINDINGS, &binding).await;
}

fn apply(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn patch(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

/// What is to be sent; expressions see it as it is sent, without what it lacks.
fn seen(name: &str, data: Value) -> Value {
    let mut map = map(name, data);
    map["metadata"]["labels"] = json!({"mutate": "yes"});
    map
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_change_what_is_written() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", MAPS, &map("names", json!({"team": "blue"}))).await;
    let only = json!({"objectSelector": {"matchLabels": {"mutate": "yes"}}});
    // In the order of names: the first is asked again about what the second changes, once.
    let spec = json!({
        "reinvocationPolicy": "IfNeeded",
        "variables": [{"name": "count", "expression": "has(object.data.count) ? int(object.data.count) : 0"}],
        "mutations": [apply("Object{data: {'count': string(variables.count + 1)}}")],
    });
    mutates(&cluster, "a-counts", spec, json!({"matchResources": only})).await;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "not-plain", "expression": "request.name != 'plain'"}],
        "mutations": [
            patch("[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/team'), \
                   value: params.data.team}]"),
            // What the one before has made is what this one sees; a test that fails changes nothing.
            patch("[JSONPatch{op: 'test', path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/team'), \
                   value: 'blue'}, JSONPatch{op: 'add', path: '/data/blue', value: object.metadata.labels['example.com/team']}]"),
        ],
    });
    let bound = json!({
        "matchResources": only,
        "paramRef": {"name": "names", "namespace": "default", "parameterNotFoundAction": "Deny"},
    });
    mutates(&cluster, "b-teams", spec, bound).await;
    let made = cluster.ok("POST", MAPS, &seen("m", json!({}))).await;
    assert_eq!(made["data"], json!({"count": "2", "blue": "blue"}), "{made}");
    assert_eq!(made["metadata"]["labels"], json!({"mutate": "yes", "example.com/team": "blue"}));
    let plain = cluster.ok("POST", MAPS, &seen("plain", json!({}))).await;
    assert_eq!(
        plain["data"],
        json!({"count": "2"}),
        "who changes something is asked again, as in Kubernetes"
    );
    let other = cluster.ok("POST", MAPS, &map("other", json!({}))).await;
    assert_eq!(other["data"], json!({}), "nothing was selected");
    // What is not stored is changed all the same, and nobody manages what policies set.
    let dry = cluster.ok("POST", &format!("{MAPS}?dryRun=All"), &seen("dry", json!({}))).await;
    assert_eq!(dry["data"]["blue"], "blue");
    let managed = made["metadata"]["managedFields"].to_string();
    assert!(managed.contains("f:mutate") && !managed.contains("f:count"), "{managed}");
    // Policies are no business of other policies; webhooks' configurations are.
    let spec = json!({
        "matchConstraints": {"resourceRules": [{
            "operations": ["*"], "apiGroups": ["admissionregistration.k8s.io"], "apiVersions": ["*"],
            "resources": ["*"],
        }]},
        "mutations": [apply("Object{metadata: Object.metadata{labels: {'seen': 'yes'}}}")],
    });
    mutates(&cluster, "c-labels", spec, json!({})).await;
    mutates(&cluster, "d-unseen", json!({"mutations": [apply("Object{}")]}), json!({})).await;
    let policy = cluster.ok("GET", &format!("{MUTATING}/d-unseen"), &json!({})).await;
    assert_eq!(policy["metadata"]["labels"], json!(null));
    let hooks = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "h"},
    });
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    assert_eq!(cluster.ok("POST", path, &hooks).await["metadata"]["labels"], json!({"seen": "yes"}));
    let (_, metrics) = cluster.text("/metrics").await;
    let checks = "apiserver_mutating_admission_policy_check_total{error_type=\"no_error\",policy=\"b-teams\",\
                  policy_binding=\"b-teams-b\"}";
    assert!(metrics.contains(checks), "{metrics}");
    let excluded = "apiserver_admission_match_condition_exclusions_total{kind=\"policy\",name=\"b-teams\",\
                    operation=\"CREATE\",type=\"validate\"}";
    assert!(metrics.contains(excluded), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_change_what_is_written_as_another_version_and_what_is_a_part() {
    let cluster = Cluster::start().await;
    let matches = |operation: &str, group: &str, resource: &str| {
        json!({"resourceRules": [{
            "operations": [operation], "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource],
        }]})
    };
    let spec = json!({
        "matchConstraints": matches("CREATE", "events.k8s.io", "events"),
        "matchConditions": [{"name": "note", "expression": "object.note == 'hello'"}],
        "mutations": [
            apply("Object{note: object.note + '!'}"),
            patch("[JSONPatch{op: 'replace', path: '/note', value: object.note + '!'}]"),
        ],
    });
    mutates(&cluster, "events", spec, json!({})).await;
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "R", "message": "hello",
    });
    let made = cluster.ok("POST", "/api/v1/namespaces/default/events", &event).await;
    assert_eq!((&made["message"], &made["apiVersion"]), (&json!("hello!!"), &json!("v1")), "{made}");
    // Conditions of webhooks see the same; nobody is there who could be asked.
    let mut hook = json!({
        "name": "h.example.com", "clientConfig": {"url": "https://192.0.2.1:9/h"}, "timeoutSeconds": 1,
        "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "matchConditions": [{"name": "note", "expression": "object.note == 'stop'"}],
    });
    hook["rules"] = matches("CREATE", "events.k8s.io", "events")["resourceRules"].clone();
    let hooks = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "h"}, "webhooks": [hook],
    });
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    cluster.ok("POST", path, &hooks).await;
    for (name, code) in [("go", 201), ("stop", 500)] {
        let mut event = event.clone();
        event["metadata"]["name"] = json!(name);
        event["message"] = json!(name);
        let answer = cluster.send("POST", "/api/v1/namespaces/default/events", &event).await;
        assert_eq!(answer.0, code, "{}", answer.1);
    }
    let spec = json!({
        "matchConstraints": matches("UPDATE", "apps", "deployments/scale"),
        "mutations": [apply("Object{spec: Object.spec{replicas: object.spec.replicas + oldObject.spec.replicas}}")],
    });
    mutates(&cluster, "scales", spec, json!({})).await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    cluster.ok("POST", path, &deployment("web", 2)).await;
    let mut scale = cluster.ok("GET", &format!("{path}/web/scale"), &json!({})).await;
    scale["spec"]["replicas"] = json!(5);
    let scaled = cluster.ok("PUT", &format!("{path}/web/scale"), &scale).await;
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(7)), "{scaled}");
    let whole = cluster.ok("GET", &format!("{path}/web"), &json!({})).await;
    assert_eq!(whole["spec"]["replicas"], 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_looked_at_as_what_it_is_where_a_rule_names_that() {
    let cluster = Cluster::start().await;
    let rule = |operation: &str, group: &str, version: &str, resource: &str| {
        json!({
            "operations": [operation], "apiGroups": [group], "apiVersions": [version], "resources": [resource],
        })
    };
    // The first rule would name it as another version.
    let rules = [rule("CREATE", "events.k8s.io", "v1", "events"), rule("CREATE", "", "v1", "events")];
    let spec = json!({
        "matchConstraints": {"resourceRules": rules},
        "mutations": [apply("Object{message: object.message + '!'}")],
    });
    mutates(&cluster, "events", spec, json!({})).await;
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "R", "message": "hello",
    });
    let made = cluster.ok("POST", "/api/v1/namespaces/default/events", &event).await;
    assert_eq!(made["message"], "hello!");
    // A scale is a scale, as whatever version of what has it it is asked for.
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
                "status": {"type": "object", "properties": {"size": {"type": "integer"}}},
            }}},
            "subresources": {"scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
        })
    };
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "sets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "sets", "kind": "Set"},
            "versions": [version("v1", true), version("v1beta1", false)],
        },
    });
    define(&cluster, &definition).await;
    let mut policy = policy(json!({
        "validations": [{"expression": "!has(object.spec.replicas) || object.spec.replicas <= 5"}],
    }));
    policy["spec"]["matchConstraints"] =
        json!({"resourceRules": [rule("UPDATE", "example.com", "v1beta1", "sets/scale")]});
    cluster.ok("POST", POLICIES, &policy).await;
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]},
    });
    cluster.ok("POST", BINDINGS, &binding).await;
    let sets = "/apis/example.com/v1/namespaces/default/sets";
    let set = json!({"apiVersion": "example.com/v1", "kind": "Set", "metadata": {"name": "s"}, "spec": {"size": 1}});
    cluster.ok("POST", sets, &set).await;
    let mut scale = cluster.ok("GET", &format!("{sets}/s/scale"), &json!({})).await;
    testkit::wait_until_async("a scale to be refused", || async {
        let mut scale = scale.clone();
        scale["spec"]["replicas"] = json!(100);
        let answer = cluster.send("PUT", &format!("{sets}/s/scale?dryRun=All"), &scale).await;
        if answer.0 == 422 { Ok(()) } else { Err(answer) }
    })
    .await;
    scale["spec"]["replicas"] = json!(4);
    cluster.ok("PUT", &format!("{sets}/s/scale"), &scale).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_that_cannot_change_something_say_so_or_pass() {
    let cluster = Cluster::start().await;
    let refused = |answer: (u16, Value), code: u16, reason: &str, wanted: &str| {
        assert_eq!((answer.0, answer.1["reason"].as_str()), (code, Some(reason)), "{}", answer.1);
        assert_eq!(message(&answer.1), wanted);
    };
    let spec = json!({"mutations": [
        apply("Object{data: {'first': 'yes'}}"), apply("Object{data: {'other': string(object.data.missing)}}"),
    ]});
    mutates(&cluster, "p", spec.clone(), json!({})).await;
    let why = "policy 'p' with binding 'p-b' denied request: expression 'Object{data: {'other': \
               string(object.data.missing)}}' resulted in error: no such key: missing";
    let answer = cluster.send("POST", MAPS, &map("m", json!({"a": "b"}))).await;
    assert_eq!(answer.1["details"]["causes"], json!([{"message": why}]), "{}", answer.1);
    refused(answer, 403, "Invalid", why);
    // Whoever may fail does what it can.
    let mut policy = cluster.ok("GET", &format!("{MUTATING}/p"), &json!({})).await;
    policy["spec"]["failurePolicy"] = json!("Ignore");
    cluster.ok("PUT", &format!("{MUTATING}/p"), &policy).await;
    let made = cluster.ok("POST", MAPS, &map("m", json!({"a": "b"}))).await;
    assert_eq!(made["data"], json!({"a": "b", "first": "yes"}));
    // What is no object of its kind is nobody's fault but the policy's, whatever that says of failures.
    policy["spec"]["mutations"] = json!([patch("[JSONPatch{op: 'add', path: '/spec', value: {}}]")]);
    policy["metadata"]["resourceVersion"] = json!(null);
    cluster.ok("PUT", &format!("{MUTATING}/p"), &policy).await;
    refused(
        cluster.send("POST", MAPS, &map("n", json!({}))).await,
        500,
        "InternalError",
        "Internal error occurred: strict decoding error: unknown field \"spec\"",
    );
    policy["spec"]["mutations"] = json!([patch("[JSONPatch{op: 'add', path: '/data', value: 1}]")]);
    cluster.ok("PUT", &format!("{MUTATING}/p"), &policy).await;
    let (code, answer) = cluster.send("POST", MAPS, &map("n", json!({}))).await;
    assert!(code == 500 && message(&answer).contains("cannot unmarshal number"), "{answer}");
    // Parameters that are not there are as the binding says.
    policy["spec"] = json!({
        "reinvocationPolicy": "Never", "failurePolicy": "Fail", "matchConstraints": policy["spec"]["matchConstraints"],
        "paramKind": {"apiVersion": "v1", "kind": "Secret"}, "mutations": [apply("Object{data: {'a': 'b'}}")],
    });
    cluster.ok("PUT", &format!("{MUTATING}/p"), &policy).await;
    let mut binding = cluster.ok("GET", &format!("{MUTATING_BINDINGS}/p-b"), &json!({})).await;
    binding["spec"]["paramRef"] =
        json!({"selector": {"matchLabels": {"x": "y"}}, "parameterNotFoundAction": "Deny"});
    cluster.ok("PUT", &format!("{MUTATING_BINDINGS}/p-b"), &binding).await;
    refused(
        cluster.send("POST", MAPS, &map("n", json!({}))).await,
        403,
        "Forbidden",
        "policy 'p' with binding 'p-b' denied request: failed to configure binding: no params found for policy binding \
         with `Deny` parameterNotFoundAction",
    );
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "labels": {"x": "y"}}});
    cluster.ok("POST", "/api/v1/namespaces/default/secrets", &secret).await;
    cluster.ok("POST", MAPS, &map("n", json!({}))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_are_those_of_the_version_that_is_asked_for() {
    let cluster = Cluster::start().await;
    // Events have two versions in two groups, and are stored as one of them.
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default", "labels": {"p": "q"}},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "R", "message": "hello",
    });
    cluster.ok("POST", "/api/v1/namespaces/default/events", &event).await;
    for (name, version, field, reference) in [
        ("core", "v1", "message", json!({"name": "e"})),
        ("other", "events.k8s.io/v1", "note", json!({"name": "e"})),
        ("selected", "events.k8s.io/v1", "note", json!({"selector": {"matchLabels": {"p": "q"}}})),
    ] {
        let spec = json!({
            "paramKind": {"apiVersion": version, "kind": "Event"},
            "mutations": [apply(&format!("Object{{data: {{'{name}': params.{field} + ' ' + params.apiVersion}}}}"))],
        });
        let mut reference = reference;
        reference["parameterNotFoundAction"] = json!("Deny");
        mutates(&cluster, name, spec, json!({"paramRef": reference})).await;
    }
    let made = cluster.ok("POST", MAPS, &map("m", json!({}))).await;
    assert_eq!(
        made["data"],
        json!({"core": "hello v1", "other": "hello events.k8s.io/v1", "selected": "hello events.k8s.io/v1"})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_parameters_from_what_he_cannot_read() {
    let cluster = Cluster::start().await;
    let (jane, john) = (Identity::new("jane", ["writers"]), Identity::new("john", ["writers"]));
    let policies = json!({"apiGroups": ["admissionregistration.k8s.io"], "resources": ["*"], "verbs": ["*"]});
    let secrets = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]});
    grant(&cluster, "jane", json!([policies.clone()])).await;
    grant(&cluster, "john", json!([policies, secrets])).await;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "Secret"}, "validations": [{"expression": "params == null"}],
    });
    let refused = |answer: (u16, Value), wanted: &str| {
        assert_eq!(answer.0, 422, "{}", answer.1);
        assert!(message(&answer.1).ends_with(wanted), "{}", answer.1);
    };
    let text = policy(spec).to_string();
    refused(
        cluster.send_by(&jane, "POST", POLICIES, &text).await,
        "spec.paramKind: Forbidden: user &{jane  [writers system:authenticated] map[]} must have \"get\" permission on all objects of the \
         referenced paramKind (kind=Secret, apiVersion=v1)",
    );
    assert_eq!(cluster.send_by(&john, "POST", POLICIES, &text).await.0, 201);
    // What is there already may be changed besides.
    let mut known = cluster.ok("GET", &format!("{POLICIES}/p"), &json!({})).await;
    known["spec"]["failurePolicy"] = json!("Ignore");
    let path = format!("{POLICIES}/p");
    assert_eq!(cluster.send_by(&jane, "PUT", &path, &known.to_string()).await.0, 200);
    let binding = |reference: Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": "b"},
            "spec": {"policyName": "p", "validationActions": ["Deny"], "paramRef": reference},
        })
        .to_string()
    };
    let named = json!({"name": "s", "namespace": "default", "parameterNotFoundAction": "Allow"});
    let selected = json!({"selector": {}, "namespace": "default", "parameterNotFoundAction": "Allow"});
    let why = "does not have \"&{jane  [writers system:authenticated] map[]}\" permission on the object referenced by paramRef";
    refused(cluster.send_by(&jane, "POST", BINDINGS, &binding(named.clone())).await, why);
    refused(
        cluster.send_by(&john, "POST", BINDINGS, &binding(selected)).await,
        "the object referenced by paramRef",
    );
    assert_eq!(cluster.send_by(&john, "POST", BINDINGS, &binding(named)).await.0, 201);
}

/// Allows everything, but `probe` only for what is selected.
struct Selected;

impl Authorizer for Selected {
    fn decide<'a>(&'a self, _: &'a Identity, attributes: Attributes<'a>) -> Deciding<'a> {
        let allowed = match attributes {
            Attributes::Resource(ResourceAttributes { verb: "probe", fields, labels, .. }) => {
                fields.len() == 1 && labels.len() == 2
            }
            _ => true,
        };
        decided(if allowed { Decision::Allowed("".into()) } else { Decision::NoOpinion("".into()) })
    }

    fn rules(&self, _: &Identity, _: &str) -> KnownRules {
        KnownRules { rules: PolicyRule::everything(), ..KnownRules::default() }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authorizer_is_told_what_is_selected() {
    let cluster = Cluster::configured(|config| config.authorization = Arc::new(|_| Arc::new(Selected))).await;
    let pods = "authorizer.group('').resource('pods').namespace('default')";
    let select = ".fieldSelector('spec.nodeName=n').labelSelector('a=b,c')";
    let spec = json!({"validations": [
        {"expression": format!("{pods}{select}.check('probe').allowed()"), "message": "of what is selected"},
        {"expression": format!("!{pods}.check('probe').allowed()"), "message": "of everything"},
        // What cannot be read selects everything.
        {"expression": format!("!{pods}.fieldSelector('a').labelSelector('!!').check('probe').allowed()"), "message": "rubbish"},
    ]});
    cluster.ok("POST", POLICIES, &policy(spec)).await;
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]},
    });
    cluster.ok("POST", BINDINGS, &binding).await;
    cluster.ok("POST", MAPS, &map("m", json!({}))).await;
}
