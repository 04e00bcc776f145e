//! Removing a volume.

use std::io;
use std::path::Path;

use super::create::no_such_volume;
use crate::engine::{Engine, blocking};
use crate::error::{Context, Error, Kind, Result};

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
        let volumes = &self.inner.volumes;
        let _changing = volumes.changing.lock();
        let removed = {
            let mut known = volumes.known.lock();
            let users = &known.get(name).ok_or_else(|| no_such_volume(name))?.users;
            if !users.is_empty() {
                let users: Vec<&str> = users.iter().map(|id| id.as_str()).collect();
                return Err(Error::conflict(format!(
                    "remove {name}: volume is in use - [{}]",
                    users.join(", ")
                )));
            }
            known.remove(name)
        };
        let directory = self.inner.layout.volume(name);
        let limit =
            removed.as_ref().and_then(|known| self.volume_limit(&known.record.spec.options, &directory));
        if let Err(error) = self.throw_away(&directory) {
            // It is there still, and has its record.
            volumes.known.lock().extend(removed.map(|known| (name.to_owned(), known)));
            return Err(error).context(|| format!("remove `{}`", directory.display()));
        }
        limit.into_iter().for_each(|limit| self.release_storage(limit));
        self.emit_volume("destroy", name);
        Ok(())
    }

    /// Takes a volume's directory away, with its record; its files go when there is time.
    fn throw_away(&self, directory: &Path) -> io::Result<()> {
        match self.discard(directory, &self.inner.layout.trash()) {
            Ok(()) => return Ok(()),
            // One that is a file system of its own, or lies on one, cannot be moved.
            Err(error) => tracing::debug!(error = %base::error::chain(&error), "remove a volume where it is"),
        }
        for path in base::fs::entries(directory)? {
            match path.symlink_metadata()?.is_dir() {
                true => base::tree::remove(&path)?,
                false => std::fs::remove_file(&path)?,
            }
        }
        std::fs::remove_dir(directory)
    }
}
