//! Putting a sandbox into networks.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use crate::container::{ContainerRecord, PublishedPort};
use crate::engine::Engine;
use crate::error::{Fact, Result};
use crate::network::{EndpointSpec, ports};
use crate::registry::{Live, SandboxCell};

/// The option of an endpoint that names its link inside.
const INTERFACE: &str = "com.docker.network.endpoint.ifname";

/// What a sandbox's network is asked to be.
pub(crate) struct Wiring {
    /// Networks by name.
    pub(crate) networks: Vec<(String, EndpointSpec)>,
    /// What it is called there.
    pub(crate) name: String,
    /// Another name that it gives itself.
    pub(crate) hostname: Option<String>,
    /// Whom names are asked of that the network does not know.
    pub(crate) name_servers: Vec<IpAddr>,
    pub(crate) ports: Vec<net::PortSpec>,
}

impl Engine {
    /// Puts a network namespace into networks.
    pub(crate) async fn wire(&self, sandbox: &SandboxCell, netns: &OwnedFd, wiring: &Wiring) -> Result<()> {
        let mut ports = wiring.ports.clone();
        for (name, asked) in &wiring.networks {
            let network = self.inner.network.network_find(name).map_err(crate::network::error)?;
            let ports = if network.internal { Vec::new() } else { std::mem::take(&mut ports) };
            let endpoint = net::EndpointSpec {
                owner: sandbox.id.to_string(),
                name: wiring.name.clone(),
                aliases: aliases(asked, &sandbox.id.as_str()[..12], wiring.hostname.as_deref()),
                links: links(asked),
                name_servers: wiring.name_servers.clone(),
                addresses: asked.ipv4.map(IpAddr::V4).into_iter().chain(asked.ipv6.map(IpAddr::V6)).collect(),
                link_local: asked.link_local.clone(),
                mac: asked.mac_address.as_deref().map(crate::network::parse_mac).transpose()?,
                interface: asked.options.get(INTERFACE).cloned(),
                ports,
                priority: asked.priority,
            };
            let attach = || self.inner.network.endpoint_attach(netns.as_fd(), &network.id, endpoint.clone());
            let made = match attach().await {
                // Left by an earlier life that nobody took down: this is the only one that there is.
                Err(net::AttachError::Exists { .. }) => {
                    let left = self.inner.network.endpoint_discard(&network.id, sandbox.id.as_str()).await;
                    left.map_err(crate::network::attach_error)?;
                    attach().await
                }
                made => made,
            };
            let made = made.map_err(|error| match error {
                net::AttachError::Port(error) => Fact::NotPublished {
                    name: wiring.name.clone(),
                    endpoint: sandbox.id.to_string(),
                    why: base::error::chain(&error).to_string(),
                }
                .into(),
                other => crate::network::attach_error(other),
            })?;
            remember(&mut sandbox.live.write(), &network, asked.clone(), &made);
        }
        Ok(())
    }

    /// Whom a network's own resolver asks for a container; empty for the host's resolvers.
    pub(crate) fn name_servers(&self, record: &ContainerRecord) -> Vec<IpAddr> {
        match record.spec.dns.servers.as_slice() {
            [] => self.inner.config.dns.clone(),
            asked => asked.to_vec(),
        }
    }
}

fn aliases(asked: &EndpointSpec, short: &str, hostname: Option<&str>) -> Vec<String> {
    let mut aliases = asked.aliases.clone();
    for own in [Some(short), hostname].into_iter().flatten() {
        if !aliases.iter().any(|alias| alias == own) {
            aliases.push(own.to_owned());
        }
    }
    aliases
}

/// Links as they are written, `container:alias` or a name that stays itself.
fn links(asked: &EndpointSpec) -> Vec<net::NameLink> {
    let parts = asked.links.iter().map(|link| link.split_once(':').unwrap_or((link, link)));
    let link = |(target, alias): (&str, &str)| net::NameLink {
        alias: alias.to_owned(),
        target: target.trim_start_matches('/').to_owned(),
    };
    parts.map(link).collect()
}

/// Keeps what the network made of an endpoint.
pub(crate) fn remember(
    live: &mut Live,
    network: &net::NetworkView,
    spec: EndpointSpec,
    made: &net::Endpoint,
) {
    live.endpoints.insert(network.name.clone(), crate::network::endpoint(network, spec, made));
    // Those that have come with it from another of the networks are known.
    let known = live.ports.clone();
    live.ports.extend(made.ports.iter().map(published).filter(|port| !known.contains(port)));
}

/// A port that the network has published.
pub(crate) fn published(port: &net::PortBinding) -> PublishedPort {
    let protocol = ports::protocol(port.protocol);
    PublishedPort {
        container: crate::container::Port { number: port.container_port, protocol },
        host: Some((port.host_address, port.host_port).into()),
    }
}
