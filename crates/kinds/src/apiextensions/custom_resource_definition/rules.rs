//! Rules of definitions, in the words of Kubernetes.

use std::collections::{BTreeSet, HashSet};

use model::Object;
use model::field::{FieldError, Path, quote};
use model::structural::{Kind, is_known_format};
use model::validate::{Errors, Rules, immutable, text};
use serde_json::Value;

use super::{schema, spec};
use crate::custom::definition::{self, Names, versions};
use crate::custom::plan::{APPROVED, Approval, approval_state, is_protected};

/// The rules.
pub(super) struct Definitions;

impl Rules for Definitions {
    fn is_own(&self) -> bool {
        // What keeps a definition has a domain, but no path.
        false
    }

    fn creation(&self, object: &Object, errors: &mut Errors) {
        let (plural, group) = (definition::wished(object).plural, definition::group(object));
        if object.name() != format!("{plural}.{group}") {
            let metadata = Path::root("metadata");
            let message = "must be spec.names.plural+\".\"+spec.group";
            errors.push(FieldError::invalid(&metadata.child("name"), object.name(), message));
        }
        check(object, None, errors);
    }

    fn change(&self, object: &Object, old: &Object, errors: &mut Errors) {
        check(object, Some(old), errors);
    }

    fn status(&self, object: &Object, _: &Object, errors: &mut Errors) {
        accepted_names(object, errors);
    }
}

fn check(object: &Object, old: Option<&Object>, errors: &mut Errors) {
    spec::check(object, errors);
    if let Some(old) = old {
        let spec = Path::root("spec");
        let names = spec.child("names");
        if definition::is_true(old, "Established") {
            frozen(object, old, &["spec", "scope"], &spec.child("scope"), errors);
            frozen(object, old, &["spec", "names", "kind"], &names.child("kind"), errors);
        }
        frozen(object, old, &["spec", "group"], &spec.child("group"), errors);
        frozen(object, old, &["spec", "names", "plural"], &names.child("plural"), errors);
    }
    accepted_names(object, errors);
    stored_versions(object, errors);
    approval(object, old, errors);
    if object.get(&["spec", "preserveUnknownFields"]) == Some(&Value::Bool(true)) {
        let spec = Path::root("spec");
        let message = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                       spec.versions[*].schema instead";
        errors.push(FieldError::invalid(&spec.child("preserveUnknownFields"), true, message));
    }
}

fn frozen(object: &Object, old: &Object, place: &[&str], path: &Path<'_>, errors: &mut Errors) {
    immutable(errors, object.get(place), old.get(place), path);
}

fn accepted_names(object: &Object, errors: &mut Errors) {
    let status = Path::root("status");
    let names = Names::of(object.get(&["status", "acceptedNames"]));
    spec::names(&names, &status.child("acceptedNames"), errors);
}

fn stored_versions(object: &Object, errors: &mut Errors) {
    let status = Path::root("status");
    let path = status.child("storedVersions");
    let stored = object.get_list(&["status", "storedVersions"]);
    if stored.is_empty() {
        errors.push(FieldError::invalid(&path, Value::Null, "must have at least one stored version"));
        return;
    }
    if let Some(version) = definition::stored_version(object)
        && !stored.iter().any(|known| known == version)
    {
        let message = format!("must have the storage version {version}");
        errors.push(FieldError::invalid(&path, stored.to_vec(), message));
    }
    for (index, name) in stored.iter().enumerate() {
        let name = name.as_str().unwrap_or_default();
        if !versions(object).iter().any(|version| text(version, "name") == name) {
            let message = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in \
                 spec.versions until a storage migration ensures no data remains persisted in {name} and removes \
                 {name} from status.storedVersions"
            );
            errors.push(FieldError::invalid(&path.index(index), name, message));
        }
    }
}

fn approval(object: &Object, old: Option<&Object>, errors: &mut Errors) {
    if !is_protected(definition::group(object)) {
        return;
    }
    let (state, why) = approval_state(object);
    // What was missing may go on missing: who changes something else need not know of it.
    if old.is_some_and(|old| approval_state(old).0 == state) {
        return;
    }
    let metadata = Path::root("metadata");
    let annotations = metadata.child("annotations");
    let path = annotations.key(APPROVED);
    match state {
        Approval::Approved | Approval::Bypassed => {}
        Approval::Missing => errors.push(FieldError::required(&path, why)),
        Approval::Invalid => {
            let said = object.annotations().get(APPROVED).unwrap_or_default();
            errors.push(FieldError::invalid(&path, said, why));
        }
    }
}

/// Formats that nobody knows, and lists that apply cannot tell the items of; of a change only what is new.
pub(super) fn warnings(object: &Object, old: Option<&Object>) -> Vec<String> {
    let known: HashSet<String> = old.map(odd).unwrap_or_default().into_iter().collect();
    let mut found = odd(object);
    found.retain(|warning| !known.contains(warning));
    found
}

fn odd(object: &Object) -> Vec<String> {
    let mut formats = Vec::new();
    let mut sets = BTreeSet::new();
    for validation in spec::Validations::of(object).all() {
        schema::walk(validation, &mut |part| {
            let format = text(part, "format");
            if !format.is_empty() && !is_known_format(format, Kind::named(text(part, "type"))) {
                formats.push(format!("unrecognized format {}", quote(format)));
            }
            let items = part.get("items").map(|items| text(items, "type")).unwrap_or_default();
            if text(part, "x-kubernetes-list-type") == "set" && matches!(items, "object" | "array") {
                sets.insert(format!(
                    "x-kubernetes-list-type: set for items of type {} is not supported by server-side apply or CEL \
                     validation rules",
                    quote(items)
                ));
            }
        });
    }
    formats.extend(sets);
    formats
}
