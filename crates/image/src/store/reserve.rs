//! Space that is kept for the day on which the disk is full: images must be removable then.
//!
//! A removal is a line of the list's log, but for the first after a restart, which is the whole list, beside
//! the one before.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What is kept is a multiple of this.
const STEP: u64 = 256 << 10;
/// And is taken piece by piece: a disk that is nearly full has a part of it.
const PIECE: u64 = 4 << 10;
/// What is written beside the list: names, lines, blocks that are not full.
const BESIDE: u64 = 64 << 10;

/// Takes the space for a list of so many bytes, unless it is taken already; of a disk that has no room for it
/// as much as there is.
pub(super) fn keep(root: &Path, list: u64) {
    let path = path(root);
    let has = fs::metadata(&path).map_or(0, |taken| taken.len());
    let wanted = (list + BESIDE).next_multiple_of(STEP);
    if has >= wanted {
        return;
    }
    if let Err(error) = grow(&path, has, wanted) {
        tracing::debug!(path = %path.display(), %error, "no space could be kept for a full disk");
    }
}

/// Gives the space back, for something that gives back more.
pub(super) fn give_up(root: &Path) {
    // Where there is none, there is nothing to give.
    let _ = fs::remove_file(path(root));
}

fn grow(path: &Path, has: u64, wanted: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    // Written out: a hole takes no space.
    let zeros = [0; PIECE as usize];
    let mut taken = has;
    while taken < wanted {
        if let Err(error) = file.write_all(&zeros) {
            // The last of the space is not for this.
            file.set_len(taken.saturating_sub(PIECE).max(has))?;
            return Err(error);
        }
        taken += PIECE;
    }
    Ok(())
}

fn path(root: &Path) -> PathBuf {
    root.join("reserve")
}
