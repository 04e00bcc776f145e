//! Pods that are placed together: which there are of each group, and how many it takes.
//!
//! A group is a PodGroup that its pods name in `spec.schedulingGroup`, where the API has such; or no object at all:
//! the pods of a namespace that name it by an annotation, with how many of them have to come together.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use client::ObjectKey;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1alpha2::PodGroup;

use super::pod::{PodInfo, Uid};

/// Names the group of a pod, without an object.
pub(super) const GROUP: &str = "gantry.dev/pod-group";
/// How many of that group have to come together.
pub(super) const MIN_COUNT: &str = "gantry.dev/pod-group-min-count";

/// Names one group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct GroupId {
    pub(super) key: ObjectKey,
    /// Whether it is a PodGroup.
    pub(super) is_declared: bool,
}

/// What a pod says of the groups that it is of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Membership {
    /// The PodGroup that it names.
    declared: Option<Box<str>>,
    /// The group that its annotations name.
    annotated: Option<Box<str>>,
    /// How many have to come together, as its annotations say.
    count: Option<u32>,
}

/// How the pods of a PodGroup are placed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Policy {
    /// As many as can be.
    Basic,
    /// So many at once, or none.
    Gang(usize),
}

/// What a group lacks so that its pods can be tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Lack {
    /// The PodGroup.
    PodGroup(String),
    /// How many have to come together is said by none of its pods.
    Count,
    /// Pods.
    Pods,
    /// They wait for different schedulers.
    OneScheduler(String, String),
}

/// What is known of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    /// How many have to be placed together, or what that is not known for.
    pub(super) minimum: Result<usize, Lack>,
    /// How many have a node.
    pub(super) placed: usize,
    /// How many wait for one.
    pub(super) waiting: usize,
}

/// The groups of all pods that are of one.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Whether PodGroups are heeded.
    heeds_declared: bool,
    policies: HashMap<ObjectKey, Policy>,
    /// The PodGroups of which it is not said that they were placed.
    untold: HashSet<ObjectKey>,
    groups: HashMap<GroupId, Group>,
    of: HashMap<Uid, (GroupId, Option<u32>)>,
}

#[derive(Debug, Default)]
struct Group {
    waiting: BTreeSet<Uid>,
    placed: BTreeSet<Uid>,
    /// How many pods say each number.
    counts: BTreeMap<u32, usize>,
}

impl Membership {
    pub(super) fn of(pod: &Pod) -> Option<Box<Self>> {
        let declared = pod.spec.as_ref().and_then(|spec| spec.scheduling_group.as_ref());
        let declared = declared.and_then(|group| group.pod_group_name.as_deref());
        let annotation = |key: &str| {
            let value = pod.metadata.annotations.as_ref()?.get(key)?;
            Some(value.as_str()).filter(|value| !value.is_empty())
        };
        let annotated = annotation(GROUP);
        if declared.is_none() && annotated.is_none() {
            return None;
        }
        let count = annotation(MIN_COUNT).and_then(|count| count.parse().ok()).filter(|count| *count > 0);
        Some(Box::new(Self {
            declared: declared.map(Into::into),
            annotated: annotated.map(Into::into),
            count,
        }))
    }
}

impl Policy {
    pub(super) fn of(group: &PodGroup) -> Self {
        match &group.spec.scheduling_policy.gang {
            None => Self::Basic,
            Some(gang) => Self::Gang(usize::try_from(gang.min_count).unwrap_or(0).max(1)),
        }
    }
}

impl Groups {
    /// Heeds PodGroups, or takes pods that name one for pods of no group.
    pub(super) fn heed_declared(&mut self, heeds: bool) {
        self.heeds_declared = heeds;
    }

    /// Takes in how the pods of a PodGroup are placed, and whether it is said that they were; nothing where it is
    /// gone. Gives whether it is placed otherwise than before.
    pub(super) fn set_policy(&mut self, key: &ObjectKey, policy: Option<(Policy, bool)>) -> bool {
        match policy {
            Some((_, false)) => self.untold.insert(key.clone()),
            Some((_, true)) | None => self.untold.remove(key),
        };
        let policy = policy.map(|(policy, _)| policy);
        let old = match policy {
            Some(policy) => self.policies.insert(key.clone(), policy),
            None => self.policies.remove(key),
        };
        old != policy
    }

    /// Notes that it is told now of a PodGroup that its pods were placed.
    pub(super) fn tell(&mut self, id: &GroupId) {
        self.untold.remove(&id.key);
    }

    /// Whether it is to be said of a PodGroup that its pods were placed.
    pub(super) fn is_to_be_told(&self, id: &GroupId) -> bool {
        let Standing { minimum, placed, .. } = self.standing(id);
        id.is_declared && self.untold.contains(&id.key) && minimum.is_ok_and(|minimum| placed >= minimum)
    }

    /// Notes that a pod waits for a node. Gives the group that it was of, if it is of another one now: that one may
    /// need fewer.
    pub(super) fn wait(&mut self, pod: &PodInfo) -> Option<GroupId> {
        let uid = &pod.id.uid;
        let before = self.of(uid).cloned();
        match self.meant(pod.namespace(), pod.member.as_deref()) {
            Some((id, count)) => drop(self.enter(uid, id, count).waiting.insert(uid.clone())),
            None => drop(self.leave(uid)),
        }
        before.filter(|before| self.of(uid) != Some(before))
    }

    /// Notes that a pod is on a node. Gives its group, if that is news to it.
    pub(super) fn place(
        &mut self,
        uid: &Uid,
        namespace: &str,
        member: Option<&Membership>,
    ) -> Option<GroupId> {
        let Some(meant) = self.meant(namespace, member) else { return self.leave(uid) };
        if self.of.get(uid) == Some(&meant) {
            return self.assume(uid).then_some(meant.0);
        }
        let (id, count) = meant;
        self.enter(uid, id.clone(), count).placed.insert(uid.clone());
        Some(id)
    }

    /// Notes that a pod that waited is given a node; whether it waited.
    pub(super) fn assume(&mut self, uid: &Uid) -> bool {
        let group = self.of.get(uid).and_then(|(id, _)| self.groups.get_mut(id));
        group.is_some_and(|group| group.waiting.remove(uid) && group.placed.insert(uid.clone()))
    }

    /// Forgets a pod; gives the group that it was of.
    pub(super) fn leave(&mut self, uid: &Uid) -> Option<GroupId> {
        let (id, count) = self.of.remove(uid)?;
        let group = self.groups.get_mut(&id)?;
        group.waiting.remove(uid);
        group.placed.remove(uid);
        if let Some(count) = count
            && let Some(number) = group.counts.get_mut(&count)
        {
            *number -= 1;
            if *number == 0 {
                group.counts.remove(&count);
            }
        }
        if group.waiting.is_empty() && group.placed.is_empty() {
            self.groups.remove(&id);
        }
        Some(id)
    }

    /// The group of a pod, if it is of one that is heeded.
    pub(super) fn of(&self, uid: &Uid) -> Option<&GroupId> {
        self.of.get(uid).map(|(id, _)| id)
    }

    /// Whether there are pods of any.
    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// The pods of a group that wait for a node.
    pub(super) fn waiting(&self, id: &GroupId) -> Vec<Uid> {
        self.groups.get(id).map(|group| group.waiting.iter().cloned().collect()).unwrap_or_default()
    }

    /// How a group is.
    pub(super) fn standing(&self, id: &GroupId) -> Standing {
        let group = self.groups.get(id);
        let minimum = match (id.is_declared, self.policies.get(&id.key)) {
            (true, None) => Err(Lack::PodGroup(id.key.name.clone())),
            (true, Some(Policy::Basic)) => Ok(1),
            (true, Some(Policy::Gang(count))) => Ok(*count),
            // Who says the most is waited for by all.
            (false, _) => group
                .and_then(|group| group.counts.last_key_value())
                .map(|(count, _)| *count as usize)
                .ok_or(Lack::Count),
        };
        let placed = group.map_or(0, |group| group.placed.len());
        Standing { minimum, placed, waiting: group.map_or(0, |group| group.waiting.len()) }
    }

    /// The group that is meant by what a pod says, and the number.
    fn meant(&self, namespace: &str, member: Option<&Membership>) -> Option<(GroupId, Option<u32>)> {
        let member = member?;
        let id = |name: &str, is_declared| GroupId { key: ObjectKey::new(namespace, name), is_declared };
        match &member.declared {
            Some(name) if self.heeds_declared => Some((id(name, true), None)),
            _ => member.annotated.as_deref().map(|name| (id(name, false), member.count)),
        }
    }

    /// The group, with a pod that is in neither of its sets yet.
    fn enter(&mut self, uid: &Uid, id: GroupId, count: Option<u32>) -> &mut Group {
        self.leave(uid);
        self.of.insert(uid.clone(), (id.clone(), count));
        let group = self.groups.entry(id).or_default();
        if let Some(count) = count {
            *group.counts.entry(count).or_default() += 1;
        }
        group
    }
}

impl Standing {
    /// How many have to be placed together, if there are enough that could be.
    pub(super) fn quorum(&self) -> Result<usize, Lack> {
        let minimum = self.minimum.clone()?;
        if self.placed + self.waiting < minimum { Err(Lack::Pods) } else { Ok(minimum) }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PodGroup(name) => {
                write!(f, "waiting for pods's pod group {name:?} to appear in scheduling queue")
            }
            Self::Count => write!(
                f,
                "waiting for a pod of the group to say how many have to be scheduled together: annotation {MIN_COUNT}, \
                 a number of at least 1"
            ),
            Self::Pods => f.write_str("waiting for minCount pods from a gang to appear in scheduling queue"),
            Self::OneScheduler(one, other) => write!(
                f,
                "all pods in a single pod group should have the same .spec.schedulerName set, got: {one:?} and \
                 {other:?}"
            ),
        }
    }
}
