//! Handing over what a build came to.

use std::collections::BTreeMap;

use super::job::Job;
use super::reference::Outcome;
use super::SolveError;

/// Where an outcome goes, as clients say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exporter {
    /// `moby`, `image`, `docker`, `oci`, `tar`, `local`.
    pub kind: String,
    /// How: `name`, `push`, `dest`, …
    pub attributes: BTreeMap<String, String>,
    /// Which of the client's exporters it is, so that its file comes there.
    pub id: String,
}

/// Hands an outcome over; gives what clients are told of it.
pub(super) async fn export(
    _job: &Job,
    _outcome: &Outcome,
    exporter: &Exporter,
) -> Result<BTreeMap<String, String>, SolveError> {
    Err(SolveError::Unsupported(format!("exporter {:?} could not be found", exporter.kind)))
}
