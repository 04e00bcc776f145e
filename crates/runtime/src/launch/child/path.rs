//! Paths below the container's root, resolved so that they cannot leave it.
//!
//! Every resolution is one `openat2` with `RESOLVE_IN_ROOT` and without magic links, and what is
//! done then is done to the descriptor (CVE-2021-30465, CVE-2024-45310).

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, mknodat, openat, openat2};
use rustix::io::Errno;

use super::super::channel::{Failed, Tried};
use super::super::plan::PathPlan;

/// How often a resolution is tried again that the kernel gave up because something was renamed
/// meanwhile; an attacker who renames all the time only stops their own container.
const TRIES: usize = 64;

const PATH_MAX: usize = 4096;

/// This process's root directory.
pub(super) fn open_root() -> Result<OwnedFd, Failed> {
    openat(CWD, c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .tried(format_args!("open the root directory"))
}

/// Opens `path` below `root`, following symbolic links as a process with that root would, or not
/// at all.
pub(super) fn open_in(
    root: BorrowedFd<'_>,
    path: &CStr,
    flags: OFlags,
    no_symlinks: bool,
) -> Result<OwnedFd, Errno> {
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if no_symlinks {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    let mut tries = 0;
    loop {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => tries += 1,
            result => return result,
        }
    }
}

/// Opens the target of a mount, making it and the directories above it where they are missing.
pub(super) fn open_target(
    root: BorrowedFd<'_>,
    target: &PathPlan,
    directory: bool,
    no_symlinks: bool,
) -> Result<OwnedFd, Failed> {
    match open_in(root, &target.path, OFlags::PATH, no_symlinks) {
        Err(Errno::NOENT) => {
            make(root, &target.path, &target.text, directory, no_symlinks)?;
            open_in(root, &target.path, OFlags::PATH, no_symlinks)
                .tried(format_args!("open `{}`, just made", target.text))
        }
        result => result.tried(format_args!("open `{}`", target.text)),
    }
}

/// Makes an empty file for a mount to cover, if there is nothing of that name, and holds what is
/// there, whatever it is: to open a pipe of the image's would block, to open a device do something.
/// A symbolic link is an error.
pub(super) fn make_file(directory: BorrowedFd<'_>, name: &CStr, mode: Mode) -> Result<OwnedFd, Errno> {
    match mknodat(directory, name, FileType::RegularFile, mode, 0) {
        Ok(()) | Err(Errno::EXIST) => open_in(directory, name, OFlags::PATH, true),
        Err(error) => Err(error),
    }
}

/// Makes a directory and those above it, below `root`.
pub(super) fn make_directories(root: BorrowedFd<'_>, path: &CStr, text: &str) -> Result<(), Failed> {
    match open_in(root, path, OFlags::PATH, false) {
        Err(Errno::NOENT) => make(root, path, text, true, false),
        // Whatever else is wrong with it is found out by those who use it.
        _ => Ok(()),
    }
}

fn make(
    root: BorrowedFd<'_>,
    path: &CStr,
    text: &str,
    directory: bool,
    no_symlinks: bool,
) -> Result<(), Failed> {
    let path = path.to_bytes();
    let mut buffer = [0u8; PATH_MAX];
    if path.len() >= PATH_MAX {
        return Err(Failed::new(Errno::NAMETOOLONG, format_args!("make `{}`", text)));
    }
    let mut parent: Option<OwnedFd> = None;
    let mut start = 0;
    while start < path.len() {
        let end =
            path[start..].iter().position(|&byte| byte == b'/').map_or(path.len(), |length| start + length);
        let above = parent.as_ref().map_or(root, AsFd::as_fd);
        // One name, in a buffer of its own since it needs a null byte behind it.
        let mut name = [0u8; 256];
        if end - start >= name.len() {
            return Err(Failed::new(Errno::NAMETOOLONG, format_args!("make `{}`", text)));
        }
        name[..end - start].copy_from_slice(&path[start..end]);
        let name = CStr::from_bytes_until_nul(&name).expect("the buffer is longer than the name");
        buffer[..end].copy_from_slice(&path[..end]);
        buffer[end] = 0;
        let prefix = CStr::from_bytes_until_nul(&buffer).expect("a null byte was put behind the prefix");
        let opened = match open_in(root, prefix, OFlags::PATH, no_symlinks) {
            Err(Errno::NOENT) => {
                let made = if directory || end < path.len() {
                    mkdirat(above, name, Mode::from_raw_mode(0o755))
                } else {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    openat(above, name, flags, Mode::from_raw_mode(0o644)).map(drop)
                };
                match made {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(Failed::new(error, format_args!("make `{}`", text))),
                }
                open_in(root, prefix, OFlags::PATH, no_symlinks)
            }
            result => result,
        };
        parent = Some(opened.tried(format_args!("open a part of `{}`", text))?);
        buffer[end] = b'/';
        start = end + 1;
    }
    Ok(())
}
