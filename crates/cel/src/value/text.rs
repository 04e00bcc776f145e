//! Text, and values as text.

use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;

use super::{EvalError, Value, failed};
use crate::budget::Budget;

/// Text that is borrowed from data, or shared among those that an expression made.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    /// Text of the data.
    Borrowed(&'a str),
    /// Text that was made.
    Shared(Arc<str>),
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text<'_> {}

impl Hash for Text<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl Text<'_> {
    /// How many characters it has.
    pub(crate) fn characters(&self) -> u64 {
        self.chars().count() as u64
    }
}

/// A floating-point number as Go's `%g` writes it.
pub(crate) fn float_text(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if number == 0.0 {
        return if number.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // However many digits there are, from a million on they have an exponent.
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{number}")
}

/// A span of time as text: seconds, as many digits behind the point as there are.
pub(crate) fn duration_text(nanos: i64) -> String {
    let seconds = (nanos / 1_000_000_000).unsigned_abs();
    let fraction = (nanos % 1_000_000_000).unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    if fraction == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{fraction:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

/// A moment as text: RFC 3339, as many digits behind the point as there are.
pub(crate) fn timestamp_text(at: Timestamp) -> String {
    let whole = at.strftime("%Y-%m-%dT%H:%M:%S");
    let nanos = at.subsec_nanosecond().rem_euclid(1_000_000_000);
    if nanos == 0 {
        return format!("{whole}Z");
    }
    let fraction = format!("{nanos:09}");
    format!("{whole}.{}Z", fraction.trim_end_matches('0'))
}

/// A value as `%s` of `format` writes it.
pub(crate) fn format_value(
    value: &Value<'_>,
    into: &mut String,
    budget: &mut Budget,
) -> Result<(), EvalError> {
    let before = into.len();
    match value {
        Value::String(text) => into.push_str(text),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => into.push_str(text),
            Err(_) => return failed("invalid UTF-8 in bytes, cannot convert to string"),
        },
        Value::List(list) => {
            into.push('[');
            for (index, element) in list.iter().enumerate() {
                if index > 0 {
                    into.push_str(", ");
                }
                nested(&element?, into, budget)?;
            }
            into.push(']');
        }
        Value::Map(map) => {
            let mut entries = Vec::with_capacity(map.len());
            for (key, value) in map.entries().iter() {
                let (mut name, mut text) = (String::new(), String::new());
                match key {
                    Value::String(_) | Value::Bool(_) | Value::Int(_) | Value::Uint(_) => {
                        nested(key, &mut name, budget)?;
                    }
                    other => {
                        let ty = other.ty();
                        return failed(format!("no formatting function for map key of type {}", ty.name()));
                    }
                }
                nested(&value.clone()?, &mut text, budget)?;
                entries.push((name, text));
            }
            entries.sort();
            into.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                let comma = if index > 0 { ", " } else { "" };
                let _ = write!(into, "{comma}{key}:{value}");
            }
            into.push('}');
        }
        Value::Object(_) | Value::Optional(_) | Value::Other(_) => {
            return failed(format!(
                "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, \
                 maps, lists, types, durations, and timestamps, was given {}",
                value.ty().name()
            ));
        }
        other => {
            let _ = write!(into, "{other}");
        }
    }
    budget.work(1 + into.len().saturating_sub(before))
}

/// A value within a list or a map: as the language would write it.
fn nested(value: &Value<'_>, into: &mut String, budget: &mut Budget) -> Result<(), EvalError> {
    match value {
        Value::String(text) => quote(text, into),
        Value::Bytes(bytes) => {
            into.push('b');
            quote(&String::from_utf8_lossy(bytes), into);
        }
        Value::Timestamp(at) => {
            let _ = write!(into, "timestamp(\"{}\")", timestamp_text(*at));
        }
        Value::Duration(nanos) => {
            let _ = write!(into, "duration(\"{}\")", duration_text(*nanos));
        }
        Value::Double(number) if number.is_finite() => {
            let _ = write!(into, "{number:.6}");
        }
        Value::Double(number) => {
            let _ = write!(into, "\"{}\"", float_text(*number));
        }
        Value::Object(_) | Value::Optional(_) | Value::Other(_) => {
            return failed(format!("no formatting function for {}", value.ty().name()));
        }
        other => return format_value(other, into, budget),
    }
    budget.work(1 + value.size() as usize)
}

/// Text in quotes, as Go's `%q` writes it.
pub(crate) fn quote(text: &str, into: &mut String) {
    into.push('"');
    for character in text.chars() {
        match character {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            '\u{7}' => into.push_str("\\a"),
            '\u{8}' => into.push_str("\\b"),
            '\u{b}' => into.push_str("\\v"),
            '\u{c}' => into.push_str("\\f"),
            control if (control as u32) < 0x20 || control == '\u{7f}' => {
                let _ = write!(into, "\\x{:02x}", control as u32);
            }
            other => into.push(other),
        }
    }
    into.push('"');
}
