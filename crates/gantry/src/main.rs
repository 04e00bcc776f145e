//! The `gantry` binary: command line, configuration, and the list of services.
//!
//! Three roles are told apart before anything else is set up, because processes in them live beside
//! every container and must stay small: `gantry shim`, `gantry init` and `gantry runtime` go straight
//! to the synchronous [`runtime`] crate. All other commands are in [`cli`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

mod access;
mod admission;
mod audit;
mod audit_log;
mod audit_webhook;
mod cli;
mod cluster_state;
mod config;
mod descriptors;
mod docker_listeners;
mod init_system;
mod log;
mod modules;
mod own_metrics;
mod plugs;
mod process_metrics;
mod reload;
mod runtimes;
mod scheduler;
mod serve;
mod services;

fn main() -> ExitCode {
    let role = std::env::args_os().nth(1);
    let rest = std::env::args_os().skip(2);
    match role.as_ref().and_then(|role| role.to_str()) {
        Some(role @ ("shim" | "init" | "runtime")) => {
            end_at_panics();
            match role {
                "shim" => runtime::shim::main(rest),
                "init" => runtime::init::main(rest),
                _ => runtime::cli::main(rest),
            }
        }
        _ => cli::main(),
    }
}

/// These roles clone processes that stand half in a container: in one of them, unwinding would go on
/// into what belongs to its parent.
fn end_at_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::abort();
    }));
}
