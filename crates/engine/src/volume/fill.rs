//! Filling an empty volume with what the image has where it is mounted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;

use super::{DATA, FILLING, RECORD, copy};
use crate::engine::Engine;
use crate::error::{Context, Result};
use crate::rootfs::RootFs;
use crate::state;

impl Engine {
    /// Copies what the image `root` has at `target` into the volume, once in its life, unless
    /// there is something in it already.
    pub(crate) fn volume_fill(
        &self,
        name: &str,
        root: impl FnOnce() -> Result<RootFs>,
        target: &str,
    ) -> Result<()> {
        let known = &self.inner.volumes.known;
        let filling = match known.lock().get(name) {
            Some(volume) if volume.record.filled => return Ok(()),
            Some(volume) => Arc::clone(&volume.filling),
            None => return Err(super::create::no_such_volume(name)),
        };
        let _filling = filling.lock();
        if known.lock().get(name).is_some_and(|volume| volume.record.filled) {
            return Ok(());
        }
        let directory = self.inner.layout.volume(name);
        let data = directory.join(DATA);
        let is_empty =
            std::fs::read_dir(&data).context(|| format!("read `{}`", data.display()))?.next().is_none();
        if is_empty {
            match root()?.open(target, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(source) => {
                    fill(source.as_fd(), &directory)
                        .context(|| format!("fill the volume {name} from the image's {target}"))?;
                }
                // The image has nothing there.
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
                Err(error) => return Err(error).context(|| format!("look into the image's {target}")),
            }
        }
        let record = {
            let mut known = known.lock();
            let Some(volume) = known.get_mut(name) else { return Ok(()) };
            volume.record.filled = true;
            volume.record.clone()
        };
        state::save_durably(&directory.join(RECORD), &record)
    }
}

/// Fills the empty volume in `directory`: all of it is there, on disk, or nothing.
fn fill(source: BorrowedFd<'_>, directory: &Path) -> io::Result<()> {
    let (filling, data) = (directory.join(FILLING), directory.join(DATA));
    // An earlier attempt may have been cut short.
    match base::tree::remove(&filling) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => std::fs::create_dir(&filling)?,
    }
    let filled = copy::directory(source, &filling).and_then(|()| {
        if std::fs::read_dir(&filling)?.next().is_some() {
            base::fs::sync_file_system(&filling)?;
        }
        // The volume's directory stays the one that it is: a container may have it mounted.
        for path in base::fs::entries(&filling)? {
            let name = path.file_name().unwrap_or_default();
            std::fs::rename(&path, data.join(name))?;
        }
        copy::attributes_of(source, &data)
    });
    let cleared = base::tree::remove(&filling);
    filled.and(cleared)
}
