//! Patterns, in the dialect of Go. A match takes time in proportion to text and pattern, as Go's does.

use std::sync::Arc;

use model::structural::Regex;

use super::{Context, Declaration};
use crate::value::{EvalError, Evaluated, Text, Value, no_overload};

pub(super) const FUNCTIONS: &[Declaration] = &[
    (
        "matches",
        matches,
        &[("matches", "(string, string) -> bool"), ("matches_string", "string.(string) -> bool")],
    ),
    ("find", find, &[("string_find_string", "string.(string) -> string")]),
    (
        "findAll",
        find_all,
        &[
            ("string_find_all_string", "string.(string) -> list(string)"),
            ("string_find_all_string_int", "string.(string, int) -> list(string)"),
        ],
    ),
];

/// How many patterns that were made while evaluating are remembered.
const REMEMBERED: usize = 8;
/// How much work it is to find that a pattern is none, or too large.
const FAILED: usize = 2 << 20;
/// Of how many bytes of a compiled pattern going through a character of a text is one piece of work.
const BYTES_A_WORK: usize = 1 << 7;

/// Patterns that an evaluation has made itself.
#[derive(Default)]
pub(crate) struct Patterns(Vec<(Box<str>, Arc<Regex>)>);

fn pattern<T>(
    text: &str,
    context: &mut Context<'_>,
    then: impl FnOnce(&Regex, &mut Context<'_>) -> Result<T, EvalError>,
) -> Result<T, EvalError> {
    if let Some(known) = context.pattern {
        return then(known, context);
    }
    let found = context.patterns.0.iter().find(|(known, _)| **known == *text).map(|(_, regex)| regex.clone());
    let regex = match found {
        Some(regex) => regex,
        None => {
            // Compiling takes far longer than what Kubernetes counts for it.
            context.budget.work(20_000_usize.saturating_add(text.len().saturating_mul(500)))?;
            let regex = match Regex::new(text) {
                Ok(regex) => Arc::new(regex),
                Err(error) => {
                    // It may have taken as long as the largest.
                    context.budget.work(FAILED)?;
                    return Err(EvalError::Failed(error.into()));
                }
            };
            context.budget.work(regex.size())?;
            if context.patterns.0.len() == REMEMBERED {
                context.patterns.0.remove(0);
            }
            context.patterns.0.push((text.into(), regex.clone()));
            regex
        }
    };
    then(&regex, context)
}

/// Goes through a text: all states that the pattern can be in may have to be tried at each character.
fn go_through(length: usize, regex: &Regex, context: &mut Context<'_>) -> Result<(), EvalError> {
    context.budget.work(length.saturating_mul(1 + regex.size() / BYTES_A_WORK))
}

fn matches<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::String(text), Value::String(wanted)] = arguments else { return no_overload() };
    pattern(wanted, context, |regex, context| {
        go_through(text.len(), regex, context)?;
        Ok(Value::Bool(regex.is_match(text)))
    })
}

fn part<'a>(text: &Text<'a>, found: std::ops::Range<usize>) -> Value<'a> {
    match text {
        Text::Borrowed(text) => Value::borrowed(&text[found]),
        Text::Shared(text) => Value::text(&text[found]),
    }
}

fn find<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::String(text), Value::String(wanted)] = arguments else { return no_overload() };
    pattern(wanted, context, |regex, context| {
        go_through(text.len(), regex, context)?;
        Ok(regex.find(text).map_or_else(|| Value::borrowed(""), |found| part(text, found)))
    })
}

fn find_all<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let (text, wanted, most) = match arguments {
        [Value::String(text), Value::String(wanted)] => (text, wanted, usize::MAX),
        [Value::String(text), Value::String(wanted), Value::Int(most)] => {
            (text, wanted, usize::try_from(*most).unwrap_or(usize::MAX))
        }
        _ => return no_overload(),
    };
    pattern(wanted, context, |regex, context| {
        let mut found = Vec::new();
        if most > 0 {
            let ask = |length: usize| {
                context.budget.work(32)?;
                go_through(length, regex, context)
            };
            regex.find_all(text, ask, |one| {
                found.push(part(text, one));
                found.len() < most
            })?;
        }
        Ok(Value::list(found))
    })
}
