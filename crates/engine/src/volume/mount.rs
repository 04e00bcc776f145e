//! Volumes that are mounted: a file system, or a directory of the host, in the volume's place while somebody
//! uses it. All who use it see the same one; with the last of them it is unmounted.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags, openat, statx};

use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change};

use super::options::MountOptions;
use super::{Known, Volume, fill};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::rootfs::RootFs;

/// How many mounts at one place are taken away.
const STACKED: usize = 64;

/// Keeps a volume in its place.
pub(crate) struct Held {
    engine: Engine,
    name: String,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.engine.volume_leave(&self.name, |volume| volume.held = volume.held.saturating_sub(1));
    }
}

impl Engine {
    /// Puts a volume in its place for somebody who looks into it. Blocks.
    pub(crate) fn volume_hold(&self, name: &str) -> Result<Held> {
        self.volume_enter(name, |volume| volume.held += 1, |_| Ok(()))?;
        Ok(Held { engine: self.clone(), name: name.to_owned() })
    }

    /// Puts a volume in its place for a container that is started, until [`Engine::volumes_stop`]. One in
    /// memory that was mounted for it is filled with what its image `root` has at `target`, if that is told.
    pub(crate) fn volume_start(
        &self,
        name: &str,
        container: &ContainerId,
        image: Option<(&dyn Fn() -> Result<RootFs>, &str)>,
    ) -> Result<()> {
        let fill = |volume: &Volume| match image {
            Some((root, target)) if volume.is_in_memory() => match fill::find(&root()?, target)? {
                Some(source) => fill::fill_part(volume, None, source.as_fd(), target),
                None => Ok(()),
            },
            _ => Ok(()),
        };
        let enter = |volume: &mut Known| {
            volume.running.insert(container.clone());
        };
        self.volume_enter(name, enter, fill)
    }

    /// A container does not run any more: takes away what was mounted for its volumes, unless others use
    /// them.
    pub(crate) fn volumes_stop<'a>(&self, names: impl IntoIterator<Item = &'a str>, container: &ContainerId) {
        for name in names {
            self.volume_leave(name, |volume| {
                volume.running.remove(container);
            });
        }
    }

    /// Unmounts what an earlier engine has mounted and nobody uses.
    pub(crate) fn volumes_clear(&self) {
        let names: Vec<String> = self.inner.volumes.known.lock().keys().cloned().collect();
        for name in names {
            self.volume_leave(&name, |_| {});
        }
    }

    /// Mounts a volume if it is to be mounted and is not; `fresh` sees to it then. `enter` counts who uses it.
    fn volume_enter(
        &self,
        name: &str,
        enter: impl FnOnce(&mut Known),
        fresh: impl FnOnce(&Volume) -> Result<()>,
    ) -> Result<()> {
        let (mounting, volume) = self.volume_turn(name)?;
        let _turn = mounting.lock();
        if volume.is_mounted() && !is_mounted(&volume.path).map_err(|error| failed(&volume, error))? {
            MountOptions::of(&volume).and_then(|options| options.mount(&volume.path)).map_err(|error| {
                Error::internal(format!("error while mounting volume '{}'", volume.path.display()))
                    .with_source(error)
            })?;
            if let Err(error) = fresh(&volume) {
                unmount(&volume.path);
                return Err(error);
            }
        }
        match self.inner.volumes.known.lock().get_mut(name) {
            Some(volume) => enter(volume),
            None => return Err(super::create::no_such_volume(name)),
        }
        Ok(())
    }

    fn volume_leave(&self, name: &str, leave: impl FnOnce(&mut Known)) {
        let Ok((mounting, volume)) = self.volume_turn(name) else { return };
        let _turn = mounting.lock();
        let is_unused = match self.inner.volumes.known.lock().get_mut(name) {
            Some(volume) => {
                leave(volume);
                volume.running.is_empty() && volume.held == 0
            }
            None => false,
        };
        if is_unused && volume.is_mounted() {
            unmount(&volume.path);
        }
    }

    fn volume_turn(&self, name: &str) -> Result<(Arc<parking_lot::Mutex<()>>, Arc<Volume>)> {
        let known = self.inner.volumes.known.lock();
        let volume = known.get(name).ok_or_else(|| super::create::no_such_volume(name))?;
        Ok((Arc::clone(&volume.mounting), Arc::clone(&volume.view)))
    }
}

/// Takes away what is mounted in a volume's place, and nothing else.
///
/// What shows a directory of the host with all that is mounted below it is told of what happens there, and
/// tells: that something is unmounted below it here would unmount it there. So it is cut loose first.
pub(super) fn unmount(place: &Path) {
    let take = || -> io::Result<()> {
        // What is mounted on what was taken away, and so on.
        for _ in 0..STACKED {
            if !is_mounted(place)? {
                return Ok(());
            }
            mount_change(place, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
            rustix::mount::unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
        }
        Err(io::ErrorKind::ResourceBusy.into())
    };
    if let Err(error) = take() {
        tracing::warn!(path = %place.display(), %error, "unmount a volume");
    }
}

/// Whether something is mounted at `place`. Whoever serves it is not asked.
fn is_mounted(place: &Path) -> io::Result<bool> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    is_mount(&openat(CWD, place, flags, Mode::empty())?)
}

/// Whether `place` is the root of what is mounted there.
pub(super) fn is_mount(place: &OwnedFd) -> io::Result<bool> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = statx(place, c"", flags, StatxFlags::empty())?;
    Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn failed(volume: &Volume, error: io::Error) -> Error {
    Error::internal(format!("look at `{}`", volume.path.display())).with_source(error)
}
