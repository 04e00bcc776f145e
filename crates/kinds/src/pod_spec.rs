//! What pods and the templates of pods in other kinds have in common: their defaults, their rules, and what to warn of.

pub(crate) mod affinity;
pub(crate) mod container;
pub(crate) mod defaults;
mod environment;
pub(crate) mod gates;
mod mounts;
pub(crate) mod probe;
mod reference;
pub(crate) mod resources;
pub(crate) mod rules;
pub(crate) mod security;
pub(crate) mod volume;
pub(crate) mod warnings;
