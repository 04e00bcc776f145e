//! What the binary tells the server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Random};

use crate::admission::Admission;
use crate::aggregation;
use crate::audit::Audit;
use crate::authentication::fixed::FixedTokens;
use crate::authentication::front_proxy::FrontProxy;
use crate::authentication::structured::Structured;
use crate::authentication::webhook::TokenWebhook;
use crate::authorisation::{Administrators, Authorization};
use crate::definitions::DefinedBy;
use crate::fairness::{FlowControls, Limits, OneLevel};
use crate::node::NodeTransport;
use crate::outside::{Nobody, Outside};
use crate::pki::KeyFile;

/// Everything that the server is told from outside.
#[derive(Clone)]
pub struct Config {
    /// Where certificates and keys live; made at first start, mode 0700.
    pub pki_directory: PathBuf,
    /// The address to listen on, for example `0.0.0.0:6443`; port 0 takes a free one.
    pub address: SocketAddr,
    /// Names and addresses, besides those found out by itself, that clients may use for the server.
    pub extra_names: Vec<String>,
    /// The address of this machine by which pods reach the server where it listens at all of them, asked for
    /// again and again: a machine may get another.
    pub own_address: Option<fn() -> IpAddr>,
    /// Where the administrator's kubeconfig is kept up to date, if anywhere.
    pub kubeconfig: Option<PathBuf>,
    /// Cluster addresses of services are taken from here; the first is the API's own.
    pub service_cidr: ServiceCidr,
    /// Ports of NodePort services are taken from here.
    pub node_ports: std::ops::RangeInclusive<u16>,
    /// The domain of the cluster's DNS names, for example `cluster.local`.
    pub cluster_domain: String,
    /// The commit that the program was built from, as `/version` names it; empty where nobody knows.
    pub commit: String,
    /// How many connections one user may have at a time, those included that have become streams.
    pub connections_of_user: usize,
    /// How often the server looks after itself: certificates that have to be made anew, what is to be
    /// forgotten, what is left over.
    pub upkeep: Duration,
    /// How tokens of service accounts are made and checked.
    pub tokens: ServiceAccountTokens,
    /// Tokens that are somebody's as long as the server runs.
    pub fixed_tokens: FixedTokens,
    /// Who is known by tokens of others, and what those may ask who show nothing.
    pub structured: Arc<Structured>,
    /// Who knows tokens that nobody else does, if anybody.
    pub token_webhook: Option<Arc<TokenWebhook>>,
    /// What stands in front of the server and says who its callers are, if anything.
    pub front_proxy: Option<Arc<FrontProxy>>,
    /// Makes what reads which group versions others serve; nobody does unless it is said.
    pub aggregation: aggregation::Source,
    /// The authorities whom the system trusts, PEM: for those others whose registration names none.
    pub authorities: fn() -> String,
    /// Makes whoever decides what callers may do; [`Administrators`] unless it is said.
    pub authorization: Authorization,
    /// How much is served at once.
    pub limits: Limits,
    /// Makes what reads who is served first; [`OneLevel`] unless it is said.
    pub flow_control: FlowControls,
    /// Makes what reads which kinds objects define; there are none unless it is said.
    pub definitions: DefinedBy,
    /// Who is asked of each write, in this order, besides the resource itself.
    pub admission: Vec<Arc<dyn Admission>>,
    /// What is noted of requests, and who keeps it; nothing where none is given.
    pub audit: Option<Arc<Audit>>,
    /// All who count something in this process: `/metrics` gives their numbers, and the server's own.
    pub metrics: metrics::Registry,
    /// The way to the nodes.
    pub nodes: Arc<dyn NodeTransport>,
    /// The way to others, such as webhooks outside of the cluster; to nobody unless it is said.
    pub outside: Arc<dyn Outside>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The source of uids, name suffixes, keys' serials.
    pub random: Arc<dyn Random>,
}

/// How tokens of service accounts are made and checked.
#[derive(Clone, Debug, Default)]
pub struct ServiceAccountTokens {
    /// What they are checked by; the installation's own keys where there is nothing.
    pub keys: Vec<KeyFile>,
    /// What they are signed by; the first private one among the others where there is none.
    pub signing_key: Option<KeyFile>,
    /// Who issues them: the first in what is signed, each in what is checked. The server's own name where there is
    /// nobody.
    pub issuers: Vec<String>,
    /// Whom a token has to be for to be good here; the issuers where there is nobody.
    pub audiences: Vec<String>,
    /// Where others find the keys that tokens are checked by, if that is not below the issuer.
    pub key_set_url: Option<String>,
    /// How long one is good at most.
    pub longest: Option<Duration>,
    /// Whether one that is put into a pod ends when it says so. Otherwise it is good for a year, for programs that
    /// do not read it again.
    pub ends_early: bool,
}

/// An IPv4 network from which cluster addresses are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceCidr {
    network: Ipv4Addr,
    prefix: u8,
}

/// Why a text is no usable service network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an IPv4 network of 12 to 28 bits prefix such as 10.43.0.0/16")]
pub struct ParseServiceCidrError {
    text: String,
}

impl Config {
    /// The contract's defaults, to be changed field by field.
    pub fn new(pki_directory: PathBuf, nodes: Arc<dyn NodeTransport>) -> Self {
        Self {
            pki_directory,
            address: SocketAddr::from(([0, 0, 0, 0], 6443)),
            extra_names: Vec::new(),
            own_address: None,
            kubeconfig: None,
            service_cidr: ServiceCidr { network: Ipv4Addr::new(10, 43, 0, 0), prefix: 16 },
            node_ports: 30000..=32767,
            cluster_domain: "cluster.local".to_owned(),
            commit: String::new(),
            connections_of_user: crate::connections::ONE_USER,
            upkeep: Duration::from_secs(60),
            tokens: ServiceAccountTokens::default(),
            fixed_tokens: FixedTokens::default(),
            structured: Arc::default(),
            token_webhook: None,
            front_proxy: None,
            aggregation: Arc::new(|_| Arc::new(aggregation::Nobody)),
            authorities: String::new,
            authorization: Arc::new(|_| Arc::new(Administrators)),
            limits: Limits::default(),
            flow_control: Arc::new(|_| Arc::new(OneLevel)),
            definitions: crate::definitions::none(),
            admission: Vec::new(),
            audit: None,
            metrics: metrics::Registry::default(),
            nodes,
            outside: Arc::new(Nobody),
            clock: Arc::new(base::SystemClock::new()),
            random: Arc::new(base::SystemRandom),
        }
    }
}

impl ServiceCidr {
    /// The address `index` places into the network, if it lies inside.
    pub fn nth(&self, index: u32) -> Option<Ipv4Addr> {
        (index < self.size()).then(|| Ipv4Addr::from(u32::from(self.network) + index))
    }

    /// The API server's own service address: the first of the network.
    pub fn api(&self) -> Ipv4Addr {
        self.nth(1).expect("the prefix leaves room for 16 addresses")
    }

    /// The cluster DNS server's address: the tenth of the network.
    pub fn dns(&self) -> Ipv4Addr {
        self.nth(10).expect("the prefix leaves room for 16 addresses")
    }

    /// Whether `address` lies inside.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => u32::from(v4).wrapping_sub(u32::from(self.network)) < self.size(),
            IpAddr::V6(_) => false,
        }
    }

    /// How many addresses the network has.
    pub fn size(&self) -> u32 {
        1 << (32 - self.prefix)
    }
}

impl std::str::FromStr for ServiceCidr {
    type Err = ParseServiceCidrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseServiceCidrError { text: text.to_owned() };
        let (address, prefix) = text.split_once('/').ok_or_else(refuse)?;
        let address: Ipv4Addr = address.parse().map_err(|_| refuse())?;
        let prefix: u8 = prefix.parse().map_err(|_| refuse())?;
        if !(12..=28).contains(&prefix) {
            return Err(refuse());
        }
        let mask = u32::MAX << (32 - prefix);
        Ok(Self { network: Ipv4Addr::from(u32::from(address) & mask), prefix })
    }
}

impl std::fmt::Display for ServiceCidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_network_knows_its_fixed_addresses_and_its_bounds() {
        let cidr: ServiceCidr = "10.43.7.1/16".parse().expect("a network");
        assert_eq!(cidr.to_string(), "10.43.0.0/16");
        assert_eq!((cidr.api(), cidr.dns()), (Ipv4Addr::new(10, 43, 0, 1), Ipv4Addr::new(10, 43, 0, 10)));
        assert!(cidr.contains("10.43.255.255".parse().expect("an address")));
        assert!(!cidr.contains("10.44.0.0".parse().expect("an address")));
        assert!("10.43.0.0/8".parse::<ServiceCidr>().is_err());
    }
}
