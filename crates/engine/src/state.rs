//! What the engine keeps on disk, in its own versioned types, with one owner per subdirectory.
//!
//! ```text
//! <root>/engine.lock                    held while an engine has the root open
//! <root>/engine.json                    the engine's own id
//! <root>/containers/<id>/state.json     ContainerRecord
//! <root>/containers/<id>/{hosts,hostname,resolv.conf,container.log…}
//! <root>/sandboxes/<id>/state.json      SandboxRecord (sandboxes made as such)
//! <root>/sandboxes/<id>/{hosts,hostname,resolv.conf}
//! <root>/volumes/<name>/volume.json     VolumeRecord; files are in `_data`
//! <root>/trash/                         what is being removed
//! <root>/images/                        the image store's
//! <root>/network/                       the network's
//! <run>/shims/<sandbox>.sock            the shims' sockets
//! <run>/sandboxes/<sandbox>/            the shims' own state and logs, shared memory
//! <run>/bundles/<container>/            OCI bundles
//! <run>/trash/                          as above
//! ```
//!
//! A directory without a state file is one that was being made or removed when the engine was
//! killed, and is cleared away at the next opening. One whose state file cannot be read is left
//! alone, and out: somebody may repair it.

mod lock;
mod record;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context, Error, Result};
use crate::id::{ContainerId, SandboxId};
use crate::threads::in_place;

pub(crate) use lock::RootLock;
pub(crate) use record::{ContainerRecord, EngineRecord, Layers, SandboxRecord, VERSION, VolumeRecord};

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    run: PathBuf,
}

/// The name of the state file of a container, sandbox or volume directory.
pub(crate) const STATE_FILE: &str = "state.json";

impl Layout {
    pub(crate) fn new(root: &Path, run: &Path) -> Self {
        Self { root: root.to_owned(), run: run.to_owned() }
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(crate) fn container(&self, id: &ContainerId) -> PathBuf {
        self.root.join("containers").join(id.as_str())
    }

    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    pub(crate) fn sandbox(&self, id: &SandboxId) -> PathBuf {
        self.root.join("sandboxes").join(id.as_str())
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.root.join("volumes").join(name)
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// What is being removed; cleared at every opening.
    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// As [`Layout::trash`], for what is below the run directory.
    pub(crate) fn run_trash(&self) -> PathBuf {
        self.run.join("trash")
    }

    pub(crate) fn run(&self) -> &Path {
        &self.run
    }

    pub(crate) fn shims(&self) -> PathBuf {
        self.run.join("shims")
    }

    /// The run directory of a sandbox: the shim's state and its log.
    pub(crate) fn sandbox_run(&self, id: &SandboxId) -> PathBuf {
        self.run.join("sandboxes").join(id.as_str())
    }

    /// The memory that a sandbox's containers share.
    pub(crate) fn shared_memory(&self, id: &SandboxId) -> PathBuf {
        self.sandbox_run(id).join("shm")
    }

    pub(crate) fn bundle(&self, container: &ContainerId) -> PathBuf {
        self.run.join("bundles").join(container.as_str())
    }

    /// Where a sandbox's shim keeps how its containers ended.
    pub(crate) fn shim_state(&self, sandbox: &SandboxId) -> PathBuf {
        self.sandbox_run(sandbox).join("state")
    }

    /// The directories that must be there, made.
    pub(crate) fn prepare(&self) -> Result<()> {
        for directory in [
            self.containers(),
            self.sandboxes(),
            self.volumes(),
            self.shims(),
            self.run.join("sandboxes"),
            self.run.join("bundles"),
            self.trash(),
            self.run_trash(),
        ] {
            make_directory(&directory, 0o711)?;
        }
        Ok(())
    }
}

/// Makes a directory and those above it; only root may list or enter what has no `x` for others.
pub(crate) fn make_directory(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    in_place(|| std::fs::DirBuilder::new().recursive(true).mode(mode).create(path))
        .context(|| format!("make the directory `{}`", path.display()))
}

/// Writes a record so that it survives a crash of the machine.
pub(crate) fn save_durably<T: Serialize>(path: &Path, record: &T) -> Result<()> {
    let bytes = serde_json::to_vec(record).map_err(|source| unreadable(path).with_source(source))?;
    in_place(|| base::fs::write_atomic(path, &bytes, 0o600)).context(|| format!("write `{}`", path.display()))
}

/// Writes a record so that it survives a crash of this process; the kernel brings it to disk in
/// its own time.
pub(crate) fn save<T: Serialize>(path: &Path, record: &T) -> Result<()> {
    let bytes = serde_json::to_vec(record).map_err(|source| unreadable(path).with_source(source))?;
    in_place(|| base::fs::write_atomic_unsynced(path, &bytes, 0o600))
        .context(|| format!("write `{}`", path.display()))
}

/// Reads a record.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = in_place(|| std::fs::read(path)).context(|| format!("read `{}`", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|source| unreadable(path).with_source(source))
}

fn unreadable(path: &Path) -> Error {
    Error::internal(format!("`{}` is no record of this engine", path.display()))
}
