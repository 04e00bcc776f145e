//! A deployment's status: pure.

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use client::Resource as _;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::plan::{bounds, newest, recreates, wanted};

/// When the rollout last came on, by the time of day.
pub(super) fn progressed_at(deployment: &Deployment) -> Option<Timestamp> {
    let conditions = deployment.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let progressing = conditions.into_iter().find(|condition| condition.type_ == "Progressing")?;
    progressing.last_update_time.as_ref().map(|time| time.0)
}

/// The status, and after how long the rollout counts as stuck. `spent` is how long ago it
/// [last came on](progressed_at).
pub(super) fn status(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
    now: Timestamp,
    spent: Duration,
) -> (DeploymentStatus, Option<Duration>) {
    let old = deployment.status.clone().unwrap_or_default();
    let newest = newest(deployment, sets);
    let sum = |of: fn(&ReplicaSet) -> i32| sets.iter().map(|set| of(set)).fold(0, i32::saturating_add);
    let replicas = sum(|set| set.status.as_ref().map_or(0, |status| status.replicas));
    let ready = sum(|set| set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0));
    let available = sum(|set| set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0));
    let terminating =
        sum(|set| set.status.as_ref().and_then(|status| status.terminating_replicas).unwrap_or(0));
    let updated = newest.and_then(|set| set.status.as_ref()).map_or(0, |status| status.replicas);
    let wanted = wanted(deployment);
    // Zero is not written, as the API's own controllers do not write it.
    let shown = |count: i32| (count != 0).then_some(count);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: shown(replicas),
        updated_replicas: shown(updated),
        ready_replicas: shown(ready),
        available_replicas: shown(available),
        unavailable_replicas: shown(sum(super::replicas).saturating_sub(available).max(0)),
        terminating_replicas: Some(terminating),
        collision_count: old.collision_count,
        conditions: None,
    };
    let unavailable = if recreates(deployment) { 0 } else { bounds(deployment).unavailable };
    let enough = available >= wanted.saturating_sub(unavailable.min(wanted));
    let availability = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    let complete = updated == wanted && replicas == wanted && available == wanted;
    let progressed = newest.is_some()
        && (updated > old.updated_replicas.unwrap_or(0)
            || replicas.saturating_sub(updated)
                < old.replicas.unwrap_or(0).saturating_sub(old.updated_replicas.unwrap_or(0))
            || ready > old.ready_replicas.unwrap_or(0)
            || available > old.available_replicas.unwrap_or(0));
    let rollout = Rollout { complete, progressed, only_new: replicas == updated, spent };
    let (progress, wake) = progress(deployment, newest.map(AsRef::as_ref), &old, &rollout);

    let mut conditions: Vec<DeploymentCondition> = Vec::new();
    conditions.push(condition(&old, "Available", availability, false, now));
    if let Some((state, reason, message)) = &progress {
        conditions.push(condition(&old, "Progressing", (state, reason, message), progressed, now));
    }
    let ours = ["Available", "Progressing"];
    conditions.extend(old.conditions.iter().flatten().filter(|c| !ours.contains(&c.type_.as_str())).cloned());
    status.conditions = Some(conditions);
    (status, wake)
}

type Progress = (&'static str, &'static str, String);

/// How far it is.
struct Rollout {
    complete: bool,
    progressed: bool,
    /// No pod is of an earlier template.
    only_new: bool,
    /// How long ago it last came on.
    spent: Duration,
}

/// How the rollout fares; `None` where nobody wants to know (no deadline).
fn progress(
    deployment: &Deployment,
    newest: Option<&ReplicaSet>,
    old: &DeploymentStatus,
    &Rollout { complete, progressed, only_new, spent }: &Rollout,
) -> (Option<Progress>, Option<Duration>) {
    let spec = deployment.spec.as_ref();
    let deadline = spec.and_then(|spec| spec.progress_deadline_seconds).unwrap_or(600);
    if deadline == i32::MAX {
        return (None, None);
    }
    let before = old.conditions.iter().flatten().find(|condition| condition.type_ == "Progressing");
    let kept = before.map(|c| {
        let reason = match c.reason.as_deref() {
            Some("NewReplicaSetAvailable") => "NewReplicaSetAvailable",
            Some("ProgressDeadlineExceeded") => "ProgressDeadlineExceeded",
            Some("NewReplicaSetCreated") => "NewReplicaSetCreated",
            Some("DeploymentPaused") => "DeploymentPaused",
            Some("DeploymentResumed") => "DeploymentResumed",
            _ => "ReplicaSetUpdated",
        };
        let state = match c.status.as_str() {
            "False" => "False",
            "Unknown" => "Unknown",
            _ => "True",
        };
        (state, reason, c.message.clone().unwrap_or_default())
    });
    if spec.and_then(|spec| spec.paused).unwrap_or(false) {
        return (Some(("Unknown", "DeploymentPaused", "Deployment is paused".to_owned())), None);
    }
    let resumed = before.is_some_and(|c| c.reason.as_deref() == Some("DeploymentPaused"));
    let Some(newest) = newest else {
        if resumed {
            return (Some(("Unknown", "DeploymentResumed", "Deployment is resumed".to_owned())), None);
        }
        return (kept, None);
    };
    let name = newest.name();
    if complete {
        let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
        return (Some(("True", "NewReplicaSetAvailable", message)), None);
    }
    let limit = Duration::from_secs(u64::try_from(deadline).unwrap_or(0));
    if before.is_none() {
        let message = format!("Created new replica set \"{name}\"");
        return (Some(("True", "NewReplicaSetCreated", message)), Some(limit));
    }
    // A finished rollout whose pods went away later is not a stuck one, but a new template is: pods of the
    // one before are there, or its set was made later than that finished.
    let finished = before.filter(|c| c.reason.as_deref() == Some("NewReplicaSetAvailable"));
    let is_later = finished.and_then(|c| c.last_update_time.as_ref()).is_some_and(|finished| {
        newest.metadata.creation_timestamp.as_ref().is_some_and(|made| made > finished)
    });
    let finished = finished.is_some();
    if finished && only_new && !is_later && !progressed {
        return (kept, None);
    }
    if progressed || finished || resumed {
        let message = format!("ReplicaSet \"{name}\" is progressing.");
        return (Some(("True", "ReplicaSetUpdated", message)), Some(limit));
    }
    if spent >= limit {
        let message = format!("ReplicaSet \"{name}\" has timed out progressing.");
        return (Some(("False", "ProgressDeadlineExceeded", message)), None);
    }
    (kept, Some(limit - spent))
}

/// A condition that keeps its times unless it changes; `touched` renews the time of its update.
fn condition(
    old: &DeploymentStatus,
    kind: &str,
    (status, reason, message): (&str, &str, &str),
    touched: bool,
    now: Timestamp,
) -> DeploymentCondition {
    let now = Time(Timestamp::from_second(now.as_second()).expect("cutting a time stays in range"));
    let before = old.conditions.iter().flatten().find(|condition| condition.type_ == kind);
    let same = before.filter(|c| c.status == status && c.reason.as_deref() == Some(reason));
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: before
            .filter(|c| c.status == status)
            .and_then(|c| c.last_transition_time.clone())
            .or_else(|| Some(now.clone())),
        last_update_time: same.filter(|_| !touched).and_then(|c| c.last_update_time.clone()).or(Some(now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(set_status: Value, old: Value, after: u64, expected: &str) {
        let template = json!({"metadata": {}, "spec": {"containers": []}});
        let deployment = json!({"metadata": {"name": "web"}, "status": old, "spec": {
            "replicas": 2, "selector": {}, "template": template, "progressDeadlineSeconds": 60}});
        let deployment: Deployment = serde_json::from_value(deployment).expect("a deployment");
        let set = json!({"metadata": {"name": "web-1"}, "spec": {"replicas": 2, "selector": {}, "template": template}, "status": set_status});
        let set: ReplicaSet = serde_json::from_value(set).expect("a set");
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let spent = Duration::from_secs(after);
        let (status, wake) = status(&deployment, &[Arc::new(set)], start + spent, spent);
        let mut words: Vec<String> = status
            .conditions
            .iter()
            .flatten()
            .map(|c| format!("{}={}:{}", c.type_, c.status, c.reason.as_deref().unwrap_or_default()))
            .collect();
        words.extend(wake.map(|wake| format!("wake {}", wake.as_secs())));
        assert_eq!(words.join(", "), expected);
    }

    fn progressing() -> Value {
        json!({"replicas": 2, "updatedReplicas": 2, "conditions": [
            {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "lastUpdateTime": "2026-01-01T00:00:00Z"}]})
    }

    #[test]
    fn a_rollout_is_complete_when_all_replicas_are_new_and_available() {
        let all = json!({"replicas": 2, "readyReplicas": 2, "availableReplicas": 2});
        check(
            all,
            progressing(),
            10,
            "Available=True:MinimumReplicasAvailable, Progressing=True:NewReplicaSetAvailable",
        );
    }

    #[test]
    fn a_rollout_without_progress_is_stuck_after_its_deadline() {
        let none = json!({"replicas": 2});
        check(
            none.clone(),
            progressing(),
            10,
            "Available=False:MinimumReplicasUnavailable, Progressing=True:ReplicaSetUpdated, wake 50",
        );
        check(
            none,
            progressing(),
            60,
            "Available=False:MinimumReplicasUnavailable, Progressing=False:ProgressDeadlineExceeded",
        );
    }

    #[test]
    fn a_finished_rollout_is_not_stuck_when_its_pods_go_and_one_with_old_pods_begins_anew() {
        let finished = |replicas: u32, updated: u32| {
            json!({"replicas": replicas, "updatedReplicas": updated, "conditions": [
                {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
                 "message": "ReplicaSet \"web-0\" has successfully progressed.", "lastUpdateTime": "2026-01-01T00:00:00Z"}]})
        };
        check(
            json!({"replicas": 1}),
            finished(2, 2),
            90,
            "Available=False:MinimumReplicasUnavailable, Progressing=True:NewReplicaSetAvailable",
        );
        // Of a template that has come since there may be no pods at all, and none of the one before.
        let (mut deployment, mut sets) = with_old_pods(finished(0, 0));
        let set = Arc::make_mut(&mut sets[1]);
        set.metadata.creation_timestamp = Some(Time("2026-01-01T00:00:10Z".parse().expect("a time")));
        sets.remove(0);
        check_begins_anew(&deployment, &sets);
        (deployment, sets) = with_old_pods(finished(2, 2));
        check_begins_anew(&deployment, &sets);
    }

    fn check_begins_anew(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let spent = Duration::from_secs(90);
        let (status, wake) = status(deployment, sets, start + spent, spent);
        let progressing = status.conditions.iter().flatten().find(|c| c.type_ == "Progressing");
        let progressing = progressing.expect("how it fares");
        assert_eq!(progressing.reason.as_deref(), Some("ReplicaSetUpdated"));
        assert!(progressing.message.as_deref().is_some_and(|message| message.contains("web-1")));
        assert_eq!(wake, Some(Duration::from_secs(60)));
    }

    /// A deployment whose template has just changed: all pods are of the one before.
    fn with_old_pods(old: Value) -> (Deployment, Vec<Arc<ReplicaSet>>) {
        let template =
            |image: &str| json!({"metadata": {}, "spec": {"containers": [{"name": "c", "image": image}]}});
        let deployment = json!({"metadata": {"name": "web"}, "status": old, "spec": {
            "replicas": 2, "selector": {}, "template": template("new"), "progressDeadlineSeconds": 60}});
        let set = |name: &str, image: &str, pods: u32| {
            let set = json!({"metadata": {"name": name}, "spec": {"replicas": pods, "selector": {},
                "template": template(image)}, "status": {"replicas": pods}});
            Arc::new(serde_json::from_value::<ReplicaSet>(set).expect("a set"))
        };
        let sets = vec![set("web-0", "old", 2), set("web-1", "new", 0)];
        (serde_json::from_value(deployment).expect("a deployment"), sets)
    }
}
