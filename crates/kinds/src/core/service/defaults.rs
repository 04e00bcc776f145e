//! Defaults of Service. Cluster addresses and node ports are given by the API server, which keeps them.

use serde_json::Value;

use model::default::{Fields, each, inside, is_zero, missing, text, unset};

pub(super) fn object(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    unset(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => {
            spec.shift_remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let config = inside(inside(spec, "sessionAffinityConfig"), "clientIP");
            missing(config, "timeoutSeconds", 10_800);
        }
        _ => {}
    }
    unset(spec, "type", "ClusterIP");
    for port in each(spec, "ports") {
        unset(port, "protocol", "TCP");
        if is_zero(port.get("targetPort")) {
            let number = port.get("port").cloned().unwrap_or_else(|| 0.into());
            port.insert("targetPort".into(), number);
        }
    }
    let kind = text(spec, "type").to_owned();
    let has_external = spec.get("externalIPs").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && has_external) {
        unset(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        missing(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        missing(spec, "allocateLoadBalancerNodePorts", true);
    }
    let balancer = inside(inside(fields, "status"), "loadBalancer");
    if kind == "LoadBalancer" {
        for ingress in each(balancer, "ingress") {
            if !is_zero(ingress.get("ip")) {
                missing(ingress, "ipMode", "VIP");
            }
        }
    }
}
