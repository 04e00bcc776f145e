//! A log file that is rotated: when it is full it gets the time into its name, as lumberjack names such
//! files (`audit-2026-01-02T03-04-05.678.log`), and what is too old or too much goes.
//!
//! Its directory is looked up once: whoever changes the path later, or puts a link there, leads nothing
//! elsewhere. What is written is whole lines, or nothing: a line that does not fit on the disk is taken back,
//! and an event that a kill has cut off is when the file is
//! opened again. Any other last line stays, and is ended.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::Timestamp;
use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

/// How full a file gets where nothing is said.
const MEGABYTE: u64 = 1 << 20;
const USUAL: u64 = 100;
/// A day, by which ages are counted.
const DAY: i64 = 24 * 60 * 60;
const MODE: u32 = 0o600;
/// A line that was cut off is no longer than this.
const LONGEST: u64 = 64 << 20;

/// How a file is rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// How full it gets, in megabytes; 0 for 100.
    pub(crate) size: u64,
    /// How many old files are kept; 0 for all.
    pub(crate) backups: usize,
    /// How many days old files are kept; 0 for ever.
    pub(crate) days: u64,
    /// Whether old files are compressed.
    pub(crate) compress: bool,
}

/// The file.
pub(crate) struct Rotated {
    shelf: Arc<Shelf>,
    open: Option<Open>,
    /// There is another old file.
    untidy: bool,
}

/// Where the file is with the old ones.
pub(crate) struct Shelf {
    directory: OwnedFd,
    /// What names begin with, and end with.
    name: (String, String),
    rotation: Rotation,
}

struct Open {
    file: File,
    size: u64,
}

/// An old file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Old {
    at: Timestamp,
    name: String,
    compressed: bool,
}

impl Rotated {
    /// The file at `path`, whose directory is made if it is not there.
    pub(crate) fn open(path: &Path, rotation: Rotation, now: Timestamp) -> io::Result<Self> {
        let name = path.file_name().and_then(OsStr::to_str);
        let name = name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
        let parent = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty())?;
        let name = match name.rfind('.') {
            Some(dot) => (name[..dot].to_owned(), name[dot..].to_owned()),
            None => (name.to_owned(), String::new()),
        };
        let shelf = Arc::new(Shelf { directory, name, rotation });
        let mut rotated = Self { shelf, open: None, untidy: false };
        rotated.reopen(0, now)?;
        Ok(rotated)
    }

    /// Writes a line, which ends with a line break: all of it, or nothing.
    pub(crate) fn write(&mut self, line: &[u8], now: Timestamp) -> io::Result<()> {
        let (length, most) = (line.len() as u64, self.shelf.most());
        if length > most {
            let why = format!("write length {length} exceeds maximum file size {most}");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        let open = match &mut self.open {
            Some(open) if open.size + length <= most => open,
            Some(_) => {
                self.rotate(now)?;
                self.reopen(length, now)?
            }
            None => self.reopen(length, now)?,
        };
        let written = open.file.write_all(line);
        match &written {
            Ok(()) => open.size += length,
            // A part of it may be there.
            Err(_) => open.file.set_len(open.size)?,
        }
        written
    }

    /// Opens the file for `more` bytes; makes it where it is not there, and begins another where it is full.
    fn reopen(&mut self, more: u64, now: Timestamp) -> io::Result<&mut Open> {
        self.open = None;
        let mut open = self.shelf.open_current()?;
        if open.size > 0 && open.size + more >= self.shelf.most() {
            drop(open);
            self.rotate(now)?;
            open = self.shelf.open_current()?;
        }
        Ok(self.open.insert(open))
    }

    /// Gives the file the time into its name.
    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        self.open = None;
        let shelf = &*self.shelf;
        let name = format!("{}-{}{}", shelf.name.0, stamp(now), shelf.name.1);
        rustix::fs::renameat(&shelf.directory, shelf.current(), &shelf.directory, &name)?;
        self.untidy = true;
        Ok(())
    }

    /// The old files, where they are to be looked after since there is another.
    pub(crate) fn untidy(&mut self) -> Option<Arc<Shelf>> {
        std::mem::take(&mut self.untidy).then(|| self.shelf.clone())
    }
}

impl Shelf {
    fn most(&self) -> u64 {
        (if self.rotation.size == 0 { USUAL } else { self.rotation.size }) * MEGABYTE
    }

    fn current(&self) -> String {
        format!("{}{}", self.name.0, self.name.1)
    }

    fn open_current(&self) -> io::Result<Open> {
        // Neither what a link leads to, nor anything that would be waited for.
        let flags = OFlags::RDWR
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, self.current(), flags, Mode::from(MODE))?;
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            let why = "it is no regular file; `-` is standard output";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let mut file = File::from(file);
        let size = mend(&mut file)?;
        Ok(Open { file, size })
    }

    /// Removes old files that are too many or too old, and compresses the others.
    pub(crate) fn tidy(&self, now: Timestamp) -> io::Result<()> {
        let old = self.old()?;
        let (kept, gone) = keep(&old, self.rotation, now);
        for one in gone {
            remove(&self.directory, &one.name)?;
        }
        for one in kept.iter().filter(|one| self.rotation.compress && !one.compressed) {
            self.compress(&one.name)?;
        }
        Ok(())
    }

    /// The old files, the newest first.
    fn old(&self) -> io::Result<Vec<Old>> {
        let mut old = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            if let Some(one) = entry.file_name().to_str().ok().and_then(|name| self.as_old(name)) {
                old.push(one);
            }
        }
        old.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.name.cmp(&b.name)));
        Ok(old)
    }

    fn as_old(&self, name: &str) -> Option<Old> {
        let (plain, compressed) = match name.strip_suffix(".gz") {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        let stamp = plain.strip_prefix(&self.name.0)?.strip_prefix('-')?.strip_suffix(&self.name.1)?;
        Some(Old { at: stamped(stamp)?, name: name.to_owned(), compressed })
    }

    fn compress(&self, name: &str) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut from = File::from(rustix::fs::openat(&self.directory, name, flags, Mode::empty())?);
        let packed = format!("{name}.gz");
        // What an earlier try has left.
        remove(&self.directory, &packed)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = File::from(rustix::fs::openat(&self.directory, &packed, flags, Mode::from(MODE))?);
        let mut encoder = GzEncoder::new(to, Compression::default());
        let done = io::copy(&mut from, &mut encoder).and_then(|_| encoder.finish()?.sync_all());
        if let Err(error) = done {
            remove(&self.directory, &packed)?;
            return Err(error);
        }
        remove(&self.directory, name)
    }
}

/// Which old files stay, and which go. The compressed form of one counts as the same one.
fn keep(old: &[Old], rotation: Rotation, now: Timestamp) -> (Vec<Old>, Vec<Old>) {
    let mut times: Vec<Timestamp> = Vec::new();
    old.iter().cloned().partition(|one| {
        if times.last() != Some(&one.at) {
            times.push(one.at);
        }
        let age = now.as_second().saturating_sub(one.at.as_second());
        let many = rotation.backups > 0 && times.len() > rotation.backups;
        let aged =
            rotation.days > 0 && age > DAY.saturating_mul(i64::try_from(rotation.days).unwrap_or(i64::MAX));
        !many && !aged
    })
}

fn remove(directory: &OwnedFd, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(directory.as_fd(), name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// How events begin, as JSON and as text of before.
const HEAD: &[u8] = br#"{"kind":"Event","apiVersion":"audit.k8s.io/"#;
const LEGACY: &[u8] = b" AUDIT: id=";
const LAST: &[u8] = b" response=\"";
/// How a time begins; a digit stands for any.
const TIME: &[u8] = b"0000-00-00T00:00:00";

/// Whether the end of a file, in which there is no line break, is an event that was not written to its end. Anything
/// else is not this log's, or is whole.
fn is_fragment(end: &[u8]) -> bool {
    if HEAD.starts_with(end) {
        return true;
    }
    if end.starts_with(HEAD) {
        return serde_json::from_slice::<serde::de::IgnoredAny>(end).is_err();
    }
    let is_time = end.iter().zip(TIME).all(|(byte, pattern)| match pattern {
        b'0' => byte.is_ascii_digit(),
        pattern => byte == pattern,
    });
    let Some(rest) = end.get(TIME.len()..).filter(|_| is_time) else { return is_time };
    let fraction = rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let rest = &rest[fraction..];
    let Some(rest) = rest.strip_prefix(b"Z") else { return rest.is_empty() };
    if !rest.starts_with(LEGACY) {
        return LEGACY.starts_with(rest);
    }
    // What it says last stands in quotes; those within others are escaped.
    let last = rest.windows(LAST.len()).position(|window| window == LAST);
    !last.is_some_and(|at| rest[at + LAST.len()..].ends_with(b"\""))
}

/// Cuts off what is left of an event that was not written to its end, and ends any other last line; gives the length.
fn mend(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut end = length;
    let mut piece = vec![0; 64 << 10];
    while end > 0 && length - end <= LONGEST {
        let size = end.min(piece.len() as u64);
        file.seek(SeekFrom::Start(end - size))?;
        let piece = &mut piece[..usize::try_from(size).unwrap_or_default()];
        file.read_exact(piece)?;
        match piece.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => {
                end = end - size + at as u64 + 1;
                break;
            }
            None => end -= size,
        }
    }
    if end == length {
        return Ok(length);
    }
    // What is longer than any event is none.
    let mut last = Vec::new();
    if length - end <= LONGEST {
        file.seek(SeekFrom::Start(end))?;
        Read::take(&mut *file, length - end).read_to_end(&mut last)?;
    }
    if length - end <= LONGEST && is_fragment(&last) {
        file.set_len(end)?;
        return Ok(end);
    }
    file.write_all(b"\n")?;
    Ok(length + 1)
}

fn stamp(now: Timestamp) -> String {
    let text = format!("{:.3}", now);
    text.trim_end_matches('Z').replace(':', "-")
}

fn stamped(text: &str) -> Option<Timestamp> {
    let (day, time) = text.split_once('T')?;
    let sound = text.len() == "2026-01-02T03-04-05.678".len() && text.is_ascii();
    format!("{day}T{}Z", time.replace('-', ":")).parse().ok().filter(|_| sound)
}

/// The path of a log, or standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Standard output.
    Output,
    /// A file.
    File(PathBuf),
}

#[cfg(test)]
mod tests;
