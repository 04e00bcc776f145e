//! A sandbox's `/dev/shm`, where several containers share it: a directory below the run directory.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::engine::Engine;
use crate::error::{Context, Result};
use crate::id::SandboxId;
use crate::state;

impl Engine {
    /// Where it is.
    pub(crate) fn shared_memory(&self, id: &SandboxId) -> PathBuf {
        self.inner.layout.sandbox_run(id).join("shm")
    }

    /// Makes it, for everybody to write to. The shim must be up: its launch clears the directory above.
    pub(crate) fn make_shared_memory(&self, id: &SandboxId) -> Result<()> {
        let path = self.shared_memory(id);
        state::make_directory(&path, 0o755)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o1777))
            .context(|| format!("open up `{}`", path.display()))
    }
}
