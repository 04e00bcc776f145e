//! Paths below a directory that somebody else may write to, resolved so that they never leave it.
//!
//! Who looks at a path and then uses it looks at one file and may use another: a neighbour can swap
//! a directory and a symbolic link between the two (CVE-2017-1002101, CVE-2021-25741,
//! CVE-2021-30465). Here a path is resolved once, by the kernel (`openat2` with `RESOLVE_BENEATH`
//! and without magic links), and what comes back is a descriptor: everything afterwards is done
//! to that.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, chmodat, fstat, mkdirat, openat, openat2,
};
use rustix::io::Errno;

use crate::place::Place;

/// How often a resolution is tried again that the kernel gave up because something was renamed
/// meanwhile; one who renames all the time only keeps themselves from being served.
const TRIES: usize = 64;

/// A directory that paths are resolved below.
#[derive(Debug)]
pub struct Beneath {
    root: OwnedFd,
}

/// Why a path below a directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BeneathError {
    /// It is absolute, or has `..` in it, or is empty.
    #[error("`{}` must be a relative path without `..`", path.display())]
    NotBelow {
        /// The path.
        path: PathBuf,
    },
    /// A symbolic link on the way leads out of the directory.
    #[error("`{}` leads out of its directory", path.display())]
    Escape {
        /// The path.
        path: PathBuf,
    },
    /// It is no regular file.
    #[error("`{}` is not a regular file", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
    },
    /// The file is longer than what is read of it.
    #[error("`{}` is longer than {limit} bytes", path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Bytes.
        limit: u64,
    },
    /// The system refused.
    #[error("open `{}`", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl Beneath {
    /// The directory at `path`, which is trusted: links on the way are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: openat(CWD, path, flags, Mode::empty())? })
    }

    /// The directory that is open as `root`.
    pub fn of(root: OwnedFd) -> Self {
        Self { root }
    }

    /// What is at `path` below the directory, opened with `flags`; links that stay below it are
    /// followed.
    pub fn find(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, BeneathError> {
        check(path)?;
        self.open_at(path, flags).map_err(|error| fail(path, error))
    }

    /// As [`Beneath::find`] as a place (`O_PATH`), made as a directory with `mode` where it, or one
    /// above it, is missing. The mode is that, whatever this process's mask; in a directory whose
    /// group is given on (`g+s`), what is made has that group and gives it on.
    pub fn find_or_make(&self, path: &Path, mode: Mode) -> Result<OwnedFd, BeneathError> {
        check(path)?;
        match self.open_at(path, OFlags::PATH) {
            Err(Errno::NOENT) => {}
            other => return other.map_err(|error| fail(path, error)),
        }
        let mut walked = PathBuf::new();
        let mut current: Option<OwnedFd> = None;
        for part in path.components().filter(|part| *part != Component::CurDir) {
            let above = current.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            walked.push(part);
            // From the top each time: a link on the way may lead elsewhere below the directory.
            let next = match self.open_at(&walked, OFlags::PATH) {
                Err(Errno::NOENT) => match mkdirat(above, part.as_os_str(), mode) {
                    Ok(()) => widen(above, part.as_os_str(), mode)
                        .and_then(|()| self.open_at(&walked, OFlags::PATH)),
                    Err(Errno::EXIST) => self.open_at(&walked, OFlags::PATH),
                    Err(error) => Err(error),
                },
                other => other,
            };
            current = Some(next.map_err(|error| fail(path, error))?);
        }
        current.ok_or_else(|| BeneathError::NotBelow { path: path.to_owned() })
    }

    /// The content of the regular file at `path`, of at most `limit` bytes. Never waits for a FIFO,
    /// never opens a device.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, BeneathError> {
        read_regular(&Place::of(self.find(path, OFlags::PATH)?), path, limit)
    }

    fn open_at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        loop {
            match openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => tries += 1,
                result => return result,
            }
        }
    }
}

impl AsFd for Beneath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// The content of a place that is a regular file, of at most `limit` bytes; `path` is for errors.
pub fn read_regular(place: &Place, path: &Path, limit: u64) -> Result<Vec<u8>, BeneathError> {
    let io = |source| BeneathError::Io { path: path.to_owned(), source };
    if place.kind().map_err(io)? != FileType::RegularFile {
        return Err(BeneathError::NotRegular { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    let file = place.read().map_err(io)?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(BeneathError::TooLong { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// Gives the directory that was just made as `name` the mode that this process's mask has narrowed.
/// What somebody has put in its place is left as it is, but for another directory.
fn widen(above: BorrowedFd<'_>, name: &OsStr, mode: Mode) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let made = openat(above, name, flags, Mode::empty())?;
    let inherited = Mode::from_raw_mode(fstat(&made)?.st_mode) & Mode::SGID;
    // By a name in it: `fchmod` does not take a descriptor of a place.
    chmodat(&made, c".", mode | inherited, AtFlags::empty())
}

fn check(path: &Path) -> Result<(), BeneathError> {
    let below = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if path.as_os_str().is_empty() || !path.components().all(below) {
        return Err(BeneathError::NotBelow { path: path.to_owned() });
    }
    Ok(())
}

fn fail(path: &Path, error: Errno) -> BeneathError {
    let path = path.to_owned();
    match error {
        Errno::XDEV | Errno::LOOP => BeneathError::Escape { path },
        error => BeneathError::Io { path, source: error.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn volume() -> (tempfile::TempDir, Beneath) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let beneath = Beneath::open(directory.path()).expect("open it");
        (directory, beneath)
    }

    #[test]
    fn a_missing_part_is_made_and_a_present_one_found() {
        let (directory, beneath) = volume();
        beneath.find_or_make(Path::new("a/b"), Mode::from_raw_mode(0o750)).expect("made");
        assert!(directory.path().join("a/b").is_dir());
        std::fs::write(directory.path().join("a/file"), "x").expect("write");
        let file = beneath.find_or_make(Path::new("./a/file"), Mode::from_raw_mode(0o750)).expect("found");
        let stat = rustix::fs::fstat(&file).expect("stat");
        assert_eq!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile);
    }

    #[test]
    fn what_is_made_has_its_mode_and_the_group_that_is_given_on() {
        let (directory, beneath) = volume();
        let mode = |path: &str| rustix::fs::stat(directory.path().join(path)).expect("stat");
        // More than any mask of a daemon leaves.
        beneath.find_or_make(Path::new("plain/part"), Mode::from_raw_mode(0o777)).expect("made");
        assert_eq!(mode("plain/part").st_mode & 0o7777, 0o777);
        beneath.find_or_make(Path::new("shared"), Mode::from_raw_mode(0o770)).expect("made");
        let shared = directory.path().join("shared");
        std::os::unix::fs::chown(&shared, None, Some(3000)).expect("give it to a group");
        rustix::fs::chmod(&shared, Mode::from_raw_mode(0o2770)).expect("give the group on");
        beneath.find_or_make(Path::new("shared/a/b"), Mode::from_raw_mode(0o777)).expect("made");
        for path in ["shared/a", "shared/a/b"] {
            assert_eq!((mode(path).st_mode & 0o7777, mode(path).st_gid), (0o2777, 3000), "{path}");
        }
    }

    #[test]
    fn links_lead_where_they_stay_below_and_nowhere_else() {
        let (directory, beneath) = volume();
        std::fs::create_dir(directory.path().join("..2024")).expect("make");
        std::fs::write(directory.path().join("..2024/key"), "value").expect("write");
        symlink("..2024", directory.path().join("..data")).expect("link");
        symlink("..data/key", directory.path().join("key")).expect("link");
        assert_eq!(beneath.read(Path::new("key"), 100).expect("read"), b"value");
        symlink("/etc", directory.path().join("absolute")).expect("link");
        symlink("../../../etc", directory.path().join("up")).expect("link");
        for path in ["absolute", "absolute/passwd", "up/passwd"] {
            let found = beneath.find(Path::new(path), OFlags::PATH);
            assert!(matches!(found, Err(BeneathError::Escape { .. })), "{path}: {found:?}");
            let made = beneath.find_or_make(Path::new(path), Mode::from_raw_mode(0o750));
            assert!(matches!(made, Err(BeneathError::Escape { .. })), "{path}: {made:?}");
        }
        for path in ["../x", "/etc", ""] {
            let found = beneath.find(Path::new(path), OFlags::PATH);
            assert!(matches!(found, Err(BeneathError::NotBelow { .. })), "{path}: {found:?}");
        }
    }

    #[test]
    fn only_a_regular_file_of_bounded_size_is_read() {
        let (directory, beneath) = volume();
        std::fs::write(directory.path().join("long"), vec![0; 101]).expect("write");
        assert!(matches!(beneath.read(Path::new("long"), 100), Err(BeneathError::TooLong { .. })));
        assert_eq!(beneath.read(Path::new("long"), 101).expect("read").len(), 101);
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("make a FIFO");
        assert!(matches!(beneath.read(Path::new("fifo"), 100), Err(BeneathError::NotRegular { .. })));
        assert!(matches!(beneath.read(Path::new("."), 100), Err(BeneathError::NotRegular { .. })));
    }
}
