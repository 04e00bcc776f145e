//! Doors for the fuzzer to what reads documents of clients. Nobody else has any use for them.

use serde_json::Value;

/// Reads a set of fields in the form `fieldsV1`, works with it, and gives it as it is written.
pub fn field_set(fields: &Value) -> Option<Value> {
    crate::merge::apply::fuzz_field_set(fields)
}
