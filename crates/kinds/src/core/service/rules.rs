//! Rules of Service.

mod addresses;
mod change;

use std::collections::HashSet;

use serde_json::{Value, json};

use model::field::{FieldError, Path};
use model::names;
use model::object::{Object, StringMap};
use model::validate::{
    Errors, address as check_address, invalid, list, metadata, number, one_of, range, special_address, text,
};

use crate::pod_spec::probe;
use crate::pod_spec::volume::set;

pub(super) use addresses::cluster_addresses;
pub(super) use change::change;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const AFFINITIES: [&str; 2] = ["ClientIP", "None"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];
const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameNode", "PreferSameZone"];
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";
const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";

/// Rules of any service.
pub(super) fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let path = Path::root("spec");
    topology(object, errors);
    let (kind, headless) = (text(spec, "type"), is_headless(spec));
    if list(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
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
    ports(spec, &path, errors);
    let selector = StringMap::new(spec.get("selector").and_then(Value::as_object));
    metadata::labels(selector, &path.child("selector"), errors);
    one_of(errors, spec, "sessionAffinity", &path, &AFFINITIES);
    affinity(spec, &path.child("sessionAffinityConfig"), errors);
    cluster_addresses(spec, &path, errors);
    external_addresses(spec, &path.child("externalIPs"), errors);
    one_of(errors, spec, "type", &path, &TYPES);
    ports_together(spec, &path, errors);
    ranges(object, spec, &path, errors);
    balanced(spec, &path, errors);
    traffic(spec, &path, errors);
}

/// Whether a service has no address of its own.
fn is_headless(spec: &Value) -> bool {
    matches!(list(spec, "clusterIPs"), [one] if one == "None")
}

/// Two annotations that say the same, one of them by its old name.
fn topology(object: &Object, errors: &mut Errors) {
    if let (Some(mode), Some(hints)) = (object.annotation(MODE), object.annotation(HINTS))
        && mode != hints
    {
        let path = Path::root("metadata");
        let path = path.child("annotations");
        let message = format!("must match annotations[{HINTS}] when both are specified");
        errors.push(FieldError::invalid(&path.key(MODE), mode, message));
    }
}

fn external_name(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    const WHY: &str = "may not be set for ExternalName services";
    for name in ["clusterIPs", "ipFamilies"] {
        if !list(spec, name).is_empty() {
            errors.push(FieldError::forbidden(&path.child(name), WHY));
        }
    }
    if set(spec, "ipFamilyPolicy").is_some() {
        errors.push(FieldError::forbidden(&path.child("ipFamilyPolicy"), WHY));
    }
    let name = text(spec, "externalName");
    // The root's dot is allowed at the end.
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.is_empty() {
        errors.push(FieldError::required(&path.child("externalName"), ""));
    } else {
        invalid(errors, &path.child("externalName"), bare, names::dns1123_subdomain(bare));
    }
}

fn ports(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let ports = path.child("ports");
    let all = list(spec, "ports");
    let mut names = HashSet::new();
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
        if let Some(protocol) = set(port, "appProtocol").and_then(Value::as_str) {
            invalid(errors, &path.child("appProtocol"), protocol, names::qualified(protocol));
        }
    }
}

/// What ports may not be together, each of its kind in the order of Kubernetes.
fn ports_together(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let ports = path.child("ports");
    let all = list(spec, "ports");
    let node_port = |port: &Value| number(port, "nodePort").unwrap_or_default();
    if text(spec, "type") == "ClusterIP" {
        for (index, _) in all.iter().enumerate().filter(|(_, port)| node_port(port) != 0) {
            let message = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(&ports.index(index).child("nodePort"), message));
        }
    }
    let mut outside = HashSet::new();
    for (index, port) in all.iter().enumerate() {
        let number = node_port(port);
        if number != 0 && !outside.insert((text(port, "protocol"), number)) {
            errors.push(FieldError::duplicate(&ports.index(index).child("nodePort"), number));
        }
    }
    let mut places = HashSet::new();
    for (index, port) in all.iter().enumerate() {
        let (protocol, inside) = (text(port, "protocol"), number(port, "port").unwrap_or_default());
        if !places.insert((protocol, inside)) {
            let value = json!({"protocol": protocol, "port": inside});
            errors.push(FieldError::duplicate(&ports.index(index), value));
        }
    }
}

/// For how long a client comes to the same endpoint.
fn affinity(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    const DAY: i64 = 86_400;
    const WHEN: &str = "when session affinity type is ClientIP";
    let config = set(spec, "sessionAffinityConfig");
    match text(spec, "sessionAffinity") {
        "None" if config.is_some() => {
            errors.push(FieldError::forbidden(path, "must not be set when session affinity is None"));
        }
        "ClientIP" => {
            let of_client = path.child("clientIP");
            let of_timeout = of_client.child("timeoutSeconds");
            let Some(config) = config else { return errors.push(FieldError::required(path, WHEN)) };
            let Some(client) = set(config, "clientIP") else {
                return errors.push(FieldError::required(&of_client, WHEN));
            };
            match number(client, "timeoutSeconds") {
                None => errors.push(FieldError::required(&of_timeout, WHEN)),
                Some(seconds) if !(1..=DAY).contains(&seconds) => {
                    let message = format!("must be greater than 0 and less than {DAY}");
                    errors.push(FieldError::invalid(&of_timeout, seconds, message));
                }
                Some(_) => {}
            }
        }
        _ => {}
    }
}

fn external_addresses(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (index, address) in list(spec, "externalIPs").iter().enumerate() {
        let (path, address) = (path.index(index), address.as_str().unwrap_or_default());
        let before = errors.len();
        check_address(errors, &path, address);
        if errors.len() == before {
            special_address(errors, &path, address);
        }
    }
}

/// Who may come by a balancer, said in the field or in the annotation that was there before it.
fn ranges(object: &Object, spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let is_balanced = text(spec, "type") == "LoadBalancer";
    let given = list(spec, "loadBalancerSourceRanges");
    if !given.is_empty() {
        // So Kubernetes writes it.
        let path = path.child("LoadBalancerSourceRanges");
        if !is_balanced {
            errors.push(FieldError::forbidden(&path, ONLY_BALANCED));
        }
        for (index, given) in given.iter().enumerate() {
            range(errors, &path.index(index), given.as_str().unwrap_or_default().trim());
        }
    } else if let Some(given) = object.annotation(RANGES) {
        let path = Path::root("metadata");
        let path = path.child("annotations");
        let path = path.key(RANGES);
        if !is_balanced {
            errors.push(FieldError::forbidden(&path, ONLY_BALANCED));
        }
        for given in given.split(',').filter(|_| !given.trim().is_empty()) {
            range(errors, &path, given.trim());
        }
    }
}

/// What only services with a balancer have.
fn balanced(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let is_balanced = text(spec, "type") == "LoadBalancer";
    let allocates = set(spec, "allocateLoadBalancerNodePorts").is_some();
    if allocates && !is_balanced {
        errors.push(FieldError::forbidden(&path.child("allocateLoadBalancerNodePorts"), ONLY_BALANCED));
    }
    if is_balanced && !allocates {
        errors.push(FieldError::required(&Path::root("allocateLoadBalancerNodePorts"), ""));
    }
    if let Some(class) = set(spec, "loadBalancerClass").and_then(Value::as_str) {
        let path = path.child("loadBalancerClass");
        if is_balanced {
            invalid(errors, &path, class, names::qualified(class));
        } else {
            errors.push(FieldError::forbidden(&path, ONLY_BALANCED));
        }
    }
}

/// Which way traffic goes.
fn traffic(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let kind = text(spec, "type");
    let is_reached_from_outside = matches!(kind, "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && !list(spec, "externalIPs").is_empty());
    let policy = text(spec, "externalTrafficPolicy");
    let of_policy = path.child("externalTrafficPolicy");
    if is_reached_from_outside {
        one_of(errors, spec, "externalTrafficPolicy", path, &POLICIES);
    } else if !policy.is_empty() {
        let message = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(&of_policy, policy, message));
    }
    let health_port = number(spec, "healthCheckNodePort").unwrap_or_default();
    let of_port = path.child("healthCheckNodePort");
    let is_checked = kind == "LoadBalancer" && policy == "Local";
    match (is_checked, health_port) {
        (false, 0) => {}
        (false, port) => {
            let message =
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(&of_port, port, message));
        }
        (true, 0) => errors.push(FieldError::required(&of_port, "")),
        (true, port) => invalid(errors, &of_port, port, names::port_number(port)),
    }
    let of_policy = path.child("internalTrafficPolicy");
    match set(spec, "internalTrafficPolicy").and_then(Value::as_str) {
        None if matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP") => {
            errors.push(FieldError::required(&of_policy, ""));
        }
        Some(policy) if !POLICIES.contains(&policy) => {
            errors.push(FieldError::not_supported(&of_policy, policy, &POLICIES));
        }
        _ => {}
    }
    if let Some(distribution) = set(spec, "trafficDistribution").and_then(Value::as_str)
        && !DISTRIBUTIONS.contains(&distribution)
    {
        let path = path.child("trafficDistribution");
        errors.push(FieldError::not_supported(&path, distribution, &DISTRIBUTIONS));
    }
}

/// Rules of what balancers say of themselves.
pub(super) fn status(object: &Object, _: &Object, errors: &mut Errors) {
    let ingress = object.get_list(&["status", "loadBalancer", "ingress"]);
    let path = Path::root("status");
    let path = path.child("loadBalancer");
    let path = path.child("ingress");
    if !ingress.is_empty() && object.get_str(&["spec", "type"]) != Some("LoadBalancer") {
        errors.push(FieldError::forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'"));
        return;
    }
    for (index, place) in ingress.iter().enumerate() {
        let path = path.index(index);
        let (ip, host) = (text(place, "ip"), text(place, "hostname"));
        if !ip.is_empty() {
            check_address(errors, &path.child("ip"), ip);
        }
        let of_mode = path.child("ipMode");
        match set(place, "ipMode").and_then(Value::as_str) {
            None if !ip.is_empty() => {
                errors.push(FieldError::required(&of_mode, "must be specified when `ip` is set"));
            }
            Some(_) if ip.is_empty() => {
                errors.push(FieldError::forbidden(&of_mode, "may not be specified when `ip` is not set"));
            }
            Some(mode) if !["Proxy", "VIP"].contains(&mode) => {
                errors.push(FieldError::not_supported(&of_mode, mode, &["Proxy", "VIP"]));
            }
            _ => {}
        }
        if !host.is_empty() {
            invalid(errors, &path.child("hostname"), host, names::dns1123_subdomain(host));
            if host.parse::<std::net::IpAddr>().is_ok() {
                let message = "must be a DNS name, not an IP address";
                errors.push(FieldError::invalid(&path.child("hostname"), host, message));
            }
        }
    }
}
