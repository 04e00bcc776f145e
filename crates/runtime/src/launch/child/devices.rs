//! Device nodes and the links of `/dev`.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, mknodat, statat, symlinkat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::super::channel::{Failed, Tried};
use super::super::plan::DevicePlan;
use super::{mounts, path};

/// Makes the nodes, then the links.
pub(super) fn make(
    devices: &[DevicePlan],
    links: &[(CString, CString)],
    root: BorrowedFd<'_>,
) -> Result<(), Failed> {
    for device in devices {
        make_node(device, root)?;
    }
    if links.is_empty() {
        return Ok(());
    }
    let dev = path::open_in(root, c"dev", OFlags::PATH | OFlags::DIRECTORY, false)
        .tried(format_args!("open `/dev`"))?;
    for (content, name) in links {
        match symlinkat(content.as_c_str(), &dev, name.as_c_str()) {
            // An image's own link or file is left alone, except where a terminal must be the container's.
            Err(Errno::EXIST) if name.as_c_str() == c"ptmx" => {
                unlinkat(&dev, c"ptmx", AtFlags::empty())
                    .and_then(|()| symlinkat(content.as_c_str(), &dev, c"ptmx"))
                    .tried(format_args!("replace `/dev/ptmx`"))?;
            }
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => {
                let name = name.to_str().unwrap_or("name");
                return Err(Failed::new(error, format_args!("link `/dev/{name}`")));
            }
        }
    }
    Ok(())
}

fn make_node(plan: &DevicePlan, root: BorrowedFd<'_>) -> Result<(), Failed> {
    let text = &plan.text;
    if plan.parent.path.as_c_str() != c"." {
        path::make_directories(root, &plan.parent.path, text)?;
    }
    let parent = path::open_in(root, &plan.parent.path, OFlags::PATH | OFlags::DIRECTORY, false)
        .tried(format_args!("open the directory of `{text}`"))?;
    if let Some(host) = &plan.bind {
        let node = path::make_file(parent.as_fd(), &plan.name, Mode::empty())
            .tried(format_args!("make `{text}`"))?;
        return mounts::attach(host.as_fd(), node.as_fd()).tried(format_args!("bind device `{text}`"));
    }
    let kind = FileType::from_raw_mode(plan.mode);
    let mode = Mode::from_raw_mode(plan.mode & 0o7777);
    match mknodat(&parent, plan.name.as_c_str(), kind, mode, plan.device) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let stat = statat(&parent, plan.name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)
                .tried(format_args!("look at `{text}`"))?;
            let same = FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == plan.device;
            return if same {
                Ok(())
            } else {
                Err(Failed::new(Errno::EXIST, format_args!("make device `{text}`")))
            };
        }
        Err(error) => return Err(Failed::new(error, format_args!("make device `{text}`"))),
    }
    let (uid, gid) = plan.owner;
    if (uid, gid) == (0, 0) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(&parent, plan.name.as_c_str(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .tried(format_args!("give `{text}` to its owner"))
}
