//! Directories on their way between a client and here, in the manner of fsutil.
//!
//! Who sends names every entry, in order, with its attributes; who receives asks for the content of those
//! files that it has not; both say when they are done. Entries are numbered as they are named. [`Receiver`]
//! and [`Sender`] are the two sides, as steps that are taken packet by packet; what carries the packets
//! is elsewhere.

mod entry;
mod memory;
mod order;
mod receive;
mod send;

pub(crate) use entry::mode;
pub(crate) use memory::Memory;
pub(crate) use receive::Receiver;
pub(crate) use send::Sender;

use crate::wire::fsutil::types::packet::PacketType;
use crate::wire::fsutil::types::{Packet, Stat};

/// A packet without anything in it.
pub(crate) fn packet(kind: PacketType) -> Packet {
    Packet { r#type: kind.into(), ..Packet::default() }
}

/// How much a packet counts where people are told how far a transfer is.
pub(crate) fn weight(packet: &Packet) -> u64 {
    let named = packet.stat.as_ref().map_or(0, |stat: &Stat| stat.path.len() + stat.linkname.len() + 32);
    (packet.data.len() + named) as u64
}
