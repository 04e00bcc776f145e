//! A power cut takes what was not flushed, and nothing else.

use std::fs::{self, File};
use std::io::Write;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;
use testkit::PowerCut;

#[test]
fn only_what_was_flushed_outlives_a_power_cut() {
    testkit::require_root();
    // SAFETY: nothing of this thread's file descriptors or memory is unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.expect("mounts of one's own");
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("keep them");
    let disk = PowerCut::new();
    let mut flushed = File::create(disk.path().join("flushed")).expect("create a file");
    flushed.write_all(b"there").expect("write");
    fs::write(disk.path().join("named"), b"its content is lost").expect("write");
    // This brings the names to the disk, with only the content of its own file.
    flushed.sync_all().expect("flush");
    fs::write(disk.path().join("flushed"), b"changed").expect("write again");
    fs::write(disk.path().join("later"), b"lost").expect("write");
    let left = disk.now();
    fs::write(disk.path().join("even later"), b"lost").expect("the disk is usable as before");
    let disk = disk.come_back(left);
    assert_eq!(fs::read(disk.path().join("flushed")).expect("it was flushed"), b"there");
    assert_eq!(fs::read(disk.path().join("named")).expect("its name was flushed"), b"");
    assert!(!disk.path().join("later").exists());
    assert!(!disk.path().join("even later").exists());
    fs::write(disk.path().join("again"), b"more").expect("the disk can be written to");
}
