//! What the cluster's DNS answers.

use net::{DnsAddress, DnsEndpoint, DnsPort, DnsService, DnsTable};

use super::proxy::is_ready;
use super::{Backed, cluster_ips, name, protocol};

/// The table of the cluster's DNS.
pub fn dns_table(services: &[Backed<'_>]) -> DnsTable {
    services.iter().filter_map(|backed| Some((name(backed.service)?, dns_service(backed)?))).collect()
}

fn dns_service(backed: &Backed<'_>) -> Option<DnsService> {
    let spec = backed.service.spec.as_ref()?;
    let address = match (spec.type_.as_deref(), spec.cluster_ip.as_deref()) {
        (Some("ExternalName"), _) => DnsAddress::External(spec.external_name.clone()?),
        (_, Some("None")) => {
            DnsAddress::Headless(endpoints(backed, spec.publish_not_ready_addresses.unwrap_or(false)))
        }
        _ => DnsAddress::Cluster(Some(cluster_ips(spec)).filter(|ips| !ips.is_empty())?),
    };
    // A headless service may map its ports to others, which its slices tell.
    let sliced = backed.slices.iter().flat_map(|slice| slice.ports.iter().flatten());
    let ports: Vec<DnsPort> = match &address {
        DnsAddress::Headless(_) => sliced
            .filter_map(|port| {
                Some(DnsPort {
                    name: port.name.clone().filter(|name| !name.is_empty()),
                    protocol: protocol(port.protocol.as_deref()),
                    port: u16::try_from(port.port?).ok()?,
                })
            })
            .fold(Vec::new(), |mut seen, port| {
                if !seen.contains(&port) {
                    seen.push(port);
                }
                seen
            }),
        _ => spec
            .ports
            .iter()
            .flatten()
            .filter_map(|port| {
                Some(DnsPort {
                    name: port.name.clone().filter(|name| !name.is_empty()),
                    protocol: protocol(port.protocol.as_deref()),
                    port: u16::try_from(port.port).ok()?,
                })
            })
            .collect(),
    };
    Some(DnsService { address, ports })
}

fn endpoints(backed: &Backed<'_>, not_ready_too: bool) -> Vec<DnsEndpoint> {
    let all = backed.slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    all.filter(|endpoint| not_ready_too || is_ready(endpoint))
        .flat_map(|endpoint| {
            let hostname = endpoint.hostname.clone().filter(|hostname| !hostname.is_empty());
            let addresses = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
            addresses.map(move |address| DnsEndpoint { address, hostname: hostname.clone() })
        })
        .collect()
}
