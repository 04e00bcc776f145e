//! NetworkPolicies: who may talk to which pods, and whom they may talk to.

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age, text};
use base::Timestamp;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use model::default::{Fields, each, inside, missing};
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, format, invalid, list, metadata, number, text as text_of};
use model::{Object, names};
use serde_json::{Value, json};

use crate::shown::selector;
use crate::spec_and_status::SpecAndStatus;

pub(crate) fn resource() -> Resource {
    Resource::of::<NetworkPolicy>()
        .short(&["netpol"])
        .defaults(defaults)
        .rules(Functions::of(object))
        .without_effect("no traffic is kept out by it")
        .columns(COLUMNS, cells)
        .strategy(SpecAndStatus::default().counted())
}

const COLUMNS: &[Column] = &[NAME, text("Pod-Selector", "The labels of the pods that it is for."), AGE];
const TYPES: [&str; 2] = ["Ingress", "Egress"];
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
/// The directions, and what the peers are called in each.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    inside(spec, "podSelector");
    for (direction, _) in DIRECTIONS {
        for rule in each(spec, direction) {
            for port in each(rule, "ports") {
                missing(port, "protocol", "TCP");
            }
        }
    }
    let is_empty = |name: &str| spec.get(name).and_then(Value::as_array).is_none_or(Vec::is_empty);
    if is_empty("policyTypes") {
        let types = if is_empty("egress") { json!(["Ingress"]) } else { json!(["Ingress", "Egress"]) };
        spec.insert("policyTypes".into(), types);
    }
}

fn object(object: &Object, errors: &mut Errors) {
    let path = Path::root("spec");
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    metadata::selector(spec.get("podSelector").unwrap_or(&empty), &path.child("podSelector"), errors);
    for (direction, peers) in DIRECTIONS {
        let rules = path.child(direction);
        for (index, rule) in list(spec, direction).iter().enumerate() {
            let path = rules.index(index);
            let ports_path = path.child("ports");
            for (at, one) in list(rule, "ports").iter().enumerate() {
                port(one, &ports_path.index(at), errors);
            }
            let peers_path = path.child(peers);
            for (at, one) in list(rule, peers).iter().enumerate() {
                peer(one, &peers_path.index(at), errors);
            }
        }
    }
    let types_path = path.child("policyTypes");
    let types = list(spec, "policyTypes");
    if types.len() > TYPES.len() {
        let message = "may not specify more than two policyTypes";
        errors.push(FieldError::invalid(&types_path, types.to_vec(), message));
        return;
    }
    for (index, kind) in types.iter().enumerate() {
        let kind = kind.as_str().unwrap_or_default();
        if !TYPES.contains(&kind) {
            errors.push(FieldError::not_supported(&types_path.index(index), kind, &TYPES));
        }
    }
}

fn port(port: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(protocol) = port.get("protocol").and_then(Value::as_str)
        && !PROTOCOLS.contains(&protocol)
    {
        errors.push(FieldError::not_supported(&path.child("protocol"), protocol, &PROTOCOLS));
    }
    let (place, end) = (path.child("port"), path.child("endPort"));
    let last = number(port, "endPort");
    match port.get("port").filter(|port| !port.is_null()) {
        Some(Value::String(name)) => {
            if let Some(last) = last {
                let message = "may not be specified when `port` is non-numeric";
                errors.push(FieldError::invalid(&end, last, message));
            }
            invalid(errors, &place, name.as_str(), names::port_name(name));
        }
        Some(first) => {
            let first = first.as_i64().unwrap_or_default();
            invalid(errors, &place, first, names::port_number(first));
            let Some(last) = last else { return };
            if last < first {
                let message = "must be greater than or equal to `port`";
                errors.push(FieldError::invalid(&end, last, message));
            }
            invalid(errors, &end, last, names::port_number(last));
        }
        None => {
            if let Some(last) = last {
                let message = "may not be specified when `port` is not specified";
                errors.push(FieldError::invalid(&end, last, message));
            }
        }
    }
}

fn peer(peer: &Value, path: &Path<'_>, errors: &mut Errors) {
    let part = |name: &str| peer.get(name).filter(|part| !part.is_null());
    let mut count = 0;
    for name in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = part(name) {
            count += 1;
            metadata::selector(selector, &path.child(name), errors);
        }
    }
    if let Some(block) = part("ipBlock") {
        count += 1;
        ip_block(block, &path.child("ipBlock"), errors);
    }
    if count == 0 {
        errors.push(FieldError::required(path, "must specify a peer"));
    } else if count > 1 && part("ipBlock").is_some() {
        errors.push(FieldError::forbidden(path, "may not specify both ipBlock and another peer"));
    }
}

fn ip_block(block: &Value, path: &Path<'_>, errors: &mut Errors) {
    let whole = text_of(block, "cidr");
    if whole.is_empty() {
        errors.push(FieldError::required(&path.child("cidr"), ""));
        return;
    }
    let Some((network, length)) = format::cidr(errors, &path.child("cidr"), whole) else { return };
    let excepted = path.child("except");
    for (index, except) in list(block, "except").iter().enumerate() {
        let except = except.as_str().unwrap_or_default();
        let path = excepted.index(index);
        let Some((inner, inner_length)) = format::cidr(errors, &path, except) else { continue };
        let is_inside = inner.is_ipv4() == network.is_ipv4() && format::masked(inner, length) == network;
        if !is_inside || length >= inner_length {
            errors.push(FieldError::invalid(&path, except, "must be a strict subset of `cidr`"));
        }
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), selector(object.get(&["spec", "podSelector"])).into(), age(object, now)]
}
