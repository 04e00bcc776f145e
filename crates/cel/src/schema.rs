//! From OpenAPI schemas to what is declared about data.
//!
//! The schema is JSON as a CustomResourceDefinition or an OpenAPI document has it. What expressions may not see
//! (lists without items, objects of which only some fields are known) is left out, as Kubernetes leaves it out.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::declared::{Declared, Field, ListKind, ObjectShape, Shape};
use crate::escape::escape;

/// How many bytes a request has at most: what can be in it follows from that.
pub const MAX_REQUEST: u64 = 3 * 1024 * 1024;
/// How many schemas are looked at for one: each that is referred to is looked at for each place that refers to it.
const MOST: u32 = 100_000;
/// How deep a schema is followed.
const DEEPEST: u32 = 64;

/// What the place of a schema is found by: `$ref` in OpenAPI documents.
pub type Resolve<'a> = &'a dyn Fn(&str) -> Option<&'a Value>;

/// What is declared about data of this schema. [`None`] if expressions may not see it.
///
/// `root` says that it is an object of the API with kind and name, whatever else the schema says.
pub fn declare(schema: &Value, root: bool) -> Option<Arc<Declared>> {
    declare_with(schema, root, &|_| None)
}

/// As [`declare`], for a schema that refers to others. What is within itself is seen as anything.
pub fn declare_with<'a>(schema: &'a Value, root: bool, resolve: Resolve<'a>) -> Option<Arc<Declared>> {
    Maker { resolve, within: Vec::new(), depth: 0, left: MOST }.declare(schema, root).map(Arc::new)
}

struct Maker<'a> {
    resolve: Resolve<'a>,
    within: Vec<&'a str>,
    depth: u32,
    /// How many schemas may still be looked at.
    left: u32,
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool).unwrap_or_default()
}

fn count(schema: &Value, key: &str) -> Option<u64> {
    let value = schema.get(key)?;
    Some(value.as_u64().or_else(|| value.as_f64().map(|number| number.max(0.0) as u64)).unwrap_or(0))
}

impl<'a> Maker<'a> {
    fn declare(&mut self, schema: &'a Value, root: bool) -> Option<Declared> {
        if self.depth == DEEPEST || self.left == 0 {
            return None;
        }
        self.left -= 1;
        self.depth += 1;
        let declared = self.referred(schema, root);
        self.depth -= 1;
        declared
    }

    fn referred(&mut self, schema: &'a Value, root: bool) -> Option<Declared> {
        let reference = schema.get("$ref").or_else(|| match schema.get("allOf")?.as_array()?.as_slice() {
            [one] => one.get("$ref"),
            _ => None,
        });
        let Some(name) = reference.and_then(Value::as_str) else {
            return self.plain(schema, root);
        };
        if self.within.contains(&name) {
            return Some(Declared::new(Shape::Dyn, 0, 1));
        }
        let target = (self.resolve)(name)?;
        self.within.push(name);
        let declared = self.declare(target, root);
        self.within.pop();
        declared
    }

    fn plain(&mut self, schema: &'a Value, root: bool) -> Option<Declared> {
        let mut declared = self.shaped(schema, root)?;
        declared.nullable = flag(schema, "nullable");
        Some(declared)
    }

    fn shaped(&mut self, schema: &'a Value, root: bool) -> Option<Declared> {
        let in_characters = |schema| count(schema, "maxLength").map(|most| most.saturating_mul(4));
        if flag(schema, "x-kubernetes-int-or-string") || text(schema, "format") == "int-or-string" {
            return Some(Declared::new(
                Shape::IntOrString,
                in_characters(schema).unwrap_or(MAX_REQUEST - 2),
                1,
            ));
        }
        match text(schema, "type") {
            "array" => {
                let items = schema.get("items")?;
                let element = self.declare(items, flag(items, "x-kubernetes-embedded-resource"))?;
                let most = count(schema, "maxItems").unwrap_or((MAX_REQUEST - 2) / (element.least_json + 1));
                Some(Declared::new(Shape::List(Arc::new(element), list_kind(schema)), most, 2))
            }
            "object" => {
                if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
                    let value = self.declare(values, flag(values, "x-kubernetes-embedded-resource"))?;
                    let most =
                        count(schema, "maxProperties").unwrap_or((MAX_REQUEST - 2) / (value.least_json + 6));
                    return Some(Declared::new(Shape::Map(Arc::new(value)), most, 2));
                }
                Some(self.object(schema, root))
            }
            "string" => Some(match text(schema, "format") {
                "byte" => {
                    Declared::new(Shape::Bytes, count(schema, "maxLength").unwrap_or(MAX_REQUEST - 2), 2)
                }
                "duration" => Declared::new(Shape::Duration, 32, 3),
                "date" => Declared::new(Shape::Timestamp, 12, 12),
                "date-time" => Declared::new(Shape::Timestamp, 32, 21),
                _ => {
                    let values =
                        schema.get("enum").and_then(Value::as_array).filter(|values| !values.is_empty());
                    let most = in_characters(schema).or_else(|| {
                        values.map(|values| {
                            let lengths =
                                values.iter().filter_map(Value::as_str).map(|value| value.len() as u64);
                            lengths.max().unwrap_or(0)
                        })
                    });
                    Declared::new(Shape::String, most.unwrap_or(MAX_REQUEST - 2), 2)
                }
            }),
            "boolean" => Some(Declared::new(Shape::Bool, 0, 4)),
            "number" => Some(Declared::new(Shape::Double, 0, 1)),
            "integer" => Some(Declared::new(Shape::Int, 0, 1)),
            _ => None,
        }
    }

    fn object(&mut self, schema: &'a Value, root: bool) -> Declared {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let properties = schema.get("properties").and_then(Value::as_object);
        let mut fields = BTreeMap::new();
        let mut least_json = 2;
        for (name, property) in properties.into_iter().flatten() {
            let own = root && matches!(name.as_str(), "kind" | "apiVersion" | "metadata");
            let Some(declared) = (if own { None } else { self.property(property) }) else { continue };
            if required.contains(&name.as_str()) && property.get("default").is_none_or(Value::is_null) {
                least_json += name.len() as u64 + declared.least_json + 4;
            }
            if let Some(escaped) = escape(name) {
                let field = Field { json: name.as_str().into(), declared: Arc::new(declared) };
                fields.insert(Arc::from(escaped.as_ref()), field);
            }
        }
        if root {
            // Kind and name are always there, and all that is seen of the metadata unless the schema says more.
            let text = || Arc::new(Declared::new(Shape::String, MAX_REQUEST - 2, 2));
            for name in ["kind", "apiVersion"] {
                fields.insert(name.into(), Field { json: name.into(), declared: text() });
            }
            let metadata = properties
                .and_then(|properties| properties.get("metadata"))
                .and_then(|metadata| self.property(metadata));
            let whole = metadata.filter(|metadata| {
                metadata.field("name").is_some() && metadata.field("generateName").is_some()
            });
            let metadata = whole.map(Arc::new).unwrap_or_else(|| {
                Arc::new(Declared::object("object", [("name", text()), ("generateName", text())]))
            });
            fields.insert("metadata".into(), Field { json: "metadata".into(), declared: metadata });
        }
        Declared::new(Shape::Object(Arc::new(ObjectShape { name: "object".into(), fields })), 0, least_json)
    }

    fn property(&mut self, property: &'a Value) -> Option<Declared> {
        self.declare(property, flag(property, "x-kubernetes-embedded-resource"))
    }
}

fn list_kind(schema: &Value) -> ListKind {
    match text(schema, "x-kubernetes-list-type") {
        "set" => ListKind::Set,
        "map" => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            ListKind::Map(keys.into_iter().flatten().filter_map(Value::as_str).map(Arc::from).collect())
        }
        _ => ListKind::Atomic,
    }
}
