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
use base::space::Space;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, linkat, mkdirat, mknodat,
    openat, openat2, readlinkat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::memory::{Held, Memory};
use super::{entry, order, weight};
use crate::wire::fsutil::types::packet::PacketType;
use crate::wire::fsutil::types::{Packet, Stat};

/// What remembering a file or a directory takes besides its name and attributes.
const EACH: usize = 256;
/// What remembering a name that is there takes besides it.
const NAME: usize = 48;
/// The longest path that a client can have.
const PATH: usize = 4 << 10;
/// How many files may be kept open until their content comes.
const KEPT_OPEN: usize = 256;
/// How many files are asked for at a time; senders send four at once.
const WINDOW: usize = 256;

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
    /// Files whose content is to come.
    pending: HashMap<u32, Pending>,
    /// How many of those are open.
    open: usize,
    /// How many of those have been asked for, and are not there.
    asked: usize,
    /// What is to be asked for, in its order.
    waiting: VecDeque<u32>,
    /// What all of this takes.
    held: Held,
    /// What is left for what comes.
    space: Space,
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
    /// How it is to be, when all that is in it is there. The top stays as it is.
    looks: Option<Looks>,
}

/// A file whose content is to come.
struct Pending {
    path: Vec<u8>,
    file: Option<File>,
    looks: Looks,
    /// It has been asked for.
    asked: bool,
    /// How much of its content may still come.
    left: u64,
}

/// How a file or a directory is to be.
struct Looks {
    mode: u32,
    time: i64,
    /// Those that are kept, in memory of their own: what a message was read into is as large as it.
    attributes: Vec<(String, Box<[u8]>)>,
}

impl Receiver {
    /// Begins to make the directory that is open as `top` what the sender's is.
    pub(crate) fn new(top: impl AsFd, memory: &Memory) -> Result<Self, ReceiveError> {
        let mut held = memory.hold();
        let refused = |source| fail(b".", source);
        // Of its own, and one that entries can be read from.
        let fd = openat(top, c".", DIRECTORY, Mode::empty()).map_err(|error| refused(error.into()))?;
        let existing = names(&fd, &mut held).map_err(refused)?.ok_or(ReceiveError::TooMany)?;
        let space = Space::at(&fd).map_err(refused)?;
        let top = Level { fd, path: Vec::new(), existing, last: Vec::new(), looks: None };
        Ok(Receiver {
            levels: vec![top],
            next: 0,
            pending: HashMap::new(),
            open: 0,
            asked: 0,
            waiting: VecDeque::new(),
            held,
            space,
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

    /// The numbers of the entries whose content is to be asked for now: not more than a window of them,
    /// which moves as content comes.
    pub(crate) fn requests(&mut self) -> Vec<u32> {
        let room = WINDOW.saturating_sub(self.asked).min(self.waiting.len());
        let numbers: Vec<u32> = self.waiting.drain(..room).collect();
        for number in &numbers {
            if let Some(pending) = self.pending.get_mut(number) {
                pending.asked = true;
                self.asked += 1;
            }
        }
        numbers
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
        if self.named {
            return Err(unfit("an entry after the last", &stat.path));
        }
        if stat.path.len() > PATH {
            return Err(unfit("a path that is too long", &stat.path[..PATH]));
        }
        let path = stat.path.to_vec();
        self.space.take_entry().map_err(|source| fail(&path, source))?;
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
                self.held.give(NAME + gone.len());
                remove(&level.fd, &gone).map_err(|source| fail(&path, source))?;
            }
        }
        let there = level.existing.pop_front_if(|there| **there == *name);
        let there = there.inspect(|name| self.held.give(NAME + name.len())).is_some();
        let there = match there.then(|| statat(&level.fd, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Some(Ok(found)) => Some(found),
            Some(Err(Errno::NOENT)) | None => None,
            Some(Err(error)) => return Err(fail(&path, error.into())),
        };
        let made = match kind {
            FileType::Directory => return self.directory(&path, name, there, &stat),
            FileType::RegularFile if stat.linkname.is_empty() => {
                return self.file(number, &path, name, there, &stat);
            }
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
        stat: &Stat,
    ) -> Result<(), ReceiveError> {
        let looks = self.looks(path, stat)?;
        let is_there = there.is_some_and(|there| is(&there, FileType::Directory));
        let made = || -> io::Result<OwnedFd> {
            if !is_there {
                self.clear(name, there)?;
                mkdirat(self.here()?, name, Mode::from_raw_mode(0o700))?;
            }
            Ok(openat(self.here()?, name, DIRECTORY, Mode::empty())?)
        };
        let fd = made().map_err(|source| fail(path, source))?;
        let existing = match is_there {
            true => names(&fd, &mut self.held).map_err(|source| fail(path, source))?,
            false => Some(VecDeque::new()),
        };
        let existing = existing.ok_or(ReceiveError::TooMany)?;
        let last = Vec::new();
        self.levels.push(Level { fd, path: path.to_vec(), existing, last, looks: Some(looks) });
        Ok(())
    }

    fn file(
        &mut self,
        number: u32,
        path: &[u8],
        name: &[u8],
        there: Option<rustix::fs::Stat>,
        stat: &Stat,
    ) -> Result<(), ReceiveError> {
        if there.is_some_and(|there| is_same(&there, stat)) {
            return Ok(());
        }
        let Ok(left) = u64::try_from(stat.size) else { return Err(unfit("a file of no size", path)) };
        self.space.take(left).map_err(|source| fail(path, source))?;
        let looks = self.looks(path, stat)?;
        let made = || -> io::Result<File> {
            // Never written over: it may have other names, whose content stays.
            self.clear(name, there)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(File::from(openat(self.here()?, name, flags, Mode::from_raw_mode(0o600))?))
        };
        let file = made().map_err(|source| fail(path, source))?;
        let file = (self.open < KEPT_OPEN).then_some(file);
        self.open += usize::from(file.is_some());
        self.pending.insert(number, Pending { path: path.to_vec(), file, looks, asked: false, left });
        self.waiting.push_back(number);
        Ok(())
    }

    /// How what is at `path` is to be, if that can be remembered.
    fn looks(&mut self, path: &[u8], stat: &Stat) -> Result<Looks, ReceiveError> {
        let attributes = stat.xattrs.iter().filter(|(name, _)| is_wanted(name));
        let attributes = attributes.map(|(name, value)| (name.clone(), Box::from(&**value))).collect();
        let looks = Looks { mode: stat.mode, time: stat.mod_time, attributes };
        match self.held.take(looks.weight(path)) {
            true => Ok(looks),
            false => Err(ReceiveError::TooMany),
        }
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
        let Some(pending) = self.pending.get_mut(&number).filter(|pending| pending.asked) else {
            return Err(unfit("content that was not asked for", &[]));
        };
        let Some(left) = pending.left.checked_sub(bytes.len() as u64) else {
            return Err(unfit("more content than it said", &pending.path));
        };
        pending.left = left;
        self.space.take(bytes.len() as u64).map_err(|source| fail(&pending.path, source))?;
        if pending.file.is_none() {
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
        self.asked -= 1;
        self.held.give(done.looks.weight(&done.path));
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
            self.held.give(NAME + gone.len());
            remove(&top.fd, &gone).map_err(|source| fail(&gone, source))?;
        }
        self.named = true;
        Ok(())
    }

    /// Leaves the directory that was reached last, in which all is named.
    fn leave(&mut self) -> Result<(), ReceiveError> {
        let Some(level) = self.levels.pop() else { return Ok(()) };
        let Level { fd, path, existing, looks, .. } = level;
        self.held.give(existing.iter().map(|name| NAME + name.len()).sum());
        self.held.give(looks.as_ref().map_or(0, |looks| looks.weight(&path)));
        let settle = || -> io::Result<()> {
            existing.iter().try_for_each(|gone| remove(&fd, gone))?;
            let Some(looks) = looks else { return Ok(()) };
            let place = Place::of(fd);
            for (name, value) in &looks.attributes {
                place.set_attribute(name.as_str(), value)?;
            }
            place.set_owner(0, 0)?;
            place.set_mode(entry::permissions(looks.mode))?;
            // Files still to be filled do not change when their directory was changed.
            place.set_times(&times(looks.time))
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

impl Looks {
    /// What remembering what looks so takes, and is at `path`.
    fn weight(&self, path: &[u8]) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| NAME + name.len() + value.len());
        EACH + path.len() + attributes.sum::<usize>()
    }
}

impl Pending {
    /// All of the content is there. The time comes last: a file that is not whole has another than its
    /// sender's, and is sent again.
    fn settle(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        for (name, value) in &self.looks.attributes {
            match rustix::fs::fsetxattr(file, name.as_str(), value, rustix::fs::XattrFlags::empty()) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry::permissions(self.looks.mode)))?;
        Ok(rustix::fs::futimens(file, &times(self.looks.time))?)
    }
}

/// Whether the file that is there is the sender's, as far as one can see without reading it.
fn is_same(there: &rustix::fs::Stat, stat: &Stat) -> bool {
    is(there, FileType::RegularFile)
        && there.st_size == stat.size
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

/// What is in a directory, in order; nothing if that cannot be remembered.
fn names(directory: &OwnedFd, held: &mut Held) -> io::Result<Option<VecDeque<Vec<u8>>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name == b"." || name == b".." {
            continue;
        }
        if !held.take(NAME + name.len()) {
            return Ok(None);
        }
        names.push(name);
    }
    names.sort_unstable();
    Ok(Some(names.into()))
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
