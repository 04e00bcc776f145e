//! Files that are either wholly there or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Replaces the file at `path` by `bytes`, readable as `mode` (for example `0o600`).
///
/// A reader sees the old content or the new, never a part, also across a crash: the content is
/// written beside the file, flushed to disk, renamed over it, and the directory is flushed.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    stage(path, bytes, mode)?.commit()
}

/// Writes what the file at `path` is to be, flushed, beside it: what may fail for want of space, or on
/// a disk that takes nothing any more, has been done when [`Staged::commit`] is left.
pub fn stage(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Staged> {
    let staged = Staged { staged: staged_path(path)?, path: path.to_owned() };
    write_staged(&staged.staged, bytes, mode, true)?;
    Ok(staged)
}

/// What a file is to be, on disk beside it. Dropped, it goes away and the file stays as it is.
#[derive(Debug)]
pub struct Staged {
    staged: PathBuf,
    path: PathBuf,
}

impl Staged {
    /// Puts it in the file's place; that is on disk when this returns.
    pub fn commit(self) -> io::Result<()> {
        fs::rename(&self.staged, &self.path)?;
        sync_dir(self.path.parent().unwrap_or(Path::new("/")))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // It is not there where it took its place.
        let _ = fs::remove_file(&self.staged);
    }
}

/// As [`write_atomic`], but without waiting for the disk.
///
/// For files that need not outlive a crash of the machine (below a run directory) or that are
/// rebuilt from elsewhere; a reader still never sees a part. After a power cut the file may be empty,
/// and what was there before is gone: never put it in the place of something that must not be lost.
pub fn write_atomic_unsynced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let staged = staged_path(path)?;
    let result = write_staged(&staged, bytes, mode, false).and_then(|()| fs::rename(&staged, path));
    if result.is_err() {
        let _ = fs::remove_file(&staged);
    }
    result
}

/// Writes a file that must not be there yet, and flushes it. On the file systems that Linux machines
/// have (ext4, XFS, btrfs) that flushes also the new names that lead to it.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_staged(path, bytes, mode, true)
}

/// Flushes a directory, so that the names created in it survive a crash.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Flushes the whole file system that `path` is on: for many files at once. Waits also for what
/// others wrote there.
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(path)?)?)
}

/// What is in a directory, sorted; nothing where there is none.
pub fn entries(path: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut paths = Vec::new();
    for entry in listed {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

fn staged_path(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "path has no file name"))?;
    let mut staged = std::ffi::OsString::from(".");
    staged.push(name);
    let unique: u64 = crate::random::Random::next_u64(&crate::random::SystemRandom);
    staged.push(format!(".{unique:016x}"));
    Ok(path.with_file_name(staged))
}

fn write_staged(staged: &Path, bytes: &[u8], mode: u32, sync: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(staged)?;
    file.write_all(bytes)?;
    if sync { file.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_replaced_file_has_the_new_content_and_mode_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("state.json");
        write_atomic(&path, b"old", 0o644).expect("first write");
        write_atomic(&path, b"new", 0o600).expect("second write");
        assert_eq!(fs::read(&path).expect("read back"), b"new");
        assert_eq!(fs::metadata(&path).expect("stat").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);
    }

    #[test]
    fn what_is_staged_counts_when_it_is_committed_and_is_gone_otherwise() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("state.json");
        write_atomic(&path, b"old", 0o600).expect("write");
        let content = || fs::read(&path).expect("read back");
        drop(stage(&path, b"never", 0o600).expect("stage"));
        assert_eq!((content(), fs::read_dir(dir.path()).expect("list").count()), (b"old".to_vec(), 1));
        let staged = stage(&path, b"new", 0o600).expect("stage");
        assert_eq!(content(), b"old");
        staged.commit().expect("commit");
        assert_eq!((content(), fs::read_dir(dir.path()).expect("list").count()), (b"new".to_vec(), 1));
    }

    #[test]
    fn a_failed_write_leaves_the_old_content_and_nothing_beside_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("taken");
        fs::create_dir(&path).expect("a directory in the way");
        fs::write(path.join("file"), b"x").expect("make it not empty");
        assert!(write_atomic(&path, b"new", 0o600).is_err());
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);
    }
}
