//! Removing a volume.

use std::io;
use std::path::{Path, PathBuf};

use super::Known;
use super::create::no_such_volume;
use crate::engine::Engine;
use crate::error::{Context, Fact, Kind, Result};
use crate::work::blocking;

impl Engine {
    /// Removes a volume that no container has; with `force` one that is not there counts as removed.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        let (engine, name) = (self.clone(), name.to_owned());
        match blocking(move || engine.volume_delete(&name)).await {
            Err(error) if force && error.kind() == Kind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Removes a volume, unless a container has it ([`Kind::Conflict`]).
    pub(crate) fn volume_delete(&self, name: &str) -> Result<()> {
        self.volumes_delete(&[name]).remove(0)
    }

    /// Removes volumes, each unless a container has it ([`Kind::Conflict`]); that is on disk when this
    /// returns, with one flush. Says of each how that went.
    pub(crate) fn volumes_delete(&self, names: &[&str]) -> Vec<Result<()>> {
        let volumes = &self.inner.volumes;
        let _changing = volumes.changing.lock();
        let taken: Vec<Result<Taken>> = names.iter().map(|name| self.take_away(name)).collect();
        let flushed = match taken.iter().any(Result::is_ok) {
            true => self.inner.flushes.flush(&self.inner.places.volumes()),
            false => Ok(()),
        };
        taken
            .into_iter()
            .zip(names)
            .map(|(taken, &name)| {
                let taken = taken?;
                if let (Err(error), Some(thrown)) = (&flushed, &taken.thrown) {
                    crate::container::put_back(thrown, &self.inner.places.volume(name));
                    volumes.known.lock().insert(name.to_owned(), taken.known);
                    let error = io::Error::new(error.kind(), error.to_string());
                    return Err(error).context(|| format!("write down that the volume {name} is removed"));
                }
                if let Some(project) = taken.known.record.project {
                    self.release_storage(project);
                }
                taken.thrown.into_iter().for_each(|thrown| self.sweep(thrown));
                self.emit_volume("destroy", name);
                Ok(())
            })
            .collect()
    }

    /// Takes a volume's directory away, with its record, if no container has it.
    fn take_away(&self, name: &str) -> Result<Taken> {
        let volumes = &self.inner.volumes;
        let known = {
            let mut known = volumes.known.lock();
            let users = &known.get(name).ok_or_else(|| no_such_volume(name))?.users;
            if !users.is_empty() {
                let users = users.iter().cloned().collect();
                return Err(Fact::VolumeInUse { name: name.to_owned(), users }.into());
            }
            known.remove(name).ok_or_else(|| no_such_volume(name))?
        };
        let directory = self.inner.places.volume(name);
        // What is mounted in its place is not the volume's to remove. What stays mounted is not removed either.
        if known.view.is_mounted() {
            super::mount::unmount(&known.view.path);
        }
        match self.throw_away(&directory) {
            Ok(thrown) => Ok(Taken { known, thrown }),
            Err(error) => {
                // It is there still, and has its record.
                volumes.known.lock().insert(name.to_owned(), known);
                Err(error).context(|| format!("remove `{}`", directory.display()))
            }
        }
    }

    /// Takes a volume's directory away, with its record; gives where it is, if it is not gone altogether.
    fn throw_away(&self, directory: &Path) -> io::Result<Option<PathBuf>> {
        match self.set_aside(directory, &self.inner.places.trash()) {
            Ok(thrown) => return Ok(thrown),
            // One that is a file system of its own, or lies on one, cannot be moved.
            Err(error) => tracing::debug!(error = %base::error::chain(&error), "remove a volume where it is"),
        }
        for path in base::fs::entries(directory)? {
            match path.symlink_metadata()?.is_dir() {
                true => base::tree::remove(&path)?,
                false => std::fs::remove_file(&path)?,
            }
        }
        std::fs::remove_dir(directory).map(|()| None)
    }
}

/// A volume that is not in its place any more.
struct Taken {
    known: Known,
    /// Where its directory is until it is removed.
    thrown: Option<PathBuf>,
}
