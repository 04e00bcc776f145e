//! Numbers of pods, or how many of a hundred.

use model::field::{FieldError, Path};
use model::validate::Errors;
use serde_json::Value;

/// What is wrong with one: no number below nothing, no text but a percentage.
pub(crate) fn positive(share: &Value, path: &Path<'_>, errors: &mut Errors) {
    match share {
        Value::String(text) if percent(text).is_none() => {
            let message = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  \
                           or '93%', regex used for validation is '[0-9]+%')";
            errors.push(FieldError::invalid(path, text.as_str(), message));
        }
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            errors.push(FieldError::invalid(path, share.clone(), "must be greater than or equal to 0"));
        }
        _ => {}
    }
}

/// There is no more than all.
pub(crate) fn at_most_all(share: &Value, path: &Path<'_>, errors: &mut Errors) {
    if share.as_str().and_then(percent).is_some_and(|percent| percent > 100) {
        errors.push(FieldError::invalid(path, share.clone(), "must not be greater than 100%"));
    }
}

/// Whether it comes to nothing.
pub(crate) fn is_nothing(share: Option<&Value>) -> bool {
    match share {
        Some(Value::String(text)) => percent(text).unwrap_or_default() == 0,
        Some(share) => share.as_i64().unwrap_or_default() == 0,
        None => true,
    }
}

/// How many of a hundred; none where the text is no percentage. What no number holds is more than all.
fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(i64::MAX))
}
