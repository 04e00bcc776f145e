//! Doors for the fuzzer to what reads bytes of clients. Nobody else has any use for them.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;

use crate::identity::Identity;
use crate::pki::TokenKeys;

/// The document in a body of protobuf.
pub fn protobuf(body: &[u8]) -> Option<Value> {
    crate::protobuf::document(body).ok()
}

/// A document as a body of protobuf, where its kind has that form.
pub fn as_protobuf(document: &Value) -> Option<Vec<u8>> {
    crate::protobuf::encode::document(document)
}

/// Who the first certificate in PEM stands for.
pub fn identity(pem: &[u8]) -> Option<Identity> {
    crate::authentication::certificate::identity(&CertificateDer::from_pem_slice(pem).ok()?)
}

/// Whether one of the keys has signed a token.
pub fn is_signed(keys: &TokenKeys, token: &str) -> bool {
    keys.verify(token).is_ok()
}

/// Identifier and secret of what has the form of a bootstrap token.
pub fn bootstrap_token(token: &str) -> Option<(&str, &str)> {
    crate::authentication::bootstrap::parts(token)
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
