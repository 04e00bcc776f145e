//! From JSON to values, and back.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map as JsonMap, Number, Value as Json};

use super::{
    EvalError, Evaluated, List, Map, Object, Text, Value, duration_text, failed, shown, timestamp_text,
};
use crate::budget::Budget;
use crate::declared::{Declared, Shape};
use crate::time;

impl<'a> Value<'a> {
    /// Reads JSON, as what is declared about it says; without a declaration, as it stands there.
    pub fn from_json(json: &'a Json, declared: Option<&'a Declared>) -> Evaluated<'a> {
        let Some(declared) = declared else { return Ok(Self::plain(json)) };
        if json.is_null() {
            return if declared.nullable || matches!(declared.shape, Shape::Dyn | Shape::Other(_)) {
                Ok(Self::Null)
            } else {
                failed("invalid data, got null for schema with nullable=false")
            };
        }
        Ok(match (&declared.shape, json) {
            (Shape::Dyn | Shape::Other(_) | Shape::IntOrString, json) => Self::plain(json),
            (Shape::Bool, Json::Bool(value)) => Self::Bool(*value),
            (Shape::Int, Json::Number(number)) => match number.as_i64() {
                Some(value) => Self::Int(value),
                // A whole number may be written with a fraction of nothing.
                None => match number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() < 9.2e18) {
                    Some(value) => Self::Int(value as i64),
                    None => return mistyped(declared, json),
                },
            },
            (Shape::Uint, Json::Number(number)) => match number.as_u64() {
                Some(value) => Self::Uint(value),
                None => return mistyped(declared, json),
            },
            (Shape::Double, Json::Number(number)) => Self::Double(number.as_f64().unwrap_or_default()),
            (Shape::String, Json::String(text)) => Self::borrowed(text),
            (Shape::Bytes, Json::String(text)) => match STANDARD.decode(text) {
                Ok(bytes) => Self::Bytes(bytes.into()),
                Err(_) => return failed("invalid data, expected a base64 encoded string"),
            },
            (Shape::Timestamp, Json::String(text)) => match time::parse_date_or_moment(text) {
                Some(at) => Self::Timestamp(at),
                None => return failed(format!("Invalid date formatted string: {}", shown(text))),
            },
            (Shape::Duration, Json::String(text)) => match time::parse_any_duration(text) {
                Some(nanos) => Self::Duration(nanos),
                None => return failed(format!("Invalid duration formatted string: {}", shown(text))),
            },
            (Shape::List(..), Json::Array(items)) => Self::List(List::Json(items, Some(declared))),
            (Shape::Map(value), Json::Object(entries)) => Self::Map(Map::Json(entries, Some(value))),
            (Shape::Object(shape), Json::Object(fields)) => Self::Object(Object::Json(fields, shape)),
            _ => return mistyped(declared, json),
        })
    }

    fn plain(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Self::Int(value),
                None => Self::Double(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Self::borrowed(text),
            Json::Array(items) => Self::List(List::Json(items, None)),
            Json::Object(entries) => Self::Map(Map::Json(entries, None)),
        }
    }

    /// The value as JSON. Bytes are base64, moments and spans text; an absent value is no JSON.
    pub fn to_json(&self, budget: &mut Budget) -> Result<Json, EvalError> {
        budget.work(16)?;
        Ok(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => (*value).into(),
            Self::Uint(value) => (*value).into(),
            Self::Double(value) => match Number::from_f64(*value) {
                Some(number) => Json::Number(number),
                None => return failed(format!("{} is no number in JSON", super::float_text(*value))),
            },
            Self::String(text) => {
                budget.work(text.len())?;
                Json::String(text.to_string())
            }
            Self::Bytes(bytes) => {
                budget.work(bytes.len() * 2)?;
                Json::String(STANDARD.encode(bytes))
            }
            Self::Timestamp(at) => timestamp_text(*at).into(),
            Self::Duration(nanos) => duration_text(*nanos).into(),
            Self::List(list) => {
                let mut items = Vec::new();
                for element in list.iter() {
                    items.push(element?.to_json(budget)?);
                }
                Json::Array(items)
            }
            Self::Map(map) => {
                let mut fields = JsonMap::new();
                for (key, value) in map.entries().iter() {
                    let Value::String(name) = key else {
                        return failed(format!("unsupported key type '{}' in JSON object", key.ty().name()));
                    };
                    budget.work(name.len() + 32)?;
                    fields.insert(name.to_string(), value.clone()?.to_json(budget)?);
                }
                Json::Object(fields)
            }
            Self::Object(Object::Json(fields, _)) => {
                // What it was read from is what it is.
                let copied = Json::Object((*fields).clone());
                budget.work(copied.to_string().len())?;
                copied
            }
            Self::Object(Object::Made(made)) => {
                let mut fields = JsonMap::new();
                for (name, value) in made.fields.iter() {
                    budget.work(name.len() + 32)?;
                    fields.insert(name.to_string(), value.to_json(budget)?);
                }
                Json::Object(fields)
            }
            Self::Optional(Some(value)) => value.to_json(budget)?,
            Self::Optional(None) | Self::Type(_) | Self::Other(_) => {
                return failed(format!("a value of type '{}' is no JSON", self.ty().name()));
            }
        })
    }

    /// The value without anything borrowed, for what outlives the data.
    #[must_use]
    pub fn shared_text(text: &str) -> Value<'static> {
        Value::String(Text::Shared(Arc::from(text)))
    }
}

fn mistyped<T>(declared: &Declared, json: &Json) -> Result<T, EvalError> {
    let got = match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    };
    failed(format!("invalid data, expected {}, got {got}", declared.ty()))
}
