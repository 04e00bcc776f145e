//! Copying a directory with owners, modes, times, links and extended attributes.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chownat, fchmod,
    futimens, mkdirat, mknodat, openat, readlinkat, statat, symlinkat, utimensat,
};

/// Copies what is in `source` (a descriptor that names a directory) into the directory `target`,
/// which gets the same owner and mode.
pub(super) fn directory(source: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    let target = openat(CWD, target, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let source = openat(source, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    contents(&source, &target, 0)
}

/// Gives the directory `target` the owner, mode and times that `meta` tells.
pub(super) fn give_attributes(meta: &Stat, target: &Path) -> io::Result<()> {
    let target = openat(CWD, target, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::fchown(&target, Some(Uid::from_raw(meta.st_uid)), Some(Gid::from_raw(meta.st_gid)))?;
    fchmod(&target, Mode::from_raw_mode(meta.st_mode))?;
    Ok(futimens(&target, &times(meta))?)
}

fn contents(source: &OwnedFd, target: &OwnedFd, depth: usize) -> io::Result<()> {
    base::tree::check_depth(depth)?;
    let meta = rustix::fs::fstat(source)?;
    for entry in Dir::read_from(source)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            one(source, target, name, depth)?;
        }
    }
    // Last: what is copied into it changes its time.
    rustix::fs::fchown(target, Some(Uid::from_raw(meta.st_uid)), Some(Gid::from_raw(meta.st_gid)))?;
    fchmod(target, Mode::from_raw_mode(meta.st_mode))?;
    futimens(target, &times(&meta))?;
    Ok(())
}

fn one(source: &OwnedFd, target: &OwnedFd, name: &CStr, depth: usize) -> io::Result<()> {
    let meta = statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(meta.st_mode) {
        FileType::Directory => {
            mkdirat(target, name, Mode::from_raw_mode(0o700))?;
            let from = openat(source, name, open | OFlags::DIRECTORY, Mode::empty())?;
            let to = openat(target, name, open | OFlags::DIRECTORY, Mode::empty())?;
            return contents(&from, &to, depth + 1);
        }
        FileType::RegularFile => {
            let mut from = File::from(openat(source, name, open, Mode::empty())?);
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mut to = File::from(openat(target, name, flags, Mode::from_raw_mode(0o600))?);
            // Within one file system the kernel shares or moves the bytes itself.
            io::copy(&mut from, &mut to)?;
            rustix::fs::fchown(&to, Some(Uid::from_raw(meta.st_uid)), Some(Gid::from_raw(meta.st_gid)))?;
            attributes(from.as_fd(), to.as_fd())?;
            fchmod(&to, Mode::from_raw_mode(meta.st_mode))?;
            futimens(&to, &times(&meta))?;
            return Ok(());
        }
        FileType::Symlink => {
            let link = readlinkat(source, name, Vec::new())?;
            symlinkat(&link, target, name)?;
        }
        kind => mknodat(target, name, kind, Mode::from_raw_mode(meta.st_mode), meta.st_rdev)?,
    }
    let (uid, gid) = (Uid::from_raw(meta.st_uid), Gid::from_raw(meta.st_gid));
    chownat(target, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    utimensat(target, name, &times(&meta), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// Copies extended attributes; those that the target's file system does not take are left out.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut names = vec![0u8; 64 << 10];
    let Ok(length) = rustix::fs::flistxattr(from, &mut names) else { return Ok(()) };
    let mut value = vec![0u8; 64 << 10];
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        if let Ok(length) = rustix::fs::fgetxattr(from, name, &mut value) {
            let _ = rustix::fs::fsetxattr(to, name, &value[..length], rustix::fs::XattrFlags::empty());
        }
    }
    Ok(())
}

fn times(meta: &rustix::fs::Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: meta.st_atime as _, tv_nsec: meta.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: meta.st_mtime as _, tv_nsec: meta.st_mtime_nsec as _ },
    }
}
