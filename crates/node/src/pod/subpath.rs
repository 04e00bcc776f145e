//! The part of a volume that a mount shows, found without ever leaving the volume.
//!
//! A container that can write to a volume can put symbolic links into it; following one while
//! preparing another container's mount would hand out the host's files (CVE-2017-1002101,
//! CVE-2021-25741). Every step here is taken by `openat2` beneath the volume, links refused.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Why a part of a volume cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum SubPathError {
    /// It is no path below the volume.
    #[error("must be a relative path without `..`")]
    NotBelow,
    /// A step of it is a symbolic link, or leads out of the volume.
    #[error("`{}` leads out of the volume or through a symbolic link", path.display())]
    Escape {
        /// How far it led.
        path: PathBuf,
    },
    /// The system refused.
    #[error("open or make `{}`", path.display())]
    Io {
        /// How far it led.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
}

/// The host path of `sub_path` in `volume`, made as a directory where it is missing.
pub fn prepare(volume: &Path, sub_path: &str) -> Result<PathBuf, SubPathError> {
    let steps: Vec<_> = Path::new(sub_path)
        .components()
        .filter(|component| *component != Component::CurDir)
        .map(|component| match component {
            Component::Normal(name) => Ok(name),
            _ => Err(SubPathError::NotBelow),
        })
        .collect::<Result<_, _>>()?;
    let fail = |path: &Path, source: Errno| match source {
        Errno::LOOP | Errno::XDEV => SubPathError::Escape { path: path.to_owned() },
        source => SubPathError::Io { path: path.to_owned(), source },
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let mut current: OwnedFd = rustix::fs::open(volume, flags | OFlags::DIRECTORY, Mode::empty())
        .map_err(|error| fail(volume, error))?;
    let mut walked = PathBuf::new();
    for name in steps {
        walked.push(name);
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let open = || rustix::fs::openat2(&current, name, flags, Mode::empty(), resolve);
        let next = match open() {
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(&current, name, Mode::from_raw_mode(0o750)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(fail(&walked, error)),
                }
                open()
            }
            other => other,
        };
        current = next.map_err(|error| fail(&walked, error))?;
    }
    let link = format!("/proc/self/fd/{}", current.as_raw_fd());
    let path = std::fs::read_link(&link).map_err(|_| SubPathError::Escape { path: walked.clone() })?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_part_is_made_and_a_present_one_found() {
        let volume = tempfile::tempdir().expect("temporary directory");
        let made = prepare(volume.path(), "a/b").expect("made");
        assert!(made.is_dir() && made.ends_with("a/b"));
        std::fs::write(volume.path().join("a/file"), "x").expect("write");
        assert!(prepare(volume.path(), "./a/file").expect("found").is_file());
    }

    #[test]
    fn a_part_that_leads_out_of_the_volume_is_refused() {
        let volume = tempfile::tempdir().expect("temporary directory");
        std::os::unix::fs::symlink("/etc", volume.path().join("link")).expect("link");
        assert!(matches!(prepare(volume.path(), "link/passwd"), Err(SubPathError::Escape { .. })));
        assert!(matches!(prepare(volume.path(), "link"), Err(SubPathError::Escape { .. })));
        assert!(matches!(prepare(volume.path(), "../x"), Err(SubPathError::NotBelow)));
        assert!(matches!(prepare(volume.path(), "/etc"), Err(SubPathError::NotBelow)));
    }
}
