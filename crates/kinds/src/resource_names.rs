//! Names of resources that amounts are of, and what the amounts may be: rules that limits, quotas, claims and
//! autoscalers share.

use model::Quantity;
use model::field::{FieldError, Path};
use model::names::qualified;
use model::validate::{Errors, invalid};
use serde_json::Value;

/// What containers can ask for, besides huge pages and what has a domain of its own.
const OF_CONTAINERS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// What is counted in whole objects.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
/// What quotas alone speak of.
const OF_QUOTAS: [&str; 7] = [
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "requests.storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];
/// What stands before the name of what is asked for, in quotas.
pub(crate) const REQUESTS: &str = "requests.";
/// How the names of huge pages begin.
pub(crate) const HUGE_PAGES: &str = "hugepages-";

/// Whether it is a resource of Kubernetes' own.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether it is one that somebody else brings along, such as a device.
pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with(REQUESTS) && qualified(&format!("{REQUESTS}{name}")).is_empty()
}

/// Whether more of it may be used than was asked for.
pub(crate) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !name.starts_with(HUGE_PAGES)
}

fn is_huge_pages(name: &str) -> bool {
    name.strip_prefix(REQUESTS).unwrap_or(name).starts_with(HUGE_PAGES)
}

/// Whether quotas know what it is.
pub(crate) fn is_standard_in_quotas(name: &str) -> bool {
    OF_CONTAINERS.contains(&name)
        || COUNTED.contains(&name)
        || OF_QUOTAS.contains(&name)
        || is_huge_pages(name)
}

/// The name of a resource of whatever kind; gives whether it is one.
pub(crate) fn any(name: &str, path: &Path<'_>, errors: &mut Errors) -> bool {
    let messages = qualified(name);
    if !messages.is_empty() {
        invalid(errors, path, name, messages);
        return false;
    }
    if !name.contains('/') && name != "storage" && !is_standard_in_quotas(name) {
        errors.push(FieldError::invalid(path, name, "must be a standard resource type or fully qualified"));
        return false;
    }
    true
}

/// The name of something that containers use.
pub(crate) fn of_container(name: &str, path: &Path<'_>, errors: &mut Errors) {
    any(name, path, errors);
    if !name.contains('/') {
        if !OF_CONTAINERS.contains(&name) && !name.starts_with(HUGE_PAGES) {
            errors.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.push(FieldError::invalid(path, name, "doesn't follow extended resource name standard"));
    }
}

/// The name of something that a quota bounds.
pub(crate) fn of_quota(name: &str, path: &Path<'_>, errors: &mut Errors) {
    any(name, path, errors);
    if !name.contains('/') && !is_standard_in_quotas(name) {
        errors.push(FieldError::invalid(path, name, "must be a standard resource for quota"));
    }
}

/// An amount of the resource of that name: never less than nothing, and whole where there are no parts of it.
pub(crate) fn amount(name: &str, amount: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(quantity) = Quantity::from_json(amount) else { return };
    not_negative(amount, path, errors);
    if (COUNTED.contains(&name) || is_extended(name)) && !quantity.is_whole() {
        errors.push(FieldError::invalid(path, quantity.to_string(), "must be an integer"));
    }
}

/// An amount that may be nothing.
pub(crate) fn not_negative(amount: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(quantity) = Quantity::from_json(amount).filter(|quantity| quantity.is_negative()) {
        errors.push(FieldError::invalid(path, quantity.to_string(), "must be greater than or equal to 0"));
    }
}

/// An amount of which there must be some; gives whether there is.
pub(crate) fn positive(amount: &Value, path: &Path<'_>, errors: &mut Errors) -> bool {
    let quantity = Quantity::from_json(amount).unwrap_or(Quantity::ZERO);
    let is_some = quantity > Quantity::ZERO;
    if !is_some {
        errors.push(FieldError::invalid(path, quantity.to_string(), "must be greater than zero"));
    }
    is_some
}
