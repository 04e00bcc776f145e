//! Feeds what reads bytes of others with made-up ones, and looks whether it bears them.
//!
//! A [`Target`] is a function of bytes with examples of what it reads. [`fn@run`] changes the examples, by bytes
//! and by the [`Shape`] that they have, and calls the function: a panic is a find, and so is more memory than
//! an input of that length can want. Where the crates were built to count what they go through (`cargo xtask
//! fuzz` does so), inputs that reach something new are kept and changed further; otherwise those that the
//! target took.
//!
//! Everything follows from a seed: the same seed, the same inputs.
#![forbid(unsafe_code)]

mod coverage;
mod mutate;
mod run;
mod shape;
mod target;
mod targets;

pub use run::{Found, Limit, Options, Report, run};
pub use shape::Shape;
pub use target::Target;
pub use targets::all;

/// Counts what is allocated, and refuses more than an input may cost.
#[global_allocator]
static ALLOCATED: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);
