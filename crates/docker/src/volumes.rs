//! Endpoints about volumes.

pub(crate) mod create;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod prune;
pub(crate) mod remove;
pub(crate) mod update;
