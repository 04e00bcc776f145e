//! What a network is made of in the kernel.
//!
//! Names, addresses, ports and rules are decided above and are the same for every network; a driver makes
//! links of what was decided. It keeps nothing that the kernel does not: whatever it is told of it may have
//! been told before, by this program or an earlier one.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;

use ipnet::IpNet;

use crate::link::Link;
use crate::{Endpoint, KernelError, NetworkId, NetworkView};

pub(crate) mod bridge;

pub(crate) use bridge::{Bridge, random_mac};

/// One way of making networks.
pub(crate) trait Driver: Send + Sync {
    /// Makes what a network consists of, or brings into shape what is there of it.
    fn create(&self, network: &NetworkView) -> Result<(), KernelError>;

    /// Removes what a network consists of; nothing happens if it is gone.
    fn remove(&self, network: &NetworkView) -> Result<(), KernelError>;

    /// Puts a link for `endpoint`, which is not up yet, into `namespace`; gives what it is to have there.
    /// A part of it may be there when this fails: [`Driver::detach`] takes it away.
    fn attach(
        &self,
        namespace: BorrowedFd<'_>,
        network: &NetworkView,
        endpoint: &Endpoint,
        asked: Asked,
    ) -> Result<Attached, KernelError>;

    /// Lets packets of an endpoint pass whose link is up now, instead of when the kernel gets round to it.
    fn open(&self, network: &NetworkView, endpoint: &Endpoint) -> Result<(), KernelError>;

    /// Takes up an endpoint that an earlier program attached; whether it is still there.
    fn readmit(&self, network: &NetworkView, endpoint: &Endpoint) -> Result<bool, KernelError>;

    /// Takes an endpoint out, whose namespace or network may be gone; nothing happens if it is out.
    fn detach(&self, endpoint: &Endpoint) -> Result<(), KernelError>;

    /// Removes whatever of this instance belongs to none of these.
    fn clear(&self, networks: &[&NetworkView], endpoints: &[Endpoint]) -> Result<(), KernelError>;

    /// Whether anything is attached to a network.
    fn is_used(&self, network: &NetworkView) -> Result<bool, KernelError>;

    /// The link by which the host reaches a network that was created.
    fn link(&self, network: &NetworkId) -> Option<u32>;

    /// Whether a link of the host is what a network consists of.
    fn owns(&self, link: &Link) -> bool;

    /// Whether a link of the host is the end of an endpoint's.
    fn is_port(&self, link: &Link) -> bool;
}

/// What is asked of an attachment, besides the endpoint's addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// Whether everything else is reached by it.
    pub(crate) default_route: bool,
    /// The address at which the host answers names, if 127.0.0.11 leads there by it: the network's gateway.
    pub(crate) names: Option<Ipv4Addr>,
}

/// What a link inside a namespace is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    /// Its addresses; their prefixes make subnets reachable directly.
    pub(crate) addresses: Vec<IpNet>,
    /// What is reached by it.
    pub(crate) routes: Vec<Way>,
    /// Neighbours about whose hardware addresses nobody else is to be believed.
    pub(crate) neighbours: Vec<(IpAddr, [u8; 6])>,
    /// Where 127.0.0.11 leads to.
    pub(crate) names: Option<Ipv4Addr>,
}

/// A way out of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// Where to; everything if the prefix is 0.
    pub(crate) destination: IpNet,
    /// Through whom; directly if none.
    pub(crate) gateway: Option<IpAddr>,
}
