//! Filling an empty volume with what the image has where it is mounted.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::OFlags;

use super::{DATA, RECORD, copy};
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
                    let copied = copy::directory(source.as_fd(), &data);
                    copied.context(|| format!("fill the volume {name} from the image's {target}"))?;
                }
                // The image has nothing there.
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
                Err(error) => return Err(error).context(|| format!("look into the image's {target}")),
            }
        }
        let mut known = known.lock();
        let Some(volume) = known.get_mut(name) else { return Ok(()) };
        volume.record.filled = true;
        state::save(&directory.join(RECORD), &volume.record)
    }
}
