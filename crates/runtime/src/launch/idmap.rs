//! Maps of users and groups of user namespaces.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::{ProcessError, prepare};
use crate::spec::{IdMapping, NamespaceKind};
use crate::sys::clone::{Cloned, clone3, exit_now};

/// Maps the users and groups of the namespace that the child `pid` has just made.
pub(super) fn write(pid: u32, users: &[IdMapping], groups: &[IdMapping]) -> Result<(), ProcessError> {
    for (file, mappings) in [("uid_map", users), ("gid_map", groups)] {
        let path = format!("/proc/{pid}/{file}");
        std::fs::write(&path, prepare::id_map(mappings))
            .map_err(|source| ProcessError::Host { what: format!("write `{path}`"), source })?;
    }
    Ok(())
}

/// A user namespace with these maps that no process lives in, for idmapped mounts.
pub(super) fn namespace(users: &[IdMapping], groups: &[IdMapping]) -> Result<OwnedFd, ProcessError> {
    let failed = |error| ProcessError::host("make a user namespace for an idmapped mount", error);
    // SAFETY: the caller has one thread; the child only waits to be killed.
    let (pid, pidfd) = match unsafe { clone3(NamespaceKind::User.flag(), None) }.map_err(failed)? {
        Cloned::Child => {
            // A parent that dies before it kills us must not leave us behind.
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            // SAFETY: waits for a signal; touches no memory.
            unsafe { libc::pause() };
            exit_now(0)
        }
        Cloned::Parent { pid, pidfd } => (pid, pidfd.expect("asked for a pidfd")),
    };
    let opened = write(pid, users, groups)
        .and_then(|()| File::open(format!("/proc/{pid}/ns/user")).map_err(failed).map(OwnedFd::from));
    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    opened
}
