//! From a request's text to an object of its kind: types checked, unknown and duplicate fields found.
//!
//! What comes out is what a Kubernetes server would store: unknown fields are gone and `null` means
//! absent (unless a custom kind says otherwise), quantities and times are in canonical form. Messages
//! are those of Kubernetes' own decoder, down to the names of its Go types, since people search for them.

mod duplicates;

use base64::Engine as _;
use serde_json::{Map, Number, Value};

use crate::field::{Path, quote};
use crate::object::Object;
use crate::quantity::{Quantity, QuantityError};
use crate::schema::{Scalar, Schema, Type, TypeRef};
use crate::time;

/// What decoding gave.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The object: unknown fields and nulls gone, quantities and times in canonical form.
    pub object: Object,
    /// What strict field validation objects to, such as `unknown field "spec.foo"` and
    /// `duplicate field "spec.bar"`, the first hundred of each. See [`strict_error`].
    pub problems: Vec<String>,
}

/// What strict validation objects to, as far as it is told: one document may have a hundred thousand
/// such fields, each at a path of a megabyte.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    told: Vec<String>,
    bytes: usize,
}

/// So many problems are told, as in Kubernetes.
const PROBLEMS: usize = 100;
/// About so many bytes of them.
const PROBLEM_BYTES: usize = 64 << 10;

/// Why a document is no object of its kind; the wording is that of Kubernetes' decoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(
    /// Such as `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`.
    pub String,
);

/// Decodes JSON text.
pub fn slice(schema: &Schema, text: &[u8]) -> Result<Decoded, DecodeError> {
    let (document, duplicates) = parse(text)?;
    let mut decoded = value(schema, document)?;
    decoded.problems.splice(0..0, duplicates);
    Ok(decoded)
}

/// Parses JSON text, with `duplicate field "…"` for each field that occurs twice; the last one counts.
pub fn parse(text: &[u8]) -> Result<(Value, Vec<String>), DecodeError> {
    duplicates::parse(text).map_err(|error| DecodeError(syntax(&error)))
}

/// Decodes a document that was parsed already: YAML, or the outcome of a patch.
pub fn value(schema: &Schema, value: Value) -> Result<Decoded, DecodeError> {
    if let Some(structural) = schema.structural() {
        return crate::structural::decode::object(structural, value);
    }
    let mut walk = Walk { problems: Problems::default(), structure: "", fields: Vec::new() };
    let root = schema.root();
    let Value::Object(mut fields) = value else {
        let message =
            format!("json: cannot unmarshal {} into Go value of type {}", kind_of(&value), go_type(root));
        return Err(DecodeError(message));
    };
    walk.structure(root, &mut fields, &Path::EMPTY)?;
    Ok(Decoded { object: Object::from_fields(fields), problems: walk.problems.told })
}

/// The metadata of an object, with what it has that metadata lacks among the problems.
pub(crate) fn metadata(mut value: Value, problems: &mut Problems) -> Result<Value, DecodeError> {
    let definitions = crate::schema::builtin_definitions();
    let Some(ty) = definitions.type_of(crate::schema::OBJECT_META) else { return Ok(value) };
    let mut walk = Walk { problems: std::mem::take(problems), structure: "", fields: Vec::new() };
    let outcome = walk.value(ty, &mut value, &Path::root("metadata"));
    *problems = walk.problems;
    outcome.map(|()| value)
}

/// The message of a request refused under `fieldValidation=Strict`:
/// `strict decoding error: unknown field "spec.foo", duplicate field "spec.bar"`.
pub fn strict_error(problems: &[String]) -> String {
    format!("strict decoding error: {}", problems.join(", "))
}

/// The message of a request whose body is no object of the kind that the path asks for:
/// `Pod in version "v1" cannot be handled as a Pod: …`.
pub fn cannot_be_handled(kind: &str, version: &str, why: impl std::fmt::Display) -> String {
    format!("{kind} in version {} cannot be handled as a {kind}: {why}", quote(version))
}

impl Problems {
    fn push(&mut self, what: &str, path: &Path<'_>) {
        if self.has_room() {
            self.push_named(what, &path.to_string());
        }
    }

    /// As [`Problems::push`], of a place that is written already.
    pub(crate) fn push_named(&mut self, what: &str, path: &str) {
        if self.has_room() {
            let problem = format!("{what} {}", quote(path));
            self.bytes += problem.len();
            self.told.push(problem);
        }
    }

    /// What is told.
    pub(crate) fn into_told(self) -> Vec<String> {
        self.told
    }

    fn has_room(&self) -> bool {
        self.told.len() < PROBLEMS && self.bytes < PROBLEM_BYTES
    }
}

struct Walk<'a> {
    problems: Problems,
    /// The Go name of the innermost object type.
    structure: &'a str,
    /// The names of the fields from the root to here, list and map levels left out.
    fields: Vec<&'a str>,
}

impl<'a> Walk<'a> {
    /// Decodes fields where they are: nothing is moved, and most of what is sent is as it is to be.
    fn structure(
        &mut self,
        ty: TypeRef<'a>,
        fields: &mut Map<String, Value>,
        path: &Path<'_>,
    ) -> Result<(), DecodeError> {
        let Some(structure) = ty.structure() else { return Ok(()) };
        let outer = std::mem::replace(&mut self.structure, last_part(&structure.name));
        let mut drops = false;
        for (name, value) in fields.iter_mut() {
            let Some(field) = structure.field(name) else {
                if !structure.preserve_unknown {
                    self.problems.push("unknown field", &path.child(name));
                    drops = true;
                }
                continue;
            };
            if value.is_null() {
                drops |= !field.nullable;
                continue;
            }
            self.fields.push(&field.name);
            self.value(ty.of(field.ty), value, &path.child(name))?;
            self.fields.pop();
        }
        if drops {
            fields.retain(|name, value| match structure.field(name) {
                Some(field) => !value.is_null() || field.nullable,
                None => structure.preserve_unknown,
            });
        }
        self.structure = outer;
        Ok(())
    }

    fn value(&mut self, ty: TypeRef<'a>, value: &mut Value, path: &Path<'_>) -> Result<(), DecodeError> {
        match (ty.get(), &mut *value) {
            (Type::Any | Type::Deduced | Type::Elsewhere(_), _)
            | (Type::Raw(_), Value::Object(_) | Value::Null) => Ok(()),
            (Type::Struct { .. }, Value::Object(fields)) => self.structure(ty, fields, path),
            (Type::Map { .. }, Value::Object(fields)) => {
                let element = ty.element().expect("a map has values");
                let mut fields = fields.iter_mut();
                fields.try_for_each(|(key, value)| self.value(element, value, &path.child(key)))
            }
            (Type::List { .. }, Value::Array(items)) => {
                let element = ty.element().expect("a list has items");
                let mut items = items.iter_mut().enumerate();
                items.try_for_each(|(at, item)| self.value(element, item, &path.index(at)))
            }
            (Type::Struct { .. } | Type::Map { .. }, Value::Null) => {
                *value = Map::new().into();
                Ok(())
            }
            (Type::List { .. }, Value::Null) => {
                *value = Value::Array(Vec::new());
                Ok(())
            }
            (Type::Scalar(scalar), _) => self.scalar(*scalar, value),
            (_, value) => Err(self.mismatch(value, &go_type(ty))),
        }
    }

    fn scalar(&self, scalar: Scalar, value: &mut Value) -> Result<(), DecodeError> {
        let is_int32 = |number: &Number| number.as_i64().is_some_and(|whole| i32::try_from(whole).is_ok());
        let canonical: Value = match (scalar, &*value) {
            (Scalar::String | Scalar::IntOrString, Value::String(_))
            | (Scalar::Boolean, Value::Bool(_))
            | (Scalar::Number, Value::Number(_)) => return Ok(()),
            (Scalar::Int32 | Scalar::IntOrString, Value::Number(number)) if is_int32(number) => return Ok(()),
            (Scalar::Int64, Value::Number(number)) if number.is_i64() => return Ok(()),
            (Scalar::Int32, Value::Number(number)) => return Err(self.out_of_range(number, "int32")),
            (Scalar::Int64, Value::Number(number)) => return Err(self.out_of_range(number, "int64")),
            (Scalar::IntOrString, Value::Number(number)) => {
                return Err(DecodeError(format!(
                    "json: cannot unmarshal number {number} into Go value of type int32"
                )));
            }
            (Scalar::IntOrString, value) => {
                return Err(DecodeError(format!(
                    "json: cannot unmarshal {} into Go value of type int32",
                    kind_of(value)
                )));
            }
            (Scalar::Quantity, Value::String(text)) => quantity(text)?,
            (Scalar::Quantity, Value::Number(number)) => quantity(&number.to_string())?,
            (Scalar::Quantity, Value::Null) => "0".into(),
            (Scalar::Quantity, _) => return Err(DecodeError(QuantityError::Format.to_string())),
            (Scalar::Bytes, Value::String(text)) => bytes(text)?,
            (Scalar::Bytes, Value::Array(numbers)) => self.listed_bytes(numbers)?,
            (Scalar::Time, Value::String(text)) => moment(text, time::format)?,
            (Scalar::MicroTime, Value::String(text)) => moment(text, time::format_micro)?,
            (Scalar::Time | Scalar::MicroTime, value) => {
                return Err(DecodeError(format!(
                    "json: cannot unmarshal {} into Go value of type string",
                    kind_of(value)
                )));
            }
            // As an item of a list or a map, null is the zero value.
            (Scalar::String | Scalar::Bytes, Value::Null) => "".into(),
            (Scalar::Int32 | Scalar::Int64 | Scalar::Number, Value::Null) => 0.into(),
            (Scalar::Boolean, Value::Null) => false.into(),
            (scalar, value) => return Err(self.mismatch(value, go_scalar(scalar))),
        };
        *value = canonical;
        Ok(())
    }

    /// Go takes a list of numbers for bytes, too.
    fn listed_bytes(&self, numbers: &[Value]) -> Result<Value, DecodeError> {
        let byte = |number: &Value| {
            let byte = number.as_u64().and_then(|number| u8::try_from(number).ok());
            byte.ok_or_else(|| match number {
                Value::Number(number) => self.out_of_range(number, "uint8"),
                other => self.mismatch(other, "uint8"),
            })
        };
        let bytes: Vec<u8> = numbers.iter().map(byte).collect::<Result<_, _>>()?;
        Ok(base64::engine::general_purpose::STANDARD.encode(bytes).into())
    }

    fn out_of_range(&self, number: &Number, go: &str) -> DecodeError {
        DecodeError(format!("json: cannot unmarshal number {number} into {} of type {go}", self.place()))
    }

    fn mismatch(&self, value: &Value, go: &str) -> DecodeError {
        DecodeError(format!("json: cannot unmarshal {} into {} of type {go}", kind_of(value), self.place()))
    }

    fn place(&self) -> String {
        format!("Go struct field {}.{}", self.structure, self.fields.join("."))
    }
}

fn quantity(text: &str) -> Result<Value, DecodeError> {
    let quantity = text.trim().parse::<Quantity>().map_err(|error| DecodeError(error.to_string()))?;
    Ok(quantity.to_string().into())
}

fn bytes(text: &str) -> Result<Value, DecodeError> {
    use base64::DecodeError as Base64;
    // Line breaks are allowed inside, as Go's decoder has it.
    let clean: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    match base64::engine::general_purpose::STANDARD.decode(&clean) {
        Ok(_) => Ok(clean.into()),
        Err(error) => {
            let at = match error {
                Base64::InvalidByte(at, _) | Base64::InvalidLastSymbol(at, _) => at,
                Base64::InvalidLength(length) => length,
                Base64::InvalidPadding => clean.trim_end_matches('=').len(),
            };
            Err(DecodeError(format!("illegal base64 data at input byte {at}")))
        }
    }
}

fn moment(text: &str, format: fn(time::Timestamp) -> String) -> Result<Value, DecodeError> {
    if let Some(at) = time::parse(text) {
        return Ok(format(at).into());
    }
    let text = quote(text);
    Err(DecodeError(format!(
        "parsing time {text} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text} as \"2006\""
    )))
}

fn syntax(error: &serde_json::Error) -> String {
    // Go's wording depends on its parser's states; the place is what helps.
    format!("couldn't get version/kind; json parse error: {error}")
}

pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The Go type that Kubernetes declares for a type: `[]v1.Container`, `map[string]string`.
fn go_type(ty: TypeRef<'_>) -> String {
    let element = || ty.element().map(go_type).unwrap_or_default();
    match ty.get() {
        Type::Any | Type::Deduced | Type::Elsewhere(_) | Type::Raw(_) => "map[string]interface {}".to_owned(),
        Type::Scalar(scalar) => go_scalar(*scalar).to_owned(),
        Type::Map { .. } => format!("map[string]{}", element()),
        Type::List { .. } => format!("[]{}", element()),
        Type::Struct { .. } => {
            let name = ty.structure().map_or("", |structure| structure.name.as_ref());
            let mut parts = name.rsplitn(3, '.');
            match (parts.next(), parts.next()) {
                (Some(kind), Some(package)) => format!("{package}.{kind}"),
                _ => name.to_owned(),
            }
        }
    }
}

fn go_scalar(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::String => "string",
        Scalar::Bytes => "[]uint8",
        Scalar::Time => "v1.Time",
        Scalar::MicroTime => "v1.MicroTime",
        Scalar::Int32 => "int32",
        Scalar::Int64 => "int64",
        Scalar::Number => "float64",
        Scalar::Boolean => "bool",
        Scalar::IntOrString => "intstr.IntOrString",
        Scalar::Quantity => "resource.Quantity",
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests;
