//! Docker's documents to the engine's types and back, with Docker's checks on the way.
//!
//! Nothing here asks the engine for more than what a document names; everything else is pure.

pub(crate) mod create;
pub(crate) mod endpoint;
pub(crate) mod event;
pub(crate) mod health;
pub(crate) mod host_config;
pub(crate) mod image;
pub(crate) mod inspect;
pub(crate) mod keys;
mod links;
pub(crate) mod logging;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod network;
pub(crate) mod older;
pub(crate) mod ports;
pub(crate) mod prune;
pub(crate) mod refuse;
pub(crate) mod resources;
pub(crate) mod restart;
pub(crate) mod security;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod summary;
pub(crate) mod volume;
