//! What equals what, and what comes before what.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{EvalError, List, Map, Object, Value, no_overload};
use crate::budget::Budget;
use crate::declared::ListKind;
use crate::library::Other;

/// Whether two values are equal. Values of different types are not, except that numbers are what they are.
pub(crate) fn equal(one: &Value<'_>, two: &Value<'_>, budget: &mut Budget) -> Result<bool, EvalError> {
    budget.work(8)?;
    Ok(match (one, two) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(one), Value::Bool(two)) => one == two,
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => numbers(one, two) == Some(Ordering::Equal),
        (Value::String(one), Value::String(two)) => {
            budget.work(one.len().min(two.len()) / 64)?;
            one == two
        }
        (Value::Bytes(one), Value::Bytes(two)) => {
            budget.work(one.len().min(two.len()) / 64)?;
            one == two
        }
        (Value::Timestamp(one), Value::Timestamp(two)) => one == two,
        (Value::Duration(one), Value::Duration(two)) => one == two,
        (Value::Type(one), Value::Type(two)) => one.name() == two.name(),
        (Value::List(one), Value::List(two)) => return lists(one, two, budget),
        (Value::Map(one), Value::Map(two)) => return maps(one, two, budget),
        (Value::Object(one), Value::Object(two)) => return objects(one, two, budget),
        (Value::Optional(one), Value::Optional(two)) => match (one, two) {
            (Some(one), Some(two)) => return equal(one, two, budget),
            (None, None) => true,
            _ => false,
        },
        (Value::Other(one), Value::Other(two)) => return one.equal(two),
        // What only functions know is compared with its own kind only.
        (Value::Other(one), two) if !matches!(two, Value::Null) && one.is_particular() => {
            return no_overload();
        }
        _ => false,
    })
}

fn lists(one: &List<'_>, two: &List<'_>, budget: &mut Budget) -> Result<bool, EvalError> {
    if one.len() != two.len() {
        return Ok(false);
    }
    let kind = match one.kind() {
        ListKind::Atomic => two.kind(),
        kind => kind,
    };
    if *kind == ListKind::Atomic {
        for index in 0..one.len() {
            if !equal(&one.get(index)?, &two.get(index)?, budget)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    // Their order means nothing: each of the one has its own of the other.
    budget.work(two.len().saturating_mul(16))?;
    let mut left = two.iter().collect::<Result<Vec<_>, _>>()?;
    for value in one.iter() {
        let value = value?;
        let mut found = None;
        for (index, other) in left.iter().enumerate() {
            let same = match kind {
                ListKind::Map(keys) => {
                    same_keys(&value, other, keys, budget)? && equal(&value, other, budget)?
                }
                _ => equal(&value, other, budget)?,
            };
            if same {
                found = Some(index);
                break;
            }
        }
        match found {
            Some(index) => drop(left.swap_remove(index)),
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// Whether two objects have the same keys, by which elements of a list are told from each other.
pub(crate) fn same_keys(
    one: &Value<'_>,
    two: &Value<'_>,
    keys: &[Arc<str>],
    budget: &mut Budget,
) -> Result<bool, EvalError> {
    for key in keys {
        let same = match (field(one, key)?, field(two, key)?) {
            (Some(one), Some(two)) => equal(&one, &two, budget)?,
            (None, None) => true,
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A field of a map or an object, by its name in JSON.
fn field<'a>(value: &Value<'a>, name: &str) -> Result<Option<Value<'a>>, EvalError> {
    match value {
        Value::Map(map) => map.field(name),
        Value::Object(object) => object.get_json(name),
        _ => Ok(None),
    }
}

fn maps<'a>(one: &Map<'a>, two: &Map<'a>, budget: &mut Budget) -> Result<bool, EvalError> {
    if one.len() != two.len() {
        return Ok(false);
    }
    budget.work(one.len().saturating_mul(16))?;
    for (key, value) in one.entries().iter() {
        if let Value::String(key) = key {
            budget.work(key.len() / 8)?;
        }
        let Some(other) = two.get(key)? else { return Ok(false) };
        if !equal(&value.clone()?, &other, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn objects(one: &Object<'_>, two: &Object<'_>, budget: &mut Budget) -> Result<bool, EvalError> {
    match (one, two) {
        (Object::Json(one, shape), Object::Json(two, _)) => {
            if one.len() != two.len() {
                return Ok(false);
            }
            for (name, value) in *one {
                let Some(other) = two.get(name) else { return Ok(false) };
                let declared = shape.field_of_json(name).map(|field| &*field.declared);
                if !equal(&Value::from_json(value, declared)?, &Value::from_json(other, declared)?, budget)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Object::Made(one), Object::Made(two)) => {
            if one.name != two.name || one.fields.len() != two.fields.len() {
                return Ok(false);
            }
            for (name, value) in one.fields.iter() {
                let Some(other) = two.fields.get(name) else { return Ok(false) };
                if !equal(value, other, budget)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// How two numbers compare, whatever their types. [`None`] if one is not a number.
fn numbers(one: &Value<'_>, two: &Value<'_>) -> Option<Ordering> {
    fn whole(value: &Value<'_>) -> Option<i128> {
        match value {
            Value::Int(value) => Some(i128::from(*value)),
            Value::Uint(value) => Some(i128::from(*value)),
            _ => None,
        }
    }
    /// A whole number against one with a fraction: within the range of its type it becomes one with a fraction, as it
    /// does in Kubernetes, however much that loses.
    fn mixed(whole: &Value<'_>, float: f64) -> Option<Ordering> {
        let (least, most, whole) = match whole {
            Value::Int(value) => (i64::MIN as f64, i64::MAX as f64, *value as f64),
            Value::Uint(value) => (0.0, u64::MAX as f64, *value as f64),
            _ => return None,
        };
        if float < least {
            return Some(Ordering::Greater);
        }
        if float > most { Some(Ordering::Less) } else { whole.partial_cmp(&float) }
    }
    match (one, two) {
        (Value::Double(one), Value::Double(two)) => one.partial_cmp(two),
        (Value::Double(one), two) => mixed(two, *one).map(Ordering::reverse),
        (one, Value::Double(two)) => mixed(one, *two),
        _ => Some(whole(one)?.cmp(&whole(two)?)),
    }
}

/// How two values compare that have an order.
pub(crate) fn compare(one: &Value<'_>, two: &Value<'_>, budget: &mut Budget) -> Result<Ordering, EvalError> {
    budget.work(8)?;
    Ok(match (one, two) {
        (Value::Bool(one), Value::Bool(two)) => one.cmp(two),
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => match numbers(one, two) {
            Some(ordering) => ordering,
            None => return super::failed("NaN values cannot be ordered"),
        },
        (Value::String(one), Value::String(two)) => {
            budget.work(one.len().min(two.len()) / 64)?;
            one.as_bytes().cmp(two.as_bytes())
        }
        (Value::Bytes(one), Value::Bytes(two)) => {
            budget.work(one.len().min(two.len()) / 64)?;
            one.cmp(two)
        }
        (Value::Timestamp(one), Value::Timestamp(two)) => one.cmp(two),
        (Value::Duration(one), Value::Duration(two)) => one.cmp(two),
        (Value::Other(Other::Quantity(one)), Value::Other(Other::Quantity(two))) => one.cmp(two),
        _ => return no_overload(),
    })
}
