//! A pod and nodes in; a node, or the reason why there is none, out.

use serde_json::{Value, json};

use super::*;
use crate::scheduler::cache::{Cache, Snapshot};
use crate::scheduler::node::NodeFacts;
use crate::scheduler::pod::Share;

fn node(name: &str, spec: Value, labels: Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}, "spec": spec,
           "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "3"}}})
}

fn pod(spec: Value) -> k8s_openapi::api::core::v1::Pod {
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
fn check(pod_spec: Value, nodes: &[Value], bound: &[Value], expected: Result<&str, &str>) {
    let mut cache = Cache::default();
    for node in nodes {
        cache.set_node(NodeFacts::of(&serde_json::from_value(node.clone()).expect("a node")));
    }
    for (number, spec) in bound.iter().enumerate() {
        let node = spec["nodeName"].as_str().expect("a bound pod names its node").into();
        cache.place(&number.to_string().into(), &node, Share::of(&pod(spec.clone())));
    }
    let mut snapshot = Snapshot::default();
    snapshot.refresh(&cache);
    let found = Framework::new().choose(&PodInfo::of(&pod(pod_spec)), snapshot.nodes());
    let found = found.as_ref().map(|node| &**node).map_err(|unfit| unfit.message.as_str());
    assert_eq!(found, expected);
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

#[test]
fn pods_of_one_owner_are_spread() {
    let nodes = [node("a", json!({}), json!({})), node("b", json!({}), json!({}))];
    let of = |owner: &str, node: Option<&str>| {
        let mut pod = pod(json!({"nodeName": node}));
        let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": owner, "controller": true}]);
        pod.metadata.owner_references = Some(serde_json::from_value(owner).expect("owners"));
        pod
    };
    let mut cache = Cache::default();
    for node in nodes {
        cache.set_node(NodeFacts::of(&serde_json::from_value(node).expect("a node")));
    }
    cache.place(&"1".into(), &"a".into(), Share::of(&of("r", Some("a"))));
    let mut snapshot = Snapshot::default();
    snapshot.refresh(&cache);
    let choose = |owner: &str| Framework::new().choose(&PodInfo::of(&of(owner, None)), snapshot.nodes());
    assert_eq!(choose("r").as_deref(), Ok("b"));
    assert_eq!(choose("s").as_deref(), Ok("a"));
}

#[test]
fn plugins_stand_in_the_order_of_kubernetes_and_one_word_is_enough() {
    let framework = Framework::new();
    let names: Vec<_> = framework.filters.iter().map(|filter| filter.name()).collect();
    let first = ["NodeUnschedulable", "NodeName", "TaintToleration", "NodeAffinity", "NodePorts"];
    assert_eq!(names, [&first[..], &["NodeResourcesFit", "InterPodAffinity"]].concat());
    // Cordoned, tainted, of the wrong kind and too small: the first says so.
    let taint = json!({"key": "gpu", "effect": "NoSchedule"});
    let nodes = [node("a", json!({"unschedulable": true, "taints": [taint]}), json!({}))];
    check(
        json!({"nodeSelector": {"disk": "ssd"}, "containers": wants("9", "1Gi")}),
        &nodes,
        &[],
        Err("0/1 nodes are available: 1 node(s) were unschedulable."),
    );
}
