//! Values that may be absent.

use std::sync::Arc;

use super::{Context, Declaration};
use crate::value::{EvalError, Evaluated, Value, failed, no_overload};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("optional.of", of, &[("optional_of", "(A) -> optional(A)")]),
    ("optional.ofNonZeroValue", of_non_zero, &[("optional_ofNonZeroValue", "(A) -> optional(A)")]),
    ("optional.none", |_, _| Ok(Value::Optional(None)), &[("optional_none", "() -> optional(A)")]),
    ("value", value, &[("optional_value", "optional(A).() -> A")]),
    ("hasValue", has_value, &[("optional_hasValue", "optional(A).() -> bool")]),
    ("or", either, &[("optional_or_optional", "optional(A).(optional(A)) -> optional(A)")]),
    ("orValue", either, &[("optional_orValue_value", "optional(A).(A) -> A")]),
    ("_?._", either, &[("select_optional_field", "(dyn, string) -> optional(A)")]),
    (
        "_[?_]",
        either,
        &[
            ("list_optindex_optional_int", "(list(A), int) -> optional(A)"),
            ("optional_list_optindex_optional_int", "(optional(list(A)), int) -> optional(A)"),
            ("map_optindex_optional_value", "(map(A, B), A) -> optional(B)"),
            ("optional_map_optindex_optional_value", "(optional(map(A, B)), A) -> optional(B)"),
        ],
    ),
    ("last", last, &[("list_last", "list(A).() -> optional(A)")]),
    ("first", first, &[("list_first", "list(A).() -> optional(A)")]),
    ("optional.unwrap", unwrap, &[("optional_unwrap", "(list(optional(A))) -> list(A)")]),
    ("unwrapOpt", unwrap, &[("optional_unwrapOpt", "list(optional(A)).() -> list(A)")]),
];

/// Evaluated in another way: what stands behind may not be looked at.
fn either<'a>(_: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    no_overload()
}

/// The first that has a value, or else the second.
pub(crate) fn first_valued<'a>(
    first: Value<'a>,
    second: impl FnOnce() -> Result<Value<'a>, EvalError>,
) -> Evaluated<'a> {
    match first {
        Value::Optional(None) => second(),
        Value::Optional(Some(_)) => Ok(first),
        _ => no_overload(),
    }
}

/// The value of the first, or else the second.
pub(crate) fn value_or<'a>(
    first: Value<'a>,
    second: impl FnOnce() -> Result<Value<'a>, EvalError>,
) -> Evaluated<'a> {
    match first {
        Value::Optional(None) => second(),
        Value::Optional(Some(value)) => Ok(Arc::unwrap_or_clone(value)),
        _ => no_overload(),
    }
}

fn of<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [value] => Value::some(value.clone()).not_too_deep(),
        _ => no_overload(),
    }
}

fn of_non_zero<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [value] if value.is_zero() => Ok(Value::Optional(None)),
        [value] => Value::some(value.clone()).not_too_deep(),
        _ => no_overload(),
    }
}

fn value<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::Optional(Some(value))] => Ok(Value::clone(value)),
        [Value::Optional(None)] => failed("optional.none() dereference"),
        _ => no_overload(),
    }
}

fn has_value<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::Optional(value)] => Ok(Value::Bool(value.is_some())),
        _ => no_overload(),
    }
}

fn first<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::List(list)] if list.is_empty() => Ok(Value::Optional(None)),
        [Value::List(list)] => Ok(Value::some(list.get(0)?)),
        _ => no_overload(),
    }
}

fn last<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::List(list)] if list.is_empty() => Ok(Value::Optional(None)),
        [Value::List(list)] => Ok(Value::some(list.get(list.len() - 1)?)),
        _ => no_overload(),
    }
}

fn unwrap<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::List(list)] = arguments else { return no_overload() };
    let mut values = Vec::new();
    for element in list.iter() {
        context.budget.work(32)?;
        match element? {
            Value::Optional(Some(value)) => values.push(Arc::unwrap_or_clone(value)),
            Value::Optional(None) => {}
            other => return failed(format!("value {other} is not optional")),
        }
    }
    Ok(Value::list(values))
}
