//! Properties of the extractor that hold for any archive, however hostile.

mod support;

use proptest::prelude::*;
use support::{Archive, TestStore};
use tar::EntryType;

/// One entry: its kind, name, link target and content.
type Entry = (u8, String, String, Vec<u8>);

fn name() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[abc]",
        1 => Just("..".to_owned()),
        1 => Just(".".to_owned()),
        1 => Just(String::new()),
        1 => "\\.wh\\.[ab.]{0,2}",
        1 => Just(".wh..wh..opq".to_owned()),
    ];
    proptest::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

fn entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![4 => Just(b'0'), 3 => Just(b'5'), 2 => Just(b'2'), 2 => Just(b'1'), 1 => Just(b'3'), 1 => Just(b'6')];
    (kind, name(), name(), proptest::collection::vec(any::<u8>(), 0..700))
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut archive = Archive::new();
    for (kind, name, link, content) in entries {
        let kind = EntryType::new(*kind);
        let content = if kind == EntryType::Regular { content.as_slice() } else { &[] };
        archive = archive.entry(kind, name, link, content, |header| {
            let _ = header.set_device_major(1);
            let _ = header.set_device_minor(3);
        });
    }
    archive.finish()
}

/// Unpacks, and if that works puts the archive together again; nothing comes to lie elsewhere.
fn check(test: &TestStore, bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(layer) = test.store.layer_unpack(None, bytes) {
        prop_assert_eq!(layer.diff_id(), &oci::Digest::sha256_of(bytes));
        let new = image::NewImage {
            layer: Some(layer),
            name: Some(support::reference("any")),
            ..image::NewImage::on(None, oci::ContainerConfig::default(), base::Timestamp::UNIX_EPOCH, "")
        };
        let image = test.store.image_create(new).expect("create");
        test.store.image_save(&["any".into()], std::io::sink()).expect("the archive comes out as it went in");
        test.store.image_remove(&image.id.to_string(), &image::RemoveOptions::default()).expect("remove");
    }
    // Somebody's own, in which names may climb.
    if let Ok(image) = test.store.image_import(bytes, image::ImportOptions::default()) {
        let id = image.id.to_string();
        test.store
            .image_save(std::slice::from_ref(&id), std::io::sink())
            .expect("the archive comes out as it went in");
        test.store.image_remove(&id, &image::RemoveOptions::default()).expect("remove");
    }
    let own = test.dir.path().join("own");
    std::fs::create_dir(&own).expect("a directory");
    let place = std::fs::File::open(&own).expect("open");
    let _ = image::unpack_files(bytes, std::os::fd::AsFd::as_fd(&place));
    std::fs::remove_dir_all(&own).expect("all of it is there");
    let beside = support::names(test.dir.path());
    prop_assert_eq!(beside, ["image"]);
    let inside = support::names(&test.root());
    let known = [
        "blobs",
        "diffs",
        "empty",
        "ground",
        "ingest",
        "l",
        "layers",
        "leases",
        "lock",
        "reserve",
        "snapshots",
        "state.json",
    ];
    let is_log = |name: &str| name.starts_with("state.") && name.ends_with(".log");
    prop_assert!(inside.iter().all(|name| known.contains(&name.as_str()) || is_log(name)), "{:?}", inside);
    Ok(())
}

#[test]
fn whatever_its_entries_an_archive_stays_inside_and_comes_out_as_it_went_in() {
    let test = TestStore::new();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&proptest::collection::vec(entry(), 0..12), |entries| check(&test, &archive(&entries)))
        .expect("holds for any entries");
    test.wait_until_clean();
}

#[test]
fn whatever_bytes_are_damaged_an_archive_stays_inside() {
    let test = TestStore::new();
    let whole = archive(&[
        (b'5', "d".into(), String::new(), Vec::new()),
        (b'0', "d/f".into(), String::new(), vec![7; 600]),
        (b'2', "l".into(), "d".into(), Vec::new()),
        (b'0', "l/g".into(), String::new(), vec![8; 600]),
    ]);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(120) };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let damage = proptest::collection::vec((0..whole.len(), any::<u8>()), 1..6);
    runner
        .run(&damage, |damage| {
            let mut bytes = whole.clone();
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            check(&test, &bytes)
        })
        .expect("holds for any damage");
    test.wait_until_clean();
}
