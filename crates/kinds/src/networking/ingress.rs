//! Ingresses: which requests from outside go to which service.

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, NONE, age, or, text};
use base::Timestamp;
use k8s_openapi::api::networking::v1::Ingress;
use model::default::{Fields, each, existing, inside};
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, format, invalid, list, number, text as text_of};
use model::{Object, names};
use serde_json::Value;

use crate::spec_and_status::SpecAndStatus;

pub(crate) fn resource() -> Resource {
    Resource::of::<Ingress>()
        .short(&["ing"])
        .status()
        .defaults(defaults)
        .rules(Functions::of(object).creation(creation).status(status))
        .warnings(warnings)
        .without_effect("no request is routed by it")
        .columns(COLUMNS, cells)
        .strategy(SpecAndStatus::default().counted().with_status())
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Class", "The class of controllers that it is for."),
    text("Hosts", "The names that requests are for."),
    text("Address", "Where it takes requests."),
    text("Ports", "The ports of encrypted and other requests."),
    AGE,
];
/// By which the class was named before there was a field.
const CLASS: &str = "kubernetes.io/ingress.class";
const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    if let Some(backend) = existing(spec, "defaultBackend") {
        port_of(backend);
    }
    for rule in each(spec, "rules") {
        let Some(http) = existing(rule, "http") else { continue };
        for path in each(http, "paths") {
            port_of(inside(path, "backend"));
        }
    }
    inside(inside(fields, "status"), "loadBalancer");
}

/// A service has a port, be it one that says nothing.
fn port_of(backend: &mut Fields) {
    if let Some(service) = existing(backend, "service") {
        inside(service, "port");
    }
}

fn object(object: &Object, errors: &mut Errors) {
    let path = Path::root("spec");
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let rules = list(spec, "rules");
    let default = spec.get("defaultBackend").filter(|backend| !backend.is_null());
    if rules.is_empty() && default.is_none() {
        let value = spec.get("rules").cloned().unwrap_or_default();
        let message = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(&path, value, message));
    }
    if let Some(default) = default {
        backend(default, &path.child("defaultBackend"), errors);
    }
    let rules_path = path.child("rules");
    for (index, one) in rules.iter().enumerate() {
        rule(one, &rules_path.index(index), errors);
    }
    tls(spec, &path.child("tls"), errors);
    if let Some(class) = spec.get("ingressClassName").and_then(Value::as_str) {
        invalid(errors, &path.child("ingressClassName"), class, names::dns1123_subdomain(class));
    }
}

/// Whoever makes one names its class in one way.
fn creation(object: &Object, errors: &mut Errors) {
    let class = object.get_str(&["spec", "ingressClassName"]);
    if let (Some(old), Some(class)) = (object.annotation(CLASS), class)
        && old != class
    {
        let path = Path::root("annotations");
        let message = "must match `ingressClassName` when both are specified";
        errors.push(FieldError::invalid(&path.child(CLASS), old, message));
    }
}

fn tls(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (index, one) in list(spec, "tls").iter().enumerate() {
        let path = path.index(index);
        let hosts = path.child("hosts");
        for (at, host) in list(one, "hosts").iter().enumerate() {
            let host = host.as_str().unwrap_or_default();
            invalid(errors, &hosts.index(at), host, host_name(host));
        }
        let secret = text_of(one, "secretName");
        if !secret.is_empty() {
            invalid(errors, &path.child("secretName"), secret, names::dns1123_subdomain(secret));
        }
    }
}

fn host_name(host: &str) -> Vec<String> {
    if host.contains('*') { names::wildcard_subdomain(host) } else { names::dns1123_subdomain(host) }
}

fn rule(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    let host = text_of(rule, "host");
    if !host.is_empty() {
        let path = path.child("host");
        if host.parse::<std::net::IpAddr>().is_ok() {
            errors.push(FieldError::invalid(&path, host, "must be a DNS name, not an IP address"));
        }
        invalid(errors, &path, host, host_name(host));
    }
    let Some(http) = rule.get("http").filter(|http| !http.is_null()) else { return };
    let path = path.child("http");
    let paths_path = path.child("paths");
    let paths = list(http, "paths");
    if paths.is_empty() {
        errors.push(FieldError::required(&paths_path, ""));
    }
    for (index, one) in paths.iter().enumerate() {
        http_path(one, &paths_path.index(index), errors);
    }
}

fn http_path(one: &Value, path: &Path<'_>, errors: &mut Errors) {
    const SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
    const ENDS: [&str; 2] = ["/..", "/."];
    let Some(kind) = one.get("pathType").and_then(Value::as_str) else {
        errors.push(FieldError::required(&path.child("pathType"), "pathType must be specified"));
        return;
    };
    let place = text_of(one, "path");
    let place_path = path.child("path");
    let mut refuse = |message: String| errors.push(FieldError::invalid(&place_path, place, message));
    match kind {
        "Exact" | "Prefix" => {
            if !place.starts_with('/') {
                refuse("must be an absolute path".to_owned());
            }
            for sequence in SEQUENCES.into_iter().filter(|sequence| place.contains(sequence)) {
                refuse(format!("must not contain '{sequence}'"));
            }
            for end in ENDS.into_iter().filter(|end| place.ends_with(end)) {
                refuse(format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" => {
            if !place.is_empty() && !place.starts_with('/') {
                refuse("must be an absolute path".to_owned());
            }
        }
        other => errors.push(FieldError::not_supported(&path.child("pathType"), other, &PATH_TYPES)),
    }
    backend(one.get("backend").unwrap_or(&Value::Null), &path.child("backend"), errors);
}

fn backend(backend: &Value, path: &Path<'_>, errors: &mut Errors) {
    let part = |name: &str| backend.get(name).filter(|part| !part.is_null());
    match (part("resource"), part("service")) {
        (Some(_), Some(_)) => {
            let message = "cannot set both resource and service backends";
            errors.push(FieldError::invalid(path, "", message));
        }
        (Some(resource), None) => reference(resource, &path.child("resource"), errors),
        (None, Some(service)) => service_backend(service, path, errors),
        (None, None) => {
            errors.push(FieldError::invalid(path, "", "resource or service backend is required"));
        }
    }
}

fn service_backend(service: &Value, path: &Path<'_>, errors: &mut Errors) {
    let service_path = path.child("service");
    let name = text_of(service, "name");
    if name.is_empty() {
        errors.push(FieldError::required(&service_path.child("name"), ""));
    } else {
        invalid(errors, &service_path.child("name"), name, names::dns1123_label(name));
    }
    let port = service.get("port").unwrap_or(&Value::Null);
    let port_path = service_path.child("port");
    let (name, number) = (text_of(port, "name"), number(port, "number").unwrap_or_default());
    match (name, number) {
        ("", 0) => errors.push(FieldError::required(path, "port name or number is required")),
        ("", number) => invalid(errors, &port_path.child("number"), number, names::port_number(number)),
        (name, 0) => invalid(errors, &port_path.child("name"), name, names::port_name(name)),
        _ => errors.push(FieldError::invalid(path, "", "cannot set both port name & port number")),
    }
}

/// A reference to an object of some kind in the same namespace.
pub(super) fn reference(reference: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(group) = reference.get("apiGroup").and_then(Value::as_str) {
        invalid(errors, &path.child("apiGroup"), group, names::dns1123_subdomain(group));
    }
    for name in ["kind", "name"] {
        let value = text_of(reference, name);
        if value.is_empty() {
            errors.push(FieldError::required(&path.child(name), ""));
        } else {
            invalid(errors, &path.child(name), value, names::path_segment(value));
        }
    }
}

fn status(object: &Object, _: &Object, errors: &mut Errors) {
    let path = Path::root("status");
    let path = path.child("loadBalancer");
    let path = path.child("ingress");
    for (index, one) in object.get_list(&["status", "loadBalancer", "ingress"]).iter().enumerate() {
        let path = path.index(index);
        let (ip, host) = (text_of(one, "ip"), text_of(one, "hostname"));
        if !ip.is_empty() {
            format::ip(errors, &path.child("ip"), ip);
        }
        if !host.is_empty() {
            let path = path.child("hostname");
            invalid(errors, &path, host, names::dns1123_subdomain(host));
            if host.parse::<std::net::IpAddr>().is_ok() {
                errors.push(FieldError::invalid(&path, host, "must be a DNS name, not an IP address"));
            }
        }
    }
}

fn warnings(object: &Object, old: Option<&Object>) -> Vec<String> {
    if old.is_some() || object.annotation(CLASS).is_none() {
        return Vec::new();
    }
    vec![
        "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
            .to_owned(),
    ]
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let rules = object.get_list(&["spec", "rules"]);
    let places = object.get_list(&["status", "loadBalancer", "ingress"]).iter().filter_map(|one| {
        ["ip", "hostname"].into_iter().map(|name| text_of(one, name)).find(|place| !place.is_empty())
    });
    let has_tls = !object.get_list(&["spec", "tls"]).is_empty();
    vec![
        object.name().into(),
        or(object.get_str(&["spec", "ingressClassName"]), NONE).into(),
        hosts(rules).into(),
        places.collect::<Vec<_>>().join(",").into(),
        if has_tls { "80, 443" } else { "80" }.into(),
        age(object, now),
    ]
}

/// The first hosts, and how many rules there are besides.
fn hosts(rules: &[Value]) -> String {
    const SHOWN: usize = 3;
    let all: Vec<&str> = rules.iter().map(|rule| text_of(rule, "host")).collect();
    let mut shown = Vec::new();
    let mut more = false;
    for host in &all {
        more |= shown.len() == SHOWN;
        if !more && !host.is_empty() {
            shown.push(*host);
        }
    }
    match (shown.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, false) => shown.join(","),
        (false, true) => format!("{} + {} more...", shown.join(","), all.len() - SHOWN),
    }
}
