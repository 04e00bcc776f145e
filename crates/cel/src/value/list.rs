//! Lists.

use std::sync::Arc;

use serde_json::Value as Json;

use super::depth::{DEEPEST, Measured};
use super::{EvalError, Evaluated, Value, compare, equal, failed};
use crate::budget::Budget;
use crate::declared::{Declared, ListKind, Shape};

/// A list of values.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// JSON, with what is declared about the list.
    #[doc(hidden)]
    Json(&'a [Json], Option<&'a Declared>),
    /// What an expression made.
    #[doc(hidden)]
    Made(Arc<Measured<Vec<Value<'a>>>>),
    /// What an expression made of a list that is a set or a map: it still is.
    #[doc(hidden)]
    Kept(Arc<Measured<Vec<Value<'a>>>>, &'a Declared),
    /// One list behind another.
    #[doc(hidden)]
    Joined(Arc<Joined<'a>>),
}

/// Two lists, one behind the other: nothing is copied.
#[derive(Debug)]
pub struct Joined<'a> {
    first: List<'a>,
    second: List<'a>,
    length: usize,
    /// How many lists are joined within each other.
    levels: u32,
    /// How deep it is, where each level counts as one that its elements are in.
    pub(super) depth: u32,
}

/// How many lists may be joined within each other: each makes looking up an element a step longer.
const MOST_LEVELS: u32 = 16;

impl<'a> List<'a> {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(items, _) => items.len(),
            Self::Made(values) | Self::Kept(values, _) => values.len(),
            Self::Joined(joined) => joined.length,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at a place, which is there.
    pub(crate) fn get(&self, mut index: usize) -> Evaluated<'a> {
        let mut list = self;
        loop {
            match list {
                Self::Json(items, declared) => {
                    return match items.get(index) {
                        Some(item) => {
                            Value::from_json(item, declared.and_then(|list| list.element()).map(|of| &**of))
                        }
                        None => failed(format!("index out of bounds: {index}")),
                    };
                }
                Self::Made(values) | Self::Kept(values, _) => {
                    return match values.get(index) {
                        Some(value) => Ok(value.clone()),
                        None => failed(format!("index out of bounds: {index}")),
                    };
                }
                Self::Joined(joined) if index < joined.first.len() => list = &joined.first,
                Self::Joined(joined) => {
                    index -= joined.first.len();
                    list = &joined.second;
                }
            }
        }
    }

    /// All elements, one after another.
    pub fn iter(&self) -> impl Iterator<Item = Evaluated<'a>> + use<'_, 'a> {
        (0..self.len()).map(|index| self.get(index))
    }

    pub(crate) fn kind(&self) -> &ListKind {
        match self {
            Self::Json(_, Some(Declared { shape: Shape::List(_, kind), .. }))
            | Self::Kept(_, Declared { shape: Shape::List(_, kind), .. }) => kind,
            _ => &ListKind::Atomic,
        }
    }

    /// What became of it, which is what it was: a list, a set, a map.
    fn keep(&self, values: Vec<Value<'a>>) -> List<'a> {
        match self {
            Self::Json(_, Some(declared)) | Self::Kept(_, declared) => {
                List::Kept(Arc::new(values.into()), declared)
            }
            _ => List::made(values),
        }
    }

    /// Another list behind this one; sets and maps take what they have not.
    pub(crate) fn join(self, other: List<'a>, budget: &mut Budget) -> Result<List<'a>, EvalError> {
        match self.kind().clone() {
            ListKind::Atomic => {}
            ListKind::Set => {
                let mut values = self.iter().collect::<Result<Vec<_>, _>>()?;
                for value in other.iter() {
                    let value = value?;
                    if !contains(&values, &value, budget)? {
                        values.push(value);
                    }
                }
                budget.work(32 * values.len())?;
                return Ok(self.keep(values));
            }
            ListKind::Map(keys) => {
                let mut values = self.iter().collect::<Result<Vec<_>, _>>()?;
                for value in other.iter() {
                    let value = value?;
                    let mut place = None;
                    for (index, known) in values.iter().enumerate() {
                        if compare::same_keys(known, &value, &keys, budget)? {
                            place = Some(index);
                            break;
                        }
                    }
                    match place {
                        Some(index) => values[index] = value,
                        None => values.push(value),
                    }
                }
                budget.work(32 * values.len())?;
                return Ok(self.keep(values));
            }
        }
        if other.is_empty() {
            return Ok(self);
        }
        if self.is_empty() {
            return Ok(other);
        }
        let Some(length) = self.len().checked_add(other.len()).filter(|length| *length < usize::MAX / 64)
        else {
            return Err(EvalError::Cancelled);
        };
        let levels = self.levels().max(other.levels()) + 1;
        let depth = self.depth().max(other.depth()) + 1;
        let joined = List::Joined(Arc::new(Joined { first: self, second: other, length, levels, depth }));
        if levels <= MOST_LEVELS && depth <= DEEPEST {
            return Ok(joined);
        }
        budget.work(length.saturating_mul(32))?;
        Ok(List::made(joined.iter().collect::<Result<_, _>>()?))
    }

    /// What an expression made.
    pub(crate) fn made(values: Vec<Value<'a>>) -> Self {
        Self::Made(Arc::new(values.into()))
    }

    fn levels(&self) -> u32 {
        match self {
            Self::Joined(joined) => joined.levels,
            _ => 0,
        }
    }
}

/// Whether one of the values equals another.
pub(crate) fn contains(
    values: &[Value<'_>],
    wanted: &Value<'_>,
    budget: &mut Budget,
) -> Result<bool, EvalError> {
    for value in values {
        if equal(value, wanted, budget)? {
            return Ok(true);
        }
    }
    Ok(false)
}
