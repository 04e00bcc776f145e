//! Which addresses and ports lead to which endpoints.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::Endpoint;

use super::{Backed, cluster_ips, name, protocol};

/// The labels of services that are not for this proxy, whatever their values.
const NOT_PROXIED: [&str; 2] = ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"];

/// The ports of every service, none for one without an address of its own. `node` is this node's name.
pub fn service_table(services: &[Backed<'_>], node: &str) -> net::ServiceTable {
    let table = services.iter().filter_map(|backed| Some((name(backed.service)?, ports(backed, node))));
    table.collect()
}

fn ports(backed: &Backed<'_>, node: &str) -> BTreeMap<String, net::ServicePort> {
    let Some(spec) = &backed.service.spec else { return BTreeMap::new() };
    let Some(addresses) = addresses(backed, spec) else { return BTreeMap::new() };
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        let name = port.name.clone().unwrap_or_default();
        Some((name, service_port(backed, spec, port, &addresses, node)?))
    });
    ports.collect()
}

fn service_port(
    backed: &Backed<'_>,
    spec: &ServiceSpec,
    port: &ServicePort,
    addresses: &Addresses,
    node: &str,
) -> Option<net::ServicePort> {
    Some(net::ServicePort {
        addresses: addresses.cluster.clone(),
        external_addresses: addresses.external.clone(),
        protocol: protocol(port.protocol.as_deref()),
        port: u16::try_from(port.port).ok()?,
        node_port: port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0),
        client_affinity: affinity(spec),
        external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
        internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        endpoints: endpoints(backed, port, node),
    })
}

/// For how many seconds a client of a service keeps its endpoint, if it does.
fn affinity(spec: &ServiceSpec) -> Option<u32> {
    /// What the API says where nothing is said.
    const USUAL: i32 = 10_800;
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let of_client = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = of_client.and_then(|client| client.timeout_seconds).unwrap_or(USUAL);
    u32::try_from(seconds).ok()
}

/// The addresses of a service.
struct Addresses {
    /// What the cluster gave it.
    cluster: Vec<IpAddr>,
    /// External ones, and those of load balancers.
    external: Vec<IpAddr>,
}

/// The addresses of a service; none for headless ones and mere names.
fn addresses(backed: &Backed<'_>, spec: &ServiceSpec) -> Option<Addresses> {
    if spec.type_.as_deref() == Some("ExternalName") || is_anothers(backed.service) {
        return None;
    }
    let cluster = cluster_ips(spec);
    if cluster.is_empty() {
        return None;
    }
    let external = spec.external_ips.iter().flatten().filter_map(|ip| ip.parse().ok());
    let balancers = backed.service.status.iter().filter_map(|status| status.load_balancer.as_ref());
    let ingress = balancers.flat_map(|balancer| balancer.ingress.iter().flatten());
    let ingress = ingress.filter_map(|ingress| ingress.ip.as_deref()?.parse().ok());
    Some(Addresses { external: external.chain(ingress).collect(), cluster })
}

/// Whether somebody else is to lead to a service, or nobody: names are answered all the same.
fn is_anothers(service: &Service) -> bool {
    let labels = service.metadata.labels.as_ref();
    labels.is_some_and(|labels| NOT_PROXIED.iter().any(|label| labels.contains_key(*label)))
}

/// The endpoints of one port: the ready ones, or while there is none, those that still serve while
/// they end.
fn endpoints(backed: &Backed<'_>, port: &ServicePort, node: &str) -> Vec<net::ServiceEndpoint> {
    let all = |usable: fn(&Endpoint) -> bool| {
        let mut found: Vec<net::ServiceEndpoint> = Vec::new();
        for slice in &backed.slices {
            let Some(number) = slice
                .ports
                .iter()
                .flatten()
                .find(|candidate| {
                    candidate.name.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default()
                        && protocol(candidate.protocol.as_deref()) == protocol(port.protocol.as_deref())
                })
                .and_then(|candidate| u16::try_from(candidate.port?).ok())
            else {
                continue;
            };
            for endpoint in slice.endpoints.iter().flatten().filter(|endpoint| usable(endpoint)) {
                let local = endpoint.node_name.as_deref() == Some(node);
                let addresses = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
                found.extend(addresses.map(|address| net::ServiceEndpoint { address, port: number, local }));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    };
    let ready = all(is_ready);
    if ready.is_empty() { all(serves_while_ending) } else { ready }
}

/// Whether an endpoint takes new connections; saying nothing means yes.
pub(super) fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

fn serves_while_ending(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    conditions.serving.unwrap_or(false) && conditions.terminating.unwrap_or(false)
}
