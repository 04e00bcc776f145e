//! The blocks that every file of the log consists of.
//!
//! A block is what a disk writes wholly or not at all. Each has a checksum of its own, so that a
//! block that was never written (all zeros), one that was, and one that was damaged can be told
//! apart whatever became of its neighbours.
//!
//! | field, little-endian | bytes |
//! | --- | --- |
//! | checksum (XXH3, 64 bits) of the rest, seeded with the file's id and the block's place | 8 |
//! | number of the group that the block belongs to | 8 |
//! | place of the block in its group, number of blocks in the group | 4 each |
//! | data | 488 |

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Size of a block in bytes: the smallest sector that disks have.
pub(crate) const BLOCK: usize = 512;
const HEADER: usize = 24;
/// Bytes of data in a block.
pub(crate) const DATA: usize = BLOCK - HEADER;

/// What a block turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Block<'a> {
    /// Never written.
    Blank,
    /// As it was written.
    Whole(Part<'a>),
    /// Neither: something else wrote here, or the disk lost bits.
    Damaged,
}

/// A block that is whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part<'a> {
    /// The group that it belongs to.
    pub(crate) group: u64,
    /// Its place in the group, and how many blocks the group has.
    pub(crate) index: u32,
    pub(crate) count: u32,
    pub(crate) data: &'a [u8],
}

/// How many blocks `bytes` of data take.
pub(crate) fn count(bytes: usize) -> usize {
    bytes.div_ceil(DATA)
}

/// Adds `data` as the blocks of one group; `file` is the file's id, `place` the number of the first
/// block in the file. The last block is filled up with zeros.
pub(crate) fn encode(out: &mut Vec<u8>, file: u64, place: u64, group: u64, data: &[u8]) {
    let blocks = count(data.len());
    let count = u32::try_from(blocks).expect("a group has fewer than four billion blocks");
    let start = out.len();
    out.resize(start + blocks * BLOCK, 0);
    let chunks = out[start..].chunks_exact_mut(BLOCK).zip(data.chunks(DATA));
    for ((block, chunk), index) in chunks.zip(0u32..) {
        block[8..16].copy_from_slice(&group.to_le_bytes());
        block[16..20].copy_from_slice(&index.to_le_bytes());
        block[20..24].copy_from_slice(&count.to_le_bytes());
        block[HEADER..HEADER + chunk.len()].copy_from_slice(chunk);
        let check = checksum(block, file, place + u64::from(index));
        block[..8].copy_from_slice(&check.to_le_bytes());
    }
}

/// Reads the block at `place`.
pub(crate) fn decode(block: &[u8], file: u64, place: u64) -> Block<'_> {
    if *block == [0; BLOCK][..block.len().min(BLOCK)] {
        return Block::Blank;
    }
    let Some((check, _)) = block.split_first_chunk::<8>() else { return Block::Damaged };
    if block.len() != BLOCK || u64::from_le_bytes(*check) != checksum(block, file, place) {
        return Block::Damaged;
    }
    let number = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().expect("four bytes of a block"));
    Block::Whole(Part {
        group: u64::from_le_bytes(block[8..16].try_into().expect("eight bytes of a block")),
        index: number(16),
        count: number(20),
        data: &block[HEADER..],
    })
}

fn checksum(block: &[u8], file: u64, place: u64) -> u64 {
    xxh3_64_with_seed(&block[8..], file.wrapping_add(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_read_back_as_they_were_written() {
        for length in [0, 1, DATA - 1, DATA, DATA + 1, 3 * DATA] {
            let data: Vec<u8> = (0..length).map(|byte| byte as u8 | 1).collect();
            let mut out = vec![0xaa; BLOCK];
            encode(&mut out, 7, 3, 5, &data);
            assert_eq!(out.len(), BLOCK * (1 + count(length)));
            let mut read = Vec::new();
            for (index, block) in out[BLOCK..].chunks(BLOCK).enumerate() {
                let Block::Whole(part) = decode(block, 7, 3 + index as u64) else { panic!("{index}") };
                assert_eq!((part.group, part.index, part.count), (5, index as u32, count(length) as u32));
                read.extend_from_slice(part.data);
            }
            assert_eq!(&read[..length], data);
        }
    }

    #[test]
    fn a_block_that_is_changed_or_elsewhere_is_damaged() {
        let mut out = Vec::new();
        encode(&mut out, 7, 3, 5, b"data");
        assert_eq!(decode(&[0; BLOCK], 7, 3), Block::Blank);
        assert_eq!(decode(&out, 7, 4), Block::Damaged, "at another place");
        assert_eq!(decode(&out, 8, 3), Block::Damaged, "in another file");
        assert_eq!(decode(&out[..100], 7, 3), Block::Damaged, "cut");
        for bit in 0..BLOCK * 8 {
            let mut flipped = out.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped, 7, 3), Block::Damaged, "bit {bit}");
        }
    }
}
