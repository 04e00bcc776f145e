//! A pod and nodes in; a node, or the reason why there is none, out.

use serde_json::{Value, json};

use super::*;
use crate::scheduler::cache::{Cache, Snapshot};
use crate::scheduler::node::NodeFacts;
use crate::scheduler::pod::{Share, Standing};

fn node(name: &str, spec: Value, labels: Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}, "spec": spec,
           "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "3"}}})
}

fn pod(spec: Value) -> k8s_openapi::api::core::v1::Pod {
    let mut spec = spec;
    if spec.get("containers").is_none() {
        // It says that it asks for nothing: so it is no load in scores, either.
        spec["containers"] = wants("0", "0");
    }
    let mut take = |key: &str| spec.as_object_mut().and_then(|spec| spec.remove(key));
    let (labels, deleted) = (take("labels"), take("deletionTimestamp"));
    let mut metadata = json!({"name": "p", "namespace": "n", "uid": "p", "labels": labels});
    metadata["deletionTimestamp"] = deleted.unwrap_or_default();
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a pod")
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
        cache.place(&number.to_string().into(), &node, Share::of(&pod(spec.clone())), Standing::default());
    }
    let mut snapshot = Snapshot::default();
    snapshot.refresh(&cache);
    let found = Framework::new().choose(&PodInfo::of(&pod(pod_spec)), Scene::of(snapshot.nodes()), &mut 0);
    let found = found.map(|choice| choice.node.to_string()).map_err(|unfit| unfit.message(""));
    assert_eq!(found.as_ref().map(String::as_str).map_err(String::as_str), expected);
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
            "0/3 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.",
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
        Err("0/1 nodes are available: 1 node(s) had untolerated taint(s)."),
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
fn who_is_being_deleted_is_near_until_it_has_ended() {
    let nodes = ["a", "b"].map(|name| node(name, json!({}), json!({"host": name})));
    let going =
        json!({"nodeName": "a", "labels": {"app": "db"}, "deletionTimestamp": "2026-01-01T00:00:00Z"});
    let term = json!({"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "host"});
    let affinity =
        |kind: &str| json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    check(affinity("podAntiAffinity"), &nodes, std::slice::from_ref(&going), Ok("b"));
    let other = json!({"nodeName": "b", "containers": wants("100m", "1Mi")});
    check(affinity("podAffinity"), &nodes, &[going, other], Ok("a"));
}

#[test]
fn who_is_preferred_near_or_far_decides_by_weights() {
    let nodes = ["a", "b"].map(|name| node(name, json!({}), json!({"host": name})));
    let leaning = |kind: &str, weights: &[(i32, &str)]| {
        let term = |(weight, app): &(i32, &str)| {
            let term = json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "host"});
            json!({"weight": weight, "podAffinityTerm": term})
        };
        let terms: Vec<Value> = weights.iter().map(term).collect();
        json!({kind: {"preferredDuringSchedulingIgnoredDuringExecution": terms}})
    };
    let on = |node: &str, app: &str, affinity: Value| json!({"nodeName": node, "labels": {"app": app}, "affinity": affinity});
    let web = |affinity: Value| json!({"labels": {"app": "web"}, "affinity": affinity});
    let plain = || json!({});
    let (near, far) = ("podAffinity", "podAntiAffinity");
    let apart = [on("a", "cache", plain()), on("b", "db", plain())];
    // Nobody asks for it: the first by name.
    check(web(plain()), &nodes, &apart, Ok("a"));
    check(web(leaning(near, &[(1, "db")])), &nodes, &apart, Ok("b"));
    check(web(leaning(far, &[(1, "cache")])), &nodes, &apart, Ok("b"));
    check(web(leaning(near, &[(1, "cache"), (50, "db")])), &nodes, &apart, Ok("b"));
    check(web(leaning(near, &[(50, "cache"), (1, "db")])), &nodes, &apart, Ok("a"));
    check(web(leaning(near, &[(100, "nobody")])), &nodes, &apart, Ok("a"));
    // Each of several counts.
    let many = [on("a", "cache", plain()), on("b", "db", plain()), on("b", "db", plain())];
    check(web(leaning(near, &[(3, "cache"), (2, "db")])), &nodes, &many, Ok("b"));
    // What those say who are there already counts too, and that they must have it near.
    check(web(plain()), &nodes, &[on("b", "db", leaning(near, &[(1, "web")]))], Ok("b"));
    check(web(plain()), &nodes, &[on("a", "db", leaning(far, &[(1, "web")]))], Ok("b"));
    let term = json!({"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "host"});
    let needs = json!({near: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    check(web(plain()), &nodes, &[on("b", "db", needs)], Ok("b"));
    // A node without the label is near to nobody.
    let nodes = [node("a", json!({}), json!({})), nodes[1].clone()];
    check(web(leaning(near, &[(1, "cache")])), &nodes, &apart, Ok("a"));
}

#[test]
fn pods_are_spread_over_places_as_they_say() {
    let nodes = ["a", "b"].map(|name| node(name, json!({}), json!({"zone": name})));
    let spread = |when: &str, change: &dyn Fn(&mut Value)| {
        let mut constraint = json!({
            "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": when,
            "labelSelector": {"matchLabels": {"app": "web"}},
        });
        change(&mut constraint);
        json!({"labels": {"app": "web", "version": "2"}, "topologySpreadConstraints": [constraint]})
    };
    let on =
        |node: &str, version: &str| json!({"nodeName": node, "labels": {"app": "web", "version": version}});
    let same = |_: &mut Value| {};
    let (must, may) = ("DoNotSchedule", "ScheduleAnyway");
    for when in [must, may] {
        check(spread(when, &same), &nodes, &[on("a", "1")], Ok("b"));
        check(spread(when, &same), &nodes, &[on("b", "1")], Ok("a"));
        // Only those that are counted.
        let keys = |constraint: &mut Value| constraint["matchLabelKeys"] = json!(["version"]);
        check(spread(when, &keys), &nodes, &[on("a", "1")], Ok("a"));
        check(spread(when, &keys), &nodes, &[on("a", "2")], Ok("b"));
        check(spread(when, &same), &nodes, &[json!({"nodeName": "a", "labels": {"app": "db"}})], Ok("a"));
        let everybody = |constraint: &mut Value| constraint["labelSelector"] = json!({});
        check(spread(when, &everybody), &nodes, &[on("a", "1")], Ok("a"));
        // Nor those that are being deleted.
        let going = |node: &str| {
            let mut going = on(node, "1");
            going["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            going
        };
        check(spread(when, &same), &nodes, &[going("a")], Ok("a"));
        check(spread(when, &same), &nodes, &[going("a"), going("b"), on("a", "1")], Ok("b"));
    }
    let uneven = "node(s) didn't match pod topology spread constraints";
    let cordoned = [nodes[0].clone(), node("b", json!({"unschedulable": true}), json!({"zone": "b"}))];
    let refused = format!("0/2 nodes are available: 1 {uneven}, 1 node(s) were unschedulable.");
    check(spread(must, &same), &cordoned, &[on("a", "1")], Err(&refused));
    check(spread(may, &same), &cordoned, &[on("a", "1")], Ok("a"));
    let two = |constraint: &mut Value| constraint["maxSkew"] = json!(2);
    check(spread(must, &two), &cordoned, &[on("a", "1")], Ok("a"));
    // Nodes that the pod excludes itself do not count, unless it says so; those with taints do, unless it
    // says not.
    let mut picky = spread(must, &same);
    picky["nodeSelector"] = json!({"zone": "a"});
    check(picky, &nodes, &[on("a", "1")], Ok("a"));
    let mut all = spread(must, &|constraint| constraint["nodeAffinityPolicy"] = json!("Ignore"));
    all["nodeSelector"] = json!({"zone": "a"});
    let refused =
        format!("0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 {uneven}.");
    check(all, &nodes, &[on("a", "1")], Err(&refused));
    let taint = json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]});
    let tainted = [nodes[0].clone(), node("b", taint, json!({"zone": "b"}))];
    let refused = format!("0/2 nodes are available: 1 {uneven}, 1 node(s) had untolerated taint(s).");
    check(spread(must, &same), &tainted, &[on("a", "1")], Err(&refused));
    let honours = |constraint: &mut Value| constraint["nodeTaintsPolicy"] = json!("Honor");
    check(spread(must, &honours), &tainted, &[on("a", "1")], Ok("a"));
    // With fewer places than are wanted there is one without any.
    let three = |constraint: &mut Value| constraint["minDomains"] = json!(3);
    let refused = format!("0/2 nodes are available: 2 {uneven}.");
    check(spread(must, &three), &nodes, &[on("a", "1"), on("b", "1")], Err(&refused));
    check(spread(must, &same), &nodes, &[on("a", "1"), on("b", "1")], Ok("a"));
    // A node without the label is at no place.
    let bare = [node("a", json!({}), json!({}))];
    let refused = format!("0/1 nodes are available: 1 {uneven} (missing required label).");
    check(spread(must, &same), &bare, &[], Err(&refused));
    let bare = [bare[0].clone(), nodes[1].clone()];
    check(spread(may, &same), &bare, &[], Ok("b"));
}

#[test]
fn one_word_is_enough() {
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

#[test]
fn the_more_nodes_there_are_the_smaller_the_part_that_is_enough() {
    let framework = Framework::new();
    let enough = [0, 1, 99, 100, 101, 1000, 3000, 5000, 6000, 100_000].map(|count| framework.enough(count));
    assert_eq!(enough, [1, 1, 99, 100, 100, 420, 780, 500, 300, 5000]);
    let enough = |percentage| Framework { percentage: Some(percentage), ..Framework::new() }.enough(1000);
    assert_eq!([1, 40, 100].map(enough), [100, 400, 1000]);
}

#[test]
fn pods_that_name_their_nodes_are_not_told_of_others() {
    let nodes = ["a", "b", "c"].map(|name| node(name, json!({}), json!({})));
    let named = |names: &[&str]| {
        let field = json!({"key": "metadata.name", "operator": "In", "values": names});
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchFields": [field]}]}}}})
    };
    check(named(&["b"]), &nodes, &[], Ok("b"));
    let full: Vec<_> = (0..3).map(|_| json!({"nodeName": "b"})).collect();
    let refused =
        "0/3 nodes are available: 1 Too many pods, 2 node(s) didn't satisfy plugin(s) [NodeAffinity].";
    check(named(&["b"]), &nodes, &full, Err(refused));
    check(named(&["b", "c"]), &nodes, &full, Ok("c"));
    let mut conflict = named(&["a"]);
    let terms = &mut conflict["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let other = json!({"key": "metadata.name", "operator": "In", "values": ["b"]});
    terms["nodeSelectorTerms"][0]["matchFields"].as_array_mut().expect("fields").push(other);
    check(conflict, &nodes, &[], Err("0/3 nodes are available: pod affinity terms conflict."));
}
