//! The `shim` and `init` roles alone, picked by the first argument as the gantry binary does. The
//! engine's tests have their containers held by this.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let role = args.next().unwrap_or_default();
    match role.to_str() {
        Some("shim") => runtime::shim::main(args),
        Some("init") => runtime::init::main(args),
        _ => {
            eprintln!("usage: engine-roles shim|init …");
            ExitCode::from(2)
        }
    }
}
