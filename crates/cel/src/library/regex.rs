//! Patterns, in the dialect of Go.
//!
//! `\d`, `\w`, `\s` and `\b` mean ASCII there, brackets have no sets within sets, and numbers may be octal: a
//! pattern is written in the dialect of the crate `regex` before it is compiled, which takes time in proportion to
//! text and pattern as Go's does.

use ::regex::{Regex, RegexBuilder};

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

/// How large a compiled pattern may be, in bytes.
const LARGEST: usize = 1 << 20;
/// How many patterns that were made while evaluating are remembered.
const REMEMBERED: usize = 8;

/// Patterns that an evaluation has made itself.
#[derive(Default)]
pub(crate) struct Patterns(Vec<(Box<str>, Regex)>);

/// Compiles a pattern.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern)?;
    RegexBuilder::new(&translated)
        .size_limit(LARGEST)
        .dfa_size_limit(LARGEST)
        .nest_limit(200)
        .build()
        .map_err(|_| format!("error parsing regexp: invalid or too large: `{pattern}`"))
}

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
            context.budget.work(20_000 + 500 * text.len())?;
            let regex = compile(text).map_err(|error| EvalError::Failed(error.into()))?;
            if context.patterns.0.len() == REMEMBERED {
                context.patterns.0.remove(0);
            }
            context.patterns.0.push((text.into(), regex.clone()));
            regex
        }
    };
    then(&regex, context)
}

fn matches<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::String(text), Value::String(wanted)] = arguments else { return no_overload() };
    pattern(wanted, context, |regex, context| {
        context.budget.work(text.len())?;
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
        context.budget.work(text.len())?;
        Ok(regex.find(text).map_or_else(|| Value::borrowed(""), |found| part(text, found.range())))
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
        context.budget.work(text.len())?;
        let mut found = Vec::new();
        for one in regex.find_iter(text).take(most) {
            context.budget.work(32)?;
            found.push(part(text, one.range()));
        }
        Ok(Value::list(found))
    })
}

/// A pattern of Go's dialect in the dialect of the crate.
fn translate(pattern: &str) -> Result<String, String> {
    if pattern.len() > 100_000 {
        return Err("error parsing regexp: expression too large".to_owned());
    }
    let mut result = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars().peekable();
    let mut bracket = false;
    // What a bracket begins with is meant literally: `[]a]`.
    let mut first = false;
    while let Some(character) = rest.next() {
        let was_first = std::mem::take(&mut first);
        match character {
            '\\' => {
                let Some(escape) = rest.next() else {
                    return Err(
                        "error parsing regexp: trailing backslash at end of expression: ``".to_owned()
                    );
                };
                match (escape, bracket) {
                    ('d', true) => result.push_str("0-9"),
                    ('w', true) => result.push_str("0-9A-Za-z_"),
                    ('s', true) => result.push_str("\\t\\n\\x0C\\r "),
                    ('d', false) => result.push_str("[0-9]"),
                    ('w', false) => result.push_str("[0-9A-Za-z_]"),
                    ('s', false) => result.push_str("[\\t\\n\\x0C\\r ]"),
                    ('D', _) => result.push_str("[^0-9]"),
                    ('W', _) => result.push_str("[^0-9A-Za-z_]"),
                    ('S', _) => result.push_str("[^\\t\\n\\x0C\\r ]"),
                    ('b', false) => result.push_str("(?-u:\\b)"),
                    ('Q', false) => {
                        let mut literal = String::new();
                        for next in rest.by_ref() {
                            literal.push(next);
                            if literal.ends_with("\\E") {
                                literal.truncate(literal.len() - 2);
                                break;
                            }
                        }
                        result.push_str(&::regex::escape(&literal));
                    }
                    ('C', _) => return Err("error parsing regexp: invalid escape sequence: `\\C`".to_owned()),
                    ('0'..='7', _) => {
                        let mut number = escape.to_digit(8).unwrap_or(0);
                        let mut digits = 1;
                        while digits < 3
                            && let Some(digit) = rest.peek().and_then(|digit| digit.to_digit(8))
                        {
                            number = number * 8 + digit;
                            digits += 1;
                            rest.next();
                        }
                        if escape != '0' && digits == 1 {
                            return Err(format!(
                                "error parsing regexp: invalid escape sequence: `\\{escape}`"
                            ));
                        }
                        result.push_str(&format!("\\x{{{number:x}}}"));
                    }
                    _ => {
                        result.push('\\');
                        result.push(escape);
                    }
                }
            }
            '[' if !bracket => {
                bracket = true;
                first = true;
                result.push('[');
                if rest.peek() == Some(&'^') {
                    rest.next();
                    result.push('^');
                }
            }
            '[' if rest.peek() == Some(&':') => {
                // `[:alpha:]`
                let mut name = String::from("[");
                for next in rest.by_ref() {
                    name.push(next);
                    if name.len() > 2 && name.ends_with(":]") {
                        break;
                    }
                }
                result.push_str(&name);
            }
            '[' => result.push_str("\\["),
            ']' if was_first => result.push_str("\\]"),
            ']' if bracket => {
                bracket = false;
                result.push(']');
            }
            // Sets are not joined, cut or subtracted there.
            '&' | '~' if bracket => {
                result.push('\\');
                result.push(character);
            }
            '-' if bracket && rest.peek() == Some(&'-') => result.push_str("\\-"),
            other => result.push(other),
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        for (pattern, text, expected) in [
            (r"^\d+$", "12", true),
            (r"^\d+$", "٣", false),
            (r"^\w+$", "ä", false),
            (r"^[\w-]+$", "a-b_1", true),
            (r"^[]a]+$", "]a", true),
            (r"^[[:alpha:]]+$", "abc", true),
            (r"^[a&&b]+$", "&", true),
            (r"^[[]$", "[", true),
            (r"\bfoo\b", "a foo b", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"^\x41\101$", "AA", true),
            (r"(?i)ABC", "abc", true),
            (r"^\pL+$", "äö", true),
            (r"^[^\s]+$", "a b", false),
        ] {
            assert_eq!(compile(pattern).expect(pattern).is_match(text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_no_pattern_or_would_be_huge_is_refused() {
        for pattern in
            ["(", "[a", r"\8", "a{1000000}", "((((a{100}){100}){100}){100})", &"(".repeat(10_000), r"\"]
        {
            assert!(compile(pattern).is_err(), "{}", &pattern[..pattern.len().min(40)]);
        }
    }
}
