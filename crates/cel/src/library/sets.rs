//! Lists as sets.

use super::{Context, Declaration};
use crate::value::{EvalError, Evaluated, List, Value, equal, no_overload};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("sets.contains", has_all, &[("list_sets_contains_list", "(list(A), list(A)) -> bool")]),
    ("sets.equivalent", equivalent, &[("list_sets_equivalent_list", "(list(A), list(A)) -> bool")]),
    ("sets.intersects", intersects, &[("list_sets_intersects_list", "(list(A), list(A)) -> bool")]),
];

fn has(list: &List<'_>, wanted: &Value<'_>, context: &mut Context<'_>) -> Result<bool, EvalError> {
    for element in list.iter() {
        if equal(&element?, wanted, context.budget)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn covers(list: &List<'_>, other: &List<'_>, context: &mut Context<'_>) -> Result<bool, EvalError> {
    for element in other.iter() {
        if !has(list, &element?, context)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has_all<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::List(list), Value::List(other)] = arguments else { return no_overload() };
    covers(list, other, context).map(Value::Bool)
}

fn equivalent<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::List(list), Value::List(other)] = arguments else { return no_overload() };
    Ok(Value::Bool(covers(list, other, context)? && covers(other, list, context)?))
}

fn intersects<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::List(list), Value::List(other)] = arguments else { return no_overload() };
    for element in list.iter() {
        if has(other, &element?, context)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
