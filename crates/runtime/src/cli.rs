//! The OCI runtime's command line, with the commands and flags that runc and crun have.

use std::ffi::OsString;
use std::process::ExitCode;

/// The program `gantry runtime …`; `args` are those after `runtime`.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let _ = args.into_iter();
    todo!()
}
