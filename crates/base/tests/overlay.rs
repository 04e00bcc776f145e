//! Overlays on the real kernel, in the way of new kernels and in that of old ones.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use base::overlay::{Overlay, OverlayError};
use rustix::fs::{Mode, OFlags, openat};

/// A way to make an overlay.
type Way = fn(&Overlay<'_>) -> Result<OwnedFd, OverlayError>;

/// The ways that the running kernel has: the second is that of all kernels.
fn ways() -> Vec<Way> {
    let mount: Way = |overlay| overlay.mount();
    let mount_by_options: Way = |overlay| overlay.mount_by_options();
    vec![mount, mount_by_options]
}

/// `count` directories, each with a file of its own and one that all have.
fn layers(dir: &Path, count: usize) -> Vec<PathBuf> {
    (0..count)
        .map(|number| {
            let layer = dir.join(format!("layer-with-a-name-that-is-not-short-{number}"));
            std::fs::create_dir(&layer).expect("make a layer");
            std::fs::write(layer.join(number.to_string()), "own").expect("write");
            std::fs::write(layer.join("common"), number.to_string()).expect("write");
            layer
        })
        .collect()
}

fn paths(layers: &[PathBuf]) -> Vec<&Path> {
    layers.iter().map(PathBuf::as_path).collect()
}

fn read(root: &OwnedFd, name: &str) -> String {
    let file = openat(root, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).expect("open");
    std::io::read_to_string(std::fs::File::from(file)).expect("read")
}

fn mounts() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").expect("procfs is mounted")
}

#[test]
fn an_overlay_has_hundreds_of_layers_on_any_kernel_and_no_place() {
    testkit::require_root();
    for way in ways() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let layers = layers(dir.path(), 300);
        let root = way(&Overlay { lower: &paths(&layers), writable: None, options: &[] }).expect("mount");
        assert_eq!((read(&root, "common"), read(&root, "299")), ("0".to_owned(), "own".to_owned()));
        assert!(!mounts().contains(dir.path().to_str().expect("text")));
        assert_eq!(std::fs::read_to_string(layers[0].join("common")).expect("read"), "0");
        assert!(!layers[0].join("299").exists(), "the topmost layer is not covered");
    }
}

#[test]
fn what_is_written_goes_to_the_upper_directory_on_any_kernel() {
    testkit::require_root();
    for way in ways() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let layers = layers(dir.path(), 3);
        let (upper, work) = (dir.path().join("upper, with: all"), dir.path().join("work"));
        std::fs::create_dir(&upper).expect("make a directory");
        std::fs::create_dir(&work).expect("make a directory");
        let options = [("redirect_dir", Some("off")), ("volatile", None)];
        let root = way(&Overlay {
            lower: &paths(&layers),
            writable: Some((upper.as_path(), work.as_path())),
            options: &options,
        })
        .expect("mount");
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&root, "new", flags, Mode::from_raw_mode(0o600)).expect("create");
        rustix::io::write(&file, b"x").expect("write");
        assert_eq!(std::fs::read_to_string(upper.join("new")).expect("read"), "x");
        assert_eq!(read(&root, "common"), "0");
    }
}

#[test]
fn a_layer_that_is_missing_is_named() {
    testkit::require_root();
    for way in ways() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut layers = layers(dir.path(), 2);
        layers.push(dir.path().join("missing"));
        let error =
            way(&Overlay { lower: &paths(&layers), writable: None, options: &[] }).expect_err("missing");
        let text = base::error::chain(&error).to_string();
        assert!(text.contains("missing` as a layer: no such file"), "{text}");
    }
}
