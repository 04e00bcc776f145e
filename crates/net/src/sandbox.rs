//! What is set up inside a sandbox's network namespace.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use ipnet::Ipv4Net;

use crate::Protocol;
use crate::driver::{Attached, Way};
use crate::link::{Links, Route};
use crate::namespace;
use crate::nft::{
    Chain, Field, Hook, HookType, IpFamily, Point, Ruleset, Rulesets, Statement, Table, Target, Value, rule,
};

/// Where Docker's containers ask for names.
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

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
        let route = |way: &Way| Route {
            destination: way.destination,
            gateway: way.gateway,
            link,
            // One for each link, told apart by their metrics.
            metric: if way.shared { link } else { 0 },
        };
        let routes: Vec<Route> = attached.routes.iter().map(route).collect();
        links.configure(link, &attached.addresses, &routes)?;
        for (address, mac) in &attached.neighbours {
            links.neighbour_set(link, *address, *mac)?;
        }
        if let Some(names) = attached.names {
            links.route_localnet(link)?;
            if !names_ready {
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
