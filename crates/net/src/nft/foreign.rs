//! Chains of others: what they do with packets that they do not know.

use std::collections::HashMap;
use std::io;

use super::attribute;
use super::encode::{self, GETCHAIN, NEWCHAIN};
use super::ruleset::Point;
use crate::netlink::{Attributes, Message, Reply, Socket, attribute_text};

/// How deep chains that lead to each other are followed; loops do not exist, the kernel sees to that.
const DEPTH: u32 = 8;
/// How many chains are followed in one look, and how many bytes of rules are read in it. What comes after
/// that is taken for one of which nothing holds for all packets.
const CHAINS: usize = 1024;
const BYTES: usize = 64 << 20;

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
    let mut look = Look::new(|of: &ForeignChain, chain: &str| list(socket, of, chain));
    for chain in &mut chains {
        let drops = chain.stops.is_some();
        chain.stops = look.stop(chain, drops)?;
    }
    Ok(chains)
}

/// The rules of `chain`, a chain of the table that `of` is in.
pub(super) fn rules(socket: &mut Socket, of: &ForeignChain, chain: &str) -> io::Result<Vec<ForeignRule>> {
    list(socket, of, chain).map(|(rules, _)| rules)
}

/// The rules of a chain, and how many bytes were read for them.
fn list(socket: &mut Socket, of: &ForeignChain, chain: &str) -> io::Result<(Vec<ForeignRule>, usize)> {
    let mut message = Message::new(encode::GETRULE, 0, &[of.family, 0, 0, 0]);
    message.text(attribute::rule::TABLE, of.table_name()).text(attribute::rule::CHAIN, chain);
    let replies = match socket.dump(&message) {
        // It went while we looked.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        replies => replies?,
    };
    let read = replies.iter().map(|reply| reply.payload.len()).sum();
    Ok((replies.iter().filter_map(|reply| rule_in(reply, chain)).collect(), read))
}

/// The rule that a reply tells of, if it is one of `chain`.
fn rule_in(reply: &Reply, chain: &str) -> Option<ForeignRule> {
    use attribute::rule::{CHAIN, EXPRESSIONS, HANDLE, USERDATA};
    let attributes = Attributes::after(&reply.payload, 4);
    // Some kernels list the whole table whatever chain is asked for.
    let here = attributes.find(CHAIN).map(attribute_text)? == chain;
    here.then(|| ForeignRule {
        handle: attributes.find(HANDLE).unwrap_or_default().to_vec(),
        userdata: attributes.find(USERDATA).unwrap_or_default().to_vec(),
        fate: attributes.find(EXPRESSIONS).map_or(Fate::Open, fate),
    })
}

/// Whether what a message tells of is a rule that stops everything.
pub(super) fn stops_all(rule: &Reply) -> bool {
    let expressions = Attributes::after(&rule.payload, 4).find(attribute::rule::EXPRESSIONS);
    matches!(expressions.map(fate), Some(Fate::Stopped | Fate::Led(_)))
}

/// A look at chains that lead to each other. Each of them is read once, however many lead there: whoever
/// writes them could make ways without end of a few.
struct Look<R> {
    rules: R,
    /// What becomes of packets in the chains that were read, by table and name.
    ends: HashMap<(u8, String, String), Fate>,
    chains: usize,
    bytes: usize,
}

impl<R: FnMut(&ForeignChain, &str) -> io::Result<(Vec<ForeignRule>, usize)>> Look<R> {
    /// Nothing seen yet; `rules` lists those of a chain, and tells how many bytes that took.
    fn new(rules: R) -> Self {
        Self { rules, ends: HashMap::new(), chains: 0, bytes: 0 }
    }

    /// The rules of a chain; none if enough were read.
    fn read(&mut self, of: &ForeignChain, chain: &str) -> io::Result<Vec<ForeignRule>> {
        if self.chains >= CHAINS || self.bytes >= BYTES {
            tracing::warn!(table = of.table, chain, "there are too many rules of others to look at all");
            return Ok(Vec::new());
        }
        let (rules, bytes) = (self.rules)(of, chain)?;
        self.chains += 1;
        self.bytes += bytes;
        Ok(rules)
    }

    /// Whether and where a base chain stops what no rule of it knows.
    fn stop(&mut self, chain: &ForeignChain, drops: bool) -> io::Result<Option<Stop>> {
        for rule in self.read(chain, &chain.name)? {
            match &rule.fate {
                Fate::Stopped => return Ok(Some(Stop::Rule(rule.handle))),
                Fate::Accepted => return Ok(None),
                Fate::Led(other) => match self.end(chain, other, DEPTH)? {
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
    fn end(&mut self, of: &ForeignChain, chain: &str, depth: u32) -> io::Result<Fate> {
        let place = (of.family, of.table.clone(), chain.to_owned());
        if let Some(known) = self.ends.get(&place) {
            return Ok(known.clone());
        }
        let end = if depth == 0 { Fate::Open } else { self.follow(of, chain, depth)? };
        self.ends.insert(place, end.clone());
        Ok(end)
    }

    fn follow(&mut self, of: &ForeignChain, chain: &str, depth: u32) -> io::Result<Fate> {
        for rule in self.read(of, chain)? {
            match rule.fate {
                fate @ (Fate::Stopped | Fate::Accepted) => return Ok(fate),
                Fate::Led(other) => {
                    let led = self.end(of, &other, depth - 1)?;
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

/// Reads a reply as a chain and as a rule.
pub(super) fn fuzz(reply: &Reply) {
    let _ = parse(reply);
    let _ = stops_all(reply);
    let _ = rule_in(reply, "input");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(name: &str) -> ForeignChain {
        ForeignChain {
            family: 2,
            table: "ip filter".to_owned(),
            name: name.to_owned(),
            point: Point::Forward,
            stops: None,
            admits: false,
        }
    }

    fn rule(fate: Fate) -> ForeignRule {
        ForeignRule { handle: vec![1], userdata: Vec::new(), fate }
    }

    /// What a look says of the chain `start`, and how many chains were looked at for it.
    fn look(of: impl Fn(&str) -> Vec<Fate>) -> (Option<Stop>, usize) {
        let mut seen = 0;
        let mut look = Look::new(|_: &ForeignChain, name: &str| {
            seen += 1;
            Ok((of(name).into_iter().map(rule).collect(), 100))
        });
        let stop = look.stop(&chain("start"), false).expect("nothing is read");
        (stop, seen)
    }

    #[test]
    fn each_chain_is_looked_at_once_however_many_ways_lead_to_it() {
        let ten_to = |level: u32| vec![Fate::Led(format!("level-{level}")); 10];
        let many = |last: Fate| {
            look(move |name| match name.strip_prefix("level-").map(|level| level.parse::<u32>()) {
                None => ten_to(1),
                Some(Ok(7)) => vec![last.clone()],
                Some(level) => ten_to(level.expect("a number") + 1),
            })
        };
        assert_eq!(many(Fate::Open), (None, 8));
        assert_eq!(many(Fate::Stopped), (Some(Stop::Rule(vec![1])), 8));
        assert_eq!(many(Fate::Accepted), (None, 8));
    }

    #[test]
    fn a_look_comes_to_an_end_however_many_chains_there_are() {
        // A thousand from each, all of them different, eight deep.
        let (stop, seen) = look(|name| (0..1000).map(|next| Fate::Led(format!("{name}-{next}"))).collect());
        assert_eq!((stop, seen), (None, CHAINS));
    }
}
