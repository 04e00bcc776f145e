//! An archive that is unpacked: nothing is made outside of its directory.
#![no_main]

use std::os::fd::AsFd as _;

use rustix::fs::{CWD, Mode, OFlags};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let outer = tempfile::tempdir_in("/dev/shm").expect("temporary directory");
    let inner = outer.path().join("inner");
    std::fs::create_dir(&inner).expect("make a directory");
    let directory = rustix::fs::openat(CWD, &inner, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty());
    let _ = image::unpack_files(data, directory.expect("open it").as_fd());
    let left: Vec<_> = std::fs::read_dir(outer.path()).expect("list").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["inner"]);
});
