//! Docker Engine HTTP API over the engine.
//!
//! What `docker` and every other client of the Engine API speak, versions 1.24 to 1.51, on a
//! stream socket that the binary has bound, or over TCP ([`Listener`]). A request goes through [`router`] (which endpoint, in
//! which version), one file per endpoint (`containers/…`, `images/…`, …), [`convert`] (Docker's
//! documents to the engine's types and back) and into the [`engine::Engine`]; nothing else is
//! asked and no state is kept here, so that any number of services may stand before one engine.
//!
//! - [`wire`] is the only place that knows how Docker writes its JSON.
//! - [`fault`] has the one function from kinds of failure to status codes.
//! - [`hijack`] turns a request into a two-way stream (`attach`, `exec`), [`framing`] has its format.
#![forbid(unsafe_code)]

mod answer;
mod body;
mod browser;
mod build;
mod call;
mod containers;
mod convert;
mod detach;
mod events;
mod exec;
mod fault;
mod filters;
mod framing;
mod go_json;
mod gone;
mod hijack;
mod images;
mod listener;
mod names;
mod networks;
mod query;
mod router;
mod serve;
mod size;
mod socket;
mod strangers;
mod swarm;
mod system;
mod version;
mod volumes;
mod when;
mod wire;
mod words;

pub use listener::Listener;
pub use serve::{About, Service, serve};
