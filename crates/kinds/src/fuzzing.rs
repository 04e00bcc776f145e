//! Doors for the fuzzer to what reads bytes of others. Nobody else has any use for them.

use serde_json::Value;

/// What a webhook of admission says by an answer to the question `uid`: how many bytes of it are told on, and the patch.
pub fn admission_answer(text: &[u8], uid: &str, mutating: bool) -> Option<(usize, Option<Value>)> {
    crate::admission::answer(text, uid, mutating)
}

/// How many objects a webhook of conversion gives by an answer to the question `uid`.
pub fn conversion_answer(text: &[u8], uid: &str) -> Option<usize> {
    crate::webhook_configuration::conversion::answer(text, uid)
}
