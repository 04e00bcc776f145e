//! What is asked of each write besides its own kind: one file a question.
//!
//! Each is an [`Admission`], named as Kubernetes' admission plugins are, and all are asked in their order.

mod certificate_signers;
mod certificate_subject_restriction;
mod claim_resize;
mod default_classes;
mod default_tolerations;
mod limit_ranger;
mod node_declared_features;
pub(crate) mod node_restriction;
mod pod_topology_labels;
mod priority;
mod resource_quota;
mod runtime_class;
pub(crate) mod service_account;
mod storage_protection;

use std::sync::Arc;

use apiserver::Admission;

/// All that is asked of each write, in the order in which it is asked.
pub fn admission() -> Vec<Arc<dyn Admission>> {
    vec![
        Arc::new(limit_ranger::LimitRanger),
        Arc::new(service_account::ServiceAccount),
        Arc::new(node_restriction::NodeRestriction),
        Arc::new(priority::Priority),
        Arc::new(default_tolerations::DefaultTolerationSeconds),
        Arc::new(default_classes::DefaultStorageClass),
        Arc::new(storage_protection::StorageObjectInUseProtection),
        Arc::new(claim_resize::PersistentVolumeClaimResize),
        Arc::new(runtime_class::RuntimeClass),
        Arc::new(certificate_signers::CertificateApproval),
        Arc::new(certificate_signers::CertificateSigning),
        Arc::new(certificate_subject_restriction::CertificateSubjectRestriction),
        Arc::new(default_classes::DefaultIngressClass),
        Arc::new(pod_topology_labels::PodTopologyLabels),
        Arc::new(node_declared_features::NodeDeclaredFeatureValidator),
        // Last of all, since it charges.
        Arc::new(resource_quota::ResourceQuota),
    ]
}
