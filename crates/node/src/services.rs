//! Services and their endpoints, as the network and its DNS take them: pure.

mod dns;
mod proxy;

pub use dns::dns_table;
pub use proxy::service_table;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

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
pub fn join<'a>(services: &'a [Service], slices: &'a [EndpointSlice]) -> Vec<Backed<'a>> {
    let belongs = |slice: &EndpointSlice, service: &Service| {
        let name = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
        slice.metadata.namespace == service.metadata.namespace
            && name.is_some()
            && name == service.metadata.name.as_ref()
            && slice.address_type == "IPv4"
    };
    let mut by_service: std::collections::HashMap<(&str, &str), Vec<&EndpointSlice>> = Default::default();
    for slice in slices {
        let name = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
        if let (Some(namespace), Some(name)) = (slice.metadata.namespace.as_deref(), name) {
            by_service.entry((namespace, name)).or_default().push(slice);
        }
    }
    services
        .iter()
        .map(|service| {
            let key = (
                service.metadata.namespace.as_deref().unwrap_or_default(),
                service.metadata.name.as_deref().unwrap_or_default(),
            );
            let slices = by_service.get(&key).cloned().unwrap_or_default();
            Backed { service, slices: slices.into_iter().filter(|slice| belongs(slice, service)).collect() }
        })
        .collect()
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
