//! What a node's agent does, told and asked by the real API server.

#[path = "agent/cluster.rs"]
mod cluster;
#[path = "agent/ending.rs"]
mod ending;
#[path = "agent/lease.rs"]
mod lease;
