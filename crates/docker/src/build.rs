//! Endpoints about builds.

pub(crate) mod cancel;
mod options;
pub(crate) mod prune;
pub(crate) mod run;
