//! How the scheduler is set up: the profiles with their plugins, and what these are told.

use std::time::Duration;

use k8s_openapi::api::core::v1::NodeAffinity;

use super::pod::NAME;
pub(super) use super::spread::DefaultConstraint;

mod read;

pub use read::ConfigurationError;

/// All that can be set of the scheduler; by default what Kubernetes' does.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// One for each name by which pods ask for it; at least one.
    pub(super) profiles: Vec<Profile>,
    /// How many nodes of a hundred are to be found that can take a pod; nothing, or 0, for as many as seem good.
    pub(super) percentage_of_nodes_to_score: Option<usize>,
    /// How long a pod waits after it was tried once; doubled each time.
    pub(super) first_back_off: Duration,
    pub(super) most_back_off: Duration,
}

/// The plugins under one name.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    pub(super) name: String,
    pub(super) percentage_of_nodes_to_score: Option<usize>,
    /// In their order.
    pub(super) filters: Vec<&'static str>,
    /// With how much their words count.
    pub(super) scores: Vec<(&'static str, i64)>,
    /// Whether pods make room for more important ones.
    pub(super) preempts: bool,
    pub(super) preemption: Preemption,
    pub(super) fit: Fit,
    /// The resources that are to be taken evenly.
    pub(super) balanced: Vec<String>,
    pub(super) spread: Spread,
    pub(super) affinity: Affinity,
    /// What the nodes of all pods have to have besides what these say.
    pub(super) added_affinity: Option<Box<NodeAffinity>>,
    /// How long it is waited for volumes.
    pub(super) bind_timeout: Duration,
}

/// How many nodes are looked at for those that could make room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preemption {
    /// Of a hundred.
    pub(super) percentage: usize,
    pub(super) at_least: usize,
}

/// What is said of resources.
#[derive(Clone, Debug)]
pub(super) struct Fit {
    /// Resources that nodes need not have.
    pub(super) ignored: Vec<String>,
    /// The same by what is before the slash in their names.
    pub(super) ignored_groups: Vec<String>,
    pub(super) strategy: Strategy,
    /// The resources that are scored, with their weights.
    pub(super) resources: Vec<(String, i64)>,
}

/// Which nodes are best as to their resources.
#[derive(Clone, Debug)]
pub(super) enum Strategy {
    Least,
    Most,
    /// By how much is taken, in percent: points of a line.
    Ratio(Vec<(i64, i64)>),
}

/// How pods are spread that say nothing of it.
#[derive(Clone, Debug)]
pub(super) struct Spread {
    pub(super) constraints: Vec<DefaultConstraint>,
    /// Whether a node counts that lacks the label of one of these.
    pub(super) lenient: bool,
}

/// What is said of who is near to whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Affinity {
    /// How much it counts that a pod which is there must have this one near.
    pub(super) hard_weight: i64,
    /// Whether what those only prefer who are there does not count for others.
    pub(super) ignores_others: bool,
}

/// The filters that there are, in their order.
pub(super) const FILTERS: [&str; 13] = [
    "NodeUnschedulable",
    "NodeName",
    "TaintToleration",
    "NodeAffinity",
    "NodePorts",
    "NodeResourcesFit",
    "VolumeRestrictions",
    "NodeVolumeLimits",
    "VolumeBinding",
    "VolumeZone",
    "PodTopologySpread",
    "InterPodAffinity",
    "DynamicResources",
];

/// The scores that there are, in their order, with their weights.
pub(super) const SCORES: [(&str, i64); 7] = [
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("NodeResourcesFit", 1),
    ("PodTopologySpread", 2),
    ("InterPodAffinity", 2),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
];

impl Default for Configuration {
    fn default() -> Self {
        Self {
            profiles: vec![Profile::default()],
            percentage_of_nodes_to_score: None,
            first_back_off: Duration::from_secs(1),
            most_back_off: Duration::from_secs(10),
        }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: NAME.to_owned(),
            percentage_of_nodes_to_score: None,
            filters: FILTERS.to_vec(),
            scores: SCORES.to_vec(),
            preempts: true,
            preemption: Preemption { percentage: 10, at_least: 100 },
            fit: Fit::default(),
            balanced: vec!["cpu".to_owned(), "memory".to_owned()],
            spread: Spread::default(),
            affinity: Affinity { hard_weight: 1, ignores_others: false },
            added_affinity: None,
            bind_timeout: Duration::from_secs(600),
        }
    }
}

impl Default for Fit {
    fn default() -> Self {
        Self {
            ignored: Vec::new(),
            ignored_groups: Vec::new(),
            strategy: Strategy::Least,
            resources: vec![("cpu".to_owned(), 1), ("memory".to_owned(), 1)],
        }
    }
}

impl Default for Spread {
    /// As many on each host, and in each zone, as on the others, more or less.
    fn default() -> Self {
        let soft =
            |key: &str, max_skew| DefaultConstraint { topology_key: key.to_owned(), max_skew, hard: false };
        Self {
            constraints: vec![soft("kubernetes.io/hostname", 3), soft("topology.kubernetes.io/zone", 5)],
            lenient: true,
        }
    }
}
