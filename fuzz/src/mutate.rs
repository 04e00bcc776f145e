//! Changes of bytes.

use fastrand::Rng;

use crate::Target;
use crate::shape::number;

/// Inputs grow no longer than this.
const LONGEST: usize = 256 << 10;
/// So many changes are made to one input, at most.
const MOST: usize = 6;

/// A changed `input`; `other` may lend something.
pub(crate) fn change(target: &Target, input: &[u8], other: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut changed = input.to_vec();
    for _ in 0..rng.usize(1..=MOST) {
        let shaped = if rng.u8(..4) > 0 { target.shape.change(&changed, other, rng) } else { None };
        match shaped {
            Some(shaped) => changed = shaped,
            None => change_bytes(&mut changed, other, target.words, rng),
        }
    }
    changed.truncate(LONGEST);
    changed
}

fn change_bytes(bytes: &mut Vec<u8>, other: &[u8], words: &[&str], rng: &mut Rng) {
    let length = bytes.len();
    let at = rng.usize(..=length);
    let some = |rng: &mut Rng| {
        let most = if rng.bool() { 4 } else { 64 };
        rng.usize(..=most.min(length - at))
    };
    match rng.u8(..12) {
        0 if at < length => bytes[at] ^= 1 << rng.u8(..8),
        1 if at < length => bytes[at] = rng.u8(..),
        2 if at < length => bytes[at] = bytes[at].wrapping_add(rng.u8(..8)).wrapping_sub(4),
        3 => drop(bytes.drain(at..at + some(rng))),
        4 => {
            let piece = bytes[at..at + some(rng)].to_vec();
            let to = rng.usize(..=length);
            let most = if rng.u8(..8) == 0 { 64 } else { 3 };
            for _ in 0..rng.usize(1..most) {
                bytes.splice(to..to, piece.iter().copied());
            }
        }
        5 if !other.is_empty() => {
            let from = rng.usize(..other.len());
            let until = from + rng.usize(..=(other.len() - from).min(128));
            let end = at + if rng.bool() { some(rng) } else { 0 };
            bytes.splice(at..end, other[from..until].iter().copied());
        }
        6..=8 if !words.is_empty() => {
            let word = words[rng.usize(..words.len())].as_bytes();
            let end = at + if rng.bool() { 0 } else { word.len().min(length - at) };
            bytes.splice(at..end, word.iter().copied());
        }
        // A number, as binary formats have them.
        9 => {
            let width = [1, 2, 4, 8][rng.usize(..4)];
            let value = number(rng);
            let number = if rng.bool() {
                value.to_be_bytes()[8 - width..].to_vec()
            } else {
                value.to_le_bytes()[..width].to_vec()
            };
            for (place, byte) in bytes[at..].iter_mut().zip(number) {
                *place = byte;
            }
        }
        10 => bytes.truncate(at),
        _ => {
            let byte = if rng.bool() { rng.u8(b' '..=b'~') } else { rng.u8(..) };
            bytes.insert(at, byte);
        }
    }
}
