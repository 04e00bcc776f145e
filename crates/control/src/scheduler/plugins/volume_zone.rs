//! Volumes that say by their labels in which zone they are.

use std::collections::BTreeSet;

use crate::scheduler::framework::{Filter, Prepared, Refusal, Scene};
use crate::scheduler::news::{Changes, News};
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::PodInfo;
use crate::scheduler::volumes::volume_name;

/// Refuses nodes that are in another zone or region than a volume of the pod.
pub(super) struct VolumeZone;

/// The labels, each with the older one that means the same.
const LABELS: [[&str; 2]; 2] = [
    ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"],
    ["topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"],
];

const CONFLICT: &str = "node(s) had no available volume zone";

impl Filter for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn listens(&self) -> News {
        News::NODE_ADDED | News::NODE_LABELS | News::CLAIM | News::VOLUME | News::STORAGE
    }

    fn heeds(&self, pod: &PodInfo, changes: &Changes) -> bool {
        super::volume_binding::concerns(pod, self.listens(), changes)
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, scene: Scene<'a>) -> Prepared<'a> {
        let mut wanted: Vec<([&str; 2], BTreeSet<&str>)> = Vec::new();
        for claimed in &pod.claims {
            let Some(claim) = scene.volumes.claim(pod.namespace(), &claimed.name) else {
                let message = format!("persistentvolumeclaim \"{}\" not found", claimed.name);
                return Prepared::refused(Refusal::hopeless(message));
            };
            let Some(name) = volume_name(claim) else {
                if scene.volumes.waits_for_consumer(claim) {
                    continue;
                }
                return Prepared::refused(Refusal::hopeless("PersistentVolumeClaim had no pv name"));
            };
            let Some(volume) = scene.volumes.volume(name) else {
                let message = format!("persistentvolume \"{name}\" not found");
                return Prepared::refused(Refusal::hopeless(message));
            };
            let labels = volume.metadata.labels.as_ref();
            for pair in LABELS {
                let values = pair.iter().filter_map(|key| labels?.get(*key));
                wanted.extend(values.map(|value| (pair, value.split("__").collect())));
            }
        }
        if wanted.is_empty() {
            return Prepared::skip();
        }
        Prepared::asks(move |node: &NodeInfo| {
            let label = |pair: &[&str; 2]| pair.iter().find_map(|key| node.facts.labels.get(*key));
            // A node that says nothing of zones is in all.
            if LABELS.iter().all(|pair| label(pair).is_none()) {
                return None;
            }
            let there = |(pair, values): &([&str; 2], BTreeSet<&str>)| {
                label(pair).is_some_and(|value| values.contains(value.as_str()))
            };
            super::never_if(!wanted.iter().all(there), CONFLICT)
        })
    }
}
