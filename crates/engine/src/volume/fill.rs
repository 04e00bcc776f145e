//! Filling an empty volume with what the image has where it is mounted.
//!
//! The files are put together beside the volume's place. Once they are complete and on disk the record
//! says so, and they move there; whoever is interrupted then goes on where that one was.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use base::beneath::Beneath;
use rustix::fs::{CWD, Dir, Mode, OFlags, RenameFlags, fstat, openat, renameat_with};
use rustix::io::Errno;

use super::{DATA, FILLING, RECORD, Volume, VolumeRecord, copy};
use crate::engine::Engine;
use crate::error::{Context, Error, Result};
use crate::rootfs::RootFs;
use crate::state::{self, VolumeFile};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Engine {
    /// Copies what the image `root` has at `target` into the volume, once in its life, unless
    /// there is something in it already. One that is mounted somewhere, and a part of one, is filled as often
    /// as there is nothing in it.
    pub(crate) fn volume_fill(
        &self,
        name: &str,
        part: Option<&str>,
        root: impl FnOnce() -> Result<RootFs>,
        target: &str,
    ) -> Result<()> {
        let known = &self.inner.volumes.known;
        let volume = self.volume_inspect(name)?;
        if volume.is_in_memory() {
            // It is made anew with each start, and filled then.
            return Ok(());
        }
        let filling = match known.lock().get(name) {
            Some(volume) => Arc::clone(&volume.filling),
            None => return Err(super::create::no_such_volume(name)),
        };
        if volume.is_mounted() || part.is_some() {
            let Some(source) = find(&root()?, target)? else { return Ok(()) };
            // Whoever comes meanwhile finds it filled, and not half of it.
            let _filling = filling.lock();
            let _held = self
                .volume_hold(name)
                .map_err(|error| Error::new(error.kind(), "failed to populate volume").with_source(error))?;
            return fill_part(&volume, part, source.as_fd(), target);
        }
        if known.lock().get(name).is_some_and(|volume| volume.record.filled) {
            return Ok(());
        }
        let _filling = filling.lock();
        let Some(mut record) = known.lock().get(name).map(|volume| volume.record.clone()) else {
            return Ok(());
        };
        if record.filled {
            return Ok(());
        }
        let directory = self.inner.places.volume(name);
        let tried = || format!("fill the volume {name} from the image's {target}");
        let data = open(&directory.join(DATA)).context(tried)?;
        if !record.filling
            && is_empty(data.as_fd()).context(tried)?
            && let Some(source) = find(&root()?, target)?
        {
            record.filling = gather(source.as_fd(), &directory).context(tried)?;
            if record.filling {
                self.volume_note(&record, &directory)?;
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

/// Copies what is in `source`, the image's `target`, into the volume that is in its place, or into a part of
/// it, if there is nothing in it.
pub(super) fn fill_part(
    volume: &Volume,
    part: Option<&str>,
    source: BorrowedFd<'_>,
    target: &str,
) -> Result<()> {
    let tried = || format!("fill the volume {} from the image's {target}", volume.name);
    let place = open(&volume.path).context(tried)?;
    let place = match part {
        None => place,
        // What is wrong with it is said when it is mounted.
        Some(part) => match Beneath::of(place).find(Path::new(part), DIRECTORY) {
            Ok(place) => place,
            Err(_) => return Ok(()),
        },
    };
    if is_empty(place.as_fd()).context(tried)? {
        copy::directory(source, place.as_fd()).context(tried)?;
    }
    Ok(())
}

/// The directory that an image has at `target`, if it has one.
pub(super) fn find(root: &RootFs, target: &str) -> Result<Option<OwnedFd>> {
    match root.open(target, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(source) => Ok(Some(source)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error).context(|| format!("look into the image's {target}")),
    }
}

fn is_empty(directory: BorrowedFd<'_>) -> io::Result<bool> {
    let is_entry = |name: &CStr| name != c"." && name != c"..";
    for entry in Dir::read_from(openat(directory, ".", DIRECTORY, Mode::empty())?)? {
        // What cannot be looked at may be anything.
        if is_entry(entry?.file_name()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Copies what is in `source` to where the volume in `directory` is put together: all of it is there, on
/// disk, or nothing. `false` where there is nothing to put together.
fn gather(source: BorrowedFd<'_>, directory: &Path) -> io::Result<bool> {
    if is_empty(source)? {
        copy::give_attributes(source, open(&directory.join(DATA))?.as_fd())?;
        return Ok(false);
    }
    let filling = directory.join(FILLING);
    // An earlier attempt may have been cut short.
    match base::tree::remove(&filling) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => std::fs::create_dir(&filling)?,
    }
    let gathered = open(&filling)
        .and_then(|place| copy::directory(source, place.as_fd()))
        .and_then(|()| base::fs::sync_file_system(&filling));
    if gathered.is_err() {
        let _ = base::tree::remove(&filling);
    }
    gathered.map(|()| true)
}

/// Moves what was gathered to the volume's place. The directory there stays the one that it is, and so
/// does what somebody has put into it meanwhile: a container may have it mounted.
fn move_in(directory: &Path) -> io::Result<()> {
    let (filling, data) = (directory.join(FILLING), directory.join(DATA));
    let gathered = match open(&filling) {
        // It was the last step that was interrupted.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let as_it_was = fstat(&gathered)?;
    for path in base::fs::entries(&filling)? {
        let place = data.join(path.file_name().unwrap_or_default());
        match renameat_with(CWD, &path, CWD, &place, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // What was moved out of it has changed its time.
    copy::set_times(gathered.as_fd(), &as_it_was)?;
    copy::give_attributes(gathered.as_fd(), open(&data)?.as_fd())?;
    base::fs::sync_dir(&data)?;
    base::tree::remove(&filling)
}

fn open(directory: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, directory, DIRECTORY, Mode::empty())?)
}
