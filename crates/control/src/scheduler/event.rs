//! What happens to objects, cut down to what matters to the scheduler.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::{Change, ObjectKey, Resource};
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{
    Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Service,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use k8s_openapi::api::scheduling::v1alpha2::PodGroup;
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass};
use model::select::LabelSelector;

use super::devices::Devices;
use super::groups::Policy;
use super::node::NodeFacts;
use super::pod::{NodeName, Owner, Sighting, Uid};
use super::volumes::Volumes;

/// Something that happened to an object.
#[derive(Debug)]
pub struct Event(pub(super) Kind);

#[derive(Debug)]
pub(super) enum Kind {
    Pod(Sighting),
    PodGone(Uid),
    Node(NodeFacts),
    NodeGone(NodeName),
    Namespace(String, BTreeMap<String, String>),
    NamespaceGone(String),
    Claim(Arc<PersistentVolumeClaim>),
    ClaimGone(ObjectKey),
    Volume(Arc<PersistentVolume>),
    VolumeGone(String),
    Storage(StorageChange),
    Devices(DeviceChange),
    /// Without a selector where there is none (any more).
    Service {
        namespace: String,
        name: String,
        selector: Option<BTreeMap<String, String>>,
    },
    /// Without a selector where it is gone.
    Owner {
        namespace: String,
        owner: Owner,
        selector: Option<LabelSelector>,
    },
    /// Nothing where it is gone.
    Budget(ObjectKey, Option<Arc<PodDisruptionBudget>>),
    /// How its pods are placed, and whether it is said that they were; nothing where it is gone.
    Group(ObjectKey, Option<(Policy, bool)>),
}

/// What happened to an object that says something of storage: gone if only its name is left.
#[derive(Debug)]
pub(super) enum StorageChange {
    Class(Arc<StorageClass>),
    ClassGone(String),
    Node(Arc<CSINode>),
    NodeGone(String),
    Driver(Arc<CSIDriver>),
    DriverGone(String),
    Capacity(Arc<CSIStorageCapacity>),
    CapacityGone(ObjectKey),
}

impl StorageChange {
    pub(super) fn apply(self, volumes: &mut Volumes) {
        match self {
            Self::Class(class) => volumes.set_class(class),
            Self::ClassGone(name) => volumes.remove_class(&name),
            Self::Node(node) => volumes.set_node(node),
            Self::NodeGone(name) => volumes.remove_node(&name),
            Self::Driver(driver) => volumes.set_driver(driver),
            Self::DriverGone(name) => volumes.remove_driver(&name),
            Self::Capacity(capacity) => volumes.set_capacity(capacity),
            Self::CapacityGone(key) => volumes.remove_capacity(&key),
        }
    }
}

/// What happened to an object that says something of devices: gone if only its name is left.
#[derive(Debug)]
pub(super) enum DeviceChange {
    Claim(Arc<ResourceClaim>),
    ClaimGone(ObjectKey),
    Class(Arc<DeviceClass>),
    ClassGone(String),
    Slice(Arc<ResourceSlice>),
    SliceGone(String),
}

impl DeviceChange {
    pub(super) fn apply(self, devices: &mut Devices) {
        match self {
            Self::Claim(claim) => devices.set_claim(claim),
            Self::ClaimGone(key) => devices.remove_claim(&key),
            Self::Class(class) => devices.set_class(class),
            Self::ClassGone(name) => devices.remove_class(&name),
            Self::Slice(slice) => devices.set_slice(slice),
            Self::SliceGone(name) => devices.remove_slice(&name),
        }
    }
}

/// An object as it is now; nothing where it is gone.
fn now<K>(change: &Change<K>) -> Option<&Arc<K>> {
    match change {
        Change::Deleted(_) => None,
        Change::Added(object) | Change::Updated { new: object, .. } => Some(object),
    }
}

fn key<K: Resource>(change: &Change<K>) -> ObjectKey {
    change.object().key()
}

impl Event {
    /// What a change of a pod means, in this order.
    pub fn of_pod(change: &Change<Pod>) -> impl Iterator<Item = Self> + use<> {
        let pod = change.object();
        // Another of the same name: the one before is gone.
        let replaced =
            change.old().filter(|old| old.uid() != pod.uid()).map(|old| Kind::PodGone(old.uid().into()));
        let kind = now(change)
            .map_or_else(|| Kind::PodGone(change.object().uid().into()), |pod| Kind::Pod(Sighting::of(pod)));
        replaced.into_iter().chain([kind]).map(Self)
    }

    /// What a change of a node means.
    pub fn of_node(change: &Change<Node>) -> Self {
        let gone = || Kind::NodeGone(change.object().name().into());
        Self(now(change).map_or_else(gone, |node| Kind::Node(NodeFacts::of(node))))
    }

    /// What a change of a namespace means.
    pub fn of_namespace(change: &Change<Namespace>) -> Self {
        let name = change.object().name().to_owned();
        Self(match now(change) {
            None => Kind::NamespaceGone(name),
            Some(namespace) => Kind::Namespace(name, namespace.metadata.labels.clone().unwrap_or_default()),
        })
    }

    /// What a change of a claim to a volume means.
    pub fn of_claim(change: &Change<PersistentVolumeClaim>) -> Self {
        Self(now(change).map_or_else(|| Kind::ClaimGone(key(change)), |claim| Kind::Claim(claim.clone())))
    }

    /// What a change of a volume means.
    pub fn of_volume(change: &Change<PersistentVolume>) -> Self {
        let gone = || Kind::VolumeGone(change.object().name().to_owned());
        Self(now(change).map_or_else(gone, |volume| Kind::Volume(volume.clone())))
    }

    /// What a change of a class of storage means.
    pub fn of_class(change: &Change<StorageClass>) -> Self {
        let gone = || StorageChange::ClassGone(change.object().name().to_owned());
        Self(Kind::Storage(now(change).map_or_else(gone, |class| StorageChange::Class(class.clone()))))
    }

    /// What a change of what a node's drivers are means.
    pub fn of_csi_node(change: &Change<CSINode>) -> Self {
        let gone = || StorageChange::NodeGone(change.object().name().to_owned());
        Self(Kind::Storage(now(change).map_or_else(gone, |node| StorageChange::Node(node.clone()))))
    }

    /// What a change of a driver means.
    pub fn of_driver(change: &Change<CSIDriver>) -> Self {
        let gone = || StorageChange::DriverGone(change.object().name().to_owned());
        Self(Kind::Storage(now(change).map_or_else(gone, |driver| StorageChange::Driver(driver.clone()))))
    }

    /// What a change of how much storage there is means.
    pub fn of_capacity(change: &Change<CSIStorageCapacity>) -> Self {
        let gone = || StorageChange::CapacityGone(key(change));
        Self(Kind::Storage(now(change).map_or_else(gone, |one| StorageChange::Capacity(one.clone()))))
    }

    /// What a change of a claim to devices means.
    pub fn of_device_claim(change: &Change<ResourceClaim>) -> Self {
        let gone = || DeviceChange::ClaimGone(key(change));
        Self(Kind::Devices(now(change).map_or_else(gone, |claim| DeviceChange::Claim(claim.clone()))))
    }

    /// What a change of a class of devices means.
    pub fn of_device_class(change: &Change<DeviceClass>) -> Self {
        let gone = || DeviceChange::ClassGone(change.object().name().to_owned());
        Self(Kind::Devices(now(change).map_or_else(gone, |class| DeviceChange::Class(class.clone()))))
    }

    /// What a change of what a driver says of its devices means.
    pub fn of_slice(change: &Change<ResourceSlice>) -> Self {
        let gone = || DeviceChange::SliceGone(change.object().name().to_owned());
        Self(Kind::Devices(now(change).map_or_else(gone, |slice| DeviceChange::Slice(slice.clone()))))
    }

    /// What a change of a service means.
    pub fn of_service(change: &Change<Service>) -> Self {
        let ObjectKey { namespace, name } = key(change);
        let selector = now(change).and_then(|service| service.spec.as_ref()?.selector.clone());
        Self(Kind::Service { namespace, name, selector })
    }

    /// What a change of a set of pods means.
    pub fn of_replica_set(change: &Change<ReplicaSet>) -> Self {
        let selector = now(change).and_then(|set| crate::selector(&set.spec.as_ref()?.selector));
        Self::of_owner("ReplicaSet", key(change), selector)
    }

    /// As [`Event::of_replica_set`].
    pub fn of_stateful_set(change: &Change<StatefulSet>) -> Self {
        let selector = now(change).and_then(|set| crate::selector(&set.spec.as_ref()?.selector));
        Self::of_owner("StatefulSet", key(change), selector)
    }

    /// As [`Event::of_replica_set`].
    pub fn of_replication_controller(change: &Change<ReplicationController>) -> Self {
        let labels = now(change).and_then(|set| set.spec.as_ref()?.selector.as_ref());
        let pairs = |labels: &BTreeMap<String, String>| {
            LabelSelector::from_labels(labels.iter().map(|(key, value)| (key.as_str(), value.as_str())))
        };
        let selector = labels.map(pairs);
        Self::of_owner("ReplicationController", key(change), selector)
    }

    fn of_owner(kind: &str, key: ObjectKey, selector: Option<LabelSelector>) -> Self {
        let owner = Owner { kind: kind.to_owned(), name: key.name };
        Self(Kind::Owner { namespace: key.namespace, owner, selector })
    }

    /// What a change of a budget of disruptions means.
    pub fn of_budget(change: &Change<PodDisruptionBudget>) -> Self {
        Self(Kind::Budget(key(change), now(change).cloned()))
    }

    /// What a change of a group of pods means.
    pub fn of_pod_group(change: &Change<PodGroup>) -> Self {
        let of_group = |group: &Arc<PodGroup>| (Policy::of(group), super::group_status::is_placed(group));
        Self(Kind::Group(key(change), now(change).map(of_group)))
    }
}
