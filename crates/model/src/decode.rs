//! From a request's text to an object of its kind: types checked, unknown and duplicate fields found.

use serde_json::Value;

use crate::object::Object;
use crate::schema::Schema;

/// What decoding gave.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The object: unknown fields and nulls gone, quantities and times in canonical form.
    pub object: Object,
    /// What strict field validation objects to, such as `unknown field "spec.foo"` and
    /// `duplicate field "spec.bar"`. See [`strict_error`].
    pub problems: Vec<String>,
}

/// Why a document is no object of its kind; the wording is that of Kubernetes' decoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(
    /// Such as `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`.
    pub String,
);

/// Decodes JSON text.
pub fn slice(schema: &Schema, text: &[u8]) -> Result<Decoded, DecodeError> {
    let _ = (schema, text);
    todo!()
}

/// Decodes a document that was parsed already: YAML, or the outcome of a patch.
pub fn value(schema: &Schema, value: Value) -> Result<Decoded, DecodeError> {
    let _ = (schema, value);
    todo!()
}

/// The message of a request refused under `fieldValidation=Strict`:
/// `strict decoding error: unknown field "spec.foo", duplicate field "spec.bar"`.
pub fn strict_error(problems: &[String]) -> String {
    format!("strict decoding error: {}", problems.join(", "))
}
