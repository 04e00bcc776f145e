//! A pod and nodes in; a node, or the reason why there is none, out.

use super::*;
use serde_json::{Value, json};

fn node(name: &str, spec: Value, labels: Value) -> Arc<Node> {
    let object = json!({"metadata": {"name": name, "labels": labels}, "spec": spec,
                        "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "3"}}});
    Arc::new(serde_json::from_value(object).expect("a node"))
}

fn pod(spec: Value) -> Pod {
    let mut spec = spec;
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "c"}]);
    }
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "p"}, "spec": spec}))
        .expect("a pod")
}

fn wants(cpu: &str, memory: &str) -> Value {
    json!([{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}])
}

#[track_caller]
fn check(pod_spec: Value, nodes: &[Arc<Node>], bound: &[Value], expected: Result<&str, &str>) {
    let bound: Vec<Arc<Pod>> = bound.iter().map(|spec| Arc::new(pod(spec.clone()))).collect();
    let snapshot = Snapshot::new(nodes, &bound, std::iter::empty());
    let found = choose(&pod(pod_spec), &snapshot);
    assert_eq!(found.as_deref().map_err(String::as_str), expected);
}

#[test]
fn a_pod_goes_where_most_is_free() {
    let nodes = [node("a", json!({}), json!({})), node("b", json!({}), json!({}))];
    check(json!({}), &nodes, &[], Ok("a"));
    check(json!({}), &nodes, &[json!({"nodeName": "a", "containers": wants("1", "1Gi")})], Ok("b"));
}

#[test]
fn a_pod_that_fits_nowhere_is_told_why_for_each_node() {
    let nodes = [
        node("a", json!({}), json!({})),
        node("b", json!({"unschedulable": true}), json!({})),
        node("c", json!({"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}), json!({})),
    ];
    check(
        json!({"containers": wants("3", "8Gi")}),
        &nodes,
        &[],
        Err(
            "0/3 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 node(s) had untolerated taint {gpu: yes}, 1 node(s) were unschedulable.",
        ),
    );
    check(json!({}), &[], &[], Err("no nodes available to schedule pods"));
}

#[test]
fn a_node_takes_no_more_pods_than_it_has_room_for() {
    let nodes = [node("a", json!({}), json!({}))];
    let full: Vec<_> = (0..3).map(|_| json!({"nodeName": "a"})).collect();
    check(json!({}), &nodes, &full, Err("0/1 nodes are available: 1 Too many pods."));
}

#[test]
fn sums_that_no_node_has_fit_nowhere() {
    let nodes = [node("a", json!({}), json!({}))];
    let container = |memory: &str| json!({"name": memory, "resources": {"requests": {"memory": memory}}});
    let refused = Err("0/1 nodes are available: 1 Insufficient memory.");
    let two = json!([container("8Ei"), container("8Ei")]);
    check(json!({"containers": two}), &nodes, &[], refused);
    let init = json!({"containers": [container("1")], "initContainers": two, "overhead": {"memory": "8Ei"}});
    check(init, &nodes, &[], refused);
    // Bound without having been asked.
    let bound = json!({"nodeName": "a", "containers": two});
    check(json!({"containers": [container("1")]}), &nodes, &[bound.clone(), bound], refused);
}

#[test]
fn taints_are_tolerated_by_key_value_and_effect() {
    let nodes =
        [node("a", json!({"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}), json!({}))];
    check(json!({"tolerations": [{"key": "gpu", "value": "yes"}]}), &nodes, &[], Ok("a"));
    check(json!({"tolerations": [{"operator": "Exists"}]}), &nodes, &[], Ok("a"));
    check(
        json!({"tolerations": [{"key": "gpu", "value": "no"}]}),
        &nodes,
        &[],
        Err("0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}."),
    );
}

#[test]
fn selectors_and_affinity_decide_by_labels() {
    let nodes = [node("a", json!({}), json!({"disk": "hdd"})), node("b", json!({}), json!({"disk": "ssd"}))];
    check(json!({"nodeSelector": {"disk": "ssd"}}), &nodes, &[], Ok("b"));
    let prefer = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 10, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}}]}}});
    check(prefer, &nodes, &[], Ok("b"));
    check(
        json!({"nodeSelector": {"disk": "tape"}}),
        &nodes,
        &[],
        Err("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."),
    );
}

#[test]
fn a_host_port_is_taken_once_per_node() {
    let nodes = [node("a", json!({}), json!({}))];
    let with_port = |node: Option<&str>| json!({"nodeName": node, "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080}]}]});
    check(
        with_port(None),
        &nodes,
        &[with_port(Some("a"))],
        Err("0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."),
    );
}
