//! Whether a schema is structural, in Kubernetes' words.
//!
//! These rules are of the document, before it is read ([`Structural::parse`]). What is asked of values inside
//! `allOf`, `anyOf`, `oneOf` and `not` may say nothing of types, and only of fields that are specified outside.
//!
//! Source: Kubernetes documentation, "Specifying a structural schema".

use serde_json::{Map, Value, json};

use super::Structural;
use super::decode::prune;
use super::pattern::Room as PatternRoom;
use super::{embedded, is_full, validate};
use crate::decode::Problems;
use crate::field::{FieldError, Path};
use crate::validate::{Errors, flag, text};

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What is not structural about a schema, in the order of the messages.
/// `room`: what patterns may take, of all schemas of a definition.
pub fn structural(schema: &Value, room: &mut PatternRoom, path: &Path<'_>) -> Errors {
    let mut errors = Errors::new();
    invariants(schema, Level::Root, path, room, &mut errors);
    complete(schema, Some(schema), path, path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

/// A part of a schema that is a schema.
fn part<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema.get(name).filter(|part| part.is_object())
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

fn parts<'a>(schema: &'a Value, name: &str) -> &'a [Value] {
    schema.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn invariants(schema: &Value, level: Level, path: &Path<'_>, room: &mut PatternRoom, errors: &mut Errors) {
    if is_full(errors) {
        return;
    }
    let ty = text(schema, "type");
    let items = part(schema, "items");
    if ty == "array" && items.is_none() {
        errors.push(FieldError::required(&path.child("items"), "must be specified"));
    }
    if let Some(items) = items {
        invariants(items, Level::Item, &path.child("items"), room, errors);
    }
    let place = path.child("properties");
    for (name, property) in properties(schema) {
        invariants(property, Level::Field, &place.key(name), room, errors);
    }
    let additional = schema.get("additionalProperties").filter(|additional| !additional.is_null());
    if let Some(additional) = additional {
        let place = path.child("additionalProperties");
        if level == Level::Root {
            errors.push(FieldError::forbidden(&place, "must not be used at the root"));
        }
        if additional.is_object() {
            invariants(additional, Level::Field, &place, room, errors);
        }
    }
    let int_or_string = flag(schema, "x-kubernetes-int-or-string");
    let preserve = flag(schema, "x-kubernetes-preserve-unknown-fields");
    let is_embedded = flag(schema, "x-kubernetes-embedded-resource");
    for (name, is_set) in
        [("x-kubernetes-preserve-unknown-fields", preserve), ("x-kubernetes-embedded-resource", is_embedded)]
    {
        if int_or_string && is_set {
            let message = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(&path.child(name), true, message));
        }
    }
    let both = |list: &[Value]| list == [json!({"type": "integer"}), json!({"type": "string"})];
    let skip_any_of = both(parts(schema, "anyOf"));
    let skip_first = parts(schema, "allOf").first().is_some_and(|first| both(parts(first, "anyOf")));
    asked(schema, (skip_any_of, skip_first), path, room, errors);
    let place = path.child("type");
    if is_embedded && ty != "object" {
        let message = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if ty.is_empty() {
            FieldError::required(&place, message)
        } else {
            FieldError::invalid(&place, ty, message)
        });
    } else if ty.is_empty() && !int_or_string && !preserve {
        let message = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(&place, message));
    }
    if is_embedded && additional.is_some() {
        let message = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(&path.child("additionalProperties"), message));
    }
    if level == Level::Root && !ty.is_empty() && ty != "object" {
        errors.push(FieldError::invalid(&place, ty, "must be object at the root"));
    }
    whole(schema, level, is_embedded, path, errors);
    if is_embedded && !preserve && properties(schema).next().is_none() {
        let message = "must not be empty if x-kubernetes-embedded-resource is true without \
                       x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(&path.child("properties"), message));
    }
}

/// What is said of the fields that every whole object has.
fn whole(schema: &Value, level: Level, is_embedded: bool, path: &Path<'_>, errors: &mut Errors) {
    let place = path.child("properties");
    let checked = level == Level::Root || is_embedded;
    let find = |name: &str| schema.get("properties").and_then(|properties| properties.get(name));
    for name in ["kind", "apiVersion"] {
        if let Some(property) = find(name).filter(|property| checked && text(property, "type") != "string") {
            let place = place.key(name);
            let place = place.child("type");
            errors.push(FieldError::invalid(&place, text(property, "type"), "must be string"));
        }
    }
    let Some(metadata) = find("metadata") else { return };
    let place = place.key("metadata");
    if checked && text(metadata, "type") != "object" {
        errors.push(FieldError::invalid(&place.child("type"), text(metadata, "type"), "must be object"));
    }
    let names = || properties(metadata).all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
    let says_more = metadata.as_object().into_iter().flatten().any(|(word, value)| match word.as_str() {
        "type" | "default" => false,
        "properties" => !names(),
        _ => !is_nothing(value),
    });
    if level == Level::Root && says_more {
        let message = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(&place, message));
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// What is asked of values, at one place.
fn asked(
    schema: &Value,
    (skip_any_of, skip_first): (bool, bool),
    path: &Path<'_>,
    room: &mut PatternRoom,
    errors: &mut Errors,
) {
    if is_full(errors) {
        return;
    }
    for word in ["anyOf", "allOf", "oneOf"] {
        if word == "anyOf" && skip_any_of {
            continue;
        }
        let place = path.child(word);
        for (index, inner) in parts(schema, word).iter().enumerate() {
            let skip = word == "allOf" && skip_first && index == 0;
            nested(inner, skip, &place.index(index), room, errors);
        }
    }
    if let Some(not) = part(schema, "not") {
        nested(not, false, &path.child("not"), room, errors);
    }
    let pattern = text(schema, "pattern");
    if !pattern.is_empty()
        && let Some(why) = room.error(pattern)
    {
        let message = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(FieldError::invalid(&path.child("pattern"), pattern, message));
    }
}

/// What is asked inside a logical word: nothing of types.
fn nested(schema: &Value, skip_any_of: bool, path: &Path<'_>, room: &mut PatternRoom, errors: &mut Errors) {
    asked(schema, (skip_any_of, false), path, room, errors);
    if let Some(items) = part(schema, "items") {
        nested(items, false, &path.child("items"), room, errors);
    }
    let place = path.child("properties");
    for (name, property) in properties(schema) {
        nested(property, false, &place.key(name), room, errors);
    }
    let additional = schema.get("additionalProperties");
    if additional.is_some_and(|additional| additional.is_object() || additional == &Value::Bool(true)) {
        let place = path.child("additionalProperties");
        errors.push(FieldError::forbidden(&place, "must be undefined to be structural"));
    }
    for (word, state) in [
        ("type", "empty"),
        ("default", "undefined"),
        ("title", "empty"),
        ("description", "empty"),
        ("nullable", "false"),
        ("x-kubernetes-preserve-unknown-fields", "false"),
        ("x-kubernetes-embedded-resource", "false"),
        ("x-kubernetes-int-or-string", "false"),
        ("x-kubernetes-list-map-keys", "empty"),
        ("x-kubernetes-list-type", "undefined"),
        ("x-kubernetes-map-type", "undefined"),
        ("x-kubernetes-validations", "empty"),
    ] {
        let is_set = schema.get(word).is_some_and(|value| match state {
            "undefined" => !value.is_null(),
            _ => !is_nothing(value),
        });
        if is_set {
            let message = format!("must be {state} to be structural");
            errors.push(FieldError::forbidden(&path.child(word), message));
        }
    }
    if properties(schema).any(|(name, _)| name == "metadata") {
        let message = "must not be specified in a nested context";
        errors.push(FieldError::forbidden(&place.key("metadata"), message));
    }
}

/// That all that `asking` asks of values is of what `schema` specifies at `at`.
fn complete(asking: &Value, schema: Option<&Value>, at: &Path<'_>, from: &Path<'_>, errors: &mut Errors) {
    if let Some(not) = part(asking, "not") {
        complete_nested(not, schema, at, &from.child("not"), errors);
    }
    for word in ["allOf", "anyOf", "oneOf"] {
        let place = from.child(word);
        for (index, inner) in parts(asking, word).iter().enumerate() {
            complete_nested(inner, schema, at, &place.index(index), errors);
        }
    }
}

fn complete_nested(
    asking: &Value,
    schema: Option<&Value>,
    at: &Path<'_>,
    from: &Path<'_>,
    errors: &mut Errors,
) {
    if is_full(errors) {
        return;
    }
    let Some(schema) = schema else {
        errors.push(FieldError::required(at, format!("because it is defined in {from}")));
        return;
    };
    complete(asking, Some(schema), at, from, errors);
    if let Some(items) = part(asking, "items") {
        let inner = part(schema, "items");
        complete_nested(items, inner, &at.child("items"), &from.child("items"), errors);
    }
    let (at, from) = (at.child("properties"), from.child("properties"));
    for (name, property) in properties(asking) {
        let inner = schema.get("properties").and_then(|properties| properties.get(name));
        complete_nested(property, inner, &at.key(name), &from.key(name), errors);
    }
}

/// Whether the defaults in a schema are values of it that it would not prune. `prunes`: the latter is asked too.
pub fn defaults(schema: &Value, prunes: bool, path: &Path<'_>, errors: &mut Errors) {
    let Ok(read) = Structural::parse(schema) else { return };
    let walk = Defaults { prunes };
    walk.check(schema, &read, true, &[], path, errors);
}

struct Defaults {
    prunes: bool,
}

/// Where inside a whole object's metadata a default stands.
#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Item,
}

impl Defaults {
    /// `inside`: the steps from the whole object around it, where it is of the object's own fields.
    fn check(
        &self,
        schema: &Value,
        read: &Structural,
        is_root: bool,
        inside: &[Step<'_>],
        path: &Path<'_>,
        errors: &mut Errors,
    ) {
        if is_full(errors) {
            return;
        }
        let is_whole = is_root || read.embedded;
        let inside = if is_whole { &[] } else { inside };
        if let Some(default) = read.default.as_deref() {
            let before = errors.len();
            let place = path.child("default");
            if inside.is_empty() {
                self.check_value(default, read, &place, errors);
            } else {
                check_in_metadata(default, inside, &place, errors);
            }
            if errors.len() == before {
                let base = place.to_string();
                validate::values(read, default, None, Some(&base), errors);
            }
        }
        if let (Some(items), Some(inner)) = (part(schema, "items"), &read.items) {
            let steps = if inside.is_empty() { Vec::new() } else { [inside, &[Step::Item]].concat() };
            self.check(items, inner, false, &steps, &path.child("items"), errors);
        }
        let place = path.child("properties");
        for (name, property) in properties(schema) {
            let Some(inner) = read.property(name) else { continue };
            let begins = is_whole && super::decode::META.contains(&name.as_str());
            let steps = if inside.is_empty() && !begins {
                Vec::new()
            } else {
                [inside, &[Step::Field(name)]].concat()
            };
            self.check(property, inner, false, &steps, &place.key(name), errors);
        }
    }

    fn check_value(&self, default: &Value, read: &Structural, place: &Path<'_>, errors: &mut Errors) {
        let mut pruned = default.clone();
        if self.prunes && prune(read, &mut pruned, read.embedded) {
            errors.push(FieldError::invalid(place, default.clone(), "must not have unknown fields"));
        }
        let mut found = Errors::new();
        embedded::check(read, default, false, place, &mut found);
        errors.append(&mut found);
    }
}

/// A default of an object's own fields must leave it with metadata.
fn check_in_metadata(default: &Value, inside: &[Step<'_>], place: &Path<'_>, errors: &mut Errors) {
    let object = inside.iter().rev().fold(default.clone(), |inner, step| match step {
        Step::Field(name) => json!({*name: inner}),
        Step::Item => json!([inner]),
    });
    let mut refuse = |why: String| {
        let message = format!("must result in valid metadata: {why}");
        errors.push(FieldError::invalid(place, default.clone(), message));
    };
    for name in ["apiVersion", "kind"] {
        if let Some(value) = object.get(name).filter(|value| !value.is_string()) {
            let error = FieldError::invalid(&Path::root(name), value.clone(), "must be a string");
            return refuse(error.to_string());
        }
    }
    let mut whole = json!({"apiVersion": "validation/v1", "kind": "Validation"});
    for (name, value) in object.as_object().into_iter().flatten() {
        whole[name] = value.clone();
    }
    if let Some(metadata) = whole.get("metadata")
        && let Err(error) = crate::decode::metadata(metadata.clone(), &mut Problems::default())
    {
        let error = FieldError::invalid(&Path::root("metadata"), metadata.clone(), error.0);
        return refuse(error.to_string());
    }
    let mut found = Errors::new();
    embedded::check(&Structural::default(), &whole, true, &Path::EMPTY, &mut found);
    if !found.is_empty() {
        refuse(crate::field::aggregate(&found));
    }
}
