//! Control groups, v1 (also hybrid) and v2, without systemd.
//!
//! A [`Cgroup`] is one path that exists in every hierarchy of the host. Limits are those of the
//! OCI specification; on v2 they are converted as it describes. All files are reached by their
//! paths below the hierarchies' mount points, which are found in `/proc/self/mountinfo`.

mod devices;
mod hierarchy;
mod oom;
mod refused;
mod stats;
mod v1;
mod v2;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

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
    /// A limit that no kernel has any more, or not this version of control groups.
    #[error("{limit} cannot be limited by {by}: {cure}")]
    Unsupported {
        /// What.
        limit: &'static str,
        /// Whose lack it is.
        by: &'static str,
        /// What to do.
        cure: &'static str,
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
        let mut plain = PathBuf::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => plain.push(name),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(CgroupError::Path(path.to_owned()));
                }
            }
        }
        if plain.as_os_str().is_empty() {
            return Err(CgroupError::Path(path.to_owned()));
        }
        Ok(Self { hierarchies, path: plain })
    }

    /// Where the group is, from the root of the hierarchies, without leading slash.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The hierarchies of the host.
    pub fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// Makes the group and those above it, in every hierarchy.
    pub fn create(&self) -> Result<(), CgroupError> {
        if self.is_v2() { v2::create(self) } else { v1::create(self) }
    }

    /// Whether it exists.
    pub fn exists(&self) -> bool {
        self.directories().iter().any(|directory| directory.exists())
    }

    /// Puts limits in force; what `resources` leaves open stays as it is.
    pub fn apply(&self, resources: &Resources) -> Result<(), CgroupError> {
        refused::check(resources, self.is_v2())?;
        if self.is_v2() { v2::apply(self, resources) } else { v1::apply(self, resources) }
    }

    /// Moves a process into the group.
    pub fn add(&self, pid: u32) -> Result<(), CgroupError> {
        self.directories().iter().try_for_each(|directory| write(directory, "cgroup.procs", &pid.to_string()))
    }

    /// Moves a new process into the group that was not cloned into it.
    pub(crate) fn add_clone(&self, pid: u32) -> Result<(), CgroupError> {
        if self.is_v2() { Ok(()) } else { self.add(pid) }
    }

    /// The processes in the group and those below it.
    pub fn pids(&self) -> Result<Vec<u32>, CgroupError> {
        let mut pids = Vec::new();
        if let Some(directory) = self.process_directory() {
            collect_pids(&directory, &mut pids)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// What it has used.
    pub fn stats(&self) -> Result<Stats, CgroupError> {
        Ok(if self.is_v2() { v2::stats(self) } else { v1::stats(self) })
    }

    /// Microseconds of a period of 100 ms that it may use of processors; `None` is no limit.
    pub fn cpu_quota(&self) -> Option<i64> {
        let (quota, period) = if self.is_v2() { v2::cpu_quota(self) } else { v1::cpu_quota(self) }?;
        (quota > 0 && period > 0).then(|| {
            i64::try_from(i128::from(quota) * i128::from(USUAL_PERIOD) / i128::from(period))
                .unwrap_or(i64::MAX)
        })
    }

    /// Stops its processes from running; returns once they stand still.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.set_frozen(true)
    }

    /// Lets them run again.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.set_frozen(false)
    }

    /// Asks for its processes to stand still, or to go on, and says whether they do: it takes a
    /// moment, after which the caller asks again. Does not wait.
    pub fn ask_frozen(&self, frozen: bool) -> Result<bool, CgroupError> {
        if self.is_v2() { v2::ask_frozen(self, frozen) } else { v1::ask_frozen(self, frozen) }
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), CgroupError> {
        for _ in 0..FREEZE_ROUNDS {
            if self.ask_frozen(frozen)? {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if frozen {
            // Better running than half frozen.
            let _ = self.ask_frozen(false);
        }
        Err(CgroupError::Busy(self.path.clone()))
    }

    /// Whether its processes stand still.
    pub fn is_frozen(&self) -> bool {
        if self.is_v2() { v2::is_frozen(self) } else { v1::is_frozen(self) }
    }

    /// Sends a signal to every process in the group and those below it.
    pub fn signal_all(&self, signal: i32) -> Result<(), CgroupError> {
        self.signal_new(signal, &mut BTreeSet::new()).map(drop)
    }

    /// Kills every process in the group and those below it, those included that are being born, that
    /// stand still or that wait for memory. Does not wait for their end.
    pub fn kill_all(&self) -> Result<(), CgroupError> {
        if self.is_v2() { v2::kill_all(self) } else { v1::kill_all(self) }
    }

    /// Signals the processes that are not among those `told`; whether there were any.
    fn signal_new(&self, signal: i32, told: &mut BTreeSet<u32>) -> Result<bool, CgroupError> {
        let new: Vec<u32> = self.pids()?.into_iter().filter(|pid| !told.contains(pid)).collect();
        for pids in new.chunks(HELD_AT_ONCE) {
            let held = pids.iter().filter_map(|&pid| {
                let number = Pid::from_raw(pid as i32)?;
                Some((pid, pidfd_open(number, PidfdFlags::empty()).ok()?))
            });
            let held: Vec<_> = held.collect();
            // Looked at again with the processes held: a number may have gone to another meanwhile.
            let still = self.pids()?;
            for (_, pidfd) in held.iter().filter(|(pid, _)| still.binary_search(pid).is_ok()) {
                let _ = crate::sys::signal::send(pidfd.as_fd(), signal);
            }
        }
        told.extend(&new);
        Ok(!new.is_empty())
    }

    /// Kills round after round until a look finds nobody new: whoever was signalled cannot fork any
    /// more, so this ends.
    fn kill_by_number(&self) -> Result<(), CgroupError> {
        let mut told = BTreeSet::new();
        for _ in 0..KILL_ROUNDS {
            if !self.signal_new(libc::SIGKILL, &mut told)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Removes the group and those below it; it must have no processes. One that is not there is
    /// no error.
    pub fn remove(&self) -> Result<(), CgroupError> {
        for round in 0..REMOVE_ROUNDS {
            if self.try_remove()? {
                return Ok(());
            }
            if round > 0 {
                std::thread::sleep(Duration::from_millis(1 << round.min(5)));
            }
        }
        Err(CgroupError::Busy(self.path.clone()))
    }

    /// As [`Cgroup::remove`], without waiting: `false` while a group is busy, which one that has
    /// just lost its last process can be for a moment.
    pub fn try_remove(&self) -> Result<bool, CgroupError> {
        self.directories().iter().try_fold(true, |gone, directory| Ok(remove(directory)? && gone))
    }

    /// The names of the groups in it, in whichever hierarchy they are.
    pub fn children(&self) -> BTreeSet<String> {
        let entries = self.directories().into_iter().flat_map(std::fs::read_dir).flatten().flatten();
        let groups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        groups.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// How often the kernel killed a process of it for want of memory.
    pub fn oom_kills(&self) -> u64 {
        oom::kills(self)
    }

    /// Something to poll that becomes readable when memory runs out; `None` where the kernel has
    /// nothing to offer.
    pub fn oom_watch(&self) -> Option<OomWatch> {
        oom::watch(self)
    }

    /// The group's directory in a v1 hierarchy.
    pub(crate) fn directory_in(&self, hierarchy: &hierarchy::V1Hierarchy) -> PathBuf {
        hierarchy.mount.join(&self.path)
    }

    /// The group's directory in the unified hierarchy.
    pub(crate) fn unified_directory(&self) -> Option<PathBuf> {
        self.hierarchies.unified.as_ref().map(|mount| mount.join(&self.path))
    }

    /// Lets `user` of the host make groups below this one and move processes among them: gives away
    /// what the kernel says may be given. Does nothing with v1, where that is not safe.
    pub(crate) fn delegate(&self, user: u32) -> Result<(), CgroupError> {
        let Some(directory) = self.unified_directory().filter(|_| self.is_v2()) else { return Ok(()) };
        let names = std::fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_default();
        let files = names.lines().map(|name| directory.join(name)).filter(|file| file.exists());
        for path in std::iter::once(directory.clone()).chain(files) {
            std::os::unix::fs::chown(&path, Some(user), None).map_err(|source| CgroupError::File {
                what: "give away",
                path,
                source,
            })?;
        }
        Ok(())
    }

    /// The directory that a clone can begin in, on hosts with v2 alone.
    pub(crate) fn clone_directory(&self) -> Result<Option<OwnedFd>, CgroupError> {
        if !self.is_v2() {
            return Ok(None);
        }
        self.unified_directory().map(open_directory).transpose()
    }

    /// The same for a process that joins one of the group's. A container that has made groups of its
    /// own may have no processes in the outermost one; what joins is in the group of `pid` then.
    pub(crate) fn clone_directory_of(&self, pid: u32) -> Result<Option<OwnedFd>, CgroupError> {
        let Some(mount) = self.hierarchies.unified.as_ref().filter(|_| self.is_v2()) else { return Ok(None) };
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let inner = text
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))
            // One that was moved away from outside is no reason to leave the container's own group.
            .filter(|path| Path::new(path).starts_with(&self.path))
            .map(|path| mount.join(path));
        match inner.map(open_directory) {
            Some(Ok(fd)) => Ok(Some(fd)),
            _ => self.clone_directory(),
        }
    }

    fn is_v2(&self) -> bool {
        self.hierarchies.version() == Version::V2
    }

    /// The directory of a v1 controller.
    pub fn controller(&self, name: &str) -> Option<PathBuf> {
        let has =
            |hierarchy: &&hierarchy::V1Hierarchy| hierarchy.controllers.iter().any(|known| known == name);
        self.hierarchies.v1.iter().find(has).map(|hierarchy| self.directory_in(hierarchy))
    }

    /// Every directory of the group.
    fn directories(&self) -> Vec<PathBuf> {
        let v1 = self.hierarchies.v1.iter().map(|hierarchy| self.directory_in(hierarchy));
        v1.chain(self.unified_directory()).collect()
    }

    /// The directory whose `cgroup.procs` is believed.
    fn process_directory(&self) -> Option<PathBuf> {
        ["freezer", "pids", "memory"]
            .iter()
            .find_map(|controller| self.controller(controller))
            .or_else(|| self.directories().pop())
    }
}

/// A limit's file that is not there, or that nobody is behind: the controller was left out of the kernel
/// or switched off, or the device has another scheduler.
fn lacking(controller: &'static str, limit: &'static str) -> impl Fn(CgroupError) -> CgroupError {
    move |error| match error {
        CgroupError::Write { source, .. }
            if source.kind() == std::io::ErrorKind::NotFound
                || source.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) =>
        {
            CgroupError::Controller { controller, limit }
        }
        error => error,
    }
}

fn open_directory(path: PathBuf) -> Result<OwnedFd, CgroupError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, &path, flags, Mode::empty()).map_err(|error| CgroupError::File {
        what: "open",
        path,
        source: error.into(),
    })
}

/// Writes one file of a group.
fn write(directory: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
    let path = directory.join(file);
    // Opened without creating: a file that is not there is an error, not a new file.
    let result = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(value.as_bytes()));
    result.map_err(|source| CgroupError::Write { value: value.to_owned(), path, source })
}

/// Reads one number; what is not there or `max` is `None`.
fn read_number(directory: &Path, file: &str) -> Option<u64> {
    std::fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok()
}

/// Reads lines of a name and a number.
fn read_pairs(directory: &Path, file: &str) -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(directory.join(file)).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

/// Makes a cgroup and those above it; not an error if it is there.
///
/// Everybody may look into it, whatever this process's mask: programs that run as another user than
/// root read their limits there.
fn make_directory(path: &Path) -> Result<(), CgroupError> {
    let mut made = std::fs::create_dir(path);
    if let (Err(error), Some(parent)) = (&made, path.parent())
        && error.kind() == io::ErrorKind::NotFound
    {
        make_directory(parent)?;
        made = std::fs::create_dir(path);
    }
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(0o755))),
    }
    .map_err(|source| CgroupError::File { what: "create cgroup", path: path.to_owned(), source })
}

/// The directories below `directory`, which cgroups made for themselves inside.
fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn collect_pids(directory: &Path, pids: &mut Vec<u32>) -> Result<(), CgroupError> {
    let path = directory.join("cgroup.procs");
    match std::fs::read_to_string(&path) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // A threaded v2 group has no list of processes; its root has them.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        Err(source) => return Err(CgroupError::File { what: "read", path, source }),
    }
    children(directory).iter().try_for_each(|child| collect_pids(child, pids))
}

/// Removes a directory and those below it; `false` if one is busy.
fn remove(directory: &Path) -> Result<bool, CgroupError> {
    let failed = |source| CgroupError::File { what: "remove cgroup", path: directory.to_owned(), source };
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match std::fs::remove_dir(directory) {
        Ok(()) => Ok(true),
        Err(error) if gone(&error) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            let below = children(directory);
            if below.is_empty() {
                return Ok(false);
            }
            let all = below.iter().try_fold(true, |all, child| Ok(remove(child)? && all))?;
            match std::fs::remove_dir(directory) {
                Ok(()) => Ok(true),
                Err(error) if gone(&error) => Ok(all),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(false),
                Err(error) => Err(failed(error)),
            }
        }
        Err(error) => Err(failed(error)),
    }
}

/// Microseconds of the period that quotas are told for.
const USUAL_PERIOD: i64 = 100_000;

/// How many processes of a group are held while they are signalled.
const HELD_AT_ONCE: usize = 256;

/// How often a busy group is tried again: about a third of a second in all.
const REMOVE_ROUNDS: u32 = 14;

/// How often a group is looked at while it freezes: about half a second in all.
const FREEZE_ROUNDS: u32 = 500;

/// How often a group is looked at while it is killed; few are needed.
const KILL_ROUNDS: u32 = 64;
