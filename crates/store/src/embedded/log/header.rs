//! The first block of a file of the log: what the file is, and what it goes on from.

use super::block::{self, BLOCK, Block};
use super::group::Chain;

const MAGIC: [u8; 8] = *b"GANTRYLG";
/// Raised when a reader of before could not read what is written now.
const VERSION: u32 = 1;
/// The number of the group that the block of a header belongs to.
const GROUP: u64 = u64::MAX;

/// What a file says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// The store that the file belongs to: random.
    pub(crate) store: u128,
    /// The file itself: random.
    pub(crate) id: u64,
    /// Counts the segments of a store; a snapshot has that of the segment that goes on after it.
    pub(crate) sequence: u64,
    /// The number of the first group: the first here, or the first after a snapshot.
    pub(crate) first_group: u64,
    /// The first revision that can be in that group, for people.
    pub(crate) first_revision: u64,
    /// The value of the chain before that group.
    pub(crate) chain: Chain,
    /// Where the log was before this segment; nothing after that place counts.
    pub(crate) before: Option<Place>,
}

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Groups of transactions, one per flush.
    Segment,
    /// Everything up to some group, at once.
    Snapshot,
}

/// A place in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Place {
    /// Sequence and id of the segment.
    pub(crate) sequence: u64,
    pub(crate) id: u64,
    /// In bytes from the beginning of the file.
    pub(crate) offset: u64,
}

/// Why a first block is no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeaderError {
    /// It is not what was written.
    Damaged,
    /// It is of another version of the format.
    Version(u32),
}

impl Header {
    /// The first block of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let before = self.before.unwrap_or_default();
        let mut data = Vec::with_capacity(BLOCK);
        data.extend_from_slice(&MAGIC);
        data.extend_from_slice(&VERSION.to_le_bytes());
        data.extend_from_slice(&(matches!(self.kind, Kind::Snapshot) as u32).to_le_bytes());
        data.extend_from_slice(&self.store.to_le_bytes());
        data.extend_from_slice(&self.chain.to_le_bytes());
        let numbers = [
            self.id,
            self.sequence,
            self.first_group,
            self.first_revision,
            before.sequence,
            before.id,
            before.offset,
        ];
        numbers.iter().for_each(|number| data.extend_from_slice(&number.to_le_bytes()));
        let mut out = Vec::with_capacity(BLOCK);
        block::encode(&mut out, 0, 0, GROUP, &data);
        out
    }

    /// Reads the first block of a file.
    pub(crate) fn decode(block: &[u8]) -> Result<Self, HeaderError> {
        let Block::Whole(part) = block::decode(block, 0, 0) else { return Err(HeaderError::Damaged) };
        let data = part.data;
        if part.group != GROUP || data[..8] != MAGIC {
            return Err(HeaderError::Damaged);
        }
        let small = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes"));
        let wide = |at: usize| u128::from_le_bytes(data[at..at + 16].try_into().expect("sixteen bytes"));
        let number = |index: usize| {
            let at = 48 + index * 8;
            u64::from_le_bytes(data[at..at + 8].try_into().expect("eight bytes"))
        };
        if small(8) != VERSION {
            return Err(HeaderError::Version(small(8)));
        }
        let before = Place { sequence: number(4), id: number(5), offset: number(6) };
        Ok(Self {
            kind: if small(12) == 1 { Kind::Snapshot } else { Kind::Segment },
            store: wide(16),
            chain: wide(32),
            id: number(0),
            sequence: number(1),
            first_group: number(2),
            first_revision: number(3),
            before: Some(before).filter(|before| before.sequence != 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        let header = Header {
            kind: Kind::Segment,
            store: 1 << 100,
            id: 2,
            sequence: 3,
            first_group: 4,
            first_revision: 5,
            chain: 6 << 100,
            before: Some(Place { sequence: 7, id: 8, offset: 9 }),
        };
        for header in [header, Header { kind: Kind::Snapshot, before: None, ..header }] {
            assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
        assert_eq!(Header::decode(&[0; BLOCK]), Err(HeaderError::Damaged));
    }
}
