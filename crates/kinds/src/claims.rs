//! What persistent volumes and the claims to them have in common.

use model::Object;
use model::Quantity;
use model::field::{FieldError, Path};
use model::names::dns1123_subdomain;
use model::validate::{Errors, invalid, list};
use serde_json::Value;

/// Where the class stood before it had a field.
pub(crate) const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// In the order of their names.
const MODES: [(&str, &str); 4] = [
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOnce", "RWO"),
    ("ReadWriteOncePod", "RWOP"),
];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
/// In this order the short forms are shown.
const SHOWN: [&str; 4] = ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"];

/// The class of a volume or a claim, in the old place or the new one.
pub(crate) fn class(object: &Object) -> &str {
    object.annotation(OLD_CLASS).or_else(|| object.get_str(&["spec", "storageClassName"])).unwrap_or_default()
}

/// The short forms of access modes.
pub(crate) fn access_modes(modes: &[Value]) -> String {
    let short = |mode: &str| MODES.iter().find(|(name, _)| *name == mode).map(|(_, short)| *short);
    let there = SHOWN.iter().filter(|mode| modes.iter().any(|one| one == **mode));
    there.filter_map(|mode| short(mode)).collect::<Vec<_>>().join(",")
}

/// An amount as text, nothing where there is none.
pub(crate) fn named(amount: Option<&Value>) -> String {
    amount.and_then(Quantity::from_json).map(|amount| amount.to_string()).unwrap_or_default()
}

/// Rules of access modes; `why` says what there must be one of.
pub(crate) fn modes(spec: &Value, why: &str, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("accessModes");
    let modes = list(spec, "accessModes");
    if modes.is_empty() {
        errors.push(FieldError::required(&path, why));
    }
    let known = MODES.map(|(name, _)| name);
    for mode in modes.iter().filter(|mode| !known.iter().any(|name| mode == name)) {
        errors.push(FieldError::not_supported(&path, mode.clone(), &known));
    }
    let alone = modes.iter().any(|mode| mode == "ReadWriteOncePod");
    if alone && modes.iter().any(|mode| mode != "ReadWriteOncePod" && known.iter().any(|name| mode == name)) {
        errors.push(FieldError::forbidden(&path, "may not use ReadWriteOncePod with other access modes"));
    }
}

/// Rules of the classes and of what the volume is.
pub(crate) fn class_and_mode(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    class_name(spec, "storageClassName", path, errors);
    if let Some(mode) =
        spec.get("volumeMode").and_then(Value::as_str).filter(|mode| !VOLUME_MODES.contains(mode))
    {
        errors.push(FieldError::not_supported(&path.child("volumeMode"), mode, &VOLUME_MODES));
    }
}

/// The name of a class, where there is one.
pub(crate) fn class_name(spec: &Value, field: &str, path: &Path<'_>, errors: &mut Errors) {
    let name = spec.get(field).and_then(Value::as_str).unwrap_or_default();
    if !name.is_empty() {
        invalid(errors, &path.child(field), name, dns1123_subdomain(name));
    }
}
