//! Paths of JSON patches.

use super::{Context, Declaration};
use crate::value::{Evaluated, Value, no_overload};

pub(super) const FUNCTIONS: &[Declaration] =
    &[("jsonpatch.escapeKey", escape_key, &[("string_jsonpatch_escapeKey_string", "(string) -> string")])];

fn escape_key<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::String(text)] = arguments else { return no_overload() };
    context.budget.work(2 * text.len())?;
    Ok(Value::text(text.replace('~', "~0").replace('/', "~1")))
}
