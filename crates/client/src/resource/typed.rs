//! k8s-openapi's types as resources.

use std::borrow::Cow;

use k8s_openapi::api::{
    admissionregistration::v1 as admission, apps::v1 as apps, autoscaling::v2 as autoscaling,
    batch::v1 as batch, certificates::v1 as certificates, coordination::v1 as coordination, core::v1 as core,
    discovery::v1 as discovery, networking::v1 as networking, node::v1 as node, policy::v1 as policy,
    rbac::v1 as rbac, resource::v1 as resource, scheduling::v1 as scheduling,
    scheduling::v1alpha2 as scheduling_alpha, storage::v1 as storage,
    storagemigration::v1beta1 as storagemigration,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::{ClusterResourceScope, Metadata, NamespaceResourceScope, Resource as _};
use model::OwnerReference;

use super::{Labels, Resource, ResourceKind, Typed};

/// Whether a type's objects live in namespaces, as its scope says.
trait Scope {
    const NAMESPACED: bool;
}

impl Scope for ClusterResourceScope {
    const NAMESPACED: bool = false;
}

impl Scope for NamespaceResourceScope {
    const NAMESPACED: bool = true;
}

/// The types are listed, because no rule could tell them from [`model::Object`].
macro_rules! typed {
    ($($kind:ty,)*) => {
        $(
            impl Resource for $kind {
                fn name(&self) -> &str {
                    text(&Metadata::metadata(self).name)
                }

                fn namespace(&self) -> Option<&str> {
                    Metadata::metadata(self).namespace.as_deref().filter(|namespace| !namespace.is_empty())
                }

                fn uid(&self) -> &str {
                    text(&Metadata::metadata(self).uid)
                }

                fn resource_version(&self) -> &str {
                    text(&Metadata::metadata(self).resource_version)
                }

                fn label(&self, key: &str) -> Option<&str> {
                    Metadata::metadata(self).labels.as_ref()?.get(key).map(String::as_str)
                }

                fn labels(&self) -> Labels {
                    Metadata::metadata(self).labels.clone().unwrap_or_default()
                }

                fn owners(&self) -> Vec<OwnerReference> {
                    Metadata::metadata(self).owner_references.iter().flatten().map(owner).collect()
                }

                fn is_being_deleted(&self) -> bool {
                    Metadata::metadata(self).deletion_timestamp.is_some()
                }

                fn forget_managers(&mut self) {
                    Metadata::metadata_mut(self).managed_fields = None;
                }

                fn type_of(&self) -> (String, String) {
                    (Self::API_VERSION.to_owned(), Self::KIND.to_owned())
                }
            }

            impl Typed for $kind {
                fn resource_kind() -> ResourceKind {
                    ResourceKind {
                        group: Cow::Borrowed(Self::GROUP),
                        version: Cow::Borrowed(Self::VERSION),
                        kind: Cow::Borrowed(Self::KIND),
                        plural: Cow::Borrowed(Self::URL_PATH_SEGMENT),
                        namespaced: <<Self as k8s_openapi::Resource>::Scope as Scope>::NAMESPACED,
                    }
                }
            }
        )*
    };
}

typed! {
    core::ConfigMap,
    core::Endpoints,
    core::Event,
    core::LimitRange,
    core::Namespace,
    core::Node,
    core::PersistentVolume,
    core::PersistentVolumeClaim,
    core::Pod,
    core::PodTemplate,
    core::ReplicationController,
    core::ResourceQuota,
    core::Secret,
    core::Service,
    core::ServiceAccount,
    admission::MutatingWebhookConfiguration,
    admission::ValidatingAdmissionPolicy,
    admission::ValidatingWebhookConfiguration,
    apiextensions::CustomResourceDefinition,
    apps::ControllerRevision,
    apps::DaemonSet,
    apps::Deployment,
    apps::ReplicaSet,
    apps::StatefulSet,
    autoscaling::HorizontalPodAutoscaler,
    batch::CronJob,
    batch::Job,
    certificates::CertificateSigningRequest,
    coordination::Lease,
    discovery::EndpointSlice,
    networking::IPAddress,
    networking::Ingress,
    networking::IngressClass,
    networking::NetworkPolicy,
    networking::ServiceCIDR,
    node::RuntimeClass,
    policy::PodDisruptionBudget,
    rbac::ClusterRole,
    rbac::ClusterRoleBinding,
    rbac::Role,
    rbac::RoleBinding,
    resource::DeviceClass,
    resource::ResourceClaim,
    resource::ResourceClaimTemplate,
    resource::ResourceSlice,
    scheduling::PriorityClass,
    scheduling_alpha::PodGroup,
    storage::CSIDriver,
    storage::CSINode,
    storage::CSIStorageCapacity,
    storage::StorageClass,
    storage::VolumeAttachment,
    storagemigration::StorageVersionMigration,
}

fn text(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

fn owner(owner: &meta::OwnerReference) -> OwnerReference {
    OwnerReference {
        api_version: owner.api_version.clone(),
        kind: owner.kind.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
        controller: owner.controller,
        block_owner_deletion: owner.block_owner_deletion,
    }
}
