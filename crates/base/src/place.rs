//! Something in a file system, held without being opened: what is done to it is done to exactly that.
//!
//! Between two calls that name a file in a directory, whoever may write there can put another one
//! under that name, for example a symbolic link. A place is found once and then used by its
//! descriptor, which works for every kind of file, and neither waits for a FIFO nor wakes a device.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timestamps, Uid, chmodat, chownat, fstat, openat,
    utimensat,
};
use rustix::io::Errno;
use rustix::path::Arg;

/// Something in a file system, held by a descriptor that may be one of `O_PATH`.
#[derive(Debug)]
pub struct Place {
    fd: OwnedFd,
}

impl Place {
    /// What is in the directory `parent` under `name`; a symbolic link is the link itself.
    pub fn at(parent: impl AsFd, name: impl Arg) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { fd: openat(parent, name, flags, Mode::empty())? })
    }

    /// What was just made in `parent` under `name`, which must be of this kind: somebody may have
    /// put something else there.
    pub fn made(parent: impl AsFd, name: impl Arg, kind: FileType) -> io::Result<Self> {
        let place = Self::at(parent, name)?;
        if place.kind()? != kind {
            return Err(io::Error::other("something else was put in its place meanwhile"));
        }
        Ok(place)
    }

    /// What is open as `fd`.
    pub fn of(fd: impl Into<OwnedFd>) -> Self {
        Self { fd: fd.into() }
    }

    /// Its attributes.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(fstat(&self.fd)?)
    }

    /// What kind of file it is.
    pub fn kind(&self) -> io::Result<FileType> {
        Ok(FileType::from_raw_mode(self.stat()?.st_mode))
    }

    /// Opens it for reading, if it is a regular file or a directory; `InvalidInput` otherwise.
    pub fn read(&self) -> io::Result<File> {
        match self.kind()? {
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
                Ok(openat(CWD, self.link(), flags, Mode::empty())?.into())
            }
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
                Ok(openat(&self.fd, c".", flags, Mode::empty())?.into())
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Gives it to an owner and a group. Takes the set-id bits of an executable away.
    pub fn set_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(chownat(&self.fd, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?)
    }

    /// Sets its permission bits; a symbolic link has none.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        // `fchmod` does not take an `O_PATH` descriptor. The link in procfs leads to the file
        // itself, whatever its kind and wherever it has been moved.
        Ok(chmodat(CWD, self.link(), Mode::from_raw_mode(mode), AtFlags::empty())?)
    }

    /// Sets an extended attribute. One that the file system does not take, or this process may not set, is
    /// lost: so it is with others, and files are worth having without.
    pub fn set_attribute(&self, name: impl Arg, value: &[u8]) -> io::Result<()> {
        match rustix::fs::setxattr(self.link(), name, value, rustix::fs::XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Its extended attributes, sorted by name; without overlayfs' own, and without the label that belongs to
    /// the policy of a host.
    pub fn attributes(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        // A descriptor of a place has none to ask for; the link in procfs leads to the file itself.
        let path = self.link();
        let names = grown(|buffer| rustix::fs::listxattr(&path, buffer))?.unwrap_or_default();
        let mut attributes = Vec::new();
        let is_foreign = |name: &[u8]| {
            let prefixes: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
            name == b"security.selinux" || prefixes.iter().any(|prefix| name.starts_with(prefix))
        };
        for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty() && !is_foreign(name)) {
            // It may be gone by now.
            if let Some(value) = grown(|buffer| rustix::fs::getxattr(&path, name, buffer))? {
                attributes.push((name.to_vec(), value));
            }
        }
        attributes.sort();
        Ok(attributes)
    }

    /// Gives it the extended attributes of another.
    pub fn take_attributes(&self, from: &Place) -> io::Result<()> {
        from.attributes()?.iter().try_for_each(|(name, value)| self.set_attribute(name, value))
    }

    /// Sets when it was read and written last.
    pub fn set_times(&self, times: &Timestamps) -> io::Result<()> {
        Ok(utimensat(&self.fd, c"", times, AtFlags::EMPTY_PATH)?)
    }

    fn link(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }
}

/// What `read` puts into a buffer that is large enough; `None` where there is nothing of the kind.
fn grown(mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(Some(buffer));
            }
            Err(Errno::RANGE) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 4, 0),
            Err(Errno::OPNOTSUPP | Errno::NODATA) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Timespec, mknodat};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn what_is_done_to_a_place_is_not_done_to_what_took_its_name() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| directory.path().join(name);
        let parent = File::open(directory.path()).expect("open");
        std::fs::write(path("file"), "x").expect("write");
        std::fs::write(path("canary"), "x").expect("write");
        std::fs::set_permissions(path("canary"), std::fs::Permissions::from_mode(0o600)).expect("chmod");
        let before = std::fs::metadata(path("canary")).expect("stat");
        let place = Place::made(&parent, "file", FileType::RegularFile).expect("it is there");
        std::fs::rename(path("file"), path("moved")).expect("rename");
        symlink(path("canary"), path("file")).expect("link");
        place.set_mode(0o4755).expect("set the mode");
        let time = Timespec { tv_sec: 7, tv_nsec: 0 };
        place.set_times(&Timestamps { last_access: time, last_modification: time }).expect("set the times");
        let moved = std::fs::metadata(path("moved")).expect("stat");
        assert_eq!((moved.mode() & 0o7777, moved.mtime()), (0o4755, 7));
        let after = std::fs::metadata(path("canary")).expect("stat");
        assert_eq!((after.mode(), after.mtime()), (before.mode(), before.mtime()));
        assert!(Place::made(&parent, "file", FileType::RegularFile).is_err(), "it is a link by now");
    }

    #[test]
    fn attributes_are_taken_from_directories_and_links_alike() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let parent = File::open(directory.path()).expect("open");
        for name in ["from", "to"] {
            std::fs::create_dir(directory.path().join(name)).expect("make");
        }
        let (from, to) = (Place::at(&parent, "from").expect("held"), Place::at(&parent, "to").expect("held"));
        let long = vec![b'x'; 3000];
        from.set_attribute("user.long", &long).expect("set");
        from.set_attribute("user.line\nfeed", b"").expect("set");
        from.set_attribute("user.overlay.opaque", b"y").expect("set");
        to.take_attributes(&from).expect("taken");
        let expected = [(b"user.line\nfeed".to_vec(), Vec::new()), (b"user.long".to_vec(), long)];
        assert_eq!(to.attributes().expect("listed"), expected);
        symlink("from", directory.path().join("link")).expect("link");
        let link = Place::at(&parent, "link").expect("held");
        assert!(link.attributes().expect("listed").is_empty(), "those of what it leads to");
        // A link has none of a user's, which is no reason to fail.
        link.take_attributes(&from).expect("taken as far as can be");
    }

    #[test]
    fn links_and_pipes_are_held_without_being_opened() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let parent = File::open(directory.path()).expect("open");
        mknodat(&parent, "fifo", FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("make a FIFO");
        let fifo = Place::at(&parent, "fifo").expect("held");
        fifo.set_mode(0o640).expect("set the mode");
        assert_eq!(fifo.stat().expect("stat").st_mode & 0o7777, 0o640);
        assert_eq!(fifo.read().expect_err("not opened").kind(), io::ErrorKind::InvalidInput);
        symlink("nowhere", directory.path().join("link")).expect("link");
        let link = Place::at(&parent, "link").expect("held");
        let time = Timespec { tv_sec: 7, tv_nsec: 0 };
        link.set_times(&Timestamps { last_access: time, last_modification: time }).expect("set the times");
        assert_eq!(link.stat().expect("stat").st_mtime, 7);
    }
}
