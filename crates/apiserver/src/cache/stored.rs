//! One object as it is kept in memory: its bytes, and what selectors look at.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use model::Object;
use serde_json::{Map, Value};

/// An object at one revision.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The revision at which it was written; its `resourceVersion`.
    pub(crate) revision: u64,
    /// `NAMESPACE/NAME` or `NAME`.
    pub(crate) name: Arc<str>,
    bytes: Bytes,
    selectable: OnceLock<Object>,
}

impl Stored {
    /// From a value in the store, which has no `resourceVersion`.
    pub(crate) fn new(name: Arc<str>, revision: u64, value: &[u8]) -> Self {
        Self { revision, name, bytes: with_revision(value, revision), selectable: OnceLock::new() }
    }

    /// The JSON text, `resourceVersion` included.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The object. Parsed anew at each call: only its bytes are kept.
    ///
    /// What is in the store was written by this program; a value that cannot be read all the same
    /// comes back as an empty object, so that one bad object never fails a list.
    pub(crate) fn object(&self) -> Object {
        Object::from_encoded(self.bytes.clone()).unwrap_or_else(|error| self.damaged(&error))
    }

    /// What selectors look at: labels and scalar fields, without the bulk. Made the first time.
    pub(crate) fn selectable(&self) -> &Object {
        self.selectable
            .get_or_init(|| super::selectable::read(&self.bytes).unwrap_or_else(|error| self.damaged(&error)))
    }

    /// The same object as if written at `revision`: what a watcher is told of a deletion.
    pub(crate) fn at(&self, revision: u64) -> Self {
        let old = format!("\"resourceVersion\":\"{}\"", self.revision);
        let new = format!("\"resourceVersion\":\"{revision}\"");
        // The field is the first of the metadata, put there by `with_revision`.
        let bytes = match find(&self.bytes, old.as_bytes()) {
            Some(at) => {
                let mut bytes = BytesMut::with_capacity(self.bytes.len() + new.len());
                bytes.extend_from_slice(&self.bytes[..at]);
                bytes.extend_from_slice(new.as_bytes());
                bytes.extend_from_slice(&self.bytes[at + old.len()..]);
                bytes.freeze()
            }
            None => self.bytes.clone(),
        };
        Self { revision, name: self.name.clone(), bytes, selectable: OnceLock::new() }
    }

    fn damaged(&self, error: &(dyn std::error::Error + 'static)) -> Object {
        tracing::error!(name = %self.name, error = %base::error::chain(error), "stored object is damaged");
        Object::from_fields(Map::new())
    }
}

/// The text that is stored for `object`: kind, apiVersion and metadata first, without
/// `resourceVersion`, so that the revision can be put in without parsing.
pub(crate) fn encode(object: &Object) -> Bytes {
    let fields = object.fields();
    let mut text = Vec::with_capacity(1024);
    text.extend_from_slice(b"{");
    for key in ["kind", "apiVersion"] {
        write_field(&mut text, key, fields.get(key).unwrap_or(&Value::Null));
        text.push(b',');
    }
    text.extend_from_slice(METADATA);
    let mut first = true;
    if let Some(metadata) = fields.get("metadata").and_then(Value::as_object) {
        for (key, value) in metadata.iter().filter(|(k, _)| *k != "resourceVersion") {
            if !std::mem::take(&mut first) {
                text.push(b',');
            }
            write_field(&mut text, key, value);
        }
    }
    text.push(b'}');
    for (key, value) in
        fields.iter().filter(|(k, _)| !matches!(k.as_str(), "kind" | "apiVersion" | "metadata"))
    {
        text.push(b',');
        write_field(&mut text, key, value);
    }
    text.push(b'}');
    Bytes::from(text)
}

const METADATA: &[u8] = b"\"metadata\":{";

fn write_field(text: &mut Vec<u8>, key: &str, value: &Value) {
    serde_json::to_writer(&mut *text, key).expect("writing to memory never fails");
    text.push(b':');
    serde_json::to_writer(&mut *text, value).expect("a JSON value always has a text");
}

fn with_revision(value: &[u8], revision: u64) -> Bytes {
    // Kind and apiVersion, which come before, are plain words: the first match is the field itself.
    let Some(at) = find(value, METADATA).map(|at| at + METADATA.len()) else {
        return Bytes::copy_from_slice(value);
    };
    let mut bytes = BytesMut::with_capacity(value.len() + 48);
    bytes.extend_from_slice(&value[..at]);
    bytes.extend_from_slice(format!("\"resourceVersion\":\"{revision}\"").as_bytes());
    if value.get(at).is_some_and(|b| *b != b'}') {
        bytes.extend_from_slice(b",");
    }
    bytes.extend_from_slice(&value[at..]);
    bytes.freeze()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|w| w == part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(object: Value, expected: &str) {
        let encoded = encode(&Object::from_value(object).expect("an object"));
        let stored = Stored::new("a".into(), 7, &encoded);
        assert_eq!(std::str::from_utf8(stored.bytes()).expect("text"), expected);
        let later = stored.at(12);
        assert_eq!(std::str::from_utf8(later.bytes()).expect("text"), expected.replace("\"7\"", "\"12\""));
    }

    #[test]
    fn the_revision_is_put_into_the_text_whatever_the_order_of_the_fields_was() {
        check(
            json!({"metadata": {"name": "a", "resourceVersion": "3"}, "apiVersion": "v1", "kind": "Pod", "spec": {}}),
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7","name":"a"},"spec":{}}"#,
        );
        check(
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {}}),
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7"}}"#,
        );
    }
}
