//! Removing and looking through a directory with all that is in it, however deep that is.
//!
//! Whoever fills a directory chooses how deep it goes, and may change it meanwhile: no walk follows a
//! link that was put in a directory's place. A walk that calls itself for each level ends
//! with the stack of its thread, and the process with it; one that keeps each level open ends with the
//! descriptors. These need as much of either for a million levels as for a hundred.

use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

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
/// How many files of several names are remembered at once.
const LINKED: usize = 1 << 16;
/// What one of them is counted in, where each of its names counts for its part.
const PARTS: u64 = 1 << 20;
/// What the kernel counts space on a disk in.
const BLOCK: u64 = 512;

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
    /// Bytes that all of it takes on the disk, which may be more than it holds, or less.
    pub allocated: u64,
    /// How much of all that there is: files of several names count once.
    pub entries: u64,
}

/// Measures what is below the directory at `top`, on its file system. What comes and goes meanwhile may
/// count or not.
pub fn size(top: &Path) -> io::Result<Size> {
    size_until(top, |_| false)
}

/// As [`size`], unless `is_over` says of what was found so far that it is enough: fails with [`io::ErrorKind::TimedOut`] then.
pub fn size_until(top: &Path, mut is_over: impl FnMut(Size) -> bool) -> io::Result<Size> {
    let top = openat(CWD, top, DIRECTORY, Mode::empty())?;
    let mut size = Size::default();
    let mut seen = HashSet::new();
    // In parts of an entry.
    let mut entries: u64 = 0;
    walk(top, |directory, name| {
        if is_over(size) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let Ok(stat) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(false) };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        // Of what has more names than are remembered each name counts its part.
        #[allow(clippy::useless_conversion, reason = "how wide it is differs between processors")]
        let names = u64::from(stat.st_nlink);
        let (is_first, parts) = match names {
            0 | 1 => (true, 1),
            _ if is_directory => (true, 1),
            _ if seen.contains(&stat.st_ino) => (false, 1),
            _ if seen.len() < LINKED => (seen.insert(stat.st_ino), 1),
            _ => (true, names),
        };
        if !is_first {
            return Ok(false);
        }
        let bytes = u64::try_from(stat.st_size).unwrap_or(0).div_ceil(parts);
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        let allocated = blocks.saturating_mul(BLOCK).div_ceil(parts);
        size.allocated = size.allocated.saturating_add(allocated);
        entries = entries.saturating_add(PARTS.div_ceil(parts));
        size.entries = entries / PARTS;
        let counts = if is_directory { &mut size.directories } else { &mut size.files };
        *counts = counts.saturating_add(bytes);
        Ok(is_directory)
    })?;
    Ok(size)
}

/// A directory that is being walked through.
struct Step {
    /// `None` where too many below it are open.
    stream: Option<Box<Dir>>,
    /// What it is, so that the way up leads to where the way down began.
    identity: (u64, u64),
    /// Where the walk goes on in it.
    next: i64,
}

impl Step {
    fn of(directory: OwnedFd) -> io::Result<Self> {
        let stat = fstat(&directory)?;
        Ok(Self {
            stream: Some(Box::new(Dir::new(directory)?)),
            identity: (stat.st_dev, stat.st_ino),
            next: 0,
        })
    }

    /// Goes up from `child` to this one, and on where the walk was.
    fn resume(&mut self, child: &Dir) -> io::Result<()> {
        let above = openat(child.fd()?, c"..", DIRECTORY, Mode::empty())?;
        let stat = fstat(&above)?;
        if (stat.st_dev, stat.st_ino) != self.identity {
            return Err(io::Error::other("a directory was moved while what is in it was looked through"));
        }
        let mut stream = Dir::new(above)?;
        stream.seek(self.next)?;
        self.stream = Some(Box::new(stream));
        Ok(())
    }
}

/// Shows `look` everything below `top`, by the directory that it is in and its name there; goes down where it says so,
/// if that is a directory of the same file system. No names are remembered, and no more than a few directories are open,
/// however deep it goes.
pub fn walk(top: OwnedFd, mut look: impl FnMut(BorrowedFd<'_>, &CStr) -> io::Result<bool>) -> io::Result<()> {
    let mut steps = vec![Step::of(top)?];
    while let Some(step) = steps.last_mut() {
        let stream = step.stream.as_mut().ok_or(Errno::BADF)?;
        let entry = match stream.read() {
            Some(Ok(entry)) => entry,
            // It was removed while it was read.
            Some(Err(Errno::NOENT)) | None => {
                let done = steps.pop().and_then(|done| done.stream);
                if let (Some(above), Some(done)) = (steps.last_mut(), done)
                    && above.stream.is_none()
                {
                    above.resume(&done)?;
                }
                continue;
            }
            Some(Err(error)) => return Err(error.into()),
        };
        step.next = entry.offset();
        let name = entry.file_name();
        let directory = stream.fd()?;
        if is_dot(name) || !look(directory, name)? {
            continue;
        }
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        match openat2(directory, name, DIRECTORY, Mode::empty(), inside) {
            Ok(below) => {
                steps.push(Step::of(below)?);
                if let Some(far) = steps.len().checked_sub(OPEN + 1) {
                    steps[far].stream = None;
                }
            }
            // Somebody else was quicker, or has put something else there, or it is not the tree's.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
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
        let deep = measuring.expect("a thread").join().expect("no panic").expect("measured");
        assert!(deep.allocated >= deep.directories, "each of them takes what it says");
        let mut found = 0;
        walk(openat(CWD, &top, DIRECTORY, Mode::empty()).expect("open"), |_, name| {
            found += usize::from(name == c"file");
            Ok(true)
        })
        .expect("walked");
        assert_eq!(found, 20_001, "what lies deeper than a path can tell is found too");
        let over = size_until(&top, |_| true).expect_err("there is no time");
        assert_eq!(over.kind(), io::ErrorKind::TimedOut);
        remove(&top).expect("removed");
    }

    #[test]
    fn what_is_taken_on_the_disk_counts_whatever_the_length_says() {
        use rustix::fs::{FallocateFlags, fallocate};
        let directory = tempfile::tempdir().expect("temporary directory");
        let hidden = fs::File::create(directory.path().join("hidden")).expect("create");
        fallocate(&hidden, FallocateFlags::KEEP_SIZE, 0, 1 << 20).expect("taken");
        fs::File::create(directory.path().join("sparse")).expect("create").set_len(1 << 30).expect("length");
        let size = size(directory.path()).expect("measured");
        assert_eq!(size.files, 1 << 30);
        assert!(((1 << 20)..(2 << 20)).contains(&size.allocated), "{size:?}");
    }

    #[test]
    fn many_directories_on_many_levels_are_walked_through_once_each() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let top = directory.path().join("top");
        for number in 0..600 {
            fs::create_dir_all(top.join(format!("{number}/a/b"))).expect("make");
        }
        let mut deep = top.clone();
        for _ in 0..2 * OPEN {
            deep.push("d");
        }
        fs::create_dir_all(&deep).expect("make");
        for number in 0..300 {
            fs::create_dir(deep.join(number.to_string())).expect("make");
            // On the way back each of these goes on where it was left.
            fs::create_dir(deep.parent().expect("above").join(number.to_string())).expect("make");
            fs::create_dir_all(top.join(format!("d/{number}"))).expect("make");
        }
        let mut found = 0;
        walk(openat(CWD, &top, DIRECTORY, Mode::empty()).expect("open"), |_, _| {
            found += 1;
            Ok(true)
        })
        .expect("walked");
        assert_eq!(found, 600 * 3 + 2 * OPEN + 3 * 300);
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
