//! JSON Patch, RFC 6902.

use serde_json::Value;

/// Why a patch could not be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonPatchError {
    /// The patch itself is malformed: a bad request.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the document, or a test failed: the request cannot be processed (422).
    #[error("{0}")]
    Failed(String),
}

/// Applies the operations in order; if one fails, nothing is changed.
pub fn apply(document: &Value, patch: &Value) -> Result<Value, JsonPatchError> {
    let _ = (document, patch);
    todo!()
}
