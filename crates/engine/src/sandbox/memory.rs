//! A sandbox's `/dev/shm`, where several containers share it: a tmpfs below the run directory.

use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::engine::Engine;
use crate::error::{Context, Result};
use crate::id::SandboxId;
use crate::state;
use crate::work::{blocking, in_place};

impl Engine {
    /// Makes it, for everybody to write to, with room for `size` bytes. The shim must be up: its
    /// launch clears the directory above.
    pub(crate) async fn make_shared_memory(&self, id: &SandboxId, size: u64) -> Result<()> {
        let path = self.inner.places.shared_memory(id);
        blocking(move || {
            unmount(&path)?;
            state::make_directory(&path, 0o755)?;
            let options = std::ffi::CString::new(format!("mode=1777,size={size}")).expect("numbers");
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            rustix::mount::mount("shm", &path, "tmpfs", flags, Some(options.as_c_str()))
                .context(|| format!("mount memory at `{}`", path.display()))
        })
        .await
    }

    /// Takes it away; containers that still run keep what they have. Does nothing where there is none.
    pub(crate) fn drop_shared_memory(&self, id: &SandboxId) {
        if let Err(error) = in_place(|| unmount(&self.inner.places.shared_memory(id))) {
            tracing::warn!(sandbox = %id, error = %base::error::chain(&error), "unmount a sandbox's memory");
        }
    }
}

/// Unmounts whatever is mounted at `path`.
pub(crate) fn unmount(path: &Path) -> Result<()> {
    loop {
        match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // Nothing is mounted there, or nothing is there.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error).context(|| format!("unmount `{}`", path.display())),
        }
    }
}
