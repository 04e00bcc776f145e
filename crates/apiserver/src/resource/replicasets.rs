//! ReplicaSets.

use super::Resource;
use super::deployments::Workload;

pub(super) fn resource() -> Resource {
    Resource::builtin("apps", "v1", "ReplicaSet", "replicasets")
        .short(&["rs"])
        .category("all")
        .status()
        .scale()
        .strategy(Workload)
}
