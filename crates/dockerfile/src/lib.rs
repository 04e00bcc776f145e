//! Dockerfiles: from text to LLB and an image's configuration, with checks.
#![forbid(unsafe_code)]

pub mod classic;
mod go;
pub mod ignore;
mod lexer;
pub mod pattern;
mod suggest;
mod syntax;
pub mod words;

pub use syntax::Lines;
