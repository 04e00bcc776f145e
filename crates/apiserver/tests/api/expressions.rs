//! What expressions say of writes: rules of definitions, and policies.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::definitions::define;

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
