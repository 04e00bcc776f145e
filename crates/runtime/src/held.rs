//! A process held by its directory in procfs, whose number cannot be taken over meanwhile.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};

use crate::spec::NamespaceKind;
use crate::sys::process::{parent, parse_start_time};

/// A process that is looked into: by number and start it was found, by descriptor it is held.
///
/// What is opened through this is of that process or an error: once it has ended, its directory
/// is empty for good, whoever gets its number.
#[derive(Debug)]
pub struct HeldProcess {
    directory: OwnedFd,
    pid: u32,
}

/// A namespace of a process, open.
#[derive(Debug)]
pub struct HeldNamespace {
    /// Where it was found, for people.
    pub path: PathBuf,
    /// The namespace.
    pub fd: OwnedFd,
}

impl HeldProcess {
    /// The process `pid` that started at `start_time` (clock ticks since boot); `NotFound` if that
    /// one has gone.
    pub fn hold(pid: u32, start_time: u64) -> io::Result<Self> {
        let held = Self::any(pid)?;
        match parse_start_time(&held.read("stat")?) {
            Some(started) if started == start_time => Ok(held),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The process `pid`, which must be a child of process `of`, and process 1 of its namespace.
    pub(crate) fn init_of(pid: u32, of: u32) -> io::Result<Self> {
        let held = Self::any(pid)?;
        let first = |status: String| {
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:").map(str::to_owned));
            numbers.is_some_and(|numbers| numbers.split_whitespace().last() == Some("1"))
        };
        if parent(&held.read("stat")?) == Some(of) && first(held.read("status")?) {
            Ok(held)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// The process `pid`, which must be in the cgroup `group` or below it; `NotFound` where it is not,
    /// for example because another has got its number.
    pub fn in_group(pid: u32, group: &Path) -> io::Result<Self> {
        let held = Self::any(pid)?;
        let is_in =
            |line: &str| line.splitn(3, ':').nth(2).is_some_and(|path| Path::new(path).starts_with(group));
        if held.read("cgroup")?.lines().any(is_in) { Ok(held) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Its namespace of this kind.
    pub fn namespace(&self, kind: NamespaceKind) -> io::Result<HeldNamespace> {
        let name = format!("ns/{}", kind.file());
        let path = PathBuf::from(format!("/proc/{}/{name}", self.pid));
        let fd = openat(&self.directory, &name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(HeldNamespace { path, fd })
    }

    /// Its root directory, as a place (`O_PATH`).
    pub fn root(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat(&self.directory, "root", flags, Mode::empty())?)
    }

    /// The text of one of the files in its directory, for example `net/dev`.
    pub fn read(&self, name: &str) -> io::Result<String> {
        let mut text = String::new();
        self.open(name)?.read_to_string(&mut text)?;
        Ok(text)
    }

    /// The first `limit` bytes of what it was called with, each argument ended by a zero.
    pub fn arguments(&self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open("cmdline")?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The user that it runs as.
    pub fn user(&self) -> io::Result<u32> {
        Ok(statat(&self.directory, "", AtFlags::EMPTY_PATH)?.st_uid)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        Ok(openat(&self.directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into())
    }

    fn any(pid: u32) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { directory: openat(CWD, format!("/proc/{pid}"), flags, Mode::empty())?, pid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::start_time;

    #[test]
    fn a_process_that_has_ended_gives_nothing_whoever_has_its_number() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("run sleep");
        let started = start_time(child.id()).expect("it lives");
        assert!(HeldProcess::hold(child.id(), started + 1).is_err(), "another process of that number");
        let held = HeldProcess::hold(child.id(), started).expect("it lives");
        held.root().expect("its root");
        held.namespace(NamespaceKind::Network).expect("its network");
        child.kill().expect("kill");
        child.wait().expect("reap");
        assert!(held.root().is_err() && held.read("stat").is_err());
        assert!(held.namespace(NamespaceKind::Network).is_err());
    }

    #[test]
    fn a_process_of_another_group_is_not_taken_for_one_of_the_group() {
        let own = std::process::id();
        let groups = std::fs::read_to_string("/proc/self/cgroup").expect("the own groups");
        let group = groups.lines().find_map(|line| line.splitn(3, ':').nth(2)).expect("one of them");
        let held = HeldProcess::in_group(own, Path::new(group)).expect("it is in its own");
        assert!(held.arguments(4).is_ok_and(|bytes| bytes.len() == 4));
        assert_eq!(held.user().expect("a user"), rustix::process::geteuid().as_raw());
        let below = Path::new(group).join("of-a-container");
        assert!(HeldProcess::in_group(own, &below).is_err());
        let beside = format!("{}x", group.trim_end_matches('/'));
        assert!(group == "/" || HeldProcess::in_group(own, Path::new(&beside)).is_err());
    }

    #[test]
    fn process_one_of_a_sandbox_is_told_by_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("run sleep");
        assert!(HeldProcess::init_of(child.id(), std::process::id()).is_err(), "it is not process 1");
        child.kill().expect("kill");
        child.wait().expect("reap");
    }
}
