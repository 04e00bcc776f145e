//! Removing and measuring a directory with all that is in it, however deep that is.
//!
//! Whoever fills a directory chooses how deep it goes, and may change it meanwhile: no walk follows a
//! link that was put in a directory's place. A walk that calls itself for each level ends
//! with the stack of its thread, and the process with it; one that keeps each level open ends with the
//! descriptors. These need as much of either for a million levels as for a hundred.

use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, statat, unlinkat,
};
use rustix::io::Errno;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How deep the directories of a tree may lie for it to be copied or packed: such a walk takes from its
/// thread's stack at each level.
const DEEPEST: usize = 256;
/// How many of the directories on the way down are kept open.
const OPEN: usize = 64;
/// How many names of directories are remembered at once, for each level.
const NAMES: usize = 256;

/// A directory that is being emptied.
struct Level {
    /// Its name in the one above; of no meaning for the topmost.
    name: CString,
    /// `None` where too many below it are open.
    fd: Option<OwnedFd>,
    /// What it is, so that the way up leads to where the way down began.
    identity: (u64, u64),
    /// Directories in it that have still to be removed.
    below: Vec<CString>,
}

/// Removes the directory at `path` with everything in it. Symbolic links, one at `path` too, are removed
/// themselves. Stops at the first thing that cannot be removed, and where something is mounted: that is not
/// the tree's, whatever file system it is of.
///
/// Fails with [`io::ErrorKind::NotFound`] if there is nothing.
pub fn remove(path: &Path) -> io::Result<()> {
    let top = match openat(CWD, path, DIRECTORY, Mode::empty()) {
        Err(Errno::NOTDIR | Errno::LOOP) if path.is_symlink() => return std::fs::remove_file(path),
        top => top?,
    };
    let mut levels = vec![Level::of(top, CString::default())?];
    while let Some(level) = levels.last_mut() {
        if level.below.is_empty() {
            level.clear_files()?;
        }
        if let Some(name) = level.below.pop() {
            let parent = level.fd.as_ref().ok_or(Errno::BADF)?;
            match openat2(
                parent,
                &name,
                DIRECTORY,
                Mode::empty(),
                ResolveFlags::BENEATH | ResolveFlags::NO_XDEV,
            ) {
                Ok(fd) => {
                    let deeper = Level::of(fd, name)?;
                    levels.push(deeper);
                    if let Some(far) = levels.len().checked_sub(OPEN + 1) {
                        levels[far].fd = None;
                    }
                }
                Err(Errno::XDEV) => {
                    return Err(io::Error::new(
                        io::ErrorKind::ResourceBusy,
                        format!("something is mounted at `{}`", OsStr::from_bytes(name.to_bytes()).display()),
                    ));
                }
                // Somebody else was quicker, or has put something else there: the next look tells.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error.into()),
            }
            continue;
        }
        let Some(done) = levels.pop() else { break };
        match levels.last_mut() {
            Some(parent) => done.leave(parent)?,
            None => return std::fs::remove_dir(path),
        }
    }
    Ok(())
}

/// How much is in a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes of what is no directory: files of several names count once.
    pub files: u64,
    /// Bytes of the directories below the topmost.
    pub directories: u64,
}

/// Measures what is below the directory at `top`, on its file system. What comes and goes meanwhile may
/// count or not, and so does what lies deeper than a path can tell (4,096 bytes).
pub fn size(top: &Path) -> io::Result<Size> {
    let top = openat(CWD, top, DIRECTORY, Mode::empty())?;
    let mut size = Size::default();
    let mut seen = HashSet::new();
    let mut pending = vec![PathBuf::from(".")];
    while let Some(path) = pending.pop() {
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let directory = match openat2(&top, &path, DIRECTORY, Mode::empty(), inside) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG) => continue,
            Err(error) => return Err(error.into()),
        };
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_dot(name) {
                continue;
            }
            let Ok(stat) = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let bytes = u64::try_from(stat.st_size).unwrap_or(0);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                size.directories = size.directories.saturating_add(bytes);
                pending.push(path.join(OsStr::from_bytes(name.to_bytes())));
            } else if stat.st_nlink == 1 || seen.insert(stat.st_ino) {
                size.files = size.files.saturating_add(bytes);
            }
        }
    }
    Ok(size)
}

/// Fails if a directory lies too deep in its tree to be copied or packed.
pub fn check_depth(depth: usize) -> io::Result<()> {
    match depth {
        0..=DEEPEST => Ok(()),
        _ => Err(io::Error::other(format!("directories lie more than {DEEPEST} deep in each other"))),
    }
}

impl Level {
    fn of(fd: OwnedFd, name: CString) -> io::Result<Self> {
        let stat = fstat(&fd)?;
        Ok(Self { name, fd: Some(fd), identity: (stat.st_dev, stat.st_ino), below: Vec::new() })
    }

    /// Removes what is no directory, and notes some of the directories.
    fn clear_files(&mut self) -> io::Result<()> {
        let fd = self.fd.as_ref().ok_or(Errno::BADF)?;
        for entry in Dir::read_from(fd)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_dot(name) {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let stat = statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(stat.st_mode)
                }
                known => known,
            };
            if kind == FileType::Directory {
                self.below.push(name.to_owned());
                if self.below.len() == NAMES {
                    break;
                }
                continue;
            }
            tolerate(unlinkat(fd, name, AtFlags::empty()))?;
        }
        Ok(())
    }

    /// Goes up to `parent`, and removes the directory there, which is empty.
    fn leave(self, parent: &mut Self) -> io::Result<()> {
        if parent.fd.is_none() {
            let own = self.fd.as_ref().ok_or(Errno::BADF)?;
            let above = openat(own, c"..", DIRECTORY, Mode::empty())?;
            let stat = fstat(&above)?;
            if (stat.st_dev, stat.st_ino) != parent.identity {
                return Err(io::Error::other(format!(
                    "`{}` was moved while it was removed",
                    OsStr::from_bytes(self.name.to_bytes()).display()
                )));
            }
            parent.fd = Some(above);
        }
        let above = parent.fd.as_ref().ok_or(Errno::BADF)?;
        tolerate(unlinkat(above, &self.name, AtFlags::REMOVEDIR))
    }
}

fn is_dot(name: &CStr) -> bool {
    name == c"." || name == c".."
}

/// What somebody else has removed is removed.
fn tolerate(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::mkdirat;

    use super::*;

    /// Makes a chain of directories, each with a file in it.
    fn chain(top: &Path, levels: usize) {
        let mut fd = openat(CWD, top, DIRECTORY, Mode::empty()).expect("open");
        for _ in 0..levels {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(&fd, c"file", flags, Mode::from_raw_mode(0o600)).expect("make a file");
            mkdirat(&fd, c"d", Mode::from_raw_mode(0o700)).expect("make a directory");
            fd = openat(&fd, c"d", DIRECTORY, Mode::empty()).expect("open");
        }
    }

    #[test]
    fn a_chain_is_removed_on_a_small_stack_with_few_descriptors() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let top = directory.path().join("top");
        fs::create_dir(&top).expect("make");
        chain(&top, 20_000);
        let thread = std::thread::Builder::new().stack_size(64 << 10);
        let removing = thread.spawn({
            let top = top.clone();
            move || remove(&top)
        });
        removing.expect("a thread").join().expect("no panic").expect("removed");
        assert!(!top.exists());
    }

    #[test]
    fn a_tree_is_measured_on_a_small_stack_and_no_link_is_followed() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (top, other) = (directory.path().join("top"), directory.path().join("other"));
        fs::create_dir_all(top.join("a/b")).expect("make");
        fs::create_dir(&other).expect("make");
        fs::write(other.join("file"), [0; 5000]).expect("write");
        fs::write(top.join("a/b/file"), [0; 700]).expect("write");
        fs::hard_link(top.join("a/b/file"), top.join("again")).expect("link");
        std::os::unix::fs::symlink("../other", top.join("link")).expect("link");
        assert_eq!(size(&top).expect("measured").files, 700 + "../other".len() as u64);
        chain(&top, 20_000);
        let thread = std::thread::Builder::new().stack_size(128 << 10);
        let measuring = thread.spawn({
            let top = top.clone();
            move || size(&top)
        });
        measuring.expect("a thread").join().expect("no panic").expect("measured");
        remove(&top).expect("removed");
    }

    /// A container swaps a directory of its own for a link to the host's while it is measured.
    #[test]
    fn a_link_that_takes_a_directorys_place_is_not_followed() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let directory = tempfile::tempdir().expect("temporary directory");
        let (top, other) = (directory.path().join("top"), directory.path().join("other"));
        fs::create_dir_all(top.join("swapped")).expect("make");
        fs::create_dir(&other).expect("make");
        fs::write(other.join("precious"), [0; 100_000]).expect("write");
        std::os::unix::fs::symlink(&other, top.join("link")).expect("link");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (one, two) = (top.join("swapped"), top.join("link"));
                while !is_over.load(Ordering::Relaxed) {
                    let exchange = rustix::fs::RenameFlags::EXCHANGE;
                    rustix::fs::renameat_with(CWD, &one, CWD, &two, exchange).expect("swap");
                }
            });
            let measured: Vec<_> = (0..5000).map(|_| size(&top)).collect();
            is_over.store(true, Ordering::Relaxed);
            for size in measured {
                assert!(size.expect("measured").files < 100_000);
            }
        });
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (top, other) = (directory.path().join("top"), directory.path().join("other"));
        fs::create_dir_all(top.join("a/b")).expect("make");
        fs::create_dir(&other).expect("make");
        fs::write(other.join("file"), "").expect("write");
        std::os::unix::fs::symlink(&other, top.join("a/link")).expect("link");
        std::os::unix::fs::symlink(&other, directory.path().join("link")).expect("link");
        remove(&directory.path().join("link")).expect("removed");
        remove(&top).expect("removed");
        assert!(!top.exists() && other.join("file").exists());
        assert_eq!(remove(&top).expect_err("gone").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn many_directories_side_by_side_are_removed() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let top = directory.path().join("top");
        for number in 0..3 * NAMES {
            fs::create_dir_all(top.join(format!("{number}/inner"))).expect("make");
        }
        remove(&top).expect("removed");
        assert!(!top.exists());
    }
}
