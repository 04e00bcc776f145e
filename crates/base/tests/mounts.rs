//! Removing a tree in which something is mounted.

use std::path::Path;

use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Runs `test` in a mount namespace of its own.
fn apart(test: impl FnOnce() + Send) {
    testkit::require_root();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            // SAFETY: only this thread's mounts and working directory are its own from here on.
            unsafe { unshare_unsafe(UnshareFlags::FS | UnshareFlags::NEWNS) }.expect("a mount namespace");
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount_change("/", private).expect("keep mounts to ourselves");
            test();
        });
        running.join().expect("no panic");
    });
}

fn write(path: &Path) {
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("make a directory");
    std::fs::write(path, "precious").expect("write");
}

#[test]
fn what_is_mounted_in_a_tree_is_not_removed_with_it() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (top, data) = (directory.path().join("top"), directory.path().join("data"));
    apart(|| {
        write(&data.join("deep/file"));
        std::fs::create_dir_all(top.join("a/blank in it")).expect("make a directory");
        mount_bind(&data, top.join("a/blank in it")).expect("bind");
        // The same file system, and another mount of it: the kernel alone knows.
        let error = base::tree::remove(&top).expect_err("something is mounted");
        assert_eq!(error.to_string(), "something is mounted at `blank in it`");
        assert!(data.join("deep/file").exists());
        base::mounts::take_away(&top).expect("taken away");
        base::tree::remove(&top).expect("removed");
        assert!(data.join("deep/file").exists() && !top.exists());
    });
}

#[test]
fn all_that_is_mounted_below_a_place_is_taken_away_and_nothing_beside_it() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    apart(|| {
        write(&path("data/file"));
        for place in ["top", "top/inner", "topmost"] {
            std::fs::create_dir_all(path(place)).expect("make a directory");
        }
        mount_bind(path("top"), path("top")).expect("bind");
        mount_bind(path("data"), path("top/inner")).expect("bind");
        mount_bind(path("data"), path("top/inner")).expect("bind once more");
        mount_bind(path("data"), path("topmost")).expect("bind");
        std::os::unix::fs::symlink(path("top"), path("link")).expect("link");
        base::mounts::take_away(&path("link")).expect("taken away");
        assert!(!path("top/inner/file").exists() && path("topmost/file").exists());
        base::mounts::take_away(&path("nothing")).expect("nothing is there");
    });
}
