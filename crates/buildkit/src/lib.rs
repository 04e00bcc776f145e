//! BuildKit's services over a connection, and its clients' services over their sessions.
//!
//! A front hands connections over. Over one that a client wants to call on, [`BuildKit::serve`] answers:
//! `moby.buildkit.v1.Control` ([`control`]), which begins builds, and `moby.buildkit.v1.frontend.LLBBridge`
//! ([`bridge`]), by which a client drives its own. Over one that a client wants to be called on,
//! [`BuildKit::hold_session`] keeps a session ([`sessions`]), which builds ask for files ([`transfer`]),
//! secrets, agents and credentials ([`session`]). What is done is [`build::solve`]'s.
//!
//! A client is not trusted with more than its own: builds and sessions belong to an [`Owner`], and nobody
//! else finds them by their names.
#![forbid(unsafe_code)]

mod aside;
mod bridge;
mod builds;
mod caps;
mod channel;
mod classic;
mod content;
mod control;
mod failure;
mod history;
mod progress;
mod service;
mod session;
mod sessions;
mod transfer;
mod wire;
mod worker;

pub use channel::Connection;
pub use classic::{Build, BuildFailed, Told};
pub use service::{About, BuildKit};
pub use sessions::{Introduction, Owner, SessionsError};
