//! Kinds whose objects say what is wanted and, mostly, how that fares.

use apiserver::{Admitting, Context, Strategy, at_once};
use model::Object;
use serde_json::json;

/// What of metadata is not for those who write a status, besides what only the server decides.
pub(crate) const KEEPS_METADATA: &[&[&str]] = &[
    &["spec"],
    &["metadata", "labels"],
    &["metadata", "annotations"],
    &["metadata", "finalizers"],
    &["metadata", "ownerReferences"],
];

/// A strategy of which no more is to be said.
#[derive(Default)]
pub(crate) struct SpecAndStatus {
    counts_generations: bool,
    has_status: bool,
    kept_by_status: Option<&'static [&'static [&'static str]]>,
}

impl SpecAndStatus {
    /// The changes of what is wanted are counted.
    pub(crate) fn counted(mut self) -> Self {
        self.counts_generations = true;
        self
    }

    /// There is a status, which begins empty.
    pub(crate) fn with_status(mut self) -> Self {
        self.has_status = true;
        self
    }

    /// Those who write the status may change nothing but that and, of metadata, what is not in this list.
    pub(crate) fn kept_by_status(mut self, kept: &'static [&'static [&'static str]]) -> Self {
        self.kept_by_status = Some(kept);
        self
    }
}

impl Strategy for SpecAndStatus {
    fn admit_create<'a>(&'a self, _: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        if self.has_status {
            object.set(&["status"], json!({}));
        }
        at_once(Ok(()))
    }

    fn counts_generations(&self) -> bool {
        self.counts_generations
    }

    fn kept_by_status(&self) -> &'static [&'static [&'static str]] {
        self.kept_by_status.unwrap_or(&[&["spec"]])
    }
}
