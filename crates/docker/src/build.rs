//! Endpoints about builds.

mod options;
pub(crate) mod prune;
pub(crate) mod run;
