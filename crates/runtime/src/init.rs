//! Process 1 of a process namespace that several containers share: reaps orphans, does nothing else.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{WaitOptions, wait};

use crate::sys::signal;

/// The program `gantry init`. Goes on until it is killed, which its shim's end does.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    if args.into_iter().next().is_some() || std::process::id() != 1 {
        eprintln!("gantry init: is started by a shim, as process 1 of a sandbox");
        return ExitCode::from(2);
    }
    // Made before the first look, so that no orphan ends unnoticed between a look and a wait.
    let orphans = match signal::descriptor(&[libc::SIGCHLD]) {
        Ok(orphans) => orphans,
        Err(error) => {
            eprintln!("gantry init: wait for orphans: {error}");
            return ExitCode::FAILURE;
        }
    };
    loop {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        // Interrupted or ready, there is one thing to do: look again.
        let _ = poll(&mut [PollFd::new(&orphans, PollFlags::IN)], None);
        signal::take(orphans.as_fd());
    }
}
