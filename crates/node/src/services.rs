//! Services and their endpoints, as the network and its DNS take them: pure, but for [`mod@program`].

mod dns;
mod program;
mod proxy;

pub use dns::dns_table;
pub(crate) use program::program;
pub use proxy::service_table;

use std::collections::HashMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use net::ServiceName;

/// The label by which an EndpointSlice belongs to its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A service with the slices that belong to it.
pub struct Backed<'a> {
    /// The service.
    pub service: &'a Service,
    /// Its slices of IPv4 addresses.
    pub slices: Vec<&'a EndpointSlice>,
}

/// Puts services and slices together; slices of no service are left out.
pub fn join<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
) -> Vec<Backed<'a>> {
    let mut by_service: HashMap<ServiceName, Vec<&EndpointSlice>> = HashMap::new();
    for slice in slices.into_iter().filter(|slice| is_usable(slice)) {
        if let Some(name) = name_of_slice(slice) {
            by_service.entry(name).or_default().push(slice);
        }
    }
    let slices_of = |service: &Service| by_service.get(&name(service)?).cloned();
    services
        .into_iter()
        .map(|service| Backed { service, slices: slices_of(service).unwrap_or_default() })
        .collect()
}

/// Whether the addresses of a slice are of a kind that the node's network has.
fn is_usable(slice: &EndpointSlice) -> bool {
    slice.address_type == "IPv4"
}

/// The cluster addresses of a service, one of each family that it has; none for one without.
fn cluster_ips(spec: &ServiceSpec) -> Vec<IpAddr> {
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut found: Vec<IpAddr> = Vec::new();
    for ip in all.filter_map(|ip| ip.parse().ok()) {
        if !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

/// The name of a service.
fn name(service: &Service) -> Option<ServiceName> {
    Some(ServiceName::new(service.metadata.namespace.clone()?, service.metadata.name.clone()?))
}

/// The name of the service that a slice belongs to.
fn name_of_slice(slice: &EndpointSlice) -> Option<ServiceName> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(ServiceName::new(slice.metadata.namespace.clone()?, name))
}

/// The protocol of a service or endpoint port.
fn protocol(text: Option<&str>) -> net::Protocol {
    match text {
        Some("UDP") => net::Protocol::Udp,
        Some("SCTP") => net::Protocol::Sctp,
        _ => net::Protocol::Tcp,
    }
}

#[cfg(test)]
mod tests;
