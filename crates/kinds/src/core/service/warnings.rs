//! What is odd about a Service but allowed, in Kubernetes' words.

use model::Object;
use model::validate::{list, text};

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
    if kind == "ClusterIP" && text(spec, "clusterIP") == "None" {
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
