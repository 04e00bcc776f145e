//! Text: positions are counted in characters.

use super::{Context, Declaration, strings_format};
use crate::value::{EvalError, Evaluated, Text, Value, failed, no_overload};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("charAt", char_at, &[("string_char_at_int", "string.(int) -> string")]),
    (
        "indexOf",
        |arguments, context| position(arguments, context, false),
        &[
            ("string_index_of_string", "string.(string) -> int"),
            ("string_index_of_string_int", "string.(string, int) -> int"),
        ],
    ),
    (
        "lastIndexOf",
        |arguments, context| position(arguments, context, true),
        &[
            ("string_last_index_of_string", "string.(string) -> int"),
            ("string_last_index_of_string_int", "string.(string, int) -> int"),
        ],
    ),
    ("lowerAscii", lower, &[("string_lower_ascii", "string.() -> string")]),
    ("upperAscii", upper, &[("string_upper_ascii", "string.() -> string")]),
    (
        "replace",
        replace,
        &[
            ("string_replace_string_string", "string.(string, string) -> string"),
            ("string_replace_string_string_int", "string.(string, string, int) -> string"),
        ],
    ),
    (
        "split",
        split,
        &[
            ("string_split_string", "string.(string) -> list(string)"),
            ("string_split_string_int", "string.(string, int) -> list(string)"),
        ],
    ),
    (
        "substring",
        substring,
        &[
            ("string_substring_int", "string.(int) -> string"),
            ("string_substring_int_int", "string.(int, int) -> string"),
        ],
    ),
    ("trim", trim, &[("string_trim", "string.() -> string")]),
    ("format", strings_format::format, &[("string_format", "string.(list(dyn)) -> string")]),
    ("strings.quote", quote, &[("strings_quote", "(string) -> string")]),
    (
        "join",
        join,
        &[
            ("list_join", "list(string).() -> string"),
            ("list_join_string", "list(string).(string) -> string"),
        ],
    ),
];

fn out_of_range<T>(index: i64) -> Result<T, EvalError> {
    failed(format!("index out of range: {index}"))
}

/// Where a character begins, in bytes; the end is a place as well.
fn byte_of(text: &str, index: i64) -> Result<usize, EvalError> {
    let Ok(wanted) = usize::try_from(index) else { return out_of_range(index) };
    let mut places = text.char_indices().map(|(byte, _)| byte).chain([text.len()]);
    match places.nth(wanted) {
        Some(byte) => Ok(byte),
        None => out_of_range(index),
    }
}

/// A part of a text, which borrows from it where that is possible.
fn part<'a>(text: &Text<'a>, from: usize, to: usize) -> Value<'a> {
    match text {
        Text::Borrowed(text) => Value::borrowed(&text[from..to]),
        Text::Shared(text) => Value::text(&text[from..to]),
    }
}

fn char_at<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::String(text), Value::Int(index)] = arguments else { return no_overload() };
    context.budget.work(text.len() / 8)?;
    let from = byte_of(text, *index)?;
    let length = text[from..].chars().next().map_or(0, char::len_utf8);
    Ok(part(text, from, from + length))
}

pub(super) fn position<'a>(arguments: &[Value<'a>], context: &mut Context<'_>, last: bool) -> Evaluated<'a> {
    let (text, wanted, offset) = match arguments {
        [Value::String(text), Value::String(wanted)] => (text, wanted, None),
        [Value::String(text), Value::String(wanted), Value::Int(offset)] => (text, wanted, Some(*offset)),
        _ => return no_overload(),
    };
    context.budget.work(text.len() + wanted.len())?;
    let length = text.characters() as i64;
    if wanted.is_empty() {
        return Ok(Value::Int(offset.unwrap_or(if last { length } else { 0 })));
    }
    let offset = offset.unwrap_or(if last { (length - 1).max(0) } else { 0 });
    if offset < 0 {
        return out_of_range(offset);
    }
    if offset >= length {
        return Ok(Value::Int(-1));
    }
    let from = byte_of(text, offset)?;
    let found = if last {
        // It may begin at the offset and so end behind it. Where that is within a character, none begins there.
        let end = text.len().min(from + wanted.len());
        let end = (0..=end).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text[..end].rfind(&**wanted)
    } else {
        text[from..].find(&**wanted).map(|byte| byte + from)
    };
    Ok(Value::Int(found.map_or(-1, |byte| text[..byte].chars().count() as i64)))
}

fn lower<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::String(text)] = arguments else { return no_overload() };
    context.budget.work(text.len())?;
    Ok(Value::text(text.to_ascii_lowercase()))
}

fn upper<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::String(text)] = arguments else { return no_overload() };
    context.budget.work(text.len())?;
    Ok(Value::text(text.to_ascii_uppercase()))
}

fn replace<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let (text, old, new, most) = match arguments {
        [Value::String(text), Value::String(old), Value::String(new)] => (text, old, new, -1),
        [Value::String(text), Value::String(old), Value::String(new), Value::Int(most)] => {
            (text, old, new, *most)
        }
        _ => return no_overload(),
    };
    context.budget.work(text.len())?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut result = String::new();
    let mut from = 0;
    for (at, found) in text.match_indices(&**old).take(most) {
        context.budget.work(at - from + new.len())?;
        result.push_str(&text[from..at]);
        result.push_str(new);
        from = at + found.len();
    }
    if from == 0 && result.is_empty() {
        return Ok(Value::String(text.clone()));
    }
    context.budget.work(text.len() - from)?;
    result.push_str(&text[from..]);
    Ok(Value::text(result))
}

fn split<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let (text, separator, most) = match arguments {
        [Value::String(text), Value::String(separator)] => (text, separator, -1),
        [Value::String(text), Value::String(separator), Value::Int(most)] => (text, separator, *most),
        _ => return no_overload(),
    };
    context.budget.work(text.len())?;
    if most == 0 {
        return Ok(Value::list(Vec::new()));
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    let mut from = 0;
    if separator.is_empty() {
        // Each character by itself; the last has what is left.
        for (at, character) in text.char_indices() {
            context.budget.work(32)?;
            from = at;
            if parts.len() + 1 == most {
                break;
            }
            from = at + character.len_utf8();
            parts.push(part(text, at, from));
        }
        if from < text.len() {
            parts.push(part(text, from, text.len()));
        }
        return Ok(Value::list(parts));
    }
    for (at, found) in text.match_indices(&**separator).take(most.saturating_sub(1)) {
        context.budget.work(32)?;
        parts.push(part(text, from, at));
        from = at + found.len();
    }
    parts.push(part(text, from, text.len()));
    Ok(Value::list(parts))
}

fn substring<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let (text, from, to) = match arguments {
        [Value::String(text), Value::Int(from)] => (text, *from, None),
        [Value::String(text), Value::Int(from), Value::Int(to)] => (text, *from, Some(*to)),
        _ => return no_overload(),
    };
    context.budget.work(text.len() / 4)?;
    if let Some(to) = to.filter(|to| from > *to) {
        return failed(format!("invalid substring range. start: {from}, end: {to}"));
    }
    let begin = byte_of(text, from)?;
    let end = to.map_or(Ok(text.len()), |to| byte_of(text, to))?;
    Ok(part(text, begin, end))
}

fn trim<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::String(text)] = arguments else { return no_overload() };
    context.budget.work(text.len() / 4)?;
    let trimmed = text.trim();
    let from = trimmed.as_ptr() as usize - text.as_ptr() as usize;
    Ok(part(text, from, from + trimmed.len()))
}

fn quote<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::String(text)] = arguments else { return no_overload() };
    context.budget.work(2 * text.len())?;
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    Ok(Value::text(quoted))
}

fn join<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let (list, separator) = match arguments {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(separator)] => (list, &**separator),
        _ => return no_overload(),
    };
    let mut joined = String::new();
    for (index, element) in list.iter().enumerate() {
        match element? {
            Value::String(text) => {
                context.budget.work(separator.len() + text.len() + 1)?;
                if index > 0 {
                    joined.push_str(separator);
                }
                joined.push_str(&text);
            }
            other => return failed(format!("join: invalid input: {other}")),
        }
    }
    Ok(Value::text(joined))
}
