//! Space that is kept for the day on which the disk is full: images must be removable then.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// As much as the state of a few thousand images takes.
const BYTES: usize = 256 << 10;

/// Takes the space, unless it is taken already. A disk that has no room for it is full: then there
/// is none until the store is opened again, or an image is removed.
pub(super) fn keep(root: &Path) {
    let path = path(root);
    if path.exists() {
        return;
    }
    if let Err(error) = write(&path) {
        tracing::debug!(path = %path.display(), %error, "no space could be kept for a full disk");
        give_up(root);
    }
}

/// Gives the space back, for something that gives back more.
pub(super) fn give_up(root: &Path) {
    // Where there is none, there is nothing to give.
    let _ = fs::remove_file(path(root));
}

fn write(path: &Path) -> io::Result<()> {
    // Written out: a hole takes no space.
    File::create(path)?.write_all(&vec![0; BYTES])
}

fn path(root: &Path) -> PathBuf {
    root.join("reserve")
}
