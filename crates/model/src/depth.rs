//! How deep documents may nest.
//!
//! Whatever walks over a document calls itself at each level: merging, comparing, validating, printing,
//! even dropping it. One bound, held where documents come in, keeps all of them within their stack.
//! It leaves room below the 128 levels at which JSON readers stop, ours and many clients', for what
//! answers put around an object: lists, watch events, rows of tables.

use serde_json::Value;

/// Objects nest no deeper than this; an object without fields has depth 1.
pub const MAX_DEPTH: usize = 96;

/// `managedFields` holds paths into the object as nested objects, and so may be a little deeper.
const MANAGED: usize = 16;

/// A document nests too deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it nests deeper than {MAX_DEPTH} levels")]
pub struct TooDeep;

/// Refuses a document that nests deeper than [`MAX_DEPTH`]. Does not call itself.
pub fn check(document: &Value) -> Result<(), TooDeep> {
    let managed = document.get("metadata").and_then(|metadata| metadata.get("managedFields"));
    let mut open: Vec<(&Value, usize)> = vec![(document, MAX_DEPTH)];
    while let Some((value, left)) = open.pop() {
        let more = if managed.is_some_and(|managed| std::ptr::eq(value, managed)) { MANAGED } else { 0 };
        let left = match value {
            Value::Object(_) | Value::Array(_) => (left + more).checked_sub(1).ok_or(TooDeep)?,
            _ => continue,
        };
        open_up(value, left, &mut open);
    }
    Ok(())
}

/// How many levels a value has; scalars have none. Stops counting after `most`.
pub fn of(value: &Value, most: usize) -> usize {
    let mut open: Vec<(&Value, usize)> = vec![(value, 1)];
    let mut deepest = 0;
    while let Some((value, level)) = open.pop() {
        if !value.is_object() && !value.is_array() {
            continue;
        }
        deepest = deepest.max(level);
        if deepest > most {
            return deepest;
        }
        open_up(value, level + 1, &mut open);
    }
    deepest
}

fn open_up<'v>(value: &'v Value, level: usize, open: &mut Vec<(&'v Value, usize)>) {
    match value {
        Value::Object(fields) => open.extend(fields.values().map(|inner| (inner, level))),
        Value::Array(items) => open.extend(items.iter().map(|inner| (inner, level))),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, _| json!([inner]))
    }

    #[test]
    fn depth_is_counted_in_levels() {
        for (value, expected) in
            [(json!(1), 0), (json!({}), 1), (json!({"a": [1, {}], "b": {}}), 3), (nested(9), 9)]
        {
            assert_eq!(of(&value, 100), expected, "{value}");
        }
        assert_eq!(of(&nested(90), 10), 11);
    }

    #[test]
    fn an_object_may_be_so_deep_and_no_deeper() {
        assert_eq!(check(&json!({"a": nested(MAX_DEPTH - 1)})), Ok(()));
        assert_eq!(check(&json!({"a": nested(MAX_DEPTH)})), Err(TooDeep));
        let managed = |levels| json!({"a": 1, "metadata": {"managedFields": nested(levels)}});
        assert_eq!(check(&managed(MAX_DEPTH)), Ok(()));
        assert_eq!(check(&managed(MAX_DEPTH + MANAGED)), Err(TooDeep));
    }
}
