//! What a Job asks about its pods.

use std::cmp::Reverse;
use std::time::Duration;

use base::Timestamp;
use client::Resource as _;
use k8s_openapi::api::core::v1::Pod;

use crate::pods::{condition, is_terminal, phase};

/// Keeps a pod until its Job has counted it.
pub(super) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// Which index a pod works on: an annotation, and a label.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How many pods of its index failed before it, and how many whose failure was not to count.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub(super) const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// The index of the pods that belong to a Job and are not over and counted, by the uid of the Job.
pub(super) const OF_JOB: &str = "job";
/// The index of the pods that have the finalizer, by the namespace and the name of the Job they belong to;
/// without a name where they belong to nobody.
pub(super) const TRACKED: &str = "job-tracking";

/// The values of a pod in the index [`OF_JOB`].
pub(super) fn of_job(pod: &Pod) -> Vec<String> {
    let owner = pod.controller().filter(|owner| is_job(&owner.api_version, &owner.kind));
    owner.filter(|_| has_finalizer(pod) || !is_terminal(pod)).map(|owner| owner.uid).into_iter().collect()
}

/// The values of a pod in the index [`TRACKED`].
pub(super) fn tracked(pod: &Pod) -> Vec<String> {
    if !has_finalizer(pod) {
        return Vec::new();
    }
    let namespace = pod.namespace().unwrap_or_default();
    match pod.controller() {
        None => vec![format!("{namespace}/")],
        Some(owner) if is_job(&owner.api_version, &owner.kind) => vec![format!("{namespace}/{}", owner.name)],
        Some(_) => Vec::new(),
    }
}

fn is_job(api_version: &str, kind: &str) -> bool {
    kind == "Job" && api_version.starts_with("batch/")
}

/// Whether a pod is kept until it is counted.
pub(super) fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == TRACKING)
}

/// Whether a pod goes and has not ended yet.
pub(super) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() && !is_terminal(pod)
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// The index that a pod works on.
pub(super) fn index(pod: &Pod) -> Option<i64> {
    let text = pod.metadata.annotations.as_ref()?.get(INDEX)?;
    text.parse().ok().filter(|index| *index >= 0)
}

/// How many pods of its index failed before it: those that count, and those that do not.
pub(super) fn failures_before(pod: &Pod) -> (i32, i32) {
    let annotations = pod.metadata.annotations.as_ref();
    let count = |key: &str| {
        let number = annotations.and_then(|all| all.get(key)).and_then(|text| text.parse::<i32>().ok());
        number.filter(|number| *number >= 0).unwrap_or_default()
    };
    (count(FAILURES), count(IGNORED))
}

/// When a pod ended, as well as can be told.
pub(super) fn finished_at(pod: &Pod) -> Timestamp {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let ends = containers.iter().map(|container| {
        let ended = container.state.as_ref()?.terminated.as_ref()?;
        ended.finished_at.as_ref().map(|time| time.0)
    });
    if let Some(last) = ends.collect::<Option<Vec<_>>>().and_then(|ends| ends.into_iter().max()) {
        return last;
    }
    let unready = condition(pod, "Ready").filter(|condition| condition.status == "False");
    if let Some(time) = unready.and_then(|condition| condition.last_transition_time.as_ref()) {
        return time.0;
    }
    let metadata = &pod.metadata;
    if let Some(deletion) = &metadata.deletion_timestamp {
        let grace = metadata.deletion_grace_period_seconds.unwrap_or_default().max(0).unsigned_abs();
        return deletion.0.checked_sub(Duration::from_secs(grace)).unwrap_or(deletion.0);
    }
    metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default()
}

/// How often the containers of a pod that has not ended were started again.
pub(super) fn restarts(pod: &Pod) -> i64 {
    let Some(status) = pod.status.as_ref().filter(|_| matches!(phase(pod), "Running" | "Pending")) else {
        return 0;
    };
    let statuses = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    statuses.map(|status| i64::from(status.restart_count)).sum()
}

/// Who goes first when there are too many: pods that no node has taken, that do not run, that are not ready,
/// that became ready last, that restarted most, that are youngest.
pub(super) fn worth(pod: &Pod) -> impl Ord + use<> {
    let has_node =
        pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()).is_some_and(|name| !name.is_empty());
    let far = match phase(pod) {
        "Running" => 2,
        "Pending" | "" => 0,
        _ => 1,
    };
    let ready = condition(pod, "Ready").filter(|condition| condition.status == "True");
    let since = ready.and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0);
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let restarts = restarts(pod);
    (has_node, far, ready.is_some(), Reverse(since), Reverse(restarts), Reverse(created))
}
