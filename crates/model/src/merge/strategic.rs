//! Strategic merge patch: Kubernetes' own, which merges lists by key.
//!
//! A patch looks like the object. Objects merge field by field and `null` removes; a list replaces,
//! unless its field has the strategy `merge`: then items are matched by the field's merge key, or by
//! value if they are scalars. Directives inside the patch say more:
//!
//! - `$patch: replace` or `delete` in an object or list item replaces or deletes instead of merging;
//! - `$retainKeys: [a, b]` drops all fields but these before merging;
//! - `$deleteFromPrimitiveList/field: [..]` takes scalars out of a merged list;
//! - `$setElementOrder/field: [..]` gives the order of a merged list.
//!
//! Order otherwise: the patch's items in the patch's order, the object's other items in theirs, the
//! latter placed before the first patched item that they stood before.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::schema::{Patch, Schema, TypeRef};

/// Why a patch could not be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrategicError {
    /// The patch is malformed or does not fit the kind's types: a bad request.
    #[error("{0}")]
    Malformed(String),
    /// The kind's schema has no merge strategies, as custom resources have none: unsupported media type.
    #[error("strategic merge patch is not supported for this kind")]
    Unsupported,
}

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

type Fields = Map<String, Value>;
type Result<T> = std::result::Result<T, StrategicError>;

/// The document with the patch merged in.
pub fn apply(schema: &Schema, document: &Value, patch: &Value) -> Result<Value> {
    if !schema.is_builtin() {
        return Err(StrategicError::Unsupported);
    }
    let (Value::Object(original), Value::Object(patch)) = (document, patch) else {
        return Err(malformed("invalid JSON document"));
    };
    Ok(Value::Object(merge_object(Some(schema.root()), original.clone(), patch)?))
}

fn merge_object(ty: Option<TypeRef<'_>>, mut original: Fields, patch: &Fields) -> Result<Fields> {
    match patch.get(DIRECTIVE).map(|directive| (directive, directive.as_str())) {
        None => {}
        Some((_, Some("replace"))) => {
            let mut replacement = patch.clone();
            replacement.shift_remove(DIRECTIVE);
            return Ok(replacement);
        }
        Some((_, Some("delete"))) => return Ok(Fields::new()),
        Some((directive, _)) => return Err(unknown_directive(directive, patch)),
    }
    retain_keys(&mut original, patch)?;

    let mut ordered: HashSet<&str> = HashSet::new();
    for (name, order) in patch {
        let Some(field) = name.strip_prefix(SET_ORDER) else { continue };
        let order = order.as_array().ok_or_else(bad_order)?;
        merge_in_order(ty, &mut original, patch, field, order)?;
        ordered.insert(field);
    }
    // Taken out all at once: taking one field out moves all that come after it.
    let mut gone: HashSet<&str> = HashSet::new();
    for (name, change) in patch {
        if name == RETAIN_KEYS || name.starts_with(SET_ORDER) || ordered.contains(name.as_str()) {
            continue;
        }
        if let Some(field) = name.strip_prefix(DELETE_FROM) {
            let unwanted =
                change.as_array().ok_or_else(|| malformed("invalid patch format of primitive list"))?;
            if let Some(Value::Array(items)) = original.get_mut(field) {
                let unwanted: HashSet<&Value> = unwanted.iter().collect();
                items.retain(|item| !unwanted.contains(item));
            }
            continue;
        }
        if !merge_field(ty, &mut original, name, change)? && original.contains_key(name) {
            gone.insert(name);
        }
    }
    if !gone.is_empty() {
        original.retain(|name, _| !gone.contains(name.as_str()));
    }
    Ok(original)
}

/// Merges one field. False where it is to go.
fn merge_field(ty: Option<TypeRef<'_>>, original: &mut Fields, name: &str, change: &Value) -> Result<bool> {
    let child = ty.and_then(|ty| ty.child(name));
    let strategy = strategy(ty, name);
    match (original.get_mut(name), change) {
        (_, Value::Null) => return Ok(false),
        (Some(Value::Object(current)), Value::Object(change)) if !strategy.replace => {
            *current = merge_object(child, std::mem::take(current), change)?;
        }
        (Some(Value::Array(current)), Value::Array(change)) if strategy.merge => {
            let element = child.and_then(TypeRef::element);
            *current = merge_list(element, std::mem::take(current), change, strategy.key.as_deref())?;
        }
        (Some(current @ (Value::Object(_) | Value::Array(_))), Value::Object(_) | Value::Array(_))
            if same_kind(current, change) =>
        {
            *current = change.clone();
        }
        _ => match without_directives(change) {
            Some(clean) => {
                original.insert(name.to_owned(), clean);
            }
            None => return Ok(false),
        },
    }
    Ok(true)
}

/// Merges a list item by item; without a key, the items are scalars.
fn merge_list(
    element: Option<TypeRef<'_>>,
    original: Vec<Value>,
    patch: &[Value],
    key: Option<&str>,
) -> Result<Vec<Value>> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let Some(key) = key else {
        if original.iter().chain(patch).any(|item| item.is_object() || item.is_array()) {
            return Err(malformed("cannot merge lists without merge key"));
        }
        let mut known: HashSet<&Value> = original.iter().collect();
        let mut merged = original.clone();
        merged.extend(patch.iter().filter(|item| known.insert(item)).cloned());
        return Ok(arrange(merged, patch, &original, None));
    };

    let mut items = original;
    let mut additions = Vec::new();
    let mut replace = false;
    let mut unwanted: HashSet<&Value> = HashSet::new();
    for item in patch {
        let fields = as_item(item)?;
        match fields.get(DIRECTIVE).map(|directive| (directive, directive.as_str())) {
            None => additions.push(item),
            Some((_, Some("delete"))) => drop(unwanted.insert(key_of(item, key)?)),
            Some((_, Some("replace"))) => replace = true,
            Some((_, Some("merge"))) => {
                return Err(malformed("merging lists cannot yet be specified in the patch"));
            }
            Some((directive, _)) => return Err(unknown_directive(directive, fields)),
        }
    }
    if replace {
        return Ok(additions.into_iter().cloned().collect());
    }
    items.retain(|item| item.get(key).is_none_or(|value| !unwanted.contains(value)));
    let server_order = items.clone();
    let mut at: HashMap<&Value, usize> = places(&server_order, Some(key));
    for addition in &additions {
        let wanted = key_of(addition, key)?;
        match at.get(wanted).and_then(|at| items.get_mut(*at)) {
            Some(Value::Object(current)) => {
                *current = merge_object(element, std::mem::take(current), as_item(addition)?)?;
            }
            Some(_) => return Err(malformed("an item of a merged list is not an object")),
            None => {
                at.insert(wanted, items.len());
                items.extend(without_directives(addition));
            }
        }
    }
    let patch_order: Vec<Value> = additions.into_iter().cloned().collect();
    Ok(arrange(items, &patch_order, &server_order, Some(key)))
}

/// Merges the list `field` and brings it into the order that `$setElementOrder` asks for.
fn merge_in_order(
    ty: Option<TypeRef<'_>>,
    original: &mut Fields,
    patch: &Fields,
    field: &str,
    order: &[Value],
) -> Result<()> {
    let as_list = |value: &Value| {
        value.as_array().cloned().ok_or_else(|| malformed(format!("expected a list in field {field}")))
    };
    let current = original.get(field).filter(|value| !value.is_null()).map(as_list).transpose()?;
    let change = patch.get(field).filter(|value| !value.is_null()).map(as_list).transpose()?;
    let strategy = strategy(ty, field);
    let key = strategy.key.as_deref();
    if let Some(change) = &change {
        check_order(change, order, key)?;
    }
    let server_order = current.clone().unwrap_or_default();
    let merged = match (current, change) {
        (None, None) => return Ok(()),
        (Some(current), None) => current,
        (None, Some(change)) => change.iter().filter_map(without_directives).collect(),
        (Some(current), Some(change)) if strategy.merge => {
            let element = ty.and_then(|ty| ty.child(field)).and_then(TypeRef::element);
            merge_list(element, current, &change, key)?
        }
        (Some(_), Some(change)) => change,
    };
    original.insert(field.to_owned(), Value::Array(arrange(merged, order, &server_order, key)));
    Ok(())
}

/// Whether the patch's items stand in the order given, all of them.
fn check_order(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<()> {
    if order.is_empty() || patch.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for item in patch.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        let wanted = identity(item, key);
        if key.is_some() && wanted.is_none() {
            return Err(no_key(item, key.unwrap_or_default()));
        }
        if !rest.any(|place| identity(place, key) == wanted) {
            let print = |list: &[Value]| Value::Array(list.to_vec()).to_string();
            return Err(malformed(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                print(patch),
                print(order)
            )));
        }
    }
    Ok(())
}

/// Items named by `order` in that order, the others in `server_order`, interleaved so that an item
/// stands before what it stood before.
fn arrange(items: Vec<Value>, order: &[Value], server_order: &[Value], key: Option<&str>) -> Vec<Value> {
    let (wanted, before) = (places(order, key), places(server_order, key));
    let place = |places: &HashMap<&Value, usize>, item: &Value| {
        identity(item, key).and_then(|identity| places.get(identity).copied())
    };
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(&wanted, item).is_some());
    named.sort_by_key(|item| place(&wanted, item));
    // What the server did not have comes last, as it came.
    others.sort_by_key(|item| place(&before, item).unwrap_or(usize::MAX));
    let mut arranged = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in named {
        let here = place(&before, &item);
        while let Some(other) = others.next_if(
            |other| matches!((place(&before, other), here), (Some(other), Some(here)) if other < here),
        ) {
            arranged.push(other);
        }
        arranged.push(item);
    }
    arranged.extend(others);
    arranged
}

/// Where in a list each item stands first.
fn places<'a>(list: &'a [Value], key: Option<&str>) -> HashMap<&'a Value, usize> {
    let mut places = HashMap::with_capacity(list.len());
    for (at, item) in list.iter().enumerate() {
        if let Some(identity) = identity(item, key) {
            places.entry(identity).or_insert(at);
        }
    }
    places
}

fn retain_keys(original: &mut Fields, patch: &Fields) -> Result<()> {
    let Some(keys) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let bad = || malformed("invalid patch format of retainKeys");
    let keys: HashSet<&str> = keys.as_array().ok_or_else(bad)?.iter().filter_map(Value::as_str).collect();
    let strays = patch.iter().any(|(name, change)| {
        let directive = name == RETAIN_KEYS || name.starts_with(DELETE_FROM) || name.starts_with(SET_ORDER);
        !directive && !change.is_null() && !keys.contains(name.as_str())
    });
    if strays {
        return Err(bad());
    }
    original.retain(|name, _| keys.contains(name.as_str()));
    Ok(())
}

/// What remains of a patch value that is taken as it is: nulls of objects and directives gone.
fn without_directives(value: &Value) -> Option<Value> {
    match value {
        Value::Object(fields) if fields.contains_key(DIRECTIVE) => None,
        Value::Object(fields) => Some(
            fields
                .iter()
                .filter(|(name, value)| {
                    let directive =
                        *name == RETAIN_KEYS || name.starts_with(DELETE_FROM) || name.starts_with(SET_ORDER);
                    !directive && !value.is_null()
                })
                .filter_map(|(name, value)| Some((name.clone(), without_directives(value)?)))
                .collect::<Fields>()
                .into(),
        ),
        Value::Array(items) => Some(items.iter().filter_map(without_directives).collect()),
        scalar => Some(scalar.clone()),
    }
}

fn strategy(ty: Option<TypeRef<'_>>, field: &str) -> Patch {
    ty.and_then(|ty| ty.field(field)).map(|(field, _)| field.patch().clone()).unwrap_or_default()
}

fn identity<'a>(item: &'a Value, key: Option<&str>) -> Option<&'a Value> {
    match key {
        Some(key) => item.get(key),
        None => Some(item),
    }
}

fn key_of<'a>(item: &'a Value, key: &str) -> Result<&'a Value> {
    item.get(key).ok_or_else(|| no_key(item, key))
}

fn as_item(item: &Value) -> Result<&Fields> {
    item.as_object().ok_or_else(|| malformed("an item of a merged list is not an object"))
}

fn same_kind(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn no_key(item: &Value, key: &str) -> StrategicError {
    malformed(format!("map: {item} does not contain declared merge key: {key}"))
}

fn bad_order() -> StrategicError {
    malformed("invalid patch format of setElementOrder list")
}

fn unknown_directive(directive: &Value, patch: &Fields) -> StrategicError {
    malformed(format!("unknown patch type: {directive} in map: {}", Value::Object(patch.clone())))
}

fn malformed(message: impl Into<String>) -> StrategicError {
    StrategicError::Malformed(message.into())
}

#[cfg(test)]
mod tests;
