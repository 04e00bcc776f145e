//! Named formats of text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::names;

use super::{Context, Declaration, Other, urls};
use crate::time;
use crate::value::{Evaluated, Value, no_overload};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("format.named", by_name, &[("format-named", "(string) -> optional(format)")]),
    ("validate", validate, &[("format-validate", "format.(string) -> optional(list(string))")]),
];

/// A format of text.
#[derive(Debug)]
pub struct Format {
    /// The function that gives it.
    pub(super) function: &'static str,
    pub(super) name: &'static str,
    /// How long a pattern for it would be: cost is counted by that.
    pub(crate) pattern: u64,
    check: fn(&str) -> Vec<String>,
}

/// Every format.
pub(super) const FORMATS: &[Format] = &[
    Format {
        function: "format.dns1123Label",
        name: "DNS1123Label",
        pattern: 30,
        check: names::dns1123_label,
    },
    Format {
        function: "format.dns1123Subdomain",
        name: "DNS1123Subdomain",
        pattern: 60,
        check: names::dns1123_subdomain,
    },
    Format {
        function: "format.dns1035Label",
        name: "DNS1035Label",
        pattern: 30,
        check: names::dns1035_label,
    },
    Format { function: "format.qualifiedName", name: "QualifiedName", pattern: 60, check: names::qualified },
    Format {
        function: "format.dns1123LabelPrefix",
        name: "DNS1123LabelPrefix",
        pattern: 30,
        check: |text| names::dns1123_label(&without_dash(text)),
    },
    Format {
        function: "format.dns1123SubdomainPrefix",
        name: "DNS1123SubdomainPrefix",
        pattern: 60,
        check: |text| names::dns1123_subdomain(&without_dash(text)),
    },
    Format {
        function: "format.dns1035LabelPrefix",
        name: "DNS1035LabelPrefix",
        pattern: 30,
        check: |text| names::dns1035_label(&without_dash(text)),
    },
    Format { function: "format.labelValue", name: "LabelValue", pattern: 40, check: names::label_value },
    Format {
        function: "format.uri",
        name: "URI",
        pattern: 1103,
        check: |text| urls::parse(text, true).err().into_iter().collect(),
    },
    Format {
        function: "format.uuid",
        name: "uuid",
        pattern: 117,
        check: |text| unless(is_uuid(text), "does not match the UUID format"),
    },
    Format {
        function: "format.byte",
        name: "byte",
        pattern: 84,
        check: |text| unless(!text.is_empty() && STANDARD.decode(text).is_ok(), "invalid base64"),
    },
    Format {
        function: "format.date",
        name: "date",
        pattern: 118,
        check: |text| unless(text.len() == 10 && time::parse_date_or_moment(text).is_some(), "invalid date"),
    },
    Format {
        function: "format.datetime",
        name: "datetime",
        pattern: 118,
        check: |text| unless(time::parse_moment(text).is_some(), "invalid datetime"),
    },
];

/// A prefix may end with a hyphen, since something follows.
fn without_dash(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(before) if !before.is_empty() => format!("{before}a"),
        _ => text.to_owned(),
    }
}

fn unless(valid: bool, message: &str) -> Vec<String> {
    if valid { Vec::new() } else { vec![message.to_owned()] }
}

fn is_uuid(text: &str) -> bool {
    let digits: Vec<&str> = text.split('-').collect();
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match digits.as_slice() {
        [whole] => whole.len() == 32 && plain(whole),
        [a, b, c, d, e] => [(a, 8), (b, 4), (c, 4), (d, 4), (e, 12)]
            .iter()
            .all(|(part, length)| part.len() == *length && plain(part)),
        _ => false,
    }
}

/// The function of a format's name: which one it was is in the overload.
pub(super) fn named<'a>(_: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    match FORMATS.iter().find(|format| format.function == context.overload) {
        Some(format) => Ok(Value::Other(Other::Format(format))),
        None => no_overload(),
    }
}

fn by_name<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::String(name)] = arguments else { return no_overload() };
    let found = FORMATS.iter().find(|format| format.function.strip_prefix("format.") == Some(name));
    Ok(found.map_or(Value::Optional(None), |format| Value::some(Value::Other(Other::Format(format)))))
}

fn validate<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::Other(Other::Format(format)), Value::String(text)] = arguments else { return no_overload() };
    context.budget.work(8 * text.len())?;
    let wrong = (format.check)(text);
    if wrong.is_empty() {
        return Ok(Value::Optional(None));
    }
    Ok(Value::some(Value::list(wrong.into_iter().map(Value::text).collect())))
}
