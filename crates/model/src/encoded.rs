//! Objects as text that is shared: one buffer for all who hold an object.

mod scan;

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::object::{Object, ObjectError};

/// The JSON text of an object at one revision.
///
/// The text is the one that is stored, of which there is one buffer in a process. It does not say the
/// revision, which is not known before it is stored: the field is put in where the text is written out or
/// read. Cloning counts a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    text: Bytes,
    revision: u64,
    /// Where in the text the field goes; 0 where it is there already.
    place: u32,
}

/// The beginning of the metadata.
const METADATA: &[u8] = b"\"metadata\":{";
const FIELD: &[u8] = b"\"resourceVersion\":\"";

impl Encoded {
    /// What [`Encoded::encode`] gave for an object, stored at `revision`.
    pub fn stored(text: Bytes, revision: u64) -> Self {
        // Kind and apiVersion, which come before, are plain words: the first match is the field itself.
        let place = text.windows(METADATA.len()).position(|part| part == METADATA);
        let place = place.and_then(|at| u32::try_from(at + METADATA.len()).ok()).unwrap_or(0);
        Self { text, revision, place }
    }

    /// The text of an object that says its revision itself, as a server sent it.
    pub fn sent(text: Bytes, revision: u64) -> Self {
        Self { text, revision, place: 0 }
    }

    /// The text to store for `object`: kind, apiVersion and metadata come first, so that the revision can
    /// be put in without parsing; it is not in it.
    pub fn encode(object: &Object) -> Bytes {
        let fields = object.fields();
        let mut text = Vec::with_capacity(1024);
        text.push(b'{');
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
        // It is kept for long, and everybody shares it.
        text.shrink_to_fit();
        Bytes::from(text)
    }

    /// The revision at which it was written.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What is stored as if written at another revision: what a watcher is told of a deletion.
    #[must_use]
    pub fn at(&self, revision: u64) -> Self {
        Self { revision, ..self.clone() }
    }

    /// The text as it is held.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// How long the whole text is.
    pub fn len(&self) -> usize {
        if self.place == 0 {
            return self.text.len();
        }
        let digits = self.revision.checked_ilog10().unwrap_or(0) as usize + 1;
        self.text.len() + FIELD.len() + digits + 1 + usize::from(self.has_more_metadata())
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Writes the whole text, revision included.
    pub fn write_to(&self, out: &mut impl BufMut) {
        if self.place == 0 {
            out.put_slice(&self.text);
            return;
        }
        let (before, after) = self.text.split_at(self.place as usize);
        out.put_slice(before);
        out.put_slice(FIELD);
        let (mut digits, mut rest, mut at) = ([0; 20], self.revision, 20);
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        out.put_slice(&digits[at..]);
        out.put_u8(b'"');
        if self.has_more_metadata() {
            out.put_u8(b',');
        }
        out.put_slice(after);
    }

    /// The whole text, a copy.
    pub fn to_bytes(&self) -> Bytes {
        if self.place == 0 {
            return self.text.clone();
        }
        let mut bytes = BytesMut::with_capacity(self.len());
        self.write_to(&mut bytes);
        bytes.freeze()
    }

    /// The object. Parsed anew at each call.
    pub fn object(&self) -> Result<Object, ObjectError> {
        Object::from_encoded(self.to_bytes())
    }

    /// What a type reads of the object. Parsed anew at each call.
    pub fn read<K: DeserializeOwned>(&self) -> Result<K, serde_json::Error> {
        serde_json::from_slice(&self.to_bytes())
    }

    /// As [`Encoded::read`], of the object without `metadata.managedFields`, which may be the larger part of it, where
    /// the text is as it is stored.
    pub fn read_unmanaged<K: DeserializeOwned>(&self) -> Result<K, serde_json::Error> {
        let Some(managers) = self.managers() else { return self.read() };
        let mut text = Vec::with_capacity(self.text.len() - managers.len());
        text.extend_from_slice(&self.text[..managers.start]);
        text.extend_from_slice(&self.text[managers.end..]);
        let rest = Self { text: Bytes::from(text), ..*self };
        rest.read()
    }

    /// Where in the text `managedFields` is, with the comma that parts it from another field.
    fn managers(&self) -> Option<Range<usize>> {
        let begin = Some(self.place as usize).filter(|begin| *begin > 0)?;
        let found = scan::field(&self.text, begin, b"managedFields")?;
        if self.text.get(found.end) == Some(&b',') {
            return Some(found.start..found.end + 1);
        }
        let after_comma = found.start > begin && self.text[found.start - 1] == b',';
        Some(found.start - usize::from(after_comma)..found.end)
    }

    fn has_more_metadata(&self) -> bool {
        self.text.get(self.place as usize).is_some_and(|byte| *byte != b'}')
    }
}

fn write_field(text: &mut Vec<u8>, key: &str, value: &Value) {
    serde_json::to_writer(&mut *text, key).expect("writing to memory never fails");
    text.push(b':');
    serde_json::to_writer(&mut *text, value).expect("a JSON value always has a text");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(object: Value, revision: u64, expected: &str) {
        let text = Encoded::encode(&Object::from_value(object).expect("an object"));
        let encoded = Encoded::stored(text.clone(), revision);
        let whole = encoded.to_bytes();
        assert_eq!(std::str::from_utf8(&whole).expect("text"), expected);
        assert_eq!((encoded.len(), encoded.revision()), (expected.len(), revision));
        assert_eq!(encoded.text().as_ptr(), text.as_ptr(), "there is one buffer");
        assert_eq!(encoded.object().expect("an object").revision(), Some(revision));
        let later = encoded.at(1234);
        let expected = expected.replace(&format!("\"{revision}\""), "\"1234\"");
        assert_eq!(std::str::from_utf8(&later.to_bytes()).expect("text"), expected);
        // What a server sent is taken as it is.
        let sent = Encoded::sent(whole.clone(), revision);
        assert_eq!((sent.to_bytes(), sent.len()), (whole.clone(), whole.len()));
    }

    #[test]
    fn the_revision_is_put_into_the_text_whatever_the_order_of_the_fields_was() {
        for revision in [0, 7, 10, 99, 100, u64::MAX] {
            check(
                json!({"metadata": {"name": "a", "resourceVersion": "3"}, "apiVersion": "v1", "kind": "Pod", "spec": {}}),
                revision,
                &format!(
                    r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"resourceVersion":"{revision}","name":"a"}},"spec":{{}}}}"#
                ),
            );
            check(
                json!({"kind": "Pod", "apiVersion": "v1", "metadata": {}}),
                revision,
                &format!(
                    r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"resourceVersion":"{revision}"}}}}"#
                ),
            );
        }
    }

    #[test]
    fn managers_are_left_out_of_what_is_read_and_nothing_else_is() {
        let managers = json!([{"manager": "a\"]}", "fieldsV1": {"f:spec": {"k:{\"n\":\"]\"}": {}}}}]);
        let spec = json!({"managedFields": [1], "metadata": {"managedFields": [2]}, "text": "\"managedFields\":[3]"});
        for metadata in [
            json!({"managedFields": managers}),
            json!({"name": "a", "managedFields": managers}),
            json!({"managedFields": managers, "name": "a"}),
            json!({"labels": {"managedFields": "x", "\\": "{"}, "n": -1.5e3, "managedFields": managers, "b": [true, null]}),
            json!({"name": "a"}),
            json!({}),
        ] {
            let object = json!({"kind": "A", "apiVersion": "b", "metadata": metadata, "spec": spec});
            let text = Encoded::encode(&Object::from_value(object).expect("an object"));
            let encoded = Encoded::stored(text, 7);
            let mut expected: Value = encoded.read().expect("it is read");
            expected["metadata"].as_object_mut().expect("metadata").shift_remove("managedFields");
            assert_eq!(encoded.read_unmanaged::<Value>().expect("it is read"), expected, "{metadata}");
            // What a server sent is read as it is.
            let sent = Encoded::sent(encoded.to_bytes(), 7);
            assert_eq!(
                sent.read_unmanaged::<Value>().expect("it is read"),
                sent.read::<Value>().expect("it is read")
            );
        }
        for broken in [
            "{\"kind\":\"A\",\"metadata\":{\"a",
            "{\"metadata\":{\"managedFields\":[",
            "{\"metadata\":{\"a\":1",
            "{\"metadata\":{x",
        ] {
            let encoded = Encoded::stored(Bytes::from_static(broken.as_bytes()), 7);
            assert!(encoded.read_unmanaged::<Value>().is_err(), "{broken}");
        }
    }

    #[test]
    fn a_text_that_is_no_object_is_given_as_it_is() {
        let broken = Encoded::stored(Bytes::from_static(b"{\"kind\":"), 7);
        assert_eq!(
            (broken.to_bytes(), broken.at(8).to_bytes()),
            (broken.text().clone(), broken.text().clone())
        );
        assert!(broken.object().is_err());
    }
}
