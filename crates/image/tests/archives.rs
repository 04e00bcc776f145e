//! Import, load and save: archives in, the same archives out, and nothing left of broken ones.

mod support;

use std::io::Read;

use image::{Progress, Store};
use oci::Digest;
use support::{Archive, TestStore, config_of, docker_archive, in_container, reference};

fn load(test: &TestStore, archive: &[u8]) -> Result<Vec<String>, String> {
    let loaded = test.store.image_load(archive, &Progress::none());
    loaded
        .map(|images| images.iter().flat_map(|image| &image.names).map(|name| name.familiar()).collect())
        .map_err(|error| base::error::chain(&error).to_string())
}

#[test]
fn an_imported_root_file_system_runs_and_survives_a_restart() {
    let test = TestStore::new();
    let image = test.import(&testkit::rootfs::busybox_tar(), "busybox:test");
    let test = test.reopen();
    let found = test.store.image_get("busybox:test").expect("found by name");
    assert_eq!(found.id, image.id);
    assert_eq!(test.store.image_get(image.id.short()).expect("found by short id").id, image.id);
    let snapshot = test.store.snapshot_create("c1", Some(&image.id)).expect("snapshot");
    assert_eq!(
        in_container(&snapshot, "chroot . /bin/sh -c 'echo hello from $(readlink /bin/sh)'"),
        "hello from busybox"
    );
}

#[test]
fn what_is_saved_is_bit_for_bit_what_was_loaded() {
    let test = TestStore::new();
    let rootfs = testkit::rootfs::busybox_tar();
    let top = Archive::new()
        .file("etc/motd", b"hi")
        .file("etc/motd", b"replaced")
        .link("etc/issue", "etc/motd")
        .finish();
    let names = load(&test, &docker_archive("app:1", &[&rootfs, &top])).expect("load");
    assert_eq!(names, ["app:1"]);
    let mut saved = Vec::new();
    test.store.image_save(&["app:1".into()], &mut saved).expect("save");
    let blobs = members(&saved);
    for layer in [&rootfs, &top] {
        let path = format!("blobs/sha256/{}", Digest::sha256_of(layer).hex());
        let found = blobs.iter().find(|(name, _)| *name == path).expect("layer in the archive");
        assert!(found.1 == *layer, "layer {path} came out different");
    }
    let other = TestStore::new();
    assert_eq!(load(&other, &saved).expect("load what was saved"), ["app:1"]);
    let (a, b) =
        (test.store.image_get("app:1").expect("first"), other.store.image_get("app:1").expect("second"));
    assert_eq!((a.id, a.layers, a.size), (b.id, b.layers, b.size));
}

#[test]
fn an_oci_layout_without_docker_manifest_loads() {
    let test = TestStore::new();
    let layer = Archive::new().file("hello", b"world").finish();
    assert_eq!(load(&test, &docker_archive("app:1", &[&layer])), Ok(vec!["app:1".to_owned()]));
    let mut saved = Vec::new();
    test.store.image_save(&["app".into()], &mut saved).expect("save");
    let mut oci_only = Archive::new();
    for (name, content) in members(&saved) {
        if name != "manifest.json" && name != "repositories" {
            oci_only = oci_only.file(&name, &content);
        }
    }
    let other = TestStore::new();
    assert_eq!(load(&other, &oci_only.finish()), Ok(vec!["app:1".to_owned()]));
}

#[test]
fn compressed_archives_and_layers_load() {
    let layer = Archive::new().file("hello", b"world").finish();
    let mut gzip = flate2::read::GzEncoder::new(&layer[..], flate2::Compression::fast());
    let mut packed = Vec::new();
    gzip.read_to_end(&mut packed).expect("compress");
    let zstd = ruzstd::encoding::compress_to_vec(&layer[..], ruzstd::encoding::CompressionLevel::Fastest);
    for inner in [packed, zstd] {
        let config = config_of(&[&layer]).to_bytes();
        let manifest = br#"[{"Config":"c.json","RepoTags":null,"Layers":["l.tar"]}]"#;
        let archive =
            Archive::new().file("l.tar", &inner).file("c.json", &config).file("manifest.json", manifest);
        let mut outer =
            flate2::read::GzEncoder::new(std::io::Cursor::new(archive.finish()), flate2::Compression::fast());
        let mut bytes = Vec::new();
        outer.read_to_end(&mut bytes).expect("compress");
        let test = TestStore::new();
        let loaded = test.store.image_load(&bytes[..], &Progress::none()).expect("load");
        let snapshot = test.store.snapshot_create("c", Some(&loaded[0].id)).expect("snapshot");
        assert_eq!(in_container(&snapshot, "cat hello"), "world");
    }
}

/// Loads a broken archive: what the complaint is, and that nothing stays behind.
#[track_caller]
fn check_broken(archive: &[u8], complaint: &str) {
    let test = TestStore::new();
    let error = load(&test, archive).expect_err("a broken archive");
    assert!(error.contains(complaint), "`{error}` does not say `{complaint}`");
    test.wait_until_clean();
    assert_eq!(test.names("layers"), [""; 0]);
    assert_eq!(test.names("l"), [""; 0]);
    assert_eq!(test.names("blobs/sha256"), [""; 0]);
    assert!(test.store.image_list().is_empty());
}

#[test]
fn broken_archives_are_named_and_leave_nothing() {
    let layer = Archive::new().file("hello", b"world").finish();
    let good = docker_archive("app:1", &[&layer]);
    check_broken(&good[..good.len() / 3], "the archive ends within a file");
    check_broken(b"this is not an archive at all", "read image archive");
    check_broken(&layer, "it has neither manifest.json nor index.json");
    let wrong = Archive::new().file("hello", b"w0rld").finish();
    let config = config_of(&[&layer]).to_bytes();
    let manifest = br#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l.tar"]}]"#;
    let archive = |layer: &[u8], manifest: &[u8]| {
        Archive::new().file("l.tar", layer).file("c.json", &config).file("manifest.json", manifest).finish()
    };
    check_broken(&archive(&wrong, manifest), "content has digest sha256:");
    check_broken(&archive(&layer, br#"[{"Config":"x.json","Layers":["l.tar"]}]"#), "`x.json` is missing");
    check_broken(&archive(&layer, br#"[{"Config":"c.json","Layers":[]}]"#), "names 1 layers, the manifest 0");
    check_broken(&archive(&layer, b"{"), "read `manifest.json` in the image archive");
    check_broken(
        &archive(&layer, br#"[{"Config":"c.json","RepoTags":["A B"],"Layers":["l.tar"]}]"#),
        "invalid reference format",
    );
    let blob = format!("blobs/sha256/{}", Digest::sha256_of(b"else").hex());
    check_broken(&Archive::new().file(&blob, &layer).finish(), "content has digest sha256:");
}

#[test]
fn a_second_process_is_refused() {
    let test = TestStore::new();
    let error = Store::open(&test.root()).expect_err("the store is open already");
    assert!(error.to_string().ends_with("is in use by another process"), "{error}");
}

#[test]
fn one_archive_may_hold_several_images_that_share_layers() {
    let test = TestStore::new();
    let rootfs = testkit::rootfs::busybox_tar();
    let top = Archive::new().file("a", b"a").finish();
    load(&test, &docker_archive("one:1", &[&rootfs])).expect("load one");
    load(&test, &docker_archive("two:1", &[&rootfs, &top])).expect("load two");
    test.store.image_tag("two:1", &reference("two:also")).expect("tag");
    let mut saved = Vec::new();
    test.store.image_save(&["one:1".into(), "two".into()], &mut saved).expect("save");
    let other = TestStore::new();
    let mut names = load(&other, &saved).expect("load both");
    names.sort();
    assert_eq!(names, ["one:1", "two:1", "two:also"]);
    assert_eq!(other.names("layers").len(), 2);
}

fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let mut members = Vec::new();
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("entry");
        let path = entry.path().expect("path").display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("content");
        members.push((path, content));
    }
    members
}
