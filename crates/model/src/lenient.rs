//! What is read of others' programs as Go reads it: a null is nothing said, and bytes may be a list of numbers.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// For a field: null is what there is where the field is left out.
///
/// # Errors
/// Those of the field's own type.
pub fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// For a field of bytes: text in base64, which may have line breaks, or a list of numbers. Null is none.
///
/// # Errors
/// It is neither.
pub fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    deserializer.deserialize_any(Bytes)
}

struct Bytes;

impl<'de> Visitor<'de> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("bytes in base64")
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<u8>, E> {
        Ok(Vec::new())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
        let clean: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
        STANDARD.decode(clean).map_err(|error| E::custom(format_args!("no base64: {error}")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = numbers.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Read {
        #[serde(deserialize_with = "super::null_is_default")]
        name: String,
        #[serde(deserialize_with = "super::bytes")]
        bytes: Vec<u8>,
    }

    #[track_caller]
    fn check(document: &Value, expected: Option<(&str, &[u8])>) {
        let read: Option<Read> = serde_json::from_value(document.clone()).ok();
        let read = read.as_ref().map(|read| (read.name.as_str(), read.bytes.as_slice()));
        assert_eq!(read, expected, "{document}");
    }

    #[test]
    fn what_go_takes_is_taken() {
        check(&json!({}), Some(("", b"")));
        check(&json!({"name": null, "bytes": null}), Some(("", b"")));
        check(&json!({"name": "a", "bytes": "aGVsbG8="}), Some(("a", b"hello")));
        check(&json!({"bytes": "aGVs\r\nbG8=\n"}), Some(("", b"hello")));
        check(&json!({"bytes": [104, 105]}), Some(("", b"hi")));
        for bad in
            [json!("?"), json!("aGVsbG8"), json!([256]), json!([-1]), json!(["a"]), json!(7), json!({})]
        {
            check(&json!({ "bytes": bad }), None);
        }
        check(&json!({"name": 7}), None);
    }
}
