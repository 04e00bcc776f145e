//! What a pod was granted.

use std::collections::BTreeMap;

use base::record::Record;
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};

use crate::pod::allocation::Allocation;

/// `pods/<uid>/resources.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct ResourcesFile {
    /// What is said of the pod as a whole.
    pod: Option<Resources>,
    containers: BTreeMap<String, Resources>,
}

impl Record for ResourcesFile {
    const KNOWN: u32 = 1;
}

/// Amounts as the API has them.
#[derive(Serialize, Deserialize)]
struct Resources {
    requests: BTreeMap<String, String>,
    limits: BTreeMap<String, String>,
}

impl From<&ResourceRequirements> for Resources {
    fn from(of: &ResourceRequirements) -> Self {
        let texts = |side: &Option<BTreeMap<String, Quantity>>| {
            side.iter().flatten().map(|(name, amount)| (name.clone(), amount.0.clone())).collect()
        };
        Self { requests: texts(&of.requests), limits: texts(&of.limits) }
    }
}

impl From<Resources> for ResourceRequirements {
    fn from(of: Resources) -> Self {
        let amounts = |side: BTreeMap<String, String>| {
            let side: BTreeMap<_, _> = side.into_iter().map(|(name, text)| (name, Quantity(text))).collect();
            (!side.is_empty()).then_some(side)
        };
        Self { requests: amounts(of.requests), limits: amounts(of.limits), claims: None }
    }
}

impl From<&Allocation> for ResourcesFile {
    fn from(of: &Allocation) -> Self {
        Self {
            pod: of.pod.as_ref().map(Into::into),
            containers: of.containers.iter().map(|(name, granted)| (name.clone(), granted.into())).collect(),
        }
    }
}

impl From<ResourcesFile> for Allocation {
    fn from(file: ResourcesFile) -> Self {
        Self {
            pod: file.pod.map(Into::into),
            containers: file.containers.into_iter().map(|(name, granted)| (name, granted.into())).collect(),
        }
    }
}
