//! Volumes in memory: a tmpfs at the volume's directory, there again after a reboot.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::MountFlags;

const TMPFS_MAGIC: u64 = 0x0102_1994;

/// How a volume in memory is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Permission bits of its root directory.
    pub mode: u32,
    /// The group that its root directory belongs to.
    pub group: Option<u32>,
    /// Bytes; `None` is half of the machine's memory.
    pub size: Option<i64>,
}

/// Makes `path` a volume in memory, unless it is one. What lay there on disk is removed: it was left
/// by a life of the machine or an attempt in which nothing was mounted.
pub fn mount(path: &Path, memory: &Memory) -> io::Result<()> {
    fs::create_dir_all(path)?;
    if is_mounted(path)? {
        return Ok(());
    }
    clear(path)?;
    let mut options = format!("mode={:o}", memory.mode);
    if let Some(group) = memory.group {
        options += &format!(",gid={group}");
    }
    if let Some(size) = memory.size {
        options += &format!(",size={size}");
    }
    // What is to be in memory alone must not be swapped out to a disk; older kernels cannot say so.
    match tmpfs(path, &format!("{options},noswap")) {
        Err(Errno::INVAL) => Ok(tmpfs(path, &options)?),
        other => Ok(other?),
    }
}

/// Whether a file system in memory is mounted at `path`.
pub fn is_mounted(path: &Path) -> io::Result<bool> {
    let above = path.parent().unwrap_or(Path::new("/"));
    let is_memory = rustix::fs::statfs(path)?.f_type as u64 == TMPFS_MAGIC;
    Ok(is_memory && fs::symlink_metadata(path)?.dev() != fs::symlink_metadata(above)?.dev())
}

/// Unmounts whatever is mounted at `path` and below it, however often; nothing, for most. A container may have
/// given mounts of its own on to the host (`Bidirectional`).
pub fn unmount(path: &Path) {
    // What stays is not removed with the volume either.
    if let Err(error) = base::mounts::take_away(path) {
        tracing::warn!(path = %path.display(), %error, "look for what is mounted in a volume");
    }
}

fn tmpfs(path: &Path, options: &str) -> Result<(), Errno> {
    let options = CString::new(options).expect("numbers have no NUL");
    rustix::mount::mount(
        "tmpfs",
        path,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        Some(options.as_c_str()),
    )
}

fn clear(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            base::tree::remove(&entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Unmounts at the end of a test, also of one that fails.
    struct Mounted<'a>(&'a Path);

    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            unmount(self.0);
        }
    }

    #[test]
    fn memory_stays_memory_after_a_reboot_and_has_its_size() {
        testkit::require_root();
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("volume");
        let _mounted = Mounted(&path);
        let memory = Memory { mode: 0o2777, group: Some(7), size: Some(1 << 20) };
        mount(&path, &memory).expect("mount");
        let meta = fs::metadata(&path).expect("stat");
        assert_eq!((meta.permissions().mode() & 0o7777, meta.gid()), (0o2777, 7));
        fs::write(path.join("kept"), "x").expect("write");
        mount(&path, &memory).expect("again");
        assert!(path.join("kept").exists(), "what is mounted is kept");
        let full = fs::write(path.join("large"), vec![0; 2 << 20]).expect_err("it has a size");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        // What a reboot does, and what an older version left then.
        unmount(&path);
        fs::write(path.join("on-disk"), "secret").expect("write");
        mount(&path, &memory).expect("mount");
        assert!(is_mounted(&path).expect("look"));
        assert_eq!(fs::read_dir(&path).expect("list").count(), 0);
        unmount(&path);
        assert_eq!(fs::read_dir(&path).expect("list").count(), 0, "nothing is left on disk");
    }
}
