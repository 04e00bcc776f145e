//! The thinking half of the controllers of sets of pods: pure.

use std::cmp::{Ordering, Reverse};
use std::time::Duration;

use client::Error;

use super::set::{Counts, Failure, Set};
use crate::pods::{OutlinedPod, Phase, PodOutline};
use crate::ready::Available;

/// One thing to do.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Make a pod of the template.
    Create,
    /// Delete this pod.
    Delete(OutlinedPod),
}

/// How many pods at most are created or deleted at once.
const BURST: usize = 500;

/// What brings the pods of a set to `wanted`.
pub(super) fn plan(wanted: usize, owned: &[OutlinedPod]) -> Vec<Step> {
    let mut active: Vec<&OutlinedPod> = owned.iter().filter(|pod| pod.outline.is_active()).collect();
    if active.len() <= wanted {
        return vec![Step::Create; (wanted - active.len()).min(BURST)];
    }
    let surplus = (active.len() - wanted).min(BURST);
    active.sort_by_key(|pod| worth(&pod.outline));
    active.into_iter().take(surplus).cloned().map(Step::Delete).collect()
}

/// Who goes first when there are too many: pods that no node has taken, that do not run, that are
/// not ready, that cost least to delete, that became ready last, that restarted most, that are youngest.
fn worth(pod: &PodOutline) -> impl Ord + use<> {
    let phase = match pod.phase {
        Phase::Running => 2,
        Phase::Pending => 0,
        _ => 1,
    };
    let ready_since = pod.ready_since;
    let (restarts, created) = (Reverse(pod.restarts), Reverse(pod.created));
    (pod.node.is_some(), phase, pod.is_ready, pod.deletion_cost, Reverse(ready_since), restarts, created)
}

/// Why pods were not made or deleted, where some are missing or too many still.
pub(super) fn failure(wanted: usize, owned: &[OutlinedPod], error: &Error) -> Option<Failure> {
    let active = owned.iter().filter(|pod| pod.outline.is_active()).count();
    let reason = match active.cmp(&wanted) {
        Ordering::Less => "FailedCreate",
        Ordering::Greater => "FailedDelete",
        Ordering::Equal => return None,
    };
    Some(Failure { reason: reason.to_owned(), message: error.to_string() })
}

/// The set's counts, and after how long a pod will have been ready for long enough.
pub(super) fn status<S: Set>(
    set: &S,
    owned: &[OutlinedPod],
    available: &Available,
) -> (Counts, Option<Duration>) {
    let metadata = set.template().and_then(|template| template.metadata.as_ref());
    let labels = metadata.and_then(|metadata| metadata.labels.clone()).unwrap_or_default();
    let active: Vec<&OutlinedPod> = owned.iter().filter(|pod| pod.outline.is_active()).collect();
    let count = |holds: &dyn Fn(&OutlinedPod) -> bool| {
        i32::try_from(active.iter().filter(|pod| holds(pod)).count()).unwrap_or(i32::MAX)
    };
    let labelled = |pod: &OutlinedPod| labels.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
    let terminating = owned.iter().filter(|pod| pod.outline.is_ending && !pod.outline.is_terminal());
    let counts = Counts {
        replicas: count(&|_| true),
        fully_labeled: count(&labelled),
        ready: count(&|pod| pod.outline.is_ready),
        available: count(&|pod| available.holds(&pod.outline)),
        terminating: Some(i32::try_from(terminating.count()).unwrap_or(i32::MAX)),
        observed_generation: set.metadata().generation,
    };
    let wake = available.wait(active.iter().map(|pod| &*pod.outline));
    (counts, wake)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use client::{Outline as _, Outlined, Resource as _};
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    /// `name:state`, where the state is `new`, `pending`, `ready`, `unready`, `done` or `ending`.
    fn pod(text: &str) -> OutlinedPod {
        let (name, state) = text.split_once(':').expect("name:state");
        let phase = match state {
            "new" | "pending" => "Pending",
            "done" => "Succeeded",
            _ => "Running",
        };
        let ready = if matches!(state, "ready" | "ending") { "True" } else { "False" };
        let pod = json!({
            "metadata": {"name": name, "deletionTimestamp": (state == "ending").then_some("2026-01-01T00:00:00Z")},
            "spec": {"containers": [], "nodeName": if state == "new" { "" } else { "n" }},
            "status": {"phase": phase, "conditions": [
                {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        });
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        Outlined { key: pod.key(), labels: Arc::default(), outline: Arc::new(PodOutline::of(&pod)) }
    }

    #[track_caller]
    fn check(wanted: usize, owned: &str, expected: &str) {
        let owned: Vec<_> = owned.split_whitespace().map(pod).collect();
        let words: Vec<String> = plan(wanted, &owned)
            .iter()
            .map(|step| match step {
                Step::Create => "create".to_owned(),
                Step::Delete(pod) => format!("delete {}", pod.key.name),
            })
            .collect();
        assert_eq!(words.join(", "), expected);
    }

    #[test]
    fn missing_pods_are_created_and_ended_ones_do_not_count() {
        check(2, "", "create, create");
        check(2, "a:ready b:done", "create");
        check(2, "a:ready b:ending", "create");
        check(2, "a:ready b:pending", "");
    }

    #[test]
    fn of_too_many_those_go_first_that_do_least() {
        check(1, "a:ready b:new c:pending", "delete b, delete c");
        check(1, "a:ready b:unready", "delete b");
        check(0, "a:ready", "delete a");
    }

    #[test]
    fn a_pod_is_available_after_it_has_been_ready_for_long_enough() {
        let set = json!({"spec": {"minReadySeconds": 60, "selector": {}}});
        let set: ReplicaSet = serde_json::from_value(set).expect("a set");
        let after = |seconds: u64| status(&set, &[pod("a:ready")], &Available::of(60, &[("", seconds)]));
        assert_eq!(after(30).0.available, 0);
        assert_eq!(after(30).1, Some(Duration::from_secs(30)));
        assert_eq!(after(60).0.available, 1);
        assert_eq!(after(60).1, None);
        assert_eq!(status(&set, &[pod("a:unready")], &Available::of(60, &[("", 99)])).0.available, 0);
    }

    #[test]
    fn a_failure_is_told_as_long_as_pods_are_missing_or_too_many() {
        let check = |wanted: usize, owned: &str, expected: Option<&str>| {
            let owned: Vec<_> = owned.split_whitespace().map(pod).collect();
            let error = Error::from_status(model::Status::internal("no"));
            let failure = failure(wanted, &owned, &error);
            assert_eq!(failure.as_ref().map(|failure| failure.reason.as_str()), expected);
        };
        check(2, "a:ready b:ending", Some("FailedCreate"));
        check(0, "a:ready", Some("FailedDelete"));
        check(1, "a:ready", None);
    }
}
