//! From plain tables to a ruleset: pure.
//!
//! A packet's way through the table of an instance whose default bridge is `gantry0`:
//!
//! ```text
//!  in ──► guard ──► prerouting ──► names ─► services ─► host ──► forward ──► postrouting ──► out
//!        (raw)      (dstnat)       └──── destination translated ───┘  (filter)    (srcnat)
//!                   output ──────► the same, for what the host itself sends ──► postrouting
//! ```
//!
//! What comes from outside for a published port or a node port takes a detour, so that the host's own
//! input rules judge it as they judge everything else (other engines translate such packets first
//! and thereby let them pass every firewall). It is not translated on its way in; the chain `admit`
//! sees it after all other input rules have accepted it, sends a copy round a cable whose both ends
//! are here (the gate), and only what comes out of the gate is translated. That happens to the first
//! packet of a connection; all others follow its translation by themselves.
//!
//! Every published port, service port and network is one element or a few elements of a set; the
//! rules themselves are the same for every instance. A service with `n` endpoints leads to the
//! chain `pick-n`, shared by all services with as many, which draws a number below `n` and looks up
//! the endpoint in one map: the choice costs two look-ups however many services there are.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::network::Strangers;
use crate::nft::{
    Chain, Content, Field, Hook, HookType, Leads, Point, Rule, Ruleset, Set, Statement, Target, Value, rule,
};
use crate::{NetworkKind, NetworkView, PortBinding, Protocol};

mod services;

pub(crate) use services::{Change, Changes, Services};

/// All that the ruleset depends on, but for services, which are [elements](Services) of their own.
pub(crate) struct Tables<'a> {
    /// The networks.
    pub(crate) networks: &'a [NetworkView],
    /// Published ports with the address of the container.
    pub(crate) ports: &'a [(Ipv4Addr, PortBinding)],
    /// Addresses of services: what is not translated is refused.
    pub(crate) service_cidr: Ipv4Net,
    /// The way for connections from outside; without, they are translated at once.
    pub(crate) gate: Option<&'a Gate>,
    /// The links that there were before this instance had the host pass packets on.
    pub(crate) strangers: &'a Strangers,
    /// Addresses at which names are asked for (port 53), and where the answers come from.
    pub(crate) names: &'a [(Ipv4Addr, Target)],
}

/// A cable whose both ends are on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gate {
    /// Number of the link that copies go out by.
    pub(crate) out: u32,
    /// Name of the link that they come in by.
    pub(crate) back: String,
}

/// The neighbour at the other end of the gate. Nobody has this address; it only stands for the link.
pub(crate) const GATE_NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(169, 254, 77, 77);
/// What the end of the gate has where copies come back; nobody is to use it.
pub(crate) const GATE_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 77, 78);

/// Priorities that the kernel gives names to.
const RAW: i32 = -300;
const MANGLE: i32 = -150;
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;
/// After everybody else's, and before the kernel keeps the connection in mind.
const LAST: i32 = i32::MAX - 1;

/// What identifies a virtual address: destination, protocol and port.
const FRONT: [Field; 3] = [Field::Destination, Field::Protocol, Field::Port];
/// What identifies a port on any address of the host.
const HOST_FRONT: [Field; 2] = [Field::Protocol, Field::Port];

const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

/// The ruleset for `tables`, with the sets of services, which are empty.
pub(crate) fn ruleset(tables: &Tables<'_>) -> Ruleset {
    let mut ruleset = services::empty();
    networks(&mut ruleset, tables);
    ports(&mut ruleset, tables);
    chains(&mut ruleset, tables);
    ruleset
}

fn networks(ruleset: &mut Ruleset, tables: &Tables<'_>) {
    let mut bridges = Set::new([Field::InLink], Content::Nothing);
    let mut internal = Set::new([Field::InLink], Content::Nothing);
    let mut linked = Set::new([Field::InLink, Field::OutLink], Content::Nothing);
    let mut local = Set::new([Field::Source], Content::Subnets);
    let mut bridged = Set::new([Field::Source], Content::Subnets);
    let mut hidden = Set::new([Field::Source], Content::Subnets);
    for network in tables.networks {
        let link = Value::Link(network.bridge.clone());
        let subnet = vec![Value::Subnet(network.subnet.trunc())];
        bridges.elements.insert(vec![link.clone()], Leads::Nowhere);
        if !network.isolate_endpoints {
            linked.elements.insert(vec![link.clone(), link.clone()], Leads::Nowhere);
        }
        local.elements.insert(subnet.clone(), Leads::Nowhere);
        if network.internal {
            internal.elements.insert(vec![link], Leads::Nowhere);
        } else if !network.no_masquerade {
            hidden.elements.insert(subnet.clone(), Leads::Nowhere);
        }
        if network.kind != NetworkKind::Pods {
            bridged.elements.insert(subnet, Leads::Nowhere);
        }
    }
    // What comes in by these has been judged, or is not to be.
    let mut trusted = bridges.clone();
    if let Some(gate) = tables.gate {
        trusted.elements.insert(vec![Value::Link(gate.back.clone())], Leads::Nowhere);
    }
    let links = |names: &[String]| {
        let mut set = Set::new([Field::InLink], Content::Nothing);
        set.elements.extend(names.iter().map(|link| (vec![Value::Link(link.clone())], Leads::Nowhere)));
        set
    };
    let sets = [
        ("barred", links(&tables.strangers.barred)),
        ("strangers", links(&tables.strangers.all)),
        ("bridges", bridges),
        ("trusted", trusted),
        ("internal", internal),
        ("linked", linked),
        ("local", local),
        ("bridged", bridged),
        ("hidden", hidden),
    ];
    ruleset.sets.extend(sets.map(|(name, set)| (name.to_owned(), set)));
}

fn ports(ruleset: &mut Ruleset, tables: &Tables<'_>) {
    let mut one = Set::new(FRONT, Content::Targets);
    let mut any = Set::new(HOST_FRONT, Content::Targets);
    for (address, binding) in tables.ports {
        let target = Leads::Target(Target { address: *address, port: binding.container_port });
        let mut key = vec![Value::Protocol(binding.protocol), Value::Port(binding.host_port)];
        if binding.host_address.is_unspecified() {
            any.elements.insert(key, target);
        } else {
            key.insert(0, Value::Address(binding.host_address));
            one.elements.insert(key, target);
        }
    }
    let mut names = Set::new(FRONT, Content::Targets);
    for (address, target) in tables.names {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let key = vec![Value::Address(*address), Value::Protocol(protocol), Value::Port(53)];
            names.elements.insert(key, Leads::Target(*target));
        }
    }
    ruleset.sets.extend(
        [("ports", one), ("ports-any", any), ("names", names)].map(|(name, set)| (name.to_owned(), set)),
    );
}

fn chains(ruleset: &mut Ruleset, tables: &Tables<'_>) {
    let services =
        || Statement::InSubnet { field: Field::Destination, subnet: tables.service_cidr, negate: false };
    let base = |kind, point, priority, rules| Chain { hook: Some(Hook { kind, point, priority }), rules };
    let plain = |rules| Chain { hook: None, rules };
    let to_host = match tables.gate {
        Some(_) => rule([in_link("trusted"), Statement::Jump("host")]),
        None => rule([Statement::Jump("host")]),
    };
    let chains = [
        ("guard", base(HookType::Filter, Point::Prerouting, RAW, guard())),
        (
            "prerouting",
            base(
                HookType::Nat,
                Point::Prerouting,
                DSTNAT,
                vec![rule([in_link("bridges"), Statement::Jump("virtual")]), to_host],
            ),
        ),
        (
            "output",
            base(
                HookType::Nat,
                Point::Output,
                DSTNAT,
                vec![rule([Statement::Jump("virtual")]), rule([Statement::Jump("host")])],
            ),
        ),
        ("welcome", base(HookType::Filter, Point::Input, MANGLE, welcome())),
        ("virtual", plain(virtual_addresses())),
        ("host", plain(host_addresses())),
        ("forward", base(HookType::Filter, Point::Forward, FILTER, forward(services))),
        ("sent", base(HookType::Filter, Point::Output, FILTER, sent(services))),
        ("postrouting", base(HookType::Nat, Point::Postrouting, SRCNAT, postrouting())),
    ];
    ruleset.chains.extend(chains.map(|(name, chain)| (name.to_owned(), chain)));
    if let Some(gate) = tables.gate {
        let admit = base(HookType::Filter, Point::Input, LAST, admit());
        let detour = rule([Statement::Copy { to: GATE_NEIGHBOUR, link: gate.out }]);
        ruleset.chains.insert("admit".to_owned(), admit);
        ruleset.chains.insert("detour".to_owned(), plain(vec![detour, rule([Statement::Drop])]));
    }
}

/// What comes from a container and was led to this host by a translation of ours: names, the API,
/// services of this host. Chains of others in which we have a rule let it in by this mark.
fn welcome() -> Vec<Rule> {
    vec![
        rule([in_link("bridges"), Statement::MarkWelcome(false)]),
        rule([in_link("bridges"), Statement::Translated, Statement::MarkWelcome(true)]),
    ]
}

/// What everybody else's input rules have let pass.
fn admit() -> Vec<Rule> {
    let loopback = Statement::Is { field: Field::InLink, value: Value::Link("lo".to_owned()), negate: false };
    vec![
        rule([Statement::Established, Statement::Return]),
        rule([in_link("trusted"), Statement::Return]),
        // What the host sends to itself is translated where it is sent.
        rule([loopback, Statement::Return]),
        rule([Statement::ToHost { negate: true }, Statement::Return]),
        rule([Statement::Known { fields: FRONT.to_vec(), map: "ports" }, Statement::Jump("detour")]),
        rule([Statement::Known { fields: HOST_FRONT.to_vec(), map: "ports-any" }, Statement::Jump("detour")]),
        rule([
            Statement::In { fields: HOST_FRONT.to_vec(), set: "node-ports-open", negate: false },
            Statement::Jump("detour"),
        ]),
    ]
}

/// Bridges carry packets for 127.0.0.0/8 so that ports published there lead to containers; nothing
/// that comes from a container may use that to reach the host's own loopback (CVE-2020-8558).
fn guard() -> Vec<Rule> {
    vec![rule([in_link("bridges"), to_subnet(LOOPBACK), Statement::Drop])]
}

fn virtual_addresses() -> Vec<Rule> {
    vec![
        rule([Statement::Translate { fields: FRONT.to_vec(), map: "names" }]),
        rule([Statement::Dispatch { fields: FRONT.to_vec(), map: "services" }]),
    ]
}

fn host_addresses() -> Vec<Rule> {
    vec![
        rule([Statement::ToHost { negate: true }, Statement::Return]),
        rule([Statement::Translate { fields: FRONT.to_vec(), map: "ports" }]),
        rule([Statement::Translate { fields: HOST_FRONT.to_vec(), map: "ports-any" }]),
        rule([Statement::Dispatch { fields: HOST_FRONT.to_vec(), map: "node-ports" }]),
    ]
}

fn forward(services: impl Fn() -> Statement) -> Vec<Rule> {
    vec![
        // The host was no router before we needed one: strangers do not get one by that.
        rule([in_link("barred"), out_link("strangers"), Statement::Translated, Statement::Return]),
        rule([in_link("barred"), out_link("strangers"), Statement::Drop]),
        // What else neither comes from a container nor goes to one is not ours to judge.
        rule([not_in(Field::InLink, "bridges"), not_in(Field::OutLink, "bridges"), Statement::Return]),
        rule([Statement::Established, Statement::Accept]),
        // A service address that nothing translated: no endpoints, or no such port.
        rule([services(), is_tcp(), Statement::RejectTcp]),
        rule([services(), Statement::RejectPort]),
        rule([
            Statement::In { fields: vec![Field::InLink, Field::OutLink], set: "linked", negate: false },
            Statement::Accept,
        ]),
        rule([in_link("internal"), Statement::Drop]),
        rule([out_link("internal"), Statement::Drop]),
        // Published, or an endpoint of a service.
        rule([out_link("bridges"), Statement::Translated, Statement::Accept]),
        // From another network, or from outside to an address that is not published.
        rule([out_link("bridges"), Statement::Drop]),
    ]
}

fn sent(services: impl Fn() -> Statement) -> Vec<Rule> {
    const REDIRECT: u8 = 5;
    vec![
        rule([services(), is_tcp(), Statement::RejectTcp]),
        rule([services(), Statement::RejectPort]),
        // Pods reach each other through the bridge's address, so that answers of a service come back
        // the same way and are translated; a redirect would teach them the short cut.
        rule([
            Statement::Is {
                field: Field::Protocol,
                value: Value::Byte(libc::IPPROTO_ICMP as u8),
                negate: false,
            },
            Statement::Is { field: Field::IcmpType, value: Value::Byte(REDIRECT), negate: false },
            out_link("bridges"),
            Statement::Drop,
        ]),
    ]
}

fn postrouting() -> Vec<Rule> {
    let within = |field, set, negate| Statement::In { fields: vec![field], set, negate };
    vec![
        // From 127.0.0.1 to a published port: nobody could answer to that address.
        rule([
            Statement::InSubnet { field: Field::Source, subnet: LOOPBACK, negate: false },
            out_link("bridges"),
            Statement::Masquerade,
        ]),
        // From a container to a published port of its own network: the answer must not take the
        // short cut over the bridge, past the translation.
        rule([
            Statement::Translated,
            within(Field::Source, "bridged", false),
            within(Field::Destination, "bridged", false),
            Statement::Masquerade,
        ]),
        // From a pod to a service and back to itself.
        rule([
            Statement::Translated,
            Statement::In { fields: vec![Field::Source, Field::Destination], set: "hairpin", negate: false },
            Statement::Masquerade,
        ]),
        // From outside to a service whose endpoint is elsewhere: the answer must come back here.
        rule([
            Statement::Translated,
            within(Field::Source, "local", true),
            Statement::In { fields: FRONT.to_vec(), set: "remote", negate: false },
            Statement::Masquerade,
        ]),
        rule([
            within(Field::Source, "hidden", false),
            within(Field::Destination, "local", true),
            Statement::Masquerade,
        ]),
    ]
}

fn in_link(set: &'static str) -> Statement {
    Statement::In { fields: vec![Field::InLink], set, negate: false }
}

fn out_link(set: &'static str) -> Statement {
    Statement::In { fields: vec![Field::OutLink], set, negate: false }
}

fn not_in(field: Field, set: &'static str) -> Statement {
    Statement::In { fields: vec![field], set, negate: true }
}

fn to_subnet(subnet: Ipv4Net) -> Statement {
    Statement::InSubnet { field: Field::Destination, subnet, negate: false }
}

fn is_tcp() -> Statement {
    Statement::Is { field: Field::Protocol, value: Value::Protocol(Protocol::Tcp), negate: false }
}

#[cfg(test)]
mod tests;
