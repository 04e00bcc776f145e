//! Laying an applied configuration over an object where nobody keeps track of who set what: what policies do that
//! change writes.

use serde_json::{Map, Value};

use super::field_set::Element;
use super::typed;
use crate::depth::{self, MAX_DEPTH};
use crate::schema::{ListKind, Scalar, Schema, Type, TypeRef};

/// Why a configuration cannot be laid over an object; the wording is Kubernetes'.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverlayError {
    /// It is not of its kind's types.
    #[error("failed to convert patch object to typed object: {0}")]
    Untyped(String),
    /// It sets a part of what is one value: the rest of that would go. These are the places, the first hundred.
    #[error("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}", .0.join(", "))]
    Atomic(Vec<String>),
    /// The object itself has items that cannot be told apart.
    #[error("failed to merge patch: {0}")]
    Merge(String),
}

/// So much that is wrong is told.
const MOST: usize = 100;

/// `live` with `applied` merged in, as server-side apply merges: what it does not name stays as it is. What comes out
/// wants decoding and defaulting.
pub fn overlay(schema: &Schema, live: &Value, applied: &Value) -> Result<Value, OverlayError> {
    let ty = Some(schema.root());
    if depth::of(applied, MAX_DEPTH) > MAX_DEPTH {
        return Err(OverlayError::Untyped(format!("it nests deeper than {MAX_DEPTH} levels")));
    }
    let mut check = Check::default();
    check.value(ty, applied);
    if !check.wrong.is_empty() {
        return Err(OverlayError::Untyped(told(&check.wrong)));
    }
    if let Err(error) = typed::fields_of(ty, applied) {
        return Err(OverlayError::Untyped(error.to_string()));
    }
    if !check.atomic.is_empty() {
        return Err(OverlayError::Atomic(check.atomic));
    }
    typed::merge(ty, live, applied).map_err(|error| OverlayError::Merge(error.to_string()))
}

fn told(wrong: &[String]) -> String {
    match wrong {
        [one] => one.clone(),
        more => format!("errors:\n  {}", more.join("\n  ")),
    }
}

/// What is found while a configuration is gone through.
#[derive(Default)]
struct Check {
    /// Steps; items of a list are named by what they are told apart by, where something is wrong with them, and by
    /// their places, where they are of one value.
    path: Vec<(Element, Option<usize>)>,
    wrong: Vec<String>,
    atomic: Vec<String>,
    /// Whether this is within what is no field of a struct: such places are not looked at for what is one value.
    unnamed: bool,
}

impl Check {
    fn place(&self) -> String {
        crate::field::shortened(self.path.iter().map(|(element, _)| element.to_string()).collect())
    }

    fn place_by_index(&self) -> String {
        let steps = self.path.iter().map(|(element, index)| match index {
            Some(index) => format!("[{index}]"),
            None => element.to_string(),
        });
        crate::field::shortened(steps.collect())
    }

    fn wrong(&mut self, what: impl std::fmt::Display) {
        if self.wrong.len() < MOST {
            let place = self.place();
            let colon = if place.is_empty() { "" } else { ": " };
            self.wrong.push(crate::field::shortened(format!("{place}{colon}{what}")));
        }
    }

    fn atomic(&mut self, is_atomic: bool) {
        if is_atomic && !self.unnamed && self.atomic.len() < MOST {
            self.atomic.push(self.place_by_index());
        }
    }

    fn within(&mut self, element: Element, ty: Option<TypeRef<'_>>, value: &Value) {
        self.path.push((element, None));
        self.value(ty, value);
        self.path.pop();
    }

    fn value(&mut self, ty: Option<TypeRef<'_>>, value: &Value) {
        if value.is_null() {
            return;
        }
        // Without a schema the types follow from the values: a list is one, an object is not.
        let Some(ty) = ty else { return self.deduced(value) };
        match (ty.get(), value) {
            (Type::Any | Type::Raw(_), value) => self.atomic(value.is_object() || value.is_array()),
            (Type::Deduced, value) => self.deduced(value),
            (Type::Elsewhere(_), _) => {}
            (Type::Scalar(scalar), value) => {
                if let Some(expected) = mistyped(*scalar, value) {
                    self.wrong(expected);
                }
            }
            (Type::Struct { atomic, .. }, Value::Object(fields)) => {
                self.atomic(*atomic);
                for (name, value) in fields {
                    match ty.field(name) {
                        Some((_, inner)) => self.within(Element::field(name), Some(inner), value),
                        None if ty.structure().is_some_and(|structure| structure.preserve_unknown) => {}
                        None => {
                            self.path.push((Element::field(name), None));
                            self.wrong("field not declared in schema");
                            self.path.pop();
                        }
                    }
                }
            }
            (Type::Map { atomic, .. }, Value::Object(fields)) => {
                self.atomic(*atomic);
                let outer = std::mem::replace(&mut self.unnamed, true);
                for (name, value) in fields {
                    self.within(Element::field(name), ty.element(), value);
                }
                self.unnamed = outer;
            }
            (Type::List { kind, .. }, Value::Array(items)) => {
                self.atomic(*kind == ListKind::Atomic);
                for (index, item) in items.iter().enumerate() {
                    let place = || Element::Index(i64::try_from(index).unwrap_or(i64::MAX));
                    let element = match kind {
                        ListKind::Atomic => place(),
                        kind => typed::element_of(Some(ty), kind, item).unwrap_or_else(|_| place()),
                    };
                    self.path.push((element, Some(index)));
                    self.value(ty.element(), item);
                    self.path.pop();
                }
            }
            (Type::Struct { .. } | Type::Map { .. }, other) => {
                self.wrong(format!("expected map, got &{{{}}}", go_value(other)));
            }
            (Type::List { .. }, other) => self.wrong(format!("expected list, got &{{{}}}", go_value(other))),
        }
    }

    fn deduced(&mut self, value: &Value) {
        match value {
            Value::Array(_) => self.atomic(true),
            Value::Object(fields) => {
                let outer = std::mem::replace(&mut self.unnamed, true);
                for (name, value) in fields {
                    self.within(Element::field(name), None, value);
                }
                self.unnamed = outer;
            }
            _ => {}
        }
    }
}

/// What is expected of a value without parts that is none of its type.
fn mistyped(scalar: Scalar, value: &Value) -> Option<String> {
    let is_scalar = !value.is_object() && !value.is_array();
    match scalar {
        Scalar::Int32 | Scalar::Int64 | Scalar::Number => {
            (!value.is_number()).then(|| format!("expected numeric (int or float), got {}", go_type(value)))
        }
        Scalar::Boolean => {
            (!value.is_boolean()).then(|| format!("expected boolean, got &{{{}}}", go_value(value)))
        }
        Scalar::String | Scalar::Bytes | Scalar::Time | Scalar::MicroTime => (!value.is_string())
            .then(|| format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_value(value))),
        Scalar::IntOrString | Scalar::Quantity => {
            (!is_scalar).then(|| format!("expected any scalar, got &{{{}}}", go_value(value)))
        }
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value as Go prints it.
fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().take(MOST).map(go_value).collect::<Vec<_>>().join(" "))
        }
        Value::Object(fields) => go_map(fields),
        other => other.to_string(),
    }
}

fn go_map(fields: &Map<String, Value>) -> String {
    let mut names: Vec<&String> = fields.keys().collect();
    names.sort();
    let parts = names.into_iter().take(MOST).map(|name| format!("{name}:{}", go_value(&fields[name])));
    format!("map[{}]", parts.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::GroupVersionKind;

    fn check(live: Value, applied: Value, expected: Result<Value, &str>) {
        let schema =
            crate::schema::builtin(&GroupVersionKind::new("apps", "v1", "Deployment")).expect("it is known");
        let merged = overlay(&schema, &live, &applied).map_err(|error| error.to_string());
        assert_eq!(
            merged.as_ref().map_err(String::as_str),
            expected.as_ref().map_err(|why| *why),
            "{applied}"
        );
    }

    fn pod(spec: Value) -> Value {
        json!({"spec": {"template": {"spec": spec}}})
    }

    #[test]
    fn what_it_names_is_set_and_all_else_stays() {
        check(
            pod(json!({"volumes": [{"name": "x"}]})),
            pod(json!({"volumes": [{"name": "y"}]})),
            Ok(pod(json!({"volumes": [{"name": "x"}, {"name": "y"}]}))),
        );
        check(
            pod(json!({"volumes": [{"name": "x"}, {"name": "y"}]})),
            pod(json!({"volumes": [{"name": "y", "hostPath": {"path": "a"}}]})),
            Ok(pod(json!({"volumes": [{"name": "x"}, {"name": "y", "hostPath": {"path": "a"}}]}))),
        );
        check(
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 1}}),
            json!({"metadata": {"labels": {"c": "d"}}, "spec": {"replicas": 2, "paused": true}}),
            Ok(
                json!({"metadata": {"labels": {"a": "b", "c": "d"}}, "spec": {"replicas": 2, "paused": true}}),
            ),
        );
        // Those that cannot be told apart are replaced together.
        check(
            pod(json!({"containers": [{"name": "a", "env": [
                {"name": "t", "value": "a"}, {"name": "t", "value": "b"}, {"name": "o", "value": "x"}]}]})),
            pod(json!({"containers": [{"name": "a", "env": [{"name": "t", "value": "c"}]}]})),
            Ok(pod(json!({"containers": [{"name": "a", "env": [
                {"name": "t", "value": "c"}, {"name": "o", "value": "x"}]}]}))),
        );
    }

    #[test]
    fn what_is_not_of_its_types_is_told() {
        let untyped = |applied: Value, why: &str| {
            check(json!({}), applied, Err(&format!("failed to convert patch object to typed object: {why}")));
        };
        untyped(json!({"spec": {"replicasx": 1}}), ".spec.replicasx: field not declared in schema");
        untyped(
            json!({"spec": {"replicas": "1"}}),
            ".spec.replicas: expected numeric (int or float), got string",
        );
        untyped(json!({"spec": {"template": 1}}), ".spec.template: expected map, got &{1}");
        untyped(
            pod(json!({"containers": {}})),
            ".spec.template.spec.containers: expected list, got &{map[]}",
        );
        untyped(
            json!({"a": 1, "spec": {"paused": 1}}),
            "errors:\n  .a: field not declared in schema\n  .spec.paused: expected boolean, got &{1}",
        );
        untyped(
            pod(json!({"containers": [{"name": "a", "tty": {}}]})),
            ".spec.template.spec.containers[name=\"a\"].tty: expected boolean, got &{map[]}",
        );
        untyped(
            pod(json!({"containers": [{"image": "a"}]})),
            ".spec.template.spec.containers: element 0: associative list with keys has an element that omits all key \
             fields [\"name\"] (and doesn't have default values for any key fields)",
        );
        untyped(
            pod(json!({"containers": [{"name": "a"}, {"name": "a"}]})),
            ".spec.template.spec.containers: duplicate entries for key [name=\"a\"]",
        );
        let deep = (0..2 * MAX_DEPTH).fold(json!(1), |inner, _| json!({"a": inner}));
        untyped(json!({"spec": deep}), &format!("it nests deeper than {MAX_DEPTH} levels"));
        let many: Map<String, Value> = (0..3 * MOST).map(|n| (format!("f{n}"), json!(1))).collect();
        let schema =
            crate::schema::builtin(&GroupVersionKind::new("apps", "v1", "Deployment")).expect("it is known");
        let error = overlay(&schema, &json!({}), &many.into()).expect_err("no such fields");
        assert_eq!(error.to_string().lines().count(), MOST + 1);
    }

    #[test]
    fn a_part_of_what_is_one_value_cannot_be_set() {
        let atomic = |applied: Value, places: &str| {
            let why = "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs";
            check(json!({}), applied, Err(&format!("{why}: {places}")));
        };
        atomic(json!({"spec": {"selector": {"matchLabels": {"l": "v"}}}}), ".spec.selector");
        atomic(
            pod(json!({"containers": [{"name": "a", "command": ["b"]}], "nodeSelector": {"a": "b"}})),
            ".spec.template.spec.containers[0].command, .spec.template.spec.nodeSelector",
        );
    }
}
