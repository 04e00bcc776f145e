//! Services and their endpoints, as the network and its DNS take them: pure, but for [`program`].

mod dns;
mod program;
mod proxy;

pub use dns::dns_table;
pub(crate) use program::program;
pub use proxy::service_table;

use std::collections::HashMap;

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
pub fn join<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
) -> Vec<Backed<'a>> {
    let mut by_service: HashMap<(&str, &str), Vec<&EndpointSlice>> = HashMap::new();
    for slice in slices.into_iter().filter(|slice| slice.address_type == "IPv4") {
        let name = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
        if let (Some(namespace), Some(name)) = (slice.metadata.namespace.as_deref(), name) {
            by_service.entry((namespace, name)).or_default().push(slice);
        }
    }
    let slices_of = |service: &Service| {
        let metadata = &service.metadata;
        by_service.get(&(metadata.namespace.as_deref()?, metadata.name.as_deref()?)).cloned()
    };
    services
        .into_iter()
        .map(|service| Backed { service, slices: slices_of(service).unwrap_or_default() })
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
