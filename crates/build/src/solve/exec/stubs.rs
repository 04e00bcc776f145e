//! What a runtime makes in a root file system for something to be mounted over it, and takes back afterwards.
//!
//! The command has had the root file system meanwhile, and may have put links anywhere in it
//! (CVE-2024-23652): what is taken back is found without following any, by the place that it had before.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What was not there before.
pub(super) struct Stubs {
    /// Places without links, relative to the root, and of each how many directories, with itself, were not there;
    /// each before what is in it.
    missing: Vec<(PathBuf, usize)>,
    /// Directories that were there, in which the first of the missing were made.
    above: Vec<PathBuf>,
}

impl Stubs {
    /// What has to be made in `root` for mounts at `targets`. With `parents`, what is made above those is taken back
    /// too.
    pub(super) fn of<'a>(
        root: &OwnedFd,
        targets: impl Iterator<Item = &'a str>,
        parents: bool,
    ) -> io::Result<Self> {
        let mut stubs = Self { missing: Vec::new(), above: Vec::new() };
        let base = real(root)?;
        for target in targets {
            let clean = crate::ignore::clean(target);
            let parts: Vec<&str> = clean.split('/').filter(|part| !part.is_empty()).collect();
            // The deepest directory that is there.
            let (mut there, mut found) = (0, open(root, Path::new(""))?);
            let mut path = PathBuf::new();
            for part in &parts {
                path.push(part);
                let Ok(fd) = open(root, &path) else { break };
                (there, found) = (there + 1, fd);
            }
            if there == parts.len() {
                continue;
            }
            let real = real(&found)?;
            let above = real.strip_prefix(&base).map(Path::to_owned).unwrap_or_default();
            let made = parts.len() - there;
            let mut place = above.clone();
            place.extend(&parts[there..]);
            stubs.missing.push((place, if parents { made } else { 1 }));
            stubs.above.push(above);
        }
        stubs.missing.sort();
        stubs.missing.dedup();
        stubs.above.sort();
        stubs.above.dedup();
        Ok(stubs)
    }

    /// Takes back what is empty still, out of what a container has written (`upper`, which is mounted nowhere); then
    /// the directories above that are as they are below.
    pub(super) fn take_back(&self, upper: &Path, below: &OwnedFd) -> io::Result<()> {
        let upper = rustix::fs::openat(CWD, upper, DIRECTORY, Mode::empty())?;
        for (place, made) in self.missing.iter().rev() {
            let made = place.ancestors().take(*made);
            for place in made {
                let Some((parent, name)) = find(&upper, place) else { continue };
                let Ok(stat) = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
                let flags = match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => AtFlags::REMOVEDIR,
                    FileType::RegularFile if stat.st_size == 0 && stat.st_nlink == 1 => AtFlags::empty(),
                    // What it is in is not empty then.
                    _ => break,
                };
                match rustix::fs::unlinkat(&parent, name, flags) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(Errno::NOTEMPTY | Errno::EXIST) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        for above in self.above.iter().rev() {
            let mut place = above.as_path();
            while place.parent().is_some() && same(&upper, below, place) {
                let Some((parent, name)) = find(&upper, place) else { break };
                if rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR).is_err() {
                    break;
                }
                place = place.parent().unwrap_or(Path::new(""));
            }
        }
        Ok(())
    }
}

/// Whether a directory in what was written hides nothing and says nothing that is not said below.
fn same(upper: &OwnedFd, below: &OwnedFd, place: &Path) -> bool {
    let Ok(written) = strict(upper, place) else { return false };
    let Ok(was) = strict(below, place) else { return false };
    let attributes = |fd: &OwnedFd| {
        let mut held = base::place::Place::of(fd.try_clone().ok()?).attributes().ok()?;
        held.sort();
        // What the overlay says of where it comes from.
        held.retain(|(name, _)| {
            !matches!(name.as_slice(), b"trusted.overlay.origin" | b"trusted.overlay.impure")
        });
        Some(held)
    };
    let (Ok(a), Ok(b)) = (rustix::fs::fstat(&written), rustix::fs::fstat(&was)) else { return false };
    (a.st_mode, a.st_uid, a.st_gid) == (b.st_mode, b.st_uid, b.st_gid)
        && attributes(&written) == attributes(&was)
}

/// The directory that a place is in, and its name.
fn find<'a>(root: &OwnedFd, place: &'a Path) -> Option<(OwnedFd, &'a OsStr)> {
    let parent = strict(root, place.parent()?).ok()?;
    Some((parent, place.file_name()?))
}

/// Opens a directory by a path without links.
fn strict(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(root.as_fd(), path, DIRECTORY, Mode::empty(), resolve)?)
}

/// Opens what is at a path, as a process would whose root that is.
fn open(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(root.as_fd(), path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

fn real(fd: &OwnedFd) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let target = rustix::fs::readlink(link, Vec::new())?;
    Ok(PathBuf::from(OsStr::from_bytes(target.to_bytes())))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn opened(path: &Path) -> OwnedFd {
        rustix::fs::open(path, DIRECTORY, Mode::empty()).expect("open")
    }

    #[test]
    fn what_was_made_is_taken_back_and_nothing_that_was_put_in_its_place() {
        let directory = tempfile::tempdir().expect("a directory");
        let (below, upper, outside) = (
            directory.path().join("below"),
            directory.path().join("upper"),
            directory.path().join("outside"),
        );
        for path in ["below/run", "below/etc", "upper/run/secrets", "upper/opt/a/b", "outside/x/y"] {
            fs::create_dir_all(directory.path().join(path)).expect("make");
        }
        std::os::unix::fs::symlink("run", below.join("link")).expect("link");
        fs::write(upper.join("run/secrets/one"), "").expect("write");
        let targets = ["/link/secrets/one", "/opt/a/b", "/etc", "/x/y/z"];
        let stubs = Stubs::of(&opened(&below), targets.into_iter(), true).expect("stubs");
        let names: Vec<(String, usize)> =
            stubs.missing.iter().map(|(path, made)| (path.display().to_string(), *made)).collect();
        let expected = [("opt/a/b", 3), ("run/secrets/one", 2), ("x/y/z", 3)];
        assert_eq!(names, expected.map(|(path, made)| (path.to_owned(), made)));

        // The command has put links that lead out where the places were.
        fs::create_dir_all(outside.join("x/y/z")).expect("make");
        std::os::unix::fs::symlink(outside.join("x"), upper.join("x")).expect("link");
        fs::write(upper.join("opt/kept"), "content").expect("write");
        stubs.take_back(&upper, &opened(&below)).expect("take back");
        assert!(outside.join("x/y/z").exists(), "what is outside stays");
        assert!(fs::symlink_metadata(upper.join("x")).is_ok(), "what the command made stays");
        assert!(upper.join("opt/kept").exists() && !upper.join("opt/a").exists());
        assert!(!upper.join("run").exists(), "a directory that is as it was below is not in the layer");
    }
}
