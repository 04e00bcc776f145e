//! What nodes say of themselves keeps new pods away from them, and that nothing is heard of them makes pods leave.
//!
//! Conditions become taints that nobody new is scheduled to; whether something is heard of nodes is looked at in
//! [`monitor`], how fast pods are made to leave them is decided by [`zones`]. That they leave is brought about by
//! [`crate::taint_eviction`].

use std::time::Duration;

use base::Timestamp;
use client::{Action, Api, Controller, Error, ObjectKey};
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use client::recorder::Recorder;

use crate::Context;

mod health;
mod monitor;
mod zones;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const EFFECT: &str = "NoSchedule";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// By the type of a condition and its status, what nodes are tainted with.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// Runs the controller.
pub(crate) async fn run(context: Context, recorder: Recorder) {
    tokio::join!(conditions(context.clone()), monitor::run(&context, &recorder));
}

/// Keeps what nodes are tainted with at what they say of themselves.
async fn conditions(context: Context) {
    let nodes = context.informers.of::<Node>();
    let (store, client, clock) = (nodes.store(), context.client.clone(), context.clock.clone());
    let reconcile = move |key: ObjectKey| {
        let (store, client, now) = (store.clone(), client.clone(), clock.now());
        async move {
            let Some(node) = store.get(&key) else { return Ok(Action::Done) };
            let Some(taints) = plan(&node, now) else { return Ok(Action::Done) };
            // On condition that the node is what it was: others taint it too.
            let mut changed = Node::clone(&node);
            changed.spec.get_or_insert_default().taints = (!taints.is_empty()).then_some(taints);
            match Api::<Node>::all(&client).update(&changed).await {
                Ok(_) | Err(Error::NotFound(_)) => Ok(Action::Done),
                Err(Error::Conflict(_)) => Ok(Action::After(Duration::from_millis(20))),
                Err(error) => Err(error),
            }
        }
    };
    Controller::new("node-lifecycle", &nodes).run(reconcile, context.stop).await;
}

/// The taints that a node is to have, where those are others than it has.
fn plan(node: &Node, now: Timestamp) -> Option<Vec<Taint>> {
    let spec = node.spec.as_ref();
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut wanted: Vec<&str> = conditions
        .filter_map(|condition| {
            let said =
                |taint: &&(&str, &str, &str)| (taint.0, taint.1) == (&condition.type_, &condition.status);
            TAINTS.iter().find(said).map(|(_, _, key)| *key)
        })
        .collect();
    if spec.and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push(UNSCHEDULABLE);
    }
    let is_own = |taint: &Taint| {
        taint.effect == EFFECT
            && (taint.key == UNSCHEDULABLE || TAINTS.iter().any(|(_, _, key)| *key == taint.key))
    };
    let has = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let mut taints = has.clone();
    taints.retain(|taint| !is_own(taint) || wanted.contains(&taint.key.as_str()));
    for key in wanted {
        if !taints.iter().any(|taint| is_own(taint) && taint.key == key) {
            let (key, effect) = (key.to_owned(), EFFECT.to_owned());
            taints.push(Taint { key, effect, time_added: Some(Time(now)), value: None });
        }
    }
    (taints != has).then_some(taints)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The keys of the taints that a node is to have; none where it has them.
    fn check(spec: Value, conditions: &[(&str, &str)], expected: Option<&[&str]>) {
        let conditions: Vec<Value> =
            conditions.iter().map(|(kind, status)| json!({"type": kind, "status": status})).collect();
        let node = json!({"spec": spec, "status": {"conditions": conditions}});
        let node: Node = serde_json::from_value(node).expect("a node");
        let now = model::time::parse("2026-01-01T00:00:00Z").expect("a time");
        let taints = plan(&node, now).map(|taints| {
            let keys = taints.into_iter().map(|taint| format!("{}:{}", taint.key, taint.effect));
            keys.collect::<Vec<_>>()
        });
        let taints = taints.as_ref().map(|taints| taints.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(taints.as_deref(), expected, "{node:?}");
    }

    #[test]
    fn conditions_become_taints_and_go_with_them() {
        let taint = |key: &str| json!({"key": key, "effect": "NoSchedule"});
        let new = json!({"taints": [taint("node.kubernetes.io/not-ready")]});
        check(new.clone(), &[("Ready", "False")], None);
        check(new.clone(), &[("Ready", "True"), ("MemoryPressure", "False")], Some(&[]));
        // Whoever says nothing is not kept away from for it.
        check(new.clone(), &[], Some(&[]));
        check(new, &[("Ready", "Unknown")], Some(&["node.kubernetes.io/unreachable:NoSchedule"]));
        check(
            json!({"unschedulable": true}),
            &[("Ready", "True"), ("DiskPressure", "True"), ("PIDPressure", "True")],
            Some(&[
                "node.kubernetes.io/disk-pressure:NoSchedule",
                "node.kubernetes.io/pid-pressure:NoSchedule",
                "node.kubernetes.io/unschedulable:NoSchedule",
            ]),
        );
    }

    #[test]
    fn taints_of_others_stay() {
        let taints = json!([
            {"key": "mine", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"},
            {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},
        ]);
        check(
            json!({"taints": taints}),
            &[("Ready", "True")],
            Some(&["mine:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"]),
        );
    }
}
