//! A directory is made what another one is.
//!
//! The sender is not trusted. Every entry is made in a directory that is open, found by going down from
//! the top through directories that were just made or seen, never by a path; an entry whose name is not next in
//! order is refused, so that nothing is named twice and nothing is put below something that is no directory.
//! The kernel resolves the only paths that there are, the targets of hard links, below the top and through no
//! link.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use base::place::Place;
use bytes::Bytes;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, linkat, mkdirat, mknodat,
    openat, openat2, readlinkat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::{entry, order, weight};
use crate::wire::fsutil::types::packet::PacketType;
use crate::wire::fsutil::types::{Packet, Stat};

/// What is remembered of files whose content has been asked for, at most, in bytes.
const REMEMBERED: usize = 512 << 20;
/// What remembering a file takes besides its name.
const EACH: usize = 160;
/// How many files may be kept open until their content comes.
const KEPT_OPEN: usize = 256;
/// How many files a sender may have under way at once; those that there are send four.
const UNDER_WAY: usize = 512;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why a directory could not be received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// What the client sends is not what a client sends.
    #[error("the client sends what it must not: {what} (`{}`)", String::from_utf8_lossy(path))]
    Unfit {
        /// What is wrong.
        what: &'static str,
        /// Where.
        path: Vec<u8>,
    },
    /// More than can be remembered.
    #[error("the client sends more files than can be received at once")]
    TooMany,
    /// The client gave up.
    #[error("error from sender: {0}")]
    Sender(String),
    /// The system refused.
    #[error("receive `{}`", String::from_utf8_lossy(path))]
    Io {
        /// What was being received.
        path: Vec<u8>,
        /// The reason.
        source: io::Error,
    },
}

/// Makes a directory what another one is, packet by packet.
pub(crate) struct Receiver {
    /// The directories on the way to the entry that came last; the first is the top.
    levels: Vec<Level>,
    /// The next entry's number.
    next: u32,
    /// Files whose content has been asked for.
    pending: HashMap<u32, Pending>,
    /// How many of those are open.
    open: usize,
    /// What all of those take, in bytes.
    remembered: usize,
    /// What is to be asked for next.
    requests: Vec<u32>,
    /// Every entry has been named.
    named: bool,
    finished: bool,
    received: u64,
}

/// A directory on the way down.
struct Level {
    fd: OwnedFd,
    path: Vec<u8>,
    /// What was there before and has not been reached yet, in order.
    existing: VecDeque<Vec<u8>>,
    /// The entry that came last.
    last: Vec<u8>,
    /// Its attributes, for when all that is in it is there. The top has none to be set.
    stat: Option<Stat>,
}

/// A file whose content is to come.
struct Pending {
    path: Vec<u8>,
    file: Option<File>,
    mode: u32,
    time: i64,
    attributes: Vec<(String, Bytes)>,
}

impl Receiver {
    /// Begins to make the directory that is open as `top` what the sender's is.
    pub(crate) fn new(top: impl AsFd) -> io::Result<Self> {
        // Of its own, and one that entries can be read from.
        let fd = openat(top, c".", DIRECTORY, Mode::empty())?;
        let existing = names(&fd)?;
        let top = Level { fd, path: Vec::new(), existing, last: Vec::new(), stat: None };
        Ok(Receiver {
            levels: vec![top],
            next: 0,
            pending: HashMap::new(),
            open: 0,
            remembered: 0,
            requests: Vec::new(),
            named: false,
            finished: false,
            received: 0,
        })
    }

    /// Takes the next packet.
    pub(crate) fn take(&mut self, packet: Packet) -> Result<(), ReceiveError> {
        self.received += weight(&packet);
        match PacketType::try_from(packet.r#type) {
            Ok(PacketType::PacketStat) => match packet.stat {
                Some(stat) => self.entry(stat),
                None => self.all_named(),
            },
            Ok(PacketType::PacketData) => self.content(packet.id, &packet.data),
            Ok(PacketType::PacketFin) if self.is_complete() => {
                self.finished = true;
                Ok(())
            }
            Ok(PacketType::PacketFin) => Err(unfit("the end before all is there", &[])),
            Ok(PacketType::PacketErr) => {
                Err(ReceiveError::Sender(String::from_utf8_lossy(&packet.data).into_owned()))
            }
            Ok(PacketType::PacketReq) => Err(unfit("a request", &[])),
            Err(_) => Err(unfit("a packet of no kind", &[])),
        }
    }

    /// The numbers of the entries whose content is to be asked for now.
    pub(crate) fn requests(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.requests)
    }

    /// Whether the directory is what the sender's is.
    pub(crate) fn is_complete(&self) -> bool {
        self.named && self.pending.is_empty()
    }

    /// Whether the sender has said that it is done, after all was there.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// How much has come.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    fn entry(&mut self, stat: Stat) -> Result<(), ReceiveError> {
        let path = stat.path.to_vec();
        if self.named {
            return Err(unfit("an entry after the last", &path));
        }
        let number = self.next;
        self.next = number.checked_add(1).ok_or(ReceiveError::TooMany)?;
        let Some((above, name)) = order::split(&path) else {
            return Err(unfit("a name that is none", &path));
        };
        let Some(kind) = entry::kind(stat.mode) else { return Err(unfit("a file of no kind", &path)) };
        while self.levels.last().is_some_and(|level| level.path != above) {
            if self.levels.len() == 1 {
                return Err(unfit("an entry whose directory was not named before", &path));
            }
            self.leave()?;
        }
        let Some(level) = self.levels.last_mut() else { return Err(unfit("an entry of nothing", &path)) };
        if !level.last.is_empty() && *level.last >= *name {
            return Err(unfit("an entry out of order", &path));
        }
        level.last = name.to_vec();
        // Who sends has none of those that would have come before.
        while level.existing.front().is_some_and(|there| **there < *name) {
            if let Some(gone) = level.existing.pop_front() {
                remove(&level.fd, &gone).map_err(|source| fail(&path, source))?;
            }
        }
        let there = level.existing.pop_front_if(|there| **there == *name).is_some();
        let there = match there.then(|| statat(&level.fd, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Some(Ok(found)) => Some(found),
            Some(Err(Errno::NOENT)) | None => None,
            Some(Err(error)) => return Err(fail(&path, error.into())),
        };
        let made = match kind {
            FileType::Directory => self.directory(&path, name, there, stat),
            FileType::RegularFile if stat.linkname.is_empty() => self.file(number, &path, name, there, stat),
            FileType::RegularFile => return self.hard_link(&path, name, there, &stat.linkname),
            FileType::Symlink => self.link(name, there, &stat),
            // A socket without who listens is of no use to anybody.
            FileType::Socket => self.clear(name, there),
            kind => self.node(name, kind, there, &stat),
        };
        made.map_err(|source| fail(&path, source))
    }

    fn directory(
        &mut self,
        path: &[u8],
        name: &[u8],
        there: Option<rustix::fs::Stat>,
        stat: Stat,
    ) -> io::Result<()> {
        let is_there = there.is_some_and(|there| is(&there, FileType::Directory));
        if !is_there {
            self.clear(name, there)?;
            mkdirat(self.here()?, name, Mode::from_raw_mode(0o700))?;
        }
        let fd = openat(self.here()?, name, DIRECTORY, Mode::empty())?;
        let existing = if is_there { names(&fd)? } else { VecDeque::new() };
        let last = Vec::new();
        self.levels.push(Level { fd, path: path.to_vec(), existing, last, stat: Some(stat) });
        Ok(())
    }

    fn file(
        &mut self,
        number: u32,
        path: &[u8],
        name: &[u8],
        there: Option<rustix::fs::Stat>,
        stat: Stat,
    ) -> io::Result<()> {
        if there.is_some_and(|there| is_same(&there, &stat)) {
            return Ok(());
        }
        // Never written over: it may have other names, whose content stays.
        self.clear(name, there)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(self.here()?, name, flags, Mode::from_raw_mode(0o600))?);
        let attributes: Vec<_> = stat.xattrs.into_iter().filter(|(name, _)| is_wanted(name)).collect();
        let file = (self.open < KEPT_OPEN).then_some(file);
        self.open += usize::from(file.is_some());
        let pending = Pending { path: path.to_vec(), file, mode: stat.mode, time: stat.mod_time, attributes };
        self.remembered += pending.weight();
        if self.remembered > REMEMBERED {
            return Err(io::Error::other("too many files at once"));
        }
        self.pending.insert(number, pending);
        self.requests.push(number);
        Ok(())
    }

    fn hard_link(
        &mut self,
        path: &[u8],
        name: &[u8],
        there: Option<rustix::fs::Stat>,
        target: &[u8],
    ) -> Result<(), ReceiveError> {
        let Some((above, old)) = order::split(target) else {
            return Err(unfit("a link to a name that is none", path));
        };
        // What comes before in order is what the sender has, or is on its way.
        if order::compare(target, path).is_ge() {
            return Err(unfit("a link to what was not named before", path));
        }
        let linked = || -> io::Result<bool> {
            let top = &self.levels[0].fd;
            let above = match above {
                b"" => openat(top, c".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?,
                above => below(top, above, OFlags::PATH | OFlags::DIRECTORY)?,
            };
            let found = statat(&above, old, AtFlags::SYMLINK_NOFOLLOW)?;
            if !is(&found, FileType::RegularFile) {
                return Ok(false);
            }
            if there.is_some_and(|there| (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino)) {
                return Ok(true);
            }
            self.clear(name, there)?;
            linkat(&above, old, self.here()?, name, AtFlags::empty())?;
            Ok(true)
        };
        match linked() {
            Ok(true) => Ok(()),
            Ok(false) => Err(unfit("a link to what is no file", path)),
            Err(error) if is_absent(&error) => Err(unfit("a link to what was not named before", path)),
            Err(source) => Err(fail(path, source)),
        }
    }

    fn link(&self, name: &[u8], there: Option<rustix::fs::Stat>, stat: &Stat) -> io::Result<()> {
        let here = self.here()?;
        let same = there.is_some_and(|there| {
            is(&there, FileType::Symlink)
                && readlinkat(here, name, Vec::new()).is_ok_and(|target| target.as_bytes() == stat.linkname)
        });
        if !same {
            self.clear(name, there)?;
            symlinkat(&*stat.linkname, here, name)?;
        }
        Place::at(here, name)?.set_times(&times(stat.mod_time))
    }

    fn node(
        &self,
        name: &[u8],
        kind: FileType,
        there: Option<rustix::fs::Stat>,
        stat: &Stat,
    ) -> io::Result<()> {
        let here = self.here()?;
        let number = |number: i64| u32::try_from(number).map_err(|_| io::ErrorKind::InvalidInput);
        let device = match kind {
            FileType::Fifo => 0,
            _ => rustix::fs::makedev(number(stat.devmajor)?, number(stat.devminor)?),
        };
        if !there.is_some_and(|there| is(&there, kind) && there.st_rdev == device) {
            self.clear(name, there)?;
            mknodat(here, name, kind, Mode::from_raw_mode(0o600), device)?;
        }
        let place = Place::made(here, name, kind)?;
        place.set_owner(0, 0)?;
        place.set_mode(entry::permissions(stat.mode))?;
        place.set_times(&times(stat.mod_time))
    }

    fn content(&mut self, number: u32, bytes: &[u8]) -> Result<(), ReceiveError> {
        let Some(pending) = self.pending.get_mut(&number) else {
            return Err(unfit("content that was not asked for", &[]));
        };
        if pending.file.is_none() {
            if self.open >= UNDER_WAY {
                return Err(unfit("the content of too many files at once", &pending.path));
            }
            let found = below(&self.levels[0].fd, &pending.path, OFlags::WRONLY | OFlags::NOFOLLOW);
            pending.file = Some(File::from(found.map_err(|source| fail(&pending.path, source))?));
            self.open += 1;
        }
        if let Some(file) = &mut pending.file
            && !bytes.is_empty()
        {
            return file.write_all(bytes).map_err(|source| fail(&pending.path, source));
        }
        let Some(done) = self.pending.remove(&number) else { return Ok(()) };
        self.open -= 1;
        self.remembered -= done.weight();
        done.settle().map_err(|source| fail(&done.path, source))
    }

    fn all_named(&mut self) -> Result<(), ReceiveError> {
        if self.named {
            return Err(unfit("the last entry twice", &[]));
        }
        while self.levels.len() > 1 {
            self.leave()?;
        }
        let top = &mut self.levels[0];
        for gone in std::mem::take(&mut top.existing) {
            remove(&top.fd, &gone).map_err(|source| fail(&gone, source))?;
        }
        self.named = true;
        Ok(())
    }

    /// Leaves the directory that was reached last, in which all is named.
    fn leave(&mut self) -> Result<(), ReceiveError> {
        let Some(level) = self.levels.pop() else { return Ok(()) };
        let Level { fd, path, existing, stat, .. } = level;
        let settle = || -> io::Result<()> {
            existing.iter().try_for_each(|gone| remove(&fd, gone))?;
            let Some(stat) = stat else { return Ok(()) };
            let place = Place::of(fd);
            for (name, value) in stat.xattrs.iter().filter(|(name, _)| is_wanted(name)) {
                place.set_attribute(name.as_str(), value)?;
            }
            place.set_owner(0, 0)?;
            place.set_mode(entry::permissions(stat.mode))?;
            // Files still to be filled do not change when their directory was changed.
            place.set_times(&times(stat.mod_time))
        };
        settle().map_err(|source| fail(&path, source))
    }

    /// Makes way for what is to be `name` in the directory that was reached last.
    fn clear(&self, name: &[u8], there: Option<rustix::fs::Stat>) -> io::Result<()> {
        match there {
            Some(_) => remove(self.here()?, name),
            None => Ok(()),
        }
    }

    fn here(&self) -> io::Result<&OwnedFd> {
        self.levels.last().map(|level| &level.fd).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Pending {
    /// What remembering it takes.
    fn weight(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        EACH + self.path.len() + attributes.sum::<usize>()
    }

    /// All of the content is there. The time comes last: a file that is not whole has another than its
    /// sender's, and is sent again.
    fn settle(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        for (name, value) in &self.attributes {
            match rustix::fs::fsetxattr(file, name.as_str(), value, rustix::fs::XattrFlags::empty()) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry::permissions(self.mode)))?;
        Ok(rustix::fs::futimens(file, &times(self.time))?)
    }
}

/// Whether the file that is there is the sender's, as far as one can see without reading it.
fn is_same(there: &rustix::fs::Stat, stat: &Stat) -> bool {
    is(there, FileType::RegularFile)
        && i64::try_from(there.st_size) == Ok(stat.size)
        && entry::nanoseconds(there.st_mtime, there.st_mtime_nsec as i64) == stat.mod_time
        && there.st_mode & 0o7777 == entry::permissions(stat.mode)
}

fn is(there: &rustix::fs::Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(there.st_mode) == kind
}

/// Attributes that belong to a file; others belong to the host that it was on.
fn is_wanted(name: &str) -> bool {
    name == "security.capability" || name.starts_with("user.") && !name.starts_with("user.overlay.")
}

fn times(modified: i64) -> Timestamps {
    let time: Timespec = entry::time(modified);
    Timestamps { last_access: time, last_modification: time }
}

/// What is at `path` below `top`, through no link.
fn below(top: &OwnedFd, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(top, path, flags | OFlags::CLOEXEC, Mode::empty(), inside)?)
}

/// What is in a directory, in order.
fn names(directory: &OwnedFd) -> io::Result<VecDeque<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names.into())
}

/// Removes what is in a directory under `name`, with all that is in it.
fn remove(directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let directory = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    base::tree::remove(&directory.join(Path::new(OsStr::from_bytes(name))))
}

fn is_absent(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV))
}

fn unfit(what: &'static str, path: &[u8]) -> ReceiveError {
    ReceiveError::Unfit { what, path: path.to_vec() }
}

fn fail(path: &[u8], source: io::Error) -> ReceiveError {
    ReceiveError::Io { path: path.to_vec(), source }
}

#[cfg(test)]
mod tests;
