//! Changes that keep an input's shape, so that it comes further than to the first check.

mod archive;
mod attributes;
mod json;
mod protobuf;

use fastrand::Rng;

/// What a target's bytes are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Bytes without any shape that is known here, or text.
    Plain,
    /// A document of JSON.
    Json,
    /// A message of protobuf, after so many bytes of something else.
    Protobuf(usize),
    /// Messages of netlink: headers and attributes within attributes.
    Netlink,
    /// A tar archive.
    Archive,
}

impl Shape {
    /// Changes one thing of `input`, perhaps with something of `other`; nothing if `input` has not this shape.
    pub(crate) fn change(self, input: &[u8], other: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
        match self {
            Self::Plain => None,
            Self::Json => json::change(input, other, rng),
            Self::Protobuf(skipped) => protobuf::change(input, other, skipped, rng),
            Self::Netlink => attributes::change(input, other, rng),
            Self::Archive => archive::change(input, other, rng),
        }
    }
}

/// Numbers at the ends of what numbers can be, and others.
pub(crate) fn number(rng: &mut Rng) -> u64 {
    const NOTABLE: [u64; 12] =
        [0, 1, 127, 128, 255, 256, 65_535, 65_536, 0x7fff_ffff, 0x8000_0000, 0x7fff_ffff_ffff_ffff, u64::MAX];
    match rng.u8(..4) {
        0 => rng.u64(..),
        1 => rng.u64(..16),
        2 => NOTABLE[rng.usize(..NOTABLE.len())].wrapping_add(rng.u64(..3)).wrapping_sub(1),
        _ => NOTABLE[rng.usize(..NOTABLE.len())],
    }
}
