//! Which objects a request or a controller means: by labels, by fields.

pub mod field;
pub mod label;

pub use field::{Condition, FieldSelector, Selectable, SelectedFields};
pub use label::{LabelSelector, Requirement};

/// Why a selector could not be read; the wording is Kubernetes'.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(
    /// What is wrong.
    pub String,
);
