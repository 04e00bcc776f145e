//! Rules of what somebody asks for.

use std::collections::{BTreeMap, BTreeSet};

use model::field::{FieldError, Path};
use model::names::dns1123_subdomain;
use model::validate::{Errors, format, invalid, list, number, text};
use serde_json::Value;

use super::{each, names, unique};

/// So many requests, constraints and configurations there are at most, and so many requests each names.
const MOST: usize = 32;
/// So many alternatives a request has at most.
const MOST_ALTERNATIVES: usize = 8;
/// The longest expression, and the longest parameters of a driver.
const LONGEST: usize = 10 << 10;

/// The names of requests, with those of their alternatives.
pub(crate) struct Requests<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

impl<'a> Requests<'a> {
    /// Those of the spec of a claim.
    pub(crate) fn of(spec: &'a Value) -> Self {
        let requests = spec.get("devices").map_or(&[][..], |devices| list(devices, "requests"));
        let alternatives = |request| list(request, "firstAvailable").iter().map(|one| text(one, "name"));
        Self(requests.iter().map(|one| (text(one, "name"), alternatives(one).collect())).collect())
    }

    /// Looks at the name of a request, or of a request and an alternative of it.
    pub(crate) fn check(&self, name: &str, path: &Path<'_>, errors: &mut Errors) {
        const UNKNOWN: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
        let parts: Vec<&str> = name.split('/').collect();
        if parts.len() > 2 {
            errors.push(FieldError::invalid(path, name, UNKNOWN));
            return;
        }
        for part in &parts {
            names::label(errors, path, part);
        }
        let known = self.0.get(parts[0]);
        if !known.is_some_and(|known| parts.get(1).is_none_or(|part| known.contains(part))) {
            errors.push(FieldError::invalid(path, name, UNKNOWN));
        }
    }

    /// Looks at the names in the field `requests`.
    pub(crate) fn check_all(&self, value: &Value, path: &Path<'_>, errors: &mut Errors) {
        let path = path.child("requests");
        let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let look = |one: &Value, path: &Path<'_>, errors: &mut Errors| self.check(&name(one), path, errors);
        unique(list(value, "requests"), MOST, &path, errors, look, name);
    }
}

/// The spec of a claim.
pub(crate) fn spec(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("devices");
    let Some(devices) = spec.get("devices") else { return };
    let names = Requests::of(spec);
    let name = |value: &Value| text(value, "name").to_owned();
    unique(list(devices, "requests"), MOST, &path.child("requests"), errors, request, name);
    each(list(devices, "constraints"), MOST, &path.child("constraints"), errors, |one, path, errors| {
        constraint(one, &names, path, errors);
    });
    each(list(devices, "config"), MOST, &path.child("config"), errors, |one, path, errors| {
        names.check_all(one, path, errors);
        configuration(one, path, errors);
    });
}

fn request(request: &Value, path: &Path<'_>, errors: &mut Errors) {
    names::label(errors, &path.child("name"), text(request, "name"));
    let alternatives = list(request, "firstAvailable");
    let exactly = request.get("exactly").filter(|exactly| !exactly.is_null());
    match (alternatives, exactly) {
        ([], None) => {
            let message = "exactly one of `exactly` or `firstAvailable` is required";
            errors.push(FieldError::required(path, message));
        }
        ([], Some(exactly)) => amount(exactly, &path.child("exactly"), errors),
        (_, Some(_)) => {
            let message =
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(FieldError::invalid(path, Value::Null, message));
        }
        (alternatives, None) => {
            let look = |one: &Value, path: &Path<'_>, errors: &mut Errors| {
                names::label(errors, &path.child("name"), text(one, "name"));
                amount(one, path, errors);
            };
            let name = |value: &Value| text(value, "name").to_owned();
            let path = path.child("firstAvailable");
            unique(alternatives, MOST_ALTERNATIVES, &path, errors, look, name);
        }
    }
}

/// Which devices, and how many.
fn amount(request: &Value, path: &Path<'_>, errors: &mut Errors) {
    const MODES: [&str; 2] = ["All", "ExactCount"];
    let class = text(request, "deviceClassName");
    if class.is_empty() {
        errors.push(FieldError::required(&path.child("deviceClassName"), ""));
    } else {
        invalid(errors, &path.child("deviceClassName"), class, dns1123_subdomain(class));
    }
    selectors(request, path, errors);
    let count = number(request, "count").unwrap_or_default();
    match text(request, "allocationMode") {
        "All" if count != 0 => {
            let message = "must not be specified when allocationMode is 'All'";
            errors.push(FieldError::invalid(&path.child("count"), count, message));
        }
        "ExactCount" if count <= 0 => {
            errors.push(FieldError::invalid(&path.child("count"), count, "must be greater than zero"));
        }
        "All" | "ExactCount" => {}
        other => errors.push(FieldError::not_supported(&path.child("allocationMode"), other, &MODES)),
    }
    let tolerations = path.child("tolerations");
    for (index, one) in list(request, "tolerations").iter().enumerate() {
        names::toleration(errors, &tolerations.index(index), one);
    }
}

/// Expressions that devices must satisfy.
pub(crate) fn selectors(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    each(list(value, "selectors"), MOST, &path.child("selectors"), errors, |one, path, errors| {
        let path = path.child("cel");
        match one.get("cel").filter(|cel| !cel.is_null()) {
            None => errors.push(FieldError::required(&path, "")),
            Some(cel) if text(cel, "expression").len() > LONGEST => {
                errors.push(FieldError::too_long(&path.child("expression"), LONGEST));
            }
            Some(_) => {}
        }
    });
}

fn constraint(constraint: &Value, names: &Requests<'_>, path: &Path<'_>, errors: &mut Errors) {
    names.check_all(constraint, path, errors);
    let attribute = |name: &str| constraint.get(name).and_then(Value::as_str);
    match (attribute("matchAttribute"), attribute("distinctAttribute")) {
        (Some(name), _) => names::full_property(errors, &path.child("matchAttribute"), name),
        (None, Some(name)) => names::full_property(errors, &path.child("distinctAttribute"), name),
        (None, None) => {
            let message = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but \
                           multiple fields are set";
            errors.push(FieldError::required(path, message));
        }
    }
}

/// The configurations of a class.
pub(crate) fn configurations(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    each(list(value, "config"), MOST, &path.child("config"), errors, configuration);
}

/// What is passed on to a driver.
pub(crate) fn configuration(configuration: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("opaque");
    let Some(opaque) = configuration.get("opaque").filter(|opaque| !opaque.is_null()) else {
        errors.push(FieldError::required(&path, ""));
        return;
    };
    format::driver(errors, &path.child("driver"), text(opaque, "driver"));
    parameters(opaque.get("parameters"), &path.child("parameters"), errors);
}

/// An object that means something to a driver.
pub(crate) fn parameters(parameters: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    match parameters {
        None | Some(Value::Null) => errors.push(FieldError::required(path, "")),
        Some(value) if value.to_string().len() > LONGEST => {
            errors.push(FieldError::too_long(path, LONGEST));
        }
        Some(Value::Object(_)) => {}
        Some(_) => {
            errors.push(FieldError::invalid(path, "<value omitted>", "must be a valid JSON object"));
        }
    }
}
