use serde_json::{Value, json};

use super::*;

/// An event of an object that is named as its uid, with more of its fields laid over.
fn seen(revision: u64, kind: &'static str, change: &str, uid: &str, more: Value) -> Seen {
    let mut object = json!({"metadata": {"name": uid, "uid": uid, "resourceVersion": revision.to_string()}});
    for (key, value) in more.as_object().expect("fields") {
        match (object.get_mut(key).and_then(Value::as_object_mut), value.as_object()) {
            (Some(there), Some(fields)) => there.extend(fields.clone()),
            _ => object[key] = value.clone(),
        }
    }
    Seen { kind, change: change.to_owned(), object, missed: false }
}

#[track_caller]
fn check(history: &[Seen], wanted: &[&str]) {
    assert_eq!(judge(history), wanted);
}

fn pod(revision: u64, change: &str, uid: &str, phase: &str) -> Seen {
    let owner = json!({"ownerReferences": [{"uid": "job"}]});
    seen(revision, "pods", change, uid, json!({"metadata": owner, "status": {"phase": phase}}))
}

fn job(revision: u64, change: &str, status: Value) -> Seen {
    seen(revision, "jobs", change, "job", json!({"spec": {"completions": 2}, "status": status}))
}

fn complete(revision: u64, succeeded: u64, failed: u64) -> Seen {
    let conditions = json!([{"type": "Complete", "status": "True"}]);
    job(revision, "MODIFIED", json!({"succeeded": succeeded, "failed": failed, "conditions": conditions}))
}

/// Two pods that succeed, and one between them that fails.
fn farm(last: Seen) -> Vec<Seen> {
    vec![
        job(1, "ADDED", json!({})),
        pod(2, "ADDED", "a", "Pending"),
        pod(3, "MODIFIED", "a", "Succeeded"),
        pod(4, "ADDED", "b", "Failed"),
        job(5, "MODIFIED", json!({"succeeded": 1, "failed": 1})),
        pod(6, "ADDED", "c", "Succeeded"),
        last,
    ]
}

#[test]
fn each_pod_of_a_job_is_counted_once() {
    check(&farm(complete(9, 2, 1)), &[]);
    let of = "of its 3 pods 2 have succeeded";
    check(&farm(complete(9, 1, 1)), &[&format!("job: counts (1, 1) of 2; {of}")]);
    check(
        &farm(complete(9, 2, 2)),
        &[
            "jobs job at 9: counts (2, 2) of (2, 1): {\"succeeded\":2,\"failed\":2,\"conditions\":[{\"type\":\"Complete\",\"status\":\"True\"}]}",
            &format!("job: counts (2, 2) of 2; {of}"),
        ],
    );
    let twice = json!({"succeeded": 2, "failed": 1, "uncountedTerminatedPods": {"succeeded": ["a"]}});
    let told = format!("jobs job at 9: counts (2, 1) of (2, 1): {twice}");
    check(&farm(job(9, "MODIFIED", twice)), &[&told]);
    check(&farm(job(9, "MODIFIED", json!({"succeeded": 1}))), &["jobs job at 9: counts (1, 0) after (1, 1)"]);
}

#[test]
fn what_was_told_does_not_go_back() {
    check(
        &[pod(1, "ADDED", "a", "Running"), pod(1, "MODIFIED", "a", "Running")],
        &["pods a at 1: after revision 1"],
    );
    check(
        &[pod(1, "ADDED", "a", "Failed"), pod(2, "MODIFIED", "a", "Running")],
        &["pods a at 2: is Running after Failed"],
    );
    check(&[pod(1, "MODIFIED", "a", "Running")], &["pods a at 1: MODIFIED of a, where another or none was"]);
    let again =
        [pod(1, "ADDED", "a", "Running"), pod(2, "DELETED", "a", "Running"), pod(3, "ADDED", "a", "Running")];
    check(&again, &["pods a at 3: a is there again"]);
    let restarts = |revision, change, count: u64| {
        let status = json!({"status": {"containerStatuses": [{"restartCount": count}]}});
        seen(revision, "pods", change, "a", status)
    };
    check(&[restarts(1, "ADDED", 2), restarts(2, "MODIFIED", 1)], &["pods a at 2: 1 restarts after 2"]);
}

#[test]
fn claims_keep_their_volumes() {
    let claim = |revision, change, volume: &str| {
        seen(revision, "persistentvolumeclaims", change, "c", json!({"spec": {"volumeName": volume}}))
    };
    let volume = |revision, uid: &str, claim: &str| {
        seen(revision, "persistentvolumes", "ADDED", uid, json!({"spec": {"claimRef": {"uid": claim}}}))
    };
    check(&[claim(1, "ADDED", ""), claim(2, "MODIFIED", "v")], &[]);
    check(
        &[claim(1, "ADDED", "v"), claim(2, "MODIFIED", "w")],
        &["persistentvolumeclaims c at 2: has the volume \"w\" after \"v\""],
    );
    check(&[volume(1, "v", "c"), volume(2, "w", "c")], &["persistentvolumes w at 2: has the claim of v"]);
    let lost = seen(1, "persistentvolumeclaims", "ADDED", "c", json!({"status": {"phase": "Lost"}}));
    check(&[lost], &["persistentvolumeclaims c at 1: is {\"phase\":\"Lost\"}"]);
}

#[test]
fn jobs_of_a_cron_job_do_not_overlap_and_none_is_made_twice() {
    let tick = |revision, change, name: &str, conditions: Value| {
        let owner = json!({"ownerReferences": [{"kind": "CronJob", "uid": "cron"}]});
        seen(revision, "jobs", change, name, json!({"metadata": owner, "status": {"conditions": conditions}}))
    };
    let ended = || json!([{"type": "Failed", "status": "True"}]);
    let one = tick(1, "ADDED", "t-1", json!([]));
    check(&[one.clone(), tick(2, "MODIFIED", "t-1", ended()), tick(3, "ADDED", "t-2", json!([]))], &[]);
    check(&[one, tick(3, "ADDED", "t-2", json!([]))], &["jobs t-2 at 3: is made beside or after {\"t-1\"}"]);
}
