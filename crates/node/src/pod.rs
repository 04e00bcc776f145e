//! Pods: from the API's object to a sandbox and containers of the engine, and back to a status.

pub mod back_off;
pub mod container_spec;
pub mod downward;
pub mod env;
pub mod expand;
pub mod plan;
pub mod resources;
pub mod sandbox_spec;
pub mod status;
pub mod subpath;
pub mod volumes;
