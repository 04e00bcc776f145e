//! The lock that keeps two engines from the same root.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::{Context, Error, Result};

/// Held while an engine has its root open; the kernel lets go of it when the process ends.
pub(crate) struct RootLock {
    file: File,
}

impl RootLock {
    /// Takes the lock of `root`, or tells who holds it.
    pub(crate) fn take(root: &Path) -> Result<Self> {
        let path = root.join("engine.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .context(|| format!("open `{}`", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // Who holds it is a courtesy: the refusal stands without it.
                let _ = file.read_to_string(&mut holder);
                return Err(Error::conflict(format!(
                    "another engine (process {}) already uses `{}`: stop it, or choose another root",
                    holder.trim(),
                    root.display()
                )));
            }
            Err(error) => return Err(error).context(|| format!("lock `{}`", path.display())),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .context(|| format!("write `{}`", path.display()))?;
        Ok(Self { file })
    }
}

impl Drop for RootLock {
    /// Lets go at once, also of what a process that is just being started still has of it.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}
