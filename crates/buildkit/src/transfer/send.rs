//! A directory is shown to who wants to have one like it.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};

use base::place::Place;
use bytes::Bytes;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat, statat};

use super::{entry, packet};
use crate::wire::fsutil::types::packet::PacketType;
use crate::wire::fsutil::types::{Packet, Stat};

/// How much of a file goes into one packet.
const PIECE: usize = 64 << 10;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why a directory could not be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The client asks for what it was not shown, or sends what only who sends does.
    #[error("the client does not receive as one does: {0}")]
    Unfit(&'static str),
    /// The client gave up.
    #[error("error from receiver: {0}")]
    Receiver(String),
    /// The system refused.
    #[error("send `{}`", String::from_utf8_lossy(path))]
    Io {
        /// What was being sent.
        path: Vec<u8>,
        /// The reason.
        source: io::Error,
    },
}

/// Shows a directory, packet by packet.
pub(crate) struct Sender {
    top: OwnedFd,
    /// The directories on the way to the entry that was named last.
    levels: Vec<Level>,
    next: u32,
    named: bool,
    /// Files that have been named and not been asked for.
    files: HashMap<u32, Vec<u8>>,
    /// The first names of files that have several.
    seen: HashMap<(u64, u64), Vec<u8>>,
    asked: VecDeque<(u32, Vec<u8>)>,
    /// What is being sent.
    current: Option<(u32, Vec<u8>, File)>,
    /// The client has all.
    done: bool,
}

struct Level {
    fd: OwnedFd,
    path: Vec<u8>,
    names: VecDeque<Vec<u8>>,
}

impl Sender {
    /// Begins to show the directory that is open as `top`.
    pub(crate) fn new(top: impl AsFd) -> io::Result<Self> {
        let top = openat(top, c".", DIRECTORY, Mode::empty())?;
        let fd = openat(&top, c".", DIRECTORY, Mode::empty())?;
        let level = Level { names: names(&fd)?, fd, path: Vec::new() };
        Ok(Sender {
            top,
            levels: vec![level],
            next: 0,
            named: false,
            files: HashMap::new(),
            seen: HashMap::new(),
            asked: VecDeque::new(),
            current: None,
            done: false,
        })
    }

    /// Takes a packet of who receives.
    pub(crate) fn take(&mut self, packet: Packet) -> Result<(), SendError> {
        match PacketType::try_from(packet.r#type) {
            Ok(PacketType::PacketReq) => {
                let path = self.files.remove(&packet.id);
                let path = path.ok_or(SendError::Unfit("it asks for what it was not shown"))?;
                self.asked.push_back((packet.id, path));
                Ok(())
            }
            Ok(PacketType::PacketFin) => {
                self.done = true;
                Ok(())
            }
            Ok(PacketType::PacketErr) => {
                Err(SendError::Receiver(String::from_utf8_lossy(&packet.data).into_owned()))
            }
            _ => Err(SendError::Unfit("it sends entries or content")),
        }
    }

    /// Whether the receiver has said that it has all.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// The next packet that there is to be sent; nothing where who receives has to say something first.
    pub(crate) fn next(&mut self) -> Result<Option<Packet>, SendError> {
        if let Some(content) = self.content()? {
            return Ok(Some(content));
        }
        if self.named {
            return Ok(None);
        }
        if let Some(stat) = self.entry()? {
            return Ok(Some(Packet { stat: Some(stat), ..packet(PacketType::PacketStat) }));
        }
        self.named = true;
        Ok(Some(packet(PacketType::PacketStat)))
    }

    fn content(&mut self) -> Result<Option<Packet>, SendError> {
        if self.current.is_none() {
            let Some((number, path)) = self.asked.pop_front() else { return Ok(None) };
            let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            match openat2(&self.top, &*path, flags, Mode::empty(), inside) {
                Ok(file) => self.current = Some((number, path, File::from(file))),
                Err(error) => return Err(SendError::Io { path, source: error.into() }),
            }
        }
        let Some((number, path, file)) = &mut self.current else { return Ok(None) };
        let mut piece = vec![0; PIECE];
        let read = match file.read(&mut piece) {
            Ok(read) => read,
            Err(source) => return Err(SendError::Io { path: std::mem::take(path), source }),
        };
        piece.truncate(read);
        let number = *number;
        if read == 0 {
            self.current = None;
        }
        Ok(Some(Packet { id: number, data: Bytes::from(piece), ..packet(PacketType::PacketData) }))
    }

    /// The next entry; nothing if all are named.
    fn entry(&mut self) -> Result<Option<Stat>, SendError> {
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some(name) = level.names.pop_front() else {
                self.levels.pop();
                continue;
            };
            let mut path = level.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            let io = |source: rustix::io::Errno| SendError::Io { path: path.clone(), source: source.into() };
            let found = match statat(&level.fd, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                // It is gone again.
                Err(rustix::io::Errno::NOENT) => continue,
                found => found.map_err(io)?,
            };
            let kind = FileType::from_raw_mode(found.st_mode);
            if kind == FileType::Socket {
                continue;
            }
            let mut stat = Stat {
                path: path.clone().into(),
                mode: entry::mode(found.st_mode),
                uid: found.st_uid,
                gid: found.st_gid,
                mod_time: entry::nanoseconds(found.st_mtime, found.st_mtime_nsec as i64),
                ..Stat::default()
            };
            match kind {
                FileType::Directory => {
                    base::tree::check_depth(self.levels.len())
                        .map_err(|source| SendError::Io { path: path.clone(), source })?;
                    let level = &self.levels[self.levels.len() - 1];
                    let fd = openat(&level.fd, &*name, DIRECTORY, Mode::empty()).map_err(io)?;
                    let names = names(&fd).map_err(|source| SendError::Io { path: path.clone(), source })?;
                    self.levels.push(Level { fd, path: path.clone(), names });
                }
                FileType::Symlink => {
                    let target = readlinkat(&level.fd, &*name, Vec::new()).map_err(io)?;
                    stat.linkname = target.as_bytes().to_vec().into();
                    stat.size = stat.linkname.len() as i64;
                }
                FileType::RegularFile => {
                    stat.size = found.st_size;
                    let place = Place::at(&level.fd, &*name);
                    let attributes = place
                        .and_then(|place| place.attributes())
                        .map_err(|source| SendError::Io { path: path.clone(), source })?;
                    stat.xattrs = attributes
                        .into_iter()
                        .filter_map(|(name, value)| Some((String::from_utf8(name).ok()?, value.into())))
                        .collect();
                    if found.st_nlink > 1 {
                        match self.seen.get(&(found.st_dev, found.st_ino)) {
                            Some(first) => stat.linkname = first.clone().into(),
                            None => drop(self.seen.insert((found.st_dev, found.st_ino), path.clone())),
                        }
                    }
                    self.files.insert(self.next, path);
                }
                FileType::CharacterDevice | FileType::BlockDevice => {
                    stat.devmajor = rustix::fs::major(found.st_rdev).into();
                    stat.devminor = rustix::fs::minor(found.st_rdev).into();
                }
                _ => {}
            }
            self.next = self.next.wrapping_add(1);
            return Ok(Some(stat));
        }
    }
}

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
