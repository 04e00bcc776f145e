//! What is odd about a Service but allowed, in Kubernetes' words.

use model::Object;
use model::validate::{list, text};
use serde_json::Value;

/// Of a service, new or changed.
pub(super) fn object(service: &Object, _: Option<&Object>) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    let mut warn = |what: &str| warnings.push(what.to_owned());
    if service.annotation("service.kubernetes.io/topology-aware-hints").is_some() {
        warn(
            "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use \
             service.kubernetes.io/topology-mode instead",
        );
    }
    let Some(spec) = service.get(&["spec"]) else { return warnings };
    let kind = text(spec, "type");
    let headless = kind == "ClusterIP" && text(spec, "clusterIP") == "None";
    if kind != "ExternalName" && !headless {
        addresses(spec, "clusterIPs", &mut warn);
    }
    if headless {
        if !text(spec, "loadBalancerIP").is_empty() {
            warn("spec.loadBalancerIP is ignored for headless services");
        }
        if !list(spec, "externalIPs").is_empty() {
            warn("spec.externalIPs is ignored for headless services");
        }
        if text(spec, "sessionAffinity") != "None" {
            warn("spec.SessionAffinity is ignored for headless services");
        }
    }
    addresses(spec, "externalIPs", &mut warn);
    if !list(spec, "externalIPs").is_empty() && !headless && kind != "ExternalName" {
        warn("spec.externalIPs is deprecated and may no longer be implemented in some clusters");
    }
    if kind == "ExternalName" && !list(spec, "externalIPs").is_empty() {
        warn("spec.externalIPs is ignored when spec.type is \"ExternalName\"");
    }
    if kind != "ExternalName" && !text(spec, "externalName").is_empty() {
        warn("spec.externalName is ignored when spec.type is not \"ExternalName\"");
    }
    if text(spec, "trafficDistribution") == "PreferClose" {
        warn("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"");
    }
    warnings
}

/// Addresses that are not written as RFC 5952 has it: the same may be written in many ways otherwise.
fn addresses(spec: &Value, name: &str, warn: &mut impl FnMut(&str)) {
    for (index, address) in list(spec, name).iter().enumerate() {
        let address = address.as_str().unwrap_or_default();
        let Ok(parsed) = address.parse::<std::net::Ipv6Addr>() else { continue };
        let plain = parsed.to_string();
        if plain != address {
            warn(&format!(
                "spec.{name}[{index}]: IPv6 address {address:?} should be in RFC 5952 canonical format ({plain:?})"
            ));
        }
    }
}
