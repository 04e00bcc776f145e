//! What a document asks for by a key that nobody here knows.

use serde_json::Value;

/// Whether a value asks for anything: programs write what they leave out as `null`, empty, false or zero.
pub fn is_wish(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_asks_for_nothing() {
        for text in ["null", "false", "0", "0.0", "\"\"", "[]", "{}"] {
            assert!(!is_wish(&serde_json::from_str(text).expect("JSON")), "{text}");
        }
        for text in ["true", "-1", "\"no\"", "[0]", "{\"a\":null}"] {
            assert!(is_wish(&serde_json::from_str(text).expect("JSON")), "{text}");
        }
    }
}
