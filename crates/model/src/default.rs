//! What Kubernetes fills in where a request leaves a field out.
//!
//! Here are the words in which that is said; what is said of a kind stands with it.

use std::sync::Arc;

use serde_json::{Map, Value};

pub use crate::structural::TooMuch;

/// The fields of an object, or of an object inside one.
pub type Fields = Map<String, Value>;

/// What fills in the defaults of one kind. Applying it twice changes nothing, and what it fills in
/// depends on nothing but the object: it is applied to what was stored by an earlier version, too.
pub type Defaults = Arc<dyn Fn(&mut Fields) -> Result<(), TooMuch> + Send + Sync>;

/// Sets a field that is absent, null, the empty text or 0: Go's zero values, which Kubernetes cannot
/// tell from absent in fields that are no pointers.
pub fn unset(fields: &mut Fields, name: &str, value: impl Into<Value>) {
    if is_zero(fields.get(name)) {
        fields.insert(name.to_owned(), value.into());
    }
}

/// Sets a field that is absent or null: for fields where an explicit zero counts.
pub fn missing(fields: &mut Fields, name: &str, value: impl Into<Value>) {
    if fields.get(name).is_none_or(Value::is_null) {
        fields.insert(name.to_owned(), value.into());
    }
}

/// An object inside, made where there is none.
pub fn inside<'a>(fields: &'a mut Fields, name: &str) -> &'a mut Fields {
    let entry = fields.entry(name).or_insert(Value::Null);
    if !entry.is_object() {
        *entry = Value::Object(Fields::new());
    }
    entry.as_object_mut().expect("just made sure that it is an object")
}

/// An object inside, if there is one.
pub fn existing<'a>(fields: &'a mut Fields, name: &str) -> Option<&'a mut Fields> {
    fields.get_mut(name)?.as_object_mut()
}

/// The objects of a list inside.
pub fn each<'a>(fields: &'a mut Fields, name: &str) -> impl Iterator<Item = &'a mut Fields> {
    fields.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// The text in a field, nothing where there is none.
pub fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a field is absent or has its type's zero value.
pub fn is_zero(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        _ => false,
    }
}
