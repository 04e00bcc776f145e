//! Whether a node is heard of: nobody but its own agent knows how it fares, and it says so again and again.
//!
//! Source: <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/controller/nodelifecycle/node_lifecycle_controller.go>.

use std::time::Duration;

use base::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// For so long nothing need be heard of a node.
const GRACE: Duration = Duration::from_secs(50);
/// The same of one that has never said how it fares.
const START: Duration = Duration::from_secs(60);
/// What is not known of a node of which nothing is heard.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The time of day, and the time since some beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
    pub(super) elapsed: Duration,
}

/// When a node was heard of, and what it said then.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Health {
    /// Since the same beginning; it may have been before it.
    heard: Heard,
    heartbeat: Option<Timestamp>,
    has_said: bool,
    renewed: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Heard {
    At(Duration),
    /// So long before the beginning.
    Before(Duration),
}

impl Heard {
    fn age(self, elapsed: Duration) -> Duration {
        match self {
            Self::At(at) => elapsed.saturating_sub(at),
            Self::Before(before) => elapsed.saturating_add(before),
        }
    }
}

/// How a node says that it fares.
pub(super) fn ready(node: &Node) -> Option<&NodeCondition> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().find(|condition| condition.type_ == "Ready")
}

impl Health {
    /// It was heard of now: of one that is known already everything is taken for right.
    pub(super) fn renew(&mut self, elapsed: Duration) {
        self.heard = Heard::At(elapsed);
    }

    /// A node that is seen the first time.
    fn new(node: &Node, at: Moment) -> Self {
        let heard = match (ready(node), node.metadata.creation_timestamp.as_ref()) {
            (None, Some(made)) => {
                let age = Duration::try_from(at.now.duration_since(made.0)).unwrap_or(Duration::ZERO);
                match at.elapsed.checked_sub(age) {
                    Some(since) => Heard::At(since),
                    None => Heard::Before(age.saturating_sub(at.elapsed)),
                }
            }
            _ => Heard::At(at.elapsed),
        };
        let heartbeat = ready(node).and_then(|ready| ready.last_heartbeat_time.as_ref()).map(|time| time.0);
        Self { heard, heartbeat, has_said: ready(node).is_some(), renewed: None }
    }
}

/// Looks at a node and at when its lease was renewed. Gives its conditions where they have to be others, since nothing
/// was heard of it for too long.
pub(super) fn look(
    health: &mut Option<Health>,
    node: &Node,
    renewed: Option<Timestamp>,
    at: Moment,
) -> Option<Vec<NodeCondition>> {
    let health = health.get_or_insert_with(|| Health::new(node, at));
    let said = ready(node);
    let heartbeat = said.and_then(|ready| ready.last_heartbeat_time.as_ref()).map(|time| time.0);
    if said.is_some() != health.has_said || heartbeat != health.heartbeat {
        health.heard = Heard::At(at.elapsed);
        (health.has_said, health.heartbeat) = (said.is_some(), heartbeat);
    }
    if renewed.is_some_and(|renewed| health.renewed.is_none_or(|before| before < renewed)) {
        (health.renewed, health.heard) = (renewed, Heard::At(at.elapsed));
    }
    let grace = if said.is_some() { GRACE } else { START };
    if health.heard.age(at.elapsed) <= grace {
        return None;
    }
    let mut conditions =
        node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let before = conditions.clone();
    let now = Timestamp::from_second(at.now.as_second()).ok().map(Time);
    for kind in CONDITIONS {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time.clone_from(&now);
            }
            None => conditions.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: now.clone(),
            }),
        }
    }
    (conditions != before).then_some(conditions)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(seconds: i64) -> Moment {
        let now = Timestamp::from_second(1_800_000_000 + seconds).expect("a time");
        Moment { now, elapsed: Duration::from_secs(seconds.unsigned_abs()) }
    }

    fn node(conditions: Value) -> Node {
        let made = at(0).now.to_string();
        serde_json::from_value(json!({
            "metadata": {"name": "n", "creationTimestamp": made},
            "status": {"conditions": conditions},
        }))
        .expect("a node")
    }

    fn ready(heartbeat: i64) -> Value {
        json!({"type": "Ready", "status": "True", "lastHeartbeatTime": at(heartbeat).now.to_string()})
    }

    /// What is said of a node at last, after it was looked at in these moments, with heartbeats and renewals.
    fn check(looks: &[(i64, Option<i64>, Option<i64>)], expected: &str) {
        let (mut health, mut told) = (None, None);
        for (second, heartbeat, renewed) in looks {
            let conditions = heartbeat.map_or(json!([]), |heartbeat| json!([ready(heartbeat)]));
            let renewed = renewed.map(|second| at(second).now);
            told = look(&mut health, &node(conditions), renewed, at(*second));
        }
        let told = told.map_or(String::new(), |conditions| {
            let texts = conditions
                .iter()
                .map(|it| format!("{}={} {}", it.type_, it.status, it.reason.as_deref().unwrap_or("")));
            texts.collect::<Vec<_>>().join(", ")
        });
        assert_eq!(told, expected, "{looks:?}");
    }

    const STOPPED: &str = "Ready=Unknown NodeStatusUnknown, MemoryPressure=Unknown NodeStatusNeverUpdated, \
         DiskPressure=Unknown NodeStatusNeverUpdated, PIDPressure=Unknown NodeStatusNeverUpdated";
    const NEVER: &str = "Ready=Unknown NodeStatusNeverUpdated, MemoryPressure=Unknown NodeStatusNeverUpdated, \
         DiskPressure=Unknown NodeStatusNeverUpdated, PIDPressure=Unknown NodeStatusNeverUpdated";

    #[test]
    fn a_node_is_unknown_when_nothing_was_heard_of_it_for_too_long() {
        check(&[(10, Some(10), None), (60, Some(10), None)], "");
        check(&[(10, Some(10), None), (61, Some(10), None)], STOPPED);
        // By a heartbeat of either kind.
        check(&[(10, Some(10), None), (50, Some(50), None), (61, Some(50), None)], "");
        check(&[(10, Some(10), Some(10)), (50, Some(10), Some(50)), (61, Some(10), Some(50))], "");
        // Who begins to look has seen nothing yet that could be old.
        check(&[(5000, Some(10), None)], "");
        // One that never said anything, from when it was made.
        check(&[(60, None, None)], "");
        check(&[(61, None, None)], NEVER);
        check(&[(50, None, Some(50)), (61, None, Some(50))], "");
    }

    #[test]
    fn what_is_unknown_already_is_not_written_again() {
        let mut health = None;
        let first = look(&mut health, &node(json!([ready(10)])), None, at(10));
        assert_eq!(first, None);
        let unknown = look(&mut health, &node(json!([ready(10)])), None, at(100)).expect("nothing was heard");
        let node = node(serde_json::to_value(unknown).expect("conditions"));
        assert_eq!(look(&mut health, &node, None, at(105)), None);
    }
}
