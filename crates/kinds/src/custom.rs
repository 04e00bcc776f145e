//! Kinds that objects define: CustomResourceDefinitions become entries of the table.
//!
//! A definition is read when it has changed ([`definition`]), and of each version that it serves an entry is made
//! ([`entry`]) that takes the same path as a built-in kind. Which names it has, and how it fares, is told in its
//! status ([`plan`]), by whichever server sees it first. The kind of the definitions themselves, with its rules,
//! is in `apiextensions/custom_resource_definition`.

mod columns;
mod convert;
pub(crate) mod definition;
mod documents;
mod entry;
pub(crate) mod plan;
mod rules;
mod serving;
pub(crate) mod validations;

use std::sync::Arc;

use apiserver::Objects;
use apiserver::definitions::DefinedBy;

pub(crate) use columns::{FORMATS as COLUMN_FORMATS, TYPES as COLUMN_TYPES};

/// The group of definitions.
pub(crate) const GROUP: &str = "apiextensions.k8s.io";
/// The plural name of definitions.
pub(crate) const PLURAL: &str = "customresourcedefinitions";
/// What keeps a definition until all objects of its kind are gone.
pub(crate) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Makes what reads the definitions of a server.
pub fn definitions() -> DefinedBy {
    Arc::new(|objects: Arc<dyn Objects>| Arc::new(serving::Custom::new(objects)))
}
