//! The container's view of the file system.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change,
    move_mount, open_tree, unmount,
};

use super::super::channel::{Failed, Tried};
use super::super::plan::{MountPlan, MountSource, PathPlan, RootPlan};
use super::{copy, is_on, path};
use crate::sys::mount::{MountAttr, attr, set_attributes};

pub(super) const PROC_MAGIC: u64 = 0x9fa0;

/// Cuts the mounts of the host loose and attaches the container's root.
pub(super) fn attach_root(plan: &RootPlan) -> Result<(), Failed> {
    mount_change(c"/", MountPropagationFlags::from_bits_retain(plan.outer_propagation as u32))
        .tried(format_args!("cut the host's mounts loose"))?;
    move_mount(&plan.mount, c"", CWD, plan.attach.as_c_str(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .tried(format_args!("attach the root file system"))
}

/// Makes every mount, in order.
pub(super) fn make_all(mounts: &mut [MountPlan], root: BorrowedFd<'_>) -> Result<(), Failed> {
    for mount in mounts {
        make(mount, root)?;
    }
    Ok(())
}

/// Makes read-only what had to be filled first.
pub(super) fn seal(mounts: &[MountPlan]) -> Result<(), Failed> {
    for mount in mounts.iter().filter(|mount| mount.seal) {
        if let MountSource::Tree(tree) = &mount.source {
            set_attributes(tree, false, MountPlan::SEALED)
                .tried(format_args!("make `{}` read-only", mount.target.text))?;
        }
    }
    Ok(())
}

/// Hides paths: files behind `/dev/null`, directories behind an empty one. Those that do not
/// exist need no hiding.
pub(super) fn mask(paths: &[PathPlan], root: BorrowedFd<'_>, null: BorrowedFd<'_>) -> Result<(), Failed> {
    let mut null_attached = false;
    let mut empty: Option<OwnedFd> = None;
    for hidden in paths {
        let Some(target) = open_existing(hidden, root)? else { continue };
        let kind = rustix::fs::fstat(&target).tried(format_args!("look at `{}`", hidden.text))?;
        if FileType::from_raw_mode(kind.st_mode) == FileType::Directory {
            match &empty {
                None => {
                    let directory = filesystem(c"tmpfs", &[], attr::RDONLY)
                        .tried(format_args!("make an empty directory for `{}`", hidden.text))?;
                    attach(directory.as_fd(), target.as_fd())
                        .tried(format_args!("mask `{}`", hidden.text))?;
                    empty = Some(directory);
                }
                Some(attached) => cover(attached.as_fd(), target.as_fd(), hidden)?,
            }
        } else if null_attached {
            cover(null, target.as_fd(), hidden)?;
        } else {
            attach(null, target.as_fd()).tried(format_args!("mask `{}`", hidden.text))?;
            null_attached = true;
        }
    }
    Ok(())
}

/// Makes existing paths and all below them read-only.
pub(super) fn make_readonly(paths: &[PathPlan], root: BorrowedFd<'_>) -> Result<(), Failed> {
    for readonly in paths {
        let Some(target) = open_existing(readonly, root)? else { continue };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(&target, c"", flags).tried(format_args!("clone `{}`", readonly.text))?;
        set_attributes(&tree, true, MountPlan::SEALED)
            .tried(format_args!("make `{}` read-only", readonly.text))?;
        attach(tree.as_fd(), target.as_fd()).tried(format_args!("make `{}` read-only", readonly.text))?;
    }
    Ok(())
}

/// A procfs of our own that nobody else can reach, so that no mount inside the container can turn what
/// is written there elsewhere (CVE-2019-19921, CVE-2025-52881).
///
/// Before paths are masked: where a part of procfs is hidden, a user namespace may not mount another.
pub(super) fn own_procfs() -> Result<OwnedFd, Failed> {
    filesystem(c"proc", &[], 0).tried(format_args!("open a procfs"))
}

/// Writes a kernel parameter through `procfs`, which is our own.
pub(super) fn set_sysctl(name: &CStr, value: &str, procfs: &OwnedFd) -> Result<(), Failed> {
    let text = name.to_str().unwrap_or("kernel parameter");
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(procfs, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)
        .tried(format_args!("open kernel parameter `{text}`"))?;
    rustix::io::write(&file, value.as_bytes())
        .map(drop)
        .tried(format_args!("set kernel parameter `{text}` to `{value}`"))
}

/// Makes the working directory if it is missing.
pub(super) fn make_cwd(cwd: &CStr, root: BorrowedFd<'_>) -> Result<(), Failed> {
    let bytes = cwd.to_bytes();
    let start = bytes.iter().position(|&byte| byte != b'/').unwrap_or(bytes.len());
    let relative = &cwd[start..];
    if relative.is_empty() {
        return Ok(());
    }
    path::make_directories(root, relative, cwd.to_str().unwrap_or("working directory"))
}

/// Leaves the host's tree for the container's.
pub(super) fn pivot(plan: &RootPlan) -> Result<(), Failed> {
    rustix::process::fchdir(&plan.mount).tried(format_args!("enter the root file system"))?;
    if plan.pivot {
        // The new root becomes `/` with the old one on top of it; taking the upper one off leaves
        // the new one alone, with no directory needed for the old.
        rustix::process::pivot_root(c".", c".").tried(format_args!("pivot to the root file system"))?;
        unmount(c".", UnmountFlags::DETACH).tried(format_args!("leave the host's file systems"))?;
    } else {
        move_mount(&plan.mount, c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .tried(format_args!("move the root file system over the host's"))?;
        rustix::process::fchdir(&plan.mount).tried(format_args!("enter the root file system"))?;
        rustix::process::chroot(c".").tried(format_args!("change the root"))?;
    }
    rustix::process::chdir(c"/").tried(format_args!("enter the new root"))?;
    if let Some(propagation) = plan.inner_propagation {
        mount_change(c"/", MountPropagationFlags::from_bits_retain(propagation as u32))
            .tried(format_args!("share the root file system as asked"))?;
    }
    if plan.readonly {
        let root = path::open_root()?;
        set_attributes(&root, false, MountPlan::SEALED)
            .tried(format_args!("make the root file system read-only"))?;
    }
    Ok(())
}

fn make(plan: &mut MountPlan, root: BorrowedFd<'_>) -> Result<(), Failed> {
    let text = &plan.target.text;
    let target = path::open_target(root, &plan.target, plan.directory, plan.no_symlinks)?;
    if !plan.on_proc && is_on(target.as_fd(), PROC_MAGIC).tried(format_args!("look at `{text}`"))? {
        return Err(Failed::new(Errno::PERM, format_args!("mount on `{text}`, which is part of procfs")));
    }
    if let MountSource::Filesystem { kind, options, attributes } = &plan.source {
        let now = if plan.seal { attributes & !attr::RDONLY } else { *attributes };
        let made = filesystem(kind, options, now)
            .tried(format_args!("make a {} for `{text}`", kind.to_str().unwrap_or("file system")))?;
        if kind.as_c_str() == c"proc" && !is_on(made.as_fd(), PROC_MAGIC).unwrap_or(false) {
            return Err(Failed::new(Errno::PERM, format_args!("verify the procfs for `{text}`")));
        }
        if plan.copy_up {
            copy::directory(target.as_fd(), made.as_fd())
                .tried(format_args!("fill `{text}` with what was there before"))?;
        }
        plan.source = MountSource::Tree(made);
    }
    let MountSource::Tree(tree) = &plan.source else { unreachable!("a file system has just become a tree") };
    for (content, name) in &plan.links {
        rustix::fs::symlinkat(content.as_c_str(), tree, name.as_c_str())
            .tried(format_args!("link in `{text}`"))?;
    }
    if let Some((propagation, recursive)) = plan.propagation {
        set_attributes(tree, recursive, MountAttr { propagation, ..MountAttr::default() })
            .tried(format_args!("set the propagation of `{text}`"))?;
    }
    match attach(tree.as_fd(), target.as_fd()) {
        // So the kernel calls it that one of them is a directory and the other is not.
        Err(Errno::INVAL) if is_directory(tree) != is_directory(&target) => {
            Err(Failed::new(Errno::NOTDIR, format_args!("mount on `{text}` ({OTHER_TYPE})")))
        }
        attached => attached.tried(format_args!("mount on `{text}`")),
    }
}

/// What runtimes ask whoever mounts a file on a directory.
const OTHER_TYPE: &str = "Are you trying to mount a directory onto a file (or vice-versa)? \
                          Check if the specified host path exists and is the expected type";

fn is_directory(file: &OwnedFd) -> bool {
    rustix::fs::fstat(file).is_ok_and(|meta| FileType::from_raw_mode(meta.st_mode) == FileType::Directory)
}

/// A new instance of a file system, attached nowhere.
pub(super) fn filesystem(
    kind: &CStr,
    options: &[(std::ffi::CString, Option<std::ffi::CString>)],
    attributes: u64,
) -> Result<OwnedFd, Errno> {
    of_context(&fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?, options, attributes)
}

/// The same, where it was asked for already.
pub(super) fn of_context(
    context: &OwnedFd,
    options: &[(std::ffi::CString, Option<std::ffi::CString>)],
    attributes: u64,
) -> Result<OwnedFd, Errno> {
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(context, key.as_c_str(), value.as_c_str())?,
            None => fsconfig_set_flag(context, key.as_c_str())?,
        }
    }
    fsconfig_create(context)?;
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::from_bits_retain(attributes as u32))
}

/// Attaches a mount to exactly the file or directory that `target` is.
pub(super) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags)
}

/// Attaches a further clone of a mount that is attached already.
fn cover(attached: BorrowedFd<'_>, target: BorrowedFd<'_>, plan: &PathPlan) -> Result<(), Failed> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(attached, c"", flags)
        .and_then(|clone| attach(clone.as_fd(), target))
        .tried(format_args!("mask `{}`", plan.text))
}

/// Opens a path that is to be masked or made read-only; what claims to be in `/proc` must be
/// procfs, or a mount elsewhere would be masked in its place.
fn open_existing(plan: &PathPlan, root: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Failed> {
    let target = match path::open_in(root, &plan.path, OFlags::PATH, false) {
        Ok(target) => target,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(Failed::new(error, format_args!("open `{}`", plan.text))),
    };
    if plan.must_be_proc
        && !is_on(target.as_fd(), PROC_MAGIC).tried(format_args!("look at `{}`", plan.text))?
    {
        return Err(Failed::new(Errno::PERM, format_args!("verify that `{}` is part of procfs", plan.text)));
    }
    Ok(Some(target))
}
