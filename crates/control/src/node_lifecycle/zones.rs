//! How fast pods are made to leave nodes that are not well: by zone, and not at all where all are unwell.
//!
//! Many nodes that fail at once fail for one reason, which may be that of whoever looks at them. Source:
//! <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/controller/nodelifecycle/node_lifecycle_controller.go>.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;

/// Between two nodes of a zone, and between two of one of which many are unwell.
const BETWEEN: Duration = Duration::from_secs(10);
const BETWEEN_UNWELL: Duration = Duration::from_secs(100);
/// Many are unwell where these are so large a part of a zone, and more than so many.
const MANY: f64 = 0.55;
const FEW: usize = 2;
/// In a zone of no more nodes nothing leaves while many are unwell.
const LARGE: usize = 50;

/// How the nodes of a zone fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Normal,
    Partial,
    Full,
}

/// The zones, and which of their nodes pods are to leave.
#[derive(Debug, Default)]
pub(super) struct Zones(BTreeMap<String, Zone>);

#[derive(Debug)]
struct Zone {
    state: State,
    waiting: VecDeque<String>,
    /// Between two nodes; none where nothing leaves.
    between: Option<Duration>,
    /// When the next node may be left.
    next: Duration,
}

impl Default for Zone {
    fn default() -> Self {
        let (state, waiting) = (State::Normal, VecDeque::new());
        Self { state, waiting, between: Some(BETWEEN), next: Duration::ZERO }
    }
}

/// What has changed for all zones at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    None,
    /// All are unwell: pods stay where they are.
    AllUnwell,
    /// Some are well again: nodes are looked at as if for the first time.
    SomeWell,
}

/// The zone of a node: its region and its place in that.
pub(super) fn zone(node: &Node) -> String {
    let label = |name: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(name));
    let either = |new: &str, old: &str| label(new).or_else(|| label(old)).map_or("", String::as_str);
    let region = either("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region");
    let zone = either("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone");
    format!("{region}/{zone}")
}

impl Zones {
    /// Pods are to leave a node, when it is its turn.
    pub(super) fn add(&mut self, zone: &str, node: &str) {
        let zone = self.0.entry(zone.to_owned()).or_default();
        if !zone.waiting.iter().any(|waiting| waiting == node) {
            zone.waiting.push_back(node.to_owned());
        }
    }

    /// Pods need not leave a node.
    pub(super) fn remove(&mut self, node: &str) {
        for zone in self.0.values_mut() {
            zone.waiting.retain(|waiting| waiting != node);
        }
    }

    /// Takes in how nodes fare: for each zone, whether each of its nodes is ready.
    pub(super) fn look(&mut self, nodes: &BTreeMap<String, Vec<bool>>, elapsed: Duration) -> Turn {
        for zone in nodes.keys() {
            self.0.entry(zone.clone()).or_default();
        }
        let gone: BTreeSet<String> =
            self.0.keys().filter(|zone| !nodes.contains_key(*zone)).cloned().collect();
        self.0.retain(|name, zone| !gone.contains(name) || !zone.waiting.is_empty());
        let states: BTreeMap<&str, State> =
            nodes.iter().map(|(zone, nodes)| (zone.as_str(), state(nodes))).collect();
        let now_unwell = !states.is_empty() && states.values().all(|state| *state == State::Full);
        let was_unwell = self.0.values().all(|zone| zone.state == State::Full);
        if now_unwell && was_unwell {
            return Turn::None;
        }
        if now_unwell {
            for zone in self.0.values_mut() {
                *zone = Zone { state: State::Full, between: None, ..Zone::default() };
            }
            return Turn::AllUnwell;
        }
        for (name, zone) in &mut self.0 {
            let Some(state) = states.get(name.as_str()).copied() else { continue };
            if state == zone.state && !was_unwell {
                continue;
            }
            let large = nodes.get(name).is_some_and(|nodes| nodes.len() > LARGE);
            zone.state = state;
            zone.between = match state {
                State::Partial => large.then_some(BETWEEN_UNWELL),
                State::Normal | State::Full => Some(BETWEEN),
            };
            zone.next = elapsed;
        }
        if was_unwell && !nodes.is_empty() { Turn::SomeWell } else { Turn::None }
    }

    /// The nodes whose turn it is that pods leave them.
    pub(super) fn due(&mut self, elapsed: Duration) -> Vec<String> {
        let mut due = Vec::new();
        for zone in self.0.values_mut() {
            let Some(between) = zone.between.filter(|_| zone.next <= elapsed) else { continue };
            if let Some(node) = zone.waiting.pop_front() {
                zone.next = elapsed + between;
                due.push(node);
            }
        }
        due
    }
}

fn state(nodes: &[bool]) -> State {
    let unwell = nodes.iter().filter(|ready| !**ready).count();
    if unwell > 0 && unwell == nodes.len() {
        State::Full
    } else if unwell > FEW && unwell as f64 / nodes.len() as f64 >= MANY {
        State::Partial
    } else {
        State::Normal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Zones by how many of their nodes are well and unwell.
    fn nodes(zones: &[(&str, usize, usize)]) -> BTreeMap<String, Vec<bool>> {
        let of = |well: usize, unwell: usize| [vec![true; well], vec![false; unwell]].concat();
        zones.iter().map(|(name, well, unwell)| ((*name).to_owned(), of(*well, *unwell))).collect()
    }

    #[test]
    fn nodes_are_left_one_after_the_other() {
        let mut zones = Zones::default();
        assert_eq!(zones.look(&nodes(&[("a", 5, 2), ("b", 3, 0)]), seconds(0)), Turn::None);
        for node in ["x", "y", "x"] {
            zones.add("a", node);
        }
        zones.add("b", "z");
        assert_eq!(zones.due(seconds(0)), ["x", "z"]);
        assert!(zones.due(seconds(9)).is_empty());
        assert_eq!(zones.due(seconds(10)), ["y"]);
        zones.add("a", "v");
        zones.remove("v");
        assert!(zones.due(seconds(100)).is_empty());
    }

    #[test]
    fn where_many_are_unwell_pods_stay_or_leave_slowly() {
        let mut zones = Zones::default();
        zones.look(&nodes(&[("small", 1, 3), ("large", 20, 40), ("other", 1, 0)]), seconds(0));
        for node in ["x", "y"] {
            zones.add("small", node);
            zones.add("large", node);
        }
        assert_eq!(zones.due(seconds(0)), ["x"]);
        assert!(zones.due(seconds(99)).is_empty());
        assert_eq!(zones.due(seconds(100)), ["y"]);
        // As soon as they are well again it goes on as always.
        zones.look(&nodes(&[("small", 4, 1), ("large", 60, 0), ("other", 1, 0)]), seconds(101));
        assert_eq!(zones.due(seconds(101)), ["x"]);
    }

    #[test]
    fn where_all_are_unwell_nothing_leaves() {
        let mut zones = Zones::default();
        assert_eq!(zones.look(&nodes(&[("a", 1, 0), ("b", 2, 0)]), seconds(0)), Turn::None);
        zones.add("a", "x");
        // A whole zone is left as fast as ever while another is well.
        assert_eq!(zones.look(&nodes(&[("a", 0, 1), ("b", 2, 0)]), seconds(5)), Turn::None);
        zones.add("b", "y");
        assert_eq!(zones.look(&nodes(&[("a", 0, 1), ("b", 0, 2)]), seconds(10)), Turn::AllUnwell);
        zones.add("a", "x");
        assert!(zones.due(seconds(1000)).is_empty());
        assert_eq!(zones.look(&nodes(&[("a", 0, 1), ("b", 0, 2)]), seconds(1005)), Turn::None);
        assert_eq!(zones.look(&nodes(&[("a", 0, 1), ("b", 1, 1)]), seconds(1010)), Turn::SomeWell);
        assert_eq!(zones.due(seconds(1010)), ["x"]);
    }
}
