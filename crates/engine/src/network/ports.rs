//! Published ports, between the engine's terms and the network's.

use std::net::{IpAddr, Ipv4Addr};

use crate::container::{ContainerSpec, Port, PortBinding, Protocol, ResolvedSpec};

/// The ports that a container wants published: those asked for, and with publish-all every exposed one.
pub(crate) fn wanted(spec: &ContainerSpec, resolved: &ResolvedSpec) -> Vec<net::PortSpec> {
    let mut ports = bindings(&spec.ports);
    if spec.publish_all {
        let asked = |port: &&Port| !spec.ports.iter().any(|binding| binding.container == **port);
        ports.extend(resolved.exposed_ports.iter().filter(asked).map(|port| net::PortSpec {
            protocol: to_net(port.protocol),
            host_address: Ipv4Addr::UNSPECIFIED.into(),
            host_ports: (0, 0),
            container_port: port.number,
        }));
    }
    ports
}

/// Bindings in the network's terms. One on an IPv6 address has no place in its tables and is left out.
pub(crate) fn bindings(bindings: &[PortBinding]) -> Vec<net::PortSpec> {
    let one = |binding: &PortBinding| {
        let host_address = match binding.host_address {
            Some(address @ IpAddr::V4(_)) => address,
            None => Ipv4Addr::UNSPECIFIED.into(),
            Some(IpAddr::V6(address)) if address.is_unspecified() => Ipv4Addr::UNSPECIFIED.into(),
            Some(IpAddr::V6(address)) => {
                tracing::warn!(%address, "a port is not published on an IPv6 address");
                return None;
            }
        };
        let first = binding.host_port.unwrap_or(0);
        Some(net::PortSpec {
            protocol: to_net(binding.container.protocol),
            host_address,
            host_ports: (first, binding.host_port_end.unwrap_or(first)),
            container_port: binding.container.number,
        })
    };
    let mut ports: Vec<net::PortSpec> = bindings.iter().filter_map(one).collect();
    // `0.0.0.0` and `::` are one here.
    let mut seen = std::collections::HashSet::new();
    ports.retain(|port| port.host_ports == (0, 0) || seen.insert(*port));
    ports
}

/// What asks for exactly the port that was published before.
pub(crate) fn again(port: &net::PortBinding) -> net::PortSpec {
    net::PortSpec {
        protocol: port.protocol,
        host_address: port.host_address,
        host_ports: (port.host_port, port.host_port),
        container_port: port.container_port,
    }
}

pub(crate) fn protocol(protocol: net::Protocol) -> Protocol {
    match protocol {
        net::Protocol::Tcp => Protocol::Tcp,
        net::Protocol::Udp => Protocol::Udp,
        net::Protocol::Sctp => Protocol::Sctp,
    }
}

fn to_net(protocol: Protocol) -> net::Protocol {
    match protocol {
        Protocol::Tcp => net::Protocol::Tcp,
        Protocol::Udp => net::Protocol::Udp,
        Protocol::Sctp => net::Protocol::Sctp,
    }
}
