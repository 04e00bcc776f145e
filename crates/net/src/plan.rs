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
//! All of it is in a table of the family `ip` as long as networks have IPv4 alone: what translates in one
//! of `inet` has the kernel track the host's IPv6 too. With both families it is in one of `inet`, but for
//! `admit`: the kernel copies packets in tables of the family `ip` only.
//!
//! Sets that hold addresses are there once for each family of addresses that networks have
//! ([`FAMILIES`]), and so are the rules that read an address, each of which asks for the family first.
//!
//! Every published port, service port and network is one element or a few elements of a set; the
//! rules themselves are the same for every instance. A service with `n` endpoints leads to the
//! chain `pick-n`, shared by all services with as many, which draws a number below `n` and looks up
//! the endpoint in one map: the choice costs two look-ups however many services there are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::network::Strangers;
use crate::nft::{
    Chain, Content, Field, Hook, HookType, IpFamily, Leads, Point, Rule, Ruleset, Rulesets, Set, Statement,
    Target, Value, rule,
};
use crate::{NetworkKind, NetworkView, PortBinding, Protocol};

mod services;

pub(crate) use services::{Change, Changes, Limits, Services};

/// The families of addresses that networks have.
pub(crate) const FAMILIES: &[IpFamily] = &[IpFamily::V4];

/// All that the ruleset depends on, but for services, which are [elements](Services) of their own.
pub(crate) struct Tables<'a> {
    /// The families of addresses that networks have.
    pub(crate) families: &'a [IpFamily],
    /// The networks.
    pub(crate) networks: &'a [NetworkView],
    /// Published ports with the address of the container.
    pub(crate) ports: &'a [(IpAddr, PortBinding)],
    /// Addresses of services: what is not translated is refused.
    pub(crate) service_cidrs: &'a [IpNet],
    /// The way for connections from outside; without, they are translated at once.
    pub(crate) gate: Option<&'a Gate>,
    /// Bridges of this instance of whose networks nothing is known: they count as internal.
    pub(crate) unknown: &'a [UnknownBridge],
    /// The links that there were before this instance had the host pass packets on.
    pub(crate) strangers: &'a Strangers,
    /// Addresses and ports at which names are asked for, and where the answers come from.
    pub(crate) names: &'a [((IpAddr, u16), Target)],
}

/// A bridge of whose network nothing is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnknownBridge {
    /// Name of its link.
    pub(crate) name: String,
    /// Whether its members reach each other, as far as the kernel tells.
    pub(crate) linked: bool,
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
pub(crate) const RAW: i32 = -300;
const MANGLE: i32 = -150;
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;
/// After everybody else's, and before the kernel keeps the connection in mind.
const LAST: i32 = i32::MAX - 1;

/// What identifies a port on any address of the host.
const HOST_FRONT: [Field; 2] = [Field::Protocol, Field::Port];

/// The sets that hold addresses of one family.
struct Sets {
    local: &'static str,
    bridged: &'static str,
    hidden: &'static str,
    ports: &'static str,
    ports_any: &'static str,
    names: &'static str,
    services: &'static str,
    node_ports: &'static str,
    endpoints: &'static str,
    node_endpoints: &'static str,
    keepers: &'static str,
    node_keepers: &'static str,
    hairpin: &'static str,
    remote: &'static str,
}

fn sets(family: IpFamily) -> &'static Sets {
    const V4: Sets = Sets {
        local: "local",
        bridged: "bridged",
        hidden: "hidden",
        ports: "ports",
        ports_any: "ports-any",
        names: "names",
        services: "services",
        node_ports: "node-ports",
        endpoints: "endpoints",
        node_endpoints: "node-endpoints",
        keepers: "keepers",
        node_keepers: "node-keepers",
        hairpin: "hairpin",
        remote: "remote",
    };
    const V6: Sets = Sets {
        local: "local6",
        bridged: "bridged6",
        hidden: "hidden6",
        ports: "ports6",
        ports_any: "ports-any6",
        names: "names6",
        services: "services6",
        node_ports: "node-ports6",
        endpoints: "endpoints6",
        node_endpoints: "node-endpoints6",
        keepers: "keepers6",
        node_keepers: "node-keepers6",
        hairpin: "hairpin6",
        remote: "remote6",
    };
    match family {
        IpFamily::V4 => &V4,
        IpFamily::V6 => &V6,
    }
}

/// What identifies a virtual address: destination, protocol and port.
fn front(family: IpFamily) -> [Field; 3] {
    [Field::Destination(family), Field::Protocol, Field::Port]
}

fn loopback(family: IpFamily) -> IpNet {
    match family {
        IpFamily::V4 => Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into(),
        IpFamily::V6 => Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128).into(),
    }
}

/// The rulesets for `tables`, with the sets of services, which are empty.
pub(crate) fn rulesets(tables: &Tables<'_>) -> Rulesets {
    let mut rulesets = services::empty(tables.families);
    networks(&mut rulesets, tables);
    ports(&mut rulesets, tables);
    chains(rulesets.main(tables.families), tables);
    gate(&mut rulesets.ip, tables);
    rulesets
}

fn networks(rulesets: &mut Rulesets, tables: &Tables<'_>) {
    let mut bridges = Set::new([Field::InLink], Content::Nothing);
    let mut internal = Set::new([Field::InLink], Content::Nothing);
    let mut linked = Set::new([Field::InLink, Field::OutLink], Content::Nothing);
    for network in tables.networks {
        let link = Value::Link(network.bridge.clone());
        bridges.elements.insert(vec![link.clone()], Leads::Nowhere);
        if !network.isolate_endpoints {
            linked.elements.insert(vec![link.clone(), link.clone()], Leads::Nowhere);
        }
        if network.internal {
            internal.elements.insert(vec![link], Leads::Nowhere);
        }
    }
    // What guards a bridge holds whatever became of what was written down about it.
    for bridge in tables.unknown {
        let link = Value::Link(bridge.name.clone());
        bridges.elements.insert(vec![link.clone()], Leads::Nowhere);
        internal.elements.insert(vec![link.clone()], Leads::Nowhere);
        if bridge.linked {
            linked.elements.insert(vec![link.clone(), link], Leads::Nowhere);
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
    add(&mut rulesets.ip, [("trusted", trusted.clone())]);
    let main = rulesets.main(tables.families);
    add(
        main,
        [
            ("barred", links(&tables.strangers.barred)),
            ("strangers", links(&tables.strangers.all)),
            ("bridges", bridges),
            ("trusted", trusted),
            ("internal", internal),
            ("linked", linked),
        ],
    );
    for family in tables.families {
        subnets(main, tables, *family);
    }
}

/// The subnets of one family.
fn subnets(ruleset: &mut Ruleset, tables: &Tables<'_>, family: IpFamily) {
    let empty = || Set::new([Field::Source(family)], Content::Subnets);
    let (mut local, mut bridged, mut hidden) = (empty(), empty(), empty());
    for network in tables.networks {
        let subnets = network.pools.iter().map(|pool| pool.subnet.trunc());
        for subnet in subnets.filter(|subnet| IpFamily::of_net(*subnet) == family) {
            let subnet = vec![Value::Subnet(subnet)];
            local.elements.insert(subnet.clone(), Leads::Nowhere);
            if !network.internal && !network.no_masquerade {
                hidden.elements.insert(subnet.clone(), Leads::Nowhere);
            }
            if network.kind != NetworkKind::Pods {
                bridged.elements.insert(subnet, Leads::Nowhere);
            }
        }
    }
    let sets = sets(family);
    add(ruleset, [(sets.local, local), (sets.bridged, bridged), (sets.hidden, hidden)]);
}

fn ports(rulesets: &mut Rulesets, tables: &Tables<'_>) {
    for family in tables.families {
        let (family, sets) = (*family, sets(*family));
        let mut one = Set::new(front(family), Content::Targets(family));
        let mut any = Set::new(HOST_FRONT, Content::Targets(family));
        for (address, binding) in tables.ports.iter().filter(|(address, _)| IpFamily::of(*address) == family)
        {
            let target = Leads::Target(Target { address: *address, port: binding.container_port });
            let mut key = vec![Value::Protocol(binding.protocol), Value::Port(binding.host_port)];
            if binding.host_address.is_unspecified() {
                any.elements.insert(key, target);
            } else if IpFamily::of(binding.host_address) == family {
                key.insert(0, Value::Address(binding.host_address));
                one.elements.insert(key, target);
            }
        }
        let mut names = Set::new(front(family), Content::Targets(family));
        let of_family = |((address, _), _): &&((IpAddr, u16), Target)| IpFamily::of(*address) == family;
        for ((address, port), target) in tables.names.iter().filter(of_family) {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let key = vec![Value::Address(*address), Value::Protocol(protocol), Value::Port(*port)];
                names.elements.insert(key, Leads::Target(*target));
            }
        }
        if family == IpFamily::V4 {
            add(&mut rulesets.ip, [("ports-open", open(&one)), ("ports-any-open", open(&any))]);
        }
        let main = rulesets.main(tables.families);
        add(main, [(sets.ports, one), (sets.ports_any, any), (sets.names, names)]);
    }
}

/// The keys of a map.
fn open(map: &Set) -> Set {
    let elements = map.elements.keys().map(|key| (key.clone(), Leads::Nowhere)).collect();
    Set { key: map.key.clone(), content: Content::Nothing, elements }
}

fn add<const N: usize>(ruleset: &mut Ruleset, sets: [(&str, Set); N]) {
    ruleset.sets.extend(sets.map(|(name, set)| (name.to_owned(), set)));
}

fn base(kind: HookType, point: Point, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { hook: Some(Hook { kind, point, priority }), rules }
}

fn chains(ruleset: &mut Ruleset, tables: &Tables<'_>) {
    let plain = |rules| Chain { hook: None, rules };
    let to_host = match tables.gate {
        Some(_) => rule([in_link("trusted"), Statement::Jump("host")]),
        None => rule([Statement::Jump("host")]),
    };
    let each = |rules: fn(IpFamily) -> Vec<Rule>| -> Vec<Rule> {
        tables.families.iter().flat_map(|family| rules(*family)).collect()
    };
    let chains = [
        ("guard", base(HookType::Filter, Point::Prerouting, RAW, each(guard))),
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
        ("virtual", plain(each(virtual_addresses))),
        (
            "host",
            plain(
                [vec![rule([Statement::ToHost { negate: true }, Statement::Return])], each(host_addresses)]
                    .concat(),
            ),
        ),
        ("forward", base(HookType::Filter, Point::Forward, FILTER, forward(tables))),
        ("sent", base(HookType::Filter, Point::Output, FILTER, sent(tables))),
        ("postrouting", base(HookType::Nat, Point::Postrouting, SRCNAT, each(postrouting))),
    ];
    ruleset.chains.extend(chains.map(|(name, chain)| (name.to_owned(), chain)));
}

/// What comes from a container and was led to this host by a translation of ours: names, the API,
/// services of this host. Chains of others in which we have a rule let it in by this mark.
fn welcome() -> Vec<Rule> {
    vec![
        rule([in_link("bridges"), Statement::MarkWelcome(false)]),
        rule([in_link("bridges"), Statement::Translated, Statement::MarkWelcome(true)]),
    ]
}

/// The chains of the gate, if there is one.
fn gate(ruleset: &mut Ruleset, tables: &Tables<'_>) {
    let Some(gate) = tables.gate else { return };
    let detour =
        vec![rule([Statement::Copy { to: GATE_NEIGHBOUR.into(), link: gate.out }]), rule([Statement::Drop])];
    let chains = [
        ("admit", base(HookType::Filter, Point::Input, LAST, admit())),
        ("detour", Chain { hook: None, rules: detour }),
    ];
    ruleset.chains.extend(chains.map(|(name, chain)| (name.to_owned(), chain)));
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
        rule([within(&front(IpFamily::V4), "ports-open"), Statement::Jump("detour")]),
        rule([within(&HOST_FRONT, "ports-any-open"), Statement::Jump("detour")]),
        rule([within(&HOST_FRONT, "node-ports-open"), Statement::Jump("detour")]),
    ]
}

/// Bridges carry packets for 127.0.0.0/8 so that ports published there lead to containers; nothing
/// that comes from a container may use that to reach the host's own loopback (CVE-2020-8558). Nor may
/// it come from an address at which the host would look for somebody else: who asks for a name, whose
/// translations hold and what a program of the host makes of a datagram is told by that address.
fn guard(family: IpFamily) -> Vec<Rule> {
    let to_loopback =
        Statement::InSubnet { field: Field::Destination(family), subnet: loopback(family), negate: false };
    vec![
        rule([in_link("bridges"), Statement::Family(family), to_loopback, Statement::Drop]),
        rule([in_link("bridges"), Statement::Family(family), Statement::FromElsewhere, Statement::Drop]),
    ]
}

fn virtual_addresses(family: IpFamily) -> Vec<Rule> {
    let (fields, sets) = (front(family).to_vec(), sets(family));
    vec![
        rule([
            Statement::Family(family),
            Statement::Translate { family, fields: fields.clone(), map: sets.names },
        ]),
        rule([Statement::Family(family), Statement::Dispatch { fields, map: sets.services }]),
    ]
}

fn host_addresses(family: IpFamily) -> Vec<Rule> {
    let sets = sets(family);
    let any = HOST_FRONT.to_vec();
    vec![
        rule([
            Statement::Family(family),
            Statement::Translate { family, fields: front(family).to_vec(), map: sets.ports },
        ]),
        rule([
            Statement::Family(family),
            Statement::Translate { family, fields: any.clone(), map: sets.ports_any },
        ]),
        rule([Statement::Family(family), Statement::Dispatch { fields: any, map: sets.node_ports }]),
    ]
}

/// Refuses what is for a service and was not translated: it has no endpoints, or no such port.
fn refused(tables: &Tables<'_>) -> Vec<Rule> {
    let refused = tables.service_cidrs.iter().flat_map(|subnet| {
        let family = IpFamily::of_net(*subnet);
        let to_service =
            || Statement::InSubnet { field: Field::Destination(family), subnet: *subnet, negate: false };
        [
            rule([Statement::Family(family), to_service(), is_tcp(), Statement::RejectTcp]),
            rule([Statement::Family(family), to_service(), Statement::RejectPort]),
        ]
    });
    refused.collect()
}

fn forward(tables: &Tables<'_>) -> Vec<Rule> {
    let v4 = Statement::Family(IpFamily::V4);
    let before = vec![
        // The host was no router (of IPv4) before we needed one: strangers do not get one by that.
        rule([
            v4.clone(),
            in_link("barred"),
            out_link("strangers"),
            Statement::Translated,
            Statement::Return,
        ]),
        rule([v4, in_link("barred"), out_link("strangers"), Statement::Drop]),
        // What else neither comes from a container nor goes to one is not ours to judge.
        rule([not_in(Field::InLink, "bridges"), not_in(Field::OutLink, "bridges"), Statement::Return]),
        rule([Statement::Established, Statement::Accept]),
    ];
    let after = vec![
        rule([within(&[Field::InLink, Field::OutLink], "linked"), Statement::Accept]),
        rule([in_link("internal"), Statement::Drop]),
        rule([out_link("internal"), Statement::Drop]),
        // Published, or an endpoint of a service.
        rule([out_link("bridges"), Statement::Translated, Statement::Accept]),
        // From another network, or from outside to an address that is not published.
        rule([out_link("bridges"), Statement::Drop]),
    ];
    [before, refused(tables), after].concat()
}

fn sent(tables: &Tables<'_>) -> Vec<Rule> {
    const REDIRECT: u8 = 5;
    let mut rules = refused(tables);
    // Pods reach each other through the bridge's address, so that answers of a service come back
    // the same way and are translated; a redirect would teach them the short cut.
    rules.push(rule([
        Statement::Family(IpFamily::V4),
        Statement::Is { field: Field::Protocol, value: Value::Byte(libc::IPPROTO_ICMP as u8), negate: false },
        Statement::Is { field: Field::IcmpType, value: Value::Byte(REDIRECT), negate: false },
        out_link("bridges"),
        Statement::Drop,
    ]));
    rules
}

fn postrouting(family: IpFamily) -> Vec<Rule> {
    let (source, destination) = (Field::Source(family), Field::Destination(family));
    let sets = sets(family);
    vec![
        // From 127.0.0.1 to a published port: nobody could answer to that address.
        rule([
            Statement::Family(family),
            Statement::InSubnet { field: source, subnet: loopback(family), negate: false },
            out_link("bridges"),
            Statement::Masquerade,
        ]),
        // From a container to a published port of its own network: the answer must not take the
        // short cut over the bridge, past the translation.
        rule([
            Statement::Translated,
            Statement::Family(family),
            within(&[source], sets.bridged),
            within(&[destination], sets.bridged),
            Statement::Masquerade,
        ]),
        // From a pod to a service and back to itself.
        rule([
            Statement::Translated,
            Statement::Family(family),
            within(&[source, destination], sets.hairpin),
            Statement::Masquerade,
        ]),
        // From outside to a service whose endpoint is elsewhere: the answer must come back here.
        rule([
            Statement::Translated,
            Statement::Family(family),
            not_in(source, sets.local),
            within(&front(family), sets.remote),
            Statement::Masquerade,
        ]),
        rule([
            Statement::Family(family),
            within(&[source], sets.hidden),
            not_in(destination, sets.local),
            Statement::Masquerade,
        ]),
    ]
}

fn within(fields: &[Field], set: &'static str) -> Statement {
    Statement::In { fields: fields.to_vec(), set, negate: false }
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

fn is_tcp() -> Statement {
    Statement::Is { field: Field::Protocol, value: Value::Protocol(Protocol::Tcp), negate: false }
}

#[cfg(test)]
mod tests;
