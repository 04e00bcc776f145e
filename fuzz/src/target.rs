//! What is fed.

use crate::Shape;

/// Something that reads bytes of others.
#[derive(Clone, Copy)]
pub struct Target {
    /// What it is asked for by.
    pub name: &'static str,
    /// What its bytes are.
    pub shape: Shape,
    /// Examples of what it reads.
    pub examples: fn() -> Vec<Vec<u8>>,
    /// Words that mean something to it.
    pub words: &'static [&'static str],
    /// Reads the bytes: whether it took them. Panics where it does what it must not.
    pub read: fn(&[u8]) -> bool,
    /// So many times it is fed where all are fed in turn: some seconds' worth.
    pub turns: u64,
}

/// Texts as examples.
pub(crate) fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
