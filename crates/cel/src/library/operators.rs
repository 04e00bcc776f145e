//! Operators and the functions that the language itself has for text, moments and sizes.

use std::cmp::Ordering;

use super::{Context, Declaration, Implementation};
use crate::time;
use crate::value::{Evaluated, Value, compare, contains, equal, failed, no_overload};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("_?_:_", special, &[("conditional", "(bool, A, A) -> A")]),
    ("_&&_", special, &[("logical_and", "(bool, bool) -> bool")]),
    ("_||_", special, &[("logical_or", "(bool, bool) -> bool")]),
    ("!_", not, &[("logical_not", "(bool) -> bool")]),
    ("@not_strictly_false", special, &[("not_strictly_false", "(bool) -> bool")]),
    ("_==_", equals, &[("equals", "(A, A) -> bool")]),
    ("_!=_", not_equals, &[("not_equals", "(A, A) -> bool")]),
    (
        "_+_",
        add,
        &[
            ("add_bytes", "(bytes, bytes) -> bytes"),
            ("add_double", "(double, double) -> double"),
            ("add_duration_duration", "(duration, duration) -> duration"),
            ("add_duration_timestamp", "(duration, timestamp) -> timestamp"),
            ("add_timestamp_duration", "(timestamp, duration) -> timestamp"),
            ("add_int64", "(int, int) -> int"),
            ("add_list", "(list(A), list(A)) -> list(A)"),
            ("add_string", "(string, string) -> string"),
            ("add_uint64", "(uint, uint) -> uint"),
        ],
    ),
    (
        "_-_",
        subtract,
        &[
            ("subtract_double", "(double, double) -> double"),
            ("subtract_duration_duration", "(duration, duration) -> duration"),
            ("subtract_int64", "(int, int) -> int"),
            ("subtract_timestamp_duration", "(timestamp, duration) -> timestamp"),
            ("subtract_timestamp_timestamp", "(timestamp, timestamp) -> duration"),
            ("subtract_uint64", "(uint, uint) -> uint"),
        ],
    ),
    (
        "_*_",
        multiply,
        &[
            ("multiply_double", "(double, double) -> double"),
            ("multiply_int64", "(int, int) -> int"),
            ("multiply_uint64", "(uint, uint) -> uint"),
        ],
    ),
    (
        "_/_",
        divide,
        &[
            ("divide_double", "(double, double) -> double"),
            ("divide_int64", "(int, int) -> int"),
            ("divide_uint64", "(uint, uint) -> uint"),
        ],
    ),
    ("_%_", modulo, &[("modulo_int64", "(int, int) -> int"), ("modulo_uint64", "(uint, uint) -> uint")]),
    ("-_", negate, &[("negate_double", "(double) -> double"), ("negate_int64", "(int) -> int")]),
    (
        "_[_]",
        special,
        &[
            ("index_list", "(list(A), int) -> A"),
            ("index_map", "(map(A, B), A) -> B"),
            ("optional_list_index_int", "(optional(list(A)), int) -> optional(A)"),
            ("optional_map_index_value", "(optional(map(A, B)), A) -> optional(B)"),
        ],
    ),
    ("@in", within, &[("in_list", "(A, list(A)) -> bool"), ("in_map", "(A, map(A, B)) -> bool")]),
    (
        "size",
        size,
        &[
            ("size_bytes", "(bytes) -> int"),
            ("bytes_size", "bytes.() -> int"),
            ("size_list", "(list(A)) -> int"),
            ("list_size", "list(A).() -> int"),
            ("size_map", "(map(A, B)) -> int"),
            ("map_size", "map(A, B).() -> int"),
            ("size_string", "(string) -> int"),
            ("string_size", "string.() -> int"),
        ],
    ),
    ("contains", text_test, &[("contains_string", "string.(string) -> bool")]),
    ("startsWith", starts_with, &[("starts_with_string", "string.(string) -> bool")]),
    ("endsWith", ends_with, &[("ends_with_string", "string.(string) -> bool")]),
    (
        "getFullYear",
        |arguments, context| part("getFullYear", arguments, context),
        &[
            ("timestamp_to_year", "timestamp.() -> int"),
            ("timestamp_to_year_with_tz", "timestamp.(string) -> int"),
        ],
    ),
    (
        "getMonth",
        |arguments, context| part("getMonth", arguments, context),
        &[
            ("timestamp_to_month", "timestamp.() -> int"),
            ("timestamp_to_month_with_tz", "timestamp.(string) -> int"),
        ],
    ),
    (
        "getDayOfYear",
        |arguments, context| part("getDayOfYear", arguments, context),
        &[
            ("timestamp_to_day_of_year", "timestamp.() -> int"),
            ("timestamp_to_day_of_year_with_tz", "timestamp.(string) -> int"),
        ],
    ),
    (
        "getDayOfMonth",
        |arguments, context| part("getDayOfMonth", arguments, context),
        &[
            ("timestamp_to_day_of_month", "timestamp.() -> int"),
            ("timestamp_to_day_of_month_with_tz", "timestamp.(string) -> int"),
        ],
    ),
    (
        "getDate",
        |arguments, context| part("getDate", arguments, context),
        &[
            ("timestamp_to_day_of_month_1_based", "timestamp.() -> int"),
            ("timestamp_to_day_of_month_1_based_with_tz", "timestamp.(string) -> int"),
        ],
    ),
    (
        "getDayOfWeek",
        |arguments, context| part("getDayOfWeek", arguments, context),
        &[
            ("timestamp_to_day_of_week", "timestamp.() -> int"),
            ("timestamp_to_day_of_week_with_tz", "timestamp.(string) -> int"),
        ],
    ),
    (
        "getHours",
        |arguments, context| part("getHours", arguments, context),
        &[
            ("timestamp_to_hours", "timestamp.() -> int"),
            ("timestamp_to_hours_with_tz", "timestamp.(string) -> int"),
            ("duration_to_hours", "duration.() -> int"),
        ],
    ),
    (
        "getMinutes",
        |arguments, context| part("getMinutes", arguments, context),
        &[
            ("timestamp_to_minutes", "timestamp.() -> int"),
            ("timestamp_to_minutes_with_tz", "timestamp.(string) -> int"),
            ("duration_to_minutes", "duration.() -> int"),
        ],
    ),
    (
        "getSeconds",
        |arguments, context| part("getSeconds", arguments, context),
        &[
            ("timestamp_to_seconds", "timestamp.() -> int"),
            ("timestamp_to_seconds_tz", "timestamp.(string) -> int"),
            ("duration_to_seconds", "duration.() -> int"),
        ],
    ),
    (
        "getMilliseconds",
        |arguments, context| part("getMilliseconds", arguments, context),
        &[
            ("timestamp_to_milliseconds", "timestamp.() -> int"),
            ("timestamp_to_milliseconds_with_tz", "timestamp.(string) -> int"),
            ("duration_to_milliseconds", "duration.() -> int"),
        ],
    ),
    (
        "cel.@mapInsert",
        special,
        &[
            ("@mapInsert_map_map", "(map(A, B), map(A, B)) -> map(A, B)"),
            ("@mapInsert_map_key_value", "(map(A, B), A, B) -> map(A, B)"),
        ],
    ),
];

/// A function with overloads whose names are put together.
pub(super) type Generated = (&'static str, Implementation, Vec<(String, String)>);

/// `<`, `<=`, `>`, `>=` for all types that have an order.
pub(super) fn comparisons() -> Vec<Generated> {
    let operators: [(&'static str, &str, Implementation); 4] = [
        ("_<_", "less", |arguments, context| ordered(arguments, context, Ordering::is_lt)),
        ("_<=_", "less_equals", |arguments, context| ordered(arguments, context, Ordering::is_le)),
        ("_>_", "greater", |arguments, context| ordered(arguments, context, Ordering::is_gt)),
        ("_>=_", "greater_equals", |arguments, context| ordered(arguments, context, Ordering::is_ge)),
    ];
    let numbers = [("int64", "int"), ("uint64", "uint"), ("double", "double")];
    let mut generated = Vec::new();
    for (name, prefix, call) in operators {
        let mut overloads = Vec::new();
        for plain in ["bool", "string", "bytes", "timestamp", "duration"] {
            overloads.push((format!("{prefix}_{plain}"), format!("({plain}, {plain}) -> bool")));
        }
        for (one, one_type) in numbers {
            for (two, two_type) in numbers {
                let id = if one == two { format!("{prefix}_{one}") } else { format!("{prefix}_{one}_{two}") };
                overloads.push((id, format!("({one_type}, {two_type}) -> bool")));
            }
        }
        generated.push((name, call, overloads));
    }
    generated
}

/// Evaluated in another way: some of what they are given may not be looked at.
fn special<'a>(_: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    no_overload()
}

fn ordered<'a>(
    arguments: &[Value<'a>],
    context: &mut Context<'_>,
    wanted: fn(Ordering) -> bool,
) -> Evaluated<'a> {
    match arguments {
        [one, two] => Ok(Value::Bool(wanted(compare(one, two, context.budget)?))),
        _ => no_overload(),
    }
}

fn not<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => no_overload(),
    }
}

fn equals<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [one, two] => equal(one, two, context.budget).map(Value::Bool),
        _ => no_overload(),
    }
}

fn not_equals<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [one, two] => equal(one, two, context.budget).map(|same| Value::Bool(!same)),
        _ => no_overload(),
    }
}

fn int<'a>(value: Option<i64>) -> Evaluated<'a> {
    value.map_or_else(|| failed("integer overflow"), |value| Ok(Value::Int(value)))
}

fn uint<'a>(value: Option<u64>) -> Evaluated<'a> {
    value.map_or_else(|| failed("unsigned integer overflow"), |value| Ok(Value::Uint(value)))
}

fn span<'a>(value: Option<i64>) -> Evaluated<'a> {
    value.map_or_else(|| failed("duration overflow"), |value| Ok(Value::Duration(value)))
}

fn moved<'a>(at: jiff::Timestamp, nanos: i64) -> Evaluated<'a> {
    time::checked(at.checked_add(jiff::SignedDuration::from_nanos(nanos)).ok())
}

fn add<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::Int(one), Value::Int(two)] => int(one.checked_add(*two)),
        [Value::Uint(one), Value::Uint(two)] => uint(one.checked_add(*two)),
        [Value::Double(one), Value::Double(two)] => Ok(Value::Double(one + two)),
        [Value::String(one), Value::String(two)] => {
            context.budget.work(one.len() + two.len())?;
            Ok(Value::text([&**one, &**two].concat()))
        }
        [Value::Bytes(one), Value::Bytes(two)] => {
            context.budget.work(one.len() + two.len())?;
            Ok(Value::Bytes([&**one, &**two].concat().into()))
        }
        [Value::List(one), Value::List(two)] => {
            Ok(Value::List(one.clone().join(two.clone(), context.budget)?))
        }
        [Value::Duration(one), Value::Duration(two)] => span(one.checked_add(*two)),
        [Value::Timestamp(at), Value::Duration(nanos)] | [Value::Duration(nanos), Value::Timestamp(at)] => {
            moved(*at, *nanos)
        }
        _ => no_overload(),
    }
}

fn subtract<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::Int(one), Value::Int(two)] => int(one.checked_sub(*two)),
        [Value::Uint(one), Value::Uint(two)] => uint(one.checked_sub(*two)),
        [Value::Double(one), Value::Double(two)] => Ok(Value::Double(one - two)),
        [Value::Duration(one), Value::Duration(two)] => span(one.checked_sub(*two)),
        [Value::Timestamp(at), Value::Duration(nanos)] => match nanos.checked_neg() {
            Some(nanos) => moved(*at, nanos),
            None => failed("timestamp overflow"),
        },
        [Value::Timestamp(one), Value::Timestamp(two)] => {
            let nanos = one.as_nanosecond() - two.as_nanosecond();
            span(i64::try_from(nanos).ok())
        }
        _ => no_overload(),
    }
}

fn multiply<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::Int(one), Value::Int(two)] => int(one.checked_mul(*two)),
        [Value::Uint(one), Value::Uint(two)] => uint(one.checked_mul(*two)),
        [Value::Double(one), Value::Double(two)] => Ok(Value::Double(one * two)),
        _ => no_overload(),
    }
}

fn divide<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => failed("division by zero"),
        [Value::Int(one), Value::Int(two)] => int(one.checked_div(*two)),
        [Value::Uint(one), Value::Uint(two)] => uint(one.checked_div(*two)),
        [Value::Double(one), Value::Double(two)] => Ok(Value::Double(one / two)),
        _ => no_overload(),
    }
}

fn modulo<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => failed("modulus by zero"),
        [Value::Int(one), Value::Int(two)] => int(one.checked_rem(*two)),
        [Value::Uint(one), Value::Uint(two)] => uint(one.checked_rem(*two)),
        _ => no_overload(),
    }
}

fn negate<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::Int(value)] => int(value.checked_neg()),
        [Value::Double(value)] => Ok(Value::Double(-value)),
        _ => no_overload(),
    }
}

fn within<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [wanted, Value::List(list)] => {
            if let crate::value::List::Made(values) = list {
                return contains(values, wanted, context.budget).map(Value::Bool);
            }
            for value in list.iter() {
                if equal(&value?, wanted, context.budget)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        [wanted, Value::Map(map)] => {
            if let Value::String(text) = wanted {
                context.budget.work(text.len() / 8)?;
            }
            Ok(Value::Bool(map.get(wanted)?.is_some()))
        }
        [Value::String(name), Value::Object(object)] => Ok(Value::Bool(object.get(name)?.is_some())),
        _ => no_overload(),
    }
}

fn size<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [
            value @ (Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) | Value::Object(_)),
        ] => int(i64::try_from(value.size()).ok()),
        _ => no_overload(),
    }
}

fn text_test<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::String(text), Value::String(part)] => {
            context.budget.work(text.len() / 8)?;
            Ok(Value::Bool(text.contains(&**part)))
        }
        _ => no_overload(),
    }
}

fn starts_with<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::String(text), Value::String(part)] => Ok(Value::Bool(text.starts_with(&**part))),
        _ => no_overload(),
    }
}

fn ends_with<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::String(text), Value::String(part)] => Ok(Value::Bool(text.ends_with(&**part))),
        _ => no_overload(),
    }
}

fn part<'a>(function: &str, arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::Timestamp(at)] => time::part(function, *at, None),
        [Value::Timestamp(at), Value::String(zone)] => {
            // What is known of a zone is read anew.
            context.budget.work(2_000 + zone.len() / 8)?;
            time::part(function, *at, Some(zone))
        }
        [Value::Duration(nanos)] => time::span_part(function, *nanos),
        _ => no_overload(),
    }
}
