//! Rules of Service.

use std::collections::HashSet;

use serde_json::{Value, json};

use model::field::{FieldError, Path};
use model::names;
use model::object::{Object, StringMap};
use model::validate::{
    Errors, address as check_address, invalid, list, metadata, number, one_of, special_address, text,
};

use crate::pod_spec::probe;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const AFFINITIES: [&str; 2] = ["ClientIP", "None"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];

pub(crate) fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let path = Path::root("spec");
    let kind = text(spec, "type");
    one_of(errors, spec, "type", &path, &TYPES);
    let headless = text(spec, "clusterIP") == "None";
    let needs_ports = kind != "ExternalName" && !headless;
    if needs_ports && list(spec, "ports").is_empty() {
        errors.push(FieldError::required(&path.child("ports"), ""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let message = format!("may not be set to 'None' for {kind} services");
            let ips = path.child("clusterIPs");
            errors.push(FieldError::invalid(&ips.index(0), "None", message));
        }
        "ExternalName" => external_name(spec, &path, errors),
        _ => {}
    }
    cluster_addresses(spec, &path, errors);
    ports(spec, &path, kind, errors);
    let selector = StringMap::new(spec.get("selector").and_then(Value::as_object));
    metadata::labels(selector, &path.child("selector"), errors);
    one_of(errors, spec, "sessionAffinity", &path, &AFFINITIES);
    if text(spec, "sessionAffinity") == "ClientIP" {
        affinity_timeout(spec, &path, errors);
    }
    let externals = path.child("externalIPs");
    for (index, address) in list(spec, "externalIPs").iter().enumerate() {
        let address = address.as_str().unwrap_or_default();
        check_address(errors, &externals.index(index), address);
        special_address(errors, &externals.index(index), address);
    }
    for name in ["externalTrafficPolicy", "internalTrafficPolicy"] {
        let policy = text(spec, name);
        if !policy.is_empty() && !POLICIES.contains(&policy) {
            errors.push(FieldError::not_supported(&path.child(name), policy, &POLICIES));
        }
    }
    let externally_accessible = matches!(kind, "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && !list(spec, "externalIPs").is_empty());
    let policy = text(spec, "externalTrafficPolicy");
    if !externally_accessible && !policy.is_empty() {
        let message = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(&path.child("externalTrafficPolicy"), policy, message));
    }
    let health_port = number(spec, "healthCheckNodePort").unwrap_or_default();
    if health_port != 0 && !(kind == "LoadBalancer" && policy == "Local") {
        let message = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(FieldError::invalid(&path.child("healthCheckNodePort"), health_port, message));
    }
}

pub(crate) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    let of = |object: &Object| object.get_str(&["spec", "type"]).unwrap_or_default().to_owned();
    let addresses = |object: &Object| object.get(&["spec", "clusterIPs"]).cloned();
    if of(object) == "ExternalName" || of(old) == "ExternalName" {
        return;
    }
    let (new_first, old_first) =
        (object.get_str(&["spec", "clusterIP"]), old.get_str(&["spec", "clusterIP"]).unwrap_or_default());
    if old_first.is_empty() || new_first == Some(old_first) {
        return;
    }
    let path = Path::root("spec").child("clusterIPs").index(0).to_string();
    let value = addresses(object).unwrap_or_else(|| json!(new_first.into_iter().collect::<Vec<_>>()));
    let mut error = FieldError::invalid(&Path::EMPTY, value, "may not change once set");
    error.field = path;
    errors.push(error);
}

fn external_name(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let has = |name: &str| !text(spec, name).is_empty() || !list(spec, name).is_empty();
    for name in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if has(name) || (name == "clusterIPs" && has("clusterIP")) {
            let message = "may not be set when `type` is 'ExternalName'";
            errors.push(FieldError::forbidden(&path.child(name), message));
        }
    }
    let name = text(spec, "externalName");
    // The root's dot is allowed at the end.
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.is_empty() {
        errors.push(FieldError::required(&path.child("externalName"), ""));
    } else {
        invalid(errors, &path.child("externalName"), name, names::dns1123_subdomain(bare));
    }
}

fn cluster_addresses(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    if text(spec, "type") == "ExternalName" {
        return;
    }
    let ips = path.child("clusterIPs");
    let listed = list(spec, "clusterIPs");
    let first = text(spec, "clusterIP");
    let all: Vec<&str> = match listed {
        [] if first.is_empty() => Vec::new(),
        [] => vec![first],
        listed => listed.iter().filter_map(Value::as_str).collect(),
    };
    if !listed.is_empty() && all.first() != Some(&first) {
        errors.push(FieldError::invalid(&ips, listed.to_vec(), "first value must match `clusterIP`"));
    }
    if all.len() > 2 {
        errors.push(FieldError::invalid(&ips, listed.to_vec(), "may only hold up to 2 values"));
    }
    for (index, address) in all.iter().enumerate() {
        match *address {
            "None" if index > 0 => {
                let message = "'None' must be the first and only value";
                errors.push(FieldError::invalid(&ips, listed.to_vec(), message));
            }
            "None" | "" => {}
            address => check_address(errors, &ips.index(index), address),
        }
    }
}

fn ports(spec: &Value, path: &Path<'_>, kind: &str, errors: &mut Errors) {
    let ports = path.child("ports");
    let all = list(spec, "ports");
    let mut names = HashSet::new();
    let mut places = HashSet::new();
    let mut outside = HashSet::new();
    for (index, port) in all.iter().enumerate() {
        let path = ports.index(index);
        let name = text(port, "name");
        if name.is_empty() && all.len() > 1 {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else if !name.is_empty() {
            invalid(errors, &path.child("name"), name, names::dns1123_label(name));
            if !names.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
        }
        let inside = number(port, "port").unwrap_or_default();
        invalid(errors, &path.child("port"), inside, names::port_number(inside));
        one_of(errors, port, "protocol", &path, &PROTOCOLS);
        probe::port(port.get("targetPort"), &path.child("targetPort"), errors);
        let protocol = text(port, "protocol");
        if !places.insert((protocol, inside)) {
            errors.push(FieldError::duplicate(&path, json!({"protocol": protocol, "port": inside})));
        }
        let node_port = number(port, "nodePort").unwrap_or_default();
        if node_port != 0 && kind == "ClusterIP" {
            let message = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(&path.child("nodePort"), message));
        } else if node_port != 0 && !outside.insert((protocol, node_port)) {
            errors.push(FieldError::duplicate(&path.child("nodePort"), node_port));
        }
    }
}

fn affinity_timeout(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    const DAY: i64 = 86_400;
    let path = path.child("sessionAffinityConfig");
    let path = path.child("clientIP");
    let path = path.child("timeoutSeconds");
    let seconds = spec.pointer("/sessionAffinityConfig/clientIP/timeoutSeconds").and_then(Value::as_i64);
    match seconds {
        None => errors.push(FieldError::required(&path, "when session affinity type is ClientIP")),
        Some(seconds) if !(1..=DAY).contains(&seconds) => {
            let message = format!("must be greater than 0 and less than {DAY}");
            errors.push(FieldError::invalid(&path, seconds, message));
        }
        Some(_) => {}
    }
}
