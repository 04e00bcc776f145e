//! Build definitions as BuildKit's clients send them: parse, check and make only.
//!
//! [`pb`] has the messages as they are on the wire. [`Graph::read`] turns a [`Definition`] that
//! somebody sent into a graph of operations that holds what the rest relies on: every input is there,
//! inputs stand before what uses them, and nothing is larger than its [`Limits`]. [`Builder`] is the way
//! back: it makes a definition, operation by operation.
#![forbid(unsafe_code)]

mod builder;
mod check;
mod graph;
mod name;
pub mod pb;
mod weigh;

pub use builder::{Builder, Output};
pub use graph::{Edge, Graph, Limits, ReadError, Vertex};
pub use pb::{Definition, Op, OpMetadata};

/// The key of an operation's description that has the name to show for it.
pub const CUSTOM_NAME: &str = "llb.customname";

/// The value of an input's number that stands for no input: an empty directory.
pub const EMPTY: i64 = -1;

/// The value of a mount's output that says that what is written there is not kept.
pub const SKIP_OUTPUT: i64 = -1;
