//! What an archive's entry says of a file besides its content.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid};
use tar::EntryType;

use super::attributes::{set_xattr_at, settable, tolerate};
use super::place::Directory;

/// The parts of an entry that its kind does not decide.
#[derive(Clone, Debug)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When it was changed, which is also told as when it was read.
    pub times: Timestamps,
    /// Extended attributes that an archive may set, by name.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

impl Attributes {
    /// Those that a header has, and the records that go before it.
    pub(super) fn read<'a>(
        header: &tar::Header,
        records: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> io::Result<Self> {
        let fields = header.as_old();
        let mode = filled(&fields.mode, || header.mode())? & 0o7777;
        let mut uid = filled(&fields.uid, || header.uid())?;
        let mut gid = filled(&fields.gid, || header.gid())?;
        let mut modified =
            Timespec { tv_sec: filled(&fields.mtime, || header.mtime())?.cast_signed(), tv_nsec: 0 };
        let mut xattrs = Vec::new();
        for (key, value) in records {
            match key {
                "uid" => uid = number(value)?,
                "gid" => gid = number(value)?,
                "mtime" => modified = timespec(value)?,
                _ => {
                    if let Some(name) = key.strip_prefix("SCHILY.xattr.").filter(|name| settable(name)) {
                        xattrs.push((name.to_owned(), value.to_vec()));
                    }
                }
            }
        }
        let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "owner out of range");
        Ok(Self {
            mode,
            uid: id(uid).ok_or_else(invalid)?,
            gid: id(gid).ok_or_else(invalid)?,
            times: Timestamps { last_access: modified, last_modification: modified },
            xattrs,
        })
    }

    /// Applies to an open file. The owner goes first: changing it clears the set-id bits and the
    /// file's capabilities.
    pub(super) fn apply(&self, file: &File) -> io::Result<()> {
        if (self.uid, self.gid) != (0, 0) {
            rustix::fs::fchown(file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(self.mode))?;
        for (name, value) in &self.xattrs {
            tolerate(rustix::fs::fsetxattr(file, name, value, rustix::fs::XattrFlags::empty()), name)?;
        }
        rustix::fs::futimens(file, &self.times)?;
        Ok(())
    }

    /// Applies to what is in `parent` under `name`, without opening it.
    pub(super) fn apply_at(&self, parent: &Directory, name: &OsStr, with_mode: bool) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::fs::chownat(&parent.fd, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if with_mode {
            // Nobody else writes here, so what was just made is not a symbolic link.
            rustix::fs::chmodat(parent.fd.as_fd(), name, Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        }
        for (xattr, value) in &self.xattrs {
            set_xattr_at(parent, name, xattr, value)?;
        }
        rustix::fs::utimensat(&parent.fd, name, &self.times, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }
}

/// Whether content follows an entry of this kind, whatever length it says.
pub(crate) fn has_content(kind: EntryType) -> bool {
    !matches!(
        kind,
        EntryType::Link
            | EntryType::Symlink
            | EntryType::Char
            | EntryType::Block
            | EntryType::Directory
            | EntryType::Fifo
    )
}

/// A number of a header; a field that its writer left blank is zero.
pub(super) fn filled<T: Default>(field: &[u8], value: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(T::default()) } else { value() }
}

fn number(text: &[u8]) -> io::Result<u64> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a number in a header is malformed"))
}

/// A time as PAX headers write it: seconds, perhaps with a fraction, perhaps negative.
fn timespec(text: &[u8]) -> io::Result<Timespec> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "a time in a header is malformed");
    let text = std::str::from_utf8(text).map_err(|_| invalid())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| invalid())?;
    let mut nanos: i64 = 0;
    for i in 0..9 {
        let digit = fraction.as_bytes().get(i).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return Err(invalid());
        }
        nanos = nanos * 10 + i64::from(digit - b'0');
    }
    if whole.starts_with('-') && nanos > 0 {
        return Ok(Timespec { tv_sec: seconds - 1, tv_nsec: 1_000_000_000 - nanos });
    }
    Ok(Timespec { tv_sec: seconds, tv_nsec: nanos })
}
