//! The roles that the engine starts this binary in: stands in for the whole program in the tests of
//! this crate, whose builds have containers.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(|role| role.to_str()) {
        Some("shim") => runtime::shim::main(arguments),
        Some("init") => runtime::init::main(arguments),
        _ => ExitCode::from(2),
    }
}
