//! Being told when memory runs out.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::{Cgroup, Version, read_pairs, write};

/// Becomes readable when a control group runs out of memory.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
}

impl OomWatch {
    /// Makes it unreadable again, until the next time.
    pub fn clear(&self) {
        let mut buffer = [0u8; 512];
        // Whatever there is to read: a counter on v1, records of changes on v2.
        let _ = rustix::io::read(&self.fd, &mut buffer);
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How often the kernel killed a process of the group.
pub(super) fn kills(cgroup: &Cgroup) -> u64 {
    let (directory, file) = match cgroup.hierarchies.version() {
        Version::V2 => (cgroup.unified_directory(), "memory.events"),
        Version::V1 { .. } => (cgroup.controller("memory"), "memory.oom_control"),
    };
    directory.and_then(|directory| read_pairs(&directory, file).get("oom_kill").copied()).unwrap_or(0)
}

pub(super) fn watch(cgroup: &Cgroup) -> Option<OomWatch> {
    match cgroup.hierarchies.version() {
        Version::V2 => {
            let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
            let path = cgroup.unified_directory()?.join("memory.events");
            inotify::add_watch(&fd, path, WatchFlags::MODIFY).ok()?;
            Some(OomWatch { fd })
        }
        Version::V1 { .. } => {
            let directory = cgroup.controller("memory")?;
            let control = std::fs::File::open(directory.join("memory.oom_control")).ok()?;
            let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
            let order = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
            write(&directory, "cgroup.event_control", &order).ok()?;
            Some(OomWatch { fd })
        }
    }
}
