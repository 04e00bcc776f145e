//! Detach keys: the sequence that ends an attached session while the process goes on.

use bytes::{Bytes, BytesMut};

use crate::fault::Fault;

/// Watches what a client types for the detach sequence.
#[derive(Clone, Debug)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

/// What was found in a piece of input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Input for the process (perhaps empty, while a sequence may still be coming).
    Input(Bytes),
    /// Input that came before the sequence; the session ends.
    Detach(Bytes),
}

impl DetachKeys {
    /// Reads `ctrl-p,ctrl-q` and the like; the empty text means just these two.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        if text.is_empty() {
            return Ok(Self { keys: vec![16, 17], matched: 0 });
        }
        let keys = text.split(',').map(key).collect::<Option<Vec<u8>>>();
        match keys {
            Some(keys) => Ok(Self { keys, matched: 0 }),
            None => Err(Fault::invalid(format!("invalid detach keys ({text}): unknown character"))),
        }
    }

    /// Takes a piece of input. The keys of an unfinished sequence are held back, and let through
    /// when the sequence is not completed.
    pub(crate) fn read(&mut self, piece: &[u8]) -> Typed {
        let mut passed = BytesMut::with_capacity(piece.len() + self.matched);
        for &byte in piece {
            if byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return Typed::Detach(passed.freeze());
                }
                continue;
            }
            passed.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if byte == self.keys[0] && self.keys.len() > 1 {
                self.matched = 1;
            } else {
                passed.extend_from_slice(&[byte]);
            }
        }
        Typed::Input(passed.freeze())
    }
}

fn key(text: &str) -> Option<u8> {
    let bytes = text.as_bytes();
    if let [byte] = bytes {
        return Some(*byte);
    }
    match text.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        b"@" => Some(0),
        b"[" => Some(27),
        b"\\" => Some(28),
        b"]" => Some(29),
        b"^" => Some(30),
        b"_" => Some(31),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(keys: &str, pieces: &[&'static str], passed: &str, detached: bool) {
        let mut watch = DetachKeys::parse(keys).expect("keys");
        let mut through = Vec::new();
        for piece in pieces {
            match watch.read(piece.as_bytes()) {
                Typed::Input(bytes) => through.extend_from_slice(&bytes),
                Typed::Detach(bytes) => {
                    through.extend_from_slice(&bytes);
                    assert!(detached, "detached by {pieces:?}");
                    assert_eq!(String::from_utf8_lossy(&through), passed);
                    return;
                }
            }
        }
        assert!(!detached, "not detached by {pieces:?}");
        assert_eq!(String::from_utf8_lossy(&through), passed);
    }

    #[test]
    fn the_usual_sequence_detaches_however_it_is_cut() {
        check("", &["ls\n\x10\x11rest"], "ls\n", true);
        check("", &["ls\n\x10", "\x11"], "ls\n", true);
    }

    #[test]
    fn an_unfinished_sequence_reaches_the_process() {
        check("", &["\x10", "x"], "\x10x", false);
        check("", &["\x10\x10\x11"], "\x10", true);
    }

    #[test]
    fn other_keys_can_be_chosen() {
        check("ctrl-a,d", &["abc\x01d"], "abc", true);
        check("q", &["abq"], "ab", true);
        assert!(DetachKeys::parse("ctrl-ö").is_err());
        assert!(DetachKeys::parse("a,,b").is_err());
    }
}
