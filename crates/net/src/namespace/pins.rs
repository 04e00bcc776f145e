//! Network namespaces that are there without a process.
//!
//! Each is pinned by a mount of its own, at a file with its owner's name: whoever may open the file can
//! enter it, however the processes in it fare, and the kernel keeps it until it is given up.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags};

/// What the kernel says of a file that is a namespace (`NSFS_MAGIC`).
const NAMESPACES: u64 = 0x6e73_6673;

/// The pinned namespaces of one instance.
#[derive(Debug)]
pub(crate) struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// Those in `directory`, which is made if there is none.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Pins a namespace for `owner`, in place of another that it has.
    pub(crate) fn pin(&self, owner: &str, namespace: BorrowedFd<'_>) -> io::Result<()> {
        self.give_up(owner)?;
        let path = self.path(owner)?;
        File::create_new(&path)?;
        let pinned = mount(namespace, &path);
        if pinned.is_err() {
            let _ = fs::remove_file(&path);
        }
        pinned
    }

    /// The namespace that is pinned for `owner`, if one is.
    pub(crate) fn get(&self, owner: &str) -> io::Result<Option<OwnedFd>> {
        let file = match File::open(self.path(owner)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        // A file at which nothing is mounted was left by a machine that went down.
        let is_namespace = rustix::fs::fstatfs(&file)?.f_type as u64 == NAMESPACES;
        Ok(is_namespace.then(|| file.into()))
    }

    /// Gives up the namespace of `owner`; nothing happens if it has none.
    pub(crate) fn give_up(&self, owner: &str) -> io::Result<()> {
        let path = self.path(owner)?;
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        match rustix::mount::unmount(&path, flags).map_err(io::Error::from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Nothing is mounted there.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            unmounted => unmounted?,
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Whose there are.
    pub(crate) fn owners(&self) -> io::Result<Vec<String>> {
        let name = |path: PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        Ok(base::fs::entries(&self.directory)?.into_iter().filter_map(name).collect())
    }

    fn path(&self, owner: &str) -> io::Result<PathBuf> {
        let is_name = !owner.is_empty() && !owner.contains('/') && ![".", ".."].contains(&owner);
        if is_name { Ok(self.directory.join(owner)) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }
}

/// Mounts a namespace at a file.
fn mount(namespace: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(namespace, "", flags)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree.as_fd(), "", rustix::fs::CWD, path, flags)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_names_and_no_ways_out_of_the_directory() {
        let root = tempfile::tempdir().expect("temporary directory");
        let pins = Pins::open(&root.path().join("pins")).expect("open");
        fs::write(root.path().join("other"), "kept").expect("write");
        for owner in ["", ".", "..", "../other", "a/b"] {
            assert!(pins.get(owner).is_err() && pins.give_up(owner).is_err(), "{owner:?}");
        }
        assert!(pins.get("nobody").expect("none").is_none());
        pins.give_up("nobody").expect("nothing to give up");
        // As a machine leaves it that went down.
        fs::write(root.path().join("pins/left"), "").expect("write");
        assert!(pins.get("left").expect("none").is_none());
        assert_eq!(pins.owners().expect("list"), ["left"]);
        pins.give_up("left").expect("give up");
        assert!(pins.owners().expect("list").is_empty());
        assert!(root.path().join("other").exists());
    }
}
