//! The `gantry` binary: command line, configuration, and the list of services.
//!
//! Three roles are told apart before anything else is set up, because processes in them live beside
//! every container and must stay small: `gantry shim`, `gantry init` and `gantry runtime` go straight
//! to the synchronous [`runtime`] crate. All other commands are in [`cli`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

mod cli;
mod config;
mod init_system;
mod log;
mod modules;
mod plugs;
mod serve;
mod services;

fn main() -> ExitCode {
    let role = std::env::args_os().nth(1);
    let rest = std::env::args_os().skip(2);
    match role.as_ref().and_then(|role| role.to_str()) {
        Some("shim") => runtime::shim::main(rest),
        Some("init") => runtime::init::main(rest),
        Some("runtime") => runtime::cli::main(rest),
        _ => cli::main(),
    }
}
