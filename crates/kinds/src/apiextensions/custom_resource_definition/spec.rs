//! What a definition's spec must be, its schemas aside.
//!
//! What all versions say alike Kubernetes tells of the definition as a whole: it is at `spec.validation`,
//! `spec.subresources` and so on then, of which only the messages know.

use std::collections::HashSet;

use model::Object;
use model::field::{FieldError, Path};
use model::names::{dns1035_label, dns1123_subdomain};
use model::structural::PatternRoom;
use model::validate::{Errors, flag, list, one_of, text};
use serde_json::Value;

use super::{paths, schema};
use crate::custom::definition::{self, Names, versions};
use crate::webhook_configuration::client;

/// The schemas of a definition: one of all versions, or one of each.
pub(super) struct Validations<'a> {
    /// The one of all.
    shared: Option<&'a Value>,
    each: Vec<Option<&'a Value>>,
}

impl<'a> Validations<'a> {
    pub(super) fn of(object: &'a Object) -> Self {
        let (shared, each) = split(versions(object), "schema");
        Self { shared, each }
    }

    /// All schemas (`openAPIV3Schema`).
    pub(super) fn all(&self) -> impl Iterator<Item = &'a Value> {
        let all: Vec<&Value> = self.shared.into_iter().chain(self.each.iter().copied().flatten()).collect();
        all.into_iter().filter_map(open_api)
    }
}

fn open_api(validation: &Value) -> Option<&Value> {
    validation.get("openAPIV3Schema").filter(|schema| schema.is_object())
}

fn field<'a>(version: &'a Value, name: &str) -> Option<&'a Value> {
    version.get(name).filter(|value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        _ => true,
    })
}

/// A field of all versions: what all say alike, or what each says.
fn split<'a>(versions: &'a [Value], name: &str) -> (Option<&'a Value>, Vec<Option<&'a Value>>) {
    let each: Vec<Option<&Value>> = versions.iter().map(|version| field(version, name)).collect();
    match each.first() {
        Some(first) if each.iter().all(|other| other == first) => (*first, vec![None; each.len()]),
        _ => (None, each),
    }
}

fn joined(errors: &mut Errors, path: &Path<'_>, value: &str, wrong: &[String], before: &str) {
    if !wrong.is_empty() {
        errors.push(FieldError::invalid(path, value, format!("{before}{}", wrong.join(","))));
    }
}

pub(super) fn check(object: &Object, errors: &mut Errors) {
    let nothing = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&nothing);
    let path = Path::root("spec");
    let group = definition::group(object);
    let place = path.child("group");
    if group.is_empty() {
        errors.push(FieldError::required(&place, ""));
    } else if let wrong = dns1123_subdomain(group)
        && !wrong.is_empty()
    {
        joined(errors, &place, group, &wrong, "");
    } else if !group.contains('.') {
        errors.push(FieldError::invalid(&place, group, "should be a domain with at least one dot"));
    }
    one_of(errors, spec, "scope", &path, &["Cluster", "Namespaced"]);
    let all = versions(object);
    let place = path.child("versions");
    let validations = Validations::of(object);
    if validations.shared.and_then(open_api).is_none() {
        for (index, validation) in validations.each.iter().enumerate() {
            if validation.and_then(open_api).is_none() {
                let version = place.index(index);
                let schema = version.child("schema");
                errors.push(FieldError::required(&schema.child("openAPIV3Schema"), ""));
            }
        }
    }
    let (shared_subresources, subresources) = split(all, "subresources");
    let has_status = |subresources: Option<&Value>| {
        subresources.is_some_and(|it| it.get("status").is_some_and(|status| !status.is_null()))
    };
    let (shared_columns, columns) = split(all, "additionalPrinterColumns");
    let (shared_fields, fields) = split(all, "selectableFields");
    let mut room = PatternRoom::default();
    for (index, version) in all.iter().enumerate() {
        let place = place.index(index);
        let name = text(version, "name");
        joined(errors, &place.child("name"), name, &dns1035_label(name), "");
        deprecation(version, &place.child("deprecationWarning"), errors);
        let own = shared_subresources.or(subresources[index]);
        if let Some(validation) = validations.each[index] {
            schema::check(validation, has_status(own), &mut room, &place.child("schema"), errors);
        }
        subresource(subresources[index], &place.child("subresources"), errors);
        check_columns(columns[index], &place.child("additionalPrinterColumns"), errors);
        if let Some(fields) = fields[index] {
            let place = place.child("selectableFields");
            match validations.each[index].and_then(open_api) {
                Some(schema) => paths::selectable(fields, schema, &place, errors),
                None => {
                    let message = "may only be set when `version.schema.openAPIV3Schema` is not included";
                    errors.push(FieldError::invalid(&place, "", message));
                }
            }
        }
    }
    let mut known = HashSet::new();
    if !all.iter().all(|version| known.insert(text(version, "name"))) {
        errors.push(FieldError::invalid(&place, all.to_vec(), "must contain unique version names"));
    }
    if all.iter().filter(|version| flag(version, "storage")).count() != 1 {
        let message = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(&place, all.to_vec(), message));
    }
    let wished = definition::wished(object);
    let place = path.child("names");
    for (name, value) in [
        ("plural", &wished.plural),
        ("singular", &wished.singular),
        ("kind", &wished.kind),
        ("listKind", &wished.list_kind),
    ] {
        if value.is_empty() {
            errors.push(FieldError::required(&place.child(name), ""));
        }
    }
    names(&wished, &place, errors);
    if let Some(validation) = validations.shared {
        let any_status = has_status(shared_subresources) || subresources.iter().any(|it| has_status(*it));
        schema::check(validation, any_status, &mut room, &path.child("validation"), errors);
    }
    subresource(shared_subresources, &path.child("subresources"), errors);
    check_columns(shared_columns, &path.child("additionalPrinterColumns"), errors);
    if let Some(fields) = shared_fields {
        let place = path.child("selectableFields");
        match validations.shared.and_then(open_api) {
            Some(schema) => paths::selectable(fields, schema, &place, errors),
            None => {
                let message = "may only be set when validations.schema is included";
                errors.push(FieldError::invalid(&place, "", message));
            }
        }
    }
    conversion(spec, &path.child("conversion"), errors);
}

/// Names, where there are some.
pub(super) fn names(names: &Names, path: &Path<'_>, errors: &mut Errors) {
    let mut label = |value: &str, path: &Path<'_>, before: &str| {
        if !value.is_empty() {
            joined(errors, path, value, &dns1035_label(value), before);
        }
    };
    label(&names.plural, &path.child("plural"), "");
    label(&names.singular, &path.child("singular"), "");
    let mut mixed = |value: &str, path: &Path<'_>| {
        if !value.is_empty() {
            let before = "may have mixed case, but should otherwise match: ";
            joined(errors, path, value, &dns1035_label(&value.to_lowercase()), before);
        }
    };
    mixed(&names.kind, &path.child("kind"));
    mixed(&names.list_kind, &path.child("listKind"));
    let place = path.child("shortNames");
    for (index, name) in names.short_names.iter().enumerate() {
        joined(errors, &place.index(index), name, &dns1035_label(name), "");
    }
    if !names.kind.is_empty() && names.kind == names.list_kind {
        let message = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(&path.child("listKind"), names.list_kind.as_str(), message));
    }
    let place = path.child("categories");
    for (index, name) in names.categories.iter().enumerate() {
        joined(errors, &place.index(index), name, &dns1035_label(name), "");
    }
}

fn deprecation(version: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(said) = version.get("deprecationWarning").and_then(Value::as_str) else { return };
    let mut refuse = |message: String| errors.push(FieldError::invalid(path, said, message));
    if !flag(version, "deprecated") {
        refuse("can only be set for deprecated versions".to_owned());
        return;
    }
    if said.len() > 256 {
        refuse("must be <= 256 characters long".to_owned());
    }
    if said.is_empty() {
        refuse("must not be an empty string".to_owned());
    }
    if let Some((at, _)) = said.char_indices().find(|(_, c)| !model::field::is_printable(*c)) {
        refuse(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        ));
    }
}

fn subresource(subresources: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    let Some(scale) = subresources.and_then(|it| it.get("scale")).filter(|scale| !scale.is_null()) else {
        return;
    };
    for (name, roots, message) in [
        ("specReplicasPath", &[".spec."][..], "should be a json path under .spec"),
        ("statusReplicasPath", &[".status."], "should be a json path under .status"),
        ("labelSelectorPath", &[".spec.", ".status."], "should be a json path under either .spec or .status"),
    ] {
        let value = text(scale, name);
        let place = format!("scale.{name}");
        let place = path.child(&place);
        if value.is_empty() {
            if name != "labelSelectorPath" {
                errors.push(FieldError::required(&place, ""));
            }
        } else if !value.starts_with('.') {
            errors.push(FieldError::invalid(&place, value, "must be a simple json path starting with ."));
        } else if !roots.iter().any(|root| value.starts_with(root)) {
            errors.push(FieldError::invalid(&place, value, message));
        }
    }
}

fn check_columns(columns: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    use crate::custom::{COLUMN_FORMATS, COLUMN_TYPES};
    for (index, column) in columns.and_then(Value::as_array).into_iter().flatten().enumerate() {
        let path = path.index(index);
        if text(column, "name").is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        }
        let (kind, format) = (text(column, "type"), text(column, "format"));
        let types = format!("must be one of {}", COLUMN_TYPES.join(","));
        if kind.is_empty() {
            errors.push(FieldError::required(&path.child("type"), types));
        } else if !COLUMN_TYPES.contains(&kind) {
            errors.push(FieldError::invalid(&path.child("type"), kind, types));
        }
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let formats = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.push(FieldError::invalid(&path.child("format"), format, formats));
        }
        let place = path.child("JSONPath");
        match text(column, "jsonPath") {
            "" => errors.push(FieldError::required(&place, "")),
            value if !value.starts_with('.') => {
                errors.push(FieldError::invalid(&place, value, "must be a simple json path starting with ."));
            }
            _ => {}
        }
    }
}

fn conversion(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(conversion) = spec.get("conversion").filter(|conversion| conversion.is_object()) else { return };
    one_of(errors, conversion, "strategy", path, &["None", "Webhook"]);
    let nothing = Value::Null;
    let webhook = conversion.get("webhook").unwrap_or(&nothing);
    let client = webhook.get("clientConfig").filter(|client| client.is_object());
    let reviews = list(webhook, "conversionReviewVersions");
    if text(conversion, "strategy") != "Webhook" {
        let message = "should not be set when strategy is not set to Webhook";
        if client.is_some() {
            errors.push(FieldError::forbidden(&path.child("webhookClientConfig"), message));
        }
        if !reviews.is_empty() {
            errors.push(FieldError::forbidden(&path.child("conversionReviewVersions"), message));
        }
        return;
    }
    let place = path.child("webhookClientConfig");
    match client {
        None => errors.push(FieldError::required(&place, "required when strategy is set to Webhook")),
        Some(client) => {
            client::rules(client, &place, errors);
            client::authority(client, &place, errors);
        }
    }
    review_versions(reviews, &path.child("conversionReviewVersions"), errors);
}

fn review_versions(versions: &[Value], path: &Path<'_>, errors: &mut Errors) {
    if versions.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let names = || versions.iter().map(|version| version.as_str().unwrap_or_default());
    let mut seen = HashSet::new();
    for (index, version) in names().enumerate() {
        let path = path.index(index);
        if !seen.insert(version) {
            errors.push(FieldError::invalid(&path, version, "duplicate version"));
            continue;
        }
        for message in dns1035_label(version) {
            errors.push(FieldError::invalid(&path, version, message));
        }
    }
    if !names().any(|version| matches!(version, "v1" | "v1beta1")) {
        let message = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(path, versions.to_vec(), message));
    }
}
