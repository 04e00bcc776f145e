//! Lists: of the language's extensions and of Kubernetes.

use std::cmp::Ordering;

use super::operators::Generated;
use super::{Context, Declaration, Implementation, strings};
use crate::value::{EvalError, Evaluated, List, Value, compare, contains, equal, failed, no_overload};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("slice", slice, &[("list_slice", "list(A).(int, int) -> list(A)")]),
    (
        "flatten",
        flatten,
        &[
            ("list_flatten", "list(list(A)).() -> list(A)"),
            ("list_flatten_int", "list(dyn).(int) -> list(dyn)"),
        ],
    ),
    ("lists.range", range, &[("lists_range", "(int) -> list(int)")]),
    ("reverse", reverse, &[("list_reverse", "list(A).() -> list(A)")]),
    ("distinct", distinct, &[("list_distinct", "list(A).() -> list(A)")]),
    (
        "indexOf",
        |arguments, context| position(arguments, context, false),
        &[("list_a_index_of_int", "list(A).(A) -> int")],
    ),
    (
        "lastIndexOf",
        |arguments, context| position(arguments, context, true),
        &[("list_a_last_index_of_int", "list(A).(A) -> int")],
    ),
];

/// Types whose values have an order, by the names that overloads give them.
const ORDERED: [(&str, &str); 8] = [
    ("int", "int"),
    ("uint", "uint"),
    ("double", "double"),
    ("bool", "bool"),
    ("duration", "duration"),
    ("timestamp", "timestamp"),
    ("string", "string"),
    ("bytes", "bytes"),
];

/// Functions with an overload for each type that has an order or can be added up.
pub(super) fn typed() -> Vec<Generated> {
    let full = |ty: &str| match ty {
        "duration" => "google.protobuf.Duration".to_owned(),
        "timestamp" => "google.protobuf.Timestamp".to_owned(),
        other => other.to_owned(),
    };
    let each = |make: &dyn Fn(&str, &str) -> (String, String)| {
        ORDERED.iter().map(|(name, ty)| make(name, ty)).collect::<Vec<_>>()
    };
    let sums = ["int", "uint", "double", "duration"];
    let sorted: Implementation = is_sorted;
    vec![
        (
            "sort",
            sort,
            each(&|_, ty| (format!("list_{}_sort", full(ty)), format!("list({ty}).() -> list({ty})"))),
        ),
        (
            "@sortByAssociatedKeys",
            sort_by_keys,
            each(&|_, ty| {
                let id = format!("list_{}_sortByAssociatedKeys", full(ty));
                (id, format!("list(A).(list({ty})) -> list(A)"))
            }),
        ),
        (
            "isSorted",
            sorted,
            each(&|name, ty| (format!("list_{name}_is_sorted_bool"), format!("list({ty}).() -> bool"))),
        ),
        (
            "sum",
            sum,
            sums.iter().map(|ty| (format!("list_{ty}_sum_{ty}"), format!("list({ty}).() -> {ty}"))).collect(),
        ),
        (
            "max",
            |arguments, context| extreme(arguments, context, "max", Ordering::Less),
            each(&|name, ty| (format!("list_{name}_max_{name}"), format!("list({ty}).() -> {ty}"))),
        ),
        (
            "min",
            |arguments, context| extreme(arguments, context, "min", Ordering::Greater),
            each(&|name, ty| (format!("list_{name}_min_{name}"), format!("list({ty}).() -> {ty}"))),
        ),
    ]
}

fn elements<'a>(list: &List<'a>, context: &mut Context<'_>) -> Result<Vec<Value<'a>>, EvalError> {
    context.budget.work(list.len().saturating_mul(32))?;
    list.iter().collect()
}

fn slice<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::List(list), Value::Int(from), Value::Int(to)] = arguments else { return no_overload() };
    let (from, to) = (*from, *to);
    if from < 0 || to < 0 {
        return failed(format!("cannot slice({from}, {to}), negative indexes not supported"));
    }
    if from > to {
        let why = "start index must be less than or equal to end index";
        return failed(format!("cannot slice({from}, {to}), {why}"));
    }
    if list.len() < to as usize {
        return failed(format!("cannot slice({from}, {to}), list is length {}", list.len()));
    }
    context.budget.affords((to - from) as u64)?;
    context.budget.work(((to - from) as usize).saturating_mul(32))?;
    Ok(Value::list((from as usize..to as usize).map(|index| list.get(index)).collect::<Result<_, _>>()?))
}

fn flatten<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let (list, depth) = match arguments {
        [Value::List(list)] => (list, 1),
        [Value::List(list), Value::Int(depth)] => (list, *depth),
        _ => return no_overload(),
    };
    if depth < 0 {
        return failed("level must be non-negative");
    }
    let mut flat = Vec::new();
    flatten_into(list, depth, &mut flat, context)?;
    Ok(Value::list(flat))
}

fn flatten_into<'a>(
    list: &List<'a>,
    depth: i64,
    flat: &mut Vec<Value<'a>>,
    context: &mut Context<'_>,
) -> Result<(), EvalError> {
    for element in list.iter() {
        context.budget.work(32)?;
        match element? {
            Value::List(inner) if depth > 0 => flatten_into(&inner, depth - 1, flat, context)?,
            other => flat.push(other),
        }
    }
    Ok(())
}

fn range<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::Int(count)] = arguments else { return no_overload() };
    let count = u64::try_from(*count).unwrap_or(0);
    context.budget.affords(count)?;
    context.budget.work((count as usize).saturating_mul(32))?;
    // What was afforded is small.
    Ok(Value::list((0..i64::try_from(count).unwrap_or(0)).map(Value::Int).collect()))
}

fn reverse<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::List(list)] = arguments else { return no_overload() };
    let mut values = elements(list, context)?;
    values.reverse();
    Ok(Value::list(values))
}

fn distinct<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::List(list)] = arguments else { return no_overload() };
    let mut values = Vec::new();
    for element in list.iter() {
        context.budget.work(32)?;
        let element = element?;
        if !contains(&values, &element, context.budget)? {
            values.push(element);
        }
    }
    Ok(Value::list(values))
}

fn position<'a>(arguments: &[Value<'a>], context: &mut Context<'_>, last: bool) -> Evaluated<'a> {
    let [Value::List(list), wanted] = arguments else { return strings::position(arguments, context, last) };
    let mut found = -1;
    for (index, element) in list.iter().enumerate() {
        if equal(&element?, wanted, context.budget)? {
            found = index as i64;
            if !last {
                break;
            }
        }
    }
    Ok(Value::Int(found))
}

fn sort<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [list] = arguments else { return no_overload() };
    sort_by_keys(&[list.clone(), list.clone()], context)
}

fn sort_by_keys<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::List(list), Value::List(keys)] = arguments else { return no_overload() };
    if list.len() != keys.len() {
        return failed(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} \
             elements respectively",
            list.len(),
            keys.len()
        ));
    }
    let (values, keys) = (elements(list, context)?, elements(keys, context)?);
    if let Some(first) = keys.first() {
        compare(first, first, context.budget).map_err(|error| match error {
            EvalError::Failed(text) if &*text == "no such overload" => {
                EvalError::Failed("list elements must be comparable".into())
            }
            other => other,
        })?;
        if keys.iter().any(|key| key.ty() != first.ty()) {
            return failed("list elements must have the same type");
        }
    }
    let mut paired: Vec<_> = keys.into_iter().zip(values).collect();
    let mut wrong = None;
    paired.sort_by(|(one, _), (two, _)| match compare(one, two, context.budget) {
        Ok(ordering) => ordering,
        Err(error) => {
            wrong.get_or_insert(error);
            Ordering::Equal
        }
    });
    match wrong {
        Some(error) => Err(error),
        None => Ok(Value::list(paired.into_iter().map(|(_, value)| value).collect())),
    }
}

fn is_sorted<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::List(list)] = arguments else { return no_overload() };
    let mut before: Option<Value<'a>> = None;
    for element in list.iter() {
        let element = element?;
        if let Some(before) = &before
            && compare(before, &element, context.budget)?.is_gt()
        {
            return Ok(Value::Bool(false));
        }
        before = Some(element);
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::List(list)] = arguments else { return no_overload() };
    let mut total: Option<Value<'a>> = None;
    for element in list.iter() {
        let element = element?;
        total = Some(match (total, element) {
            (None, element) => element,
            (Some(Value::Int(one)), Value::Int(two)) => match one.checked_add(two) {
                Some(sum) => Value::Int(sum),
                None => return failed("integer overflow"),
            },
            (Some(Value::Uint(one)), Value::Uint(two)) => match one.checked_add(two) {
                Some(sum) => Value::Uint(sum),
                None => return failed("unsigned integer overflow"),
            },
            (Some(Value::Double(one)), Value::Double(two)) => Value::Double(one + two),
            (Some(Value::Duration(one)), Value::Duration(two)) => match one.checked_add(two) {
                Some(sum) => Value::Duration(sum),
                None => return failed("duration overflow"),
            },
            _ => return no_overload(),
        });
        context.budget.work(1)?;
    }
    // What kind of nothing it is cannot be seen in a list of nothing.
    Ok(total.unwrap_or(match context.overload {
        "list_uint_sum_uint" => Value::Uint(0),
        "list_double_sum_double" => Value::Double(0.0),
        "list_duration_sum_duration" => Value::Duration(0),
        _ => Value::Int(0),
    }))
}

fn extreme<'a>(
    arguments: &[Value<'a>],
    context: &mut Context<'_>,
    name: &str,
    replaced: Ordering,
) -> Evaluated<'a> {
    let [Value::List(list)] = arguments else { return no_overload() };
    let mut best: Option<Value<'a>> = None;
    for element in list.iter() {
        let element = element?;
        best = match best {
            Some(best) if compare(&best, &element, context.budget)? != replaced => Some(best),
            _ => Some(element),
        };
    }
    match best {
        Some(best) => Ok(best),
        None => failed(format!("{name} called on empty list")),
    }
}
