//! Random clusters, decided by the planner and, beside it, by a plain reference that keeps nothing and asks
//! every node about every rule: both have to find the same nodes fit, and none better than the one that is taken.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{SECOND, World, node, on, pod};
use crate::scheduler::planner::{Nomination, Outcome};
use crate::scheduler::pod::PodInfo;

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.roll(many) == 0
    }
}

#[derive(Clone, Debug)]
struct PlainNode {
    name: String,
    cpu: u64,
    pods: usize,
    zone: Option<u64>,
    fast: bool,
    tainted: bool,
    cordoned: bool,
}

#[derive(Clone, Debug, Default)]
struct PlainPod {
    name: String,
    priority: u64,
    cpu: u64,
    app: u64,
    port: Option<u64>,
    fast: bool,
    tolerates: bool,
    /// The app that must be in its zone, and the one that must not.
    near: Option<u64>,
    far: Option<u64>,
    /// By how much its app may differ between zones.
    skew: Option<u64>,
    node: Option<String>,
}

#[derive(Default)]
struct Reference {
    nodes: Vec<PlainNode>,
    pods: BTreeMap<String, PlainPod>,
}

impl Reference {
    fn there(&self) -> Vec<(&PlainPod, &PlainNode)> {
        let nodes: BTreeMap<&str, &PlainNode> =
            self.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
        let place = |pod: &'_ PlainPod| pod.node.as_ref().map(|node| nodes[node.as_str()]);
        self.pods.values().filter_map(|pod| Some((pod, place(pod)?))).collect()
    }

    fn fits(&self, pod: &PlainPod, node: &PlainNode, there: &[(&PlainPod, &PlainNode)]) -> bool {
        let here = || there.iter().filter(|(_, at)| at.name == node.name).map(|(pod, _)| pod);
        let near_to = |at: &PlainNode| at.zone.is_some() && at.zone == node.zone;
        let in_zone = |app: u64| there.iter().any(|(pod, at)| pod.app == app && near_to(at));
        let near = pod.near.is_none_or(|app| {
            let nobody = !there.iter().any(|(pod, at)| pod.app == app && at.zone.is_some());
            node.zone.is_some() && (in_zone(app) || (nobody && pod.app == app))
        });
        let avoided = there.iter().any(|(other, at)| other.far == Some(pod.app) && near_to(at));
        let even = pod.skew.is_none_or(|skew| {
            let Some(zone) = node.zone else { return false };
            // Nodes that the pod's own selector excludes do not count.
            let counts = |at: &PlainNode| at.zone.is_some() && (!pod.fast || at.fast);
            let count = |zone: u64| {
                let like_it = |(other, at): &&(&PlainPod, &PlainNode)| {
                    other.app == pod.app && counts(at) && at.zone == Some(zone)
                };
                there.iter().filter(like_it).count() as u64
            };
            let zones: BTreeSet<u64> =
                self.nodes.iter().filter(|node| counts(node)).filter_map(|node| node.zone).collect();
            let fewest = zones.into_iter().map(count).min().unwrap_or(0);
            count(zone) < skew + fewest
        });
        !node.cordoned
            && (!node.tainted || pod.tolerates)
            && (!pod.fast || node.fast)
            && pod.port.is_none_or(|port| here().all(|other| other.port != Some(port)))
            && here().map(|pod| pod.cpu).sum::<u64>() + pod.cpu <= node.cpu
            && here().count() < node.pods
            && near
            && !pod.far.is_some_and(in_zone)
            && !avoided
            && even
    }

    fn fitting(&self, pod: &PlainPod) -> Vec<String> {
        let there = self.there();
        let nodes = self.nodes.iter().filter(|node| self.fits(pod, node, &there));
        nodes.map(|node| node.name.clone()).collect()
    }
}

fn a_node(dice: &mut Dice, number: usize) -> PlainNode {
    PlainNode {
        name: format!("node-{number:03}"),
        cpu: 2 + dice.roll(6),
        pods: 3 + dice.roll(5) as usize,
        zone: (!dice.one_in(8)).then(|| dice.roll(3)),
        fast: dice.one_in(2),
        tainted: dice.one_in(5),
        cordoned: dice.one_in(10),
    }
}

fn show_node(plain: &PlainNode) -> Value {
    let mut shown = node(&plain.name, &plain.cpu.to_string());
    shown["status"]["allocatable"]["pods"] = plain.pods.to_string().into();
    let mut labels = json!({"fast": plain.fast.to_string()});
    if let Some(zone) = plain.zone {
        labels["zone"] = zone.to_string().into();
    }
    shown["metadata"]["labels"] = labels;
    if plain.tainted {
        shown["spec"]["taints"] = json!([{"key": "k", "effect": "NoSchedule"}]);
    }
    shown["spec"]["unschedulable"] = plain.cordoned.into();
    shown
}

fn a_pod(dice: &mut Dice, number: usize, priorities: u64) -> PlainPod {
    PlainPod {
        name: format!("pod-{number}"),
        priority: dice.roll(priorities),
        cpu: dice.roll(3),
        app: dice.roll(4),
        port: dice.one_in(6).then(|| 80 + dice.roll(2)),
        fast: dice.one_in(4),
        tolerates: dice.one_in(3),
        near: dice.one_in(6).then(|| dice.roll(4)),
        far: dice.one_in(8).then(|| dice.roll(4)),
        skew: dice.one_in(5).then(|| 1 + dice.roll(2)),
        node: None,
    }
}

fn show_pod(plain: &PlainPod) -> Value {
    let port = plain.port.unwrap_or(0);
    let mut shown = pod(
        &plain.name,
        json!({"priority": plain.priority, "containers": [{
            "name": "c", "resources": {"requests": {"cpu": plain.cpu.to_string()}},
            "ports": [{"containerPort": 80, "hostPort": port}]}]}),
    );
    let app = |app: u64| json!({"matchLabels": {"app": app.to_string()}});
    let near = |of: u64| json!({"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": app(of), "topologyKey": "zone"}]});
    let spec = &mut shown["spec"];
    if plain.fast {
        spec["nodeSelector"] = json!({"fast": "true"});
    }
    if plain.tolerates {
        spec["tolerations"] = json!([{"key": "k", "operator": "Exists"}]);
    }
    if let Some(of) = plain.near {
        spec["affinity"]["podAffinity"] = near(of);
    }
    if let Some(of) = plain.far {
        spec["affinity"]["podAntiAffinity"] = near(of);
    }
    if let Some(skew) = plain.skew {
        spec["topologySpreadConstraints"] = json!([{"maxSkew": skew, "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": app(plain.app)}]);
    }
    shown["metadata"]["labels"] = json!({"app": plain.app.to_string()});
    match &plain.node {
        Some(node) => on(node, shown),
        None => shown,
    }
}

struct Run {
    world: World,
    reference: Reference,
    dice: Dice,
    /// Those for whom room was made, and who are not there yet.
    guests: BTreeSet<String>,
    /// How many got a node, were refused, and had others go.
    decided: [usize; 3],
}

impl Run {
    fn new(seed: u64, nodes: usize) -> Self {
        let mut run = Self {
            world: World::new(),
            reference: Reference::default(),
            dice: Dice(seed),
            guests: BTreeSet::new(),
            decided: [0; 3],
        };
        for number in 0..nodes {
            let node = a_node(&mut run.dice, number);
            run.world.node(show_node(&node));
            run.reference.nodes.push(node);
        }
        run
    }

    /// Some pods come and go, and one is decided about.
    fn step(&mut self, number: usize, priorities: u64) {
        let pod = a_pod(&mut self.dice, number, priorities);
        self.world.pod(show_pod(&pod));
        self.reference.pods.insert(pod.name.clone(), pod);
        self.world.now += SECOND * 11;
        if self.dice.one_in(2) {
            let there: Vec<String> = self.reference.there().iter().map(|(pod, _)| pod.name.clone()).collect();
            if !there.is_empty() {
                let gone = &there[self.dice.roll(there.len() as u64) as usize];
                self.world.pod_gone(gone);
                self.reference.pods.remove(gone);
            }
        }
        while let Some(outcome) = self.world.planner.decide(self.world.now) {
            self.check(outcome);
        }
    }

    fn check(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Chosen { pod, node, .. } => {
                let plain = self.reference.pods[&pod.key.name].clone();
                let fitting = self.reference.fitting(&plain);
                assert!(fitting.contains(&node.to_string()), "{node} does not fit {plain:?}: {fitting:?}");
                // Where room was made for somebody that comes before all else.
                if !self.guests.remove(&plain.name) && self.guests.is_empty() {
                    self.is_best(&plain, &node, &fitting);
                }
                let placed = PlainPod { node: Some(node.to_string()), ..plain };
                self.world.pod(show_pod(&placed));
                self.reference.pods.insert(placed.name.clone(), placed);
                self.decided[0] += 1;
            }
            Outcome::Refused { pod, nomination, message, .. } => {
                let plain = self.reference.pods[&pod.key.name].clone();
                let fitting = self.reference.fitting(&plain);
                assert!(
                    fitting.is_empty() || !self.guests.is_empty(),
                    "{fitting:?} fit {plain:?}: {message}"
                );
                self.decided[1] += 1;
                self.guests.remove(&plain.name);
                if let Nomination::At { node, victims, .. } = nomination {
                    self.makes_room(&plain, &node, &victims);
                    self.guests.insert(plain.name);
                }
            }
            Outcome::Failed { panic, .. } => panic!("{panic}"),
            Outcome::Grouped { .. } => {}
        }
    }

    /// All of them go at once, and the pod comes.
    fn makes_room(&mut self, pod: &PlainPod, node: &str, victims: &[crate::scheduler::PodId]) {
        for victim in victims {
            let gone = self.reference.pods.remove(&victim.key.name).expect("it is there");
            assert!(gone.priority < pod.priority, "{gone:?} goes for {pod:?}");
            assert_eq!(gone.node.as_deref(), Some(node));
            self.world.pod_gone(&victim.key.name);
        }
        let fitting = self.reference.fitting(pod);
        assert!(!victims.is_empty() && fitting.iter().any(|name| name == node), "{pod:?} on {node}");
        self.decided[2] += 1;
    }

    /// No node that fits is better, by all scores over all that fit.
    fn is_best(&self, pod: &PlainPod, node: &str, fitting: &[String]) {
        let planner = &self.world.planner;
        let info = PodInfo::of(&serde_json::from_value(show_pod(pod)).expect("a pod"));
        // The snapshot is as it was before the pod was counted there.
        let nodes = planner.snapshot.nodes();
        let scene = planner.scene();
        let those: Vec<_> = nodes.iter().filter(|node| fitting.contains(&node.name().to_string())).collect();
        let sums = planner.frameworks["default-scheduler"].sums(&info, scene, &those);
        let of = |name: &str| those.iter().position(|node| **node.name() == *name).map(|place| sums[place]);
        let chosen = of(node).expect("it fits");
        // Of more than a hundred not all were compared.
        if nodes.len() <= 100 {
            assert_eq!(Some(&chosen), sums.iter().max(), "{node} for {pod:?}");
        }
    }
}

#[test]
fn the_same_nodes_fit_as_by_asking_each_about_every_rule() {
    let mut decided = [0; 3];
    for seed in 0..12 {
        let mut run = Run::new(seed, 10);
        for number in 0..60 {
            run.step(number, 1);
        }
        decided.iter_mut().zip(run.decided).for_each(|(sum, more)| *sum += more);
    }
    // All that is claimed was seen often.
    assert!(decided[0] > 300 && decided[1] > 100 && decided[2] == 0, "{decided:?}");
}

#[test]
fn who_goes_is_less_important_and_that_is_enough() {
    let mut decided = [0; 3];
    for seed in 100..110 {
        let mut run = Run::new(seed, 6);
        for number in 0..60 {
            run.step(number, 4);
        }
        decided.iter_mut().zip(run.decided).for_each(|(sum, more)| *sum += more);
    }
    assert!(decided[0] > 200 && decided[2] > 30, "{decided:?}");
}

#[test]
fn of_very_many_nodes_some_are_enough() {
    let mut run = Run::new(7, 200);
    for number in 0..40 {
        run.step(number, 1);
    }
    assert!(run.decided[0] > 30, "{:?}", run.decided);
}

/// A gang of equal pods: how many it takes, what each wants, which of them have a node, and which are there at all.
struct PlainGang {
    name: String,
    count: u64,
    cpu: u64,
    placed: BTreeMap<String, String>,
    waiting: BTreeSet<String>,
}

/// Nodes, gangs, and single pods, of which nothing but processors is asked.
struct Gangs {
    world: World,
    dice: Dice,
    nodes: BTreeMap<String, u64>,
    gangs: Vec<PlainGang>,
    pods: usize,
    /// How often all of a gang came, one more came to those that are there, and none came.
    decided: [usize; 3],
}

impl Gangs {
    fn new(seed: u64) -> Self {
        let (mut world, mut dice) = (World::new(), Dice(seed));
        let nodes = (0..6).map(|number| (format!("node-{number}"), 1 + dice.roll(6)));
        let nodes: BTreeMap<String, u64> = nodes.collect();
        nodes.iter().for_each(|(name, cpu)| world.node(node(name, &cpu.to_string())));
        Self { world, dice, nodes, gangs: Vec::new(), pods: 0, decided: [0; 3] }
    }

    fn show(&self, gang: &PlainGang, name: &str) -> Value {
        let requests = json!({"requests": {"cpu": gang.cpu.to_string()}});
        let mut shown = pod(name, json!({"containers": [{"name": "c", "resources": requests}]}));
        shown["metadata"]["annotations"] = json!({
            "gantry.dev/pod-group": gang.name, "gantry.dev/pod-group-min-count": gang.count.to_string(),
        });
        shown
    }

    /// How many pods of a size find room, wherever.
    fn room(&self, cpu: u64) -> u64 {
        let mut free = self.nodes.clone();
        for gang in &self.gangs {
            gang.placed.values().for_each(|node| *free.get_mut(node).expect("it is there") -= gang.cpu);
        }
        free.values().map(|free| free / cpu).sum()
    }

    fn step(&mut self, number: usize) {
        self.world.now += SECOND * 11;
        if self.dice.one_in(3) {
            let (count, cpu) = (1 + self.dice.roll(6), 1 + self.dice.roll(3));
            let (placed, waiting) = (BTreeMap::new(), BTreeSet::new());
            self.gangs.push(PlainGang { name: format!("gang-{number}"), count, cpu, placed, waiting });
        }
        if self.gangs.is_empty() {
            return;
        }
        let at = self.dice.roll(self.gangs.len() as u64) as usize;
        if self.dice.one_in(3) {
            // One of them goes, or all do.
            let all = self.dice.one_in(2);
            let gang = &mut self.gangs[at];
            let names: Vec<String> = gang.placed.keys().chain(&gang.waiting).cloned().collect();
            for name in names.iter().take(if all { names.len() } else { 1 }) {
                gang.placed.remove(name);
                gang.waiting.remove(name);
                self.world.pod_gone(name);
            }
        } else {
            for _ in 0..=self.dice.roll(3) {
                self.pods += 1;
                let name = format!("pod-{}", self.pods);
                let shown = self.show(&self.gangs[at], &name);
                self.world.pod(shown);
                self.gangs[at].waiting.insert(name);
            }
        }
        self.decide();
    }

    fn decide(&mut self) {
        let before: Vec<u64> = self.gangs.iter().map(|gang| gang.placed.len() as u64).collect();
        while let Some(outcome) = self.world.planner.decide(self.world.now) {
            let Outcome::Chosen { pod, node, .. } = outcome else { continue };
            let at = self.gangs.iter().position(|gang| gang.waiting.contains(&pod.key.name));
            let at = at.expect("it waits");
            let shown = on(&node, self.show(&self.gangs[at], &pod.key.name));
            self.world.pod(shown);
            self.gangs[at].waiting.remove(&pod.key.name);
            self.gangs[at].placed.insert(pod.key.name, node.to_string());
        }
        for (gang, before) in self.gangs.iter().zip(before) {
            let placed = gang.placed.len() as u64;
            // Those that are there stay, and who comes makes it whole.
            assert!(
                placed == before || placed >= gang.count,
                "{}: {before} of {}, {placed} now",
                gang.name,
                gang.count
            );
            match (placed == before, before >= gang.count) {
                (false, false) => self.decided[0] += 1,
                (false, true) => self.decided[1] += 1,
                (true, _) => {}
            }
        }
        // Whoever waits now could not be helped: there are too few of them, or too little room for as many as lack.
        self.world.now += SECOND * 400;
        while let Some(outcome) = self.world.planner.decide(self.world.now) {
            assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
        }
        for gang in self.gangs.iter().filter(|gang| !gang.waiting.is_empty()) {
            let (placed, waiting) = (gang.placed.len() as u64, gang.waiting.len() as u64);
            let lacks = gang.count.saturating_sub(placed).max(1);
            let room = self.room(gang.cpu);
            assert!(
                waiting < lacks || room < lacks,
                "{}: {waiting} wait, {lacks} lack, room for {room}",
                gang.name
            );
            self.decided[2] += usize::from(waiting >= lacks);
        }
    }
}

#[test]
fn gangs_are_whole_or_not_there_and_wait_only_for_room() {
    let mut decided = [0; 3];
    for seed in 200..230 {
        let mut gangs = Gangs::new(seed);
        for number in 0..60 {
            gangs.step(number);
        }
        decided.iter_mut().zip(gangs.decided).for_each(|(sum, more)| *sum += more);
    }
    // All that is claimed was seen often.
    assert!(decided.iter().all(|times| *times > 100), "{decided:?}");
}
