//! A ruleset as plain values.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::Protocol;

/// Everything in the tables of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rulesets {
    /// The table of the family `inet`, through which packets of IPv4 and of IPv6 go. Where a chain of it
    /// translates addresses, the kernel tracks every connection of the host of both.
    pub(crate) inet: Ruleset,
    /// The table of the family `ip`: for all of IPv4, where there is nothing else, and in any case for
    /// packets that are copied, which no other family of IPv4 does.
    pub(crate) ip: Ruleset,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum IpFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Everything in one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ruleset {
    /// Chains by name.
    pub(crate) chains: BTreeMap<String, Chain>,
    /// Sets and maps by name.
    pub(crate) sets: BTreeMap<String, Set>,
}

/// Rules that are gone through in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Where packets enter it; without, only other rules lead to it.
    pub(crate) hook: Option<Hook>,
    /// Its rules.
    pub(crate) rules: Vec<Rule>,
}

/// Where packets enter a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// What the chain does.
    pub(crate) kind: HookType,
    /// At which point of a packet's way.
    pub(crate) point: Point,
    /// Order among the chains at the same point.
    pub(crate) priority: i32,
}

/// What a base chain does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookType {
    /// Accepts and drops.
    Filter,
    /// Translates addresses of the first packet of a connection.
    Nat,
}

/// A point of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Come in, not routed yet.
    Prerouting,
    /// Going to a process of the host.
    Input,
    /// Passing through.
    Forward,
    /// Sent by a process of the host.
    Output,
    /// Going out.
    Postrouting,
}

/// A rule: matches, then what to do if all hold.
pub(crate) type Rule = Vec<Statement>;

/// A part of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// The fields together are in a set, or are not.
    In { fields: Vec<Field>, set: &'static str, negate: bool },
    /// The field has this value, or has not.
    Is { field: Field, value: Value, negate: bool },
    /// The packet is of this family. Comes before whatever reads an address where packets of both pass.
    Family(IpFamily),
    /// The address is in this subnet, or is not.
    InSubnet { field: Field, subnet: IpNet, negate: bool },
    /// The destination is an address of this host, or is not.
    ToHost { negate: bool },
    /// The host would not send to the source by the link that the packet came in by.
    FromElsewhere,
    /// The packet belongs to a connection that was let through before.
    Established,
    /// The packet belongs to a connection whose destination was translated.
    Translated,
    /// Marks the packet as one that chains of others may let in, or takes that mark away.
    MarkWelcome(bool),
    /// The packet has that mark. Unlike the state of a connection, the iptables program can read this
    /// in its own tables: it refuses to work with a table in which it does not understand everything.
    Welcome,
    /// Goes to the chain that the map names for the fields; goes on if there is none.
    Dispatch { fields: Vec<Field>, map: &'static str },
    /// Translates the destination to what the map has for the fields, of this family; goes on if there is
    /// nothing.
    Translate { family: IpFamily, fields: Vec<Field>, map: &'static str },
    /// The source is one that a set remembers.
    Known { family: IpFamily, set: String },
    /// Has a set remember the source for so many seconds from now.
    Remember { family: IpFamily, set: String, seconds: u32 },
    /// Translates the destination to this one.
    TranslateTo(Target),
    /// Sends a copy to a neighbour out of a link, given by its number.
    Copy { to: IpAddr, link: u32 },
    /// Translates the source to the address of the outgoing link.
    Masquerade,
    /// Goes on in a chain and comes back.
    Jump(&'static str),
    /// Leaves the chain.
    Return,
    /// Lets pass.
    Accept,
    /// Lets vanish.
    Drop,
    /// Refuses a TCP connection.
    RejectTcp,
    /// Refuses by telling that nobody listens at the port.
    RejectPort,
}

/// Something of a packet, or made up for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// Name of the link that it came in by.
    InLink,
    /// Name of the link that it goes out by.
    OutLink,
    /// Source address.
    Source(IpFamily),
    /// Destination address.
    Destination(IpFamily),
    /// Transport protocol.
    Protocol,
    /// Destination port.
    Port,
    /// Type of an ICMP message.
    IcmpType,
    /// A random number below this one.
    Random(u32),
}

/// A named set, or a map if its elements lead to something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    /// What its keys are made of.
    pub(crate) key: Vec<Field>,
    /// What its elements lead to.
    pub(crate) content: Content,
    /// The elements and what they lead to.
    pub(crate) elements: BTreeMap<Vec<Value>, Leads>,
}

/// What one element leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leads {
    /// Nothing: being in the set is all.
    Nowhere,
    /// A chain.
    Chain(String),
    /// An address and a port.
    Target(Target),
}

/// What the elements of a set lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing: it is a plain set.
    Nothing,
    /// Nothing, and each element is a subnet.
    Subnets,
    /// Nothing, and rules add the elements, each for a time. Those are the kernel's alone: nobody lists them,
    /// and they stay when everything else is written anew.
    Remembered,
    /// A chain.
    Chains,
    /// An address of this family and a port.
    Targets(IpFamily),
}

/// Where a destination is translated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    /// The address.
    pub(crate) address: IpAddr,
    /// The port.
    pub(crate) port: u16,
}

/// A value of a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    /// A link's name.
    Link(String),
    /// An address.
    Address(IpAddr),
    /// A subnet.
    Subnet(IpNet),
    /// A transport protocol.
    Protocol(Protocol),
    /// A port.
    Port(u16),
    /// A small number.
    Byte(u8),
    /// A number.
    Number(u32),
}

impl IpFamily {
    /// The family of an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The family of a subnet.
    pub(crate) fn of_net(net: IpNet) -> Self {
        Self::of(net.addr())
    }
}

impl Rulesets {
    /// With what `more` adds: chains, and elements of sets.
    pub(crate) fn with(&self, more: Self) -> Self {
        Self { inet: self.inet.with(more.inet), ip: self.ip.with(more.ip) }
    }

    /// The table for packets of these families: that of IPv4 alone as long as there is no other, so that
    /// the kernel tracks nothing of the host's IPv6 for us.
    pub(crate) fn main(&mut self, families: &[IpFamily]) -> &mut Ruleset {
        if families.contains(&IpFamily::V6) { &mut self.inet } else { &mut self.ip }
    }
}

impl Ruleset {
    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.sets.is_empty()
    }

    /// With what `more` adds: chains, and elements of sets.
    fn with(&self, more: Self) -> Self {
        let mut whole = self.clone();
        whole.chains.extend(more.chains);
        for (name, set) in more.sets {
            match whole.sets.get_mut(&name) {
                Some(there) => there.elements.extend(set.elements),
                None => drop(whole.sets.insert(name, set)),
            }
        }
        whole
    }
}

impl Set {
    /// An empty set.
    pub(crate) fn new(key: impl Into<Vec<Field>>, content: Content) -> Self {
        Self { key: key.into(), content, elements: BTreeMap::new() }
    }
}

/// A rule of these parts.
pub(crate) fn rule<const N: usize>(statements: [Statement; N]) -> Rule {
    statements.into()
}
