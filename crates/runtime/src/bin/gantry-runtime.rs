//! The runtime alone, without the engine: `gantry-runtime runtime …`, and the hidden roles `shim`
//! and `init`, picked by the first argument as the gantry binary does. The tests run this.

use std::process::ExitCode;

pub(crate) fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let role = args.next().unwrap_or_default();
    match role.to_str() {
        Some("shim") => runtime::shim::main(args),
        Some("init") => runtime::init::main(args),
        Some("runtime") => runtime::cli::main(args),
        _ => {
            eprintln!("usage: gantry-runtime runtime COMMAND");
            ExitCode::from(2)
        }
    }
}
