//! One instance's tables in the kernel: one of the family `ip`, and one of `inet` where something is in it.
//!
//! Whichever of them earlier programs had, they gave it the same name, and it is replaced with today's.

use std::io;

use super::attribute;
use super::diff::{create, difference};
use super::encode::{
    self, BATCH_BEGIN, BATCH_END, DELCHAIN, DELRULE, DELSET, DELSETELEM, DELTABLE, GETTABLE, NEWCHAIN,
    NEWRULE, NEWTABLE, TableName,
};
use super::foreign::{self, ForeignChain};
use super::held::{self, Held};
use super::pass;
use super::ruleset::{Rulesets, Value};
use crate::netlink::{Attributes, Family, Message, Socket, attribute_text};

/// The multicast group that tells of changes to any table.
const GROUP_NFTABLES: u32 = 1 << (7 - 1);

/// The families of our tables.
const FAMILIES: [i32; 2] = [libc::NFPROTO_INET, libc::NFPROTO_IPV4];

/// The tables, and what was last put into them, but for what is added to that from elsewhere.
pub(crate) struct Table {
    name: String,
    socket: Socket,
    applied: Rulesets,
}

/// What somebody else has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disturbance {
    /// Something was taken out of the table.
    pub(crate) damaged: bool,
    /// Chains of others are not what they were.
    pub(crate) others: bool,
}

/// Tells what somebody else does to the tables, and to chains of others.
pub(crate) struct TableEvents {
    name: String,
    socket: Socket,
}

impl Table {
    /// Opens a socket for the tables in the network namespace of this thread; changes nothing.
    pub(crate) fn open(name: &str) -> io::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            socket: Socket::open(Family::Netfilter, 0)?,
            applied: Rulesets::default(),
        })
    }

    /// Replaces whatever the tables hold by `rulesets` with what `more` adds to their sets and chains, in
    /// one transaction: no packet sees it half. Sets that remember keep what is in them.
    pub(crate) fn replace(&mut self, rulesets: Rulesets, more: Rulesets) -> io::Result<()> {
        self.rewrite(&rulesets.with(more))?;
        let before = std::mem::replace(&mut self.applied, rulesets);
        // Where no link of ours is, as inside of a sandbox, rules of others are not ours to read: who may
        // write them there could make that last for hours.
        if !links(&before).is_empty() || !links(&self.applied).is_empty() {
            self.admit();
        }
        Ok(())
    }

    fn rewrite(&mut self, whole: &Rulesets) -> io::Result<()> {
        /// Somebody else may change a table between a look at it and what is made of that.
        const ATTEMPTS: u32 = 3;
        for _ in 0..ATTEMPTS {
            let rewritten = self.held(whole).and_then(|held| match held {
                [None, None] => Ok(false),
                held => self.commit(&anew(&self.name, &held, whole)).map(|()| true),
            });
            match rewritten {
                Ok(true) => return Ok(()),
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(table = self.name, %error, "the clients that are remembered could not be kept");
                }
            }
        }
        self.commit(&anew(&self.name, &[None, None], whole))
    }

    /// What the tables hold, where something in them stays.
    fn held(&mut self, whole: &Rulesets) -> io::Result<[Option<Held>; FAMILIES.len()]> {
        let mut held = [None, None];
        for ((table, ruleset), held) in names(&self.name).zip([&whole.inet, &whole.ip]).zip(&mut held) {
            // Elsewhere nothing is listed: others may have filled a table of a sandbox.
            if held::remembers(ruleset) {
                *held = held::list(&mut self.socket, table, ruleset)?;
            }
        }
        Ok(held)
    }

    /// Adds chains to whatever the tables hold, which are made if they are not there.
    pub(crate) fn add(&mut self, chains: &Rulesets) -> io::Result<()> {
        self.commit(&step(&self.name, &Rulesets::default(), chains))
    }

    /// Whether the table of the family `ip` has a chain called `name`.
    pub(crate) fn has_chain(&mut self, name: &str) -> io::Result<bool> {
        let table = TableName { family: libc::NFPROTO_IPV4, name: &self.name };
        match self.socket.get(&encode::chain(table, name)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the tables hold `rulesets` by the smallest change from what was last put into them; what was
    /// added to it stays. Fails as not found if somebody took a part of the tables away.
    pub(crate) fn apply(&mut self, rulesets: Rulesets) -> io::Result<()> {
        self.commit(&step(&self.name, &self.applied, &rulesets))?;
        let before = std::mem::replace(&mut self.applied, rulesets);
        if links(&before) != links(&self.applied) {
            self.admit();
        }
        Ok(())
    }

    /// Makes what was added be `after` where it was `before`, both parts of the same sets. Fails as not
    /// found if somebody took a part of the tables away.
    pub(crate) fn amend(&mut self, before: &Rulesets, after: &Rulesets) -> io::Result<()> {
        self.commit(&step(&self.name, before, after))
    }

    /// Whether the tables are there into which something was put.
    pub(crate) fn exists(&mut self) -> io::Result<bool> {
        for (table, ruleset) in names(&self.name).zip([&self.applied.inet, &self.applied.ip]) {
            if ruleset.is_empty() {
                continue;
            }
            match self.socket.get(&encode::table(GETTABLE, table)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Removes the tables with everything in them; nothing happens if there are none.
    pub(crate) fn remove(&mut self) -> io::Result<()> {
        self.applied = Rulesets::default();
        self.admit();
        let both = |table| [encode::table(NEWTABLE, table), encode::table(DELTABLE, table)];
        let messages: Vec<_> = names(&self.name).flat_map(both).collect();
        self.commit(&messages)
    }

    /// Lets our links pass where chains of others drop what they do not know.
    ///
    /// What fails is told by [`Table::foreign`]: our own rules hold all the same.
    pub(crate) fn admit(&mut self) {
        let links = links(&self.applied);
        let chains = foreign::chains(&mut self.socket, &self.name).unwrap_or_else(|error| {
            tracing::warn!(%error, "chains of others cannot be looked at");
            Vec::new()
        });
        for chain in &chains {
            if let Err(error) = pass::sync(&mut self.socket, &self.name, chain, &links) {
                let ForeignChain { table, name, .. } = chain;
                tracing::warn!(table, chain = name, %error, "links cannot be let pass in a chain of others");
            }
        }
    }

    /// The filter chains of others on the way of IPv4 packets, and whether `links` pass them.
    pub(crate) fn foreign(&mut self, links: &[String]) -> io::Result<Vec<ForeignChain>> {
        let mut chains = foreign::chains(&mut self.socket, &self.name)?;
        for chain in &mut chains {
            chain.admits = pass::admits(&mut self.socket, &self.name, chain, links)?;
        }
        Ok(chains)
    }

    /// A listener for changes to this table that others make.
    pub(crate) fn events(&self) -> io::Result<TableEvents> {
        let socket = Socket::open(Family::Netfilter, GROUP_NFTABLES)?;
        socket.ignore_port(self.socket.port())?;
        Ok(TableEvents { name: self.name.clone(), socket })
    }

    fn commit(&mut self, messages: &[Message]) -> io::Result<()> {
        self.socket.transaction(&encode::mark(BATCH_BEGIN), messages, &encode::mark(BATCH_END))
    }
}

impl TableEvents {
    /// Reads what has happened.
    pub(crate) fn read(&mut self) -> io::Result<Disturbance> {
        let mut seen = Disturbance::default();
        loop {
            let replies = match self.socket.notifications() {
                Ok(replies) if replies.is_empty() => return Ok(seen),
                Ok(replies) => replies,
                // More happened than was kept for us: anything may have.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    seen = Disturbance { damaged: true, others: true };
                    continue;
                }
                Err(error) => return Err(error),
            };
            for reply in &replies {
                // In all of these messages the table's name is the first attribute.
                let table =
                    Attributes::after(&reply.payload, 4).find(attribute::table::NAME).map(attribute_text);
                if table.as_deref() == Some(&self.name) {
                    seen.damaged |= [DELTABLE, DELCHAIN, DELRULE, DELSET, DELSETELEM].contains(&reply.kind);
                } else {
                    // A chain's default changes by making it anew; flushing it takes our rules away; a rule
                    // that stops everything may come before ours.
                    seen.others |= [NEWCHAIN, DELRULE].contains(&reply.kind)
                        || (reply.kind == NEWRULE && foreign::stops_all(reply));
                }
            }
        }
    }
}

impl std::os::fd::AsRawFd for TableEvents {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

/// Our tables, in the order of [`FAMILIES`].
fn names(name: &str) -> impl Iterator<Item = TableName<'_>> {
    FAMILIES.into_iter().map(move |family| TableName { family, name })
}

/// What makes `whole` of whatever is in the tables called `name`, and leaves alone what stays of it.
fn anew(name: &str, held: &[Option<Held>; FAMILIES.len()], whole: &Rulesets) -> Vec<Message> {
    let mut messages = Vec::new();
    for ((table, ruleset), held) in names(name).zip([&whole.inet, &whole.ip]).zip(held) {
        if let Some(held) = held {
            held::rewrite(table, held, ruleset, &mut messages);
            continue;
        }
        // Made first, since removing what is not there would fail.
        messages.extend([NEWTABLE, DELTABLE].map(|kind| encode::table(kind, table)));
        if !ruleset.is_empty() {
            messages.push(encode::table(NEWTABLE, table));
            encode::changes(table, &create(ruleset), &mut messages);
        }
    }
    messages
}

/// What makes `after` of `before` in the tables called `name`.
fn step(name: &str, before: &Rulesets, after: &Rulesets) -> Vec<Message> {
    let mut messages = Vec::new();
    let parts = [(&before.inet, &after.inet), (&before.ip, &after.ip)];
    for (table, (before, after)) in names(name).zip(parts) {
        let changes = difference(before, after);
        tracing::debug!(name, family = table.family, steps = changes.len(), "ruleset changes");
        if before.is_empty() && !after.is_empty() {
            messages.push(encode::table(NEWTABLE, table));
        }
        encode::changes(table, &changes, &mut messages);
    }
    messages
}

/// Our links: those that the ruleset counts among the bridges.
fn links(rulesets: &Rulesets) -> Vec<String> {
    let sets = [&rulesets.inet, &rulesets.ip].into_iter().filter_map(|ruleset| ruleset.sets.get("bridges"));
    let keys = sets.flat_map(|set| set.elements.keys());
    let name = |key: &Vec<Value>| match key.as_slice() {
        [Value::Link(name)] => Some(name.clone()),
        _ => None,
    };
    keys.filter_map(name).collect()
}
