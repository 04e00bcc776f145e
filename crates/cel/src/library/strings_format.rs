//! `format`: text with clauses such as `%s`, `%d` and `%.3f`.

use super::Context;
use crate::value::{EvalError, Evaluated, List, Value, failed, float_text, format_value, no_overload};

/// How many digits behind the point may be asked for.
const MOST_DIGITS: usize = 1_000;
/// How many there are where nobody says.
const DIGITS: usize = 6;

pub(super) fn format<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::String(text), Value::List(values)] = arguments else { return no_overload() };
    let mut result = String::new();
    let mut rest: &str = text;
    let mut used = 0;
    while let Some(at) = rest.find('%') {
        context.budget.work(at + 1)?;
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            result.push('%');
            rest = after;
            continue;
        }
        let clause = Clause::read(rest)?;
        let value = argument(values, used)?;
        used += 1;
        let before = result.len();
        clause.write(&value, &mut result, context)?;
        context.budget.work(result.len() - before)?;
        rest = &rest[clause.length..];
    }
    context.budget.work(rest.len())?;
    result.push_str(rest);
    Ok(Value::text(result))
}

fn argument<'a>(values: &List<'a>, index: usize) -> Evaluated<'a> {
    if index >= values.len() {
        return failed(format!("index {index} out of range"));
    }
    values.get(index)
}

struct Clause {
    verb: char,
    digits: Option<usize>,
    /// How many bytes it takes.
    length: usize,
}

impl Clause {
    fn read(text: &str) -> Result<Self, EvalError> {
        let mut rest = text;
        let mut digits = None;
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            if end == 0 {
                return failed("error while parsing precision: could not find end of precision specifier");
            }
            match after[..end].parse::<usize>() {
                Ok(wanted) if wanted <= MOST_DIGITS => digits = Some(wanted),
                _ => return failed(format!("precision {} is too large", &after[..end.min(20)])),
            }
            rest = &after[end..];
        }
        let Some(verb) = rest.chars().next() else { return failed("unexpected end of string") };
        let length = text.len() - rest.len() + verb.len_utf8();
        Ok(Self { verb, digits, length })
    }

    fn write(
        &self,
        value: &Value<'_>,
        into: &mut String,
        context: &mut Context<'_>,
    ) -> Result<(), EvalError> {
        let wrong = |clause: &str, types: &str| {
            let ty = value.ty();
            failed(format!(
                "error during formatting: {clause} clause can only be used on {types}, was given {}",
                ty.name()
            ))
        };
        let digits = self.digits.unwrap_or(DIGITS);
        match (self.verb, value) {
            ('s', value) => format_value(value, into, context.budget)?,
            ('d', Value::Int(number)) => into.push_str(&number.to_string()),
            ('d', Value::Uint(number)) => into.push_str(&number.to_string()),
            ('d', _) => return wrong("decimal", "integers"),
            ('f' | 'e', value) => {
                let number = match value {
                    Value::Double(number) => *number,
                    Value::String(text) => match &**text {
                        "NaN" => f64::NAN,
                        "Infinity" => f64::INFINITY,
                        "-Infinity" => f64::NEG_INFINITY,
                        _ => {
                            return wrong(
                                if self.verb == 'f' { "fixed-point" } else { "scientific" },
                                "doubles",
                            );
                        }
                    },
                    _ => {
                        return wrong(if self.verb == 'f' { "fixed-point" } else { "scientific" }, "doubles");
                    }
                };
                into.push_str(&float(number, digits, self.verb == 'e'));
            }
            ('b', Value::Int(number)) => {
                into.push_str(&signed(*number, |magnitude| format!("{magnitude:b}")));
            }
            ('b', Value::Uint(number)) => into.push_str(&format!("{number:b}")),
            ('b', Value::Bool(value)) => into.push(if *value { '1' } else { '0' }),
            ('b', _) => return wrong("binary", "integers and bools"),
            ('o', Value::Int(number)) => {
                into.push_str(&signed(*number, |magnitude| format!("{magnitude:o}")));
            }
            ('o', Value::Uint(number)) => into.push_str(&format!("{number:o}")),
            ('o', _) => return wrong("octal", "integers"),
            ('x' | 'X', value) => {
                let bytes = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                let text = match value {
                    Value::Int(number) => signed(*number, |magnitude| format!("{magnitude:x}")),
                    Value::Uint(number) => format!("{number:x}"),
                    Value::String(text) => {
                        context.budget.work(8 * text.len())?;
                        bytes(text.as_bytes())
                    }
                    Value::Bytes(value) => {
                        context.budget.work(8 * value.len())?;
                        bytes(value)
                    }
                    _ => return wrong("hex", "integers, byte buffers, and strings"),
                };
                into.push_str(&if self.verb == 'X' { text.to_ascii_uppercase() } else { text });
            }
            (verb, _) => {
                return failed(format!(
                    "could not parse formatting clause: unrecognized formatting clause \"{verb}\""
                ));
            }
        }
        Ok(())
    }
}

fn signed(number: i64, digits: impl FnOnce(u64) -> String) -> String {
    let text = digits(number.unsigned_abs());
    if number < 0 { format!("-{text}") } else { text }
}

/// A number as English writes it: digits in groups of three, `1.000000 × 10³` with an exponent.
fn float(number: f64, digits: usize, scientific: bool) -> String {
    if !number.is_finite() {
        return match float_text(number).as_str() {
            "NaN" => "NaN".to_owned(),
            "+Inf" => "∞".to_owned(),
            _ => "-∞".to_owned(),
        };
    }
    if scientific {
        let text = format!("{number:.digits$e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let raised: String = format!("{}{:02}", if exponent < 0 { "-" } else { "" }, exponent.abs())
            .chars()
            .map(|digit| match digit {
                '-' => '⁻',
                '0' => '⁰',
                '1' => '¹',
                '2' => '²',
                '3' => '³',
                '4' => '⁴',
                '5' => '⁵',
                '6' => '⁶',
                '7' => '⁷',
                '8' => '⁸',
                _ => '⁹',
            })
            .collect();
        return format!("{mantissa}\u{202f}×\u{202f}10{raised}");
    }
    let text = format!("{number:.digits$}");
    let (whole, fraction) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match fraction {
        Some(fraction) => format!("{sign}{grouped}.{fraction}"),
        None => format!("{sign}{grouped}"),
    }
}
