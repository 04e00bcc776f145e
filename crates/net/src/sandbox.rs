//! What is set up inside a sandbox's network namespace.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use ipnet::Ipv4Net;

use crate::Protocol;
use crate::link::{Links, Route};
use crate::namespace;
use crate::nft::{Chain, Field, Hook, HookType, Point, Ruleset, Statement, Table, Target, Value, rule};

/// Where Docker's containers ask for names.
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// What a new link inside a sandbox gets.
#[derive(Clone, Debug)]
pub(crate) struct Interface<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its address; the prefix makes the subnet reachable directly.
    pub(crate) address: Ipv4Net,
    /// The bridge's address.
    pub(crate) gateway: Ipv4Addr,
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
        if interface.address.prefix_len() == 32 {
            routes.push(route(interface.gateway.into(), None));
        }
        if interface.default_route {
            routes.push(route(Ipv4Net::default(), Some(interface.gateway)));
        }
        if let Some(names) = interface.names {
            // One for each link, told apart by their metrics: when a link goes, the next one serves.
            routes.push(Route { metric: link, ..route(names.into(), Some(interface.gateway)) });
        }
        links.configure(link, interface.address, &routes)?;
        if let Some(mac) = interface.gateway_mac {
            links.neighbour_set(link, interface.gateway, mac)?;
        }
        if let Some(names) = interface.names {
            links.route_localnet(link)?;
            if !interface.names_ready {
                Table::open("gantry-names")?.replace(names_ruleset(names), Ruleset::default())?;
            }
        }
        Ok(())
    })
}

/// Leads 127.0.0.11 to where the host answers names: in the kernel, so that the namespace needs no
/// socket, thread or process of the daemon, and nothing has to be restored when the daemon restarts.
fn names_ruleset(names: Ipv4Addr) -> Ruleset {
    let hook = |point, priority| Some(Hook { kind: HookType::Nat, point, priority });
    let query = |protocol| {
        rule([
            Statement::Is { field: Field::Destination, value: Value::Address(RESOLVER), negate: false },
            Statement::Is { field: Field::Protocol, value: Value::Protocol(protocol), negate: false },
            Statement::Is { field: Field::Port, value: Value::Port(53), negate: false },
            Statement::TranslateTo(Target { address: names, port: 53 }),
        ])
    };
    let loopback = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    let output =
        Chain { hook: hook(Point::Output, -100), rules: vec![query(Protocol::Udp), query(Protocol::Tcp)] };
    let postrouting = Chain {
        hook: hook(Point::Postrouting, 100),
        rules: vec![rule([
            Statement::InSubnet { field: Field::Source, subnet: loopback, negate: false },
            Statement::Is { field: Field::Destination, value: Value::Address(names), negate: false },
            Statement::Masquerade,
        ])],
    };
    Ruleset {
        chains: [("output".to_owned(), output), ("postrouting".to_owned(), postrouting)].into(),
        ..Ruleset::default()
    }
}
