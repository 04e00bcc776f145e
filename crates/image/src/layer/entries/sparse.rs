//! Sparse files: GNU's old form, and the three in PAX headers (GNU tar manual, "Sparse Formats").
//!
//! What the archive has of such a file is its pieces, one after another; a map says where they belong.

use std::io::{self, Read};

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::pax::{Records, number};
use super::{BLOCK, invalid, spend};

/// Where the pieces of a file are.
#[derive(Debug)]
pub(super) struct Map {
    /// In order, none over another.
    pub(super) pieces: Vec<Piece>,
    /// The length of the file, holes included.
    pub(super) size: u64,
    /// Whether the pieces stand at the beginning of the content, and have yet to be [read](Map::read).
    pub(super) is_in_content: bool,
}

/// A stretch that is no hole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Piece {
    pub(super) fn end(self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

impl Map {
    /// That of GNU's old form: in the header, and in the blocks that follow, which `block` gives.
    pub(super) fn of_gnu(
        header: &Header,
        mut budget: u64,
        mut block: impl FnMut() -> io::Result<Option<[u8; BLOCK]>>,
    ) -> io::Result<Self> {
        let Some(gnu) = header.as_gnu() else {
            return Err(invalid("a sparse file without GNU's header".to_owned()));
        };
        let mut pieces = Vec::new();
        let mut add = |sparse: &[GnuSparseHeader]| -> io::Result<()> {
            for one in sparse.iter().filter(|one| !one.is_empty()) {
                pieces.push(Piece { offset: one.offset()?, length: one.length()? });
            }
            Ok(())
        };
        add(&gnu.sparse)?;
        let mut is_extended = gnu.is_extended();
        while is_extended {
            spend(&mut budget, BLOCK as u64)?;
            let Some(bytes) = block()? else { return Err(io::ErrorKind::UnexpectedEof.into()) };
            let mut more = GnuExtSparseHeader::new();
            more.as_mut_bytes().copy_from_slice(&bytes);
            add(more.sparse())?;
            is_extended = more.is_extended();
        }
        Ok(Self { pieces, size: gnu.real_size()?, is_in_content: false })
    }

    /// That of a file in PAX format, if it is a sparse one. Versions that are not known are none, as for
    /// everybody who knows no sparse files.
    pub(super) fn of_pax(records: &Records) -> io::Result<Option<Self>> {
        let (major, minor) = (records.get("GNU.sparse.major"), records.get("GNU.sparse.minor"));
        let is_in_content = match (major, minor) {
            (Some(b"1"), Some(b"0")) => true,
            (Some(b"0"), Some(b"0" | b"1")) => false,
            (None, None) if records.iter().any(|(name, _)| name.starts_with("GNU.sparse.")) => false,
            _ => return Ok(None),
        };
        let size = match records.number("GNU.sparse.realsize")? {
            Some(size) => Some(size),
            None => records.number("GNU.sparse.size")?,
        };
        let size = size.ok_or_else(|| malformed("without a length"))?;
        let mut numbers = Vec::new();
        if !is_in_content {
            if let Some(map) = records.get("GNU.sparse.map") {
                numbers.extend(map.split(|&byte| byte == b','));
            } else {
                let of_pieces = ["GNU.sparse.offset", "GNU.sparse.numbytes"];
                let mut expected = of_pieces.iter().cycle();
                for (name, value) in records.iter().filter(|(name, _)| of_pieces.contains(name)) {
                    if expected.next() != Some(&name) {
                        return Err(malformed("whose offsets and lengths do not alternate"));
                    }
                    numbers.push(value);
                }
            }
        }
        let numbers =
            numbers.into_iter().map(|text| number(text).ok_or_else(|| malformed("with words for numbers")));
        let pieces = pieces(&numbers.collect::<io::Result<Vec<_>>>()?)?;
        Ok(Some(Self { pieces, size, is_in_content }))
    }

    /// Reads the map that stands before the content: the number of pieces, and offset and length of each,
    /// a line each number; the last block is filled.
    pub(super) fn read(self, content: &mut impl Read, mut budget: u64) -> io::Result<Self> {
        let mut numbers: Vec<u64> = Vec::new();
        let mut wanted = None;
        let mut digits: Vec<u8> = Vec::new();
        while wanted.is_none_or(|wanted| numbers.len() < wanted) {
            spend(&mut budget, BLOCK as u64)?;
            let mut block = [0; BLOCK];
            content.read_exact(&mut block)?;
            for &byte in &block {
                match byte {
                    b'\n' => {
                        let value = number(&digits).ok_or_else(|| malformed("with words for numbers"))?;
                        digits.clear();
                        match wanted {
                            None => {
                                let count =
                                    usize::try_from(value).ok().and_then(|count| count.checked_mul(2));
                                wanted = Some(count.ok_or_else(|| malformed("with too many pieces"))?);
                            }
                            Some(_) => numbers.push(value),
                        }
                        if wanted == Some(numbers.len()) {
                            break;
                        }
                    }
                    // The longest number has twenty digits.
                    _ if digits.len() < 20 => digits.push(byte),
                    _ => return Err(malformed("with words for numbers")),
                }
            }
        }
        Ok(Self { pieces: pieces(&numbers)?, is_in_content: false, ..self })
    }

    /// Whether the pieces are in order, within the file, and all that the archive has.
    pub(super) fn check(&self, stored: u64) -> io::Result<()> {
        let (mut end, mut sum) = (0_u64, 0_u64);
        for piece in &self.pieces {
            let is_in_order = piece.offset >= end;
            end = piece
                .offset
                .checked_add(piece.length)
                .ok_or_else(|| malformed("with pieces out of range"))?;
            sum = sum.checked_add(piece.length).ok_or_else(|| malformed("with pieces out of range"))?;
            if !is_in_order || end > self.size {
                return Err(malformed("whose pieces are out of order or out of range"));
            }
        }
        if sum != stored {
            return Err(malformed("whose pieces are not what the archive has of it"));
        }
        Ok(())
    }

    /// Bytes that are in no piece.
    pub(super) fn holes(&self) -> u64 {
        let stored = self.pieces.iter().fold(0_u64, |sum, piece| sum.saturating_add(piece.length));
        self.size.saturating_sub(stored)
    }
}

fn pieces(numbers: &[u64]) -> io::Result<Vec<Piece>> {
    match numbers.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|&[offset, length]| Piece { offset, length }).collect()),
        _ => Err(malformed("with an offset without a length")),
    }
}

fn malformed(what: &str) -> io::Error {
    invalid(format!("a sparse file {what}"))
}
