//! Dockerfiles: text to instructions, what is to be said of them, and build definitions.
//!
//! [`build`] is the front end that BuildKit's clients know as `dockerfile.v0`: it takes a request's options, asks
//! through a [`Client`] for what it has to know, and gives the definition of each image with its configuration.
//! [`classic`] is the parser of the builder before BuildKit.
#![forbid(unsafe_code)]

pub mod classic;
mod client;
mod convert;
mod draft;
mod front;
mod git;
mod go;
pub mod ignore;
mod instruction;
mod lexer;
mod lint;
pub mod pattern;
mod suggest;
mod syntax;
#[cfg(test)]
mod testing;
pub mod words;

pub use client::{Answer, Client, ClientError, DockerfileSource, Replaced, ResolveOptions, ResolvedImage};
pub use convert::Env;
pub use draft::ranges;
pub use front::{Built, BuiltImage, FrontError, FrontRequest, build, is_same_language};
pub use lint::{Rule, Warning};
pub use syntax::Lines;

/// The version of the Dockerfile reference that is followed.
pub const REFERENCE: &str = "1.19.0";
