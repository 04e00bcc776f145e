//! Classes that objects name, and what they give to them.

use serde_json::{Value, json};

use crate::cluster::{Cluster, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";
const PRIORITIES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";
const RUNTIMES: &str = "/apis/node.k8s.io/v1/runtimeclasses";
const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
const INGRESS_CLASSES: &str = "/apis/networking.k8s.io/v1/ingressclasses";

fn with(name: &str, spec: Value) -> Value {
    let mut pod = pod(name);
    for (field, value) in spec.as_object().expect("fields") {
        pod["spec"][field] = value.clone();
    }
    pod
}

fn priority(name: &str, value: i64, more: Value) -> Value {
    let mut class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
    });
    for (field, value) in more.as_object().expect("fields") {
        class[field] = value.clone();
    }
    class
}

async fn refused(cluster: &Cluster, path: &str, object: &Value, code: u16, message: &str) {
    let (found, status) = cluster.send("POST", path, object).await;
    let told = status["message"].as_str().unwrap_or_default();
    assert!(found == code && told.contains(message), "{found} {told}\nnot {message}");
}

#[tokio::test]
async fn a_pod_has_the_priority_of_its_class() {
    let cluster = Cluster::start().await;
    let of = |made: &Value| {
        let spec = &made["spec"];
        (spec["priorityClassName"].clone(), spec["priority"].clone(), spec["preemptionPolicy"].clone())
    };
    let made = cluster.ok("POST", PODS, &pod("plain")).await;
    assert_eq!(of(&made), (Value::Null, json!(0), json!("PreemptLowerPriority")));
    cluster.ok("POST", PRIORITIES, &priority("high", 1000, json!({"preemptionPolicy": "Never"}))).await;
    let made = cluster.ok("POST", PODS, &with("high", json!({"priorityClassName": "high"}))).await;
    assert_eq!(of(&made), (json!("high"), json!(1000), json!("Never")));
    let system = json!({"priorityClassName": "system-node-critical"});
    let made = cluster.ok("POST", PODS, &with("system", system)).await;
    assert_eq!(made["spec"]["priority"], 2_000_001_000);
    for (spec, message) in [
        (json!({"priorityClassName": "none"}), "no PriorityClass with name none was found"),
        (
            json!({"priorityClassName": "high", "priority": 7}),
            "the integer value of priority (7) must not be provided in pod spec; priority admission controller \
             computed 1000 from the given PriorityClass name",
        ),
        (
            json!({"priorityClassName": "high", "preemptionPolicy": "PreemptLowerPriority"}),
            "the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority \
             admission controller computed Never from the given PriorityClass name",
        ),
    ] {
        refused(&cluster, PODS, &with("bad", spec), 403, message).await;
    }
    let default = json!({"globalDefault": true});
    cluster.ok("POST", PRIORITIES, &priority("usual", 5, default.clone())).await;
    let made = cluster.ok("POST", PODS, &pod("usual")).await;
    assert_eq!(of(&made), (json!("usual"), json!(5), json!("PreemptLowerPriority")));
    let only = "PriorityClass usual is already marked as default. Only one default can exist";
    refused(&cluster, PRIORITIES, &priority("other", 6, default.clone()), 403, only).await;
    let path = format!("{PRIORITIES}/usual");
    cluster.ok("PATCH", &path, &json!({"description": "d", "globalDefault": true})).await;
    let (code, _) = cluster.send("PATCH", &format!("{PRIORITIES}/high"), &default).await;
    assert_eq!(code, 403);
    let (code, status) =
        cluster.send("DELETE", &format!("{PRIORITIES}/system-node-critical"), &json!({})).await;
    assert_eq!(code, 403, "{status}");
    // What a pod was given stays, though an old client does not send it.
    let mut old = cluster.get(&format!("{PODS}/high")).await.1;
    for field in ["priority", "preemptionPolicy"] {
        old["spec"].as_object_mut().expect("a spec").shift_remove(field);
    }
    let kept = cluster.ok("PUT", &format!("{PODS}/high"), &old).await;
    assert_eq!(of(&kept), (json!("high"), json!(1000), json!("Never")));
}

#[tokio::test]
async fn a_pod_has_the_overhead_and_the_place_of_its_runtime() {
    let cluster = Cluster::start().await;
    let runtime = |name: &str, more: Value| {
        let mut class = json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": "h",
        });
        for (field, value) in more.as_object().expect("fields") {
            class[field] = value.clone();
        }
        class
    };
    let toleration = json!({"key": "t", "operator": "Exists", "effect": "NoSchedule"});
    let heavy = json!({
        "overhead": {"podFixed": {"cpu": "250m"}},
        "scheduling": {"nodeSelector": {"sandbox": "yes"}, "tolerations": [toleration]},
    });
    cluster.ok("POST", RUNTIMES, &runtime("heavy", heavy)).await;
    cluster.ok("POST", RUNTIMES, &runtime("light", json!({}))).await;
    let spec = json!({"runtimeClassName": "heavy", "nodeSelector": {"a": "b"}});
    let made = cluster.ok("POST", PODS, &with("a", spec)).await;
    assert_eq!(made["spec"]["overhead"], json!({"cpu": "250m"}));
    assert_eq!(made["spec"]["nodeSelector"], json!({"a": "b", "sandbox": "yes"}));
    assert!(made["spec"]["tolerations"].as_array().is_some_and(|all| all.contains(&toleration)), "{made}");
    let spec = json!({"runtimeClassName": "heavy", "overhead": {"cpu": "0.25"}});
    cluster.ok("POST", PODS, &with("b", spec)).await;
    cluster.ok("POST", PODS, &with("c", json!({"runtimeClassName": "light"}))).await;
    for (spec, message) in [
        (json!({"runtimeClassName": "none"}), "pod rejected: RuntimeClass \"none\" not found"),
        (
            json!({"runtimeClassName": "heavy", "overhead": {"cpu": "1"}}),
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            json!({"runtimeClassName": "light", "overhead": {"cpu": "1"}}),
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            json!({"runtimeClassName": "heavy", "nodeSelector": {"sandbox": "no"}}),
            "conflict: runtimeClass.scheduling.nodeSelector[sandbox] = yes; pod.spec.nodeSelector[sandbox] = no",
        ),
    ] {
        refused(&cluster, PODS, &with("bad", spec), 403, message).await;
    }
}

#[tokio::test]
async fn an_ingress_that_names_no_class_is_of_the_default_one() {
    let cluster = Cluster::start().await;
    let ingress = |name: &str, class: Option<&str>| {
        let mut ingress = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name},
            "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}},
        });
        if let Some(class) = class {
            ingress["spec"]["ingressClassName"] = class.into();
        }
        ingress
    };
    let made = cluster.ok("POST", INGRESSES, &ingress("a", None)).await;
    assert!(made["spec"]["ingressClassName"].is_null(), "{made}");
    for (name, default) in [("plain", "false"), ("usual", "true")] {
        let class = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
            "metadata": {"name": name, "annotations": {"ingressclass.kubernetes.io/is-default-class": default}},
            "spec": {"controller": "example.com/c"},
        });
        cluster.ok("POST", INGRESS_CLASSES, &class).await;
    }
    let made = cluster.ok("POST", INGRESSES, &ingress("b", None)).await;
    assert_eq!(made["spec"]["ingressClassName"], "usual");
    let made = cluster.ok("POST", INGRESSES, &ingress("c", Some("plain"))).await;
    assert_eq!(made["spec"]["ingressClassName"], "plain");
    let mut old = ingress("d", None);
    old["metadata"]["annotations"] = json!({"kubernetes.io/ingress.class": "other"});
    let made = cluster.ok("POST", INGRESSES, &old).await;
    assert!(made["spec"]["ingressClassName"].is_null(), "{made}");
}

#[tokio::test]
async fn a_pod_at_a_node_has_the_labels_of_the_nodes_place() {
    let cluster = Cluster::start().await;
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "other": "o"}},
    });
    cluster.ok("POST", "/api/v1/nodes", &node).await;
    cluster.ok("POST", PODS, &pod("a")).await;
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"},
    });
    cluster.ok("POST", &format!("{PODS}/a/binding"), &binding).await;
    let place = json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"});
    assert_eq!(cluster.get(&format!("{PODS}/a")).await.1["metadata"]["labels"], place);
    let made = cluster.ok("POST", PODS, &with("b", json!({"nodeName": "n"}))).await;
    assert_eq!(made["metadata"]["labels"], place);
}
