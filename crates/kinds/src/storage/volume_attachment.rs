//! VolumeAttachments: which volumes are to be at which nodes.

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age, boolean, text};
use base::Timestamp;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use model::default::{Fields, inside, missing};
use model::field::{FieldError, Path};
use model::validate::{
    Errors, Functions, entries, flag, format, immutable, invalid, number, text as text_of,
};
use model::{Object, names};
use serde_json::Value;

use crate::spec_and_status::{KEEPS_METADATA, SpecAndStatus};

pub(crate) fn resource() -> Resource {
    Resource::of::<VolumeAttachment>()
        .status()
        .defaults(defaults)
        .rules(Functions::of(object).creation(creation).change(change).status(status))
        .without_effect("no volume is attached by it")
        .columns(COLUMNS, cells)
        .strategy(SpecAndStatus::default().with_status().kept_by_status(KEEPS_METADATA))
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Attacher", "Who attaches the volume.").naming(),
    text("PV", "The volume."),
    text("Node", "The node."),
    boolean("Attached", "Whether it is there."),
    AGE,
];
const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    inside(spec, "source");
    missing(inside(fields, "status"), "attached", false);
}

fn object(object: &Object, errors: &mut Errors) {
    let path = Path::root("spec");
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    if text_of(spec, "attacher").is_empty() {
        errors.push(FieldError::required(&path.child("attacher"), ""));
    }
    let source_path = path.child("source");
    let part = |name: &str| spec.get("source").and_then(|source| source.get(name)).filter(|it| !it.is_null());
    match (part("inlineVolumeSpec"), part("persistentVolumeName")) {
        (None, None) => errors.push(FieldError::required(&source_path, ONE)),
        (Some(_), Some(_)) => errors.push(FieldError::forbidden(&source_path, ONE)),
        (None, Some(name)) if name == "" => {
            let message = "must specify non empty persistentVolumeName";
            errors.push(FieldError::required(&source_path.child("persistentVolumeName"), message));
        }
        _ => {}
    }
    let node = text_of(spec, "nodeName");
    invalid(errors, &path.child("nodeName"), node, names::dns1123_subdomain(node));
    status(object, object, errors);
}

/// What is asked since the first version of its API, of new ones.
fn creation(object: &Object, errors: &mut Errors) {
    let attacher = object.get_str(&["spec", "attacher"]).unwrap_or_default();
    format::driver(errors, &Path::root("spec.attacher"), attacher);
    if let Some(name) = object.get_str(&["spec", "source", "persistentVolumeName"]) {
        let path = Path::root("spec.source.persistentVolumeName");
        invalid(errors, &path, name, names::dns1123_subdomain(name));
    }
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    immutable(errors, object.get(&["spec"]), old.get(&["spec"]), &Path::root("spec"));
}

fn status(object: &Object, _: &Object, errors: &mut Errors) {
    const METADATA: usize = 256 << 10;
    const MESSAGE: usize = 1 << 10;
    let path = Path::root("status");
    let empty = Value::Null;
    let status = object.get(&["status"]).unwrap_or(&empty);
    let entries = entries(status, "attachmentMetadata");
    let size: usize = entries.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > METADATA {
        errors.push(FieldError::too_long(&path.child("attachmentMetadata"), METADATA));
    }
    for name in ["attachError", "detachError"] {
        let Some(error) = status.get(name) else { continue };
        let path = path.child(name);
        if text_of(error, "message").len() > MESSAGE {
            errors.push(FieldError::too_long(&path.child("message"), METADATA));
        }
        if let Some(code) = number(error, "errorCode").filter(|code| *code < 0) {
            let messages = names::in_range(code, 0, i64::from(i32::MAX));
            invalid(errors, &path.child("errorCode"), code, messages);
        }
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let spec = |path: &[&str]| Value::from(object.get_str(path).unwrap_or_default());
    vec![
        object.name().into(),
        spec(&["spec", "attacher"]),
        spec(&["spec", "source", "persistentVolumeName"]),
        spec(&["spec", "nodeName"]),
        object.get(&["status"]).is_some_and(|status| flag(status, "attached")).into(),
        age(object, now),
    ]
}
