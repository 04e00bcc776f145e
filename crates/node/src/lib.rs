//! Node agent: pods to a runtime, services to net, probes, status.
//!
//! [`Agent`] runs the pods that the API binds to this node: one worker per pod looks at what the
//! [`runtime`] has, asks the pure [`pod::plan`] what to do next, does it, and publishes the status that
//! [`pod::status`] makes of it. Beside them it keeps the node's own object and lease, and the
//! network's service and name tables. It knows the API by a [`client::Client`] only; whether that
//! is a call inside the process or a connection is the binary's affair.
#![forbid(unsafe_code)]

mod agent;
mod allocations;
pub mod answers;
mod config;
mod eviction;
mod files;
pub mod images;
pub mod labels;
mod local_volumes;
pub mod pod;
pub mod probe;
mod registration;
pub mod reserves;
pub mod runtime;
pub mod services;
mod state;
pub mod streams;
pub mod thresholds;
mod words;

pub use agent::Agent;
pub use config::Config;
pub use pod::sysctls::AllowedSysctls;
pub use reserves::Reserves;
pub use runtime::Machine;
pub use thresholds::Thresholds;
