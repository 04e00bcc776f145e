//! Volumes that one pod alone can have: in the cluster, or on a node.

use crate::scheduler::framework::{Filter, NodeFilter, Prepared, Refusal, Scene};
use crate::scheduler::news::{Changes, News};
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::{PodInfo, Share};

/// Refuses all nodes while another pod uses a claim that is for one pod, and those where a pod uses a disk that
/// the pod names itself.
pub(super) struct VolumeRestrictions;

const TAKEN: &str =
    "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
const NO_DISK: &str = "node(s) had no available disk";

impl Filter for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn listens(&self) -> News {
        News::NODE_ADDED | News::POD_LEFT | News::CLAIM
    }

    fn heeds(&self, pod: &PodInfo, changes: &Changes) -> bool {
        super::volume_binding::concerns(pod, self.listens(), changes)
    }

    /// Who leaves one node opens all others, too.
    fn may_accept(&self, _: &PodInfo, _: &NodeInfo, news: News, _: Scene<'_>) -> bool {
        self.listens().meets(news)
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, scene: Scene<'a>) -> Prepared<'a> {
        let mut single: Vec<(Box<str>, Box<str>)> = Vec::new();
        for claimed in &pod.claims {
            let Some(claim) = scene.volumes.claim(pod.namespace(), &claimed.name) else {
                if claimed.ephemeral {
                    continue;
                }
                let message = format!("persistentvolumeclaim \"{}\" not found", claimed.name);
                return Prepared::refused(Refusal::hopeless(message));
            };
            let modes = claim.spec.iter().flat_map(|spec| spec.access_modes.iter().flatten());
            if modes.into_iter().any(|mode| mode == "ReadWriteOncePod") {
                single.push((pod.namespace().into(), claimed.name.as_str().into()));
            }
        }
        if single.is_empty() && pod.share.disks.is_empty() {
            return Prepared::skip();
        }
        let using =
            |node: &NodeInfo| -> usize { single.iter().filter_map(|key| node.taken.claims.get(key)).sum() };
        let conflicts = match single.is_empty() {
            true => 0,
            false => scene.nodes.iter().map(using).sum::<usize>(),
        };
        let conflicts = i64::try_from(conflicts).unwrap_or(i64::MAX);
        Prepared::asks(Alone { pod, single, conflicts })
    }
}

struct Alone<'a> {
    pod: &'a PodInfo,
    single: Vec<(Box<str>, Box<str>)>,
    /// How often others use what is for one pod.
    conflicts: i64,
}

impl NodeFilter for Alone<'_> {
    fn refuses(&self, node: &NodeInfo) -> Option<Refusal> {
        let taken = || {
            let wanted = self.pod.share.disks.iter();
            wanted.into_iter().any(|disk| node.taken.disks.keys().any(|known| disk.conflicts(known)))
        };
        if taken() {
            return Some(Refusal::for_now(NO_DISK));
        }
        super::not_now_if(self.conflicts > 0, TAKEN)
    }

    fn shift(&mut self, _: &NodeInfo, share: &Share, by: i64) {
        let uses = |(namespace, name): &&(Box<str>, Box<str>)| {
            **namespace == *share.namespace() && share.claims.contains(name)
        };
        let count = self.single.iter().filter(uses).count();
        self.conflicts += by * i64::try_from(count).unwrap_or(0);
    }
}
