//! Rules of amounts: requests, limits, overhead.

use serde_json::Value;

use model::Quantity;
use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, entries, invalid};

/// A container's requests and limits.
pub(crate) fn requirements(resources: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    let Some(resources) = resources else { return };
    let limits_path = path.child("limits");
    for (name, amount) in entries(resources, "limits") {
        resource(name, amount, &limits_path.key(name), errors);
    }
    let requests_path = path.child("requests");
    for (name, amount) in entries(resources, "requests") {
        let path = requests_path.key(name);
        resource(name, amount, &path, errors);
        let limit = resources.get("limits").and_then(|limits| limits.get(name));
        let (Some(request), limit) = (Quantity::from_json(amount), limit.and_then(Quantity::from_json))
        else {
            continue;
        };
        match limit {
            Some(limit) if request != limit && !may_overcommit(name) => {
                let message = format!("must be equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(&requests_path, amount.clone(), message));
            }
            Some(limit) if request > limit => {
                let message = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(&requests_path, amount.clone(), message));
            }
            None if !may_overcommit(name) => {
                let message = "Limit must be set for non overcommitable resources";
                errors.push(FieldError::required(&limits_path, message));
            }
            _ => {}
        }
    }
}

/// What a pod needs besides its containers.
pub(crate) fn overhead(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("overhead");
    for (name, amount) in entries(spec, "overhead") {
        resource(name, amount, &path.key(name), errors);
    }
}

fn resource(name: &str, amount: &Value, path: &Path<'_>, errors: &mut Errors) {
    invalid(errors, path, name, names::qualified(name));
    if !name.contains('/') && !is_standard(name) {
        errors.push(FieldError::invalid(path, name, "must be a standard resource type or fully qualified"));
        errors.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
    }
    let Some(quantity) = Quantity::from_json(amount) else { return };
    if quantity.is_negative() {
        errors.push(FieldError::invalid(path, amount.clone(), "must be greater than or equal to 0"));
    }
    if name.contains('/') && !quantity.is_whole() {
        errors.push(FieldError::invalid(path, amount.clone(), "must be an integer"));
    }
}

fn is_standard(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-")
}

/// Whether more of it may be used than was asked for. Extended resources and huge pages may not.
fn may_overcommit(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    native && !name.starts_with("hugepages-")
}
