//! Pods and nodes in; decisions, and what they cost, out.

use std::sync::Arc;

use client::{Change, ObjectKey};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::*;
use crate::scheduler::configuration::Configuration;
use crate::scheduler::framework::{Filter, Prepared};
use crate::scheduler::news::News;
use crate::scheduler::pod::PodInfo;

mod groups;
mod property;
mod simulation;

const SECOND: Duration = Duration::from_secs(1);
const START: Duration = Duration::from_secs(1000);

/// A planner with a clock.
struct World {
    planner: Planner,
    now: Duration,
}

impl World {
    fn new() -> Self {
        Self { planner: Planner::new(), now: START }
    }

    fn node(&mut self, node: Value) {
        let node: Node = serde_json::from_value(node).expect("a node");
        self.planner.apply(Event::of_node(&Change::Added(Arc::new(node))), self.now);
    }

    fn pod(&mut self, pod: Value) {
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        Event::of_pod(&Change::Added(Arc::new(pod))).for_each(|event| self.planner.apply(event, self.now));
    }

    fn pod_gone(&mut self, name: &str) {
        let pod: Pod = serde_json::from_value(pod(name, json!({}))).expect("a pod");
        Event::of_pod(&Change::Deleted(Arc::new(pod))).for_each(|event| self.planner.apply(event, self.now));
    }

    /// What is decided next, as `pod -> node` or `pod: why not`.
    fn decide(&mut self) -> Option<String> {
        Some(match self.planner.decide(self.now)? {
            Outcome::Chosen { pod, node, .. } => format!("{} -> {node}", pod.key.name),
            // What came of making room is not looked at here.
            Outcome::Refused { pod, message, .. } => {
                let message = message.split(" no new claims").next().unwrap_or_default();
                format!("{}: {message}", pod.key.name)
            }
            Outcome::Failed { pod, panic, delay } => format!("{}: {} {delay:?}", pod.key.name, panic.message),
            Outcome::Grouped { group, refused: None } => format!("{} is placed", group.name),
            Outcome::Grouped { group, refused: Some(message) } => format!("{}: {message}", group.name),
        })
    }

    /// All that can be decided now.
    fn decide_all(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.decide()).collect()
    }

    fn written(&mut self, name: &str, written: Written) -> Option<Duration> {
        let pod = PodId { key: ObjectKey::new("n", name), uid: name.into() };
        self.planner.written(&pod, written, self.now)
    }
}

fn node(name: &str, cpu: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {},
           "status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "300"}}})
}

fn pod(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "c"}]);
    }
    json!({"metadata": {"name": name, "namespace": "n", "uid": name}, "spec": spec})
}

fn wants(name: &str, cpu: &str) -> Value {
    pod(name, json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}))
}

fn on(node: &str, mut pod: Value) -> Value {
    pod["spec"]["nodeName"] = node.into();
    pod
}

#[test]
fn what_was_decided_counts_before_it_is_shown() {
    let mut world = World::new();
    world.node(node("a", "2"));
    world.node(node("b", "2"));
    for name in ["p", "q", "r"] {
        world.pod(wants(name, "2"));
    }
    let refused = "r: 0/2 nodes are available: 2 Insufficient cpu.";
    assert_eq!(world.decide_all(), ["p -> a", "q -> b", refused]);
    // An older state, which a watch may still bring, changes nothing.
    world.pod(wants("p", "2"));
    assert_eq!(world.decide_all(), Vec::<String>::new());
}

#[test]
fn who_is_not_this_schedulers_is_left_alone() {
    let mut world = World::new();
    world.node(node("a", "2"));
    world.pod(pod("other", json!({"schedulerName": "other"})));
    world.pod(pod("gated", json!({"schedulingGates": [{"name": "g"}]})));
    let mut deleted = pod("deleted", json!({}));
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    world.pod(deleted);
    let mut ended = pod("ended", json!({}));
    ended["status"]["phase"] = "Failed".into();
    world.pod(ended);
    world.pod(on("a", pod("placed", json!({}))));
    world.pod(pod("named", json!({"schedulerName": "default-scheduler"})));
    assert_eq!(world.decide_all(), ["named -> a"]);
    world.pod(pod("gated", json!({})));
    assert_eq!(world.decide_all(), ["gated -> a"]);
}

#[test]
fn what_was_not_written_is_decided_anew_and_what_is_gone_is_not() {
    let mut world = World::new();
    world.node(node("a", "1"));
    for name in ["p", "q"] {
        world.pod(wants(name, "1"));
    }
    assert_eq!(world.decide_all().len(), 2);
    // What p would have taken is there again, which is news for q.
    assert_eq!(world.written("p", Written::Failed), Some(SECOND));
    world.now += SECOND;
    assert_eq!(world.decide_all(), ["q -> a", "p: 0/1 nodes are available: 1 Insufficient cpu."]);
    assert_eq!(world.written("q", Written::Gone), None);
    world.now += SECOND * 10;
    assert_eq!(world.decide_all(), ["p -> a"]);
    // Somebody else was faster, and the watch says so before the answer comes.
    world.node(node("b", "1"));
    world.pod(on("b", wants("p", "1")));
    assert_eq!(world.written("p", Written::Failed), None);
    world.pod(wants("q", "1"));
    assert_eq!(world.decide_all(), ["q -> a"]);
    // Being deleted meanwhile, it is not tried again.
    let mut deleted = wants("q", "1");
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    world.pod(deleted);
    assert_eq!(world.written("q", Written::Failed), None);
    assert_eq!(world.planner.queue.lengths(), [0, 0, 0, 0]);
}

#[test]
fn what_is_written_and_never_shown_is_decided_anew_after_a_quarter_of_an_hour() {
    let mut world = World::new();
    world.node(node("a", "1"));
    world.pod(wants("p", "1"));
    assert_eq!(world.decide_all(), ["p -> a"]);
    assert_eq!(world.planner.next_due(), None, "a write ends by itself");
    world.written("p", Written::Bound);
    assert_eq!(world.planner.next_due(), Some(START + SECOND * 900));
    world.now += SECOND * 900;
    assert_eq!(world.decide_all(), Vec::<String>::new());
    world.now += SECOND;
    assert_eq!(world.decide_all(), ["p -> a"]);
    world.written("p", Written::Bound);
    world.pod(on("a", wants("p", "1")));
    assert_eq!(world.planner.next_due(), None, "it is shown");
}

#[test]
fn a_decision_copies_the_nodes_that_changed_and_no_others() {
    let mut world = World::new();
    for number in 0..100 {
        world.node(node(&format!("node-{number:03}"), "64"));
    }
    // Those that are there already cost nothing, however many they are.
    for number in 0..3000 {
        let placed = wants(&format!("old-{number}"), "10m");
        world.pod(on(&format!("node-{:03}", number % 100), placed));
    }
    for number in 0..50 {
        world.pod(wants(&format!("p-{number}"), "10m"));
    }
    assert_eq!(world.decide_all().len(), 50);
    assert_eq!(world.planner.counts(), Counts { decisions: 50, copied: 100 + 49, asked: 0, woken: 0 });
    // Seeing them bound is no change of their nodes.
    for number in 0..50 {
        let name = format!("p-{number}");
        let node = world.planner.cache.node_of(&name.as_str().into()).expect("it has one");
        world.pod(on(&node, wants(&name, "10m")));
    }
    world.pod(wants("one", "10m"));
    assert_eq!(world.decide_all().len(), 1);
    assert_eq!(world.planner.counts().copied, 100 + 49 + 1);
}

#[test]
fn those_that_fit_nowhere_are_not_tried_again_at_each_event() {
    let mut world = World::new();
    for number in 0..10 {
        world.node(node(&format!("node-{number}"), "2"));
        world.pod(on(&format!("node-{number}"), wants(&format!("small-{number}"), "1")));
    }
    for number in 0..1000 {
        world.pod(wants(&format!("big-{number:04}"), "4"));
    }
    assert_eq!(world.decide_all().len(), 1000);
    world.now += SECOND * 60;
    let before = world.planner.counts();
    // A heartbeat, labels, a cordon and its end; pods that come, change and go: none helps.
    world.node(node("node-0", "2"));
    let mut labelled = node("node-1", "2");
    labelled["metadata"]["labels"] = json!({"disk": "ssd"});
    world.node(labelled);
    let mut cordoned = node("node-2", "2");
    cordoned["spec"]["unschedulable"] = true.into();
    world.node(cordoned);
    assert_eq!(world.decide(), None);
    world.node(node("node-2", "2"));
    world.node(node("node-3", "3"));
    world.pod(on("node-4", wants("more", "1")));
    world.pod(on("node-4", wants("more", "500m")));
    for number in 0..10 {
        world.pod_gone(&format!("small-{number}"));
    }
    assert_eq!(world.decide(), None);
    let after = world.planner.counts();
    assert_eq!((after.decisions, after.woken), (before.decisions, 0));
    // They were looked at once for each node to which something happened, not for each event.
    assert!(after.asked - before.asked <= 1000 * (3 + 10), "{after:?}");
    // Room for two: all may fit there, two do.
    world.node(node("node-9", "8"));
    let decided = world.decide_all();
    assert_eq!((decided.len(), world.planner.counts().woken), (1000, 1000));
    assert_eq!(decided.iter().filter(|decided| decided.ends_with("-> node-9")).count(), 2);
}

/// A pod that one node refuses; what happens; whether it is tried again.
#[track_caller]
fn hint(refused: Value, node: Value, placed: Option<Value>, happens: impl Fn(&mut World), tried: bool) {
    let mut world = World::new();
    world.node(node);
    placed.into_iter().for_each(|placed| world.pod(placed));
    world.pod(refused);
    let decided = world.decide_all();
    assert!(decided.len() == 1 && decided[0].contains("0/1 nodes"), "{decided:?}");
    world.now += SECOND * 60;
    happens(&mut world);
    assert_eq!(world.decide().is_some(), tried);
}

#[test]
fn each_filter_says_what_may_change_its_mind() {
    let plain = || node("a", "2");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut node = plain();
        change(&mut node);
        node
    };
    let cordoned = with(&|node| node["spec"]["unschedulable"] = true.into());
    let tainted = with(&|node| node["spec"]["taints"] = json!([{"key": "gpu", "effect": "NoSchedule"}]));
    let labelled = with(&|node| node["metadata"]["labels"] = json!({"disk": "ssd"}));
    let shows = |node: &Value| {
        let node = node.clone();
        move |world: &mut World| world.node(node.clone())
    };
    let p = || pod("p", json!({}));
    hint(p(), cordoned.clone(), None, shows(&plain()), true);
    hint(
        p(),
        cordoned.clone(),
        None,
        shows(&with(&|node| node["spec"]["unschedulable"] = true.into())),
        false,
    );
    hint(p(), tainted.clone(), None, shows(&plain()), true);
    hint(
        p(),
        tainted,
        None,
        shows(&with(&|node| node["spec"]["taints"] = json!([{"key": "x", "effect": "NoExecute"}]))),
        false,
    );
    let picky = || pod("p", json!({"nodeSelector": {"disk": "ssd"}}));
    hint(picky(), plain(), None, shows(&labelled), true);
    hint(
        picky(),
        plain(),
        None,
        shows(&with(&|node| node["metadata"]["labels"] = json!({"disk": "hdd"}))),
        false,
    );
    hint(picky(), plain(), None, shows(&cordoned), false);
    let port = |name: &str| {
        pod(name, json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]}))
    };
    let taken = || Some(on("a", port("q")));
    hint(port("p"), plain(), taken(), |world| world.pod_gone("q"), true);
    hint(port("p"), plain(), taken(), shows(&labelled), false);
    hint(wants("p", "2"), plain(), Some(on("a", wants("q", "1"))), |world| world.pod_gone("q"), true);
    let ended = |world: &mut World| {
        let mut ended = on("a", wants("q", "1"));
        ended["status"]["phase"] = "Succeeded".into();
        world.pod(ended);
    };
    hint(wants("p", "2"), plain(), Some(on("a", wants("q", "1"))), ended, true);
    let shrinks = |to: &'static str| move |world: &mut World| world.pod(on("a", wants("q", to)));
    hint(wants("p", "1500m"), plain(), Some(on("a", wants("q", "1"))), shrinks("500m"), true);
    hint(wants("p", "1500m"), plain(), Some(on("a", wants("q", "1"))), shrinks("900m"), false);
    hint(wants("p", "3"), plain(), None, shows(&node("a", "4")), true);
    hint(wants("p", "3"), plain(), None, shows(&labelled), false);
    // Another node, and what the pod itself says.
    hint(wants("p", "3"), plain(), None, shows(&node("b", "4")), true);
    hint(wants("p", "3"), plain(), None, shows(&node("b", "2")), false);
    hint(wants("p", "3"), plain(), None, |world| world.pod(wants("p", "1")), true);
    hint(wants("p", "3"), plain(), None, |world| world.pod(wants("p", "3")), false);
}

#[test]
fn a_pod_without_any_node_is_tried_when_there_is_one() {
    let mut world = World::new();
    world.pod(wants("p", "1"));
    assert_eq!(world.decide_all(), ["p: no nodes available to schedule pods"]);
    world.now += SECOND * 20;
    assert_eq!(world.decide(), None);
    world.node(node("a", "1"));
    assert_eq!(world.decide_all(), ["p -> a"]);
}

#[test]
fn a_node_that_comes_back_has_its_pods_still() {
    let mut world = World::new();
    // The pod may be shown before its node.
    world.pod(on("a", wants("q", "1")));
    world.node(node("a", "1"));
    world.pod(wants("p", "1"));
    assert_eq!(world.decide_all(), ["p: 0/1 nodes are available: 1 Insufficient cpu."]);
    let gone = Change::Deleted(Arc::new(serde_json::from_value(node("a", "1")).expect("a node")));
    world.planner.apply(Event::of_node(&gone), world.now);
    world.now += SECOND * 400;
    assert_eq!(world.decide_all(), ["p: no nodes available to schedule pods"]);
    world.now += SECOND * 60;
    world.node(node("a", "1"));
    assert_eq!(world.decide_all(), ["p: 0/1 nodes are available: 1 Insufficient cpu."]);
}

#[test]
fn another_pod_of_the_same_name_is_another_pod() {
    let mut world = World::new();
    world.node(node("a", "1"));
    let old: Pod = serde_json::from_value(on("a", wants("p", "1"))).expect("a pod");
    world.pod(on("a", wants("p", "1")));
    let mut new = wants("p", "1");
    new["metadata"]["uid"] = "second".into();
    let new: Pod = serde_json::from_value(new).expect("a pod");
    let change = Change::Updated { old: Arc::new(old), new: Arc::new(new) };
    Event::of_pod(&change).for_each(|event| world.planner.apply(event, world.now));
    assert_eq!(world.decide_all(), ["p -> a"]);
}

#[test]
fn a_plugin_that_panics_holds_up_one_pod_for_a_while() {
    struct Faulty;
    impl Filter for Faulty {
        fn name(&self) -> &'static str {
            "Faulty"
        }
        fn listens(&self) -> News {
            News::default()
        }
        fn prepare<'a>(&self, pod: &'a PodInfo, _: Scene<'a>) -> Prepared<'a> {
            assert!(&*pod.id.uid != "bad", "a fault");
            Prepared::skip()
        }
    }
    let mut world = World::new();
    world
        .planner
        .frameworks
        .get_mut("default-scheduler")
        .expect("it is there")
        .filters
        .push(Box::new(Faulty));
    world.node(node("a", "1"));
    world.pod(pod("bad", json!({})));
    world.pod(pod("good", json!({})));
    assert_eq!(world.decide_all(), ["bad: a fault 1s", "good -> a"]);
    world.now += SECOND;
    assert_eq!(world.decide_all(), ["bad: a fault 2s"]);
}

/// A pod of an app, with what it says of others: `podAffinity` or `podAntiAffinity` to an app on a node.
fn of_app(name: &str, app: &str, kind: &str, other: &str) -> Value {
    let mut pod = pod(name, json!({}));
    pod["metadata"]["labels"] = json!({"app": app});
    if !kind.is_empty() {
        pod["spec"]["affinity"] = json!({kind: {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": other}}, "topologyKey": "host"}]}});
    }
    pod
}

/// Two nodes that are not near to each other.
fn apart() -> World {
    let mut world = World::new();
    for name in ["a", "b"] {
        let mut node = node(name, "2");
        node["metadata"]["labels"] = json!({"host": name});
        world.node(node);
    }
    world
}

#[test]
fn pods_that_must_not_be_near_each_other_are_on_different_nodes_or_wait() {
    let mut world = apart();
    for name in ["p", "q", "r"] {
        world.pod(of_app(name, "x", "podAntiAffinity", "x"));
    }
    let refused = "r: 0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.";
    assert_eq!(world.decide_all(), ["p -> a", "q -> b", refused]);
    // Who says nothing itself is not put near to those who do not want it, either.
    world.pod(of_app("s", "x", "", ""));
    let refused = "s: 0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules.";
    assert_eq!(world.decide_all(), [refused]);
    world.pod(of_app("t", "y", "", ""));
    assert_eq!(world.decide_all(), ["t -> a"]);
    world.pod(on("b", of_app("q", "x", "podAntiAffinity", "x")));
    world.now += 20 * SECOND;
    world.pod_gone("q");
    assert_eq!(world.decide_all()[0], "r -> b");
}

#[test]
fn pods_that_must_be_near_to_others_wait_for_these() {
    let mut world = apart();
    world.pod(of_app("p", "x", "podAffinity", "y"));
    let refused = "p: 0/2 nodes are available: 2 node(s) didn't match pod affinity rules.";
    assert_eq!(world.decide_all(), [refused]);
    world.now += 20 * SECOND;
    world.pod(on("b", of_app("q", "y", "", "")));
    assert_eq!(world.decide_all(), ["p -> b"]);
    // The first of those who want each other near has nobody to be near to; the next ones follow it.
    for name in ["r", "s"] {
        world.pod(of_app(name, "z", "podAffinity", "z"));
    }
    assert_eq!(world.decide_all(), ["r -> a", "s -> a"]);
}

#[test]
fn namespaces_are_meant_by_their_labels_as_these_are_now() {
    let mut world = apart();
    let blue = json!({"matchLabels": {"team": "blue"}});
    let of_other = |world: &mut World, labels: Value| {
        let namespace = json!({"metadata": {"name": "other", "labels": labels}});
        let namespace = Change::Added(Arc::new(serde_json::from_value(namespace).expect("a namespace")));
        world.planner.apply(Event::of_namespace(&namespace), world.now);
    };
    let mut there = on("b", of_app("q", "y", "", ""));
    there["metadata"]["namespace"] = json!("other");
    world.pod(there);
    let mut pod = of_app("p", "x", "podAffinity", "y");
    pod["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]["namespaceSelector"] =
        blue.clone();
    world.pod(pod);
    let refused = "p: 0/2 nodes are available: 2 node(s) didn't match pod affinity rules.";
    assert_eq!(world.decide_all(), [refused]);
    world.now += 20 * SECOND;
    of_other(&mut world, json!({"team": "red"}));
    assert_eq!(world.decide_all(), [refused]);
    world.now += 20 * SECOND;
    of_other(&mut world, json!({"team": "blue"}));
    assert_eq!(world.decide_all(), ["p -> b"]);
    // The same for those that are there, and do not want others near.
    let mut alone = on("a", of_app("r", "z", "podAntiAffinity", "w"));
    alone["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]["namespaceSelector"] =
        blue;
    world.pod(alone);
    let mut comes = of_app("s", "w", "", "");
    comes["metadata"]["namespace"] = json!("other");
    world.pod(comes);
    assert_eq!(world.decide_all(), ["s -> b"]);
}

#[test]
fn who_comes_is_news_to_those_that_it_can_help() {
    // Of those that a full place keeps out, one is helped by who comes elsewhere and one is not.
    let mut world = apart();
    let mut tainted = node("b", "2");
    tainted["metadata"]["labels"] = json!({"host": "b"});
    tainted["spec"]["taints"] = json!([{"key": "gpu", "effect": "NoSchedule"}]);
    world.node(tainted);
    world.pod(on("a", of_app("q", "x", "", "")));
    let mut spread = of_app("p", "x", "", "");
    spread["spec"]["topologySpreadConstraints"] = json!([{
        "maxSkew": 1, "topologyKey": "host", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}},
    }]);
    world.pod(spread);
    world.pod(of_app("r", "y", "podAntiAffinity", "x"));
    assert_eq!(world.decide_all().len(), 2);
    world.now += 20 * SECOND;
    world.pod(on("b", of_app("s", "x", "", "")));
    assert_eq!(world.decide_all(), ["p -> a"]);
}

#[test]
fn who_is_being_deleted_makes_room_for_those_that_are_spread() {
    let mut world = apart();
    let mut tainted = node("b", "2");
    tainted["metadata"]["labels"] = json!({"host": "b"});
    tainted["spec"]["taints"] = json!([{"key": "gpu", "effect": "NoSchedule"}]);
    world.node(tainted);
    let mut there = on("a", of_app("q", "x", "", ""));
    world.pod(there.clone());
    let mut spread = of_app("p", "x", "", "");
    spread["spec"]["topologySpreadConstraints"] = json!([{
        "maxSkew": 1, "topologyKey": "host", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}},
    }]);
    world.pod(spread);
    assert_eq!(world.decide_all().len(), 1);
    world.now += 20 * SECOND;
    there["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    world.pod(there);
    assert_eq!(world.decide_all(), ["p -> a"]);
}

fn important(mut pod: Value, priority: i32) -> Value {
    pod["spec"]["priority"] = priority.into();
    pod
}

/// What is decided next about one that no node can take: the message, and what becomes of where it is to go.
fn refusal(world: &mut World) -> (String, String) {
    match world.planner.decide(world.now) {
        Some(Outcome::Refused { message, nomination, .. }) => {
            let names =
                |pods: &[PodId]| -> Vec<String> { pods.iter().map(|pod| pod.key.name.clone()).collect() };
            let nomination = match nomination {
                Nomination::Same => "same".to_owned(),
                Nomination::None => "none".to_owned(),
                Nomination::At { node, victims, displaced } => {
                    format!("{node} for {:?}, not for {:?}", names(&victims), names(&displaced))
                }
            };
            (message, nomination)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_came_of_making_room_is_told_after_what_refused() {
    let mut world = World::new();
    world.node(node("a", "1"));
    let mut tainted = node("b", "9");
    tainted["spec"]["taints"] = json!([{"key": "gpu", "effect": "NoSchedule"}]);
    world.node(tainted);
    world.pod(on("a", wants("q", "1")));
    let before = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).";
    world.pod(wants("p", "1"));
    let told = "no new claims to deallocate, preemption: 0/2 nodes are available: 1 No preemption victims found \
                for incoming pod, 1 Preemption is not helpful for scheduling.";
    assert_eq!(refusal(&mut world), (format!("{before} {told}"), "none".to_owned()));
    let mut never = important(wants("r", "1"), 5);
    never["spec"]["preemptionPolicy"] = "Never".into();
    world.pod(never);
    let told = "no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never.";
    assert_eq!(refusal(&mut world), (format!("{before} {told}"), "same".to_owned()));
    // Where room is made nothing more is said.
    world.pod(important(wants("s", "1"), 5));
    assert_eq!(refusal(&mut world), (before.to_owned(), "a for [\"q\"], not for []".to_owned()));
    // A filter that looks at no node is told once.
    world.pod(pod("t", json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]})));
    let told = "0/2 nodes are available: persistentvolumeclaim \"c\" not found. no new claims to deallocate, \
                preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
    assert_eq!(refusal(&mut world).0, told);
}

#[test]
fn room_that_is_made_is_kept_for_whom_it_is_made() {
    let mut world = World::new();
    world.node(node("a", "2"));
    world.pod(on("a", wants("q", "2")));
    world.pod(important(wants("p", "2"), 5));
    assert_eq!(refusal(&mut world).1, "a for [\"q\"], not for []");
    // Another that is less important does not come in between; a more important one does.
    world.pod_gone("q");
    world.pod(wants("r", "2"));
    assert_eq!(world.decide_all(), ["r: 0/1 nodes are available: 1 Insufficient cpu."]);
    world.pod(important(wants("s", "1"), 9));
    assert_eq!(world.decide_all(), ["s -> a"]);
    // Now there is no room any more, and it looks for others once more.
    world.now += SECOND * 2;
    world.pod(on("a", important(wants("s", "1"), 9)));
    assert_eq!(world.decide_all()[0], "p: 0/1 nodes are available: 1 Insufficient cpu.");
    world.now += SECOND * 20;
    world.pod_gone("s");
    assert_eq!(world.decide_all()[0], "p -> a");
}

#[test]
fn a_more_important_pod_takes_the_place_that_was_made_for_another() {
    let mut world = World::new();
    world.node(node("a", "2"));
    world.pod(on("a", wants("q", "2")));
    world.pod(important(wants("p", "2"), 5));
    assert_eq!(refusal(&mut world).1, "a for [\"q\"], not for []");
    world.pod(important(wants("s", "2"), 9));
    assert_eq!(refusal(&mut world).1, "a for [\"q\"], not for [\"p\"]");
    world.pod_gone("q");
    world.now += SECOND * 2;
    assert_eq!(world.decide_all()[0], "s -> a");
}

#[test]
fn where_others_go_for_a_pod_is_known_from_the_api_too() {
    let mut world = World::new();
    world.node(node("a", "2"));
    let mut nominated = important(wants("p", "2"), 5);
    nominated["status"]["nominatedNodeName"] = "a".into();
    world.pod(on("a", wants("q", "2")));
    world.pod(nominated.clone());
    assert_eq!(refusal(&mut world).1, "a for [\"q\"], not for []");
    world.pod_gone("q");
    world.pod(wants("r", "1"));
    assert_eq!(world.decide_all(), ["r: 0/1 nodes are available: 1 Insufficient cpu."]);
    // It is gone, which is news to those that it kept out.
    world.now += SECOND * 2;
    world.pod_gone("p");
    assert_eq!(world.decide_all(), ["r -> a"]);
}

#[test]
fn each_profile_has_its_pods_and_its_plugins() {
    let configuration = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
        "profiles": [
            {"schedulerName": "spreads"},
            {"schedulerName": "packs", "pluginConfig": [
                {"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "MostAllocated"}}}]},
        ],
    });
    let configuration = Configuration::read(configuration).expect("it is taken");
    let mut world = World { planner: Planner::with(&configuration), now: START };
    world.node(node("a", "4"));
    world.node(node("b", "4"));
    world.pod(on("a", wants("q", "1")));
    for name in ["spreads", "packs", "default-scheduler"] {
        let mut pod = wants(name, "1");
        pod["spec"]["schedulerName"] = name.into();
        world.pod(pod);
    }
    assert_eq!(world.decide_all(), ["spreads -> b", "packs -> a"]);
    assert_eq!(world.planner.waiting(), [0, 0, 0, 0]);
}

#[test]
fn volumes_are_given_once_and_news_of_them_wake_whom_they_concern() {
    let mut world = World::new();
    let class = json!({"metadata": {"name": "local"}, "provisioner": "kubernetes.io/no-provisioner",
                       "volumeBindingMode": "WaitForFirstConsumer"});
    let class = Change::Added(Arc::new(serde_json::from_value(class).expect("a class")));
    world.planner.apply(Event::of_class(&class), world.now);
    let claim = |name: &str| {
        let claim = json!({"metadata": {"name": name, "namespace": "n", "uid": name}, "spec": {
            "storageClassName": "local", "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}});
        Event::of_claim(&Change::Added(Arc::new(serde_json::from_value(claim).expect("a claim"))))
    };
    let volume = |name: &str| {
        let volume = json!({"metadata": {"name": name}, "spec": {"storageClassName": "local",
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Available"}});
        Event::of_volume(&Change::Added(Arc::new(serde_json::from_value(volume).expect("a volume"))))
    };
    world.node(node("a", "4"));
    for name in ["p", "q"] {
        let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": name}}]);
        world.pod(pod(name, json!({"volumes": volumes})));
    }
    let missing =
        |name: &str| format!("{name}: 0/1 nodes are available: persistentvolumeclaim \"{name}\" not found.");
    assert_eq!(world.decide_all(), [missing("p"), missing("q")]);
    world.now += SECOND * 60;
    world.planner.apply(claim("p"), world.now);
    let none = |name: &str| {
        format!(
            "{name}: 0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind."
        )
    };
    // Another's claim is no news to q.
    assert_eq!(world.decide_all(), [none("p")]);
    world.planner.apply(claim("q"), world.now);
    assert_eq!(world.decide_all(), [none("q")]);
    world.now += SECOND * 60;
    world.planner.apply(volume("pv"), world.now);
    assert_eq!(world.decide_all(), ["p -> a".to_owned(), none("q")]);
    // What was decided and not done is there again.
    world.written("p", Written::Gone);
    world.now += SECOND * 60;
    world.planner.apply(volume("pv"), world.now);
    assert_eq!(world.decide_all(), ["q -> a"]);
}
