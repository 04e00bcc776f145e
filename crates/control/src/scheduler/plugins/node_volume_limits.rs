//! How many volumes a driver can have on one node.

use std::collections::{HashMap, HashSet};

use crate::scheduler::framework::{Filter, Prepared, Scene};
use crate::scheduler::news::{Changes, News};
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::PodInfo;
use crate::scheduler::volumes::{Volumes, class_of, volume_name};

/// Refuses nodes where a driver would have more volumes with the pod than it can.
pub(super) struct NodeVolumeLimits;

/// A volume: its driver and what this one knows it by.
type Handle = (String, String);

impl Filter for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn listens(&self) -> News {
        News::NODE_ADDED | News::POD_LEFT | News::CLAIM | News::VOLUME | News::STORAGE
    }

    fn heeds(&self, pod: &PodInfo, changes: &Changes) -> bool {
        super::volume_binding::concerns(pod, self.listens(), changes)
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, scene: Scene<'a>) -> Prepared<'a> {
        let volumes = scene.volumes;
        let wanted: HashSet<Handle> =
            pod.claims.iter().filter_map(|claim| handle(volumes, pod.namespace(), &claim.name)).collect();
        if wanted.is_empty() {
            return Prepared::skip();
        }
        Prepared::asks(move |node: &NodeInfo| {
            let drivers = volumes.csi_node(node.name()).map(|node| &node.spec.drivers)?;
            let limit = |driver: &str| {
                let found = drivers.iter().find(|known| known.name == driver)?;
                found.allocatable.as_ref()?.count.map(i64::from)
            };
            let limited: Vec<&Handle> = wanted.iter().filter(|(driver, _)| limit(driver).is_some()).collect();
            if limited.is_empty() {
                return None;
            }
            let there: HashSet<Handle> = node
                .taken
                .claims
                .keys()
                .filter_map(|(namespace, name)| handle(volumes, namespace, name))
                .collect();
            let mut counts: HashMap<&str, i64> = HashMap::new();
            for (driver, _) in &there {
                *counts.entry(driver).or_default() += 1;
            }
            let mut more: HashMap<&str, i64> = HashMap::new();
            for handle in limited.into_iter().filter(|handle| !there.contains(*handle)) {
                *more.entry(&handle.0).or_default() += 1;
            }
            let exceeds = more.iter().any(|(driver, more)| {
                let count = counts.get(driver).copied().unwrap_or(0);
                limit(driver).is_some_and(|limit| count + more > limit)
            });
            super::not_now_if(exceeds, "node(s) exceed max volume count")
        })
    }
}

/// The volume that a claim has, or will have.
fn handle(volumes: &Volumes, namespace: &str, name: &str) -> Option<Handle> {
    let claim = volumes.claim(namespace, name)?;
    let bound = volume_name(claim).and_then(|name| volumes.volume(name));
    if let Some(volume) = bound {
        let csi = volume.spec.as_ref()?.csi.as_ref()?;
        return Some((csi.driver.clone(), csi.volume_handle.clone()));
    }
    let class = volumes.class(class_of(claim))?;
    Some((class.provisioner.clone(), format!("{}-{namespace}/{name}", class.provisioner)))
}
