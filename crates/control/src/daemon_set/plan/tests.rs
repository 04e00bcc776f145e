//! Nodes with their pods in, what is done next as a line of text out.

use std::sync::Arc;

use client::Outline as _;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;

/// `name:state`, with `*` behind it if it is of the newest template. The state is `meant` (no node has it yet),
/// `pending`, `running`, `ready`, `failed`, `done` or `ending`; what is ready is available unless `+` follows.
fn pod(number: usize, text: &str) -> DaemonPod {
    let (text, is_new) = text.strip_suffix('*').map_or((text, false), |text| (text, true));
    let (text, is_young) = text.strip_suffix('+').map_or((text, false), |text| (text, true));
    let (name, state) = text.split_once(':').expect("name:state");
    let phase = match state {
        "meant" | "pending" => "Pending",
        "failed" => "Failed",
        "done" => "Succeeded",
        _ => "Running",
    };
    let ready = if matches!(state, "ready" | "ending") { "True" } else { "False" };
    let ending = (state == "ending").then_some("2026-01-01T00:01:00Z");
    let created = format!("2026-01-01T00:00:{number:02}Z");
    let pod = json!({
        "metadata": {"name": name, "creationTimestamp": created, "deletionTimestamp": ending},
        "spec": {"containers": [], "nodeName": if state == "meant" { "" } else { "n" }},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
    });
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    let outline = PodOutline::of(&pod);
    let is_available = outline.is_ready && !is_young;
    let pod = OutlinedPod { key: pod.key(), labels: Arc::default(), outline: Arc::new(outline) };
    DaemonPod { pod, is_new, is_available }
}

/// `node[pods]`, with `~` before it where pods may only stay, `!` where none may be, `?` where it is gone.
fn places(text: &str) -> Vec<Place> {
    let one = |text: &str| {
        let (fit, text) = match text.split_at(1) {
            ("~", rest) => (Some(Fit::Stays), rest),
            ("!", rest) => (Some(Fit::Never), rest),
            ("?", rest) => (None, rest),
            _ => (Some(Fit::Runs), text),
        };
        let (node, pods) = text.split_once('[').expect("node[");
        let mut pods: Vec<DaemonPod> = pods
            .split(' ')
            .filter(|text| !text.is_empty())
            .enumerate()
            .map(|(n, text)| pod(n, text))
            .collect();
        pods.sort_by(|one, other| one.order().cmp(&other.order()));
        Place { node: node.to_owned(), fit, pods }
    };
    text.split(']').map(str::trim).filter(|text| !text.is_empty()).map(one).collect()
}

fn set(rolling: Value) -> DaemonSet {
    let set = json!({"metadata": {"name": "log", "uid": "u", "generation": 4}, "spec": {
        "selector": {}, "template": {}, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}});
    serde_json::from_value(set).expect("a set")
}

fn words(work: &Work) -> String {
    let created = work.create.iter().map(|node| format!("create on {node}"));
    let deleted = work.delete.iter().map(|deletion| {
        let why = match deletion.why {
            Why::Superfluous => "",
            Why::Failed => " that failed",
            Why::Succeeded => " that is done",
        };
        format!("delete {}{why}", deletion.pod.key.name)
    });
    let wake = work.wake.map(|wake| format!("wake {}", wake.as_secs()));
    created.chain(deleted).chain(wake).collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn check_managed(surges: bool, text: &str, expected: &str) {
    assert_eq!(words(&manage(&places(text), surges, &|_| None)), expected);
}

#[test]
fn every_node_that_fits_has_one_pod_and_no_other_node_has_any() {
    check_managed(false, "a[] b[b1:ready*] c[c1:meant]", "create on a");
    check_managed(false, "~a[] ~b[b1:ready]", "");
    check_managed(false, "!a[] !b[b1:ready b2:ending]", "delete b1");
    // A node that is gone: those that it had go with it, those that were meant for it never ran.
    check_managed(false, "?a[a1:ready a2:meant]", "delete a2");
    // None is made before the last is gone.
    check_managed(false, "a[a1:ending]", "");
    check_managed(false, "a[a1:ready a2:ready a3:meant]", "delete a2, delete a3");
    check_managed(false, "a[a1:meant a2:running]", "delete a1");
}

#[test]
fn what_has_ended_is_deleted_and_made_anew_later_and_later_if_it_failed() {
    check_managed(false, "a[a1:failed] b[b1:done]", "delete a1 that failed, delete b1 that is done");
    let places = places("a[a1:failed] b[b1:failed]");
    let wait = |node: &str| (node == "a").then(|| Duration::from_secs(8));
    assert_eq!(words(&manage(&places, false, &wait)), "delete b1 that failed, wake 8");
}

#[test]
fn where_new_pods_come_first_a_node_may_have_an_old_and_a_new_one() {
    check_managed(true, "a[a1:ready a2:running*]", "");
    check_managed(true, "a[a1:ready a2:ready*]", "delete a1");
    check_managed(true, "a[a1:ready a2:ready+*]", "");
    check_managed(true, "a[a1:running a2:running*]", "delete a1");
    check_managed(true, "a[a1:ready a2:ready a3:running* a4:running*]", "delete a4, delete a2");
    check_managed(true, "a[a1:ending]", "create on a");
    check_managed(true, "~a[a1:ending]", "");
}

#[track_caller]
fn check_rolled(rolling: Value, text: &str, expected: &str) {
    assert_eq!(words(&roll(&set(rolling), &places(text))), expected);
}

#[test]
fn a_rollout_deletes_as_many_as_may_be_unavailable() {
    let most = |most: Value| json!({ "maxUnavailable": most });
    let old = "a[a1:ready] b[b1:ready] c[c1:ready] d[d1:ready]";
    check_rolled(most(json!(1)), old, "delete a1");
    check_rolled(most(json!(3)), old, "delete a1, delete b1, delete c1");
    check_rolled(most(json!("30%")), old, "delete a1, delete b1");
    check_rolled(json!({"maxUnavailable": 0, "maxSurge": 0}), old, "delete a1");
    check_rolled(most(json!(1)), "a[a1:running*] b[b1:ready]", "");
    check_rolled(most(json!(1)), "a[a1:ready+*] b[b1:ready]", "");
    check_rolled(most(json!(1)), "a[a1:ready*] b[b1:ready]", "delete b1");
    check_rolled(most(json!(1)), "a[] b[b1:ready]", "");
    check_rolled(most(json!(1)), "a[a1:ending] b[b1:ready]", "");
    // Old ones that do not work cost nothing, and count.
    check_rolled(most(json!(1)), "a[a1:running] b[b1:ready] c[c1:running]", "delete a1, delete c1");
    check_rolled(most(json!(2)), "a[a1:running] b[b1:ready]", "delete a1, delete b1");
    check_rolled(most(json!(1)), "a[a1:ready*] b[b1:ready*]", "");
    // Nodes that are not among those that are to have one do not count, but what stays on them is replaced.
    check_rolled(most(json!(1)), "~a[] !b[] c[c1:ready]", "delete c1");
}

#[test]
fn a_rollout_makes_new_pods_beside_old_ones_as_far_as_it_may() {
    let surge = |surge: Value| json!({"maxUnavailable": 0, "maxSurge": surge});
    let old = "a[a1:ready] b[b1:ready] c[c1:ready]";
    check_rolled(surge(json!(1)), old, "create on a");
    check_rolled(surge(json!("50%")), old, "create on a, create on b");
    check_rolled(surge(json!(1)), "a[a1:ready a2:running*] b[b1:ready]", "");
    check_rolled(surge(json!(1)), "a[a1:ready a2:ready*] b[b1:ready]", "create on b, delete a1");
    // An old one that does not work is replaced at once.
    check_rolled(
        surge(json!(1)),
        "a[a1:running] b[b1:running] c[c1:ready]",
        "create on a, create on b, create on c",
    );
    // One on a node that is no longer to have one goes when all the others have one.
    check_rolled(surge(json!(1)), "~a[a1:ready] b[b1:running*]", "");
    check_rolled(surge(json!(1)), "~a[a1:ready] b[b1:ready*]", "delete a1");
    check_rolled(surge(json!(1)), "~a[a1:running] b[b1:running*]", "delete a1");
}

#[test]
fn who_updates_when_pods_are_deleted_is_left_alone() {
    let mut set = set(json!({}));
    set.spec.as_mut().and_then(|spec| spec.update_strategy.as_mut()).expect("a strategy").type_ =
        Some("OnDelete".to_owned());
    assert!(roll(&set, &places("a[a1:ready]")).is_empty());
    assert!(!surges(&set));
}

#[test]
fn the_status_counts_nodes() {
    let places =
        places("a[a1:ready*] b[b1:ready+ b2:ready*] c[c1:running] d[] ~e[e1:ready] !f[] ?g[g1:ready]");
    let shown = serde_json::to_value(status(&set(json!({})), &places, Some(0))).expect("JSON");
    assert_eq!(
        shown,
        json!({"desiredNumberScheduled": 4, "currentNumberScheduled": 3, "numberReady": 2, "numberAvailable": 1,
               "numberUnavailable": 3, "updatedNumberScheduled": 1, "numberMisscheduled": 1, "observedGeneration": 4})
    );
}
