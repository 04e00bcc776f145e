//! What somebody made of an object that is to be written: an object of its kind again.

use apiserver::callout::LONGEST_OBJECT;
use apiserver::{Form, Resource, Write};
use model::Object;
use model::decode::Decoded;
use model::schema::Schema;
use serde_json::Value;

/// Why it is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemadeError {
    /// It is longer than what a client may send: however many add to it one after the other, it stays within that.
    #[error("the patched object has {0} bytes, more than {LONGEST_OBJECT}")]
    TooLong(usize),
    /// It is not of its kind's types.
    #[error("{0}")]
    Undecodable(String),
    /// It is of another kind.
    #[error("the patch makes a {now} of a {before}")]
    AnotherKind { now: String, before: String },
}

/// The object, with its defaults, and what its kind lacks of what was in it.
pub(super) struct Remade {
    pub(super) object: Object,
    pub(super) unknown: Vec<String>,
}

/// The schema of objects of a write that are looked at as those of a resource; none where none is known.
pub(super) fn schema_of(write: &Write<'_>, resource: &Resource, object: &Object) -> Option<Schema> {
    if is_own(write) { resource.schema.clone() } else { model::schema::builtin(&object.gvk()) }
}

fn is_own(write: &Write<'_>) -> bool {
    matches!(write.form, Form::Own | Form::Effect)
}

/// What `value` is, which somebody made of `object`, looked at as one of `resource`.
pub(super) fn remade(
    write: &Write<'_>,
    resource: &Resource,
    object: &Object,
    value: Value,
) -> Result<Remade, RemadeError> {
    check_length(&value)?;
    let undecodable = |why: String| RemadeError::Undecodable(why);
    let Decoded { object: mut made, problems: unknown } = match schema_of(write, resource, object) {
        Some(schema) => model::decode::value(&schema, value).map_err(|error| undecodable(error.0))?,
        None => {
            let object = Object::from_value(value).map_err(|error| undecodable(error.to_string()))?;
            Decoded { object, problems: Vec::new() }
        }
    };
    if made.gvk() != object.gvk() {
        let (now, before) = (made.gvk().to_string(), object.gvk().to_string());
        return Err(RemadeError::AnotherKind { now, before });
    }
    // Who manages which fields is not for it to say.
    let managed = object.get(&["metadata", "managedFields"]);
    if made.get(&["metadata", "managedFields"]) != managed {
        match managed {
            Some(managed) => made.set(&["metadata", "managedFields"], managed.clone()),
            None => drop(made.remove(&["metadata", "managedFields"])),
        }
    }
    if is_own(write) {
        resource.apply_defaults(&mut made).map_err(|why| undecodable(why.to_string()))?;
    }
    Ok(Remade { object: made, unknown })
}

fn check_length(value: &Value) -> Result<(), RemadeError> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, value).map_err(|error| RemadeError::Undecodable(error.to_string()))?;
    if length.0 > LONGEST_OBJECT { Err(RemadeError::TooLong(length.0)) } else { Ok(()) }
}

/// Counts what is written.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_one_after_the_other_adds_to_an_object_is_bounded() {
        let mut object = json!({});
        let mut added = 0;
        let refused = loop {
            let patch = json!([{"op": "add", "path": format!("/{added}"), "value": "x".repeat(1 << 20)}]);
            object = model::merge::json_patch::apply(&object, &patch).expect("it fits");
            if let Err(error) = check_length(&object) {
                break error.to_string();
            }
            added += 1;
        };
        assert_eq!(added, 2);
        assert!(refused.ends_with(&format!("more than {LONGEST_OBJECT}")), "{refused}");
    }
}
