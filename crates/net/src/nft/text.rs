//! A ruleset as text, in the notation of `nft`: for tests and logs.

use std::fmt::{self, Display, Formatter};

use super::ruleset::{
    Chain, Content, Field, Hook, HookType, IpFamily, Leads, Point, Ruleset, Rulesets, Set, Statement, Target,
    Value,
};

impl Display for Rulesets {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "table inet\n{}table ip\n{}", self.inet, self.ip)
    }
}

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (name, set) in &self.sets {
            write_set(f, name, set)?;
        }
        for (name, chain) in &self.chains {
            write_chain(f, name, chain)?;
        }
        Ok(())
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let not = |negate: &bool| if *negate { "!= " } else { "" };
        match self {
            Self::In { fields, set, negate } => write!(f, "{} {}@{set}", joined(fields), not(negate)),
            Self::Is { field, value, negate } => write!(f, "{field} {}{value}", not(negate)),
            Self::Family(IpFamily::V4) => f.write_str("meta nfproto ipv4"),
            Self::Family(IpFamily::V6) => f.write_str("meta nfproto ipv6"),
            Self::InSubnet { field, subnet, negate } => write!(f, "{field} {}{subnet}", not(negate)),
            Self::ToHost { negate } => write!(f, "fib daddr type {}local", not(negate)),
            Self::FromElsewhere => f.write_str("fib saddr . iif oif missing"),
            Self::Established => f.write_str("ct state established,related"),
            Self::Translated => f.write_str("ct status dnat"),
            Self::MarkWelcome(true) => f.write_str("meta mark set mark or welcome"),
            Self::MarkWelcome(false) => f.write_str("meta mark set mark and not welcome"),
            Self::Welcome => f.write_str("meta mark welcome"),
            Self::Dispatch { fields, map } => write!(f, "{} vmap @{map}", joined(fields)),
            Self::Translate { fields, map, family: _ } => write!(f, "dnat to {} map @{map}", joined(fields)),
            Self::Known { family, set } => write!(f, "{family} saddr @{set}"),
            Self::Remember { family, set, seconds } => {
                write!(f, "update @{set} {{ {family} saddr timeout {seconds}s }}")
            }
            Self::TranslateTo(target) => write!(f, "dnat to {target}"),
            Self::Copy { to, link } => write!(f, "dup to {to} device {link}"),
            Self::Masquerade => f.write_str("masquerade"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Return => f.write_str("return"),
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::RejectTcp => f.write_str("reject with tcp reset"),
            Self::RejectPort => f.write_str("reject"),
        }
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::InLink => f.write_str("iifname"),
            Self::OutLink => f.write_str("oifname"),
            Self::Source(family) => write!(f, "{family} saddr"),
            Self::Destination(family) => write!(f, "{family} daddr"),
            Self::Protocol => f.write_str("meta l4proto"),
            Self::Port => f.write_str("th dport"),
            Self::IcmpType => f.write_str("icmp type"),
            Self::Random(modulus) => write!(f, "numgen random mod {modulus}"),
        }
    }
}

impl Display for IpFamily {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        })
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(name) => write!(f, "{name:?}"),
            Self::Address(address) => address.fmt(f),
            Self::Subnet(subnet) => subnet.fmt(f),
            Self::Protocol(protocol) => protocol.fmt(f),
            Self::Port(port) => port.fmt(f),
            Self::Byte(number) => number.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.address, self.port).fmt(f)
    }
}

impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            HookType::Filter => "filter",
            HookType::Nat => "nat",
        };
        let point = match self.point {
            Point::Prerouting => "prerouting",
            Point::Input => "input",
            Point::Forward => "forward",
            Point::Output => "output",
            Point::Postrouting => "postrouting",
        };
        write!(f, "type {kind} hook {point} priority {}", self.priority)
    }
}

fn write_set(f: &mut Formatter<'_>, name: &str, set: &Set) -> fmt::Result {
    let kind = if matches!(set.content, Content::Nothing | Content::Subnets | Content::Remembered) {
        "set"
    } else {
        "map"
    };
    writeln!(f, "{kind} {name}: {}", joined(&set.key))?;
    for (key, leads) in &set.elements {
        match leads {
            Leads::Nowhere => writeln!(f, "    {}", joined(key))?,
            Leads::Chain(chain) => writeln!(f, "    {} : goto {chain}", joined(key))?,
            Leads::Target(target) => writeln!(f, "    {} : {target}", joined(key))?,
        }
    }
    Ok(())
}

fn write_chain(f: &mut Formatter<'_>, name: &str, chain: &Chain) -> fmt::Result {
    match chain.hook {
        Some(hook) => writeln!(f, "chain {name}: {hook}")?,
        None => writeln!(f, "chain {name}")?,
    }
    for rule in &chain.rules {
        let parts: Vec<String> = rule.iter().map(Statement::to_string).collect();
        writeln!(f, "    {}", parts.join(" "))?;
    }
    Ok(())
}

fn joined<T: Display>(parts: &[T]) -> String {
    parts.iter().map(T::to_string).collect::<Vec<_>>().join(" . ")
}
