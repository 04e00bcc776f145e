//! What a schema in a definition must be, beside structural ([`model::structural::rules`]).

use std::collections::HashSet;

use model::field::{FieldError, Path};
use model::structural::{MOST, PatternRoom, Structural, rules};
use model::validate::{Errors, entries, flag, list, text};
use serde_json::{Map, Value};

use crate::custom::validations;

/// Types that values may have.
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// Fields that every object has.
const META: [&str; 3] = ["metadata", "kind", "apiVersion"];

/// Words that may stand at the root of a schema where the status is a subresource, as Kubernetes calls them.
const AT_ROOT: [(&str, &str); 22] = [
    ("description", "Description"),
    ("type", "Type"),
    ("format", "Format"),
    ("title", "Title"),
    ("maximum", "Maximum"),
    ("exclusiveMaximum", "ExclusiveMaximum"),
    ("minimum", "Minimum"),
    ("exclusiveMinimum", "ExclusiveMinimum"),
    ("maxLength", "MaxLength"),
    ("minLength", "MinLength"),
    ("pattern", "Pattern"),
    ("maxItems", "MaxItems"),
    ("minItems", "MinItems"),
    ("uniqueItems", "UniqueItems"),
    ("multipleOf", "MultipleOf"),
    ("required", "Required"),
    ("items", "Items"),
    ("properties", "Properties"),
    ("externalDocs", "ExternalDocs"),
    ("example", "Example"),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields"),
    ("x-kubernetes-validations", "XValidations"),
];

/// What is wrong with the validation of a version, or of all.
///
/// `room`: what the patterns of all versions may take together.
pub(super) fn check(
    validation: &Value,
    has_status: bool,
    room: &mut PatternRoom,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    if errors.len() >= MOST {
        return;
    }
    let Some(schema) = validation.get("openAPIV3Schema").filter(|schema| schema.is_object()) else { return };
    let path = path.child("openAPIV3Schema");
    let before = errors.len();
    if has_status {
        at_root(schema, &path, errors);
    }
    if flag(schema, "nullable") {
        errors.push(FieldError::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    let read = Structural::parse(schema);
    let mut is_structural = false;
    if read.is_ok() {
        let mut found = rules::structural(schema, room, &path);
        if found.is_empty() {
            rules::defaults(schema, true, &path, &mut found);
        }
        is_structural = found.is_empty();
        errors.append(&mut found);
    }
    let mut walk = Walk { found: Errors::new() };
    walk.check(schema, &path, &Inside { is_root: true, ..Inside::default() });
    errors.append(&mut walk.found);
    if is_structural && errors.len() == before {
        validations::check_definition(schema, &path, errors);
    }
    if errors.len() == before
        && let Err(why) = read
    {
        errors.push(FieldError::invalid(&path, "", why.to_string()));
    }
}

fn at_root(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    let is_set = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    };
    let ty = text(schema, "type");
    if !ty.is_empty() && ty != "object" {
        let message = "only \"object\" is allowed as the type at the root of the schema if the status subresource \
                       is enabled";
        errors.push(FieldError::invalid(&path.child("type"), ty, message));
    }
    let mut words = schema.as_object().into_iter().flatten().filter(|(_, value)| is_set(value));
    if words.any(|(word, _)| !AT_ROOT.iter().any(|(known, _)| known == word)) {
        let names: Vec<&str> = AT_ROOT.iter().map(|(_, name)| *name).collect();
        let message = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            names.join(" ")
        );
        errors.push(FieldError::invalid(path, schema.clone(), message));
    }
}

/// Calls `look` with a schema and all that are in it.
pub(super) fn walk<'a>(schema: &'a Value, look: &mut impl FnMut(&'a Value)) {
    look(schema);
    for word in ["properties", "definitions", "patternProperties"] {
        schema
            .get(word)
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(Map::values)
            .for_each(|s| walk(s, look));
    }
    for word in ["items", "additionalProperties", "not", "additionalItems"] {
        if let Some(inner) = schema.get(word).filter(|inner| inner.is_object()) {
            walk(inner, look);
        }
    }
    for word in ["allOf", "anyOf", "oneOf"] {
        list(schema, word).iter().for_each(|inner| walk(inner, look));
    }
}

/// Where a schema stands.
#[derive(Clone, Copy, Default)]
struct Inside<'a> {
    is_root: bool,
    /// In what every object has.
    meta: bool,
    /// Why there may be no defaults.
    no_defaults: Option<&'a str>,
}

struct Walk {
    found: Errors,
}

impl Walk {
    /// Whether there are so many errors that nobody looks for more.
    fn is_full(&self) -> bool {
        self.found.len() >= MOST
    }

    fn forbid(&mut self, path: &Path<'_>, name: &str, message: &str) {
        self.found.push(FieldError::forbidden(&path.child(name), message));
    }

    fn check(&mut self, schema: &Value, path: &Path<'_>, inside: &Inside<'_>) {
        if self.is_full() {
            return;
        }
        self.words(schema, path, inside);
        if flag(schema, "uniqueItems") {
            let message = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.forbid(path, "uniqueItems", message);
        }
        let within = Inside { is_root: false, ..*inside };
        let properties = schema.get("properties").and_then(Value::as_object);
        if let Some(additional) = schema.get("additionalProperties").filter(|it| !it.is_null()) {
            let has_properties = properties.is_some_and(|properties| !properties.is_empty());
            if has_properties && additional != &Value::Bool(true) {
                let message = "additionalProperties and properties are mutual exclusive";
                self.forbid(path, "additionalProperties", message);
            }
            let no_defaults = Some("inside additionalProperties applying to object metadata");
            let within = if inside.meta { Inside { no_defaults, ..within } } else { within };
            if additional.is_object() {
                self.check(additional, &path.child("additionalProperties"), &within);
            }
        }
        let place = path.child("properties");
        for (name, property) in properties.into_iter().flatten() {
            let is_meta = (inside.is_root || flag(schema, "x-kubernetes-embedded-resource"))
                && META.contains(&name.as_str());
            let why = format!("in top-level {name}");
            let within = match (is_meta, inside.is_root) {
                (true, true) => Inside { meta: true, no_defaults: Some(&why), ..within },
                (true, false) => Inside { meta: true, ..within },
                (false, _) => within,
            };
            self.check(property, &place.key(name), &within);
        }
        if let Some(not) = schema.get("not").filter(|not| not.is_object()) {
            self.check(not, &path.child("not"), &within);
        }
        for word in ["allOf", "oneOf", "anyOf"] {
            let place = path.child(word);
            for (index, inner) in list(schema, word).iter().enumerate() {
                self.check(inner, &place.index(index), &within);
            }
        }
        let place = path.child("definitions");
        for (name, inner) in entries(schema, "definitions") {
            self.check(inner, &place.key(name), &within);
        }
        match schema.get("items") {
            Some(items @ Value::Object(_)) => self.check(items, &path.child("items"), &within),
            Some(Value::Array(several)) => {
                let place = path.child("items");
                for (index, inner) in several.iter().enumerate() {
                    self.check(inner, &place.index(index), &within);
                }
            }
            _ => {}
        }
        self.extensions(schema, path);
        self.list_map(schema, path);
        self.rules(schema, path);
    }

    /// Words of JSON schemas that mean something else here, or nothing.
    fn words(&mut self, schema: &Value, path: &Path<'_>, inside: &Inside<'_>) {
        let ty = text(schema, "type");
        if !ty.is_empty() && !TYPES.contains(&ty) {
            self.found.push(FieldError::not_supported(&path.child("type"), ty, &TYPES));
        }
        let is_set = |name: &str| schema.get(name).is_some_and(|value| !value.is_null());
        let has = |name: &str| match schema.get(name) {
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Object(map)) => !map.is_empty(),
            _ => false,
        };
        if let Some(why) = inside.no_defaults.filter(|_| is_set("default")) {
            self.forbid(path, "default", &format!("must not be set {why}"));
        }
        for (name, there) in [
            ("id", has("id")),
            ("additionalItems", is_set("additionalItems")),
            ("patternProperties", has("patternProperties")),
            ("definitions", has("definitions")),
            ("dependencies", is_set("dependencies")),
            ("$ref", is_set("$ref")),
        ] {
            if there {
                self.forbid(path, name, &format!("{name} is not supported"));
            }
        }
        if ty == "null" {
            self.forbid(path, "type", "type cannot be set to null, use nullable as an alternative");
        }
        if schema.get("items").and_then(Value::as_array).is_some_and(|items| !items.is_empty()) {
            self.forbid(path, "items", "items must be a schema object and not an array");
        }
        if inside.meta && flag(schema, "x-kubernetes-embedded-resource") {
            self.forbid(path, "x-kubernetes-embedded-resource", "must not be used inside of resource meta");
        }
    }

    /// What Kubernetes adds.
    fn extensions(&mut self, schema: &Value, path: &Path<'_>) {
        let preserve = "x-kubernetes-preserve-unknown-fields";
        if schema.get(preserve) == Some(&Value::Bool(false)) {
            let error = FieldError::invalid(&path.child(preserve), false, "must be true or undefined");
            self.found.push(error);
        }
        let ty = text(schema, "type");
        let word = |name: &str| schema.get(name).and_then(Value::as_str);
        let of_type = |wanted: &str, name: &str| {
            let message = format!("must be {wanted} if {name} is specified");
            let place = path.child("type");
            if ty.is_empty() {
                FieldError::required(&place, message)
            } else {
                FieldError::invalid(&place, ty, message)
            }
        };
        let (map_type, list_type) = ("x-kubernetes-map-type", "x-kubernetes-list-type");
        if let Some(map) = word(map_type) {
            if ty != "object" {
                self.found.push(of_type("object", map_type));
            }
            if !matches!(map, "atomic" | "granular") {
                let error = FieldError::not_supported(&path.child(map_type), map, &["atomic", "granular"]);
                self.found.push(error);
            }
        }
        let Some(list) = word(list_type) else { return };
        let nothing = Value::Null;
        let items = schema.get("items").filter(|items| items.is_object()).unwrap_or(&nothing);
        if ty != "array" {
            self.found.push(of_type("array", list_type));
        } else if list == "set" {
            let message = "must be atomic as item of a list with x-kubernetes-list-type=set";
            let inner = items.get(list_type).and_then(Value::as_str);
            let place = path.child("items");
            match text(items, "type") {
                "array" if inner.is_some_and(|inner| inner != "atomic") => {
                    self.found.push(FieldError::invalid(&place.child(list_type), inner, message));
                }
                "object" if text(items, map_type) != "atomic" => {
                    self.found.push(FieldError::invalid(&place.child(map_type), inner, message));
                }
                _ => {}
            }
        }
        if !matches!(list, "atomic" | "set" | "map") {
            let error = FieldError::not_supported(&path.child(list_type), list, &["atomic", "set", "map"]);
            self.found.push(error);
        }
    }

    /// Lists whose items are told apart by keys.
    fn list_map(&mut self, schema: &Value, path: &Path<'_>) {
        let (list_type, list_keys) = ("x-kubernetes-list-type", "x-kubernetes-list-map-keys");
        let keys: Vec<&str> = list(schema, list_keys).iter().filter_map(Value::as_str).collect();
        let kind = schema.get(list_type).and_then(Value::as_str);
        let place = path.child(list_type);
        let message = "must be map if x-kubernetes-list-map-keys is non-empty";
        match kind {
            None if !keys.is_empty() => self.found.push(FieldError::required(&place, message)),
            Some(kind) if !keys.is_empty() && kind != "map" => {
                self.found.push(FieldError::invalid(&place, kind, message));
            }
            _ => {}
        }
        let items = schema.get("items").filter(|items| !items.is_null());
        if kind == Some("map") {
            self.keys(schema, &keys, items, path);
        }
        let (Some(kind @ ("set" | "map")), Some(items)) = (kind, items.filter(|items| items.is_object()))
        else {
            return;
        };
        let place = path.child("items");
        if flag(items, "nullable") {
            let message = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
            self.forbid(&place, "nullable", &message);
        }
        if kind != "map" {
            return;
        }
        let required: Vec<&str> = list(items, "required").iter().filter_map(Value::as_str).collect();
        let properties = place.child("properties");
        for key in keys {
            let Some(property) = items.get("properties").and_then(|properties| properties.get(key)) else {
                continue;
            };
            let place = properties.key(key);
            let has_default = property.get("default").is_some_and(|default| !default.is_null());
            if !required.contains(&key) && !has_default {
                let message = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a \
                               required property";
                self.found.push(FieldError::required(&place.child("default"), message));
            }
            if flag(property, "nullable") {
                let message = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                self.forbid(&place, "nullable", message);
            }
        }
    }

    fn keys(&mut self, schema: &Value, keys: &[&str], items: Option<&Value>, path: &Path<'_>) {
        let list_keys = path.child("x-kubernetes-list-map-keys");
        if keys.is_empty() {
            let message = "must not be empty if x-kubernetes-list-type is map";
            self.found.push(FieldError::required(&list_keys, message));
        }
        let place = path.child("items");
        let items = match items {
            None => {
                let message = "must have a schema if x-kubernetes-list-type is map";
                self.found.push(FieldError::required(&place, message));
                return;
            }
            Some(items) if !items.is_object() => {
                let message = "must only have a single schema if x-kubernetes-list-type is map";
                self.found.push(FieldError::invalid(&place, items.clone(), message));
                return;
            }
            Some(items) => items,
        };
        let ty = text(items, "type");
        if ty != "object" {
            let message = "must be object if parent array's x-kubernetes-list-type is map";
            self.found.push(FieldError::invalid(&place.child("type"), ty, message));
            return;
        }
        let said = || schema.get("x-kubernetes-list-map-keys").cloned().unwrap_or_default();
        let properties = place.child("properties");
        let mut known = HashSet::new();
        for key in keys {
            if self.is_full() {
                return;
            }
            match items.get("properties").and_then(|properties| properties.get(*key)) {
                Some(property) if matches!(text(property, "type"), "array" | "object") => {
                    let message = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    let property = properties.key(key);
                    self.found.push(FieldError::invalid(&property.child("type"), ty, message));
                }
                Some(_) => {}
                None => {
                    let message = "entries must all be names of item properties";
                    self.found.push(FieldError::invalid(&list_keys, said(), message));
                }
            }
            if !known.insert(*key) {
                let message = "must not contain duplicate entries";
                self.found.push(FieldError::invalid(&list_keys, said(), message));
            }
        }
    }

    /// Rules in expressions, as far as they are texts.
    fn rules(&mut self, schema: &Value, path: &Path<'_>) {
        const REASONS: [&str; 4] =
            ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
        let path = path.child("x-kubernetes-validations");
        for (index, rule) in list(schema, "x-kubernetes-validations").iter().enumerate() {
            if self.is_full() {
                return;
            }
            let path = path.index(index);
            let has_lines = |text: &str| text.contains(['\n', '\r']);
            let message = text(rule, "message");
            let (trimmed_rule, trimmed) = (text(rule, "rule").trim(), message.trim());
            if trimmed_rule.is_empty() {
                self.found.push(FieldError::required(&path.child("rule"), "rule is not specified"));
            } else if !message.is_empty() && trimmed.is_empty() {
                let why = "must be non-empty if specified";
                self.found.push(FieldError::invalid(&path.child("message"), message, why));
            } else if has_lines(trimmed) {
                let why = "must not contain line breaks";
                self.found.push(FieldError::invalid(&path.child("message"), message, why));
            } else if has_lines(trimmed_rule) && trimmed.is_empty() {
                let why = "message must be specified if rule contains line breaks";
                self.found.push(FieldError::required(&path.child("message"), why));
            }
            let expression = text(rule, "messageExpression");
            if !expression.is_empty() && expression.trim().is_empty() {
                let why = "messageExpression must be non-empty if specified";
                self.found.push(FieldError::required(&path.child("messageExpression"), why));
            }
            if let Some(reason) = rule.get("reason").and_then(Value::as_str)
                && !REASONS.contains(&reason)
            {
                self.found.push(FieldError::not_supported(&path.child("reason"), reason, &REASONS));
            }
            let field = text(rule, "fieldPath");
            if !field.is_empty() && field.trim().is_empty() {
                let why = "must be non-empty if specified";
                self.found.push(FieldError::invalid(&path.child("fieldPath"), field, why));
            }
            if has_lines(field) {
                let why = "must not contain line breaks";
                self.found.push(FieldError::invalid(&path.child("fieldPath"), field, why));
            }
        }
    }
}
