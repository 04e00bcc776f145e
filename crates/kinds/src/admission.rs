//! What is asked of each write besides its own kind: one file a question.
//!
//! Each is an [`Admission`], named as Kubernetes' admission plugins are; which of them are asked, and in which
//! order, is in [`plugins`].

mod always_deny;
mod always_pull_images;
mod certificate_signers;
mod certificate_subject_restriction;
mod claim_resize;
mod default_classes;
mod default_tolerations;
mod document;
mod extended_resource_toleration;
mod external_ips;
mod limit_ranger;
mod node_declared_features;
pub(crate) mod node_restriction;
mod owner_references;
mod plugins;
mod pod_anti_affinity;
mod pod_group;
mod pod_node_selector;
mod pod_security;
mod pod_toleration_restriction;
mod pod_topology_labels;
pub(crate) mod policies;
mod priority;
mod remade;
mod resource_quota;
mod rounds;
mod runtime_class;
pub(crate) mod service_account;
mod storage_protection;
mod taint_nodes;
mod webhooks;

use std::sync::Arc;

use apiserver::Admission;

pub use plugins::{Plugins, PluginsError, admission_of};
pub(crate) use webhooks::answer;

/// All that is asked of each write unless others are named, in the order in which it is asked.
pub fn admission() -> Vec<Arc<dyn Admission>> {
    admission_of(&Plugins::default()).expect("nothing is asked for that is not there")
}
