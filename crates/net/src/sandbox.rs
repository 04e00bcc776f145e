//! What is set up inside a sandbox's network namespace.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use ipnet::Ipv4Net;

use crate::driver::{Attached, Way, bridge};
use crate::link::{Links, Route};
use crate::namespace;
use crate::nft::{
    Chain, Field, Hook, HookType, IpFamily, Point, Ruleset, Rulesets, Statement, Table, Target, Value, rule,
};
use crate::plan::RAW;
use crate::{Endpoint, Protocol};

/// The tables inside of a sandbox that lead 127.0.0.11 to where names are answered.
const TABLES: &str = "gantry-names";
/// The chain there that keeps its loopback for itself.
const GUARD: &str = "guard";
const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

/// Where Docker's containers ask for names.
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// The port of their gateway at which those questions arrive on the host. Not that of names: a server of the
/// host's own may listen there, and containers may ask that too.
pub(crate) const NAMES_PORT: u16 = 11153;

/// Configures the link `interface` that has just been put into the namespace `netns`. `names_ready` says
/// that 127.0.0.11 leads to the host's names already, by an earlier link.
pub(crate) fn configure(
    netns: BorrowedFd<'_>,
    interface: &str,
    attached: &Attached,
    names_ready: bool,
) -> io::Result<()> {
    namespace::inside(netns, || {
        let mut links = Links::open()?;
        let link = links.find(interface)?.ok_or(io::ErrorKind::NotFound)?.index;
        let route = |way: &Way| Route { destination: way.destination, gateway: way.gateway, link, metric: 0 };
        let routes: Vec<Route> = attached.routes.iter().map(route).collect();
        links.configure(link, &attached.addresses, &routes)?;
        for (address, mac) in &attached.neighbours {
            links.neighbour_set(link, *address, *mac)?;
        }
        if let Some(names) = attached.names {
            if !names_ready {
                Table::open(TABLES)?.replace(names_rulesets(names), Rulesets::default())?;
            }
            // What guards the loopback comes before the link could carry anything for it.
            links.route_localnet(link)?;
        }
        Ok(())
    })
}

/// Leads out of the sandbox `netns` by the link of `heir`, and to `names` what is asked of 127.0.0.11.
pub(crate) fn lead_on(
    netns: BorrowedFd<'_>,
    heir: Option<&Endpoint>,
    names: Option<Ipv4Addr>,
) -> io::Result<()> {
    namespace::inside(netns, || {
        if let Some(heir) = heir {
            let mut links = Links::open()?;
            let link = links.find(&heir.interface)?.ok_or(io::ErrorKind::NotFound)?.index;
            for gateway in heir.addresses.iter().filter_map(|address| address.gateway) {
                let destination = bridge::everywhere(gateway);
                links.route_replace(Route { destination, gateway: Some(gateway), link, metric: 0 })?;
            }
        }
        if let Some(names) = names {
            Table::open(TABLES)?.replace(names_rulesets(names), Rulesets::default())?;
        }
        Ok(())
    })
}

/// Guards the loopback of the sandbox `netns`, which an earlier program may have made that did not.
pub(crate) fn guard(netns: BorrowedFd<'_>) -> io::Result<()> {
    namespace::inside(netns, || {
        let mut table = Table::open(TABLES)?;
        if table.has_chain(GUARD)? {
            return Ok(());
        }
        let chains = [(GUARD.to_owned(), guard_chain())].into();
        table.add(&Rulesets { ip: Ruleset { chains, ..Ruleset::default() }, ..Rulesets::default() })
    })
}

/// The link of a sandbox that finds others by name may carry packets for 127.0.0.0/8, so that 127.0.0.11
/// leads out by it. What comes in by it for there is from a neighbour that wants at what listens at the
/// loopback only (CVE-2020-8558): answers come to the link's own address, and are translated after this.
fn guard_chain() -> Chain {
    let loopback = Statement::Is { field: Field::InLink, value: Value::Link("lo".to_owned()), negate: true };
    let to_loopback = Statement::InSubnet {
        field: Field::Destination(IpFamily::V4),
        subnet: LOOPBACK.into(),
        negate: false,
    };
    Chain {
        hook: Some(Hook { kind: HookType::Filter, point: Point::Prerouting, priority: RAW }),
        rules: vec![rule([loopback, Statement::Family(IpFamily::V4), to_loopback, Statement::Drop])],
    }
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
            Statement::TranslateTo(Target { address: names.into(), port: NAMES_PORT }),
        ])
    };
    let output =
        Chain { hook: hook(Point::Output, -100), rules: vec![query(Protocol::Udp), query(Protocol::Tcp)] };
    let postrouting = Chain {
        hook: hook(Point::Postrouting, 100),
        rules: vec![rule([
            Statement::Family(IpFamily::V4),
            Statement::InSubnet {
                field: Field::Source(IpFamily::V4),
                subnet: LOOPBACK.into(),
                negate: false,
            },
            to(names),
            Statement::Masquerade,
        ])],
    };
    let chains = [(GUARD, guard_chain()), ("output", output), ("postrouting", postrouting)];
    let chains = chains.map(|(name, chain)| (name.to_owned(), chain)).into();
    // In the family `ip`, so that the kernel tracks no connection of IPv6 for it.
    Rulesets { ip: Ruleset { chains, ..Ruleset::default() }, ..Rulesets::default() }
}
