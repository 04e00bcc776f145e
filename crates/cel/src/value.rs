//! Values: what expressions are about.
//!
//! Data stays where it is: a value that comes from JSON is a reference into it, read as what is declared about it
//! says, piece by piece as expressions ask. What an expression makes is shared. Copying a value copies a
//! reference.

mod compare;
mod depth;
mod json;
mod list;
mod map;
mod mutation;
mod text;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value as Json;

pub(crate) use compare::{compare, equal};
pub(crate) use depth::{Entries, Fields, Measured};
pub use list::List;
pub(crate) use list::contains;
pub(crate) use map::Key;
pub use map::Map;
pub use text::Text;
pub(crate) use text::{duration_text, float_text, format_value, timestamp_text};

use crate::declared::ObjectShape;
use crate::library::Other;
use crate::types::Type;

/// A value of an expression, which borrows from the data that it is about.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// A number without a sign.
    Uint(u64),
    /// A floating-point number.
    Double(f64),
    /// Text.
    String(Text<'a>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A moment.
    Timestamp(Timestamp),
    /// A span of time, in nanoseconds.
    Duration(i64),
    /// A list.
    List(List<'a>),
    /// A map.
    Map(Map<'a>),
    /// An object with fields.
    Object(Object<'a>),
    /// A value or none.
    Optional(Option<Arc<Value<'a>>>),
    /// A type.
    Type(Type),
    /// What only functions of a library know.
    Other(Other),
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// What it asks for is not there, or cannot be.
    #[error("{0}")]
    Failed(Box<str>),
    /// It costs more than it may.
    #[error("operation cancelled: actual cost limit exceeded")]
    Cancelled,
}

pub(crate) type Evaluated<'a> = Result<Value<'a>, EvalError>;

pub(crate) fn failed<T>(message: impl Into<Box<str>>) -> Result<T, EvalError> {
    Err(EvalError::Failed(message.into()))
}

pub(crate) fn no_overload<T>() -> Result<T, EvalError> {
    failed("no such overload")
}

/// An object: it has fields that are declared, unlike a map.
#[derive(Clone, Debug)]
pub enum Object<'a> {
    /// JSON, with its fields.
    #[doc(hidden)]
    Json(&'a serde_json::Map<String, Json>, &'a ObjectShape),
    /// What an expression made.
    #[doc(hidden)]
    Made(Arc<Made<'a>>),
}

/// An object that an expression made.
#[derive(Debug)]
pub struct Made<'a> {
    pub(crate) name: Arc<str>,
    /// By their names in JSON.
    pub(crate) fields: Measured<Fields<'a>>,
}

impl<'a> Value<'a> {
    /// Text of an expression's own.
    pub(crate) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::String(Text::Shared(text.into()))
    }

    /// Text that is borrowed.
    pub fn borrowed(text: &'a str) -> Self {
        Self::String(Text::Borrowed(text))
    }

    pub(crate) fn list(values: Vec<Value<'a>>) -> Self {
        Self::List(List::made(values))
    }

    pub(crate) fn some(value: Value<'a>) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// A map with text for keys.
    pub fn map_of(entries: impl IntoIterator<Item = (&'a str, Value<'a>)>) -> Self {
        Self::Map(Map::made(entries.into_iter().map(|(key, value)| (Value::borrowed(key), value))))
    }

    /// Its type, as far as the value shows it.
    pub(crate) fn ty(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::Timestamp(_) => Type::Timestamp,
            Self::Duration(_) => Type::Duration,
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Self::Object(object) => Type::Object(object.name()),
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Type(_) => Type::of(Type::Dyn),
            Self::Other(other) => other.ty(),
        }
    }

    /// How large it is as costs count it: characters, bytes, elements, entries; 1 for all else.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::String(text) => text.characters(),
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::List(list) => list.len() as u64,
            Self::Map(map) => map.len() as u64,
            Self::Object(object) => object.len() as u64,
            Self::Optional(Some(value)) => value.size(),
            Self::Other(other) => other.size(),
            _ => 1,
        }
    }

    /// Whether it is what a type has where nobody said anything: 0, `""`, nothing in it.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Int(value) => *value == 0,
            Self::Uint(value) => *value == 0,
            Self::Double(value) => *value == 0.0,
            Self::Duration(nanos) => *nanos == 0,
            Self::Timestamp(at) => *at == crate::time::zero(),
            Self::String(_) | Self::Bytes(_) | Self::List(_) | Self::Map(_) | Self::Object(_) => {
                self.size() == 0
            }
            Self::Optional(value) => value.as_ref().is_none_or(|value| value.is_zero()),
            Self::Type(_) | Self::Other(_) => false,
        }
    }

    /// Whether it is true; [`None`] if it is no truth.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The text that it is.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

impl<'a> Object<'a> {
    /// The name of its type.
    pub(crate) fn name(&self) -> Arc<str> {
        match self {
            Self::Json(_, shape) => shape.name.clone(),
            Self::Made(made) => made.name.clone(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Json(fields, _) => fields.len(),
            Self::Made(made) => made.fields.len(),
        }
    }

    /// The field of this name, as expressions say it. [`None`] if it is not set.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Value<'a>>, EvalError> {
        match self {
            Self::Json(fields, shape) => {
                let Some(field) = shape.fields.get(name) else { return Ok(None) };
                match fields.get(&*field.json) {
                    Some(value) => Value::from_json(value, Some(&field.declared)).map(Some),
                    None => Ok(None),
                }
            }
            Self::Made(made) => Ok(made.fields.get(name).cloned()),
        }
    }

    /// The field of this name in JSON. [`None`] if it is not set.
    pub(crate) fn get_json(&self, name: &str) -> Result<Option<Value<'a>>, EvalError> {
        match self {
            Self::Json(fields, shape) => match (shape.field_of_json(name), fields.get(name)) {
                (Some(field), Some(value)) => Value::from_json(value, Some(&field.declared)).map(Some),
                _ => Ok(None),
            },
            Self::Made(made) => Ok(made.fields.get(name).cloned()),
        }
    }
}

/// How much of a text errors show.
const SHOWN: usize = 256;

impl fmt::Display for Value<'_> {
    /// As errors of Kubernetes show a value; long text is cut.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => f.write_str(&shown(text)),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Uint(value) => value.fmt(f),
            Self::Double(value) => f.write_str(&float_text(*value)),
            Self::Null => f.write_str("null"),
            Self::Type(ty) => f.write_str(ty.name()),
            Self::Timestamp(at) => f.write_str(&timestamp_text(*at)),
            Self::Duration(nanos) => f.write_str(&duration_text(*nanos)),
            other => f.write_str(other.ty().name()),
        }
    }
}

/// A text as errors show it.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if text.len() <= SHOWN {
        return text.into();
    }
    let end = (0..=SHOWN).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}...", &text[..end]).into()
}
