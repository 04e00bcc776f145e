//! Device nodes: the default ones and those of the configuration.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, major, makedev, minor, openat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::super::ProcessError;
use super::super::plan::{DevicePlan, LinkPlan};
use super::{host, options, paths};
use crate::spec::{HIGHEST_ID, Linux, LinuxDevice, Mount};

/// Path, major and minor number of what every container has.
const DEFAULT: [(&str, i64, i64); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Content and name below `/dev` of what every container has.
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];

/// Whether `/dev` is the container's own; a `/dev` of the host's is not filled.
pub(super) fn are_wanted(mounts: &[Mount]) -> bool {
    !mounts.iter().any(|mount| {
        let options = options::parse(&mount.options);
        mount.destination == Path::new("/dev")
            && (options.bind.is_some() || mount.kind.as_deref() == Some("bind"))
    })
}

/// Nodes and links. Where the container has a user namespace it may not make nodes, and gets the
/// host's by bind mounts.
pub(super) fn prepare(linux: &Linux, userns: bool) -> Result<(Vec<DevicePlan>, Vec<LinkPlan>), ProcessError> {
    let defaults = DEFAULT.iter().map(|&(path, major, minor)| LinuxDevice {
        path: path.into(),
        kind: "c".to_owned(),
        major,
        minor,
        file_mode: Some(0o666),
        ..LinuxDevice::default()
    });
    let mut plans = Vec::new();
    for device in defaults.filter(|default| !linux.devices.iter().any(|device| device.path == default.path)) {
        plans.push(plan(&device, userns)?);
    }
    // The container's own is a link to its own terminals, whatever the host's is.
    for device in linux.devices.iter().filter(|device| device.path != Path::new("/dev/ptmx")) {
        plans.push(plan(device, userns)?);
    }
    let links = LINKS
        .iter()
        .map(|&(content, name)| Ok((super::c_string(content)?, super::c_string(name)?)))
        .collect::<Result<_, ProcessError>>()?;
    Ok((plans, links))
}

/// The host's `/dev/null` as a mount that is attached nowhere, after making sure that it is one
/// (CVE-2025-31133).
pub(super) fn null() -> Result<OwnedFd, ProcessError> {
    let path = Path::new("/dev/null");
    let found = node(path, FileType::CharacterDevice, makedev(1, 3))?;
    found.ok_or_else(|| ProcessError::invalid("the host's `/dev/null` is not the null device"))
}

/// The host's node of a device as a mount that is attached nowhere: the one at its path if that is the
/// device that is meant, or else the one that udev keeps under the device's number.
fn of_host(path: &Path, kind: FileType, device: u64) -> Result<OwnedFd, ProcessError> {
    let directory = if kind == FileType::BlockDevice { "block" } else { "char" };
    let (major, minor) = (major(device), minor(device));
    let by_number = Path::new("/dev").join(directory).join(format!("{major}:{minor}"));
    for path in [path, &by_number] {
        if let Some(node) = node(path, kind, device)? {
            return Ok(node);
        }
    }
    Err(ProcessError::invalid(format!(
        "device `{}`: neither there nor at `{}` has the host the device {major}:{minor}, which a container \
         with a user namespace cannot make",
        path.display(),
        by_number.display()
    )))
}

/// What is at `path`, if it is the device: looked at and mounted as one thing, which nobody can change
/// in between.
fn node(path: &Path, kind: FileType, device: u64) -> Result<Option<OwnedFd>, ProcessError> {
    let found = match openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        found => found.map_err(|error| host("open", path, error))?,
    };
    let stat = rustix::fs::fstat(&found).map_err(|error| host("look at", path, error))?;
    if FileType::from_raw_mode(stat.st_mode) != kind || stat.st_rdev != device {
        return Ok(None);
    }
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(&found, c"", flags).map(Some).map_err(|error| host("clone device", path, error))
}

fn plan(device: &LinuxDevice, userns: bool) -> Result<DevicePlan, ProcessError> {
    let text = device.path.display().to_string();
    let kind = match device.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        other => return Err(ProcessError::invalid(format!("device `{text}` has unknown type `{other}`"))),
    };
    let number = |value: i64| {
        u32::try_from(value).map_err(|_| ProcessError::invalid(format!("device `{text}` has number {value}")))
    };
    let (parent, name) = paths::split(&device.path)?;
    let fifo = kind == FileType::Fifo;
    let owner = (device.uid.unwrap_or(0), device.gid.unwrap_or(0));
    if owner.0.max(owner.1) > HIGHEST_ID {
        let text = format!("device `{text}`: uids and gids must be in range 0-{HIGHEST_ID}");
        return Err(ProcessError::invalid(text));
    }
    let (major, minor) = if fifo { (0, 0) } else { (number(device.major)?, number(device.minor)?) };
    let bind = (userns && !fifo).then(|| of_host(&device.path, kind, makedev(major, minor))).transpose()?;
    Ok(DevicePlan {
        parent,
        name,
        mode: kind.as_raw_mode() | (device.file_mode.unwrap_or(0o666) & 0o7777),
        device: makedev(major, minor),
        owner,
        bind,
        text,
    })
}
