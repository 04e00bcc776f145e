//! Control groups, v1 (also hybrid) and v2, without systemd.
//!
//! A [`Cgroup`] is one path that exists in every hierarchy of the host. Limits are those of the
//! OCI specification; on v2 they are converted as it describes. All files are reached by their
//! paths below the hierarchies' mount points, which are found in `/proc/self/mountinfo`.

mod devices;
mod hierarchy;
mod oom;
mod stats;
mod v1;
mod v2;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::spec::Resources;

pub use hierarchy::{Hierarchies, Version};
pub use oom::OomWatch;
pub use stats::{BlockDeviceStats, CpuStats, MemoryStats, PidsStats, Stats};

/// One control group, in every hierarchy of the host.
#[derive(Clone, Debug)]
pub struct Cgroup {
    hierarchies: Hierarchies,
    path: PathBuf,
}

/// Why something could not be done with a control group.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A file or directory of it.
    #[error("{what} `{}`", path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A value the kernel did not take.
    #[error("write `{value}` to `{}`", path.display())]
    Write {
        /// The value.
        value: String,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The path of the group is not one that can be used.
    #[error("cgroup path `{}` has components other than names", .0.display())]
    Path(PathBuf),
    /// A limit needs a controller that is not there.
    #[error("this host has no cgroup controller `{controller}`, which the limit on {limit} needs")]
    Controller {
        /// The controller.
        controller: &'static str,
        /// What it is for.
        limit: &'static str,
    },
    /// A limit that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The device filter.
    #[error("attach the device filter to `{}`", path.display())]
    DeviceFilter {
        /// The group.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// It is not empty.
    #[error("cgroup `{}` still has processes", .0.display())]
    Busy(PathBuf),
}

impl Cgroup {
    /// The group at `path`, which starts at the root of the hierarchies; it need not exist.
    pub fn at(path: &Path) -> Result<Self, CgroupError> {
        Self::within(Hierarchies::detect()?, path)
    }

    /// As [`Cgroup::at`], with hierarchies that were found before.
    pub fn within(hierarchies: Hierarchies, path: &Path) -> Result<Self, CgroupError> {
        todo!()
    }

    /// Where the group is, from the root of the hierarchies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the group and those above it, in every hierarchy.
    pub fn create(&self) -> Result<(), CgroupError> {
        todo!()
    }

    /// Whether it exists.
    pub fn exists(&self) -> bool {
        todo!()
    }

    /// Puts limits in force; what `resources` leaves open stays as it is.
    pub fn apply(&self, resources: &Resources) -> Result<(), CgroupError> {
        todo!()
    }

    /// Moves a process into the group.
    pub fn add(&self, pid: u32) -> Result<(), CgroupError> {
        todo!()
    }

    /// The processes in the group and those below it.
    pub fn pids(&self) -> Result<Vec<u32>, CgroupError> {
        todo!()
    }

    /// What it has used.
    pub fn stats(&self) -> Result<Stats, CgroupError> {
        todo!()
    }

    /// Stops its processes from running; returns once they stand still.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        todo!()
    }

    /// Lets them run again.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        todo!()
    }

    /// Kills every process in the group and those below it, those included that are being born.
    pub fn kill_all(&self) -> Result<(), CgroupError> {
        todo!()
    }

    /// Removes the group and those below it; it must have no processes. One that is not there is
    /// no error.
    pub fn remove(&self) -> Result<(), CgroupError> {
        todo!()
    }

    /// How often the kernel killed a process of it for want of memory.
    pub fn oom_kills(&self) -> u64 {
        todo!()
    }

    /// Something to poll that becomes readable when memory runs out; `None` where the kernel has
    /// nothing to offer.
    pub fn oom_watch(&self) -> Option<OomWatch> {
        todo!()
    }
}
