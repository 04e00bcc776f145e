//! What a table holds and keeps while everything else in it is written anew: the sets that remember.
//!
//! The table cannot be removed and made again then, which would take them along: its rules, other sets and
//! chains go one by one, by what is listed of them before. The sets themselves are not touched, whatever
//! is in them, so that what comes in the meantime is remembered too, and nothing is copied, which could be
//! millions of elements.

use std::collections::BTreeMap;
use std::io;

use super::attribute::{chain, desc, set};
use super::diff::{Change, difference};
use super::encode::{
    self, DATA_TYPE_VERDICT, NEWCHAIN, NEWSET, NEWTABLE, REMEMBERED, SET_REMEMBERS, TableName,
};
use super::ruleset::{Content, Ruleset, Set};
use crate::netlink::{Attributes, Message, Reply, Socket, attribute_text};

/// What is in a table, as far as it has to go, and which sets stay.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    chains: Vec<String>,
    sets: Vec<HeldSet>,
    /// Those that are wanted as they are.
    kept: BTreeMap<String, Set>,
}

/// A set as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HeldSet {
    name: String,
    flags: u32,
    key_type: u32,
    key_length: u32,
    size: u32,
    leads_to_chains: bool,
}

/// Whether a table as it is wanted remembers anything.
pub(super) fn remembers(wanted: &Ruleset) -> bool {
    wanted.sets.values().any(|set| set.content == Content::Remembered)
}

/// Lists what `table` holds; nothing if it holds no set that remembers and that is `wanted`.
pub(super) fn list(socket: &mut Socket, table: TableName<'_>, wanted: &Ruleset) -> io::Result<Option<Held>> {
    let sets = match socket.dump(&encode::sets(table)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        sets => sets?,
    };
    let sets: Vec<_> = sets.iter().filter_map(|reply| set_in(reply, table)).collect();
    let kept = kept(&sets, wanted);
    if kept.is_empty() {
        return Ok(None);
    }
    let chains = socket.dump(&encode::chains(table))?;
    let chains = chains.iter().filter_map(|reply| chain_in(reply, table)).collect();
    Ok(Some(Held { chains, sets, kept }))
}

/// Appends what makes `wanted` of what `table` holds, but for the sets that stay.
pub(super) fn rewrite(table: TableName<'_>, held: &Held, wanted: &Ruleset, messages: &mut Vec<Message>) {
    messages.extend([encode::table(NEWTABLE, table), encode::flush(table)]);
    let gone = || held.sets.iter().filter(|set| !held.kept.contains_key(&set.name));
    // Kernels before 6.4 let go of the chains that a map leads to when its elements go, not when it does.
    let leading = gone().filter(|set| set.leads_to_chains);
    messages.extend(leading.map(|set| encode::set_flush(table, &set.name)));
    let sets = gone().map(|set| Change::SetRemove(&set.name));
    let chains = held.chains.iter().map(|name| Change::ChainRemove(name));
    encode::changes(table, &sets.chain(chains).collect::<Vec<_>>(), messages);
    let before = Ruleset { chains: BTreeMap::new(), sets: held.kept.clone() };
    encode::changes(table, &difference(&before, wanted), messages);
}

/// The sets that are wanted and are what they are wanted to be.
fn kept(sets: &[HeldSet], wanted: &Ruleset) -> BTreeMap<String, Set> {
    let is_so = |held: &HeldSet, set: &Set| {
        set.content == Content::Remembered
            && held.flags == SET_REMEMBERS
            && held.size == REMEMBERED
            && held.key_type == encode::key_type(&set.key)
            && held.key_length == encode::key_length(&set.key)
    };
    let wanted = sets.iter().filter_map(|held| Some((held, wanted.sets.get(&held.name)?)));
    wanted
        .filter(|(held, set)| is_so(held, set))
        .map(|(held, set)| (held.name.clone(), set.clone()))
        .collect()
}

fn set_in(reply: &Reply, table: TableName<'_>) -> Option<HeldSet> {
    let attributes = of_table(reply, NEWSET, table, set::TABLE)?;
    let number = |kind| attributes.find(kind).and_then(number).unwrap_or_default();
    let size = attributes.find(set::DESC).and_then(|desc| Attributes::new(desc).find(desc::SIZE));
    Some(HeldSet {
        name: attribute_text(attributes.find(set::NAME)?),
        flags: number(set::FLAGS),
        key_type: number(set::KEY_TYPE),
        key_length: number(set::KEY_LEN),
        size: size.and_then(self::number).unwrap_or_default(),
        leads_to_chains: number(set::DATA_TYPE) == DATA_TYPE_VERDICT,
    })
}

fn chain_in(reply: &Reply, table: TableName<'_>) -> Option<String> {
    of_table(reply, NEWCHAIN, table, chain::TABLE)?.find(chain::NAME).map(attribute_text)
}

/// The attributes of a reply that tells of something in `table`, which it names by the attribute `name`.
fn of_table<'a>(reply: &'a Reply, kind: u16, table: TableName<'_>, name: u16) -> Option<Attributes<'a>> {
    let family = reply.payload.first().copied().map(i32::from);
    let attributes = Attributes::after(&reply.payload, 4);
    let is_it = reply.kind == kind
        && family == Some(table.family)
        && attributes.find(name).map(attribute_text).as_deref() == Some(table.name);
    is_it.then_some(attributes)
}

fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?))
}

/// Reads a reply as a set and as a chain.
pub(super) fn fuzz(reply: &Reply) {
    let table = TableName { family: libc::NFPROTO_IPV4, name: "gantry" };
    let _ = (set_in(reply, table), chain_in(reply, table));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::{Field, IpFamily};

    #[test]
    fn only_sets_that_are_what_they_are_wanted_to_be_stay() {
        let held = HeldSet {
            name: "keep-a".to_owned(),
            flags: SET_REMEMBERS,
            key_type: 7,
            key_length: 4,
            size: REMEMBERED,
            leads_to_chains: false,
        };
        let sets = [
            ("keep-a", Set::new([Field::Source(IpFamily::V4)], Content::Remembered)),
            ("others", Set::new([Field::Source(IpFamily::V4)], Content::Nothing)),
        ];
        let sets = sets.map(|(name, set)| (name.to_owned(), set)).into();
        let wanted = Ruleset { chains: BTreeMap::new(), sets };
        let stays = |held: HeldSet| !kept(&[held], &wanted).is_empty();
        assert!(remembers(&wanted) && stays(held.clone()));
        assert!(!stays(HeldSet { name: "keep-b".to_owned(), ..held.clone() }), "nobody wants it");
        assert!(!stays(HeldSet { name: "others".to_owned(), ..held.clone() }), "it is to remember nothing");
        assert!(!stays(HeldSet { flags: 0, ..held.clone() }));
        assert!(!stays(HeldSet { size: 3, ..held.clone() }));
        assert!(!stays(HeldSet { key_type: 8, ..held.clone() }));
        assert!(!stays(HeldSet { key_length: 16, ..held }));
    }
}
