//! Whatever happens in whatever order, what is kept step by step is what all pods and nodes come to.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{SECOND, World, node, on, pod};
use crate::scheduler::cache::Snapshot;
use crate::scheduler::framework::Scene;
use crate::scheduler::node::{NodeFacts, NodeInfo, Taken};
use crate::scheduler::planner::{Event, Outcome, Written};
use crate::scheduler::pod::{PodId, Share, Sighting};

#[derive(Clone, Debug)]
enum Step {
    Node {
        name: u8,
        cpu: u8,
        label: u8,
        state: Door,
    },
    NodeGone(u8),
    Pod {
        name: u8,
        state: State,
        share: u8,
    },
    PodGone(u8),
    Decide,
    /// How the writing of the decision ended that is that far down the list.
    Written(u8, Written),
    Sleep(u16),
}

/// Whom a node lets in.
#[derive(Clone, Copy, Debug)]
enum Door {
    Open,
    Cordoned,
    Tainted,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Waiting,
    Placed(u8),
    Deleted,
    Ended(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let state = prop_oneof![
        6 => Just(State::Waiting),
        4 => (0..5u8).prop_map(State::Placed),
        1 => Just(State::Deleted),
        1 => (0..5u8).prop_map(State::Ended),
    ];
    let door = prop_oneof![4 => Just(Door::Open), 1 => Just(Door::Cordoned), 1 => Just(Door::Tainted)];
    let written = prop_oneof![Just(Written::Bound), Just(Written::Gone), Just(Written::Failed)];
    prop_oneof![
        3 => (0..5u8, 1..4u8, 0..2u8, door)
            .prop_map(|(name, cpu, label, state)| Step::Node { name, cpu, label, state }),
        1 => (0..5u8).prop_map(Step::NodeGone),
        8 => (0..10u8, state, 0..12u8).prop_map(|(name, state, share)| Step::Pod { name, state, share }),
        2 => (0..10u8).prop_map(Step::PodGone),
        6 => Just(Step::Decide),
        3 => (0..4u8, written).prop_map(|(number, written)| Step::Written(number, written)),
        1 => (1..1000u16).prop_map(Step::Sleep),
    ]
}

/// A planner, and what is known of the world without any bookkeeping.
struct Twin {
    world: World,
    nodes: BTreeMap<String, Value>,
    pods: BTreeMap<String, Value>,
    /// What was decided and is not shown: the node, the pod as it was, when it expires.
    assumed: BTreeMap<String, (String, Value, Option<std::time::Duration>)>,
    waiting: BTreeSet<String>,
}

impl Twin {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Node { name, cpu, label, state } => {
                let name = format!("node-{name}");
                let mut node = node(&name, &cpu.to_string());
                node["metadata"]["labels"] = json!({"label": label.to_string()});
                match state {
                    Door::Open => {}
                    Door::Cordoned => node["spec"]["unschedulable"] = true.into(),
                    Door::Tainted => node["spec"]["taints"] = json!([{"key": "k", "effect": "NoSchedule"}]),
                }
                self.world.node(node.clone());
                self.nodes.insert(name, node);
            }
            Step::NodeGone(name) => {
                if let Some(gone) = self.nodes.remove(&format!("node-{name}")) {
                    let gone = std::sync::Arc::new(serde_json::from_value(gone).expect("a node"));
                    self.world.planner.apply(Event::of_node(&client::Change::Deleted(gone)), self.world.now);
                }
            }
            Step::Pod { name, state, share } => self.show(&format!("pod-{name}"), state, share),
            Step::PodGone(name) => {
                let name = format!("pod-{name}");
                self.world.pod_gone(&name);
                self.pods.remove(&name);
                self.assumed.remove(&name);
                self.waiting.remove(&name);
            }
            Step::Decide => self.decide(),
            Step::Written(number, written) => self.written(number, written),
            Step::Sleep(seconds) => self.world.now += SECOND * u32::from(seconds),
        }
    }

    fn show(&mut self, name: &str, state: State, share: u8) {
        let mut shown = pod(
            name,
            json!({"containers": [{
                "name": "c",
                "resources": {"requests": {"cpu": format!("{}m", 300 * u32::from(share % 8)), "gpu": (share % 2).to_string()}},
                "ports": [{"containerPort": 80, "hostPort": if share == 5 { 80 } else { 0 }}],
            }]}),
        );
        match share {
            6 => shown["spec"]["nodeSelector"] = json!({"label": "1"}),
            7 => shown["spec"]["tolerations"] = json!([{"key": "k", "operator": "Exists"}]),
            // Near is what has the same label, so that several nodes are.
            8 => shown["spec"]["affinity"] = json!({"podAntiAffinity": near("0")}),
            9 => shown["spec"]["affinity"] = json!({"podAntiAffinity": near("1")}),
            4 => {
                shown["spec"]["affinity"] = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 3, "podAffinityTerm": near("1")["requiredDuringSchedulingIgnoredDuringExecution"][0]}]}})
            }
            3 => {
                shown["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": "label",
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "0"}}}])
            }
            10 => shown["spec"]["affinity"] = json!({"podAffinity": near("0")}),
            11 => shown["spec"]["affinity"] = json!({"podAffinity": near("2")}),
            _ => {}
        }
        shown["metadata"]["labels"] = json!({"app": (share % 3).to_string()});
        let owner = format!("owner-{}", share % 3);
        shown["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "R", "name": owner, "uid": owner, "controller": true}]);
        match state {
            State::Waiting => {}
            State::Placed(node) | State::Ended(node) => shown = on(&format!("node-{node}"), shown),
            State::Deleted => shown["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into(),
        }
        if let State::Ended(_) = state {
            shown["status"]["phase"] = "Succeeded".into();
        }
        self.world.pod(shown.clone());
        self.pods.insert(name.to_owned(), shown);
        match state {
            State::Waiting if self.assumed.contains_key(name) => {}
            State::Waiting => drop(self.waiting.insert(name.to_owned())),
            State::Deleted => drop(self.waiting.remove(name)),
            State::Placed(_) | State::Ended(_) => {
                self.assumed.remove(name);
                self.waiting.remove(name);
            }
        }
    }

    fn decide(&mut self) {
        let now = self.world.now;
        let overdue = |at: &Option<std::time::Duration>| at.is_some_and(|at| at <= now);
        let expired: Vec<String> =
            self.assumed.iter().filter(|(_, (_, _, at))| overdue(at)).map(|(name, _)| name.clone()).collect();
        for name in expired {
            self.assumed.remove(&name);
            self.wait_again(&name);
        }
        if let Some(Outcome::Chosen { pod, node, .. }) = self.world.planner.decide(now) {
            let name = pod.key.name;
            assert!(self.nodes.contains_key(&*node), "{node} is not there");
            assert!(self.waiting.remove(&name), "{name} does not wait");
            self.assumed.insert(name.clone(), (node.to_string(), self.pods[&name].clone(), None));
        }
    }

    fn written(&mut self, number: u8, written: Written) {
        let unwritten = self.assumed.iter().filter(|(_, (_, _, expires))| expires.is_none());
        let Some(name) = unwritten.map(|(name, _)| name.clone()).nth(usize::from(number)) else { return };
        self.world.written(&name, written);
        match written {
            Written::Bound => {
                let expires = Some(self.world.now + SECOND * 900);
                self.assumed.get_mut(&name).expect("it was just found").2 = expires;
            }
            Written::Gone => drop(self.assumed.remove(&name)),
            Written::Failed => {
                self.assumed.remove(&name);
                self.wait_again(&name);
            }
        }
    }

    fn wait_again(&mut self, name: &str) {
        if matches!(sighting(&self.pods[name]), Sighting::Waiting(_)) {
            self.waiting.insert(name.to_owned());
        }
    }

    /// The nodes as all pods come to, without any subtraction.
    fn anew(&self) -> Vec<NodeInfo> {
        let mut taken: BTreeMap<String, Taken> = BTreeMap::new();
        for pod in self.pods.values() {
            if let Sighting::Placed { node, share, .. } = sighting(pod) {
                taken.entry(node.to_string()).or_default().add(&share);
            }
        }
        for (node, pod, _) in self.assumed.values() {
            taken.entry(node.clone()).or_default().add(&Share::of(&typed(pod)));
        }
        let of = |(name, node): (&String, &Value)| {
            let facts = NodeFacts::of(&serde_json::from_value(node.clone()).expect("a node"));
            NodeInfo { facts: facts.into(), taken: taken.remove(name).unwrap_or_default() }
        };
        self.nodes.iter().map(of).collect()
    }

    fn check(&mut self, kept: &mut Snapshot) {
        let planner = &self.world.planner;
        kept.refresh(&planner.cache);
        let anew = self.anew();
        assert_eq!(kept.nodes(), anew, "a snapshot that was refreshed");
        assert_eq!(kept.refresh(&planner.cache), 0, "nothing changed meanwhile");
        let mut fresh = Snapshot::default();
        fresh.refresh(&planner.cache);
        assert_eq!(fresh.nodes(), anew, "a snapshot that is new");
        let waiting: BTreeSet<String> = planner.queue.waiting().map(|uid| uid.to_string()).collect();
        assert_eq!(waiting, self.waiting, "who waits");
        assert_eq!(planner.queue.lengths().iter().sum::<usize>(), waiting.len(), "each in one line");
        let of_assumed =
            |name: &String| PodId { key: client::ObjectKey::new("n", name), uid: name.as_str().into() };
        assert!(self.assumed.keys().all(|name| planner.cache.is_assumed(&of_assumed(name).uid)));
        assert!(planner.cache.keeps_only_what_it_needs());
        // Whoever waits for news, when they have been spread, could not be taken anywhere.
        self.world.planner.spread_news(self.world.now);
        let planner = &self.world.planner;
        for pod in planner.queue.unschedulable() {
            let framework = &planner.frameworks[&pod.scheduler];
            let chosen = framework.choose(pod, Scene::of(&anew), &mut 0);
            assert!(chosen.is_err(), "{:?} waits, and {chosen:?} would take it", pod.id);
        }
    }
}

/// What requires or forbids pods of an app on nodes of the same label.
fn near(app: &str) -> Value {
    json!({"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "label"}]})
}

fn typed(pod: &Value) -> k8s_openapi::api::core::v1::Pod {
    serde_json::from_value(pod.clone()).expect("a pod")
}

fn sighting(pod: &Value) -> Sighting {
    Sighting::of(&typed(pod))
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn the_cache_is_what_it_would_be_if_it_were_made_anew(steps in proptest::collection::vec(step(), 1..80)) {
        let mut twin = Twin {
            world: World::new(),
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            assumed: BTreeMap::new(),
            waiting: BTreeSet::new(),
        };
        let mut kept = Snapshot::default();
        for (number, step) in steps.iter().enumerate() {
            twin.step(step);
            // Not always, so that several changes come between two snapshots.
            if number % 3 == 0 {
                twin.check(&mut kept);
            }
        }
        twin.check(&mut kept);
    }
}
