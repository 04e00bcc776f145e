//! Process 1 of a process namespace that several containers share: reaps orphans, does nothing else.

use std::ffi::OsString;
use std::process::ExitCode;

/// The program `gantry init`.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let _ = args.into_iter();
    todo!()
}
