//! Commands: a container that does what an operation says, and whose changes become layers.

use llb::pb::ExecOp;

use super::SolveError;
use super::schedule::{Done, Step};

/// Runs a command.
pub(crate) async fn perform(_step: &Step<'_>, _exec: &ExecOp) -> Result<Done, SolveError> {
    Err(SolveError::Unsupported("commands are not supported".to_owned()))
}
