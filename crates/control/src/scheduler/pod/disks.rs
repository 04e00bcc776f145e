//! Disks that pods name themselves, and of which several pods of a node cannot have one at once.

use k8s_openapi::api::core::v1::{Pod, Volume};

/// A disk, as a pod names it in its volumes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::scheduler) struct Disk {
    kind: Kind,
    read_only: bool,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Gce(String),
    Ebs(String),
    Iscsi(String),
    Rbd { monitors: Vec<String>, pool: String, image: String },
}

impl Disk {
    /// All that a pod names.
    pub(in crate::scheduler) fn all(pod: &Pod) -> Box<[Self]> {
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        volumes.filter_map(Self::of).collect()
    }

    fn of(volume: &Volume) -> Option<Self> {
        let said = |flag: Option<bool>| flag.unwrap_or(false);
        if let Some(disk) = &volume.gce_persistent_disk {
            return Some(Self { kind: Kind::Gce(disk.pd_name.clone()), read_only: said(disk.read_only) });
        }
        if let Some(disk) = &volume.aws_elastic_block_store {
            return Some(Self { kind: Kind::Ebs(disk.volume_id.clone()), read_only: said(disk.read_only) });
        }
        if let Some(disk) = &volume.iscsi {
            return Some(Self { kind: Kind::Iscsi(disk.iqn.clone()), read_only: said(disk.read_only) });
        }
        let disk = volume.rbd.as_ref()?;
        let kind = Kind::Rbd {
            monitors: disk.monitors.clone(),
            pool: disk.pool.clone().unwrap_or_default(),
            image: disk.image.clone(),
        };
        Some(Self { kind, read_only: said(disk.read_only) })
    }

    /// Whether two pods of one node cannot have them both.
    pub(in crate::scheduler) fn conflicts(&self, other: &Self) -> bool {
        let same = match (&self.kind, &other.kind) {
            // One that is read only by whoever has it is no reason.
            (Kind::Ebs(one), Kind::Ebs(other)) => return one == other,
            (
                Kind::Rbd { monitors, pool, image },
                Kind::Rbd { monitors: others, pool: other_pool, image: other_image },
            ) => {
                monitors.iter().any(|monitor| others.contains(monitor))
                    && pool == other_pool
                    && image == other_image
            }
            (one, other) => one == other,
        };
        same && !(self.read_only && other.read_only)
    }
}
