//! From kubectl's apply on the client's side to the server's, and back.
//!
//! What was applied on the client's side stands in an annotation, and its fields are managed by whoever
//! wrote the object then. When kubectl applies on the server's side, what it had applied before and nobody
//! has changed since is its own, not in conflict. The annotation is kept up to date, so that one may go
//! back. Other managers opt out of both by their names. Source: Kubernetes' page on server-side apply,
//! "Upgrading from client-side apply".

use serde_json::{Map, Value};

use super::field_set::FieldSet;
use super::typed;
use crate::object::Object;
use crate::schema::TypeRef;
use crate::validate::metadata::MAX_ANNOTATIONS;

/// The manager by which kubectl applies unless it is told another name.
const KUBECTL: &str = "kubectl";
/// Where kubectl keeps what was applied on the client's side.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What was applied on the client's side last and is so still. None where the manager is not kubectl, or
/// nothing was, or in another version.
pub(super) fn unchanged(ty: Option<TypeRef<'_>>, live: &Object, manager: &str) -> Option<FieldSet> {
    let applied = last_applied(live, manager)?;
    let applied: Value = serde_json::from_str(applied).ok()?;
    if applied.get("apiVersion").and_then(Value::as_str) != Some(live.api_version()) {
        return None;
    }
    let mut set = typed::fields_of(ty, &applied).ok()?;
    let difference = typed::compare(ty, &applied, live.value());
    for differs in [&difference.modified, &difference.added, &difference.removed] {
        set.subtract(differs);
    }
    Some(set)
}

/// Brings the annotation up to date, where there is one; takes it away where it has no room.
pub(super) fn note(object: &mut Object, applied: &Object, manager: &str) {
    if last_applied(object, manager).is_none() {
        return;
    }
    object.set_annotation(LAST_APPLIED, &text(applied.value()));
    if object.annotations().iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
        > MAX_ANNOTATIONS
    {
        object.remove(&["metadata", "annotations", LAST_APPLIED]);
    }
}

fn last_applied<'a>(object: &'a Object, manager: &str) -> Option<&'a str> {
    object.annotation(LAST_APPLIED).filter(|text| manager == KUBECTL && !text.is_empty())
}

/// As kubectl writes it, which compares texts: fields in order, what HTML knows escaped, a line.
fn text(applied: &Value) -> String {
    let mut text = String::new();
    for character in sorted(applied).to_string().chars() {
        match character {
            // They can stand in strings only.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => text.push(other),
        }
    }
    text.push('\n');
    text
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            fields
                .into_iter()
                .map(|(name, value)| (name.clone(), sorted(value)))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
