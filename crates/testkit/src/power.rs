//! Playing a power cut: what a machine finds on its disk that lost power at a given moment.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{UnmountFlags, unmount};

/// Large enough for a few small images; only what is written takes space.
const SIZE: u64 = 1 << 30;
/// What a test asks of the file system: nothing reaches the disk by itself soon, a file that takes
/// another's place is not brought to disk out of kindness, and no thread writes in the background.
const OPTIONS: &str = "loop,commit=600,noauto_da_alloc,noinit_itable";

/// A disk of its own, with a file system (ext4) on it that is mounted at [`PowerCut::path`].
///
/// The disk is a file. What programs write stays in the memory of its file system until they flush
/// it, so a copy of that file holds what was flushed and no more: [`PowerCut::now`] makes the copy,
/// and [`PowerCut::come_back`] mounts it at the same path, as the machine does that starts again.
///
/// ```no_run
/// let disk = testkit::PowerCut::new();
/// std::fs::write(disk.path().join("file"), b"never flushed").expect("write");
/// let left = disk.now();
/// // … end whatever still uses the disk …
/// let disk = disk.come_back(left);
/// assert!(!disk.path().join("file").exists());
/// ```
///
/// The calling thread must have a mount namespace of its own (`unshare`), and whatever uses the disk
/// must live in it.
#[derive(Debug)]
pub struct PowerCut {
    /// Holds the mount point and the disks, the present one and earlier ones.
    directory: tempfile::TempDir,
    disk: PathBuf,
}

/// What is on a disk that lost power.
#[derive(Debug)]
pub struct Remains {
    disk: PathBuf,
}

impl PowerCut {
    /// Makes and mounts an empty disk.
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "it mounts a disk")]
    pub fn new() -> Self {
        crate::require_root();
        let own = std::fs::read_link("/proc/thread-self/ns/mnt").expect("procfs is mounted");
        let others = std::fs::read_link("/proc/self/ns/mnt").expect("procfs is mounted");
        assert_ne!(
            own, others,
            "a power cut is played in a thread with its own mount namespace: unshare first"
        );
        let directory = tempfile::tempdir().expect("temporary directory");
        let disk = directory.path().join("disk");
        File::create_new(&disk).and_then(|file| file.set_len(SIZE)).expect("make a disk");
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-J", "size=16"]).arg(&disk));
        std::fs::create_dir(directory.path().join("mnt")).expect("make a mount point");
        let made = Self { directory, disk };
        made.mount();
        rustix::fs::syncfs(File::open(made.path()).expect("open the root")).expect("flush the new disk");
        made
    }

    /// The root of the disk's file system.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    /// Keeps what is on the disk at this moment. What runs goes on as if nothing had happened.
    #[track_caller]
    pub fn now(&self) -> Remains {
        let number = std::fs::read_dir(self.directory.path()).expect("list the disks").count();
        let disk = self.directory.path().join(format!("disk-{number}"));
        copy_written(&self.disk, &disk).expect("copy the disk");
        Remains { disk }
    }

    /// The machine starts again, with what was left on its disk, at the same path. Whatever used the
    /// disk must have ended, or sees the new one through old paths.
    #[track_caller]
    pub fn come_back(mut self, left: Remains) -> Self {
        self.unmount();
        self.disk = left.disk;
        self.mount();
        self
    }

    #[track_caller]
    fn mount(&self) {
        run(Command::new("mount").args(["-t", "ext4", "-o", OPTIONS]).arg(&self.disk).arg(self.path()));
    }

    fn unmount(&self) {
        // What still has a file open there keeps the old file system, not its place.
        let _ = unmount(self.path(), UnmountFlags::DETACH);
    }
}

impl Drop for PowerCut {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// Copies a file without its holes, as it is at one moment, though the disk is in use: what was written while it was
/// copied would be there without what was written before it.
fn copy_written(from: &Path, to: &Path) -> std::io::Result<()> {
    let source = File::open(from)?;
    loop {
        let target = File::options().create(true).truncate(true).read(true).write(true).open(to)?;
        target.set_len(source.metadata()?.len())?;
        each_written(&source, |at, bytes| target.write_all_at(bytes, at).map(|()| true))?;
        // What is the same when it is read once more was so when the copy was whole.
        let mut copied = Vec::new();
        let is_same = each_written(&source, |at, bytes| {
            copied.resize(bytes.len(), 0);
            target.read_exact_at(&mut copied, at).map(|()| copied == bytes)
        })?;
        if is_same {
            return Ok(());
        }
    }
}

/// Goes through what is written of a file until `look` says that it is enough; whether it never did.
fn each_written(
    source: &File,
    mut look: impl FnMut(u64, &[u8]) -> std::io::Result<bool>,
) -> std::io::Result<bool> {
    let length = source.metadata()?.len();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < length {
        let Ok(start) = rustix::fs::seek(source, rustix::fs::SeekFrom::Data(at)) else { break };
        let end = rustix::fs::seek(source, rustix::fs::SeekFrom::Hole(start))?;
        at = start;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let got = source.read_at(&mut buffer[..wanted], at)?;
            if got == 0 {
                break;
            }
            if !look(at, &buffer[..got])? {
                return Ok(false);
            }
            at += got as u64;
        }
    }
    Ok(true)
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("run {command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
}
