//! What a network is opened with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};

/// The settings of one instance's network.
#[derive(Clone, Debug)]
pub struct Config {
    /// The instance's name: names the nftables table and begins the names of links.
    pub instance: String,
    /// Directory that this crate alone writes to.
    pub state_dir: PathBuf,
    /// Directory where namespaces are pinned; they and what is in it are gone when the machine restarts.
    pub pins_dir: PathBuf,
    /// Link name of the default bridge, at most 15 bytes.
    pub bridge: String,
    /// Subnet of the default bridge; with host bits (`172.17.0.5/16`) they are the gateway's.
    pub bip: Subnet,
    /// Subnet of the pods of this node.
    pub pod_cidr: Subnet,
    /// Addresses of services.
    pub service_cidrs: Vec<IpNet>,
    /// What services may lead to at this host's own loopback: the API, where it listens there.
    pub loopback_targets: Vec<SocketAddr>,
    /// Addresses at which pods reach the cluster's DNS.
    pub cluster_dns: Vec<IpAddr>,
    /// Domain of the cluster, without a dot at the end.
    pub cluster_domain: String,
    /// Where user-defined networks without a subnet of their own get one from.
    pub address_pools: Vec<AddressPool>,
    /// How many network namespaces are kept ready.
    pub ready_namespaces: usize,
    /// The host's resolver configuration, for forwarding and for containers' own.
    pub host_resolv_conf: PathBuf,
    /// Whom systemd's resolver asks, where the host's configuration names nobody but that resolver.
    pub resolved_resolv_conf: PathBuf,
}

/// How firmly a subnet is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subnet {
    /// This one, or opening fails.
    Exactly(IpNet),
    /// This one, or another free one if the host already routes it elsewhere.
    Preferably(IpNet),
}

/// A range that is cut into equal subnets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPool {
    /// The range.
    pub base: IpNet,
    /// Prefix length of each subnet cut from it.
    pub size: u8,
}

impl Config {
    /// The documented defaults for the instance named `instance`.
    pub fn new(instance: impl Into<String>, state_dir: impl Into<PathBuf>) -> Self {
        let (instance, state_dir) = (instance.into(), state_dir.into());
        Self {
            bridge: format!("{}0", crate::network::tag(&instance)),
            instance,
            pins_dir: state_dir.join("netns"),
            state_dir,
            bip: Subnet::Preferably(net([172, 17, 0, 0], 16)),
            pod_cidr: Subnet::Preferably(net([10, 42, 0, 0], 16)),
            service_cidrs: vec![net([10, 43, 0, 0], 16)],
            loopback_targets: Vec::new(),
            cluster_dns: vec![Ipv4Addr::new(10, 43, 0, 10).into()],
            cluster_domain: "cluster.local".to_owned(),
            address_pools: AddressPool::docker_defaults(),
            ready_namespaces: 4,
            host_resolv_conf: PathBuf::from("/etc/resolv.conf"),
            resolved_resolv_conf: PathBuf::from("/run/systemd/resolve/resolv.conf"),
        }
    }
}

impl Subnet {
    /// The subnet that is asked for.
    pub fn wanted(self) -> IpNet {
        match self {
            Self::Exactly(net) | Self::Preferably(net) => net,
        }
    }
}

impl AddressPool {
    /// The pools that Docker uses unless told otherwise.
    pub fn docker_defaults() -> Vec<Self> {
        let mut pools: Vec<Self> =
            (17..=31).map(|second| Self { base: net([172, second, 0, 0], 16), size: 16 }).collect();
        pools.push(Self { base: net([192, 168, 0, 0], 16), size: 20 });
        pools
    }
}

fn net(address: [u8; 4], prefix: u8) -> IpNet {
    Ipv4Net::new_assert(address.into(), prefix).into()
}
