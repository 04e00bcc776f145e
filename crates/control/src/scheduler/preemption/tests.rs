//! Nodes with pods, and one that comes: who goes for it, or why nobody.

use serde_json::{Value, json};

use super::*;
use crate::scheduler::cache::{Cache, Snapshot};
use crate::scheduler::node::NodeFacts;
use crate::scheduler::pod::{Share, Standing};

#[derive(Default)]
struct World {
    nodes: Vec<Value>,
    pods: Vec<Value>,
    budgets: Vec<Value>,
}

fn typed<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"))
}

fn node(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"host": name, "zone": "z"}}, "spec": {},
           "status": {"allocatable": {"cpu": "10", "memory": "1Gi", "pods": "110"}}})
}

fn pod(name: &str, priority: i32, cpu: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": name}},
           "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

fn on(node: &str, mut pod: Value) -> Value {
    pod["spec"]["nodeName"] = node.into();
    pod
}

fn started(mut pod: Value, hour: u32) -> Value {
    pod["status"] = json!({"startTime": format!("2026-01-01T{hour:02}:00:00Z")});
    pod
}

impl World {
    fn find(&self, comes: &Value) -> String {
        let mut cache = Cache::default();
        for node in &self.nodes {
            cache.set_node(NodeFacts::of(&typed(node)));
        }
        for pod in &self.pods {
            let (uid, node) = (pod["metadata"]["uid"].as_str(), pod["spec"]["nodeName"].as_str());
            let (uid, node) = (uid.expect("a uid"), node.expect("a node"));
            let typed = typed(pod);
            cache.place(&uid.into(), &node.into(), Share::of(&typed), Standing::of(&typed));
        }
        let mut snapshot = Snapshot::default();
        snapshot.refresh(&cache);
        let mut budgets = Budgets::default();
        for (number, budget) in self.budgets.iter().enumerate() {
            budgets.set(ObjectKey::new("n", number.to_string()), &typed(budget));
        }
        let (framework, pod) = (Framework::new(), PodInfo::of(&typed(comes)));
        let scene = Scene::of(snapshot.nodes());
        let unfit = match framework.choose(&pod, scene, &mut 0) {
            Ok(choice) => return format!("fits on {}", choice.node),
            Err(unfit) => unfit,
        };
        let residents = |node: &NodeName| cache.residents(node);
        match find(&framework, &pod, scene, &unfit, &budgets, &residents, 0) {
            Some(Found::Room(candidate)) => {
                let victims: Vec<&str> = candidate.victims.iter().map(|victim| &*victim.uid).collect();
                format!("{}: {} ({})", candidate.node, victims.join(" "), candidate.broken)
            }
            Some(Found::NotNow(reason)) => reason.to_owned(),
            Some(Found::Nowhere(reason)) => reason,
            None => "nothing".to_owned(),
        }
    }
}

#[track_caller]
fn check(nodes: &[&str], pods: &[Value], comes: &Value, expected: &str) {
    let nodes = nodes.iter().map(|name| node(name)).collect();
    assert_eq!(World { nodes, pods: pods.to_vec(), budgets: Vec::new() }.find(comes), expected);
}

#[test]
fn as_few_go_as_have_to_and_the_least_important() {
    let comes = pod("p", 100, "5");
    let pods = [on("a", pod("mid", 50, "4")), on("a", pod("low", 10, "4")), on("a", pod("tiny", 20, "1"))];
    // Without both it fits; the more important one and the small one are let back.
    check(&["a"], &pods, &comes, "a: low (0)");
    let pods = [on("a", pod("mid", 50, "5")), on("a", pod("low", 10, "5"))];
    check(&["a"], &pods, &comes, "a: low (0)");
    // Those that are as important stay.
    let pods = [on("a", pod("same", 100, "9"))];
    let none = "0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    check(&["a"], &pods, &comes, none);
    let pods = [on("a", pod("same", 100, "6")), on("a", pod("low", 1, "4"))];
    check(&["a"], &pods, &comes, "0/1 nodes are available: 1 Insufficient cpu.");
}

#[test]
fn nobody_goes_where_that_would_not_help() {
    let pods = [on("a", pod("low", 1, "4"))];
    let no_help = "0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    check(&["a"], &pods, &pod("p", 100, "11"), no_help);
    let mut picky = pod("p", 100, "1");
    picky["spec"]["nodeSelector"] = json!({"disk": "ssd"});
    check(&["a"], &pods, &picky, no_help);
    let mut never = pod("p", 100, "9");
    never["spec"]["preemptionPolicy"] = "Never".into();
    check(&["a"], &pods, &never, "not eligible due to preemptionPolicy=Never.");
    // One goes for it already.
    let mut going = on("a", pod("low", 1, "4"));
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let mut comes = pod("p", 100, "9");
    comes["status"] = json!({"nominatedNodeName": "a"});
    check(&["a"], std::slice::from_ref(&going), &comes, "a: low (0)");
    let goes = json!([{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]);
    going["status"] = json!({"conditions": goes});
    let wait = "not eligible due to a terminating pod on the nominated node.";
    check(&["a"], std::slice::from_ref(&going), &comes, wait);
    // Unless it could not come there anyway.
    comes["spec"]["nodeSelector"] = json!({"host": "b"});
    check(&["a"], &[going], &comes, no_help);
}

#[test]
fn the_node_is_chosen_where_it_costs_least() {
    let comes = pod("p", 100, "10");
    let at = |node: &str, name: &str, priority: i32, cpu: &str| on(node, pod(name, priority, cpu));
    // The least important of the most important.
    let pods = [at("a", "a1", 50, "10"), at("b", "b1", 20, "5"), at("b", "b2", 20, "5")];
    check(&["a", "b"], &pods, &comes, "b: b1 b2 (0)");
    // The smallest sum.
    let pods =
        [at("a", "a1", 50, "5"), at("a", "a2", 40, "5"), at("b", "b1", 50, "5"), at("b", "b2", 30, "5")];
    check(&["a", "b"], &pods, &comes, "b: b1 b2 (0)");
    // The fewest; also where all are less than nothing.
    let pods = [at("a", "a1", -1, "5"), at("a", "a2", -1, "5"), at("b", "b1", -1, "10")];
    check(&["a", "b"], &pods, &comes, "b: b1 (0)");
    // Those that started last.
    let pods = [
        started(at("a", "a1", 1, "10"), 1),
        started(at("b", "b1", 1, "10"), 3),
        started(at("c", "c1", 1, "10"), 2),
    ];
    check(&["a", "b", "c"], &pods, &comes, "b: b1 (0)");
    // The first.
    let pods = [at("a", "a1", 1, "10"), at("b", "b1", 1, "10")];
    check(&["a", "b"], &pods, &comes, "a: a1 (0)");
    // Of those that are equally important the ones that run longest stay.
    let comes = pod("p", 100, "5");
    let pods = [started(at("a", "new", 1, "5"), 5), started(at("a", "old", 1, "5"), 1)];
    check(&["a"], &pods, &comes, "a: new (0)");
}

#[test]
fn budgets_are_kept_where_that_can_be() {
    let budget = |app: &str, allowed: i32| {
        json!({"metadata": {"name": app, "namespace": "n"}, "spec": {"selector": {"matchLabels": {"app": app}}},
               "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}})
    };
    let at = |node: &str, name: &str, priority: i32, cpu: &str| on(node, pod(name, priority, cpu));
    let mut world = World {
        nodes: vec![node("a"), node("b")],
        pods: vec![at("a", "a1", 1, "10"), at("b", "b1", 50, "10")],
        budgets: vec![budget("a1", 0)],
    };
    let comes = pod("p", 100, "10");
    assert_eq!(world.find(&comes), "b: b1 (0)");
    // If there is no other way a budget is broken.
    world.budgets.push(budget("b1", 0));
    assert_eq!(world.find(&comes), "a: a1 (1)");
    world.budgets[0] = budget("a1", 1);
    assert_eq!(world.find(&comes), "a: a1 (0)");
    // Who counts as disrupted already breaks nothing.
    world.budgets[0] = budget("a1", 0);
    world.budgets[0]["status"]["disruptedPods"] = json!({"a1": "2026-01-01T00:00:00Z"});
    assert_eq!(world.find(&comes), "a: a1 (0)");
    // On one node those with a budget are let back first, though they are less important.
    let pods = vec![at("a", "a1", 1, "5"), at("a", "a2", 50, "5")];
    let world = World { nodes: vec![node("a")], pods, budgets: vec![budget("a1", 0)] };
    assert_eq!(world.find(&pod("p", 100, "5")), "a: a2 (0)");
}

#[test]
fn who_goes_is_not_counted_by_those_that_look_at_several_nodes() {
    let far = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "low"}}, "topologyKey": "zone"}]}});
    let mut comes = pod("p", 100, "1");
    comes["spec"]["affinity"] = far.clone();
    // It is in the zone of both nodes, and on one of them.
    check(&["a", "b"], &[on("b", pod("low", 1, "1"))], &comes, "b: low (0)");
    check(
        &["a", "b"],
        &[on("b", pod("low", 100, "1"))],
        &comes,
        "0/2 nodes are available: 2 No preemption victims found for incoming pod.",
    );
    // One that does not want it near.
    let mut avoiding = on("a", pod("alone", 1, "1"));
    avoiding["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "p"}}, "topologyKey": "zone"}]}});
    check(&["a", "b"], &[avoiding], &pod("p", 100, "1"), "a: alone (0)");
    let mut spread = pod("p", 100, "1");
    spread["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": "host",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchExpressions": [
            {"key": "app", "operator": "In", "values": ["p", "low", "other"]}]}}]);
    let mut small = node("b");
    small["status"]["allocatable"]["cpu"] = "0".into();
    let pods = vec![on("a", pod("low", 1, "1")), on("a", pod("other", 1, "1"))];
    let world = World { nodes: vec![node("a"), small], pods, budgets: Vec::new() };
    assert_eq!(world.find(&spread), "a: low other (0)");
}
