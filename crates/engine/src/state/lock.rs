//! The locks that keep two engines from the same directories.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::make_directory;
use crate::error::{Context, Error, Result};

/// Held while an engine has a directory for itself; the kernel lets go of it when the process ends.
pub(crate) struct Lock {
    file: File,
}

/// A root and a run directory that nobody else uses while this is held.
pub struct Claim {
    _locks: (Lock, Lock),
}

impl Claim {
    /// Takes both directories, which are made where they are not there, or tells who has one
    /// ([`crate::Kind::Conflict`]). Nothing else in them is touched.
    pub fn take(root: &Path, run: &Path) -> Result<Self> {
        make_directory(root, 0o710)?;
        super::close_to_others(root)?;
        make_directory(run, 0o711)?;
        let root_lock = Lock::take(root, "root", root)?;
        Ok(Self { _locks: (root_lock, Lock::take(run, "run directory", root)?) })
    }
}

impl Lock {
    /// Takes the lock of `directory` for the engine at `root`, or tells who holds it.
    fn take(directory: &Path, what: &str, root: &Path) -> Result<Self> {
        let path = directory.join("engine.lock");
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
                    "another engine ({}) already uses `{}`: stop it, or choose another {what}",
                    described(&holder),
                    directory.display(),
                )));
            }
            Err(error) => return Err(error).context(|| format!("lock `{}`", path.display())),
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}\n{}", std::process::id(), root.display()));
        if let Err(error) = written {
            // The lock itself needs no space.
            tracing::debug!(path = %path.display(), %error, "say who holds a lock");
        }
        Ok(Self { file })
    }
}

impl Drop for Lock {
    /// Lets go at once, also of what a process that is just being started still has of it.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// The holder of a lock, from what it wrote: its process and its root.
fn described(holder: &str) -> String {
    let mut lines = holder.lines();
    let process = lines.next().unwrap_or_default().trim();
    match lines.next() {
        Some(root) => format!("process {process}, with the root `{root}`"),
        None => format!("process {process}"),
    }
}
