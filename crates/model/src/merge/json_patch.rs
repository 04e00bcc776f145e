//! JSON Patch, RFC 6902.
//!
//! A patch is small and what it does may be large: copies double a document, lists are moved by one
//! place again and again, values are put into themselves. What a patch may cost is bounded as in
//! Kubernetes, by its operations and the bytes that it copies, and besides by depth and by moved items.

use serde_json::{Map, Value};

use crate::depth::{self, MAX_DEPTH};
use crate::field::quote;

/// Why a patch could not be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonPatchError {
    /// The patch itself is malformed: a bad request.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the document: the request cannot be processed (422).
    #[error("{0}")]
    Failed(String),
    /// A test failed: as [`Failed`](Self::Failed), for whoever asked for the patch.
    #[error("{0}")]
    TestFailed(String),
    /// The patch asks for more than one may (413).
    #[error("{0}")]
    TooLarge(String),
}

/// What one patch may hold, as in Kubernetes.
const MAX_OPERATIONS: usize = 10_000;
/// How many bytes of JSON all copies of one patch may add up to, as in Kubernetes.
const MAX_COPIED: usize = 3 << 20;
/// How many values may be looked at or moved aside for all operations of one patch together.
const MAX_WORK: usize = 20_000_000;

/// What is left of the bounds while a patch is applied.
struct Budget {
    copied: usize,
    work: usize,
}

/// Applies the operations in order; if one fails, nothing is changed.
pub fn apply(document: &Value, patch: &Value) -> Result<Value, JsonPatchError> {
    let operations = patch.as_array().ok_or_else(|| malformed("a JSON patch is a list of operations"))?;
    if operations.len() > MAX_OPERATIONS {
        return Err(JsonPatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut document = document.clone();
    let mut budget = Budget { copied: 0, work: 0 };
    for operation in operations {
        step(&mut document, operation, &mut budget)?;
    }
    Ok(document)
}

/// What is in the operations that no operation has, as it is told to whoever wants to know of it.
pub fn unknown_fields(patch: &Value) -> impl Iterator<Item = String> {
    let operations = patch.as_array().into_iter().flatten().take(MAX_OPERATIONS);
    let fields = operations.enumerate().flat_map(|(index, operation)| {
        operation.as_object().into_iter().flat_map(Map::keys).map(move |field| (index, field))
    });
    fields
        .filter(|(_, field)| !matches!(field.as_str(), "op" | "path" | "from" | "value"))
        .map(|(index, field)| format!("json patch unknown field {}", quote(&format!("[{index}].{field}"))))
}

impl Budget {
    fn copy(&mut self, value: &Value) -> Result<(), JsonPatchError> {
        let (bytes, values) = measure(value);
        self.copied += bytes;
        if self.copied > MAX_COPIED {
            return Err(JsonPatchError::TooLarge(format!(
                "Unable to complete the copy, the accumulated size increase of copy is {}, exceeding the limit {MAX_COPIED}",
                self.copied
            )));
        }
        self.work(values)
    }

    fn work(&mut self, values: usize) -> Result<(), JsonPatchError> {
        self.work += values;
        if self.work > MAX_WORK {
            return Err(JsonPatchError::TooLarge(format!(
                "the operations of the patch move more than {MAX_WORK} values"
            )));
        }
        Ok(())
    }
}

/// About how many bytes of JSON a value has, and how many values are in it.
fn measure(value: &Value) -> (usize, usize) {
    let (mut bytes, mut values) = (0, 0);
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        values += 1;
        bytes += match value {
            Value::Null | Value::Bool(_) => 5,
            Value::Number(number) => number.to_string().len() + 1,
            Value::String(text) => text.len() + 3,
            Value::Array(items) => {
                open.extend(items);
                3
            }
            Value::Object(fields) => {
                open.extend(fields.values());
                3 + fields.keys().map(|name| name.len() + 3).sum::<usize>()
            }
        };
    }
    (bytes, values)
}

/// Refuses to put a value where it would make the document nest too deep.
fn check_depth(parts: &[String], value: &Value) -> Result<(), JsonPatchError> {
    let left = MAX_DEPTH.saturating_sub(parts.len());
    if depth::of(value, left) > left {
        return Err(malformed(format!("the patched document would nest deeper than {MAX_DEPTH} levels")));
    }
    Ok(())
}

fn step(document: &mut Value, operation: &Value, budget: &mut Budget) -> Result<(), JsonPatchError> {
    let fields =
        operation.as_object().ok_or_else(|| malformed("an operation of a JSON patch is an object"))?;
    let name = text(fields, "op")?;
    let path = text(fields, "path")?;
    // Each slash makes a part.
    budget.work(path.len())?;
    let parts = pointer(path)?;
    let value =
        || fields.get("value").cloned().ok_or_else(|| malformed(format!("{name} operation has no value")));
    match name {
        "add" => add(document, &parts, value()?, path, budget),
        "remove" => remove(document, &parts, path, budget).map(drop),
        "replace" => {
            let value = value()?;
            check_depth(&parts, &value)?;
            let place = find_mut(document, &parts).ok_or_else(|| missing("replace", path))?;
            *place = value;
            Ok(())
        }
        "move" => {
            let from = text(fields, "from")?;
            budget.work(from.len())?;
            let source = pointer(from)?;
            if parts.len() > source.len() && parts.starts_with(&source) {
                return Err(malformed(format!("cannot move {} into itself", quote(from))));
            }
            let moved = remove(document, &source, from, budget)?;
            budget.work(measure(&moved).1)?;
            add(document, &parts, moved, path, budget)
        }
        "copy" => {
            let from = text(fields, "from")?;
            budget.work(from.len())?;
            let copied = find(document, &pointer(from)?).ok_or_else(|| missing("copy", from))?;
            budget.copy(copied)?;
            let copied = copied.clone();
            add(document, &parts, copied, path, budget)
        }
        "test" => {
            // An absent `value` tests for absence or null, as Kubernetes' library has it.
            let wanted = fields.get("value").unwrap_or(&Value::Null);
            match find(document, &parts) {
                Some(found) if equal(found, wanted) => Ok(()),
                None if wanted.is_null() => Ok(()),
                _ => Err(JsonPatchError::TestFailed(format!("testing path {path} failed: test failed"))),
            }
        }
        other => Err(malformed(format!("Unexpected kind: {other}"))),
    }
}

fn add(
    document: &mut Value,
    parts: &[String],
    value: Value,
    path: &str,
    budget: &mut Budget,
) -> Result<(), JsonPatchError> {
    check_depth(parts, &value)?;
    let Some((last, parents)) = parts.split_last() else {
        *document = value;
        return Ok(());
    };
    match find_mut(document, parents) {
        Some(Value::Object(fields)) => {
            fields.insert(last.clone(), value);
            Ok(())
        }
        Some(Value::Array(items)) if last == "-" => {
            items.push(value);
            Ok(())
        }
        Some(Value::Array(items)) => {
            let at =
                index(last).filter(|at| *at <= items.len()).ok_or_else(|| bad_index("add", path, last))?;
            budget.work(items.len() - at)?;
            items.insert(at, value);
            Ok(())
        }
        _ => Err(missing("add", path)),
    }
}

fn remove(
    document: &mut Value,
    parts: &[String],
    path: &str,
    budget: &mut Budget,
) -> Result<Value, JsonPatchError> {
    let Some((last, parents)) = parts.split_last() else {
        return Err(malformed("the whole document cannot be removed"));
    };
    match find_mut(document, parents) {
        Some(Value::Object(fields)) => {
            budget.work(fields.len())?;
            fields.shift_remove(last).ok_or_else(|| {
                JsonPatchError::Failed(format!(
                    "error in remove for path: '{path}': Unable to remove nonexistent key: {last}: missing value"
                ))
            })
        }
        Some(Value::Array(items)) => {
            let at =
                index(last).filter(|at| *at < items.len()).ok_or_else(|| bad_index("remove", path, last))?;
            budget.work(items.len() - at)?;
            Ok(items.remove(at))
        }
        _ => Err(missing("remove", path)),
    }
}

fn find<'a>(document: &'a Value, parts: &[String]) -> Option<&'a Value> {
    parts.iter().try_fold(document, |value, part| match value {
        Value::Object(fields) => fields.get(part),
        Value::Array(items) => items.get(index(part)?),
        _ => None,
    })
}

fn find_mut<'a>(document: &'a mut Value, parts: &[String]) -> Option<&'a mut Value> {
    parts.iter().try_fold(document, |value, part| match value {
        Value::Object(fields) => fields.get_mut(part),
        Value::Array(items) => items.get_mut(index(part)?),
        _ => None,
    })
}

/// Whether two values are equal as the RFC means it: 1 and 1.0 are.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => a == b,
    }
}

fn pointer(path: &str) -> Result<Vec<String>, JsonPatchError> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let rest = path
        .strip_prefix('/')
        .ok_or_else(|| malformed(format!("path {} does not begin with /", quote(path))))?;
    Ok(rest.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
}

fn index(part: &str) -> Option<usize> {
    let plain = part == "0" || (!part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit()));
    if plain { part.parse().ok() } else { None }
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a str, JsonPatchError> {
    let found = fields.get(name).and_then(Value::as_str);
    found.ok_or_else(|| malformed(format!("an operation of a JSON patch has no {}", quote(name))))
}

fn missing(operation: &str, path: &str) -> JsonPatchError {
    JsonPatchError::Failed(format!(
        "{operation} operation does not apply: doc is missing path: {}: missing value",
        quote(path)
    ))
}

fn bad_index(operation: &str, path: &str, index: &str) -> JsonPatchError {
    JsonPatchError::Failed(format!(
        "error in {operation} for path: '{path}': Unable to access invalid index: {index}: invalid index referenced"
    ))
}

fn malformed(message: impl Into<String>) -> JsonPatchError {
    JsonPatchError::Malformed(message.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(document: Value, patch: Value, expected: Option<Value>) {
        let before = document.clone();
        assert_eq!(apply(&document, &patch).ok(), expected, "{before} patched with {patch}");
        assert_eq!(document, before);
    }

    #[test]
    fn long_paths_are_paid_for() {
        let operation = json!({"op": "test", "path": "/".repeat(1 << 20)});
        let patch = |count: usize| Value::Array(vec![operation.clone(); count]);
        assert_eq!(apply(&json!({}), &patch(2)), Ok(json!({})), "nothing is there");
        let outcome = apply(&json!({}), &patch(30));
        assert!(matches!(outcome, Err(JsonPatchError::TooLarge(_))), "{outcome:?}");
    }

    #[test]
    fn every_operation_works_on_objects_and_lists() {
        check(json!({}), json!([{"op": "add", "path": "/a", "value": 1}]), Some(json!({"a": 1})));
        check(
            json!({"a": [1]}),
            json!([{"op": "add", "path": "/a/0", "value": 0}]),
            Some(json!({"a": [0, 1]})),
        );
        check(
            json!({"a": [1]}),
            json!([{"op": "add", "path": "/a/-", "value": 2}]),
            Some(json!({"a": [1, 2]})),
        );
        check(json!({"a": 1, "b": 2}), json!([{"op": "remove", "path": "/a"}]), Some(json!({"b": 2})));
        check(json!({"a": [1, 2]}), json!([{"op": "remove", "path": "/a/0"}]), Some(json!({"a": [2]})));
        check(
            json!({"a": 1}),
            json!([{"op": "replace", "path": "/a", "value": null}]),
            Some(json!({"a": null})),
        );
        check(json!({"a": 1}), json!([{"op": "replace", "path": "", "value": []}]), Some(json!([])));
        check(
            json!({"a": {"b": 1}}),
            json!([{"op": "move", "from": "/a/b", "path": "/c"}]),
            Some(json!({"a": {}, "c": 1})),
        );
        check(
            json!({"a": [1]}),
            json!([{"op": "copy", "from": "/a", "path": "/b"}]),
            Some(json!({"a": [1], "b": [1]})),
        );
        check(json!({"a": 1}), json!([{"op": "test", "path": "/a", "value": 1.0}]), Some(json!({"a": 1})));
        check(
            json!({"a/b": {"c~d": 1}}),
            json!([{"op": "replace", "path": "/a~1b/c~0d", "value": 2}]),
            Some(json!({"a/b": {"c~d": 2}})),
        );
    }

    #[test]
    fn a_document_cannot_be_nested_into_itself_for_ever() {
        let steps = [
            json!({"op": "add", "path": "/a", "value": {}}),
            json!({"op": "copy", "from": "/a", "path": "/a/b"}),
        ];
        // Each step puts a copy of the whole below its own deepest place.
        let mut patch = vec![steps[0].clone(), steps[1].clone()];
        let mut path = "/a/b".to_owned();
        for _ in 0..10 {
            patch.push(json!({"op": "copy", "from": "/a", "path": format!("{path}/b")}));
            path = format!("{path}{path}").replace("/a", "/b").replacen("/b", "/a", 1);
        }
        let error = apply(&json!({}), &patch.into()).expect_err("too deep");
        assert!(error.to_string().contains("deeper than 96 levels"), "{error}");
        // One level at a time, by the last place.
        let mut patch = vec![json!({"op": "add", "path": "/x", "value": []})];
        let mut path = "/x".to_owned();
        for _ in 0..200 {
            path.push_str("/-");
            patch.push(json!({"op": "add", "path": path, "value": []}));
            path.pop();
            path.push('0');
        }
        assert!(matches!(apply(&json!({}), &patch.into()), Err(JsonPatchError::Malformed(_))));
    }

    #[test]
    fn copies_are_bounded_together() {
        let mut patch = vec![json!({"op": "add", "path": "/l", "value": ["x".repeat(1000)]})];
        patch.extend((0..19).map(|_| json!({"op": "copy", "from": "/l", "path": "/l/-"})));
        // Nineteen doublings of a kilobyte would be half a gigabyte.
        let error = apply(&json!({}), &patch.into()).expect_err("too much");
        assert!(
            matches!(&error, JsonPatchError::TooLarge(why) if why.contains("exceeding the limit 3145728")),
            "{error}"
        );
    }

    #[test]
    fn operations_are_bounded_in_number_and_in_what_they_move() {
        let test = json!({"op": "test", "path": "/a", "value": 1});
        assert!(apply(&json!({"a": 1}), &vec![test.clone(); 10_000].into()).is_ok());
        assert!(matches!(
            apply(&json!({"a": 1}), &vec![test; 10_001].into()),
            Err(JsonPatchError::TooLarge(_))
        ));
        let long = json!({"l": vec![0; 100_000]});
        let first = json!({"op": "add", "path": "/l/0", "value": 0});
        assert!(matches!(apply(&long, &vec![first; 1000].into()), Err(JsonPatchError::TooLarge(_))));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for patch in [
            json!({}),
            json!([1]),
            json!([{"op": "jump", "path": "/a"}]),
            json!([{"op": "add", "path": "/a"}]),
            json!([{"op": "add", "path": "a", "value": 1}]),
            json!([{"op": "add", "path": "/x/y", "value": 1}]),
            json!([{"op": "add", "path": "/l/3", "value": 1}]),
            json!([{"op": "add", "path": "/l/01", "value": 1}]),
            json!([{"op": "remove", "path": "/x"}]),
            json!([{"op": "replace", "path": "/x", "value": 1}]),
            json!([{"op": "move", "from": "/o", "path": "/o/p"}]),
            json!([{"op": "copy", "from": "/x", "path": "/y"}]),
            json!([{"op": "test", "path": "/a", "value": 2}]),
        ] {
            check(json!({"a": 1, "l": [1, 2], "o": {}}), patch, None);
        }
    }
}
