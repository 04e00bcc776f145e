//! Doors for the fuzzer to what reads bytes of clients. Nobody else has any use for them.

use serde_json::Value;

/// The document in a body of protobuf.
pub fn protobuf(body: &[u8]) -> Option<Value> {
    crate::protobuf::document(body).ok()
}

/// A document as a body of protobuf, where its kind has that form.
pub fn as_protobuf(document: &Value) -> Option<Vec<u8>> {
    crate::protobuf::encode::document(document)
}

/// The document in a body of YAML.
pub fn yaml(body: &[u8]) -> Option<Value> {
    crate::decode::yaml_value(body)
}

/// What a SPDY session reads of what a client sends, if it comes in pieces of `size` bytes: as text, and why
/// it ended where it did.
pub fn spdy(sent: &[u8], size: usize) -> (Vec<String>, Option<String>) {
    crate::stream::fuzz_spdy(sent, size)
}
