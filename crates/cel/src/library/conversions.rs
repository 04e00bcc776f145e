//! Conversions between types.

use super::{Context, Declaration, Other};
use crate::time;
use crate::value::{EvalError, Evaluated, Value, failed, float_text, no_overload};

pub(super) const FUNCTIONS: &[Declaration] = &[
    (
        "type",
        |arguments, _| one(arguments, |value| Ok(Value::Type(value.ty()))),
        &[("type", "(A) -> type(A)")],
    ),
    ("dyn", |arguments, _| one(arguments, |value| Ok(value.clone())), &[("to_dyn", "(A) -> dyn")]),
    ("bool", to_bool, &[("bool_to_bool", "(bool) -> bool"), ("string_to_bool", "(string) -> bool")]),
    ("bytes", to_bytes, &[("bytes_to_bytes", "(bytes) -> bytes"), ("string_to_bytes", "(string) -> bytes")]),
    (
        "double",
        to_double,
        &[
            ("double_to_double", "(double) -> double"),
            ("int64_to_double", "(int) -> double"),
            ("string_to_double", "(string) -> double"),
            ("uint64_to_double", "(uint) -> double"),
        ],
    ),
    (
        "duration",
        to_duration,
        &[
            ("duration_to_duration", "(duration) -> duration"),
            ("int64_to_duration", "(int) -> duration"),
            ("string_to_duration", "(string) -> duration"),
        ],
    ),
    (
        "int",
        to_int,
        &[
            ("int64_to_int64", "(int) -> int"),
            ("double_to_int64", "(double) -> int"),
            ("duration_to_int64", "(duration) -> int"),
            ("string_to_int64", "(string) -> int"),
            ("timestamp_to_int64", "(timestamp) -> int"),
            ("uint64_to_int64", "(uint) -> int"),
        ],
    ),
    (
        "string",
        to_string,
        &[
            ("string_to_string", "(string) -> string"),
            ("bool_to_string", "(bool) -> string"),
            ("bytes_to_string", "(bytes) -> string"),
            ("double_to_string", "(double) -> string"),
            ("duration_to_string", "(duration) -> string"),
            ("int64_to_string", "(int) -> string"),
            ("timestamp_to_string", "(timestamp) -> string"),
            ("uint64_to_string", "(uint) -> string"),
            ("ip_to_string", "(ip) -> string"),
            ("cidr_to_string", "(cidr) -> string"),
        ],
    ),
    (
        "timestamp",
        to_timestamp,
        &[
            ("timestamp_to_timestamp", "(timestamp) -> timestamp"),
            ("int64_to_timestamp", "(int) -> timestamp"),
            ("string_to_timestamp", "(string) -> timestamp"),
        ],
    ),
    (
        "uint",
        to_uint,
        &[
            ("uint64_to_uint64", "(uint) -> uint"),
            ("double_to_uint64", "(double) -> uint"),
            ("int64_to_uint64", "(int) -> uint"),
            ("string_to_uint64", "(string) -> uint"),
        ],
    ),
];

fn one<'a>(arguments: &[Value<'a>], convert: impl FnOnce(&Value<'a>) -> Evaluated<'a>) -> Evaluated<'a> {
    match arguments {
        [value] => convert(value),
        _ => no_overload(),
    }
}

/// Reading a text looks at all of it.
fn read(arguments: &[Value<'_>], context: &mut Context<'_>) -> Result<(), EvalError> {
    match arguments {
        [Value::String(text)] => context.budget.work(text.len()),
        _ => Ok(()),
    }
}

/// The text does not say what is wanted.
fn unreadable<'a>(wanted: &str) -> Evaluated<'a> {
    failed(format!("type conversion error from 'string' to '{wanted}'"))
}

fn to_bool<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::Bool(value)] => Ok(Value::Bool(*value)),
        [Value::String(text)] => match &**text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
            _ => unreadable("bool"),
        },
        _ => no_overload(),
    }
}

fn to_bytes<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::Bytes(bytes)] => Ok(Value::Bytes(bytes.clone())),
        [Value::String(text)] => {
            context.budget.work(text.len())?;
            Ok(Value::Bytes(text.as_bytes().into()))
        }
        _ => no_overload(),
    }
}

fn to_double<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    read(arguments, context)?;
    match arguments {
        [Value::Double(value)] => Ok(Value::Double(*value)),
        [Value::Int(value)] => Ok(Value::Double(*value as f64)),
        [Value::Uint(value)] => Ok(Value::Double(*value as f64)),
        [Value::String(text)] => match text.parse::<f64>() {
            // What is too large to be a number is no number.
            Ok(value) if value.is_finite() || !text.bytes().any(|byte| byte.is_ascii_digit()) => {
                Ok(Value::Double(value))
            }
            _ => unreadable("double"),
        },
        _ => no_overload(),
    }
}

fn to_duration<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    read(arguments, context)?;
    match arguments {
        [Value::Duration(nanos) | Value::Int(nanos)] => Ok(Value::Duration(*nanos)),
        [Value::String(text)] => match time::parse_duration(text) {
            Some(nanos) => Ok(Value::Duration(nanos)),
            None => unreadable("google.protobuf.Duration"),
        },
        _ => no_overload(),
    }
}

fn to_int<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    read(arguments, context)?;
    match arguments {
        [Value::Int(value) | Value::Duration(value)] => Ok(Value::Int(*value)),
        [Value::Double(value)] => {
            if value.is_finite() && *value > i64::MIN as f64 && *value < i64::MAX as f64 {
                return Ok(Value::Int(*value as i64));
            }
            failed("integer overflow")
        }
        [Value::Uint(value)] => match i64::try_from(*value) {
            Ok(value) => Ok(Value::Int(value)),
            Err(_) => failed("integer overflow"),
        },
        [Value::String(text)] => match text.parse() {
            Ok(value) => Ok(Value::Int(value)),
            Err(_) => unreadable("int"),
        },
        [Value::Timestamp(at)] => Ok(Value::Int(at.as_second())),
        _ => no_overload(),
    }
}

fn to_uint<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    read(arguments, context)?;
    match arguments {
        [Value::Uint(value)] => Ok(Value::Uint(*value)),
        [Value::Double(value)] => {
            if value.is_finite() && *value >= 0.0 && *value < u64::MAX as f64 {
                return Ok(Value::Uint(*value as u64));
            }
            failed("unsigned integer overflow")
        }
        [Value::Int(value)] => match u64::try_from(*value) {
            Ok(value) => Ok(Value::Uint(value)),
            Err(_) => failed("unsigned integer overflow"),
        },
        [Value::String(text)] => match text.parse() {
            Ok(value) if !text.starts_with('+') => Ok(Value::Uint(value)),
            _ => unreadable("uint"),
        },
        _ => no_overload(),
    }
}

fn to_string<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::String(text)] => Ok(Value::String(text.clone())),
        [Value::Bytes(bytes)] => {
            context.budget.work(bytes.len())?;
            match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Value::text(text)),
                Err(_) => failed("invalid UTF-8 in bytes, cannot convert to string"),
            }
        }
        [Value::Double(value)] => Ok(Value::text(float_text(*value))),
        [Value::Other(Other::Ip(address))] => Ok(Value::text(address.to_string())),
        [Value::Other(Other::Cidr(cidr))] => Ok(Value::text(cidr.to_string())),
        [
            value @ (Value::Bool(_)
            | Value::Int(_)
            | Value::Uint(_)
            | Value::Duration(_)
            | Value::Timestamp(_)),
        ] => Ok(Value::text(value.to_string())),
        _ => no_overload(),
    }
}

fn to_timestamp<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    read(arguments, context)?;
    match arguments {
        [Value::Timestamp(at)] => Ok(Value::Timestamp(*at)),
        [Value::Int(seconds)] => time::checked(jiff::Timestamp::from_second(*seconds).ok()),
        [Value::String(text)] => match time::parse_moment(text) {
            Some(at) => time::checked(Some(at)),
            None => unreadable("google.protobuf.Timestamp"),
        },
        _ => no_overload(),
    }
}
