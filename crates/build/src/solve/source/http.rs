//! Files from addresses.

use std::collections::BTreeMap;

use crate::solve::SolveError;
use crate::solve::schedule::{Done, Step};

/// The source `http://`.
pub(crate) async fn perform(
    _step: &Step<'_>,
    _name: &str,
    _attributes: &BTreeMap<String, String>,
) -> Result<Done, SolveError> {
    Err(SolveError::Unsupported("the source http:// is not supported".to_owned()))
}
