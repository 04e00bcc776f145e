//! Whether a pod's volumes are to be had on a node: those that it has, and those that it would get there.

use client::ObjectKey;

use crate::scheduler::framework::{Filter, Prepared, Scene};
use crate::scheduler::news::{Changes, News};
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::PodInfo;

/// Refuses nodes that cannot use a volume of the pod, or where none can be found or made for a claim that waits
/// for its first consumer; refuses a pod that has claims which somebody else is to bind.
pub(super) struct VolumeBinding;

impl Filter for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn listens(&self) -> News {
        News::NODE_ADDED | News::NODE_LABELS | News::CLAIM | News::VOLUME | News::STORAGE
    }

    /// Of claims only those of the pod matter.
    fn heeds(&self, pod: &PodInfo, changes: &Changes) -> bool {
        concerns(pod, self.listens(), changes)
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, scene: Scene<'a>) -> Prepared<'a> {
        if pod.claims.is_empty() {
            return Prepared::skip();
        }
        match scene.volumes.sort(pod) {
            Err(refusal) => Prepared::refused(refusal),
            Ok(sorted) => {
                Prepared::asks(move |node: &NodeInfo| scene.volumes.plan(&sorted, &node.facts).err())
            }
        }
    }
}

/// Whether a pod that uses claims has to do with what happened.
pub(super) fn concerns(pod: &PodInfo, listens: News, changes: &Changes) -> bool {
    let uses = || {
        let mut keys = pod.claims.iter().map(|claim| ObjectKey::new(pod.namespace(), &claim.name));
        keys.any(|key| changes.claims.contains(&key))
    };
    listens.without(News::CLAIM).meets(changes.news) || (listens.meets(changes.news) && uses())
}
