//! Chains of others: read only, to explain what stops our traffic.

use std::io;

use super::encode::{GETCHAIN, NEWCHAIN};
use super::ruleset::Point;
use crate::netlink::{Attributes, Family, Message, Reply, Socket, attribute_text};

/// A chain by which packets of IPv4 pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForeignChain {
    /// Its table with the family, as `ip filter`.
    pub(crate) table: String,
    /// Its name.
    pub(crate) name: String,
    /// Where packets enter it.
    pub(crate) point: Point,
    /// Whether what no rule decides on is dropped.
    pub(crate) drops: bool,
}

/// The filter chains on the way of IPv4 packets that are not in the table `own`.
pub(crate) fn foreign_chains(own: &str) -> io::Result<Vec<ForeignChain>> {
    let mut socket = Socket::open(Family::Netfilter, 0)?;
    let replies = socket.dump(&Message::new(GETCHAIN, 0, &[0; 4]))?;
    Ok(replies.iter().filter_map(parse).filter(|chain| chain.table != format!("ip {own}")).collect())
}

fn parse(reply: &Reply) -> Option<ForeignChain> {
    const NF_DROP: u32 = 0;
    let family = match i32::from(*reply.payload.first()?) {
        libc::NFPROTO_IPV4 => "ip",
        libc::NFPROTO_INET => "inet",
        _ => return None,
    };
    if reply.kind != NEWCHAIN {
        return None;
    }
    let attributes = Attributes::after(&reply.payload, 4);
    let number = |value: &[u8]| Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?));
    let kind = attributes.find(7).map(attribute_text)?;
    let point = match Attributes::new(attributes.find(4)?).find(1).and_then(number)? {
        1 => Point::Input,
        2 => Point::Forward,
        _ => return None,
    };
    (kind == "filter").then(|| ForeignChain {
        table: format!("{family} {}", attributes.find(1).map(attribute_text).unwrap_or_default()),
        name: attributes.find(3).map(attribute_text).unwrap_or_default(),
        point,
        drops: attributes.find(5).and_then(number) == Some(NF_DROP),
    })
}
