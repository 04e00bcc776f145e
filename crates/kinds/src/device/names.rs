//! The names that devices, their pools, properties and requests have.

use model::field::{FieldError, Path};
use model::names::{c_identifier, dns1123_label, dns1123_subdomain, label_value, qualified};
use model::validate::{Errors, format, invalid, text};
use serde_json::Value;

/// The longest name of a property, without its domain.
const LONGEST_ID: usize = 32;
/// The longest name of a pool.
const LONGEST_POOL: usize = 253;
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// A name of one label.
pub(crate) fn label(errors: &mut Errors, path: &Path<'_>, name: &str) {
    invalid(errors, path, name, dns1123_label(name));
}

/// The name of a pool: domains with slashes between them.
pub(crate) fn pool(errors: &mut Errors, path: &Path<'_>, name: &str) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    if name.len() > LONGEST_POOL {
        errors.push(FieldError::too_long(path, LONGEST_POOL));
    }
    for part in name.split('/') {
        invalid(errors, path, part, dns1123_subdomain(part));
    }
}

/// The name of a property: an identifier, of the driver's own domain unless it names another.
pub(crate) fn property(errors: &mut Errors, path: &Path<'_>, name: &str) {
    let identifier = |errors: &mut Errors, id: &str| {
        if id.len() > LONGEST_ID {
            errors.push(FieldError::too_long(path, LONGEST_ID));
        }
        invalid(errors, path, id, c_identifier(id));
    };
    match name.split('/').collect::<Vec<_>>()[..] {
        [id] => identifier(errors, id),
        [domain, id] => {
            if domain.is_empty() {
                errors.push(FieldError::invalid(path, "", "the domain must not be empty"));
            } else {
                format::driver(errors, path, domain);
            }
            if id.is_empty() {
                errors.push(FieldError::invalid(path, "", "the name must not be empty"));
            } else {
                identifier(errors, id);
            }
        }
        _ => errors.push(FieldError::invalid(path, name, "must not contain more than one slash")),
    }
}

/// The name of a property with its domain.
pub(crate) fn full_property(errors: &mut Errors, path: &Path<'_>, name: &str) {
    property(errors, path, name);
    if !name.contains('/') {
        let message = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(path, name, message));
    }
}

/// What a pod must bear to get a device.
pub(crate) fn taint(errors: &mut Errors, path: &Path<'_>, taint: &Value) {
    let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
    invalid(errors, &path.child("key"), key, qualified(key));
    if !value.is_empty() {
        invalid(errors, &path.child("value"), value, label_value(value));
    }
    if effect.is_empty() {
        errors.push(FieldError::required(&path.child("effect"), ""));
    } else if !EFFECTS.contains(&effect) {
        errors.push(FieldError::not_supported(&path.child("effect"), effect, &EFFECTS));
    }
}

/// What somebody bears of devices.
pub(crate) fn toleration(errors: &mut Errors, path: &Path<'_>, toleration: &Value) {
    const OPERATORS: [&str; 2] = ["Equal", "Exists"];
    let (key, value) = (text(toleration, "key"), text(toleration, "value"));
    if !key.is_empty() {
        invalid(errors, &path.child("key"), key, qualified(key));
    }
    match text(toleration, "operator") {
        "Exists" if !value.is_empty() => {
            let message = "must be empty for operator `Exists`";
            errors.push(FieldError::invalid(&path.child("value"), value, message));
        }
        "Exists" => {}
        "Equal" => invalid(errors, &path.child("value"), value, label_value(value)),
        "" => errors.push(FieldError::required(&path.child("operator"), "")),
        other => errors.push(FieldError::not_supported(&path.child("operator"), other, &OPERATORS)),
    }
    let effect = text(toleration, "effect");
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.push(FieldError::not_supported(&path.child("effect"), effect, &EFFECTS));
    }
}

/// Conditions that must come true, or must not, before a pod is bound that gets the device.
pub(crate) fn binding_conditions(errors: &mut Errors, path: &Path<'_>, device: &Value) {
    const MOST: usize = 4;
    let [wanted, failed] = ["bindingConditions", "bindingFailureConditions"]
        .map(|name| (path.child(name), model::validate::list(device, name)));
    for (path, all) in [&wanted, &failed] {
        super::each(all, MOST, path, errors, |one, path, errors| {
            let one = one.as_str().unwrap_or_default();
            invalid(errors, path, one, qualified(one));
        });
    }
    for (index, one) in wanted.1.iter().enumerate() {
        if wanted.1[..index].contains(one) {
            errors.push(FieldError::duplicate(&wanted.0.index(index), one.clone()));
        }
    }
    for (index, one) in failed.1.iter().enumerate() {
        if failed.1[..index].contains(one) {
            errors.push(FieldError::duplicate(&failed.0.index(index), one.clone()));
        }
        if wanted.1.contains(one) {
            let message = "bindingFailureConditions must not overlap with bindingConditions";
            errors.push(FieldError::invalid(&failed.0.index(index), one.clone(), message));
        }
    }
    if wanted.1.is_empty() != failed.1.is_empty() {
        let (path, message) = if wanted.1.is_empty() {
            (&wanted.0, "bindingConditions are required to use bindingFailureConditions")
        } else {
            (&failed.0, "bindingFailureConditions are required to use bindingConditions")
        };
        errors.push(FieldError::invalid(path, Value::Null, message));
    }
}
