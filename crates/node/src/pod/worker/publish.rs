//! Telling the API how the pod fares.

use std::collections::BTreeSet;

use client::api::{Patch, PatchOptions};
use client::{Api, Error, Resource as _};
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::{AGAIN, DEADLINE_EXCEEDED, Worker, limits};
use crate::pod::admission::Rejection;
use crate::pod::observe::Observation;
use crate::pod::resize;
use crate::pod::status::{self, View};

impl Worker {
    /// Publishes the status if it differs from what was published last. What the API does not take
    /// is published again after a moment.
    pub(super) async fn publish(&mut self, observation: &Observation) {
        (self.publish_again, self.unsent) = (None, None);
        let mut pod = Pod::clone(&self.pod);
        pod.status = Some(self.merged_status());
        let host_ip = self.shared.config.address.to_string();
        let host_network = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
        let pod_ips: Vec<String> = match &observation.sandbox {
            Some(_) if host_network => vec![host_ip.clone()],
            Some(sandbox) => sandbox.addresses.iter().map(ToString::to_string).collect(),
            None => Vec::new(),
        };
        let mut next = status::status(&View {
            pod: &pod,
            now: self.shared.clock.now(),
            host_ip: &host_ip,
            pod_ips: &pod_ips,
            sandbox_ready: observation.sandbox.is_some(),
            containers: &self.facts(observation),
            ended: self.ended,
            failure: match &self.evicted {
                Some(message) => Some((crate::eviction::EVICTED, message)),
                None => self.overdue.then_some(DEADLINE_EXCEEDED),
            },
            resize: &self.resizing.progress,
            whole: self.whole(),
        });
        self.tell_disruption(&mut next);
        // What was written last the copy may not show yet: it is compared once it does.
        let is_shown = self.pod.revision() >= self.written;
        if next != self.published || is_shown && !says(self.pod.status.as_ref(), &next) {
            self.send(next).await;
        }
    }

    async fn send(&mut self, next: PodStatus) {
        self.unsent = None;
        if let Err(error) = self.try_send(&next).await {
            warn!(pod = %self.name(), error = %base::error::chain(&error), "cannot publish the status; trying again");
            self.publish_again = self.after(AGAIN);
            self.unsent = Some(next);
        }
    }

    /// Tells the API a status. A pod that is gone has none, which is no error.
    pub(super) async fn try_send(&mut self, next: &PodStatus) -> Result<(), Error> {
        let metadata = &self.pod.metadata;
        let before = [self.pod.status.as_ref(), Some(&self.published)];
        let before = before.into_iter().flatten().flat_map(|status| status.conditions.iter().flatten());
        let patch = patch(&self.uid, next, before);
        let api: Api<Pod> =
            Api::namespaced(&self.shared.client, metadata.namespace.as_deref().unwrap_or_default());
        let name = metadata.name.as_deref().unwrap_or_default();
        match api.patch_status(name, &Patch::Strategic(patch), &PatchOptions::default()).await {
            Ok(written) => {
                self.written = written.revision();
                debug!(pod = %self.name(), phase = next.phase.as_deref(), "status published");
                self.published = next.clone();
                Ok(())
            }
            // Gone, or made anew under the same name: the informer will say so.
            Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tells the API that the pod has failed without having been started.
    pub(super) async fn reject(&mut self, rejection: &Rejection) {
        self.ended = true;
        self.publish_again = None;
        if self.published.phase.as_deref().is_some_and(status::is_last) {
            return;
        }
        self.event(true, &rejection.reason, rejection.message.clone());
        let next = PodStatus {
            phase: Some("Failed".to_owned()),
            reason: Some(rejection.reason.to_string()),
            message: Some(format!("Pod was rejected: {}", rejection.message)),
            ..self.merged_status()
        };
        self.send(next).await;
    }

    /// The status as published, with the conditions that others have set since.
    fn merged_status(&self) -> PodStatus {
        let mut merged = self.published.clone();
        let theirs = self.pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let conditions = merged.conditions.get_or_insert_default();
        for condition in theirs {
            match conditions.iter_mut().find(|known| known.type_ == condition.type_) {
                Some(_) if OURS.contains(&condition.type_.as_str()) => {}
                Some(known) => *known = condition.clone(),
                None => conditions.push(condition.clone()),
            }
        }
        merged
    }
}

/// The change that makes a status what it is to be. Conditions that are not this node's are left out: whoever
/// decides them may have written them since this node looked. Those of `before` that come and go are taken away
/// where they are no more.
fn patch<'a>(uid: &str, next: &PodStatus, before: impl Iterator<Item = &'a PodCondition>) -> Value {
    let mut status = json!(next);
    let now = |kind: &str| next.conditions.iter().flatten().any(|condition| condition.type_ == kind);
    let gone: BTreeSet<&str> = before
        .map(|condition| condition.type_.as_str())
        .filter(|kind| PASSING.contains(kind) && !now(kind))
        .collect();
    if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.retain(|condition| {
            OURS.iter().any(|ours| condition["type"] == *ours)
                || condition["type"] == limits::DISRUPTION && condition["reason"] == limits::BY_KUBELET
        });
        for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
            // Merged by type: what one said before goes only where that is said.
            for field in ["reason", "message"] {
                condition.entry(field).or_insert(Value::Null);
            }
        }
        conditions.extend(gone.into_iter().map(|kind| json!({"$patch": "delete", "type": kind})));
    }

    for addresses in ["hostIPs", "podIPs"] {
        if let Some(addresses) = status.get_mut(addresses).and_then(Value::as_array_mut) {
            addresses.insert(0, json!({"$patch": "replace"}));
        }
    }
    json!({"metadata": {"uid": uid}, "status": status})
}

/// Conditions that this node decides.
const OURS: [&str; 7] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    resize::PENDING,
    resize::IN_PROGRESS,
];

/// Whether what the API has says of each of the node's own conditions what the node says: others may have said
/// something else meanwhile, as is done where nothing is heard of a node for a while.
fn says(there: Option<&PodStatus>, next: &PodStatus) -> bool {
    let there = |kind: &str| {
        let conditions = there.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().find(|condition| condition.type_ == kind)
    };
    let own = next.conditions.iter().flatten().filter(|condition| OURS.contains(&&*condition.type_));
    own.into_iter().all(|next| there(&next.type_).is_some_and(|there| there.status == next.status))
}

/// Those of them that come and go.
const PASSING: [&str; 2] = [resize::PENDING, resize::IN_PROGRESS];

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{HostIP, PodCondition, PodIP};
    use model::merge::strategic;
    use model::{GroupVersionKind, schema};

    use super::*;

    fn condition(kind: &str, status: &str, reason: Option<&str>) -> PodCondition {
        PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.map(str::to_owned),
            ..PodCondition::default()
        }
    }

    #[test]
    fn what_others_wrote_since_the_node_looked_is_kept() {
        let schema = schema::builtin(&GroupVersionKind::new("", "v1", "Pod")).expect("built in");
        let live = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "uid": "u"},
            "status": {
                "phase": "Pending", "podIPs": [{"ip": "10.0.0.1"}], "hostIPs": [{"ip": "192.0.2.1"}],
                "conditions": [
                    {"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady", "message": "m"},
                    {"type": "example.org/gate", "status": "True"},
                    {"type": "example.org/other", "status": "True"},
                ],
            },
        });
        // One gate as the node knew it, and the other not at all.
        let next = PodStatus {
            phase: Some("Running".to_owned()),
            pod_ips: Some(vec![PodIP { ip: "10.0.0.2".to_owned() }]),
            host_ips: Some(vec![HostIP { ip: "192.0.2.1".to_owned() }]),
            conditions: Some(vec![
                condition("Ready", "True", None),
                condition("example.org/gate", "False", None),
            ]),
            ..PodStatus::default()
        };
        let changed =
            strategic::apply(&schema, &live, &patch("u", &next, std::iter::empty())).expect("it is a patch");
        let status = &changed["status"];
        assert_eq!(
            (&status["phase"], &status["podIPs"], &status["hostIPs"]),
            (&json!("Running"), &json!([{"ip": "10.0.0.2"}]), &json!([{"ip": "192.0.2.1"}]))
        );
        assert_eq!(
            status["conditions"],
            json!([
                {"type": "Ready", "status": "True"},
                {"type": "example.org/gate", "status": "True"},
                {"type": "example.org/other", "status": "True"},
            ])
        );
    }

    #[test]
    fn what_others_have_said_of_the_pod_is_not_what_the_node_says() {
        let status = |conditions: &[(&str, &str)]| PodStatus {
            conditions: Some(conditions.iter().map(|(kind, status)| condition(kind, status, None)).collect()),
            ..PodStatus::default()
        };
        let next = status(&[("Ready", "True"), ("ContainersReady", "True"), ("example.org/gate", "True")]);
        assert!(says(Some(&next), &next));
        let own = [("Ready", "True"), ("ContainersReady", "True")];
        assert!(says(Some(&status(&own)), &next), "the gate is somebody else's");
        assert!(!says(Some(&status(&[("Ready", "False"), own[1]])), &next));
        assert!(!says(Some(&status(&own[..1])), &next));
        assert!(!says(None, &next));
    }

    #[test]
    fn what_was_said_of_a_resize_goes_with_it() {
        let schema = schema::builtin(&GroupVersionKind::new("", "v1", "Pod")).expect("built in");
        let pending = condition(resize::PENDING, "True", Some("Deferred"));
        let live = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "uid": "u"},
            "status": {"conditions": [pending, condition("Ready", "True", None)]},
        });
        let next = |conditions: Vec<PodCondition>| PodStatus {
            conditions: Some(conditions),
            ..PodStatus::default()
        };
        let kinds = |next: &PodStatus| -> Vec<String> {
            let patch = patch("u", next, [&pending].into_iter());
            let changed = strategic::apply(&schema, &live, &patch).expect("it is a patch");
            let conditions = changed["status"]["conditions"].as_array().expect("conditions").iter();
            conditions.map(|condition| condition["type"].as_str().expect("a type").to_owned()).collect()
        };
        assert_eq!(kinds(&next(vec![condition("Ready", "True", None)])), ["Ready"]);
        assert_eq!(kinds(&next(vec![pending.clone()])), [resize::PENDING, "Ready"]);
    }
}
