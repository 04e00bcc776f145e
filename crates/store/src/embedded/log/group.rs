//! Groups: what is written by one flush, chained one to the next.
//!
//! | field, little-endian | bytes |
//! | --- | --- |
//! | length of the payload | 8 |
//! | chain value of the group before | 16 |
//! | payload: records, see [`record`](super::super::record) | |
//! | chain value: checksum (XXH3, 128 bits) of the group's number and all that is above | 16 |
//!
//! A group from elsewhere, a stale one, or one whose predecessor is missing does not carry on the
//! chain, though all its blocks are whole.

use xxhash_rust::xxh3::Xxh3;

use super::block;

/// The value that a chain is at: a checksum of everything before.
pub(crate) type Chain = u128;

const LEAD: usize = 8 + 16;
const TRAIL: usize = 16;

/// How many bytes a group with so long a payload takes in a file.
pub(crate) fn encoded_len(payload: usize) -> u64 {
    (block::count(LEAD + payload + TRAIL) * block::BLOCK) as u64
}

/// Adds the blocks of a group to `out`; gives the value of the chain after it.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    file: u64,
    place: u64,
    number: u64,
    before: Chain,
    payload: &[u8],
) -> Chain {
    let mut data = Vec::with_capacity(LEAD + payload.len() + TRAIL);
    data.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    data.extend_from_slice(&before.to_le_bytes());
    data.extend_from_slice(payload);
    let after = chain(number, &data);
    data.extend_from_slice(&after.to_le_bytes());
    block::encode(out, file, place, number, &data);
    after
}

/// Takes the data of all blocks of a group apart: payload and the value of the chain after it.
/// `None` if it is no group, or does not follow on `before` where that is given.
pub(crate) fn decode(number: u64, before: Option<Chain>, mut data: Vec<u8>) -> Option<(Vec<u8>, Chain)> {
    let length = usize::try_from(u64::from_le_bytes(data.get(..8)?.try_into().ok()?)).ok()?;
    let end = LEAD.checked_add(length)?;
    let after = Chain::from_le_bytes(data.get(end..end.checked_add(TRAIL)?)?.try_into().ok()?);
    let follows = before.is_none_or(|before| data[8..LEAD] == before.to_le_bytes());
    if !follows
        || chain(number, &data[..end]) != after
        || block::count(end + TRAIL) != data.len() / block::DATA
    {
        return None;
    }
    data.truncate(end);
    data.drain(..LEAD);
    Some((data, after))
}

fn chain(number: u64, data: &[u8]) -> Chain {
    let mut hash = Xxh3::new();
    hash.update(&number.to_le_bytes());
    hash.update(data);
    hash.digest128()
}
