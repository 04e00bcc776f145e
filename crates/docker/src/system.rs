//! Endpoints about the daemon and its host.

pub(crate) mod auth;
pub(crate) mod disk_usage;
pub(crate) mod info;
pub(crate) mod ping;
pub(crate) mod version;
