//! The runtime's own program, which does as on kernels before 6.17 whatever this one is.

#[path = "../../src/bin/gantry-runtime.rs"]
mod program;

fn main() -> std::process::ExitCode {
    runtime::ask_for_procfs_from_inside();
    program::main()
}
