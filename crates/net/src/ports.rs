//! Host ports: who has which, and the sockets that keep others from taking them.
//!
//! The kernel leads the traffic of a published port to the container; the socket that this module
//! binds never sees a packet of it. It exists so that a process of the host that wants the same
//! port is refused, and so that a port that a process already has is noticed before it is claimed.
//! It goes away with the daemon and comes back with it; the traffic does not mind.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use crate::{PortBinding, PortError, PortSpec, Protocol};

/// Where ports are looked for when none is asked for: the range from which Docker takes them.
const ANY: (u16, u16) = (32768, 60999);

/// The ports that are claimed, each by one endpoint.
#[derive(Default)]
pub(crate) struct Ports {
    claims: BTreeMap<(Protocol, u16), BTreeMap<IpAddr, Option<OwnedFd>>>,
    next: u16,
}

impl Ports {
    /// Claims a host port for each of `specs`, or none at all.
    pub(crate) fn claim(&mut self, specs: &[PortSpec]) -> Result<Vec<PortBinding>, PortError> {
        let mut bindings = Vec::with_capacity(specs.len());
        for spec in specs {
            match self.claim_one(spec) {
                Ok(binding) => bindings.push(binding),
                Err(error) => {
                    self.release(&bindings);
                    return Err(error);
                }
            }
        }
        Ok(bindings)
    }

    /// Claims ports that were claimed before a restart; a port that somebody took meanwhile stays
    /// published, since the kernel still leads its traffic to the container.
    pub(crate) fn restore(&mut self, bindings: &[PortBinding]) {
        for binding in bindings {
            let socket = bind(binding.protocol, binding.host_address, binding.host_port);
            if let Err(error) = &socket {
                tracing::warn!(port = binding.host_port, %error, "published port is also used by a process of the host");
            }
            self.insert(binding, socket.ok().flatten());
        }
    }

    /// Gives ports back.
    pub(crate) fn release(&mut self, bindings: &[PortBinding]) {
        for binding in bindings {
            if let Some(addresses) = self.claims.get_mut(&(binding.protocol, binding.host_port)) {
                addresses.remove(&binding.host_address);
                if addresses.is_empty() {
                    self.claims.remove(&(binding.protocol, binding.host_port));
                }
            }
        }
    }

    fn claim_one(&mut self, spec: &PortSpec) -> Result<PortBinding, PortError> {
        let binding = |host_port| PortBinding {
            protocol: spec.protocol,
            host_address: spec.host_address,
            host_port,
            container_port: spec.container_port,
        };
        let (first, last) = spec.host_ports;
        if first == last && first != 0 {
            self.take(binding(first))?;
            return Ok(binding(first));
        }
        let any = first == 0;
        let (first, last) = if any { ANY } else { (first, last) };
        // Going on from the last one keeps a freed port unused for as long as possible.
        let start = if any && (first..=last).contains(&self.next) { self.next } else { first };
        for port in (start..=last).chain(first..start) {
            match self.take(binding(port)) {
                Ok(()) => {
                    if any {
                        self.next = port + 1;
                    }
                    return Ok(binding(port));
                }
                Err(PortError::Allocated { .. } | PortError::InUse { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(PortError::Exhausted { address: spec.host_address, first, last })
    }

    fn take(&mut self, binding: PortBinding) -> Result<(), PortError> {
        let PortBinding { protocol, host_address: address, host_port: port, .. } = binding;
        let overlaps =
            |other: &IpAddr| *other == address || other.is_unspecified() || address.is_unspecified();
        let clash = |addresses: &BTreeMap<IpAddr, _>| addresses.keys().any(overlaps);
        if self.claims.get(&(protocol, port)).is_some_and(clash) {
            return Err(PortError::Allocated { address, port });
        }
        let socket = bind(protocol, address, port).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => PortError::InUse { protocol, address, port },
            _ => PortError::Bind { protocol, address, port, source },
        })?;
        self.insert(&binding, socket);
        Ok(())
    }

    fn insert(&mut self, binding: &PortBinding, socket: Option<OwnedFd>) {
        let addresses = self.claims.entry((binding.protocol, binding.host_port)).or_default();
        addresses.insert(binding.host_address, socket);
    }
}

fn bind(protocol: Protocol, address: IpAddr, port: u16) -> io::Result<Option<OwnedFd>> {
    Ok(match protocol {
        Protocol::Tcp => Some(TcpListener::bind((address, port))?.into()),
        Protocol::Udp => Some(UdpSocket::bind((address, port))?.into()),
        // Hardly any kernel has it built in, and nothing else on a host listens with it.
        Protocol::Sctp => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(address: [u8; 4], ports: (u16, u16)) -> PortSpec {
        PortSpec {
            protocol: Protocol::Tcp,
            host_address: address.into(),
            host_ports: ports,
            container_port: 80,
        }
    }

    #[test]
    fn a_port_is_given_once_and_the_refusal_names_it() {
        let mut ports = Ports::default();
        let loopback = [127, 0, 0, 1];
        let port = ports.claim(&[spec(loopback, (0, 0))]).expect("some port is free")[0].host_port;
        let again = ports.claim(&[spec(loopback, (port, port))]).expect_err("taken");
        assert_eq!(again.to_string(), format!("Bind for 127.0.0.1:{port} failed: port is already allocated"));
        let everywhere = ports.claim(&[spec([0, 0, 0, 0], (port, port))]).expect_err("taken at one address");
        assert_eq!(
            everywhere.to_string(),
            format!("Bind for 0.0.0.0:{port} failed: port is already allocated")
        );
        ports.claim(&[spec([127, 0, 0, 2], (port, port))]).expect("free at another address");
    }

    #[test]
    fn a_port_of_a_process_is_refused_and_given_back_ports_are_free_again() {
        let process = TcpListener::bind(("127.0.0.1", 0)).expect("some port is free");
        let taken = process.local_addr().expect("bound").port();
        let mut ports = Ports::default();
        let refused = ports.claim(&[spec([127, 0, 0, 9], (0, 0)), spec([127, 0, 0, 1], (taken, taken))]);
        let message = refused.expect_err("taken by a process").to_string();
        assert_eq!(message, format!("listen tcp4 127.0.0.1:{taken}: bind: address already in use"));
        assert!(ports.claims.is_empty(), "the first port of the refused list was given back");
        drop(process);
        let bindings = ports.claim(&[spec([127, 0, 0, 1], (taken, taken))]).expect("free now");
        ports.release(&bindings);
        TcpListener::bind(("127.0.0.1", taken)).expect("free for others again");
    }

    #[test]
    fn a_range_gives_its_first_free_port() {
        let process = TcpListener::bind(("127.0.0.1", 0)).expect("some port is free");
        let taken = process.local_addr().expect("bound").port();
        let mut ports = Ports::default();
        assert!(matches!(ports.claim(&[spec([127, 0, 0, 1], (taken, taken))]), Err(PortError::InUse { .. })));
        if let Ok(bindings) = ports.claim(&[spec([127, 0, 0, 1], (taken, taken.saturating_add(20)))]) {
            assert!(bindings[0].host_port > taken);
        }
    }
}
