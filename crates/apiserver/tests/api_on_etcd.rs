//! The API once more, over etcd: there are two servers, and each request goes to one of them in turn.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "the test's modules share the server among themselves")]
#![allow(dead_code, reason = "what the other target needs besides")]

/// The store is elsewhere.
const ON_ETCD: bool = true;

#[path = "api/access.rs"]
mod access;
#[path = "api/admission.rs"]
mod admission;
#[path = "api/apply.rs"]
mod apply;
#[path = "api/changing_definitions.rs"]
mod changing_definitions;
#[path = "api/cluster.rs"]
mod cluster;
#[path = "api/definitions.rs"]
mod definitions;
#[path = "api/nodes.rs"]
mod nodes;
#[path = "api/services.rs"]
mod services;
#[path = "api/verbs.rs"]
mod verbs;
#[path = "api/versions.rs"]
mod versions;
#[path = "api/watch.rs"]
mod watch;
