//! Our rules in chains of others: where they stop what they do not know, our links are to pass.
//!
//! What one chain drops, no other can save, so that beside an engine or a firewall whose `FORWARD`
//! drops by default containers would reach nobody, and beside one whose `INPUT` does they would find
//! no names and no API. Rules for each of our links are put at the end of such a chain, or before its
//! rule that drops or refuses everything: whatever the chain says of our traffic before still holds,
//! only its default does not, since our own table filters what is forwarded, and of what comes in only
//! what it has translated passes. Rules of others are never changed; ours carry the instance's name as
//! their comment, by which they are found and taken away again.

use std::collections::BTreeMap;
use std::io;

use super::encode::{self, BATCH_BEGIN, BATCH_END, DELRULE, NEWRULE, NLM_F_APPEND, NLM_F_CREATE};
use super::expression;
use super::foreign::{self, ForeignChain, Stop};
use super::ruleset::{Field, Point, Statement, Value};
use crate::netlink::{Message, Socket, attribute_text};

const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const HANDLE: u16 = 3;
const EXPRESSIONS: u16 = 4;
const POSITION: u16 = 6;
const USERDATA: u16 = 7;
/// The first kind of what may be kept with a rule, before its length.
const COMMENT: u8 = 0;

/// Brings our rules in one chain in line: `links` pass if the chain stops what it does not know.
pub(super) fn sync(socket: &mut Socket, own: &str, chain: &ForeignChain, links: &[String]) -> io::Result<()> {
    let Present { mut effective, useless } = present(socket, own, chain)?;
    let mut messages = Vec::new();
    if let Some(stop) = chain.stops.as_ref().filter(|_| !chain.is_firewalld()) {
        for (comment, statements) in wanted(own, chain.point, links) {
            if effective.remove(&comment).is_none() {
                messages.push(add(chain, stop, &statements, &comment));
            }
        }
    }
    messages.extend(effective.into_values().chain(useless).map(|handle| {
        let mut message = about(DELRULE, 0, chain);
        message.bytes(HANDLE, &handle);
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

/// Whether all links pass a chain, as far as its rules tell.
pub(super) fn admits(
    socket: &mut Socket,
    own: &str,
    chain: &ForeignChain,
    links: &[String],
) -> io::Result<bool> {
    if chain.stops.is_none() {
        return Ok(true);
    }
    let present = present(socket, own, chain)?.effective;
    Ok(wanted(own, chain.point, links).iter().all(|(comment, _)| present.contains_key(comment)))
}

/// Our rules in a chain.
struct Present {
    /// Handles by comments.
    effective: BTreeMap<String, Vec<u8>>,
    /// Those that nothing reaches, since what stops everything came before them, and doubles.
    useless: Vec<Vec<u8>>,
}

fn present(socket: &mut Socket, own: &str, chain: &ForeignChain) -> io::Result<Present> {
    let prefix = format!("{own}: ");
    let mut present = Present { effective: BTreeMap::new(), useless: Vec::new() };
    let mut reached = true;
    for rule in foreign::rules(socket, chain, &chain.name)? {
        if chain.stops == Some(Stop::Rule(rule.handle.clone())) {
            reached = false;
        }
        let Some(comment) = comment_of(&rule.userdata).filter(|comment| comment.starts_with(&prefix)) else {
            continue;
        };
        if reached && !present.effective.contains_key(&comment) {
            present.effective.insert(comment, rule.handle);
        } else {
            present.useless.push(rule.handle);
        }
    }
    Ok(present)
}

/// What lets our links pass at a point: comments and matches.
fn wanted(own: &str, point: Point, links: &[String]) -> Vec<(String, Vec<Statement>)> {
    let is = |field, link: &String| Statement::Is { field, value: Value::Link(link.clone()), negate: false };
    let mut rules = Vec::new();
    for link in links {
        let from = format!("{own}: from {link}");
        match point {
            Point::Input => rules.push((from, vec![is(Field::InLink, link), Statement::Welcome])),
            _ => {
                rules.push((from, vec![is(Field::InLink, link)]));
                rules.push((format!("{own}: to {link}"), vec![is(Field::OutLink, link)]));
            }
        }
    }
    rules
}

fn add(chain: &ForeignChain, stop: &Stop, matches: &[Statement], comment: &str) -> Message {
    let mut message = match stop {
        Stop::Policy => about(NEWRULE, NLM_F_CREATE | NLM_F_APPEND, chain),
        // Without being appended, it comes before the one that it names.
        Stop::Rule(handle) => {
            let mut message = about(NEWRULE, NLM_F_CREATE, chain);
            message.bytes(POSITION, handle);
            message
        }
    };
    message.nest(EXPRESSIONS, |list| {
        for statement in matches.iter().chain([&Statement::Accept]) {
            expression::write(list, statement);
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
    message.text(TABLE, chain.table_name()).text(CHAIN, &chain.name);
    message
}

fn comment_of(userdata: &[u8]) -> Option<String> {
    let (&[COMMENT, length], rest) = userdata.split_first_chunk::<2>()? else { return None };
    rest.get(..usize::from(length)).map(attribute_text)
}

/// Reads what is kept with a rule.
pub(super) fn fuzz(userdata: &[u8]) {
    let _ = comment_of(userdata);
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
