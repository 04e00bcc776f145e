//! What nodes and pods tell in numbers: asked when somebody wants it, kept for a while.
//!
//! [`Nodes`] has what nodes and their containers use of processors and memory, [`Pages`] what programs in pods
//! tell of themselves. Both ask by a function that they are given, in Prometheus' text form ([`text`]), and only
//! when somebody wants to know: as long as nobody does, nothing is asked, and what was kept is forgotten. Whoever
//! tells is not trusted: a page has bounds, and so has what is kept of all of them.
//!
//! What is not here: HTTP, files, Kubernetes' objects, and when to ask.
#![forbid(unsafe_code)]

mod nodes;
mod pages;
pub mod text;
pub mod usage;

pub use nodes::Nodes;
pub use pages::{Pages, Program, TellError, Value};
