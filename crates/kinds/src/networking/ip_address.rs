//! IPAddresses: which object an address of the cluster belongs to.

use apiserver::Resource;
use apiserver::table::{Column, NAME, NONE, text};
use base::Timestamp;
use k8s_openapi::api::networking::v1::IPAddress;
use model::default::{Fields, inside};
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, format, immutable, invalid, text as text_of};
use model::{Object, names};
use serde_json::Value;

pub(crate) fn resource() -> Resource {
    Resource::of::<IPAddress>()
        .short(&["ip"])
        .defaults(defaults)
        .rules(Functions::of(object).name(name).change(change))
        .columns(COLUMNS, cells)
}

const COLUMNS: &[Column] = &[NAME, text("ParentRef", "The object that the address belongs to.")];
const PARENT: &[&str] = &["spec", "parentRef"];

fn defaults(fields: &mut Fields) {
    inside(fields, "spec");
}

/// The name is the address.
fn name(name: &str) -> Vec<String> {
    let mut errors = Errors::new();
    format::canonical_ip(&mut errors, &Path::EMPTY, name);
    errors.into_iter().map(|error| error.detail).collect()
}

fn object(object: &Object, errors: &mut Errors) {
    let path = Path::root("spec");
    let path = path.child("parentRef");
    let Some(parent) = object.get(PARENT).filter(|parent| !parent.is_null()) else {
        errors.push(FieldError::required(&path, ""));
        return;
    };
    let group = text_of(parent, "group");
    if !group.is_empty() {
        invalid(errors, &path.child("group"), group, names::dns1123_subdomain(group));
    }
    for field in ["resource", "name", "namespace"] {
        let value = text_of(parent, field);
        if !value.is_empty() {
            invalid(errors, &path.child(field), value, names::path_segment(value));
        } else if field != "namespace" {
            errors.push(FieldError::required(&path.child(field), ""));
        }
    }
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    let path = Path::root("spec");
    immutable(errors, object.get(PARENT), old.get(PARENT), &path.child("parentRef"));
}

fn cells(object: &Object, _: Timestamp) -> Vec<Value> {
    // `resource.group/namespace/name`, without what is empty.
    let shown = object.get(PARENT).map(|parent| {
        let mut shown = text_of(parent, "resource").to_lowercase();
        for (before, part) in [(".", "group"), ("/", "namespace"), ("/", "name")] {
            let part = text_of(parent, part);
            if !part.is_empty() {
                shown.push_str(before);
                shown.push_str(part);
            }
        }
        shown
    });
    vec![object.name().into(), shown.unwrap_or_else(|| NONE.to_owned()).into()]
}
