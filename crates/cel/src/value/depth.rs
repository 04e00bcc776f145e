//! How deep values are.
//!
//! Whatever goes through a value calls itself at each level: comparing, printing, even dropping it. A source cannot
//! nest deeper than it may, but variables that hold each other can, and so what is made knows how deep it is.

use std::ops::Deref;

use indexmap::IndexMap;

use super::{Evaluated, Key, List, Map, Object, Value, failed};

/// How deep a value may be that an expression makes. Literals of any depth that a source can have are within it.
pub(crate) const DEEPEST: u32 = 400;

/// What an expression made of values, and how deep that is: one more than what is in it.
#[derive(Debug)]
pub struct Measured<T> {
    made: T,
    depth: u32,
}

impl<T> Measured<T> {
    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }
}

impl<T> Deref for Measured<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.made
    }
}

/// One more than the deepest of them.
fn above<'v, 'a: 'v>(values: impl IntoIterator<Item = &'v Value<'a>>) -> u32 {
    values.into_iter().map(Value::depth).max().unwrap_or(0) + 1
}

impl<'a> From<Vec<Value<'a>>> for Measured<Vec<Value<'a>>> {
    fn from(made: Vec<Value<'a>>) -> Self {
        Self { depth: above(&made), made }
    }
}

/// Entries of a map by what their keys are, with the keys as they were given.
pub(crate) type Entries<'a> = IndexMap<Key<'a>, (Value<'a>, Value<'a>)>;

impl<'a> From<Entries<'a>> for Measured<Entries<'a>> {
    fn from(made: Entries<'a>) -> Self {
        Self { depth: above(made.values().map(|(_, value)| value)), made }
    }
}

/// Fields of an object by their names in JSON.
pub(crate) type Fields<'a> = IndexMap<std::sync::Arc<str>, Value<'a>>;

impl<'a> From<Fields<'a>> for Measured<Fields<'a>> {
    fn from(made: Fields<'a>) -> Self {
        Self { depth: above(made.values()), made }
    }
}

impl<'a> Value<'a> {
    /// How deep it is. Data counts as one level: how deep that may be is said where it comes in.
    pub(crate) fn depth(&self) -> u32 {
        let (mut value, mut around) = (self, 0);
        while let Self::Optional(Some(held)) = value {
            (value, around) = (held, around + 1);
        }
        let own = match value {
            Self::List(list) => list.depth(),
            Self::Map(Map::Made(entries)) => entries.depth(),
            Self::Object(Object::Made(made)) => made.fields.depth(),
            Self::Map(Map::Json(..)) | Self::Object(Object::Json(..)) => 1,
            _ => 0,
        };
        own + around
    }

    /// Itself, if it is no deeper than a value may be.
    pub(crate) fn not_too_deep(self) -> Evaluated<'a> {
        if self.depth() > DEEPEST { failed("the value is nested too deeply") } else { Ok(self) }
    }
}

impl List<'_> {
    pub(crate) fn depth(&self) -> u32 {
        match self {
            Self::Json(..) => 1,
            Self::Made(values) | Self::Kept(values, _) => values.depth(),
            Self::Joined(joined) => joined.depth,
        }
    }
}
