//! From text to nodes: an instruction's keyword, flags and words, with the comments before it and the
//! here-documents after it. What the words mean is for [`crate::instruction`].

mod directives;
mod heredoc;
mod lines;
mod split;
#[cfg(test)]
mod tests;

pub(crate) use directives::{directive, syntax_of};
pub(crate) use heredoc::{Heredoc, chomp, heredoc};
pub(crate) use lines::parse;

/// Lines of a Dockerfile, from 1, both of them included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lines {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
}

/// A Dockerfile taken apart.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Syntax {
    pub(crate) nodes: Vec<Node>,
    /// The character that escapes and continues lines.
    pub(crate) escape: char,
    /// Where instructions have empty lines in them.
    pub(crate) empty_continuations: Vec<Lines>,
}

/// An instruction taken apart.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Node {
    /// As written.
    pub(crate) keyword: String,
    /// The words before the arguments that begin with two dashes.
    pub(crate) flags: Vec<String>,
    pub(crate) arguments: Arguments,
    /// The whole, continuation lines joined.
    pub(crate) original: String,
    pub(crate) heredocs: Vec<Heredoc>,
    /// The comments right before it, without their `#`.
    pub(crate) comments: Vec<String>,
    pub(crate) lines: Lines,
}

/// What stands after keyword and flags.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) words: Vec<String>,
    /// Whether they were written as a JSON array.
    pub(crate) is_json: bool,
}

/// Why a text cannot be taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SyntaxError {
    pub(crate) problem: String,
    pub(crate) lines: Lines,
}

impl Lines {
    /// One line.
    pub fn at(line: u32) -> Self {
        Self { first: line, last: line }
    }
}
