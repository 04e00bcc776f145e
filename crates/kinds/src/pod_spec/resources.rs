//! Rules of amounts: requests, limits, overhead; and of the claims of devices that containers use.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use model::Quantity;
use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, entries, invalid, list, text};

use super::volume::set;

/// Whose resources they are: a container may have others than a pod as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// A container.
    Container,
    /// A pod as a whole.
    Pod,
}

/// Names of resources that stand without a domain, besides huge pages.
const STANDARD: [&str; 22] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
    "requests.hugepages-",
    "hugepages-",
];
/// Those of which there are no parts.
const COUNTED: [&str; 9] = [
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const HUGE_PAGES: &str = "hugepages-";

/// Requests and limits, with the claims that there are in the pod.
pub(crate) fn requirements(
    resources: Option<&Value>,
    of: Of,
    claims: &BTreeSet<&str>,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let Some(resources) = resources else { return };
    let (limits_path, requests_path) = (path.child("limits"), path.child("requests"));
    for (name, amount) in entries(resources, "limits") {
        resource(name, amount, of, &limits_path.key(name), errors);
    }
    for (name, amount) in entries(resources, "requests") {
        resource(name, amount, of, &requests_path.key(name), errors);
        let limit = resources.get("limits").and_then(|limits| limits.get(name));
        let (Some(request), limit) = (Quantity::from_json(amount), limit.and_then(Quantity::from_json))
        else {
            continue;
        };
        match limit {
            Some(limit) if request != limit && !may_overcommit(name) => {
                let message = format!("must be equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(&requests_path, request.to_string(), message));
            }
            Some(limit) if request > limit => {
                let message = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(&requests_path, request.to_string(), message));
            }
            None if !may_overcommit(name) => {
                let message = "Limit must be set for non overcommitable resources";
                errors.push(FieldError::required(&limits_path, message));
            }
            _ => {}
        }
    }
    let any = |of: fn(&str) -> bool| {
        ["limits", "requests"].into_iter().flat_map(|side| entries(resources, side)).any(|(name, _)| of(name))
    };
    if any(|name| name.starts_with(HUGE_PAGES)) && !any(|name| matches!(name, "cpu" | "memory")) {
        errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
    used_claims(resources, claims, &path.child("claims"), errors);
}

/// What a pod as a whole asks for, beside what its containers do.
pub(crate) fn of_pod(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(resources) = set(spec, "resources") else { return };
    let path = path.child("resources");
    if set(resources, "claims").is_some() {
        let message = "claims cannot be set for Resources at pod-level";
        errors.push(FieldError::forbidden(&path.child("claims"), message));
    }
    let claims: BTreeSet<&str> =
        list(spec, "resourceClaims").iter().map(|claim| text(claim, "name")).collect();
    requirements(Some(resources), Of::Pod, &claims, &path, errors);
    let of_pod = |side: &str, name: &str| {
        resources.get(side).and_then(|amounts| amounts.get(name)).and_then(Quantity::from_json)
    };
    let requests = path.child("requests");
    for (name, together) in together(spec) {
        let asked = of_pod("requests", name).unwrap_or(Quantity::ZERO);
        if together > asked {
            let message =
                format!("must be greater than or equal to aggregate container requests of {together}");
            errors.push(FieldError::invalid(&requests.key(name), asked.to_string(), message));
        }
    }
    // So Kubernetes calls the place.
    let containers = path.child("containers");
    for (index, container) in list(spec, "containers").iter().enumerate() {
        let Some(resources) = set(container, "resources") else { continue };
        for (name, amount) in entries(resources, "limits") {
            let (Some(limit), Some(most)) = (Quantity::from_json(amount), of_pod("limits", name)) else {
                continue;
            };
            if limit > most {
                let path = containers.index(index);
                let path = path.key(name);
                let message = format!("must be less than or equal to pod limits of {most}");
                errors.push(FieldError::invalid(&path.child("limits"), limit.to_string(), message));
            }
        }
    }
}

/// What the containers of a pod ask for together: those that run side by side, or the most that is needed
/// while one that comes before them runs beside those that stay.
pub(crate) fn together(spec: &Value) -> BTreeMap<&str, Quantity> {
    fn requests(container: &Value) -> impl Iterator<Item = (&str, Quantity)> {
        let resources = container.get("resources").unwrap_or(&Value::Null);
        entries(resources, "requests")
            .filter_map(|(name, amount)| Some((name.as_str(), Quantity::from_json(amount)?)))
    }
    let mut sum: BTreeMap<&str, Quantity> = BTreeMap::new();
    for container in list(spec, "containers") {
        for (name, amount) in requests(container) {
            *sum.entry(name).or_insert(Quantity::ZERO) += amount;
        }
    }
    let (mut most, mut staying): (BTreeMap<&str, Quantity>, BTreeMap<&str, Quantity>) = Default::default();
    for container in list(spec, "initContainers") {
        let stays = text(container, "restartPolicy") == "Always";
        for (name, amount) in requests(container) {
            let already = staying.entry(name).or_insert(Quantity::ZERO);
            let mut needed = *already;
            needed += amount;
            if stays {
                *already += amount;
                *sum.entry(name).or_insert(Quantity::ZERO) += amount;
            }
            let most = most.entry(name).or_insert(Quantity::ZERO);
            *most = needed.max(*most);
        }
    }
    for (name, most) in most {
        let sum = sum.entry(name).or_insert(Quantity::ZERO);
        *sum = most.max(*sum);
    }
    sum
}

/// What a pod needs besides its containers.
pub(crate) fn overhead(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("overhead");
    let limits = path.child("limits");
    for (name, amount) in entries(spec, "overhead") {
        resource(name, amount, Of::Container, &limits.key(name), errors);
    }
}

/// Claims of devices that the pod has.
pub(crate) fn claims(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("resourceClaims");
    let mut known = BTreeSet::new();
    for (index, claim) in list(spec, "resourceClaims").iter().enumerate() {
        let path = path.index(index);
        let name = text(claim, "name");
        let of_name = path.child("name");
        if name.is_empty() {
            errors.push(FieldError::required(&of_name, ""));
        } else if !known.insert(name) {
            errors.push(FieldError::duplicate(&of_name, name));
        } else {
            invalid(errors, &of_name, name, names::dns1123_label(name));
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        let given = sources.iter().filter(|name| set(claim, name).is_some()).count();
        if given > 1 {
            let message =
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
            errors.push(FieldError::invalid(&path, claim.clone(), message));
        }
        if given == 0 {
            let message = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
            errors.push(FieldError::invalid(&path, claim.clone(), message));
        }
        for source in sources {
            if let Some(name) = set(claim, source).and_then(Value::as_str) {
                invalid(errors, &path.child(source), name, names::dns1123_subdomain(name));
            }
        }
    }
}

/// Claims of the pod, or requests of one, that a container uses.
fn used_claims(resources: &Value, claims: &BTreeSet<&str>, path: &Path<'_>, errors: &mut Errors) {
    // Of a claim the whole, or some of its requests.
    let mut used: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (index, claim) in list(resources, "claims").iter().enumerate() {
        let path = path.index(index);
        let (name, request) = (text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        if used.contains(&(name, "")) {
            errors.push(FieldError::duplicate(&path, name));
        } else {
            if !request.is_empty() {
                invalid(errors, &path.child("request"), request, names::dns1123_label(request));
            }
            if used.contains(&(name, request)) {
                errors.push(FieldError::duplicate(&path, format!("{name}/{request}")));
            } else if request.is_empty() {
                for _ in used.iter().filter(|(other, _)| *other == name) {
                    errors.push(FieldError::duplicate(&path, name));
                }
            }
            used.insert((name, request));
        }
        if !claims.contains(name) {
            let mut error = FieldError::not_found(&path, name);
            error.detail = "must be one of the names in pod.spec.resourceClaims".to_owned();
            if claims.is_empty() {
                error.detail.push_str(" which is empty");
            } else {
                let names: Vec<&str> = claims.iter().copied().collect();
                error.detail = format!("{}: {}", error.detail, names.join(", "));
            }
            errors.push(error);
        }
    }
}

fn resource(name: &str, amount: &Value, of: Of, path: &Path<'_>, errors: &mut Errors) {
    resource_name(name, of, path, errors);
    self::amount(name, amount, path, errors);
    if let (Some(size), Some(amount)) = (name.strip_prefix(HUGE_PAGES), Quantity::from_json(amount))
        && !is_multiple(amount, size)
    {
        let message = format!("{amount} is not positive integer multiple of {name}");
        errors.push(FieldError::invalid(path, amount.to_string(), message));
    }
}

/// An amount of the resource `name`: never less than nothing, and whole where there are no parts of it.
pub(crate) fn amount(name: &str, amount: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(quantity) = Quantity::from_json(amount) else { return };
    if quantity.is_negative() {
        let message = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(path, quantity.to_string(), message));
    }
    let is_counted = COUNTED.contains(&name) || is_extended(name);
    if is_counted && quantity.millis() % 1000 != 0 {
        errors.push(FieldError::invalid(path, quantity.to_string(), "must be an integer"));
    }
}

fn resource_name(name: &str, of: Of, path: &Path<'_>, errors: &mut Errors) {
    let before = errors.len();
    invalid(errors, path, name, names::qualified(name));
    if errors.len() > before && of == Of::Pod {
        return;
    }
    let is_bare = !name.contains('/');
    let is_standard = STANDARD.contains(&name) || name.starts_with(HUGE_PAGES);
    if errors.len() == before && is_bare && !is_standard {
        errors.push(FieldError::invalid(path, name, "must be a standard resource type or fully qualified"));
        if of == Of::Pod {
            return;
        }
    }
    match of {
        Of::Pod => {
            if !(matches!(name, "cpu" | "memory") || name.starts_with(HUGE_PAGES)) {
                errors.push(FieldError::not_supported(path, name, &["cpu", "hugepages-", "memory"]));
            }
        }
        Of::Container if is_bare => {
            let of_containers = matches!(name, "cpu" | "memory" | "ephemeral-storage");
            if !of_containers && !name.starts_with(HUGE_PAGES) {
                errors.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
            }
        }
        Of::Container => {
            if !is_native(name) && !is_extended(name) {
                let message = "doesn't follow extended resource name standard";
                errors.push(FieldError::invalid(path, name, message));
            }
        }
    }
}

/// Whether it is Kubernetes' own.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether it is what a node offers besides.
fn is_extended(name: &str) -> bool {
    // It is counted in quotas by that name.
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified(&format!("requests.{name}")).is_empty()
}

/// Whether more of it may be used than was asked for. Extended resources and huge pages may not.
fn may_overcommit(name: &str) -> bool {
    is_native(name) && !name.starts_with(HUGE_PAGES)
}

/// Whether so much is in whole pages.
fn is_multiple(amount: Quantity, page: &str) -> bool {
    let Ok(page) = page.parse::<Quantity>() else { return false };
    page > Quantity::ZERO && page.is_whole() && amount.value() % page.value() == 0
}
