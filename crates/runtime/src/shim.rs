//! One small process per sandbox that holds its containers, whatever happens to the daemon.
//!
//! A shim lives in the sandbox's shared namespaces, so `/proc/<shim>/ns/net` is the sandbox's
//! network; containers inherit what they do not ask to be new. It keeps their standard streams,
//! writes their logs, waits for them and keeps how they ended. It goes on until it is told
//! [`protocol::Request::Shutdown`]; if it is killed, its containers are killed by the kernel.
//!
//! It never waits: not for a process that it starts or kills, not for who asks, not for a hook.
//! Whatever happens, and a clock, takes each of these a step further, and whoever asked is answered
//! when it is done or has taken too long.
//!
//! The engine starts one with [`fn@launch`] and talks to it over its socket in the words of
//! [`protocol`]; [`Client`] does so synchronously.

pub mod protocol;

pub mod address;
mod backlog;
mod become_shim;
mod client;
mod container;
pub mod descriptors;
mod ending;
mod ends;
mod launch;
mod launching;
mod log;
mod notes;
mod peer;
mod process;
mod requests;
mod server;
mod settle;
mod stopping;
mod streams;

use std::ffi::OsString;
use std::process::ExitCode;

pub use client::{Client, ClientError, Connection};
pub use launch::{LaunchError, LaunchSpec, Network, ShimHandle, find_processes, launch};

/// The file below `<state dir>/<container>/` that says how a container ended, as
/// [`protocol::ExitStatus`]; written before the exit is announced.
pub const EXIT_FILE: &str = "exit.json";

/// What a shim calls itself, followed by the beginning of its sandbox's name.
const NAME: &str = "gantry-shim";

/// How a shim shows in lists of processes.
fn title(id: &str) -> String {
    format!("{NAME} {}", id.get(..12).unwrap_or(id))
}

/// The program `gantry shim …`; `args` are those after `shim`.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    become_shim::main(args)
}
