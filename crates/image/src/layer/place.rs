//! Confinement: from names in an archive to directories below a layer's root, never outside.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use base::space::Space;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A directory under the root, open, with its path free of symbolic links.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
}

/// The root of a layer being unpacked.
#[derive(Debug)]
pub(super) struct Root {
    fd: OwnedFd,
    /// Its absolute path, as the kernel prints it.
    real: PathBuf,
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The name of an archive entry below the root: no leading slash, no `.` and `..`; empty for the
/// root itself. `None` if it leads out of the root.
pub(crate) fn clean(name: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::ParentDir => {
                if !clean.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Some(clean)
}

/// What an archive says of a place below the root, as a process whose root that is would find it: no `..`
/// leads above it.
pub(super) fn clamp(name: &Path) -> PathBuf {
    let mut clamped = PathBuf::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => clamped.push(part),
            Component::ParentDir => drop(clamped.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clamped
}

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::new(rustix::fs::open(path, DIRECTORY, Mode::empty())?)
    }

    /// The root that is open already.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let real = real_path(fd.as_fd())?;
        Ok(Self { fd, real })
    }

    /// The file system that it is on.
    pub(super) fn space(&self) -> io::Result<Space> {
        Space::at(&self.fd)
    }

    /// Opens the directory `path`, which [`clean`] gave. Symbolic links on the way are followed as a
    /// process inside the root would. Directories that are missing are made, and told to `made`.
    pub(super) fn directory(&self, path: &Path, made: &mut dyn FnMut(&Path)) -> io::Result<Directory> {
        match self.open_strict(path) {
            Ok(fd) => return Ok(Directory { fd, path: path.to_owned() }),
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut here = Directory { fd: self.open_strict(Path::new(""))?, path: PathBuf::new() };
        for part in path.components() {
            let next = here.path.join(part);
            here = match self.open_following(&next) {
                Ok(directory) => directory,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    rustix::fs::mkdirat(&here.fd, part.as_os_str(), Mode::from_raw_mode(0o755))?;
                    made(&next);
                    self.open_following(&next)?
                }
                Err(error) => return Err(error),
            };
        }
        Ok(here)
    }

    /// Opens the directory `path` if it is there, following links inside the root.
    pub(super) fn open_following(&self, path: &Path) -> io::Result<Directory> {
        match self.open_strict(path) {
            Ok(fd) => Ok(Directory { fd, path: path.to_owned() }),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                let fd = rustix::fs::openat2(&self.fd, dot(path), DIRECTORY, Mode::empty(), resolve)?;
                let real = real_path(fd.as_fd())?;
                let path = real
                    .strip_prefix(&self.real)
                    .map_err(|_| io::Error::other("directory was moved out of the layer's root"))?;
                Ok(Directory { path: path.to_owned(), fd })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn open_strict(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.fd, dot(path), DIRECTORY, Mode::empty(), resolve)
    }
}

/// `openat2` takes no empty path.
fn dot(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn real_path(fd: BorrowedFd<'_>) -> io::Result<PathBuf> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let target = rustix::fs::readlink(link, Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Option<&str>) {
        assert_eq!(clean(Path::new(name)), expected.map(PathBuf::from), "{name}");
    }

    #[test]
    fn names_are_read_below_the_root_or_refused() {
        check("./usr/bin/env", Some("usr/bin/env"));
        check("/etc//passwd/", Some("etc/passwd"));
        check("a/../b", Some("b"));
        check("./", Some(""));
        check("..", None);
        check("a/../../b", None);
        check("/../etc/passwd", None);
    }

    #[test]
    fn a_target_above_the_root_is_below_it() {
        assert_eq!(clamp(Path::new("../../etc/passwd")), Path::new("etc/passwd"));
        assert_eq!(clamp(Path::new("/a/../../b/./c")), Path::new("b/c"));
    }
}
