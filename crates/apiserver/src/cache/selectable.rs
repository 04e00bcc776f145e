//! What selectors look at, read from an object's text without reading the rest.

use std::fmt;

use model::Object;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The parts of an object that a selector can name: scalars down to the second level, and labels.
pub(super) fn read(text: &[u8]) -> Result<Object, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let fields = Scalars { place: Place::Object }.deserialize(&mut reader)?;
    Ok(Object::from_value(fields.unwrap_or_default()).unwrap_or_else(|_| Object::from_fields(Map::new())))
}

/// Where in an object a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It is the object.
    Object,
    /// It is `metadata`.
    Metadata,
    /// It is another field of the object, or `metadata.labels`: scalars in it are kept.
    Kept,
    /// It is content, large and never selected by.
    Content,
    /// It lies deeper.
    Deep,
}

impl Place {
    fn of(self, name: &str) -> Self {
        match (self, name) {
            (Self::Object, "metadata") => Self::Metadata,
            (Self::Object, "data" | "stringData" | "binaryData") => Self::Content,
            (Self::Object, _) | (Self::Metadata, "labels") => Self::Kept,
            _ => Self::Deep,
        }
    }
}

/// Reads one value; [`None`] if it is of no use.
struct Scalars {
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Scalars {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        if self.place == Place::Content {
            return from.deserialize_ignored_any(IgnoredAny).map(|_| None);
        }
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scalars {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        if self.place == Place::Deep {
            while from.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(None);
        }
        let mut fields = Map::new();
        while let Some(name) = from.next_key::<String>()? {
            let place = self.place.of(&name);
            if let Some(value) = from.next_value_seed(Scalars { place })? {
                fields.insert(name, value);
            }
        }
        Ok(Some(Value::Object(fields)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        while from.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Some(Value::Null))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_down_to_the_second_level_and_labels_are_kept() {
        let text = r#"{"kind": "Pod", "data": {"a": "b"}, "type": "x", "list": [1, {"a": 2}],
            "metadata": {"name": "\u0061\"b", "labels": {"k": "v", "deep": {"x": 1}}, "annotations": {"k": "v"}},
            "spec": {"nodeName": "n", "containers": [{"name": "c"}], "affinity": {"a": 1}, "hostNetwork": true},
            "status": {"phase": "Running", "podIP": null, "observed": 3}}"#;
        let object = read(text.as_bytes()).expect("an object");
        let expected = json!({
            "kind": "Pod", "type": "x",
            "metadata": {"name": "a\"b", "labels": {"k": "v"}},
            "spec": {"nodeName": "n", "hostNetwork": true},
            "status": {"phase": "Running", "podIP": null, "observed": 3},
        });
        assert_eq!(*object.value(), expected);
        assert!(read(b"{\"a\": ").is_err());
    }
}
