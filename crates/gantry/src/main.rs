//! The `gantry` binary: command line, configuration, and the list of services.
//!
//! Three roles are told apart before anything else is set up, because processes in them live beside
//! every container and must stay small: `gantry shim`, `gantry init` and `gantry runtime` go straight
//! to the synchronous [`runtime`] crate. All other commands are in [`cli`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

mod cli;
mod config;
mod services;

fn main() -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    match arguments.get(1).and_then(|role| role.to_str()) {
        Some("shim") => runtime::shim::main(&arguments[2..]),
        Some("init") => runtime::init::main(&arguments[2..]),
        Some("runtime") => runtime::cli::main(&arguments[2..]),
        _ => cli::main(),
    }
}
