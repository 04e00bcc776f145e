//! Overlay mounts that are attached nowhere, on every kernel from 5.10 on.
//!
//! Nobody else sees such a mount, and it goes when its descriptor is closed, unless it was attached
//! by then. Whatever is opened below it must be confined to it by `openat2`.

use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, mount_change, open_tree,
};
use rustix::thread::UnshareFlags;

/// The kernel takes no longer strings as parameters of a file system.
const PARAMETER: usize = 255;

/// Directories to be put together.
#[derive(Clone, Copy, Debug)]
pub struct Overlay<'a> {
    /// Read-only directories, topmost first; at least two, or one below a writable directory.
    pub lower: &'a [&'a Path],
    /// The directory that changes go to, and scratch space on the same file system.
    pub writable: Option<(&'a Path, &'a Path)>,
    /// Further options of overlayfs, with or without value.
    pub options: &'a [(&'a str, Option<&'a str>)],
}

/// Why directories could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// One of them.
    #[error("use `{}` as a layer", path.display())]
    Layer {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// An option.
    #[error("give overlayfs the option `{option}`")]
    Option {
        /// Its name.
        option: String,
        /// The reason.
        source: io::Error,
    },
    /// The kernel has no overlayfs and found no module of it.
    #[error(
        "the kernel has no overlayfs: load its module (`modprobe overlay`), or use a kernel with CONFIG_OVERLAY_FS"
    )]
    Missing(#[source] io::Error),
    /// All of them together.
    #[error("put {count} layers together")]
    Whole {
        /// How many lower directories there are.
        count: usize,
        /// The reason.
        source: io::Error,
    },
}

impl Overlay<'_> {
    /// Puts the directories together.
    pub fn mount(&self) -> Result<OwnedFd, OverlayError> {
        if takes_parameters() { self.mount_by_parameters() } else { self.mount_by_options() }
    }

    /// What [`Overlay::mount`] does on kernels before 6.7, which take all directories in one option,
    /// of 255 bytes unless it comes through mount(2). There, a mount has a place; so it is made in a
    /// mount namespace of its own, that a short-lived thread is alone in, and only a copy without a
    /// place comes out.
    pub fn mount_by_options(&self) -> Result<OwnedFd, OverlayError> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("overlay".to_owned());
            thread
                .spawn_scoped(scope, || self.mount_alone())
                .map_err(|source| OverlayError::Whole { count: self.lower.len(), source })?
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Gives the kernel one directory at a time.
    fn mount_by_parameters(&self) -> Result<OwnedFd, OverlayError> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|error| self.failed(error))?;
        let mut kept = Vec::new();
        for layer in self.lower {
            fsconfig_set_string(&context, "lowerdir+", short(layer, &mut kept)?)
                .map_err(|error| layer_failed(layer, error))?;
        }
        if let Some((upper, work)) = self.writable {
            for (key, path) in [("upperdir", upper), ("workdir", work)] {
                fsconfig_set_string(&context, key, short(path, &mut kept)?)
                    .map_err(|error| layer_failed(path, error))?;
            }
        }
        for (name, value) in self.options {
            match value {
                Some(value) => fsconfig_set_string(&context, *name, *value),
                None => fsconfig_set_flag(&context, *name),
            }
            .map_err(|error| OverlayError::Option { option: (*name).to_owned(), source: error.into() })?;
        }
        fsconfig_create(&context)
            .and_then(|()| fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()))
            .map_err(|error| self.failed(error))
    }

    /// As [`Overlay::mount_by_options`], on a thread that does nothing else before or after.
    fn mount_alone(&self) -> Result<OwnedFd, OverlayError> {
        let failed = |error: Errno| self.failed(error);
        #[expect(
            deprecated,
            reason = "its successor is unsafe for the sake of a flag that is not used here"
        )]
        rustix::thread::unshare(UnshareFlags::FS | UnshareFlags::NEWNS).map_err(failed)?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(failed)?;
        // Opened here: layers must be of the mount namespace that they are put together in.
        let layers = self.lower.iter().map(|layer| open(layer)).collect::<Result<Vec<_>, _>>()?;
        let writable = self.writable.map(|(upper, work)| Ok((open(upper)?, open(work)?))).transpose()?;
        // The numbers of descriptors are the shortest names there are, and have no special characters.
        rustix::process::chdir("/proc/self/fd").map_err(failed)?;
        let mut options = String::from("lowerdir=");
        for (index, layer) in layers.iter().enumerate() {
            let separator = if index == 0 { "" } else { ":" };
            write!(options, "{separator}{}", layer.as_raw_fd()).expect("a string takes everything");
        }
        if let Some((upper, work)) = &writable {
            write!(options, ",upperdir={},workdir={}", upper.as_raw_fd(), work.as_raw_fd())
                .expect("a string takes everything");
        }
        for (name, value) in self.options {
            options.push(',');
            options.push_str(name);
            if let Some(value) = value {
                write!(options, "={value}").expect("a string takes everything");
            }
        }
        let place = *self.lower.first().ok_or_else(|| failed(Errno::INVAL))?;
        let options = std::ffi::CString::new(options).map_err(|_| failed(Errno::INVAL))?;
        mount("overlay", place, "overlay", MountFlags::empty(), options.as_c_str()).map_err(failed)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        open_tree(CWD, place, flags).map_err(failed)
    }

    fn failed(&self, error: Errno) -> OverlayError {
        match error {
            Errno::NODEV => OverlayError::Missing(error.into()),
            error => OverlayError::Whole { count: self.lower.len(), source: error.into() },
        }
    }
}

/// Whether the kernel takes the directories of an overlay one by one. Asked by version: those
/// before 6.5 say only at the very end that they did not understand.
fn takes_parameters() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(['.', '-', '+']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(7))
}

/// The path itself if the kernel takes it as a parameter, else a short name for it.
fn short(path: &Path, kept: &mut Vec<OwnedFd>) -> Result<PathBuf, OverlayError> {
    if path.as_os_str().len() <= PARAMETER {
        return Ok(path.to_owned());
    }
    let directory = open(path)?;
    let name = format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd());
    kept.push(directory);
    Ok(name.into())
}

fn open(path: &Path) -> Result<OwnedFd, OverlayError> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| layer_failed(path, error))
}

fn layer_failed(path: &Path, error: Errno) -> OverlayError {
    OverlayError::Layer { path: path.to_owned(), source: error.into() }
}
