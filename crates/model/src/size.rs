//! How much memory documents take, roughly.

use serde_json::Value;

/// What a value takes besides its text.
const EACH: usize = 32;

/// The bytes that a value takes, roughly; counting ends after `most`. Does not call itself.
pub(crate) fn of(value: &Value, most: usize) -> usize {
    let mut open = vec![value];
    let mut size = 0_usize;
    while let Some(value) = open.pop() {
        size += EACH;
        match value {
            Value::String(text) => size += text.len(),
            Value::Array(items) if size + items.len() * EACH > most => return size + items.len() * EACH,
            Value::Array(items) => open.extend(items),
            Value::Object(fields) if size + fields.len() * EACH > most => return size + fields.len() * EACH,
            Value::Object(fields) => {
                size += fields.keys().map(String::len).sum::<usize>();
                open.extend(fields.values());
            }
            _ => {}
        }
        if size > most {
            break;
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_large_is_told_from_what_is_small() {
        assert_eq!(of(&json!({"a": "bcd"}), 1000), 2 * EACH + 4);
        assert_eq!(of(&json!([1, 2, [3]]), 1000), 5 * EACH);
        assert!(of(&json!(vec![0; 1000]), 1000) > 1000);
        assert!(of(&json!({"a": {"b": ["x".repeat(1000)]}}), 1000) > 1000);
    }
}
