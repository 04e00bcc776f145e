//! Chains of others, to explain what stops our traffic.

use std::io;

use super::encode::{GETCHAIN, NEWCHAIN};
use super::ruleset::Point;
use crate::netlink::{Attributes, Message, Reply, Socket, attribute_text};

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
    /// Whether what no rule decides on is dropped.
    pub(crate) drops: bool,
    /// Whether our links pass all the same.
    pub(crate) admits: bool,
}

/// The filter chains on the way of IPv4 packets that are not in the table `own`.
///
/// Says of none that our links pass: see [`super::pass`].
pub(super) fn chains(socket: &mut Socket, own: &str) -> io::Result<Vec<ForeignChain>> {
    let replies = socket.dump(&Message::new(GETCHAIN, 0, &[0; 4]))?;
    Ok(replies.iter().filter_map(parse).filter(|chain| chain.table != format!("ip {own}")).collect())
}

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
    let kind = attributes.find(7).map(attribute_text)?;
    let point = match Attributes::new(attributes.find(4)?).find(1).and_then(word)? {
        1 => Point::Input,
        2 => Point::Forward,
        _ => return None,
    };
    (kind == "filter").then(|| ForeignChain {
        family: number,
        table: format!("{family} {}", attributes.find(1).map(attribute_text).unwrap_or_default()),
        name: attributes.find(3).map(attribute_text).unwrap_or_default(),
        point,
        drops: attributes.find(5).and_then(word) == Some(NF_DROP),
        admits: false,
    })
}
