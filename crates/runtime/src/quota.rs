//! How much disk directories may take together, by the quota of a project of their own.
//!
//! A project is a number that files carry; the file system counts what each uses and limits it. It
//! takes XFS mounted with `prjquota`, or ext4 with the feature `project` mounted so.
//!
//! Which numbers are taken is looked up where they are kept, in the file system itself: one that has
//! a limit, or files, is somebody's. So none is given out twice, whoever else gives out some. One that
//! has a limit and no files was lost in a crash, and is taken back.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, fstat, mknodat, unlink};

use crate::sys::quota::{self, Disk};

/// The first number of ours: above what people and other engines, who begin at 1, give out.
const FIRST: u32 = 0x4741_0000;
/// How many numbers are looked at before giving up.
const TRIES: u32 = 1 << 16;

/// The quotas of one file system.
#[derive(Debug)]
pub struct Projects {
    /// A directory on it.
    place: File,
    /// Its block device, where quotas are reached by that alone.
    device: Option<Device>,
    next: u32,
    /// Limits that nobody has any more have been taken back.
    is_tidy: bool,
}

/// A node that is there as long as this is.
#[derive(Debug)]
struct Device(CString, PathBuf);

impl Projects {
    /// The quotas of the file system that `directory` is on; `None` where it has none for projects,
    /// or they are not in force. A node for its device may be made in `directory`.
    pub fn open(directory: &Path) -> io::Result<Option<Self>> {
        let place = File::open(directory)?;
        let mut projects = Self { place, device: None, next: FIRST, is_tidy: false };
        let mut enforced = quota::is_enforced(projects.disk());
        if enforced.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ENOSYS)) {
            let Ok(device) = Device::make(&projects.place, directory) else { return Ok(None) };
            projects.device = Some(device);
            enforced = quota::is_enforced(projects.disk());
        }
        // Whatever a file system says that has no quotas.
        Ok(enforced.unwrap_or(false).then_some(projects))
    }

    /// Lets what is below `directories`, which are empty, take so many bytes together.
    ///
    /// Gives their number, for [`Projects::release`]. Whoever keeps it must not ask the directories for it
    /// later: who may write there may be able to change it.
    pub fn limit(&mut self, directories: &[&Path], bytes: u64) -> io::Result<u32> {
        if !self.is_tidy {
            self.reclaim()?;
            self.is_tidy = true;
        }
        let project = match self.free()? {
            Some(project) => project,
            // What was given back while its files were still being removed is free by now.
            None => {
                self.reclaim()?;
                self.next = FIRST;
                self.free()?.ok_or_else(|| {
                    io::Error::other(format!("{TRIES} disk quotas are in use, more are not possible"))
                })?
            }
        };
        // Files first: a limit without any is one that nobody has, which `reclaim` takes back.
        let set = |directory: &&Path| quota::set_project(File::open(directory)?.as_fd(), project);
        let limited =
            directories.iter().try_for_each(set).and_then(|()| quota::set_limit(self.disk(), project, bytes));
        if let Err(error) = limited {
            let _ = quota::set_limit(self.disk(), project, 0);
            return Err(error);
        }
        Ok(project)
    }

    /// Whether these are the quotas of the file system that a directory is on.
    pub fn are_of(&self, directory: &Path) -> io::Result<bool> {
        Ok(fstat(&self.place)?.st_dev == rustix::fs::stat(directory)?.st_dev)
    }

    /// Lets what has a number that [`Projects::limit`] gave take so many bytes from now on.
    pub fn change(&mut self, project: u32, bytes: u64) -> io::Result<()> {
        quota::set_limit(self.disk(), project, bytes)
    }

    /// Bytes and files of a number.
    pub fn used(&self, project: u32) -> io::Result<(u64, u64)> {
        let usage = quota::usage(self.disk(), project)?;
        Ok((usage.bytes, usage.files))
    }

    /// Gives back a number whose directories have been removed, or will be: its limit goes. It is given
    /// out again when its files are gone.
    pub fn release(&mut self, project: u32) -> io::Result<()> {
        quota::set_limit(self.disk(), project, 0)?;
        self.next = self.next.min(project);
        Ok(())
    }

    /// Takes limits back that nobody has: whoever had them was removed, or never finished, when the
    /// machine or the program ended.
    fn reclaim(&mut self) -> io::Result<()> {
        let mut from = FIRST;
        while let Some((project, usage)) = quota::next(self.disk(), from)? {
            if usage.limit != 0 && usage.files == 0 {
                quota::set_limit(self.disk(), project, 0)?;
            }
            let Some(next) = project.checked_add(1) else { break };
            from = next;
        }
        Ok(())
    }

    /// A number that nobody has.
    fn free(&mut self) -> io::Result<Option<u32>> {
        for _ in 0..TRIES {
            let project = self.next;
            self.next = project.checked_add(1).unwrap_or(FIRST);
            let usage = quota::usage(self.disk(), project)?;
            if usage.limit == 0 && usage.files == 0 {
                return Ok(Some(project));
            }
        }
        Ok(None)
    }

    fn disk(&self) -> Disk<'_> {
        match &self.device {
            Some(Device(path, _)) => Disk::Device(path),
            None => Disk::Of(self.place.as_fd()),
        }
    }
}

impl Device {
    /// Makes a node for the device that `place` is on.
    fn make(place: &File, directory: &Path) -> io::Result<Self> {
        let path = directory.join(format!(".quota-{}", std::process::id()));
        let _ = unlink(&path);
        mknodat(CWD, &path, FileType::BlockDevice, Mode::RUSR | Mode::WUSR, fstat(place)?.st_dev)?;
        let text = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
        Ok(Self(text, path))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = unlink(&self.1);
    }
}
