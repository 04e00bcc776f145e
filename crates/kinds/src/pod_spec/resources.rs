//! Rules of amounts: requests, limits, overhead; and of the claims of devices that containers use.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use model::Quantity;
use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, entries, invalid, list, text};

use super::volume::set;
use crate::resource_names::{self, HUGE_PAGES, any, may_overcommit, of_container};

/// Whose resources they are: a container may have others than a pod as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// A container.
    Container,
    /// A pod as a whole.
    Pod,
}

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
    let has = |of: fn(&str) -> bool| {
        ["limits", "requests"].into_iter().flat_map(|side| entries(resources, side)).any(|(name, _)| of(name))
    };
    if has(|name| name.starts_with(HUGE_PAGES)) && !has(|name| matches!(name, "cpu" | "memory")) {
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
    resource_names::amount(name, amount, path, errors);
    if let (Some(size), Some(amount)) = (name.strip_prefix(HUGE_PAGES), Quantity::from_json(amount))
        && !is_multiple(amount, size)
    {
        let message = format!("{amount} is not positive integer multiple of {name}");
        errors.push(FieldError::invalid(path, amount.to_string(), message));
    }
}

fn resource_name(name: &str, of: Of, path: &Path<'_>, errors: &mut Errors) {
    match of {
        Of::Container => of_container(name, path, errors),
        Of::Pod => {
            let is_one = matches!(name, "cpu" | "memory") || name.starts_with(HUGE_PAGES);
            if any(name, path, errors) && !is_one {
                errors.push(FieldError::not_supported(path, name, &["cpu", "hugepages-", "memory"]));
            }
        }
    }
}

/// Whether so much is in whole pages.
fn is_multiple(amount: Quantity, page: &str) -> bool {
    let Ok(page) = page.parse::<Quantity>() else { return false };
    page > Quantity::ZERO && page.is_whole() && amount.value() % page.value() == 0
}
