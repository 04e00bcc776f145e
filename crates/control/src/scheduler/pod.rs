//! What the scheduler keeps of a pod: compact, since the informer holds the whole.

use std::fmt;
use std::sync::Arc;

use base::Timestamp;
use client::{ObjectKey, Resource as _};
use k8s_openapi::api::core::v1::{Container, NodeAffinity, Pod, Toleration};

use super::amounts::{Amounts, requests, scored};
use super::groups::Membership;
use super::neighbour::Neighbour;
use super::spread::Constraint;
use crate::pods;

mod disks;

pub(super) use disks::Disk;

/// The scheduler that pods name unless they name another.
pub(super) const NAME: &str = "default-scheduler";

/// A pod's uid.
pub(super) type Uid = Arc<str>;
/// A node's name.
pub(super) type NodeName = Arc<str>;

/// A pod that waits for a node: all that plugins ask about it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct PodInfo {
    pub(super) id: PodId,
    /// Whom it waits for.
    pub(super) scheduler: String,
    /// Whether others that are less important may have to go for it.
    pub(super) preempts: bool,
    /// The node where others went for it.
    pub(super) nominated: Option<NodeName>,
    /// The node that it names itself.
    pub(super) node_name: Option<NodeName>,
    pub(super) node_selector: Vec<(String, String)>,
    pub(super) node_affinity: Option<Box<NodeAffinity>>,
    pub(super) tolerations: Vec<Toleration>,
    /// How evenly it and those like it are to be spread.
    pub(super) spread: Vec<Constraint>,
    /// Who manages it.
    pub(super) owner: Option<Owner>,
    /// Its images, as nodes name them: one for each container and each volume that is an image.
    pub(super) images: Vec<String>,
    pub(super) claims: Vec<Claimed>,
    /// Whether it wants devices.
    pub(super) devices: Vec<Devices>,
    /// The groups that it is of.
    pub(super) member: Option<Box<Membership>>,
    pub(super) share: Arc<Share>,
}

/// A claim to devices that a pod refers to: its name among the pod's, and that of the object, where this is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Devices {
    pub(super) name: String,
    pub(super) claim: Option<String>,
    /// Whether it is made for this pod alone.
    pub(super) templated: bool,
}

/// A claim to a volume that a pod uses, by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Claimed {
    pub(super) name: String,
    /// Whether it is made for this pod alone.
    pub(super) ephemeral: bool,
}

/// The one who manages a pod: kind and name.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Owner {
    pub(super) kind: String,
    pub(super) name: String,
}

/// Names one pod, and no other that had or will have its name.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PodId {
    /// Namespace and name.
    pub key: ObjectKey,
    /// The uid.
    pub uid: Arc<str>,
}

/// What a pod takes of its node: all that is kept of it once it has one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Share {
    pub(super) name: Box<str>,
    pub(super) priority: i32,
    pub(super) requests: Amounts,
    /// Processors and memory that it counts for in scores.
    pub(super) scored: [i128; 2],
    pub(super) ports: Vec<HostPort>,
    /// The claims in its namespace that it uses, by name.
    pub(super) claims: Box<[Box<str>]>,
    /// The disks that it names itself.
    pub(super) disks: Box<[Disk]>,
    /// Whether it is being deleted: it takes what it took and keeps others near or away, but who spreads
    /// pods does not count it.
    pub(super) leaving: bool,
    /// What it is to other pods.
    pub(super) neighbour: Arc<Neighbour>,
}

/// How a pod that has a node fares: nothing of which decides what it takes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Standing {
    /// When its node took it up.
    pub(super) started: Option<Timestamp>,
    /// Whether it goes since a more important one came.
    pub(super) preempted: bool,
}

/// A port of the host that a pod takes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct HostPort {
    pub(super) address: String,
    pub(super) protocol: String,
    pub(super) number: i32,
}

/// A pod as it was seen, as far as it matters here.
#[derive(Debug)]
pub(super) enum Sighting {
    /// It waits for a node of a scheduler's choice.
    Waiting(Box<PodInfo>),
    /// It has a node and takes its share of it.
    Placed { uid: Uid, node: NodeName, share: Share, standing: Standing, member: Option<Box<Membership>> },
    /// It has no node, and no scheduler is to give it one: held by a gate, or being deleted.
    Idle { uid: Uid },
    /// It has ended, and takes nothing any more.
    Ended { uid: Uid },
}

impl Sighting {
    pub(super) fn of(pod: &Pod) -> Self {
        let uid: Uid = pod.uid().into();
        if pods::is_terminal(pod) {
            return Self::Ended { uid };
        }
        match node_name(pod) {
            Some(node) => Self::Placed {
                uid,
                node: node.into(),
                share: Share::of(pod),
                standing: Standing::of(pod),
                member: Membership::of(pod),
            },
            None if may_be_placed(pod) => Self::Waiting(Box::new(PodInfo::of(pod))),
            None => Self::Idle { uid },
        }
    }
}

impl PodInfo {
    pub(super) fn of(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let affinity = spec.and_then(|spec| spec.affinity.as_ref());
        let selector = spec.iter().flat_map(|spec| spec.node_selector.iter().flatten());
        let scheduler = spec.and_then(|spec| spec.scheduler_name.clone()).unwrap_or_default();
        let nominated = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
        Self {
            id: PodId { key: pod.key(), uid: pod.uid().into() },
            scheduler: if scheduler.is_empty() { NAME.to_owned() } else { scheduler },
            preempts: spec.and_then(|spec| spec.preemption_policy.as_deref()) != Some("Never"),
            nominated: nominated.filter(|name| !name.is_empty()).map(Into::into),
            node_name: node_name(pod).map(Into::into),
            node_selector: selector.map(|(key, value)| (key.clone(), value.clone())).collect(),
            node_affinity: affinity.and_then(|affinity| affinity.node_affinity.clone()).map(Box::new),
            tolerations: spec.and_then(|spec| spec.tolerations.clone()).unwrap_or_default(),
            spread: Constraint::all(pod),
            owner: pod.controller().map(|owner| Owner { kind: owner.kind.clone(), name: owner.name.clone() }),
            images: images(pod),
            claims: claims(pod),
            devices: devices(pod),
            member: Membership::of(pod),
            share: Arc::new(Share::of(pod)),
        }
    }

    pub(super) fn priority(&self) -> i32 {
        self.share.priority
    }

    pub(super) fn namespace(&self) -> &str {
        &self.id.key.namespace
    }

    /// Whether another pod that comes may make room for it, by being near or by filling up other places.
    pub(super) fn heeds_who_comes(&self) -> bool {
        !self.share.neighbour.needs.is_empty() || self.spread.iter().any(|constraint| constraint.hard)
    }
}

impl Share {
    pub(super) fn of(pod: &Pod) -> Self {
        let claims = claims(pod).into_iter().map(|claim| claim.name.into());
        Self {
            name: pod.name().into(),
            priority: pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0),
            requests: requests(pod),
            scored: scored(pod),
            ports: host_ports(pod),
            claims: claims.collect(),
            disks: Disk::all(pod),
            leaving: pod.metadata.deletion_timestamp.is_some(),
            neighbour: Arc::new(Neighbour::of(pod)),
        }
    }

    pub(super) fn namespace(&self) -> &str {
        &self.neighbour.namespace
    }

    /// Whether less of something is asked for than in another.
    pub(super) fn is_less_than(&self, other: &Self) -> bool {
        let less = |name: &str| self.requests.get(name) < other.requests.get(name);
        other.requests.iter().any(|(name, _)| less(name)) || self.ports != other.ports
    }
}

impl Standing {
    pub(super) fn of(pod: &Pod) -> Self {
        let goes = pods::condition(pod, "DisruptionTarget").is_some_and(|condition| {
            condition.status == "True" && condition.reason.as_deref() == Some("PreemptionByScheduler")
        });
        let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
        Self {
            started: started.map(|time| time.0),
            preempted: goes && pod.metadata.deletion_timestamp.is_some(),
        }
    }
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

/// Whether a pod without a node waits for a scheduler.
fn may_be_placed(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_deref()).unwrap_or_default();
    pods::is_active(pod) && gates.is_empty()
}

fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|name| !name.is_empty())
}

/// Those of its containers that run beside each other.
fn lasting(pod: &Pod) -> impl Iterator<Item = &Container> {
    let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecars = inits.filter(|init| init.restart_policy.as_deref() == Some("Always"));
    sidecars.chain(pod.spec.iter().flat_map(|spec| &spec.containers))
}

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let ports = lasting(pod).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|&number| number > 0)?;
            let address = port.host_ip.clone().filter(|ip| !ip.is_empty());
            Some(HostPort {
                address: address.unwrap_or_else(|| "0.0.0.0".to_owned()),
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                number,
            })
        })
        .collect()
}

fn images(pod: &Pod) -> Vec<String> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let of_containers = containers.map(|container| container.image.as_deref().unwrap_or_default());
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| volume.image.as_ref());
    let of_volumes = volumes.map(|image| image.reference.as_deref().unwrap_or_default());
    of_containers.chain(of_volumes).map(with_tag).collect()
}

/// The name of an image as nodes have it: with a tag.
fn with_tag(name: &str) -> String {
    if name.rfind(':') <= name.rfind('/') { format!("{name}:latest") } else { name.to_owned() }
}

fn claims(pod: &Pod) -> Vec<Claimed> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claim = volumes.filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(Claimed { name: claim.claim_name.clone(), ephemeral: false }),
        (None, Some(_)) => Some(Claimed { name: format!("{}-{}", pod.name(), volume.name), ephemeral: true }),
        (None, None) => None,
    });
    claim.collect()
}

fn devices(pod: &Pod) -> Vec<Devices> {
    let wanted = pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten());
    let made = |name: &str| {
        let statuses = pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten());
        let mut statuses = statuses.filter(|status| status.name == name);
        statuses.next()
    };
    wanted
        .filter_map(|wanted| {
            let templated = wanted.resource_claim_name.is_none();
            let made = made(&wanted.name);
            // That none had to be made is said by a status without a name.
            if templated && made.is_some_and(|status| status.resource_claim_name.is_none()) {
                return None;
            }
            let claim = wanted.resource_claim_name.clone();
            let claim = claim.or_else(|| made.and_then(|status| status.resource_claim_name.clone()));
            Some(Devices { name: wanted.name.clone(), claim, templated })
        })
        .collect()
}
