//! Endpoints about builds.

pub(crate) mod cancel;
pub(crate) mod connection;
mod graph;
mod options;
pub(crate) mod prune;
pub(crate) mod run;
pub(crate) mod uploads;
