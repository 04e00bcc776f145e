//! What kinds and what is asked of every write do together, as the server serves them.
#![forbid(unsafe_code)]

#[path = "served/bounds.rs"]
mod bounds;
#[path = "served/cluster.rs"]
mod cluster;
#[path = "served/disruption.rs"]
mod disruption;
#[path = "served/kinds.rs"]
mod kinds_served;
#[path = "served/pod_groups.rs"]
mod pod_groups;
#[path = "served/resize.rs"]
mod resize;
