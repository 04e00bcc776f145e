//! Paths below the container's root, resolved so that they cannot leave it.
//!
//! Every resolution is one `openat2` with `RESOLVE_IN_ROOT` and without magic links, and what is
//! done then is done to the descriptor (CVE-2021-30465, CVE-2024-45310).

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, mknodat, openat, openat2, readlinkat_raw,
};
use rustix::io::Errno;

use super::super::channel::{Failed, Tried};
use super::super::plan::PathPlan;

/// How often a resolution is tried again that the kernel gave up because something was renamed
/// meanwhile; an attacker who renames all the time only stops their own container.
const TRIES: usize = 64;

const PATH_MAX: usize = 4096;

/// How many links that lead to nothing are followed, as many as the kernel follows.
const LINKS: usize = 40;

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

/// Makes what `path` names and all above it, where a symbolic link leads to nothing too: what it leads to is
/// made, below the root as everything is.
fn make(
    root: BorrowedFd<'_>,
    path: &CStr,
    text: &str,
    directory: bool,
    no_symlinks: bool,
) -> Result<(), Failed> {
    let failed = |error| Failed::new(error, format_args!("make `{text}`"));
    let mut walk = Walk::new(path.to_bytes()).map_err(failed)?;
    for _ in 0..=LINKS {
        match make_parts(root, &mut walk, text, directory, no_symlinks)? {
            None => return Ok(()),
            Some((start, end, link)) => walk.replace(start, end, link.as_slice()).map_err(failed)?,
        }
    }
    Err(failed(Errno::LOOP))
}

/// Makes what is missing, as far as the first link that leads to nothing: which part of the path that is,
/// and what it says.
fn make_parts(
    root: BorrowedFd<'_>,
    walk: &mut Walk,
    text: &str,
    directory: bool,
    no_symlinks: bool,
) -> Result<Option<(usize, usize, Link)>, Failed> {
    let mut parent: Option<OwnedFd> = None;
    let mut start = 0;
    while start < walk.length {
        let rest = &walk.path[start..walk.length];
        let end = rest.iter().position(|&byte| byte == b'/').map_or(walk.length, |length| start + length);
        if end == start {
            start += 1;
            continue;
        }
        let above = parent.as_ref().map_or(root, AsFd::as_fd);
        // One name, in a buffer of its own since it needs a null byte behind it.
        let mut name = [0u8; 256];
        if end - start >= name.len() {
            return Err(Failed::new(Errno::NAMETOOLONG, format_args!("make `{text}`")));
        }
        name[..end - start].copy_from_slice(&walk.path[start..end]);
        let name = CStr::from_bytes_until_nul(&name).expect("the buffer is longer than the name");
        let is_last = walk.path[end..walk.length].iter().all(|&byte| byte == b'/');
        let mut opened = open_in(root, walk.prefix(end).as_c_str(), OFlags::PATH, no_symlinks);
        if opened.as_ref().err() == Some(&Errno::NOENT) {
            let made = if directory || !is_last {
                mkdirat(above, name, Mode::from_raw_mode(0o755))
            } else {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                openat(above, name, flags, Mode::from_raw_mode(0o644)).map(drop)
            };
            match made {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(Failed::new(error, format_args!("make `{text}`"))),
            }
            opened = open_in(root, walk.prefix(end).as_c_str(), OFlags::PATH, no_symlinks);
            // It is there, and nothing is.
            if opened.as_ref().err() == Some(&Errno::NOENT)
                && let Ok(link) = Link::read(above, name)
            {
                return Ok(Some((start, end, link)));
            }
        }
        parent = Some(opened.tried(format_args!("open a part of `{text}`"))?);
        start = end + 1;
    }
    Ok(None)
}

/// A path on the way to being made.
struct Walk {
    path: [u8; PATH_MAX],
    length: usize,
}

/// What a symbolic link says.
struct Link {
    text: [u8; PATH_MAX],
    length: usize,
}

impl Walk {
    fn new(path: &[u8]) -> Result<Self, Errno> {
        let mut walk = Self { path: [0; PATH_MAX], length: 0 };
        walk.replace(0, 0, path)?;
        Ok(walk)
    }

    /// The path up to `end`.
    fn prefix(&self, end: usize) -> Prefix {
        let mut prefix = Prefix([0; PATH_MAX]);
        prefix.0[..end].copy_from_slice(&self.path[..end]);
        prefix
    }

    /// Puts what a link says in the place of its name; an absolute one begins at the root.
    fn replace(&mut self, start: usize, end: usize, link: &[u8]) -> Result<(), Errno> {
        let start = if link.first() == Some(&b'/') { 0 } else { start };
        let rest = self.length - end;
        let length = start + link.len() + rest;
        // And a null byte.
        if length >= PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        self.path.copy_within(end..self.length, start + link.len());
        self.path[start..start + link.len()].copy_from_slice(link);
        self.length = length;
        Ok(())
    }
}

struct Prefix([u8; PATH_MAX]);

impl Prefix {
    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).expect("a path is shorter than the buffer")
    }
}

impl Link {
    fn read(directory: BorrowedFd<'_>, name: &CStr) -> Result<Self, Errno> {
        let mut buffer = [MaybeUninit::uninit(); PATH_MAX];
        let (text, _) = readlinkat_raw(directory, name, &mut buffer)?;
        let mut link = Self { text: [0; PATH_MAX], length: text.len() };
        link.text[..text.len()].copy_from_slice(text);
        Ok(link)
    }

    fn as_slice(&self) -> &[u8] {
        &self.text[..self.length]
    }
}
