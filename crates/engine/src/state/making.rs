//! Making a thing so that it is there with its record or not at all.

use std::path::{Path, PathBuf};

use base::RecordError;
use base::record::Record;

use super::{encode, load, make_directory};
use crate::error::{Context, Result};

/// What the directory of a thing is called while it is made.
const SUFFIX: &str = ".making";

/// The directory of a thing that is being made, beside its place. It goes away with this, unless it
/// was [placed](Making::place).
pub(crate) struct Making {
    directory: PathBuf,
    place: PathBuf,
    placed: bool,
}

impl Making {
    /// Begins to make what will lie at `place`.
    pub(crate) fn begin(place: &Path, mode: u32) -> Result<Self> {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let directory = place.with_file_name(format!(".{name}{SUFFIX}"));
        make_directory(&directory, mode)?;
        Ok(Self { directory, place: place.to_owned(), placed: false })
    }

    /// Where it is meanwhile.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Flushes the record, as `name`, and moves all to its place.
    ///
    /// One flush: it brings to disk, with the new file, the names that lead to it. If the machine loses
    /// power before the move reaches the disk, [`finish`] makes up for it.
    pub(crate) fn place<T: Record>(mut self, name: &str, record: &T) -> Result<()> {
        let path = self.directory.join(name);
        let bytes = encode(&path, record)?;
        base::fs::write_new(&path, &bytes, 0o600).context(|| format!("write `{}`", path.display()))?;
        std::fs::rename(&self.directory, &self.place)
            .context(|| format!("put `{}` in its place", self.place.display()))?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if !self.placed {
            // The error that led here is what the user must see; what stays is cleared at the next opening.
            let _ = base::tree::remove(&self.directory);
        }
    }
}

/// Finishes what was being made in `parent` when the engine or the machine stopped: what has its
/// record, a `T` called `name`, gets its place, the rest is cleared away. Gives what could not be seen to.
pub(crate) fn finish<T: Record>(parent: &Path, name: &str) -> Vec<(PathBuf, std::io::Error)> {
    let mut failed = Vec::new();
    // Whoever reads the directory next tells that it cannot be read.
    for path in base::fs::entries(parent).unwrap_or_default() {
        let called = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(thing) = called.strip_prefix('.').and_then(|name| name.strip_suffix(SUFFIX)) else {
            continue;
        };
        let place = parent.join(thing);
        let done = match load::<T>(&path.join(name)) {
            Ok(_) if !place.exists() => std::fs::rename(&path, &place),
            Err(RecordError::Newer { version, .. }) => {
                Err(std::io::Error::other(format!("its record has version {version}")))
            }
            _ => base::tree::remove(&path),
        };
        if let Err(error) = done {
            failed.push((path, error));
        }
    }
    failed
}

/// Whether `path` is of something that is being made.
pub(crate) fn is_making(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(b".") && name.ends_with(SUFFIX.as_bytes())
}
