//! Filling an empty volume with what the image has where it is mounted.
//!
//! The files are put together beside the volume's place. Once they are complete and on disk the record
//! says so, and they move there; whoever is interrupted then goes on where that one was.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Dir, Mode, OFlags, RenameFlags, fstat, openat, renameat_with};

use super::{DATA, FILLING, RECORD, VolumeRecord, copy};
use crate::engine::Engine;
use crate::error::{Context, Result};
use crate::rootfs::RootFs;
use crate::state::{self, VolumeFile};

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
        let Some(mut record) = known.lock().get(name).map(|volume| volume.record.clone()) else {
            return Ok(());
        };
        if record.filled {
            return Ok(());
        }
        let directory = self.inner.places.volume(name);
        let tried = || format!("fill the volume {name} from the image's {target}");
        if !record.filling && is_empty(&directory.join(DATA))? {
            match root()?.open(target, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(source) => {
                    record.filling = gather(source.as_fd(), &directory).context(tried)?;
                    if record.filling {
                        self.volume_note(&record, &directory)?;
                    }
                }
                // The image has nothing there.
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
                Err(error) => return Err(error).context(|| format!("look into the image's {target}")),
            }
        }
        if record.filling {
            move_in(&directory).context(tried)?;
        }
        record.filled = true;
        record.filling = false;
        self.volume_note(&record, &directory)
    }

    /// Writes a volume's record down; what cannot be written is not so.
    fn volume_note(&self, record: &VolumeRecord, directory: &Path) -> Result<()> {
        state::save_durably(&directory.join(RECORD), &VolumeFile::from(record.clone()))?;
        if let Some(volume) = self.inner.volumes.known.lock().get_mut(&record.name) {
            volume.record = record.clone();
        }
        Ok(())
    }
}

fn is_empty(data: &Path) -> Result<bool> {
    let mut entries = std::fs::read_dir(data).context(|| format!("read `{}`", data.display()))?;
    Ok(entries.next().is_none())
}

/// Copies what is in `source` to where the volume in `directory` is put together: all of it is there, on
/// disk, or nothing. `false` where there is nothing to put together.
fn gather(source: BorrowedFd<'_>, directory: &Path) -> io::Result<bool> {
    let opened = openat(source, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut names = Dir::read_from(&opened)?.filter_map(|entry| entry.ok());
    if names.all(|entry| matches!(entry.file_name().to_bytes(), b"." | b"..")) {
        copy::give_attributes(&fstat(&opened)?, &directory.join(DATA))?;
        return Ok(false);
    }
    let filling = directory.join(FILLING);
    // An earlier attempt may have been cut short.
    match base::tree::remove(&filling) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => std::fs::create_dir(&filling)?,
    }
    let gathered = copy::directory(source, &filling).and_then(|()| base::fs::sync_file_system(&filling));
    if gathered.is_err() {
        let _ = base::tree::remove(&filling);
    }
    gathered.map(|()| true)
}

/// Moves what was gathered to the volume's place. The directory there stays the one that it is, and so
/// does what somebody has put into it meanwhile: a container may have it mounted.
fn move_in(directory: &Path) -> io::Result<()> {
    let (filling, data) = (directory.join(FILLING), directory.join(DATA));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let meta = match openat(CWD, &filling, flags, Mode::empty()) {
        Ok(opened) => fstat(opened)?,
        // It was the last step that was interrupted.
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for path in base::fs::entries(&filling)? {
        let place = data.join(path.file_name().unwrap_or_default());
        match renameat_with(CWD, &path, CWD, &place, RenameFlags::NOREPLACE) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    copy::give_attributes(&meta, &data)?;
    base::fs::sync_dir(&data)?;
    base::tree::remove(&filling)
}
