//! Looking into what an operation came to.

use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};

use base::place::Place;
use bytes::Bytes;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};

use super::SolveError;

pub(crate) type Root = OwnedFd;

/// So much is read of a file at a time: whoever wants more reads on.
const READ_MAX: u64 = 128 << 20;
/// So many entries a directory has that is listed.
const ENTRIES_MAX: usize = 1 << 20;

/// What there is at a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileStat {
    /// Its name, or its path where one was asked for.
    pub path: String,
    /// Kind and permissions as the kernel has them (`st_mode`).
    pub mode: u32,
    /// Whom it belongs to.
    pub uid: u32,
    /// Which group it belongs to.
    pub gid: u32,
    /// Bytes.
    pub size: i64,
    /// When it was changed, in nanoseconds since 1970.
    pub modified: i64,
    /// Where it leads, if it is a link.
    pub link: String,
    /// The numbers of a device.
    pub device: (u32, u32),
}

/// The content of a regular file, or a part of it.
pub(crate) fn read_file(root: &Root, path: &str, range: Option<(u64, u64)>) -> Result<Bytes, SolveError> {
    let place = Place::of(open(root, path, OFlags::PATH)?);
    let failed = |error: std::io::Error| SolveError::io(format_args!("read {path}"))(error);
    if place.kind().map_err(failed)? != FileType::RegularFile {
        return Err(SolveError::Invalid(format!("{path} is not a regular file")));
    }
    let mut file = place.read().map_err(failed)?;
    let (offset, length) = range.unwrap_or_default();
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    let most = if length == 0 { READ_MAX } else { length.min(READ_MAX) };
    let mut content = Vec::new();
    file.take(most + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > most {
        if length == 0 || length > READ_MAX {
            return Err(SolveError::Invalid(format!("{path} is longer than {READ_MAX} bytes")));
        }
        content.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    }
    Ok(content.into())
}

/// What is in a directory, sorted by name.
pub(crate) fn read_dir(root: &Root, path: &str, pattern: Option<&str>) -> Result<Vec<FileStat>, SolveError> {
    let failed = |error: std::io::Error| SolveError::io(format_args!("list {path}"))(error);
    let pattern = pattern.filter(|text| !text.is_empty()).map(crate::ignore::wildcard).transpose();
    let pattern = pattern.map_err(SolveError::Invalid)?;
    let directory = open(root, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::read_from(&directory).map_err(|error| failed(error.into()))? {
        let entry = entry.map_err(|error| failed(error.into()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "." || name == ".." || pattern.as_ref().is_some_and(|pattern| !pattern.matches(&name)) {
            continue;
        }
        if found.len() == ENTRIES_MAX {
            return Err(SolveError::Invalid(format!("{path} has more than {ENTRIES_MAX} entries")));
        }
        found.push(stat_at(&directory, entry.file_name(), name).map_err(failed)?);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// What is at a path; a link at its end is not followed.
pub(crate) fn stat_file(root: &Root, path: &str) -> Result<FileStat, SolveError> {
    let failed = |error: std::io::Error| SolveError::io(format_args!("look at {path}"))(error);
    let fd = open(root, path, OFlags::PATH | OFlags::NOFOLLOW)?;
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let stat = rustix::fs::fstat(&fd).map_err(|error| failed(error.into()))?;
    let link = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => rustix::fs::readlinkat(&fd, c"", Vec::new()).ok(),
        _ => None,
    };
    Ok(view(name, &stat, link.map(|link| link.to_string_lossy().into_owned()).unwrap_or_default()))
}

fn stat_at(directory: &OwnedFd, entry: &std::ffi::CStr, name: String) -> std::io::Result<FileStat> {
    let stat = rustix::fs::statat(directory, entry, AtFlags::SYMLINK_NOFOLLOW)?;
    let link = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            rustix::fs::readlinkat(directory, entry, Vec::new())?.to_string_lossy().into_owned()
        }
        _ => String::new(),
    };
    Ok(view(name, &stat, link))
}

fn view(path: String, stat: &Stat, link: String) -> FileStat {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
    let device = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice | FileType::BlockDevice => {
            (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
        }
        _ => (0, 0),
    };
    FileStat {
        path,
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: stat.st_size,
        modified: stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(nanoseconds),
        link,
        device,
    }
}

fn open(root: &Root, path: &str, flags: OFlags) -> Result<OwnedFd, SolveError> {
    let relative = path.trim_start_matches('/');
    let relative = if relative.is_empty() { "." } else { relative };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let opened = rustix::fs::openat2(root.as_fd(), relative, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
    opened.map_err(|error| match error {
        rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => {
            SolveError::NotFound(format!("open {path}: no such file or directory"))
        }
        error => SolveError::io(format_args!("open {path}"))(error.into()),
    })
}
