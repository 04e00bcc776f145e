//! What happened in the cluster that may make room for pods which no node could take.

use std::collections::HashSet;
use std::ops::{BitOr, BitOrAssign};

use client::ObjectKey;

/// A set of happenings, most of them about one node. Filters say which of them they listen to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct News(u32);

impl News {
    pub(super) const NODE_ADDED: Self = Self(1);
    pub(super) const NODE_ALLOCATABLE: Self = Self(1 << 1);
    pub(super) const NODE_LABELS: Self = Self(1 << 2);
    /// Its taints, or whether it is cordoned.
    pub(super) const NODE_TAINTS: Self = Self(1 << 3);
    /// A pod that was on the node ended, is gone, or is not to come after all.
    pub(super) const POD_LEFT: Self = Self(1 << 4);
    /// A pod on the node takes less of something than before.
    pub(super) const POD_SHRANK: Self = Self(1 << 5);
    /// A pod is on the node that was not there. Told while somebody waits for such.
    pub(super) const POD_CAME: Self = Self(1 << 6);
    /// Another node is gone.
    pub(super) const NODE_GONE: Self = Self(1 << 8);
    /// A pod on the node is found by other labels than before, or avoids others.
    pub(super) const POD_LABELS: Self = Self(1 << 7);
    /// A namespace has other labels than before. Told of all nodes.
    pub(super) const NAMESPACE_LABELS: Self = Self(1 << 9);
    /// A pod on the node is being deleted: who spreads pods does not count it any more.
    pub(super) const POD_LEAVES: Self = Self(1 << 10);

    /// A claim came or changed.
    pub(super) const CLAIM: Self = Self(1 << 11);
    /// A volume came or changed.
    pub(super) const VOLUME: Self = Self(1 << 12);
    /// A class of storage, or what a driver of storage says of itself, came or changed.
    pub(super) const STORAGE: Self = Self(1 << 13);
    /// A claim to devices, a class of these, or which there are changed.
    pub(super) const DEVICES: Self = Self(1 << 14);

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What Kubernetes calls it; the first of several.
    pub(super) fn name(self) -> &'static str {
        const NAMES: [(News, &str); 15] = [
            (News::NODE_ADDED, "NodeAdd"),
            (News::NODE_ALLOCATABLE, "NodeAllocatableChange"),
            (News::NODE_LABELS, "NodeLabelChange"),
            (News::NODE_TAINTS, "NodeTaintChange"),
            (News::NODE_GONE, "NodeDelete"),
            (News::POD_LEFT, "AssignedPodDelete"),
            (News::POD_LEAVES, "AssignedPodDelete"),
            (News::POD_SHRANK, "AssignedPodUpdate"),
            (News::POD_LABELS, "AssignedPodUpdate"),
            (News::POD_CAME, "AssignedPodAdd"),
            (News::NAMESPACE_LABELS, "NamespaceUpdate"),
            (News::CLAIM, "PersistentVolumeClaimUpdate"),
            (News::VOLUME, "PersistentVolumeUpdate"),
            (News::STORAGE, "StorageClassUpdate"),
            (News::DEVICES, "ResourceClaimUpdate"),
        ];
        NAMES.iter().find(|(news, _)| self.meets(*news)).map_or("", |(_, name)| name)
    }

    /// What is in this and not in the other.
    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether something is in both.
    pub(super) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What happened to objects that are no nodes, since it was told last.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) news: News,
    /// The claims that changed.
    pub(super) claims: HashSet<ObjectKey>,
}

impl BitOr for News {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for News {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl FromIterator<News> for News {
    fn from_iter<I: IntoIterator<Item = News>>(all: I) -> Self {
        all.into_iter().fold(Self::default(), Self::bitor)
    }
}
