//! What is asked about nodes: one file for each plugin, with the name that Kubernetes has for it.
//!
//! To add one: a file here, its name in the list of [its point](super::configuration), and a line in the `match`
//! of that. The order is that of Kubernetes' default profile: the first filter that refuses a node says why.

use std::borrow::Cow;

use super::configuration::{Preemption, Profile};
use super::framework::{Filter, Refusal, Score};

mod dynamic_resources;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_balanced_allocation;
mod node_resources_fit;
mod node_unschedulable;
mod node_volume_limits;
mod pod_topology_spread;
mod taint_toleration;
mod volume_binding;
mod volume_restrictions;
mod volume_zone;

pub(super) use node_affinity::matches_any;

/// The filters of a profile, in their order: at most 64.
pub(super) fn filters(profile: &Profile) -> Vec<Box<dyn Filter>> {
    profile.filters.iter().map(|name| filter(name, profile)).collect()
}

fn filter(name: &str, profile: &Profile) -> Box<dyn Filter> {
    match name {
        "NodeUnschedulable" => Box::new(node_unschedulable::NodeUnschedulable),
        "NodeName" => Box::new(node_name::NodeName),
        "TaintToleration" => Box::new(taint_toleration::TaintToleration),
        "NodeAffinity" => Box::new(node_affinity::NodeAffinity::of(profile)),
        "NodePorts" => Box::new(node_ports::NodePorts),
        "NodeResourcesFit" => Box::new(node_resources_fit::NodeResourcesFit::of(profile)),
        "VolumeRestrictions" => Box::new(volume_restrictions::VolumeRestrictions),
        "NodeVolumeLimits" => Box::new(node_volume_limits::NodeVolumeLimits),
        "VolumeBinding" => Box::new(volume_binding::VolumeBinding),
        "VolumeZone" => Box::new(volume_zone::VolumeZone),
        "PodTopologySpread" => Box::new(pod_topology_spread::PodTopologySpread::of(profile)),
        "InterPodAffinity" => Box::new(inter_pod_affinity::InterPodAffinity::of(profile)),
        "DynamicResources" => Box::new(dynamic_resources::DynamicResources),
        other => unreachable!("a profile has no filter `{other}`"),
    }
}

/// The scores of a profile, in their order, with how much their words count.
pub(super) fn scores(profile: &Profile) -> Vec<(Box<dyn Score>, i64)> {
    profile.scores.iter().map(|(name, weight)| (score(name, profile), *weight)).collect()
}

fn score(name: &str, profile: &Profile) -> Box<dyn Score> {
    match name {
        "TaintToleration" => Box::new(taint_toleration::TaintToleration),
        "NodeAffinity" => Box::new(node_affinity::NodeAffinity::of(profile)),
        "NodeResourcesFit" => Box::new(node_resources_fit::NodeResourcesFit::of(profile)),
        "PodTopologySpread" => Box::new(pod_topology_spread::PodTopologySpread::of(profile)),
        "InterPodAffinity" => Box::new(inter_pod_affinity::InterPodAffinity::of(profile)),
        "NodeResourcesBalancedAllocation" => {
            Box::new(node_resources_balanced_allocation::NodeResourcesBalancedAllocation::of(profile))
        }
        "ImageLocality" => Box::new(image_locality::ImageLocality),
        other => unreachable!("a profile has no score `{other}`"),
    }
}

/// How pods of a profile make room for more important ones, if they do.
pub(super) fn preemption(profile: &Profile) -> Option<Preemption> {
    profile.preempts.then_some(profile.preemption)
}

/// A refusal that no other pod is the cause of.
fn never_if(refused: bool, reason: impl Into<Cow<'static, str>>) -> Option<Refusal> {
    refused.then(|| Refusal::hopeless(reason))
}

/// A refusal that others are, or may be, the cause of.
fn not_now_if(refused: bool, reason: impl Into<Cow<'static, str>>) -> Option<Refusal> {
    refused.then(|| Refusal::for_now(reason))
}

#[cfg(test)]
mod tests;
