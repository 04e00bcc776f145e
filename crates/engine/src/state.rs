//! What the engine keeps on disk, in its own versioned types. Where it lies: [`crate::places`].
//!
//! A thing appears together with its record, and disappears with it: its directory is made beside
//! its place and moved there when the record has been flushed, and moved to `trash/` when it goes.
//! So whatever lies in its place without a record that can be read was not left there by the engine.
//! It is left alone, and told ([`crate::Engine::troubles`]).
//!
//! What is acknowledged is on disk. A record that was flushed is never replaced by one that was not;
//! what changes often and may be lost with the machine (how a container fares) has a file of its own.
//!
//! Each file has a type whose only purpose it is, and conversions lead to what the engine works with and
//! back ([`base::same_fields`]). No other type of the engine is written or read: a field that is added to
//! one does not compile until it is said here what it is on disk, and how documents are read that do not
//! have it. What those types mean is said where the others are.

mod container;
mod engine;
mod life;
mod lock;
mod making;
mod mount_point;
mod resolved;
mod sandbox;
mod spec;
mod volume;

use std::path::Path;

use base::RecordError;
use base::record::Record;

use crate::error::{Context, Error, Result};
use crate::work::in_place;

pub(crate) use container::{ContainerFile, flush_life, has_life, load_container, save_life};
pub(crate) use engine::EngineFile;
pub use lock::Claim;
pub(crate) use making::{Making, finish, is_making};
pub(crate) use sandbox::SandboxFile;
pub(crate) use volume::VolumeFile;

/// The name of the state file of a container or sandbox directory.
pub(crate) const STATE_FILE: &str = "state.json";

/// Makes a directory and those above it; only root may list or enter what has no `x` for others.
pub(crate) fn make_directory(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    in_place(|| std::fs::DirBuilder::new().recursive(true).mode(mode).create(path))
        .context(|| format!("make the directory `{}`", path.display()))
}

/// Keeps everybody but root and its group out of a directory: below it are programs that containers
/// made, which others could run as whomever they belong to on disk (set-user-id).
fn close_to_others(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let tried = || format!("close `{}` to others", path.display());
    let mode = std::fs::metadata(path).context(tried)?.permissions().mode();
    if mode & 0o007 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o770)).context(tried)
}

/// Writes a record so that it survives a crash of the machine.
pub(crate) fn save_durably<T: Record>(path: &Path, record: &T) -> Result<()> {
    let bytes = encode(path, record)?;
    in_place(|| base::fs::write_atomic(path, &bytes, 0o600)).context(|| format!("write `{}`", path.display()))
}

/// Writes what a record is to be beside it, on disk; it counts from its `commit` on.
pub(crate) fn stage<T: Record>(path: &Path, record: &T) -> Result<base::fs::Staged> {
    let bytes = encode(path, record)?;
    in_place(|| base::fs::stage(path, &bytes, 0o600)).context(|| format!("write `{}`", path.display()))
}

/// Writes a record so that it survives a crash of this process; the kernel brings it to disk in
/// its own time. It must not replace one that was flushed.
fn save<T: Record>(path: &Path, record: &T) -> Result<()> {
    let bytes = encode(path, record)?;
    in_place(|| base::fs::write_atomic_unsynced(path, &bytes, 0o600))
        .context(|| format!("write `{}`", path.display()))
}

/// Reads a record.
pub(crate) fn load<T: Record>(path: &Path) -> Result<T, RecordError> {
    in_place(|| base::record::read(path))
}

fn encode<T: Record>(path: &Path, record: &T) -> Result<Vec<u8>> {
    base::record::encode(record).map_err(|source| {
        Error::internal(format!("`{}` is no record of this engine", path.display())).with_source(source)
    })
}

#[cfg(test)]
mod tests;
