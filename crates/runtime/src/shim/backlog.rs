//! What a process wrote before anybody attached.

use std::collections::VecDeque;

use super::log::Stream;

/// No piece is longer, so that each is one frame.
const PIECE: usize = 32 << 10;

/// The newest output of a process to whom nobody has attached yet.
#[derive(Debug)]
pub(super) struct Backlog {
    limit: usize,
    size: usize,
    pieces: VecDeque<(Stream, Vec<u8>)>,
}

impl Backlog {
    /// Keeps so many bytes at most; nothing keeps none.
    pub(super) fn new(limit: u32) -> Option<Self> {
        let limit = usize::try_from(limit).ok().filter(|&limit| limit > 0)?;
        Some(Self { limit, size: 0, pieces: VecDeque::new() })
    }

    /// Adds what was read at once, and lets go of what is too old to be kept with it.
    pub(super) fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let fits = |last: &(Stream, Vec<u8>)| last.0 == stream && last.1.len() + bytes.len() <= PIECE;
        match self.pieces.back_mut().filter(|last| fits(last)) {
            Some((_, last)) => last.extend_from_slice(bytes),
            None => self.pieces.push_back((stream, bytes.to_vec())),
        }
        self.size += bytes.len();
        while self.size > self.limit
            && let Some((_, oldest)) = self.pieces.front_mut()
        {
            let excess = (self.size - self.limit).min(oldest.len());
            oldest.drain(..excess);
            self.size -= excess;
            if oldest.is_empty() {
                self.pieces.pop_front();
            }
        }
    }

    /// What is kept, in order.
    pub(super) fn into_pieces(self) -> impl Iterator<Item = (Stream, Vec<u8>)> {
        self.pieces.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(limit: u32, written: &[(Stream, &str)], expected: &[(Stream, &str)]) {
        let mut backlog = Backlog::new(limit).expect("a limit");
        written.iter().for_each(|(stream, text)| backlog.push(*stream, text.as_bytes()));
        assert!(backlog.size <= backlog.limit);
        let kept: Vec<_> = backlog
            .into_pieces()
            .map(|(stream, bytes)| (stream, String::from_utf8(bytes).expect("text")))
            .collect();
        let kept: Vec<_> = kept.iter().map(|(stream, text)| (*stream, text.as_str())).collect();
        assert_eq!(kept, expected);
    }

    #[test]
    fn what_was_written_last_is_kept_in_order() {
        use Stream::{Stderr, Stdout};
        let written = [(Stdout, "one "), (Stdout, "two "), (Stderr, "wrong "), (Stdout, "three")];
        check(100, &written, &[(Stdout, "one two "), (Stderr, "wrong "), (Stdout, "three")]);
        check(13, &written, &[(Stdout, "o "), (Stderr, "wrong "), (Stdout, "three")]);
        check(2, &written, &[(Stdout, "ee")]);
        let long = "x".repeat(PIECE);
        check(1 << 20, &[(Stdout, "a"), (Stdout, &long)], &[(Stdout, "a"), (Stdout, &long)]);
        assert!(Backlog::new(0).is_none());
    }
}
