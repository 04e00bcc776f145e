//! The schema of a custom kind, which its definition brings along: a structural one, as Kubernetes calls it.
//!
//! The types of all fields can be told from it without looking at a value, and what is asked of values beside
//! that (`allOf`, `not` and the like) says nothing of types. So it is known of every field whether it is one:
//! those that are not are pruned ([`decode`]), those that are left out are filled in ([`Structural::fill_in`]),
//! and values are checked ([`validate`]), with the words of Kubernetes' server. What server-side apply goes by
//! follows from it ([`types`]). Whether a document is such a schema is asked by [`rules`] before.

pub mod decode;
mod embedded;
mod fill;
mod format;
mod lists;
mod pattern;
pub mod rules;
pub mod types;
pub mod validate;

use serde_json::{Map, Value};

use pattern::Pattern;

use crate::field::FieldError;

pub use embedded::go_type;
pub use fill::TooMuch;
pub use format::is_known_format;
pub use pattern::{Regex, Room as PatternRoom, pattern_error, syntax_error};

/// So many errors are told of one document: what is wrong may be wrong a million times.
pub const MOST: usize = 256;

/// Whether there are so many errors that nobody looks for more.
fn is_full(errors: &[FieldError]) -> bool {
    errors.len() >= MOST
}

/// The schema of one value.
#[derive(Debug, Default)]
pub struct Structural {
    /// What the value is.
    pub kind: Kind,
    /// Whether it may be null.
    pub nullable: bool,
    /// Whether fields that are not specified are kept.
    pub preserve_unknown: bool,
    /// Whether it is a whole object of some kind, with metadata of its own.
    pub embedded: bool,
    /// Whether it is a whole number or a text.
    pub int_or_string: bool,
    /// Whether apply takes an object as one value.
    pub atomic: bool,
    /// How the items of a list are told apart.
    pub list: ListType,
    /// The fields that are specified, in the order of their names.
    pub properties: Box<[(Box<str>, Structural)]>,
    /// What fields hold that are not.
    pub additional: Additional,
    /// What the items of a list are.
    pub items: Option<Box<Structural>>,
    /// What is filled in where it is left out.
    pub default: Option<Box<Value>>,
    /// What is asked of the value.
    pub asked: Option<Box<Asked>>,
    /// Rules of `x-kubernetes-validations`.
    pub validations: Box<[ValidationRule]>,
}

/// What a value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Anything.
    #[default]
    Any,
    /// A list.
    Array,
    /// True or false.
    Boolean,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// An object.
    Object,
    /// A text.
    String,
}

/// How the items of a list are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Not at all.
    #[default]
    Atomic,
    /// By value.
    Set,
    /// By the values of these fields.
    Map(Box<[Box<str>]>),
}

/// What fields hold that are not specified.
#[derive(Debug, Default)]
pub enum Additional {
    /// Nothing is said of them.
    #[default]
    Unsaid,
    /// Anything, or they may not be there.
    Allowed(bool),
    /// Values of this schema.
    Of(Box<Structural>),
}

/// What is asked of a value.
#[derive(Debug, Default)]
pub struct Asked {
    /// The form of a text or the size of a number, if it is one that is known.
    pub format: Option<Box<str>>,
    /// The greatest number.
    pub maximum: Option<f64>,
    /// Whether that is too great itself.
    pub exclusive_maximum: bool,
    /// The least number.
    pub minimum: Option<f64>,
    /// Whether that is too small itself.
    pub exclusive_minimum: bool,
    /// What numbers are multiples of.
    pub multiple_of: Option<f64>,
    /// The most characters.
    pub max_length: Option<i64>,
    /// The fewest characters.
    pub min_length: Option<i64>,
    /// What a text matches.
    pub pattern: Option<Pattern>,
    /// The most items.
    pub max_items: Option<i64>,
    /// The fewest items.
    pub min_items: Option<i64>,
    /// The most fields.
    pub max_properties: Option<i64>,
    /// The fewest fields.
    pub min_properties: Option<i64>,
    /// Fields that must be there.
    pub required: Box<[Box<str>]>,
    /// The only values.
    pub values: Option<Box<[Value]>>,
    /// What all must hold of it.
    pub all_of: Box<[Structural]>,
    /// What must hold one of at least.
    pub any_of: Box<[Structural]>,
    /// What must hold exactly one of.
    pub one_of: Box<[Structural]>,
    /// What must not hold.
    pub not: Option<Box<Structural>>,
}

/// A rule of `x-kubernetes-validations`, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValidationRule {
    /// The expression that must be true.
    pub rule: Box<str>,
    /// What is said where it is not.
    pub message: Option<Box<str>>,
    /// An expression that makes what is said.
    pub message_expression: Option<Box<str>>,
    /// What kind of error it is.
    pub reason: Option<Box<str>>,
    /// The field that it is about.
    pub field_path: Option<Box<str>>,
    /// Whether `oldSelf` may be absent.
    pub optional_old_self: Option<bool>,
}

/// Why a document is not the schema of a custom kind; the wording is that of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StructuralError(pub String);

impl Structural {
    /// Reads a schema as a definition has it (`openAPIV3Schema`).
    ///
    /// One that breaks none of the [`rules`] can be read; of any other what is understood is.
    pub fn parse(schema: &Value) -> Result<Self, StructuralError> {
        let empty = Map::new();
        let fields = schema.as_object().unwrap_or(&empty);
        refuse_unsupported(fields)?;
        let flag = |name: &str| fields.get(name).and_then(Value::as_bool).unwrap_or_default();
        if fields.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
            let why = "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined";
            return Err(StructuralError(why.to_owned()));
        }
        let kind = Kind::named(text(fields, "type").unwrap_or_default());
        let int_or_string = flag("x-kubernetes-int-or-string");
        let items = match fields.get("items") {
            Some(Value::Array(list)) if !list.is_empty() => {
                let why = "OpenAPIV3Schema 'items' must be a schema, but is an array";
                return Err(StructuralError(why.to_owned()));
            }
            Some(items @ Value::Object(_)) => Some(Box::new(Self::parse(items)?)),
            _ => None,
        };
        let additional = match fields.get("additionalProperties") {
            Some(Value::Bool(allowed)) => Additional::Allowed(*allowed),
            Some(schema @ Value::Object(_)) => Additional::Of(Box::new(Self::parse(schema)?)),
            _ => Additional::Unsaid,
        };
        let mut properties: Vec<(Box<str>, Self)> = Vec::new();
        for (name, schema) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
            properties.push((Box::from(name.as_str()), Self::parse(schema)?));
        }
        properties.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Self {
            kind,
            nullable: flag("nullable"),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            int_or_string,
            atomic: text(fields, "x-kubernetes-map-type") == Some("atomic"),
            list: match text(fields, "x-kubernetes-list-type") {
                Some("set") => ListType::Set,
                Some("map") => ListType::Map(texts(fields, "x-kubernetes-list-map-keys")),
                _ => ListType::Atomic,
            },
            properties: properties.into(),
            additional,
            items,
            default: fields.get("default").filter(|default| !default.is_null()).cloned().map(Box::new),
            asked: Asked::parse(fields, kind, int_or_string)?,
            validations: validations(fields),
        })
    }

    /// The schema of a specified field.
    pub fn property(&self, name: &str) -> Option<&Self> {
        let at = self.properties.binary_search_by(|(known, _)| known.as_ref().cmp(name)).ok()?;
        Some(&self.properties[at].1)
    }

    /// The schema of fields that are not specified, where there is one.
    pub fn additional(&self) -> Option<&Self> {
        match &self.additional {
            Additional::Of(schema) => Some(schema),
            _ => None,
        }
    }

    /// The schema of a field, specified or not.
    fn field(&self, name: &str) -> Option<&Self> {
        self.property(name).or_else(|| self.additional())
    }

    /// Whether it or a part of it has rules of `x-kubernetes-validations`.
    pub fn has_validations(&self) -> bool {
        !self.validations.is_empty()
            || self.properties.iter().any(|(_, schema)| schema.has_validations())
            || self.additional().is_some_and(Self::has_validations)
            || self.items.as_ref().is_some_and(|items| items.has_validations())
    }
}

impl Kind {
    /// The type of that name; anything where there is none.
    pub fn named(name: &str) -> Self {
        match name {
            "array" => Self::Array,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "object" => Self::Object,
            "string" => Self::String,
            _ => Self::Any,
        }
    }

    /// Its name; empty for anything.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
        }
    }
}

impl Asked {
    /// What a schema asks; none where it asks nothing.
    fn parse(
        fields: &Map<String, Value>,
        kind: Kind,
        int_or_string: bool,
    ) -> Result<Option<Box<Self>>, StructuralError> {
        const WORDS: [&str; 19] = [
            "allOf",
            "anyOf",
            "enum",
            "exclusiveMaximum",
            "exclusiveMinimum",
            "format",
            "maxItems",
            "maxLength",
            "maxProperties",
            "maximum",
            "minItems",
            "minLength",
            "minProperties",
            "minimum",
            "multipleOf",
            "not",
            "oneOf",
            "pattern",
            "required",
        ];
        if !WORDS.iter().any(|word| fields.contains_key(*word)) {
            return Ok(None);
        }
        let number = |name: &str| fields.get(name).and_then(Value::as_f64);
        let whole = |name: &str| fields.get(name).and_then(Value::as_i64);
        let flag = |name: &str| fields.get(name).and_then(Value::as_bool).unwrap_or_default();
        let schemas = |name: &str| -> Result<Box<[Structural]>, StructuralError> {
            let list = fields.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            list.iter().map(Structural::parse).collect()
        };
        let format = text(fields, "format").filter(|format| format::applies(format, kind, int_or_string));
        Ok(Some(Box::new(Self {
            format: format.map(Box::from),
            maximum: number("maximum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            minimum: number("minimum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            multiple_of: number("multipleOf"),
            max_length: whole("maxLength"),
            min_length: whole("minLength"),
            pattern: text(fields, "pattern").filter(|pattern| !pattern.is_empty()).map(Pattern::new),
            max_items: whole("maxItems"),
            min_items: whole("minItems"),
            max_properties: whole("maxProperties"),
            min_properties: whole("minProperties"),
            required: texts(fields, "required"),
            values: fields
                .get("enum")
                .and_then(Value::as_array)
                .filter(|values| !values.is_empty())
                .map(|values| values.clone().into()),
            all_of: schemas("allOf")?,
            any_of: schemas("anyOf")?,
            one_of: schemas("oneOf")?,
            not: match fields.get("not") {
                Some(schema @ Value::Object(_)) => Some(Box::new(Structural::parse(schema)?)),
                _ => None,
            },
        })))
    }
}

/// Words of JSON schemas that have no place in one of a custom kind.
fn refuse_unsupported(fields: &Map<String, Value>) -> Result<(), StructuralError> {
    let is_set = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(map)) => name == "additionalItems" || !map.is_empty(),
        Some(_) => true,
    };
    let words = [
        ("id", "id"),
        ("$schema", "schema"),
        ("$ref", "$ref"),
        ("patternProperties", "patternProperties"),
        ("dependencies", "dependencies"),
        ("additionalItems", "additionalItems"),
        ("definitions", "definitions"),
    ];
    match words.iter().find(|(name, _)| is_set(name)) {
        Some((_, word)) => Err(StructuralError(format!("OpenAPIV3Schema '{word}' is not supported"))),
        None => Ok(()),
    }
}

fn validations(fields: &Map<String, Value>) -> Box<[ValidationRule]> {
    let list = fields.get("x-kubernetes-validations").and_then(Value::as_array);
    let rules = list.into_iter().flatten().map(|rule| {
        let words = |name: &str| rule.get(name).and_then(Value::as_str).map(Box::from);
        ValidationRule {
            rule: words("rule").unwrap_or_default(),
            message: words("message"),
            message_expression: words("messageExpression"),
            reason: words("reason"),
            field_path: words("fieldPath"),
            optional_old_self: rule.get("optionalOldSelf").and_then(Value::as_bool),
        }
    });
    rules.collect()
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

fn texts(fields: &Map<String, Value>, name: &str) -> Box<[Box<str>]> {
    let list = fields.get(name).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(Box::from).collect()
}

#[cfg(test)]
mod tests;
