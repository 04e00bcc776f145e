//! What ReplicaSets and ReplicationControllers are alike: sets of so many pods of a template.

use std::time::Duration;

use client::Typed;
use k8s_openapi::Metadata;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use model::select::LabelSelector;

use crate::ready::seconds;

/// The condition that a set has while its pods cannot be made or deleted.
const FAILURE: &str = "ReplicaFailure";

/// A set of pods.
pub(crate) trait Set: Typed + Metadata<Ty = ObjectMeta> {
    /// What the controller is called.
    const CONTROLLER: &'static str;

    /// How many pods there are to be.
    fn wanted(&self) -> usize;

    /// Which pods are its own; none where the selector is not a valid one.
    fn selector(&self) -> Option<LabelSelector>;

    /// What they are made from.
    fn template(&self) -> Option<&PodTemplateSpec>;

    /// For how long they have to be ready until they count as available.
    fn least_ready(&self) -> Duration;

    /// What the status says.
    fn counts(&self) -> Counts;

    /// Why its pods could not be made or deleted, by its status.
    fn failure(&self) -> Option<Failure>;

    /// Replaces the status.
    fn set_status(&mut self, counts: Counts, failure: Option<Failure>, now: Time);
}

/// How many pods a set has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) replicas: i32,
    pub(crate) fully_labeled: i32,
    pub(crate) ready: i32,
    pub(crate) available: i32,
    /// None where the kind does not tell.
    pub(crate) terminating: Option<i32>,
    pub(crate) observed_generation: Option<i64>,
}

/// Why pods could not be made or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    pub(crate) message: String,
}

fn count(replicas: Option<i32>) -> usize {
    usize::try_from(replicas.unwrap_or(1)).unwrap_or(0)
}

/// What both kinds have under the same names, in types of their own.
macro_rules! alike {
    () => {
        fn template(&self) -> Option<&PodTemplateSpec> {
            self.spec.as_ref()?.template.as_ref()
        }

        fn least_ready(&self) -> Duration {
            seconds(self.spec.as_ref().and_then(|spec| spec.min_ready_seconds))
        }

        fn failure(&self) -> Option<Failure> {
            let conditions = self.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let mut failures = conditions.filter(|condition| condition.type_ == FAILURE);
            let condition = failures.next()?;
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            Some(Failure { reason: text(&condition.reason), message: text(&condition.message) })
        }
    };
}

impl Set for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset";

    fn wanted(&self) -> usize {
        count(self.spec.as_ref().and_then(|spec| spec.replicas))
    }

    fn selector(&self) -> Option<LabelSelector> {
        crate::selector(&self.spec.as_ref()?.selector)
    }

    alike!();

    fn counts(&self) -> Counts {
        let Some(status) = &self.status else { return Counts::default() };
        Counts {
            replicas: status.replicas,
            fully_labeled: status.fully_labeled_replicas.unwrap_or_default(),
            ready: status.ready_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
            terminating: Some(status.terminating_replicas.unwrap_or_default()),
            observed_generation: status.observed_generation,
        }
    }

    fn set_status(&mut self, counts: Counts, failure: Option<Failure>, now: Time) {
        let mut conditions =
            self.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        conditions.retain(|condition| condition.type_ != FAILURE);
        conditions.extend(failure.map(|failure| ReplicaSetCondition {
            type_: FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some(failure.reason),
            message: Some(failure.message),
            last_transition_time: Some(now),
        }));
        self.status = Some(ReplicaSetStatus {
            replicas: counts.replicas,
            fully_labeled_replicas: Some(counts.fully_labeled),
            ready_replicas: Some(counts.ready),
            available_replicas: Some(counts.available),
            terminating_replicas: counts.terminating,
            observed_generation: counts.observed_generation,
            conditions: Some(conditions).filter(|conditions| !conditions.is_empty()),
        });
    }
}

impl Set for ReplicationController {
    const CONTROLLER: &'static str = "replicationcontroller";

    fn wanted(&self) -> usize {
        count(self.spec.as_ref().and_then(|spec| spec.replicas))
    }

    fn selector(&self) -> Option<LabelSelector> {
        let labels = self.spec.as_ref()?.selector.as_ref()?;
        let labels = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        // One that selects everything would take over all pods of the namespace.
        Some(LabelSelector::from_labels(labels)).filter(|selector| !selector.is_everything())
    }

    alike!();

    fn counts(&self) -> Counts {
        let Some(status) = &self.status else { return Counts::default() };
        Counts {
            replicas: status.replicas,
            fully_labeled: status.fully_labeled_replicas.unwrap_or_default(),
            ready: status.ready_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
            terminating: None,
            observed_generation: status.observed_generation,
        }
    }

    fn set_status(&mut self, counts: Counts, failure: Option<Failure>, now: Time) {
        let mut conditions =
            self.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        conditions.retain(|condition| condition.type_ != FAILURE);
        conditions.extend(failure.map(|failure| ReplicationControllerCondition {
            type_: FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some(failure.reason),
            message: Some(failure.message),
            last_transition_time: Some(now),
        }));
        self.status = Some(ReplicationControllerStatus {
            replicas: counts.replicas,
            fully_labeled_replicas: Some(counts.fully_labeled),
            ready_replicas: Some(counts.ready),
            available_replicas: Some(counts.available),
            observed_generation: counts.observed_generation,
            conditions: Some(conditions).filter(|conditions| !conditions.is_empty()),
        });
    }
}
