//! What pods and the templates of pods in other kinds have in common: their defaults, their rules, and what to warn of.

mod container;
pub(crate) mod defaults;
pub(crate) mod probe;
pub(crate) mod resources;
pub(crate) mod rules;
pub(crate) mod security;
pub(crate) mod volume;
pub(crate) mod warnings;
