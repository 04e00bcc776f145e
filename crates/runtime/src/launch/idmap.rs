//! Maps of users and groups of user namespaces.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::{ProcessError, prepare};
use crate::spec::{IdMapping, NamespaceKind, Process};
use crate::sys::clone::{Cloned, clone3, exit_now};

/// A process that does nothing but hold new namespaces, until it is dropped.
pub(crate) struct Holder {
    pid: u32,
    pidfd: OwnedFd,
}

/// How users and groups inside of a namespace are counted outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Maps {
    pub(super) users: Vec<IdMapping>,
    pub(super) groups: Vec<IdMapping>,
}

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
    Holder::start(0, users, groups)?.namespace(NamespaceKind::User)
}

impl Holder {
    /// Makes a user namespace with these maps, and namespaces of the kinds in `flags`, which it owns.
    ///
    /// The caller has one thread.
    pub(crate) fn start(flags: u64, users: &[IdMapping], groups: &[IdMapping]) -> Result<Self, ProcessError> {
        let failed = |error| ProcessError::host("make a user namespace", error);
        // SAFETY: the caller has one thread; the child only waits to be killed.
        match unsafe { clone3(NamespaceKind::User.flag() | flags, None) }.map_err(failed)? {
            Cloned::Child => {
                // A parent that dies before it kills us must not leave us behind.
                let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
                // SAFETY: waits for a signal; touches no memory.
                unsafe { libc::pause() };
                exit_now(0)
            }
            Cloned::Parent { pid, pidfd } => {
                let holder = Self { pid, pidfd: pidfd.expect("asked for a pidfd") };
                write(pid, users, groups)?;
                Ok(holder)
            }
        }
    }

    /// One of the namespaces.
    pub(crate) fn namespace(&self, kind: NamespaceKind) -> Result<OwnedFd, ProcessError> {
        // Our own child, which has not been waited for: nobody else has its number.
        File::open(format!("/proc/{}/ns/{}", self.pid, kind.file()))
            .map(OwnedFd::from)
            .map_err(|error| ProcessError::host("open a new namespace", error))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

impl Maps {
    /// Those of the user namespace that the process `pid` is in.
    pub(super) fn of_process(pid: u32) -> Result<Self, ProcessError> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            let text = std::fs::read_to_string(&path);
            text.and_then(|text| parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into()))
                .map_err(|source| ProcessError::Host { what: format!("read `{path}`"), source })
        };
        Ok(Self { users: read("uid_map")?, groups: read("gid_map")? })
    }

    /// Who root of the namespace is outside, as user and group.
    pub(super) fn root(&self) -> Option<(u32, u32)> {
        self.outside(0, 0)
    }

    /// Who somebody inside is outside, as user and group.
    pub(super) fn outside(&self, user: u32, group: u32) -> Option<(u32, u32)> {
        Some((outside(&self.users, user)?, outside(&self.groups, group)?))
    }

    /// Checks that there is somebody outside for whoever `process` runs as: the kernel refuses
    /// others too, without saying whom.
    pub(super) fn check(&self, process: &Process) -> Result<(), ProcessError> {
        let (uid, gid) = (process.user.uid, process.user.gid);
        if outside(&self.users, uid).is_none() {
            return Err(ProcessError::invalid(format!(
                "cannot setuid to unmapped uid {uid} in user namespace"
            )));
        }
        let groups = std::iter::once(&gid).chain(&process.user.additional_gids);
        match groups.into_iter().find(|gid| outside(&self.groups, **gid).is_none()) {
            Some(gid) => {
                Err(ProcessError::invalid(format!("cannot setgid to unmapped gid {gid} in user namespace")))
            }
            None => Ok(()),
        }
    }
}

fn outside(mappings: &[IdMapping], id: u32) -> Option<u32> {
    mappings.iter().find_map(|mapping| {
        let offset = id.checked_sub(mapping.container_id).filter(|offset| *offset < mapping.size)?;
        mapping.host_id.checked_add(offset)
    })
}

fn parse(text: &str) -> Option<Vec<IdMapping>> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
        let (container_id, host_id, size) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some(IdMapping { container_id, host_id, size })
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_inside_are_found_outside_or_not_at_all() {
        let users = parse("         0     200000      65536\n     70000 5 2\n").expect("a map");
        assert_eq!(outside(&users, 0), Some(200_000));
        assert_eq!(outside(&users, 65_535), Some(265_535));
        assert_eq!(outside(&users, 65_536), None);
        assert_eq!(outside(&users, 70_001), Some(6));
        assert_eq!(outside(&users, u32::MAX), None);
        assert!(parse("0 x 1").is_none() && parse("0 1").is_none());
    }

    #[test]
    fn who_is_not_mapped_is_named() {
        let map = vec![IdMapping { container_id: 0, host_id: 200_000, size: 65_536 }];
        let maps = Maps { users: map.clone(), groups: map };
        let mut process = Process::default();
        maps.check(&process).expect("root is mapped");
        process.user.additional_gids = vec![5, 70_000];
        let told = maps.check(&process).expect_err("a group is not").to_string();
        assert_eq!(told, "cannot setgid to unmapped gid 70000 in user namespace");
        process.user.uid = 65_536;
        let told = maps.check(&process).expect_err("the user is not").to_string();
        assert_eq!(told, "cannot setuid to unmapped uid 65536 in user namespace");
    }
}
