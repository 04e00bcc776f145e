//! Where in an object something is wrong, and what: field paths and field errors with Kubernetes' wording.

use std::collections::HashSet;
use std::fmt;

use serde_json::Value;

/// A place in an object, written as Kubernetes writes it: `spec.containers[0].env[2].name`.
///
/// A path is a chain of borrowed links on the caller's stack: making one costs nothing until an
/// error prints it.
///
/// ```
/// use model::field::Path;
/// let spec = Path::root("spec");
/// let containers = spec.child("containers");
/// assert_eq!(containers.index(0).child("name").to_string(), "spec.containers[0].name");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// What kind of wrong it is.
    pub kind: FieldErrorKind,
    /// Where, as printed from a [`Path`].
    pub field: String,
    /// The offending value; [`None`] where Kubernetes prints none.
    pub value: Option<Value>,
    /// More, for people; may be empty.
    pub detail: String,
}

/// The kinds of field errors; their names are wire format (`details.causes[].reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// `Required value`.
    Required,
    /// `Invalid value`.
    Invalid,
    /// `Invalid value`, because it is of the wrong type.
    TypeInvalid,
    /// `Unsupported value`: not one of an enumeration.
    NotSupported,
    /// `Duplicate value`.
    Duplicate,
    /// `Forbidden`: right in form but not allowed here.
    Forbidden,
    /// `Too long`.
    TooLong,
    /// `Too many`.
    TooMany,
    /// `Not found`: it refers to something that is not there.
    NotFound,
    /// `Internal error`.
    Internal,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Name(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The object itself: prints as nothing.
    pub const EMPTY: Path<'static> = Path { parent: None, step: Step::Root };

    /// Whether it names the object itself.
    pub fn is_root(&self) -> bool {
        matches!(self.step, Step::Root)
    }

    /// A path of one field.
    pub fn root(name: &'a str) -> Path<'a> {
        Path { parent: None, step: Step::Name(name) }
    }

    /// A field of what this path names.
    pub fn child(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Name(name) }
    }

    /// An item of the list that this path names.
    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// An entry of the map that this path names.
    pub fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}")?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Name(name) => {
                let leads = self.parent.is_some_and(|parent| !matches!(parent.step, Step::Root));
                if leads { write!(f, ".{name}") } else { f.write_str(name) }
            }
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

impl FieldError {
    /// Something that must be there is not.
    pub fn required(path: &Path<'_>, detail: impl Into<String>) -> Self {
        Self::build(FieldErrorKind::Required, path, None, detail)
    }

    /// A value that is malformed or out of bounds.
    pub fn invalid(path: &Path<'_>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::build(FieldErrorKind::Invalid, path, Some(value.into()), detail)
    }

    /// A value of the wrong type.
    pub fn type_invalid(path: &Path<'_>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::build(FieldErrorKind::TypeInvalid, path, Some(value.into()), detail)
    }

    /// A value that is none of those that an enumeration has.
    pub fn not_supported(path: &Path<'_>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|one| quote(one)).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self::build(FieldErrorKind::NotSupported, path, Some(value.into()), detail)
    }

    /// A value that was given before and may be given once only.
    pub fn duplicate(path: &Path<'_>, value: impl Into<Value>) -> Self {
        Self::build(FieldErrorKind::Duplicate, path, Some(value.into()), "")
    }

    /// A value that may not be set here.
    pub fn forbidden(path: &Path<'_>, detail: impl Into<String>) -> Self {
        Self::build(FieldErrorKind::Forbidden, path, None, detail)
    }

    /// A text of more than `max` bytes.
    pub fn too_long(path: &Path<'_>, max: usize) -> Self {
        Self::build(FieldErrorKind::TooLong, path, None, format!("may not be more than {max} bytes"))
    }

    /// A list with more than `max` items.
    pub fn too_many(path: &Path<'_>, actual: usize, max: usize) -> Self {
        let items = if max == 1 { "item" } else { "items" };
        Self::build(
            FieldErrorKind::TooMany,
            path,
            Some(actual.into()),
            format!("must have at most {max} {items}"),
        )
    }

    /// A reference to something that does not exist.
    pub fn not_found(path: &Path<'_>, value: impl Into<Value>) -> Self {
        Self::build(FieldErrorKind::NotFound, path, Some(value.into()), "")
    }

    /// The error without its field, as `details.causes[].message` has it.
    pub fn body(&self) -> String {
        let mut text = self.kind.title().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            match value {
                Value::String(string) => text.push_str(&quote(string)),
                other => text.push_str(&other.to_string()),
            }
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }

    fn build(kind: FieldErrorKind, path: &Path<'_>, value: Option<Value>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            field: shortened(path.to_string()),
            value: value.map(shortened_value),
            detail: shortened(detail.into()),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl FieldErrorKind {
    /// The wire name, such as `FieldValueRequired`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotFound => "FieldValueNotFound",
            Self::Internal => "InternalError",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotFound => "Not found",
            Self::Internal => "Internal error",
        }
    }
}

/// An error says no more of a place or a value than this: names of fields and texts may be megabytes long.
const LONGEST: usize = 16 << 10;

/// The beginning of a text that is too long to be told.
pub fn shortened(mut text: String) -> String {
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.shrink_to_fit();
        text.push_str("...");
    }
    text
}

fn shortened_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(shortened(text)),
        Value::Array(_) | Value::Object(_) if crate::size::of(&value, LONGEST) > LONGEST => {
            Value::String(shortened(value.to_string()))
        }
        other => other,
    }
}

/// Joins errors as Kubernetes does: one stands alone, several stand in brackets, equal ones once.
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let mut known = HashSet::new();
    texts.retain(|text| known.insert(text.clone()));
    match texts.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// Quotes a text as Go's `%q` does.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Whether Go takes it for printable: letters, marks, numbers, punctuation, symbols and the plain space.
pub fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // Behind a letter, so that a mark is not taken for one that has nothing to stand on.
    !c.is_control() && !format!("a{c}").escape_debug().to_string().contains("\\u{")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_print_as_kubernetes_prints_them() {
        let check = |error: FieldError, expected: &str| assert_eq!(error.to_string(), expected);
        let spec = Path::root("spec");
        check(FieldError::required(&spec.child("selector"), ""), "spec.selector: Required value");
        check(
            FieldError::invalid(&spec.child("replicas"), -1, "must be greater than or equal to 0"),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        );
        check(
            FieldError::not_supported(&spec.child("type"), "X", &["A", "B"]),
            "spec.type: Unsupported value: \"X\": supported values: \"A\", \"B\"",
        );
        let limits = spec.child("limits");
        check(FieldError::duplicate(&limits.key("cpu"), "1"), "spec.limits[cpu]: Duplicate value: \"1\"");
        check(FieldError::forbidden(&Path::EMPTY.child("a"), "no"), "a: Forbidden: no");
    }

    #[test]
    fn texts_are_quoted_as_go_quotes_them() {
        let cases = [
            ("", "\"\""),
            ("a \"b\" \\ 'c'", r#""a \"b\" \\ 'c'""#),
            ("\u{7}\u{8}\u{b}\u{c}\n\r\t", r#""\a\b\v\f\n\r\t""#),
            ("\0\u{1}\u{1b}\u{7f}", r#""\x00\x01\x1b\x7f""#),
            ("\u{85}\u{a0}\u{ad}\u{200b}\u{2028}\u{feff}", r#""\u0085\u00a0\u00ad\u200b\u2028\ufeff""#),
            ("\u{e0001}\u{10ffff}", r#""\U000e0001\U0010ffff""#),
            ("e\u{301}人é😀", "\"e\u{301}人é😀\""),
        ];
        for (text, quoted) in cases {
            assert_eq!(quote(text), quoted);
        }
    }

    #[test]
    fn an_error_is_short_whatever_it_is_about() {
        let long = "é".repeat(1 << 20);
        for value in [Value::from(long.as_str()), serde_json::json!([long]), serde_json::json!({"a": long})] {
            let error = FieldError::invalid(&Path::root(&long), value, long.as_str());
            assert!(error.to_string().len() < 4 * LONGEST, "{}", error.to_string().len());
        }
        let value = serde_json::json!({"a": [1, 2]});
        assert_eq!(FieldError::invalid(&Path::root("a"), value.clone(), "").value, Some(value));
    }

    #[test]
    fn several_errors_stand_in_brackets_once_each() {
        let one = FieldError::required(&Path::root("a"), "");
        let other = FieldError::required(&Path::root("b"), "");
        assert_eq!(aggregate(std::slice::from_ref(&one)), "a: Required value");
        assert_eq!(aggregate(&[one.clone(), other, one]), "[a: Required value, b: Required value]");
    }
}
