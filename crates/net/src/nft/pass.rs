//! Our rules in chains of others: where they drop what they do not know, our links are to pass.
//!
//! What one chain drops, no other can save, so that beside an engine or a firewall whose `FORWARD`
//! drops by default containers would reach nobody. Two rules for each of our links are put at the end
//! of such a chain: whatever it says of our traffic before still holds, only its default does not,
//! since our own table filters what is forwarded. Rules of others are never changed; ours carry the
//! instance's name as their comment, by which they are found and taken away again.

use std::collections::BTreeMap;
use std::io;

use super::encode::{self, BATCH_BEGIN, BATCH_END, DELRULE, NEWRULE, NLM_F_APPEND, NLM_F_CREATE};
use super::expression;
use super::foreign::ForeignChain;
use super::ruleset::{Field, Point, Statement, Value};
use crate::netlink::{Attributes, Message, Socket, attribute_text};

const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const HANDLE: u16 = 3;
const EXPRESSIONS: u16 = 4;
const USERDATA: u16 = 7;
/// The first kind of what may be kept with a rule, before its length.
const COMMENT: u8 = 0;

/// Brings our rules in one chain in line: `links` pass if the chain drops by default.
pub(super) fn sync(socket: &mut Socket, own: &str, chain: &ForeignChain, links: &[String]) -> io::Result<()> {
    let mut present = rules(socket, own, chain)?;
    let mut messages = Vec::new();
    if chain.drops {
        for link in links {
            for field in [Field::InLink, Field::OutLink] {
                let comment = comment(own, field, link);
                if present.remove(&comment).is_none() {
                    messages.push(add(chain, field, link, &comment));
                }
            }
        }
    }
    messages.extend(present.values().map(|handle| {
        let mut message = about(DELRULE, 0, chain);
        message.bytes(HANDLE, handle);
        message
    }));
    if messages.is_empty() {
        return Ok(());
    }
    tracing::info!(
        table = chain.table,
        chain = chain.name,
        rules = messages.len(),
        "rules for our links change"
    );
    socket.transaction(&encode::mark(BATCH_BEGIN), &messages, &encode::mark(BATCH_END))
}

/// Whether all links pass a chain.
pub(super) fn admits(
    socket: &mut Socket,
    own: &str,
    chain: &ForeignChain,
    links: &[String],
) -> io::Result<bool> {
    if !chain.drops {
        return Ok(true);
    }
    let present = rules(socket, own, chain)?;
    let both = |link: &String| {
        [Field::InLink, Field::OutLink].iter().all(|field| present.contains_key(&comment(own, *field, link)))
    };
    Ok(chain.point == Point::Forward && links.iter().all(both))
}

/// Our rules in a chain: handles by comments.
fn rules(socket: &mut Socket, own: &str, chain: &ForeignChain) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let prefix = format!("{own}: ");
    let replies = socket.dump(&about(encode::GETRULE, 0, chain))?;
    let ours = replies.iter().filter_map(|reply| {
        let attributes = Attributes::after(&reply.payload, 4);
        // Some kernels list the whole table whatever chain is asked for.
        let here = attributes.find(CHAIN).map(attribute_text)? == chain.name;
        let comment = comment_of(attributes.find(USERDATA)?)?;
        (here && comment.starts_with(&prefix)).then_some((comment, attributes.find(HANDLE)?.to_vec()))
    });
    Ok(ours.collect())
}

fn add(chain: &ForeignChain, field: Field, link: &str, comment: &str) -> Message {
    let mut message = about(NEWRULE, NLM_F_CREATE | NLM_F_APPEND, chain);
    message.nest(EXPRESSIONS, |list| {
        let value = Value::Link(link.to_owned());
        for statement in [Statement::Is { field, value, negate: false }, Statement::Accept] {
            expression::write(list, &statement);
        }
    });
    let length = u8::try_from(comment.len() + 1).expect("names of instances and links are short");
    let mut userdata = vec![COMMENT, length];
    userdata.extend_from_slice(comment.as_bytes());
    userdata.push(0);
    message.bytes(USERDATA, &userdata);
    message
}

fn about(kind: u16, flags: u16, chain: &ForeignChain) -> Message {
    let mut message = Message::new(kind, flags, &[chain.family, 0, 0, 0]);
    let table = chain.table.split_once(' ').map_or(chain.table.as_str(), |(_, name)| name);
    message.text(TABLE, table).text(CHAIN, &chain.name);
    message
}

fn comment(own: &str, field: Field, link: &str) -> String {
    let way = if field == Field::InLink { "from" } else { "to" };
    format!("{own}: {way} {link}")
}

fn comment_of(userdata: &[u8]) -> Option<String> {
    let (&[COMMENT, length], rest) = userdata.split_first_chunk::<2>()? else { return None };
    rest.get(..usize::from(length)).map(attribute_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_read_and_nothing_else_is() {
        assert_eq!(comment_of(b"\0\x0agantry: a\0").as_deref(), Some("gantry: a"));
        assert_eq!(comment_of(b"\x01\x02ab"), None);
        assert_eq!(comment_of(b"\0\x09short"), None);
        assert_eq!(comment_of(b""), None);
    }
}
