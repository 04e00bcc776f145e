use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use base::cancel::Cancel;
use rustix::fs::{Timespec, Timestamps, XattrFlags};

use super::*;
use crate::ignore::Ignore;

fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).expect("open").into()
}

/// What a copy of another image's files is: owners, names, attributes, times and holes as they are there.
#[test]
fn a_copy_is_what_it_is_a_copy_of() {
    let (from, to) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let source = |path: &str| from.path().join("out").join(path);
    fs::create_dir_all(source("d")).expect("make");
    fs::write(source("a"), "one").expect("write");
    fs::hard_link(source("a"), source("d/b")).expect("link");
    symlink("../../..", source("d/up")).expect("link");
    fs::File::create(source("hole")).and_then(|file| file.set_len(8 << 20)).expect("a hole");
    fs::set_permissions(source("d"), fs::Permissions::from_mode(0o2750)).expect("chmod");
    for path in ["a", "d"] {
        std::os::unix::fs::chown(source(path), Some(7), Some(8)).expect("chown");
    }
    fs::set_permissions(source("d"), fs::Permissions::from_mode(0o2750)).expect("chmod");
    rustix::fs::setxattr(source("d"), "user.note", b"kept", XattrFlags::empty()).expect("an attribute");
    let old = Timespec { tv_sec: -1000, tv_nsec: 5 };
    let times = Timestamps { last_access: old, last_modification: old };
    rustix::fs::futimens(open(&source("d")), &times).expect("a time");

    let tree = Tree::new(open(from.path()), Ignore::default(), &Cancel::default());
    let entries = tree.entries(Path::new("out"), &Ignore::default()).expect("entries");
    let digest = |owners| hash_entries(&tree, &entries, owners).expect("a digest");
    let (kept, given) = (digest(true), digest(false));
    assert_ne!(kept, given);
    let target = Target::new(open(to.path()));
    let owner = Owner { kept: true, ..Owner::default() };
    target.copy(&tree, &entries, Path::new("/made/copy"), owner).expect("copy");

    let made = |path: &str| to.path().join("made/copy").join(path);
    let of = |path: &str| fs::symlink_metadata(made(path)).expect("stat");
    assert_eq!((of("a").ino(), of("a").nlink(), of("a").uid(), of("a").gid()), (of("d/b").ino(), 2, 7, 8));
    let directory = of("d");
    assert_eq!((directory.mode() & 0o7777, directory.uid(), directory.gid()), (0o2750, 7, 8));
    assert_eq!((directory.mtime(), directory.mtime_nsec()), (-1000, 5));
    let mut note = [0; 10];
    let length = rustix::fs::getxattr(made("d"), "user.note", &mut note[..]).expect("an attribute");
    assert_eq!(&note[..length], b"kept");
    assert_eq!(fs::read_link(made("d/up")).expect("a link"), Path::new("../../.."));
    assert_eq!((of("hole").len(), of("hole").blocks()), (8 << 20, 0));
    assert_eq!(fs::metadata(to.path().join("made")).expect("stat").uid(), 0);

    // Given to somebody, it is theirs, and still one file.
    let owner = Owner { uid: 3, gid: 4, ..Owner::default() };
    target.copy(&tree, &entries, Path::new("/given"), owner).expect("copy");
    let given = fs::metadata(to.path().join("given/d/b")).expect("stat");
    assert_eq!((given.uid(), given.gid(), given.nlink()), (3, 4, 2));
    // An attribute is part of what a copy is.
    rustix::fs::setxattr(source("d"), "user.note", b"other", XattrFlags::empty()).expect("an attribute");
    assert_ne!(digest(true), kept);
}
