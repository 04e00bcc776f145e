//! What is set up inside a sandbox's network namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::Protocol;
use crate::link::{Links, Route};
use crate::namespace;
use crate::nft::{
    Chain, Field, Hook, HookType, IpFamily, Point, Ruleset, Rulesets, Statement, Table, Target, Value, rule,
};

/// Where Docker's containers ask for names.
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// An address of a new link, and through whom others are reached from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    /// The address; the prefix makes the subnet reachable directly.
    pub(crate) address: IpNet,
    /// The bridge's address.
    pub(crate) gateway: IpAddr,
}

/// What a new link inside a sandbox gets.
#[derive(Clone, Debug)]
pub(crate) struct Interface<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its addresses.
    pub(crate) addresses: Vec<Reached>,
    /// The bridge's hardware address, where nobody else is to be believed about it.
    pub(crate) gateway_mac: Option<[u8; 6]>,
    /// Whether everything else is reached through the gateway.
    pub(crate) default_route: bool,
    /// The address at which the host answers names, if 127.0.0.11 leads there through this link.
    pub(crate) names: Option<Ipv4Addr>,
    /// Whether 127.0.0.11 leads there already, by an earlier link.
    pub(crate) names_ready: bool,
}

/// Configures the link that has just been put into the namespace `netns`.
pub(crate) fn configure(netns: BorrowedFd<'_>, interface: &Interface<'_>) -> io::Result<()> {
    namespace::inside(netns, || {
        let mut links = Links::open()?;
        let link = links.find(interface.name)?.ok_or(io::ErrorKind::NotFound)?.index;
        let route = |destination, gateway| Route { destination, gateway, link, metric: 0 };
        let mut routes = Vec::new();
        for Reached { address, gateway } in &interface.addresses {
            if address.prefix_len() == address.max_prefix_len() {
                routes.push(route((*gateway).into(), None));
            }
            if interface.default_route {
                let everywhere: IpNet = match gateway {
                    IpAddr::V4(_) => Ipv4Net::default().into(),
                    IpAddr::V6(_) => Ipv6Net::default().into(),
                };
                routes.push(route(everywhere, Some(*gateway)));
            }
            if let Some(names) = interface.names.filter(|_| gateway.is_ipv4()) {
                // One for each link, told apart by their metrics: when a link goes, the next one serves.
                let names = IpAddr::from(names);
                routes.push(Route { metric: link, ..route(names.into(), Some(*gateway)) });
            }
        }
        let addresses: Vec<IpNet> = interface.addresses.iter().map(|reached| reached.address).collect();
        links.configure(link, &addresses, &routes)?;
        if let Some(mac) = interface.gateway_mac {
            for reached in &interface.addresses {
                links.neighbour_set(link, reached.gateway, mac)?;
            }
        }
        if let Some(names) = interface.names {
            links.route_localnet(link)?;
            if !interface.names_ready {
                Table::open("gantry-names")?.replace(names_rulesets(names), Rulesets::default())?;
            }
        }
        Ok(())
    })
}

/// Leads 127.0.0.11 to where the host answers names: in the kernel, so that the namespace needs no
/// socket, thread or process of the daemon, and nothing has to be restored when the daemon restarts.
fn names_rulesets(names: Ipv4Addr) -> Rulesets {
    let to = |address: Ipv4Addr| Statement::Is {
        field: Field::Destination(IpFamily::V4),
        value: Value::Address(address.into()),
        negate: false,
    };
    let hook = |point, priority| Some(Hook { kind: HookType::Nat, point, priority });
    let query = |protocol| {
        rule([
            Statement::Family(IpFamily::V4),
            to(RESOLVER),
            Statement::Is { field: Field::Protocol, value: Value::Protocol(protocol), negate: false },
            Statement::Is { field: Field::Port, value: Value::Port(53), negate: false },
            Statement::TranslateTo(Target { address: names.into(), port: 53 }),
        ])
    };
    let loopback = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    let output =
        Chain { hook: hook(Point::Output, -100), rules: vec![query(Protocol::Udp), query(Protocol::Tcp)] };
    let postrouting = Chain {
        hook: hook(Point::Postrouting, 100),
        rules: vec![rule([
            Statement::Family(IpFamily::V4),
            Statement::InSubnet {
                field: Field::Source(IpFamily::V4),
                subnet: loopback.into(),
                negate: false,
            },
            to(names),
            Statement::Masquerade,
        ])],
    };
    let chains = [("output".to_owned(), output), ("postrouting".to_owned(), postrouting)].into();
    Rulesets { inet: Ruleset { chains, ..Ruleset::default() }, ..Rulesets::default() }
}
