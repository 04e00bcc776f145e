//! Chains of others: what they do with packets that they do not know.

use std::io;

use super::attribute;
use super::encode::{self, GETCHAIN, NEWCHAIN};
use super::ruleset::Point;
use crate::netlink::{Attributes, Message, Reply, Socket, attribute_text};

/// How deep chains that lead to each other are followed; loops do not exist, the kernel sees to that.
const DEPTH: u32 = 8;

/// A chain by which packets of IPv4 pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForeignChain {
    /// The kernel's number of the table's family.
    pub(crate) family: u8,
    /// Its table with the family, as `ip filter`.
    pub(crate) table: String,
    /// Its name.
    pub(crate) name: String,
    /// Where packets enter it.
    pub(crate) point: Point,
    /// Whether and where what no rule knows is stopped.
    pub(crate) stops: Option<Stop>,
    /// Whether our links pass all the same.
    pub(crate) admits: bool,
}

/// Where a chain stops what none of its rules knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// At its end: it drops by default.
    Policy,
    /// At the rule with this handle, which drops or refuses everything that reaches it.
    Rule(Vec<u8>),
}

/// A rule of others, or of ours among them.
#[derive(Clone, Debug)]
pub(super) struct ForeignRule {
    /// The kernel's name for it in its chain.
    pub(super) handle: Vec<u8>,
    /// What is kept with it.
    pub(super) userdata: Vec<u8>,
    fate: Fate,
}

/// What a rule does to every packet that reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing that holds for all.
    Open,
    /// They go no further.
    Stopped,
    /// They pass this chain.
    Accepted,
    /// They leave the chain, for the one that led here.
    Returned,
    /// Some of them do.
    SomeReturned,
    /// They go on in another chain.
    Led(String),
}

impl ForeignChain {
    /// The table's name without its family.
    pub(super) fn table_name(&self) -> &str {
        self.table.split_once(' ').map_or(self.table.as_str(), |(_, name)| name)
    }

    /// Whether firewalld made it: it has ways of its own to be told of links, and keeps its table to itself.
    pub(crate) fn is_firewalld(&self) -> bool {
        // It has a second one while it reloads.
        self.table_name().starts_with("firewalld")
    }
}

/// The filter chains on the way of IPv4 packets that are not in the tables called `own`.
///
/// Says of none that our links pass: see [`super::pass`].
pub(super) fn chains(socket: &mut Socket, own: &str) -> io::Result<Vec<ForeignChain>> {
    let replies = socket.dump(&Message::new(GETCHAIN, 0, &[0; 4]))?;
    let mut chains: Vec<_> =
        replies.iter().filter_map(parse).filter(|chain| chain.table_name() != own).collect();
    for chain in &mut chains {
        let drops = chain.stops.is_some();
        chain.stops = stop(socket, chain, drops)?;
    }
    Ok(chains)
}

/// The rules of `chain`, a chain of the table that `of` is in.
pub(super) fn rules(socket: &mut Socket, of: &ForeignChain, chain: &str) -> io::Result<Vec<ForeignRule>> {
    let mut message = Message::new(encode::GETRULE, 0, &[of.family, 0, 0, 0]);
    message.text(attribute::rule::TABLE, of.table_name()).text(attribute::rule::CHAIN, chain);
    let replies = match socket.dump(&message) {
        // It went while we looked.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        replies => replies?,
    };
    let rule = |reply: &Reply| {
        use attribute::rule::{CHAIN, EXPRESSIONS, HANDLE, USERDATA};
        let attributes = Attributes::after(&reply.payload, 4);
        // Some kernels list the whole table whatever chain is asked for.
        let here = attributes.find(CHAIN).map(attribute_text)? == chain;
        here.then(|| ForeignRule {
            handle: attributes.find(HANDLE).unwrap_or_default().to_vec(),
            userdata: attributes.find(USERDATA).unwrap_or_default().to_vec(),
            fate: attributes.find(EXPRESSIONS).map_or(Fate::Open, fate),
        })
    };
    Ok(replies.iter().filter_map(rule).collect())
}

/// Whether what a message tells of is a rule that stops everything.
pub(super) fn stops_all(rule: &Reply) -> bool {
    let expressions = Attributes::after(&rule.payload, 4).find(attribute::rule::EXPRESSIONS);
    matches!(expressions.map(fate), Some(Fate::Stopped | Fate::Led(_)))
}

fn stop(socket: &mut Socket, chain: &ForeignChain, drops: bool) -> io::Result<Option<Stop>> {
    for rule in rules(socket, chain, &chain.name)? {
        match &rule.fate {
            Fate::Stopped => return Ok(Some(Stop::Rule(rule.handle))),
            Fate::Accepted => return Ok(None),
            Fate::Led(other) => match end(socket, chain, other, DEPTH)? {
                Fate::Stopped => return Ok(Some(Stop::Rule(rule.handle))),
                Fate::Accepted => return Ok(None),
                _ => {}
            },
            Fate::Returned => break,
            Fate::SomeReturned | Fate::Open => {}
        }
    }
    Ok(drops.then_some(Stop::Policy))
}

/// What becomes of a packet that no rule of `chain` knows: stopped, accepted, or it comes back.
fn end(socket: &mut Socket, of: &ForeignChain, chain: &str, depth: u32) -> io::Result<Fate> {
    if depth == 0 {
        return Ok(Fate::Open);
    }
    for rule in rules(socket, of, chain)? {
        match rule.fate {
            fate @ (Fate::Stopped | Fate::Accepted) => return Ok(fate),
            Fate::Led(other) => {
                let led = end(socket, of, &other, depth - 1)?;
                if matches!(led, Fate::Stopped | Fate::Accepted) {
                    return Ok(led);
                }
            }
            // What comes after holds no more for all of them.
            Fate::Returned | Fate::SomeReturned => break,
            Fate::Open => {}
        }
    }
    Ok(Fate::Open)
}

/// What the instructions of a rule do to every packet; what depends on the packet is left open.
fn fate(expressions: &[u8]) -> Fate {
    let mut for_all = true;
    for (_, expression) in Attributes::new(expressions) {
        let parts = Attributes::new(expression);
        let name = parts.find(attribute::expr::NAME).map(attribute_text).unwrap_or_default();
        let data = Attributes::new(parts.find(attribute::expr::DATA).unwrap_or_default());
        let decided = match name.as_str() {
            "counter" | "log" => None,
            "reject" => Some(Fate::Stopped),
            // As the iptables program writes what it has no own instruction for.
            "target" => match data.find(attribute::target::NAME).map(attribute_text).as_deref() {
                Some("REJECT") => Some(Fate::Stopped),
                _ => None,
            },
            "immediate" => {
                let value = data.find(attribute::immediate::DATA);
                value.and_then(|value| verdict(Attributes::new(value).find(attribute::data::VERDICT)?))
            }
            // A condition, or something that is prepared for one.
            _ => {
                for_all = false;
                None
            }
        };
        match decided {
            None => {}
            Some(fate) if for_all => return fate,
            Some(Fate::Returned) => return Fate::SomeReturned,
            Some(_) => return Fate::Open,
        }
    }
    Fate::Open
}

/// What a verdict says.
fn verdict(verdict: &[u8]) -> Option<Fate> {
    const NF_DROP: i32 = 0;
    const NF_ACCEPT: i32 = 1;
    const NFT_JUMP: i32 = -3;
    const NFT_GOTO: i32 = -4;
    const NFT_RETURN: i32 = -5;
    let verdict = Attributes::new(verdict);
    match i32::from_be_bytes(verdict.find(attribute::verdict::CODE)?.get(..4)?.try_into().ok()?) {
        NF_DROP => Some(Fate::Stopped),
        NF_ACCEPT => Some(Fate::Accepted),
        NFT_RETURN => Some(Fate::Returned),
        NFT_JUMP | NFT_GOTO => verdict.find(attribute::verdict::CHAIN).map(attribute_text).map(Fate::Led),
        _ => None,
    }
}

/// A chain as it is listed, without a look at its rules.
fn parse(reply: &Reply) -> Option<ForeignChain> {
    const NF_DROP: u32 = 0;
    let number = *reply.payload.first()?;
    let family = match i32::from(number) {
        libc::NFPROTO_IPV4 => "ip",
        libc::NFPROTO_INET => "inet",
        _ => return None,
    };
    if reply.kind != NEWCHAIN {
        return None;
    }
    let attributes = Attributes::after(&reply.payload, 4);
    let word = |value: &[u8]| Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?));
    let kind = attributes.find(attribute::chain::TYPE).map(attribute_text)?;
    let point = match Attributes::new(attributes.find(attribute::chain::HOOK)?)
        .find(attribute::hook::HOOKNUM)
        .and_then(word)?
    {
        1 => Point::Input,
        2 => Point::Forward,
        _ => return None,
    };
    let drops = attributes.find(attribute::chain::POLICY).and_then(word) == Some(NF_DROP);
    (kind == "filter").then(|| ForeignChain {
        family: number,
        table: format!(
            "{family} {}",
            attributes.find(attribute::chain::TABLE).map(attribute_text).unwrap_or_default()
        ),
        name: attributes.find(attribute::chain::NAME).map(attribute_text).unwrap_or_default(),
        point,
        stops: drops.then_some(Stop::Policy),
        admits: false,
    })
}
