//! Archives: entries are removed, doubled, exchanged, their headers changed, and checksums stay right.

use fastrand::Rng;

const BLOCK: usize = 512;
const CHECKSUM: std::ops::Range<usize> = 148..156;
/// The fields of a header that mean something: name, mode, owner, group, size, time, kind, link, magic,
/// names, device and prefix.
const FIELDS: [(usize, usize); 13] = [
    (0, 100),
    (100, 8),
    (108, 8),
    (116, 8),
    (124, 12),
    (136, 12),
    (156, 1),
    (157, 100),
    (257, 8),
    (265, 32),
    (329, 8),
    (337, 8),
    (345, 155),
];
const KINDS: &[u8] = b"01234567gxLKSVDNAM\0";
const NAMES: [&str; 16] = [
    "a",
    "a/b",
    "a/b/c",
    "../x",
    "/x",
    "a/../../x",
    ".",
    "..",
    "a/.",
    "link",
    "link/x",
    ".wh.a",
    "a/.wh..wh..opq",
    ".wh..",
    ".wh.",
    "a//b/",
];
const NUMBERS: [&str; 8] = [
    "00000000000",
    "00000000017",
    "77777777777",
    "-0000000001",
    "           ",
    "0000001750\0",
    "00000004000",
    "9",
];
const LONGEST: usize = 64 << 10;

pub(super) fn change(input: &[u8], other: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let mut archive = input.to_vec();
    let headers = headers(&archive);
    if headers.is_empty() {
        return None;
    }
    let at = headers[rng.usize(..headers.len())];
    let end = at + BLOCK + content(&archive[at..at + BLOCK]).min(archive.len() - at - BLOCK);
    match rng.u8(..8) {
        0 => drop(archive.drain(at..end)),
        1 => {
            let entry = archive[at..end].to_vec();
            archive.splice(at..at, entry);
        }
        2 => {
            let theirs = self::headers(other);
            if theirs.is_empty() {
                return None;
            }
            let from = theirs[rng.usize(..theirs.len())];
            let until = from + BLOCK + content(&other[from..from + BLOCK]).min(other.len() - from - BLOCK);
            archive.splice(at..at, other[from..until].iter().copied());
        }
        // What an extension says, or a file holds.
        3 if end > at + BLOCK => {
            let place = rng.usize(at + BLOCK..end);
            archive[place] = rng.u8(..);
        }
        _ => {
            let (start, length) = FIELDS[rng.usize(..FIELDS.len())];
            let field = &mut archive[at + start..at + start + length];
            match (length, rng.u8(..4)) {
                (1, _) => field[0] = KINDS[rng.usize(..KINDS.len())],
                (8 | 12, 0..=2) => put(field, NUMBERS[rng.usize(..NUMBERS.len())].as_bytes()),
                // Numbers of 256 as GNU writes them.
                (8 | 12, _) => {
                    field.fill_with(|| rng.u8(..));
                    field[0] = 0x80 | (field[0] & 1);
                }
                (_, 0..=2) => put(field, NAMES[rng.usize(..NAMES.len())].as_bytes()),
                _ => field[rng.usize(..length)] = rng.u8(..),
            }
            let field = &mut archive[at..at + BLOCK];
            field[CHECKSUM].fill(b' ');
            let sum: u32 = field.iter().map(|byte| u32::from(*byte)).sum();
            field[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    (archive.len() <= LONGEST).then_some(archive)
}

fn put(field: &mut [u8], text: &[u8]) {
    field.fill(0);
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// Where the headers are.
fn headers(archive: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(header) = archive.get(at..at + BLOCK) {
        if header.iter().any(|byte| *byte != 0) {
            found.push(at);
        }
        at += BLOCK + content(header);
    }
    found
}

/// How long what follows a header is, with what fills its last block.
fn content(header: &[u8]) -> usize {
    let text = std::str::from_utf8(&header[124..136]).unwrap_or_default();
    let size = usize::from_str_radix(text.trim_matches(['\0', ' ']), 8).unwrap_or_default();
    size.min(LONGEST).next_multiple_of(BLOCK)
}
