//! Git repositories.

use std::collections::BTreeMap;

use crate::solve::SolveError;
use crate::solve::schedule::{Done, Step};

/// The source `git://`.
pub(crate) async fn perform(
    _step: &Step<'_>,
    _name: &str,
    _attributes: &BTreeMap<String, String>,
) -> Result<Done, SolveError> {
    Err(SolveError::Unsupported("the source git:// is not supported".to_owned()))
}
