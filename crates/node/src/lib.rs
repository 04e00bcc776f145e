//! Node agent: pods to engine, services to net, probes, status.
#![forbid(unsafe_code)]

pub mod labels;
pub mod pod;
pub mod probe;
pub mod services;
