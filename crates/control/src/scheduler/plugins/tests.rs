//! One plugin alone: a pod and nodes in; what it gives each node, or why it refuses it, out.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
use serde_json::{Value, json};

use super::*;
use crate::scheduler::cache::{Cache, Snapshot};
use crate::scheduler::configuration::{DefaultConstraint, Strategy};
use crate::scheduler::framework::Scene;
use crate::scheduler::node::NodeFacts;
use crate::scheduler::pod::{Owner, PodInfo, Share, Standing};
use crate::scheduler::volumes::Volumes;
use crate::scheduler::workloads::Workloads;

const MI: i64 = 1 << 20;

#[derive(Default)]
struct World {
    nodes: Vec<Value>,
    pods: Vec<Value>,
    volumes: Volumes,
    workloads: Workloads,
    profile: Profile,
}

fn typed<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"))
}

fn node(name: &str, cpu: &str, memory: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {}}, "spec": {},
           "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": "110"}}})
}

fn pod(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "c"}]);
    }
    json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {}}, "spec": spec})
}

fn wants(name: &str, cpu: &str, memory: &str) -> Value {
    let requests = json!({"cpu": cpu, "memory": memory});
    pod(name, json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}))
}

fn on(node: &str, mut pod: Value) -> Value {
    pod["spec"]["nodeName"] = node.into();
    pod
}

impl World {
    fn of(nodes: &[Value], pods: &[Value]) -> Self {
        Self { nodes: nodes.to_vec(), pods: pods.to_vec(), ..Self::default() }
    }

    fn with<T>(&self, look: impl FnOnce(Scene<'_>) -> T) -> T {
        let mut cache = Cache::default();
        for node in &self.nodes {
            cache.set_node(NodeFacts::of(&typed(node)));
        }
        for (number, pod) in self.pods.iter().enumerate() {
            let node = pod["spec"]["nodeName"].as_str().expect("it names its node").into();
            cache.place(&number.to_string().into(), &node, Share::of(&typed(pod)), Standing::default());
        }
        let mut snapshot = Snapshot::default();
        snapshot.refresh(&cache);
        let scene = Scene::of(snapshot.nodes());
        look(Scene { volumes: &self.volumes, workloads: &self.workloads, images: cache.images(), ..scene })
    }

    fn scores(&self, plugin: &str, pod: &Value) -> Option<Vec<i64>> {
        let plugin = score(plugin, &self.profile);
        let pod = PodInfo::of(&typed::<Pod>(pod));
        self.with(|scene| plugin.scores(&pod, scene, &scene.nodes.iter().collect::<Vec<_>>()))
    }

    /// Why each node is refused, or all of them; empty for those that are not.
    fn refusals(&self, plugin: &str, pod: &Value) -> Vec<String> {
        let plugin = filter(plugin, &self.profile);
        let pod = PodInfo::of(&typed::<Pod>(pod));
        let say = |refusal: Refusal| {
            format!("{}{}", if refusal.hopeless { "never: " } else { "" }, refusal.reasons.join(", "))
        };
        self.with(|scene| {
            let prepared = plugin.prepare(&pod, scene);
            if let Some(refusal) = prepared.refused {
                return vec![say(refusal)];
            }
            let Some(filter) = prepared.filter else { return vec![String::new(); scene.nodes.len()] };
            scene.nodes.iter().map(|node| filter.refuses(node).map(say).unwrap_or_default()).collect()
        })
    }

    fn claim(&mut self, name: &str, change: Value) {
        let mut claim = json!({"metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        merge(&mut claim, change);
        self.volumes.set_claim(Arc::new(typed::<PersistentVolumeClaim>(&claim)));
    }

    fn bound(&mut self, name: &str, volume: &str, change: Value) {
        let mut claim = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": volume}});
        merge(&mut claim, change);
        self.claim(name, claim);
    }

    fn volume(&mut self, name: &str, change: Value) {
        let mut volume = json!({"metadata": {"name": name}, "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}, "status": {"phase": "Available"}});
        merge(&mut volume, change);
        self.volumes.set_volume(Arc::new(typed::<PersistentVolume>(&volume)));
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from,
    }
}

fn uses(name: &str, claims: &[&str]) -> Value {
    let volume = |claim: &&str| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}});
    pod(name, json!({"volumes": claims.iter().map(volume).collect::<Vec<_>>()}))
}

#[test]
fn soft_taints_are_counted_in_proportion_to_where_most_are() {
    let tainted = |name: &str, keys: &[&str]| {
        let mut node = node(name, "1", "1Gi");
        let taint = |key: &&str| json!({"key": key, "effect": "PreferNoSchedule"});
        node["spec"]["taints"] = keys.iter().map(taint).collect();
        node
    };
    let world = World::of(
        &[tainted("a", &[]), tainted("b", &["x"]), tainted("c", &["x", "y"]), tainted("d", &["x", "y", "z"])],
        &[],
    );
    let scores = |pod: Value| world.scores("TaintToleration", &pod).expect("it cares");
    assert_eq!(scores(pod("p", json!({}))), [100, 67, 34, 0]);
    let tolerates =
        json!({"tolerations": [{"key": "x", "operator": "Exists", "effect": "PreferNoSchedule"}]});
    assert_eq!(scores(pod("p", tolerates)), [100, 100, 50, 0]);
    // A toleration of another effect is none of these.
    let other = json!({"tolerations": [{"key": "x", "operator": "Exists", "effect": "NoSchedule"}]});
    assert_eq!(scores(pod("p", other)), [100, 67, 34, 0]);
    let all = json!({"tolerations": [{"operator": "Exists"}]});
    assert_eq!(scores(pod("p", all)), [100; 4]);
}

#[test]
fn hard_taints_refuse_who_does_not_put_up_with_them() {
    let mut tainted = node("a", "1", "1Gi");
    tainted["spec"]["taints"] = json!([{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]);
    let mut world = World::of(&[tainted], &[]);
    let refusals = |world: &World, tolerations: Value| {
        world.refusals("TaintToleration", &pod("p", json!({"tolerations": tolerations})))
    };
    const REFUSED: &str = "never: node(s) had untolerated taint(s)";
    assert_eq!(refusals(&world, json!([])), [REFUSED]);
    assert_eq!(refusals(&world, json!([{"key": "gpu", "value": "yes"}])), [""]);
    assert_eq!(refusals(&world, json!([{"key": "gpu", "value": "no"}])), [REFUSED]);
    assert_eq!(
        refusals(&world, json!([{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}])),
        [REFUSED]
    );
    world.nodes[0]["spec"]["taints"][0]["effect"] = "PreferNoSchedule".into();
    assert_eq!(refusals(&world, json!([])), [""]);
    world.nodes[0]["spec"] = json!({"unschedulable": true});
    let cordoned = |world: &World, tolerations: Value| {
        world.refusals("NodeUnschedulable", &pod("p", json!({"tolerations": tolerations})))
    };
    assert_eq!(cordoned(&world, json!([])), ["never: node(s) were unschedulable"]);
    let key = "node.kubernetes.io/unschedulable";
    assert_eq!(cordoned(&world, json!([{"key": key, "operator": "Exists"}])), [""]);
}

#[test]
fn what_is_left_of_resources_is_scored_as_it_is_said() {
    let nodes = [node("a", "4", "10000"), node("b", "4", "10000")];
    let full = [on("a", wants("x", "3", "5000"))];
    let mut world = World::of(&nodes, &full);
    let fit = |world: &World, pod: &Value| world.scores("NodeResourcesFit", pod).expect("it cares");
    let asks = wants("p", "1", "5000");
    // (0 + 0) / 2 and (75 + 50) / 2.
    assert_eq!(fit(&world, &asks), [0, 62]);
    world.profile.fit.strategy = Strategy::Most;
    assert_eq!(fit(&world, &asks), [100, 37]);
    world.profile.fit.resources = vec![("cpu".to_owned(), 3), ("memory".to_owned(), 1)];
    assert_eq!(fit(&world, &asks), [100, (25 * 3 + 50) / 4]);
    world.profile.fit.strategy = Strategy::Ratio(vec![(0, 100), (100, 0)]);
    assert_eq!(fit(&world, &asks), [0, 69]);
    // What has no score does not count: memory of b is full.
    world.profile.fit.strategy = Strategy::Ratio(vec![(0, 0), (50, 50), (100, 0)]);
    let heavy = wants("p", "1", "10000");
    assert_eq!(fit(&world, &heavy)[1], 25);
    // A resource that the pod does not ask for does not count, either.
    world.profile.fit.strategy = Strategy::Least;
    world.profile.fit.resources = vec![("example.com/gpu".to_owned(), 1), ("cpu".to_owned(), 1)];
    world.nodes[1]["status"]["allocatable"]["example.com/gpu"] = "4".into();
    assert_eq!(fit(&world, &asks), [0, 75]);
    let mut with = asks.clone();
    with["spec"]["containers"][0]["resources"]["requests"]["example.com/gpu"] = "1".into();
    assert_eq!(fit(&world, &with), [0, 75]);
}

#[test]
fn who_asks_for_nothing_is_a_load_all_the_same() {
    let nodes = [node("a", "1", "1000Mi"), node("b", "1", "1000Mi")];
    let world = World::of(&nodes, &[on("a", pod("x", json!({})))]);
    // a: 20 % and 40 % with both; b: 10 % and 20 %.
    assert_eq!(world.scores("NodeResourcesFit", &pod("p", json!({}))), Some(vec![70, 85]));
    assert_eq!(world.scores("NodeResourcesBalancedAllocation", &pod("p", json!({}))), None);
}

#[test]
fn balance_is_better_the_more_a_pod_makes_it_so() {
    let nodes = [node("a", "10", "100"), node("b", "10", "100"), node("c", "10", "100")];
    // a is out of balance to the side that the pod makes good, b to the other.
    let pods = [on("a", wants("x", "0", "40")), on("b", wants("y", "4", "0"))];
    let world = World::of(&nodes, &pods);
    let balance = |pod: &Value| world.scores("NodeResourcesBalancedAllocation", pod).expect("it cares");
    // 50 + (50 + 100 - 80) / 2, 50 + (50 + 60 - 80) / 2, 50 + (50 + 80 - 100) / 2.
    assert_eq!(balance(&wants("p", "4", "0")), [85, 65, 65]);
    assert_eq!(balance(&wants("p", "4", "40")), [75, 75, 75]);
}

#[test]
fn resources_that_there_are_not_enough_of_are_named() {
    let mut world =
        World::of(&[node("a", "2", "100"), node("b", "4", "100")], &[on("b", wants("x", "3", "50"))]);
    let refusals = |world: &World, pod: &Value| world.refusals("NodeResourcesFit", pod);
    // Where the node would be too small without anybody, nobody can make room.
    let both = "Insufficient cpu, Insufficient memory";
    assert_eq!(refusals(&world, &wants("p", "3", "60")), ["never: Insufficient cpu", both]);
    assert_eq!(refusals(&world, &wants("p", "1", "50")), ["", ""]);
    let gpu = |amount: &str| {
        let requests = json!({"example.com/gpu": amount});
        pod("p", json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}))
    };
    assert_eq!(refusals(&world, &gpu("1")), ["never: Insufficient example.com/gpu"; 2]);
    world.profile.fit.ignored_groups = vec!["example.com".to_owned()];
    assert_eq!(refusals(&world, &gpu("1")), ["", ""]);
    world.profile.fit.ignored_groups = Vec::new();
    world.profile.fit.ignored = vec!["example.com/gpu".to_owned()];
    assert_eq!(refusals(&world, &gpu("1")), ["", ""]);
    world.nodes[0]["status"]["allocatable"]["pods"] = "0".into();
    assert_eq!(refusals(&world, &gpu("1")), ["Too many pods", ""]);
}

#[test]
fn preferred_labels_count_by_their_weights() {
    let labelled = |name: &str, labels: Value| {
        let mut node = node(name, "1", "1Gi");
        node["metadata"]["labels"] = labels;
        node
    };
    let nodes = [
        labelled("a", json!({"foo": "bar"})),
        labelled("b", json!({"key": "value"})),
        labelled("c", json!({"foo": "bar", "key": "value", "az": "az1"})),
    ];
    let mut world = World::of(&nodes, &[]);
    let term = |weight: i32, key: &str, value: &str| {
        json!({"weight": weight, "preference": {"matchExpressions": [
            {"key": key, "operator": "In", "values": [value]}]}})
    };
    let preferring = |terms: &[Value]| {
        pod(
            "p",
            json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}}),
        )
    };
    let scores = |world: &World, pod: &Value| world.scores("NodeAffinity", pod);
    assert_eq!(scores(&world, &pod("p", json!({}))), None);
    let one = preferring(&[term(2, "foo", "bar")]);
    assert_eq!(scores(&world, &one), Some(vec![100, 0, 100]));
    let two = preferring(&[term(2, "foo", "bar"), term(4, "key", "value"), term(5, "az", "az1")]);
    assert_eq!(scores(&world, &two), Some(vec![18, 36, 100]));
    assert_eq!(scores(&world, &preferring(&[term(5, "az", "az9")])), Some(vec![0; 3]));
    // What is asked of all pods besides.
    let added = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "foo", "operator": "Exists"}]}]},
        "preferredDuringSchedulingIgnoredDuringExecution": [term(1, "az", "az1")]});
    world.profile.added_affinity = Some(Box::new(typed(&added)));
    assert_eq!(scores(&world, &pod("p", json!({}))), Some(vec![0, 0, 100]));
    let enforced = "never: node(s) didn't match scheduler-enforced node affinity";
    assert_eq!(world.refusals("NodeAffinity", &pod("p", json!({}))), ["", enforced, ""]);
    let selecting = pod("p", json!({"nodeSelector": {"key": "value"}}));
    let own = "never: node(s) didn't match Pod's node affinity/selector";
    assert_eq!(world.refusals("NodeAffinity", &selecting), [own, enforced, ""]);
}

#[test]
fn every_operator_of_node_affinity_is_understood() {
    let mut labelled = node("a", "1", "1Gi");
    labelled["metadata"]["labels"] = json!({"cores": "8", "disk": "ssd"});
    let world = World::of(&[labelled], &[]);
    let fits = |key: &str, operator: &str, values: &[&str]| {
        let expression = json!({"key": key, "operator": operator, "values": values});
        let required = json!({"nodeSelectorTerms": [{"matchExpressions": [expression]}]});
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}});
        world.refusals("NodeAffinity", &pod("p", json!({"affinity": affinity}))) == [""]
    };
    assert!(fits("disk", "In", &["hdd", "ssd"]) && !fits("disk", "In", &["hdd"]));
    assert!(
        fits("disk", "NotIn", &["hdd"]) && !fits("disk", "NotIn", &["ssd"]) && fits("gpu", "NotIn", &["x"])
    );
    assert!(fits("disk", "Exists", &[]) && !fits("gpu", "Exists", &[]));
    assert!(fits("gpu", "DoesNotExist", &[]) && !fits("disk", "DoesNotExist", &[]));
    assert!(fits("cores", "Gt", &["7"]) && !fits("cores", "Gt", &["8"]) && !fits("disk", "Gt", &["1"]));
    assert!(fits("cores", "Lt", &["9"]) && !fits("cores", "Lt", &["8"]));
    // A term without any requirement is met by nobody.
    let nothing = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}});
    assert_ne!(world.refusals("NodeAffinity", &pod("p", json!({"affinity": nothing}))), [""]);
}

#[test]
fn images_that_are_there_draw_a_pod() {
    let with = |name: &str, images: &[(&str, i64)]| {
        let mut node = node(name, "1", "1Gi");
        let image = |(name, size): &(&str, i64)| json!({"names": [name], "sizeBytes": size * MI});
        node["status"]["images"] = images.iter().map(image).collect();
        node
    };
    let nodes = [
        with("a", &[("gcr.io/40:latest", 40), ("gcr.io/300:latest", 300), ("gcr.io/2000:latest", 2000)]),
        with("b", &[("gcr.io/250:latest", 250), ("gcr.io/10:v1", 10)]),
    ];
    let world = World::of(&nodes, &[]);
    let scores = |images: &[&str]| {
        let container = |image: &&str| json!({"name": "c", "image": image});
        let containers: Vec<Value> = images.iter().map(container).collect();
        world.scores("ImageLocality", &pod("p", json!({"containers": containers})))
    };
    // Each image is on one of two nodes, and counts for half: (20 + 150 - 23) of (2000 - 23).
    assert_eq!(scores(&["gcr.io/40", "gcr.io/300"]), Some(vec![100 * 147 / 1977, 0]));
    assert_eq!(scores(&["gcr.io/40", "gcr.io/250"]), Some(vec![0, 100 * 102 / 1977]));
    assert_eq!(scores(&["gcr.io/2000", "gcr.io/10:v1"]), Some(vec![100 * 977 / 1977, 0]));
    assert_eq!(scores(&["gcr.io/2000"]), Some(vec![100, 0]));
    assert_eq!(scores(&["gcr.io/10"]), None);
}

/// Nodes `a` and `b` in zone 1, `c` and `d` in zone 2.
fn zones() -> Vec<Value> {
    let in_zone = |name: &str, zone: &str| {
        let mut node = node(name, "8", "8Gi");
        let labels = json!({"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone});
        node["metadata"]["labels"] = labels;
        node
    };
    vec![in_zone("a", "1"), in_zone("b", "1"), in_zone("c", "2"), in_zone("d", "2")]
}

fn labelled(mut pod: Value, app: &str) -> Value {
    pod["metadata"]["labels"] = json!({"app": app});
    pod
}

#[test]
fn who_says_nothing_of_it_is_spread_among_those_of_its_owner_and_services() {
    let web = |name: &str| labelled(pod(name, json!({})), "web");
    let pods = [
        on("a", web("1")),
        on("a", web("2")),
        on("b", web("3")),
        on("c", labelled(pod("4", json!({})), "db")),
    ];
    let mut world = World::of(&zones(), &pods);
    let scores = |world: &World, pod: &Value| world.scores("PodTopologySpread", pod);
    assert_eq!(scores(&world, &web("p")), None, "nobody belongs to it");
    let selector: BTreeMap<String, String> = [("app".to_owned(), "web".to_owned())].into();
    world.workloads.set_service("n", "web", Some(selector));
    // Hosts count for log 6 each with a skew of 3, zones for log 4 with one of 5:
    // a: 2 * 1.79 + 2 + 3 * 1.39 + 4 = 13.7; b: 11.9; c, d: 6.
    let spread = scores(&world, &web("p")).expect("it cares");
    assert_eq!(spread, [100 * (14 + 6 - 14) / 14, 100 * (14 + 6 - 12) / 14, 100, 100]);
    // Another namespace's service is not its own.
    world.workloads.remove_service("n", "web");
    let selector = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
    world.workloads.set_service("other", "web", Some(selector));
    assert_eq!(scores(&world, &web("p")), None);
    // Its owner's selector counts.
    let owner = Owner { kind: "ReplicaSet".to_owned(), name: "r".to_owned() };
    let selector = model::select::LabelSelector::from_labels([("app", "web")]);
    world.workloads.set_owner("n", owner, selector);
    let mut owned = web("p");
    owned["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r",
        "uid": "r", "controller": true}]);
    assert_eq!(scores(&world, &owned), Some(spread));
    // A list instead of what the system does: one that is hard refuses.
    let hard =
        DefaultConstraint { topology_key: "topology.kubernetes.io/zone".to_owned(), max_skew: 2, hard: true };
    world.profile.spread.constraints = vec![hard];
    let uneven = "node(s) didn't match pod topology spread constraints";
    assert_eq!(world.refusals("PodTopologySpread", &owned), [uneven, uneven, "", ""]);
    assert_eq!(scores(&world, &owned), None);
}

#[test]
fn soft_constraints_of_several_labels_are_summed_up() {
    let web = |name: &str| labelled(pod(name, json!({})), "web");
    let pods = [on("a", web("1")), on("b", web("2")), on("b", web("3")), on("c", web("4"))];
    let mut nodes = zones();
    nodes.push(node("e", "8", "8Gi"));
    let world = World::of(&nodes, &pods);
    let soft = |key: &str| {
        json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway",
               "labelSelector": {"matchLabels": {"app": "web"}}})
    };
    let mut asks = web("p");
    asks["spec"]["topologySpreadConstraints"] =
        json!([soft("topology.kubernetes.io/zone"), soft("kubernetes.io/hostname")]);
    // Zones by log 4, hosts by log 6: a 5.95, b 7.74, c 3.18, d 1.39; rounded 6, 8, 3, 1. e has no labels.
    let expected = [100 * (8 + 1 - 6) / 8, 100 / 8, 100 * (8 + 1 - 3) / 8, 100, 0];
    assert_eq!(world.scores("PodTopologySpread", &asks), Some(expected.to_vec()));
}

#[test]
fn leanings_are_normalised_between_the_least_and_the_most() {
    let term = |app: &str| json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "topology.kubernetes.io/zone"});
    let leaning = |weight: i32, app: &str| {
        json!({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
            [{"weight": weight, "podAffinityTerm": term(app)}]}}})
    };
    let needs = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term("web")]}}});
    let pods = [
        on("a", labelled(pod("1", json!({})), "cache")),
        on("c", labelled(pod("2", leaning(50, "web")), "db")),
        on("d", labelled(pod("3", needs), "db")),
    ];
    let mut world = World::of(&zones(), &pods);
    let scores =
        |world: &World, spec: Value| world.scores("InterPodAffinity", &labelled(pod("p", spec), "web"));
    // Zone 2 has 50 and, for who must have it near, 1; zone 1 has 30.
    assert_eq!(scores(&world, leaning(30, "cache")), Some(vec![0, 0, 100, 100]));
    assert_eq!(scores(&world, leaning(70, "cache")), Some(vec![100, 100, 0, 0]));
    assert_eq!(scores(&world, json!({})), Some(vec![0, 0, 100, 100]));
    world.profile.affinity.ignores_others = true;
    assert_eq!(scores(&world, json!({})), None);
    assert_eq!(scores(&world, leaning(30, "cache")), Some(vec![100, 100, 0, 0]));
    world.profile.affinity.ignores_others = false;
    world.pods.remove(1);
    assert_eq!(scores(&world, json!({})), Some(vec![0, 0, 100, 100]));
    world.profile.affinity.hard_weight = 0;
    assert_eq!(scores(&world, json!({})), None);
}

#[test]
fn ports_are_taken_once_for_each_address_and_protocol() {
    let port = |protocol: &str, address: &str, number: i32| {
        pod(
            "x",
            json!({"containers": [{"name": "c", "ports": [
            {"containerPort": 80, "hostPort": number, "protocol": protocol, "hostIP": address}]}]}),
        )
    };
    let refused = |there: Value, comes: Value| {
        World::of(&[node("a", "1", "1Gi")], &[on("a", there)]).refusals("NodePorts", &comes)[0].clone()
    };
    const TAKEN: &str = "node(s) didn't have free ports for the requested pod ports";
    assert_eq!(refused(port("TCP", "", 80), port("TCP", "", 80)), TAKEN);
    assert_eq!(refused(port("TCP", "", 80), port("TCP", "", 81)), "");
    assert_eq!(refused(port("UDP", "", 80), port("TCP", "", 80)), "");
    assert_eq!(refused(port("TCP", "10.0.0.1", 80), port("TCP", "10.0.0.2", 80)), "");
    assert_eq!(refused(port("TCP", "10.0.0.1", 80), port("TCP", "0.0.0.0", 80)), TAKEN);
    // A sidecar has ports, too; one that ends before others begin has none.
    let init = |policy: Value| {
        pod(
            "x",
            json!({"initContainers": [{"name": "i", "restartPolicy": policy,
            "ports": [{"containerPort": 80, "hostPort": 80}]}]}),
        )
    };
    assert_eq!(refused(init(json!("Always")), port("TCP", "", 80)), TAKEN);
    assert_eq!(refused(init(Value::Null), port("TCP", "", 80)), "");
}

#[test]
fn a_claim_for_one_pod_and_a_disk_are_had_by_one() {
    let mut world =
        World::of(&[node("a", "1", "1Gi"), node("b", "1", "1Gi")], &[on("a", uses("x", &["data"]))]);
    world.claim("data", json!({"spec": {"accessModes": ["ReadWriteOncePod"]}}));
    world.claim("other", json!({}));
    let taken =
        "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
    assert_eq!(world.refusals("VolumeRestrictions", &uses("p", &["data"])), [taken, taken]);
    assert_eq!(world.refusals("VolumeRestrictions", &uses("p", &["other"])), ["", ""]);
    let missing = "never: persistentvolumeclaim \"none\" not found";
    assert_eq!(world.refusals("VolumeRestrictions", &uses("p", &["none"])), [missing]);
    let disk = |kind: &str, disk: Value| pod("x", json!({"volumes": [{"name": "v", kind: disk}]}));
    let refused = |kind: &str, there: Value, comes: Value| {
        let world = World::of(&[node("a", "1", "1Gi")], &[on("a", disk(kind, there))]);
        world.refusals("VolumeRestrictions", &disk(kind, comes)) != [""]
    };
    let gce = |name: &str, read_only: bool| json!({"pdName": name, "readOnly": read_only});
    assert!(refused("gcePersistentDisk", gce("1", false), gce("1", true)));
    assert!(!refused("gcePersistentDisk", gce("1", true), gce("1", true)));
    assert!(!refused("gcePersistentDisk", gce("1", false), gce("2", false)));
    let ebs = |read_only: bool| json!({"volumeID": "1", "readOnly": read_only});
    assert!(refused("awsElasticBlockStore", ebs(true), ebs(true)));
    let rbd = |monitor: &str| json!({"monitors": [monitor, "m"], "pool": "p", "image": "i"});
    assert!(refused("rbd", rbd("a"), rbd("b")));
}

#[test]
fn volumes_are_used_in_their_zones() {
    let mut nodes = zones();
    nodes.push(node("e", "1", "1Gi"));
    let mut world = World::of(&nodes, &[]);
    world.volume("pv", json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "2__3"}}}));
    world.bound("data", "pv", json!({}));
    let conflict = "never: node(s) had no available volume zone";
    assert_eq!(world.refusals("VolumeZone", &uses("p", &["data"])), [conflict, conflict, "", "", ""]);
    // The older label means the same.
    world.volume("pv", json!({"metadata": {"labels": {"failure-domain.beta.kubernetes.io/zone": "1"}}}));
    assert_eq!(world.refusals("VolumeZone", &uses("p", &["data"])), ["", "", conflict, conflict, ""]);
    world.claim("free", json!({"spec": {"storageClassName": "late"}}));
    let refused = world.refusals("VolumeZone", &uses("p", &["free"]));
    assert_eq!(refused, ["never: PersistentVolumeClaim had no pv name"]);
    let class = json!({"metadata": {"name": "late"}, "provisioner": "x", "volumeBindingMode": "WaitForFirstConsumer"});
    world.volumes.set_class(Arc::new(typed::<StorageClass>(&class)));
    assert_eq!(world.refusals("VolumeZone", &uses("p", &["free"])), [""; 5]);
}

#[test]
fn a_driver_has_so_many_volumes_on_a_node_and_no_more() {
    let mut world =
        World::of(&[node("a", "1", "1Gi"), node("b", "1", "1Gi")], &[on("a", uses("x", &["one", "two"]))]);
    for (claim, volume) in [("one", "1"), ("two", "2"), ("three", "3")] {
        let csi = json!({"spec": {"csi": {"driver": "d", "volumeHandle": volume}}});
        world.volume(volume, csi);
        world.bound(claim, volume, json!({}));
    }
    let drivers = json!([{"name": "d", "nodeID": "a", "allocatable": {"count": 2}}]);
    let limits = json!({"metadata": {"name": "a"}, "spec": {"drivers": drivers}});
    world.volumes.set_node(Arc::new(typed::<CSINode>(&limits)));
    let refused = |world: &World, claims: &[&str]| world.refusals("NodeVolumeLimits", &uses("p", claims));
    let exceeds = "node(s) exceed max volume count";
    assert_eq!(refused(&world, &["three"]), [exceeds, ""]);
    // One that is there already is no more.
    assert_eq!(refused(&world, &["one", "two"]), ["", ""]);
    // One that is to be made counts for its class's driver.
    let class = json!({"metadata": {"name": "late"}, "provisioner": "d", "volumeBindingMode": "WaitForFirstConsumer"});
    world.volumes.set_class(Arc::new(typed::<StorageClass>(&class)));
    world.claim("new", json!({"spec": {"storageClassName": "late"}}));
    assert_eq!(refused(&world, &["new"]), [exceeds, ""]);
}
