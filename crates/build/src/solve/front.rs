//! Front ends: from a request to definitions.

use std::collections::BTreeMap;

use super::job::Job;
use super::reference::Outcome;
use super::SolveError;

/// Runs the front end `name`.
pub(super) async fn run(
    _job: &Job,
    name: &str,
    _options: BTreeMap<String, String>,
    _inputs: BTreeMap<String, llb::Definition>,
) -> Result<Outcome, SolveError> {
    Err(SolveError::Unsupported(format!("frontend {name} is not supported")))
}
