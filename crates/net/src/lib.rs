//! Networks of containers and pods: from plain tables to kernel state.
//!
//! [`Network`] is the handle. It owns the bridges of one instance, the addresses on them, the
//! instance's own nftables table (published ports, masquerade, isolation, services) and the name
//! servers behind `127.0.0.11` and the cluster's DNS address. What is wanted is kept as plain
//! tables, turned into a ruleset by pure planners, and put into the kernel as one atomic
//! netlink transaction. No external program is run; firewalld, where it runs, is
//! spoken to over the system's bus.
//!
//! What always holds:
//! - Traffic needs no daemon: everything but name resolution is in the kernel, so a daemon that is
//!   stopped, killed or replaced interrupts no connection.
//! - Every kernel object carries the instance's name; tables, links and addresses of the host, of
//!   another engine or of a second instance are never changed. The one exception is the switch
//!   `net.ipv4.ip_forward`, without which no container network works.
//! - All methods may be called again with the same arguments.

mod address;
mod attach;
mod config;
mod conntrack;
mod dns;
mod driver;
mod error;
mod exclusive;
mod files;
mod finding;
#[doc(hidden)]
pub mod fuzzing;
mod link;
mod namespace;
mod netlink;
mod network;
mod nft;
mod plan;
mod ports;
mod sandbox;
mod services;
mod state;
mod unread;

pub use attach::{Endpoint, EndpointAddress, EndpointSpec, NameLink, PortBinding, PortSpec, Protocol};
pub use config::{AddressPool, Config, Subnet};
pub use dns::{DnsAddress, DnsChanges, DnsEndpoint, DnsPort, DnsService, DnsTable};
pub use error::{AttachError, KernelError, NetworkError, OpenError, PortError};
pub use files::{HostsFile, ResolvConf};
pub use finding::{Finding, Severity};
pub use network::{Network, NetworkId, NetworkKind, NetworkSpec, NetworkView, Pool, PoolSpec, examine};
pub use services::{ServiceEndpoint, ServiceName, ServicePort, ServiceTable};
pub use unread::unread;

/// What could not be understood if the networks kept in the directory `state_dir` were opened now.
/// Changes nothing.
pub fn troubles(state_dir: &std::path::Path) -> Vec<base::Trouble> {
    state::examine(state_dir)
}
