//! Looks at all nodes again and again, says of those of which nothing is heard that nothing is known of them, and
//! marks those that pods are to leave.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use client::recorder::{EventType, Recorder};
use client::{Api, Error, ObjectKey, Resource as _, Store};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tracing::{info, warn};

use super::health::{Health, Moment, look, ready};
use super::zones::{Turn, Zones, zone};
use super::{NOT_READY, UNREACHABLE};
use crate::{Context, meters, pods};

/// How often nodes are looked at.
const PERIOD: Duration = Duration::from_secs(5);
/// When nobody has looked for so long, those who renew may have been stopped as well.
const LATE: Duration = Duration::from_secs(20);
/// Pods leave nodes with taints of this effect.
const EFFECT: &str = "NoExecute";
/// Where nodes' leases are.
const LEASES: &str = "kube-node-lease";
/// The label of nodes that do not count among those that are well or unwell.
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";

/// Looks at nodes until the controllers stop.
pub(super) async fn run(context: &Context, recorder: &Recorder) {
    let (nodes, leases, pods) =
        (context.informers.of::<Node>(), context.informers.of::<Lease>(), context.informers.of::<Pod>());
    crate::pods::index_nodes(&pods);
    let mut monitor = Monitor {
        context,
        recorder,
        nodes: nodes.store(),
        leases: leases.store(),
        pods: pods.store(),
        known: HashMap::new(),
        zones: Zones::default(),
        looked: None,
    };
    let synced = async {
        monitor.nodes.synced().await;
        monitor.leases.synced().await;
        monitor.pods.synced().await;
    };
    if context.stop.run_until_cancelled(synced).await.is_none() {
        return;
    }
    loop {
        let pass = async {
            monitor.pass().await;
            tokio::time::sleep(PERIOD).await;
        };
        if context.stop.run_until_cancelled(pass).await.is_none() {
            return;
        }
    }
}

struct Monitor<'a> {
    context: &'a Context,
    recorder: &'a Recorder,
    nodes: Store<Node>,
    leases: Store<Lease>,
    pods: Store<Pod>,
    known: HashMap<String, Known>,
    zones: Zones,
    /// When a pass over all nodes ended last, on the steady clock.
    looked: Option<Duration>,
}

/// What is kept of a node.
#[derive(Debug)]
struct Known {
    uid: String,
    node: Arc<Node>,
    health: Option<Health>,
    /// Its pods are still to be told that it is not ready.
    tells_pods: bool,
}

impl Known {
    /// A node that is seen the first time. One of which nothing was known already: whoever said so may not have
    /// lived to tell its pods.
    fn new(node: &Arc<Node>) -> Self {
        let tells_pods = ready(node).is_some_and(|ready| ready.status == "Unknown");
        Self { uid: node.uid().to_owned(), node: Arc::clone(node), health: None, tells_pods }
    }
}

/// Whether what was not heard while nobody looked says nothing of nodes.
fn is_late(looked: Option<Duration>, elapsed: Duration) -> bool {
    looked.is_some_and(|looked| elapsed.saturating_sub(looked) > LATE)
}

impl Monitor<'_> {
    async fn pass(&mut self) {
        self.look_at_all().await;
        self.looked = Some(self.context.clock.elapsed());
    }

    async fn look_at_all(&mut self) {
        let nodes = self.nodes.list();
        self.meet(&nodes);
        let at = Moment { now: self.context.clock.now(), elapsed: self.context.clock.elapsed() };
        if is_late(self.looked, at.elapsed) {
            info!("nodes were not looked at for long: what was not heard of them meanwhile does not count");
            self.renew(at.elapsed);
        }
        let mut by_zone: BTreeMap<String, Vec<bool>> = BTreeMap::new();
        for node in &nodes {
            let node = self.look(node, at).await;
            let status = ready(&node).map_or("Unknown", |ready| ready.status.as_str());
            let excluded = node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(EXCLUDED));
            if !excluded {
                by_zone.entry(zone(&node)).or_default().push(status == "True");
            }
            if ready(&node).is_some() {
                self.mark(&node, status, at.now).await;
            }
        }
        match self.zones.look(&by_zone, at.elapsed) {
            Turn::None => {}
            Turn::AllUnwell => {
                info!("no node is ready: pods stay where they are");
                for node in self.nodes.list() {
                    self.taint(&node, None, at.now).await;
                }
            }
            Turn::SomeWell => {
                info!("some nodes are ready again");
                self.renew(at.elapsed);
            }
        }
        for name in self.zones.due(at.elapsed) {
            let Some(node) = self.nodes.get(&ObjectKey::new("", &name)) else { continue };
            let key = match ready(&node).map(|ready| ready.status.as_str()) {
                Some("False") => NOT_READY,
                Some("Unknown") => UNREACHABLE,
                // It is well again meanwhile.
                _ => continue,
            };
            if self.taint(&node, Some(key), at.now).await {
                meters::node_evicts(&zone(&node));
            } else {
                self.zones.add(&zone(&node), &name);
            }
        }
    }

    /// All nodes were heard of now.
    fn renew(&mut self, elapsed: Duration) {
        let healths = self.known.values_mut().filter_map(|known| known.health.as_mut());
        healths.for_each(|health| health.renew(elapsed));
    }

    /// Says of nodes that are new, and of those that are gone.
    fn meet(&mut self, nodes: &[Arc<Node>]) {
        let now: HashMap<&str, &Arc<Node>> = nodes.iter().map(|node| (node.name(), node)).collect();
        let same = |known: &Known| now.get(known.node.name()).is_some_and(|node| node.uid() == known.uid);
        let gone: Vec<String> =
            self.known.iter().filter(|(_, known)| !same(known)).map(|(name, _)| name.clone()).collect();
        for name in gone {
            let Some(known) = self.known.remove(&name) else { continue };
            self.zones.remove(&name);
            let message = format!("Removing Node {name} from Controller");
            self.recorder.event(&*known.node, EventType::Normal, "RemovingNode", message);
        }
        for node in nodes {
            match self.known.get_mut(node.name()) {
                Some(known) => known.node = Arc::clone(node),
                None => {
                    self.known.insert(node.name().to_owned(), Known::new(node));
                    let message = format!("Registered Node {} in Controller", node.name());
                    self.recorder.event(&**node, EventType::Normal, "RegisteredNode", message);
                }
            }
        }
    }

    /// Looks at one node; gives it as it is then.
    async fn look(&mut self, node: &Arc<Node>, at: Moment) -> Arc<Node> {
        let name = node.name();
        let lease = self.leases.get(&ObjectKey::new(LEASES, name));
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
        let Some(known) = self.known.get_mut(name) else { return Arc::clone(node) };
        let before = known.health.clone();
        let mut current = Arc::clone(node);
        if let Some(conditions) = look(&mut known.health, node, renewed, at) {
            let was_ready = ready(node).is_some_and(|ready| ready.status == "True");
            let mut changed = Node::clone(node);
            changed.status.get_or_insert_default().conditions = Some(conditions);
            match Api::<Node>::all(&self.context.client).update_status(&changed).await {
                Ok(written) => {
                    current = Arc::new(written);
                    if was_ready {
                        known.tells_pods = true;
                        let message = format!("Node {name} status is now: NodeNotReady");
                        self.recorder.event(&**node, EventType::Normal, "NodeNotReady", message);
                    }
                }
                Err(error) => {
                    // It is looked at anew in a moment.
                    known.health = before;
                    if !matches!(error, Error::NotFound(_) | Error::Conflict(_)) {
                        let error = base::error::chain(&error).to_string();
                        warn!(node = name, error, "cannot say that nothing is heard of a node");
                    }
                }
            }
        }
        let is_ready = ready(&current).is_some_and(|ready| ready.status == "True");
        if known.tells_pods {
            let told = is_ready || tell_pods(self.context, self.recorder, &self.pods, name).await;
            known.tells_pods = !told;
        }
        current
    }

    /// Has pods leave a node, when it is its turn, or stay.
    async fn mark(&mut self, node: &Node, status: &str, now: Timestamp) {
        let has = |key: &str| {
            let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
            taints.into_iter().any(|taint| taint.key == key && taint.effect == EFFECT)
        };
        let (own, other) = match status {
            "False" => (NOT_READY, UNREACHABLE),
            "Unknown" => (UNREACHABLE, NOT_READY),
            _ => {
                self.zones.remove(node.name());
                self.taint(node, None, now).await;
                return;
            }
        };
        if has(other) {
            // They leave it already: only the reason is another.
            self.taint(node, Some(own), now).await;
        } else if !has(own) {
            self.zones.add(&zone(node), node.name());
        }
    }

    /// Gives a node one of the two taints, or none of them. Whether it has it then.
    async fn taint(&self, node: &Node, key: Option<&str>, now: Timestamp) -> bool {
        let before = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        let Some(taints) = tainted(&before, key, now) else { return true };
        let mut changed = node.clone();
        changed.spec.get_or_insert_default().taints = (!taints.is_empty()).then_some(taints);
        match Api::<Node>::all(&self.context.client).update(&changed).await {
            Ok(_) | Err(Error::NotFound(_)) => true,
            Err(error) => {
                if !error.is_conflict() {
                    let error = base::error::chain(&error).to_string();
                    warn!(node = node.name(), error, "cannot taint a node");
                }
                false
            }
        }
    }
}

/// The taints with this one and not the other of its kind, where they are not so already.
fn tainted(before: &[Taint], key: Option<&str>, now: Timestamp) -> Option<Vec<Taint>> {
    let is_own = |taint: &Taint| taint.effect == EFFECT && [NOT_READY, UNREACHABLE].contains(&&*taint.key);
    let mut taints = before.to_vec();
    taints.retain(|taint| !is_own(taint) || Some(taint.key.as_str()) == key);
    if let Some(key) = key
        && !taints.iter().any(is_own)
    {
        let added = Timestamp::from_second(now.as_second()).ok().map(Time);
        taints.push(Taint { key: key.to_owned(), effect: EFFECT.to_owned(), time_added: added, value: None });
    }
    (taints != before).then_some(taints)
}

/// Says of all pods of a node that they are not ready. Whether all were told.
async fn tell_pods(context: &Context, recorder: &Recorder, store: &Store<Pod>, node: &str) -> bool {
    let mut all = true;
    for pod in store.by_index(pods::ON_NODE, node) {
        let mut changed = Pod::clone(&pod);
        let conditions = changed.status.iter_mut().flat_map(|status| status.conditions.iter_mut().flatten());
        let Some(ready) = conditions
            .into_iter()
            .find(|condition| condition.type_ == "Ready" && condition.status != "False")
        else {
            continue;
        };
        ready.status = "False".to_owned();
        ready.last_transition_time = Timestamp::from_second(context.clock.now().as_second()).ok().map(Time);
        let namespace = pod.namespace().unwrap_or_default();
        match Api::<Pod>::namespaced(&context.client, namespace).update_status(&changed).await {
            Ok(_) => recorder.event(&*pod, EventType::Warning, "NodeNotReady", "Node is not ready"),
            Err(Error::NotFound(_)) => {}
            Err(_) => all = false,
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_a_node_that_is_unknown_already_may_not_have_been_told() {
        for (status, expected) in [("True", false), ("False", false), ("Unknown", true), ("", false)] {
            let conditions = if status.is_empty() {
                serde_json::json!([])
            } else {
                serde_json::json!([{"type": "Ready", "status": status}])
            };
            let node = serde_json::json!({"metadata": {"name": "n"}, "status": {"conditions": conditions}});
            let node: Arc<Node> = Arc::new(serde_json::from_value(node).expect("a node"));
            assert_eq!(Known::new(&node).tells_pods, expected, "{status}");
        }
    }

    #[test]
    fn a_pass_is_late_when_nobody_looked_for_long() {
        let at = Duration::from_secs;
        assert!(!is_late(None, at(5000)), "the first one");
        assert!(!is_late(Some(at(10)), at(15)));
        assert!(!is_late(Some(at(10)), at(30)));
        assert!(is_late(Some(at(10)), at(31)));
    }

    #[test]
    fn a_node_has_one_of_the_two_taints_and_keeps_those_of_others() {
        let taint = |key: &str, effect: &str| Taint {
            key: key.to_owned(),
            effect: effect.to_owned(),
            ..Taint::default()
        };
        let check = |before: &[Taint], key: Option<&str>, expected: Option<&[&str]>| {
            let taints = tainted(before, key, Timestamp::UNIX_EPOCH);
            let keys = taints.map(|taints| taints.into_iter().map(|taint| taint.key).collect::<Vec<_>>());
            assert_eq!(
                keys.as_deref().map(|keys| keys.iter().map(String::as_str).collect::<Vec<_>>()).as_deref(),
                expected
            );
        };
        let own = [taint("mine", EFFECT), taint(NOT_READY, "NoSchedule")];
        check(&own, None, None);
        check(&own, Some(NOT_READY), Some(&["mine", NOT_READY, NOT_READY]));
        let unreachable = [taint(UNREACHABLE, EFFECT)];
        check(&unreachable, Some(UNREACHABLE), None);
        check(&unreachable, Some(NOT_READY), Some(&[NOT_READY]));
        check(&unreachable, None, Some(&[]));
    }
}
