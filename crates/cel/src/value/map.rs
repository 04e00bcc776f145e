//! Maps.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{Entries, EvalError, Evaluated, Measured, Text, Value};
use crate::declared::Declared;

/// A map from keys to values.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// JSON, with what is declared about its values.
    #[doc(hidden)]
    Json(&'a serde_json::Map<String, Json>, Option<&'a Declared>),
    /// What an expression made.
    #[doc(hidden)]
    Made(Arc<Measured<Entries<'a>>>),
}

/// A key, as keys are compared: numbers by what they are, whatever their type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key<'a> {
    #[doc(hidden)]
    Bool(bool),
    #[doc(hidden)]
    Number(i128),
    #[doc(hidden)]
    Text(Text<'a>),
}

impl<'a> Key<'a> {
    /// The key that a value is. [`None`] if it can be none, or none that is in any map.
    pub(crate) fn of(value: &Value<'a>) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Int(value) => Some(Self::Number(i128::from(*value))),
            Value::Uint(value) => Some(Self::Number(i128::from(*value))),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 1e30 => {
                Some(Self::Number(*value as i128))
            }
            Value::String(text) => Some(Self::Text(text.clone())),
            _ => None,
        }
    }
}

impl<'a> Map<'a> {
    /// A map of these entries, which have keys; of several with the same, the last.
    pub(crate) fn made(entries: impl IntoIterator<Item = (Value<'a>, Value<'a>)>) -> Self {
        let entries = entries.into_iter().filter_map(|(key, value)| Some((Key::of(&key)?, (key, value))));
        Self::of(entries.collect())
    }

    /// A map of entries by their keys.
    pub(crate) fn of(entries: Entries<'a>) -> Self {
        Self::Made(Arc::new(entries.into()))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(entries, _) => entries.len(),
            Self::Made(entries) => entries.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &Value<'a>) -> Result<Option<Value<'a>>, EvalError> {
        match self {
            Self::Json(entries, declared) => match key {
                Value::String(text) => {
                    entries.get(&**text).map(|value| Value::from_json(value, *declared)).transpose()
                }
                _ => Ok(None),
            },
            Self::Made(entries) => {
                Ok(Key::of(key).and_then(|key| entries.get(&key)).map(|(_, value)| value.clone()))
            }
        }
    }

    /// The value of a text.
    pub(crate) fn field(&self, name: &str) -> Result<Option<Value<'a>>, EvalError> {
        match self {
            Self::Json(entries, declared) => {
                entries.get(name).map(|value| Value::from_json(value, *declared)).transpose()
            }
            Self::Made(entries) => {
                let key = Key::Text(Text::Borrowed(name));
                Ok(look(entries, &key).map(|(_, value)| value.clone()))
            }
        }
    }

    /// All keys, in order.
    pub(crate) fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Self::Json(entries, _) => entries.keys().map(|key| Value::borrowed(key)).collect(),
            Self::Made(entries) => entries.values().map(|(key, _)| key.clone()).collect(),
        }
    }

    /// All entries, in order.
    pub(crate) fn entries(&self) -> Cow<'_, [(Value<'a>, Evaluated<'a>)]> {
        let entries = match self {
            Self::Json(entries, declared) => entries
                .iter()
                .map(|(key, value)| (Value::borrowed(key), Value::from_json(value, *declared)))
                .collect(),
            Self::Made(entries) => {
                entries.values().map(|(key, value)| (key.clone(), Ok(value.clone()))).collect::<Vec<_>>()
            }
        };
        Cow::Owned(entries)
    }
}

/// Looks with a key that lives shorter than the map's.
fn look<'m, 'a, 'k>(entries: &'m Entries<'a>, key: &Key<'k>) -> Option<&'m (Value<'a>, Value<'a>)> {
    struct Short<'q, 'k>(&'q Key<'k>);
    impl std::hash::Hash for Short<'_, '_> {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }
    impl indexmap::Equivalent<Key<'_>> for Short<'_, '_> {
        fn equivalent(&self, key: &Key<'_>) -> bool {
            *self.0 == *key
        }
    }
    entries.get(&Short(key))
}
