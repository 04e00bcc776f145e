//! Removing a volume.

use super::RECORD;
use super::create::no_such_volume;
use crate::engine::{Engine, blocking};
use crate::error::{Context, Error, Kind, Result};

impl Engine {
    /// Removes a volume that no container has; with `force` one that is not there counts as removed.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        let (engine, name) = (self.clone(), name.to_owned());
        let removed = blocking(move || {
            let users = engine.volume_users(&name);
            if !users.is_empty() {
                return Err(Error::conflict(format!(
                    "remove {name}: volume is in use - [{}]",
                    users.join(", ")
                )));
            }
            engine.volume_delete(&name)
        })
        .await;
        match removed {
            Err(error) if force && error.kind() == Kind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Removes a volume without asking who has it.
    pub(crate) fn volume_delete(&self, name: &str) -> Result<()> {
        if self.inner.volumes.known.lock().remove(name).is_none() {
            return Err(no_such_volume(name));
        }
        let directory = self.inner.layout.volume(name);
        // First: without its record it is rubbish, and is cleared away if this is interrupted.
        let record = directory.join(RECORD);
        std::fs::remove_file(&record).context(|| format!("remove `{}`", record.display()))?;
        self.discard(&directory, &self.inner.layout.trash())?;
        self.emit_volume("destroy", name);
        Ok(())
    }
}
