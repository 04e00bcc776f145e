//! Filling a new tmpfs with what was at its place before (`tmpcopyup`).

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, Stat, chmodat, chownat, fchmod, fchown, fstat, mkdirat, mknodat,
    openat, readlinkat_raw, statat, symlinkat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

/// Copies the content, owners and permissions of the directory `from` to the directory `to`.
pub(super) fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let from = openat(from, c".", flags, Mode::empty())?;
    let to = openat(to, c".", flags, Mode::empty())?;
    let stat = fstat(&from)?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&from, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy(from.as_fd(), to.as_fd(), name)?;
        }
    }
    fchown(&to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))
}

fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let open = OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, Mode::from_raw_mode(0o700))?;
            let inner_from = openat(from, name, open | OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
            let inner_to = openat(to, name, open | OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
            directory(inner_from.as_fd(), inner_to.as_fd())
        }
        FileType::Symlink => {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let (content, _) = readlinkat_raw(from, name, &mut buffer[..4095])?;
            let mut text = [0u8; 4096];
            text[..content.len()].copy_from_slice(content);
            symlinkat(CStr::from_bytes_until_nul(&text).map_err(|_| Errno::INVAL)?, to, name)?;
            own(to, name, &stat)
        }
        FileType::RegularFile => {
            // It may have become a pipe since: whoever shares the directory must not hold this process up.
            let source = openat(from, name, open | OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
            let sink = openat(to, name, open | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, mode)?;
            content(&source, &sink)?;
            own(to, name, &stat)?;
            chmodat(to, name, mode, AtFlags::empty())
        }
        kind @ (FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice) => {
            mknodat(to, name, kind, mode, stat.st_rdev)?;
            own(to, name, &stat)
        }
        // A socket without the program that listens on it is of no use.
        _ => Ok(()),
    }
}

fn content(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    while rustix::fs::sendfile(to, from, None, 1 << 30)? > 0 {}
    Ok(())
}

fn own(directory: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}
