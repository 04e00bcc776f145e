//! Copying a directory with owners, modes, times, links, holes and extended attributes.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use base::place::Place;
use base::sparse;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, linkat, mkdirat, mknodat,
    openat, openat2, readlinkat, symlinkat, unlinkat,
};

/// Copies what is in the directory `source` into the directory `target`, which gets the same attributes: all of it,
/// or nothing. What others have put into the target stays in any case, and is in the way of what has the same name.
pub(super) fn directory(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let (source, target) = (open(source)?, open(target)?);
    let root = target.try_clone()?;
    let mut copying = Copying { root, path: PathBuf::new(), links: HashMap::new(), made: Vec::new() };
    let copied = copying.contents(&source, &target, 0);
    if copied.is_err() {
        copying.undo();
    }
    copied
}

/// Gives the directory `target` the owner, mode, times and extended attributes of another.
pub(super) fn give_attributes(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    dress(&Place::of(open(source)?), &Place::of(open(target)?))
}

/// Gives the directory `target` the times that it had.
pub(super) fn set_times(target: BorrowedFd<'_>, had: &Stat) -> io::Result<()> {
    Place::of(open(target)?).set_times(&times(had))
}

struct Copying {
    /// The target.
    root: OwnedFd,
    /// The directory below it that is being copied.
    path: PathBuf,
    /// The first copy of each file that has several names, below the target.
    links: HashMap<(u64, u64), PathBuf>,
    /// What was made, below the target, and whether it is a directory; what is in one comes after it.
    made: Vec<(PathBuf, bool)>,
}

impl Copying {
    fn contents(&mut self, source: &OwnedFd, target: &OwnedFd, depth: usize) -> io::Result<()> {
        base::tree::check_depth(depth)?;
        for entry in Dir::read_from(source)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                self.one(source, target, name, depth)?;
            }
        }
        // Last: what is copied into it changes its time.
        dress(&Place::of(source.try_clone()?), &Place::of(target.try_clone()?))
    }

    fn one(&mut self, source: &OwnedFd, target: &OwnedFd, name: &CStr, depth: usize) -> io::Result<()> {
        let from = Place::at(source, name)?;
        let meta = from.stat()?;
        let kind = FileType::from_raw_mode(meta.st_mode);
        if kind == FileType::Directory {
            mkdirat(target, name, Mode::from_raw_mode(0o700))?;
            self.note(name, true);
            let to = Place::made(target, name, kind)?;
            self.path.push(OsStr::from_bytes(name.to_bytes()));
            self.contents(&from.read()?.into(), &to.read()?.into(), depth + 1)?;
            self.path.pop();
            return Ok(());
        }
        if meta.st_nlink > 1 {
            match self.links.entry((meta.st_dev, meta.st_ino)) {
                Occupied(first) => {
                    let first = open_beneath(&self.root, first.get())?;
                    linkat(&first, c"", target, name, AtFlags::EMPTY_PATH)?;
                    self.note(name, false);
                    return Ok(());
                }
                Vacant(place) => {
                    place.insert(self.path.join(OsStr::from_bytes(name.to_bytes())));
                }
            }
        }
        match kind {
            FileType::RegularFile => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let mut to = File::from(openat(target, name, flags, Mode::from_raw_mode(0o600))?);
                self.note(name, false);
                sparse::copy(&from.read()?, &mut to, |_| Ok(()))?;
                return dress(&from, &Place::of(to));
            }
            FileType::Symlink => {
                symlinkat(readlinkat(source, name, Vec::new())?, target, name)?;
            }
            kind => mknodat(target, name, kind, Mode::from_raw_mode(meta.st_mode), meta.st_rdev)?,
        }
        self.note(name, false);
        dress(&from, &Place::made(target, name, kind)?)
    }

    fn note(&mut self, name: &CStr, is_directory: bool) {
        self.made.push((self.path.join(OsStr::from_bytes(name.to_bytes())), is_directory));
    }

    /// Takes away what was made. A directory that others have put something into stays with that.
    fn undo(&self) {
        for (path, is_directory) in self.made.iter().rev() {
            let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            let flags = if *is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            let removed = open_beneath(&self.root, above).and_then(|above| Ok(unlinkat(above, name, flags)?));
            if let Err(error) = removed {
                tracing::debug!(path = %path.display(), %error, "take away what was copied");
            }
        }
    }
}

/// Gives what was made what is said of what it was made of.
fn dress(from: &Place, to: &Place) -> io::Result<()> {
    let meta = from.stat()?;
    to.set_owner(meta.st_uid, meta.st_gid)?;
    if FileType::from_raw_mode(meta.st_mode) != FileType::Symlink {
        to.set_mode(meta.st_mode & 0o7777)?;
    }
    to.take_attributes(from)?;
    to.set_times(&times(&meta))
}

/// Holds what was made below `root`, though somebody may have put links in its way since.
fn open_beneath(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat2(root, path, flags, Mode::empty(), resolve)?)
}

fn open(directory: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(directory, ".", flags, Mode::empty())?)
}

fn times(meta: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: meta.st_atime as _, tv_nsec: meta.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: meta.st_mtime as _, tv_nsec: meta.st_mtime_nsec as _ },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn a_copy_has_all_that_the_original_has() {
        let (from, to) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let source = |path: &str| from.path().join(path);
        fs::create_dir_all(source("d/e")).expect("make");
        fs::write(source("a"), "one").expect("write");
        fs::hard_link(source("a"), source("d/e/b")).expect("link");
        symlink("../../../..", source("d/up")).expect("link");
        fs::File::create(source("hole")).and_then(|file| file.set_len(8 << 20)).expect("a hole");
        std::os::unix::fs::chown(source("a"), Some(7), Some(8)).expect("chown");
        fs::set_permissions(source("d"), fs::Permissions::from_mode(0o1770)).expect("chmod");
        let attribute = |path: &str| Place::of(fs::File::open(path).expect("open"));
        attribute(source("d").to_str().expect("text")).set_attribute("user.note", b"kept").expect("set");
        let old = Timespec { tv_sec: -1000, tv_nsec: 5 };
        let times = Timestamps { last_access: old, last_modification: old };
        for path in ["d/e", "d", "."] {
            attribute(source(path).to_str().expect("text")).set_times(&times).expect("a time");
        }
        let open = |path: &Path| fs::File::open(path).expect("open");
        directory(open(from.path()).as_fd(), open(to.path()).as_fd()).expect("copy");

        let of = |path: &str| fs::symlink_metadata(to.path().join(path)).expect("stat");
        assert_eq!(
            (of("a").ino(), of("a").nlink(), of("a").uid(), of("a").gid()),
            (of("d/e/b").ino(), 2, 7, 8)
        );
        assert_eq!(of("d").mode() & 0o7777, 0o1770);
        for path in ["d/e", "d", "."] {
            assert_eq!((of(path).mtime(), of(path).mtime_nsec()), (-1000, 5), "{path}");
        }
        let copied = attribute(to.path().join("d").to_str().expect("text")).attributes().expect("listed");
        assert_eq!(copied, [(b"user.note".to_vec(), b"kept".to_vec())]);
        assert_eq!(fs::read_link(to.path().join("d/up")).expect("a link"), Path::new("../../../.."));
        assert_eq!((of("hole").len(), of("hole").blocks()), (8 << 20, 0));
    }

    #[test]
    fn a_copy_that_fails_leaves_what_others_have_put_there_and_nothing_else() {
        let (from, to) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        for path in ["a/b", "both"] {
            fs::create_dir_all(from.path().join(path)).expect("make");
        }
        for path in ["a/b/one", "a/two", "both/taken", "three"] {
            fs::write(from.path().join(path), "copied").expect("write");
        }
        // Somebody has put something there since it was looked at.
        fs::create_dir(to.path().join("both")).expect("make");
        fs::write(to.path().join("both/taken"), "theirs").expect("write");
        let open = |path: &Path| fs::File::open(path).expect("open");
        let error = directory(open(from.path()).as_fd(), open(to.path()).as_fd()).expect_err("in the way");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let left: Vec<_> = base::fs::entries(to.path()).expect("list");
        assert_eq!(left, [to.path().join("both")]);
        assert_eq!(fs::read_to_string(to.path().join("both/taken")).expect("read"), "theirs");
    }
}
