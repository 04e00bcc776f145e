//! Records that are damaged, of a later version, or cannot be read: one thing's trouble, told and
//! left alone.

mod support;

use std::path::{Path, PathBuf};

use base::Trouble;
use image::{Image, Progress, RemoveOptions, Store};
use support::{Archive, TestStore, docker_archive, in_container, reference};

/// What can become of a record.
const DAMAGES: [&str; 5] = ["empty", "cut", "nonsense", "version 99", "a directory"];

fn damage(path: &Path, how: &str) {
    let content = std::fs::read(path).expect("the record");
    let write = |bytes: &[u8]| std::fs::write(path, bytes).expect("write");
    match how {
        "empty" => write(b""),
        "cut" => write(&content[..content.len() / 2]),
        "nonsense" => write(&[0xff; 512]),
        "version 99" => {
            let text = String::from_utf8(content).expect("text");
            let text = text.replace("\"version\":1", "\"version\":99");
            write(text.replace("\"version\":2", "\"version\":99").as_bytes());
        }
        _ => {
            std::fs::remove_file(path).expect("remove");
            std::fs::create_dir(path).expect("a directory in its place");
        }
    }
}

/// Every file below `root` but what comes and goes.
fn files(root: &Path) -> Vec<PathBuf> {
    let listed = std::process::Command::new("find").arg(root).args(["-type", "f"]).output().expect("find");
    let text = String::from_utf8(listed.stdout).expect("text");
    let passing = |path: &&str| !["/reserve", "/lock"].iter().any(|name| path.ends_with(name));
    let mut files: Vec<PathBuf> = text.lines().filter(passing).map(PathBuf::from).collect();
    files.sort();
    files
}

fn archive(mark: &str) -> Vec<u8> {
    Archive::new().file("content", mark.as_bytes()).finish()
}

/// A store with the images `hurt` and `sound`, a snapshot on each.
fn store() -> (TestStore, Image) {
    let test = TestStore::new();
    let hurt = test.import(&archive("hurt"), "hurt");
    let sound = test.import(&archive("sound"), "sound");
    test.store.snapshot_create("on-hurt", Some(&hurt.id)).expect("snapshot");
    test.store.snapshot_create("on-sound", Some(&sound.id)).expect("snapshot");
    (test, hurt)
}

fn layer_of(test: &TestStore, image: &Image) -> PathBuf {
    test.root().join("layers").join(image.layers[0].hex())
}

#[track_caller]
fn check_sound(store: &Store) {
    store.image_save(&["sound:latest".to_owned()], std::io::sink()).expect("the other image is whole");
    let snapshot = store.snapshot_get("on-sound").expect("the other snapshot");
    assert_eq!(in_container(&snapshot, "cat content"), "sound");
}

/// Damages one record while the store is closed: nothing goes, it is told, and the rest is usable.
#[track_caller]
fn check(record: impl Fn(&TestStore, &Image) -> PathBuf, subject: &str) {
    for how in DAMAGES {
        let (test, hurt) = store();
        let path = record(&test, &hurt);
        if how == "version 99" && path.extension().is_none() {
            // A configuration is no record of ours: it has no version.
            continue;
        }
        damage(&path, how);
        let before = files(&test.root());
        let test = test.reopen();
        let troubles = test.store.troubles();
        assert!(troubles.iter().any(|trouble| trouble.subject.contains(subject)), "{how}: {troubles:?}");
        assert_eq!(Store::examine(&test.root()).expect("examine"), troubles, "{how}");
        check_sound(&test.store);
        let test = test.reopen();
        let after = files(&test.root());
        let gone: Vec<&PathBuf> = before.iter().filter(|path| !after.contains(path)).collect();
        assert!(gone.is_empty(), "{how}: {gone:?}");
    }
}

#[test]
fn a_damaged_layer_is_told_and_left_alone() {
    check(|test, hurt| layer_of(test, hurt).join("layer.json"), "layer ");
}

#[test]
fn a_damaged_configuration_is_told_and_left_alone() {
    check(|test, hurt| test.root().join("blobs/sha256").join(hurt.id.0.hex()), "(hurt:latest)");
}

#[test]
fn a_damaged_snapshot_is_told_and_left_alone() {
    check(|test, _| test.root().join("snapshots/on-hurt/snapshot.json"), "files of container on-hurt");
}

#[test]
fn a_snapshot_whose_record_was_lost_is_taken_up_again_with_what_was_written() {
    let (test, hurt) = store();
    let snapshot = test.store.snapshot_get("on-hurt").expect("snapshot");
    std::fs::write(snapshot.upper.join("mine"), "written").expect("write");
    damage(&test.root().join("snapshots/on-hurt/snapshot.json"), "empty");
    let test = test.reopen();
    assert_eq!(test.store.snapshot_list_unread().into_iter().collect::<Vec<_>>(), [("on-hurt".into(), true)]);
    test.store.snapshot_adopt("on-hurt", &snapshot.lower).expect("take up");
    assert_eq!(test.store.troubles(), []);
    let options = RemoveOptions { force: true, ..RemoveOptions::default() };
    test.store.image_remove(&hurt.id.to_string(), &options).expect("remove its image");
    let test = test.reopen();
    let found = test.store.snapshot_get("on-hurt").expect("it holds its layers");
    assert_eq!(in_container(&found, "cat content mine"), "hurtwritten");
}

#[test]
fn an_image_that_lost_a_layer_is_whole_again_when_it_is_loaded_again() {
    for how in DAMAGES {
        let test = TestStore::new();
        let (lower, upper) = (archive("lower"), Archive::new().file("more", b"upper").finish());
        let saved = docker_archive("app:1", &[&lower, &upper]);
        test.store.image_load(&saved[..], &Progress::none()).expect("load");
        let image = test.store.image_get("app:1").expect("image");
        test.store.snapshot_create("c", Some(&image.id)).expect("snapshot");
        damage(&layer_of(&test, &image).join("layer.json"), how);
        let test = test.reopen();
        assert!(test.store.snapshot_create("d", Some(&image.id)).is_err(), "{how}: it cannot be used");
        test.store.image_load(&saved[..], &Progress::none()).expect("load again");
        test.store.image_save(&["app:1".to_owned()], std::io::sink()).expect("it is whole");
        // What uses the layer is counted again: it must outlive the image.
        let options = RemoveOptions { force: true, ..RemoveOptions::default() };
        test.store.image_remove("app:1", &options).expect("remove");
        let snapshot = test.store.snapshot_get("c").expect("the snapshot");
        assert_eq!(in_container(&snapshot, "cat content more"), "lowerupper", "{how}");
    }
}

#[test]
fn an_image_that_lost_its_configuration_is_whole_again_when_it_is_loaded_again() {
    for how in ["empty", "cut", "nonsense"] {
        let test = TestStore::new();
        let saved = docker_archive("app:1", &[&archive("a")]);
        test.store.image_load(&saved[..], &Progress::none()).expect("load");
        let id = test.store.image_get("app:1").expect("image").id;
        damage(&test.root().join("blobs/sha256").join(id.0.hex()), how);
        let test = test.reopen();
        test.store.image_load(&saved[..], &Progress::none()).expect("load again");
        let test = test.reopen();
        assert_eq!(test.store.troubles(), [], "{how}");
        assert_eq!(test.store.image_get("app:1").expect("image").id, id);
    }
}

#[test]
fn a_damaged_list_of_images_is_set_aside_and_the_images_are_found_without_it() {
    for how in ["empty", "cut", "nonsense"] {
        let (test, hurt) = store();
        let path = test.root().join("state.json");
        damage(&path, how);
        let damaged = std::fs::read(&path).expect("read");
        let test = test.reopen();
        let aside = |test: &TestStore| -> Vec<PathBuf> {
            files(&test.root())
                .into_iter()
                .filter(|path| path.display().to_string().contains("damaged"))
                .collect()
        };
        assert_eq!(std::fs::read(&aside(&test)[0]).expect("set aside"), damaged, "{how}");
        assert_eq!(test.store.image_list().len(), 2, "{how}");
        test.store.image_tag(&hurt.id.to_string(), &reference("found")).expect("name it again");
        let test = test.reopen();
        test.store.image_save(&["found".to_owned()], std::io::sink()).expect("it is whole");
        let told: Vec<Trouble> = test.store.troubles();
        assert_eq!(told.len(), 1, "{how}: the file that was set aside is told until it goes: {told:?}");
        for path in aside(&test) {
            std::fs::remove_file(path).expect("remove");
        }
        assert_eq!(test.reopen().store.troubles(), []);
    }
}

#[test]
fn a_list_of_images_that_is_gone_takes_no_image_with_it() {
    let (test, _) = store();
    std::fs::remove_file(test.root().join("state.json")).expect("remove");
    let test = test.reopen();
    assert_eq!(test.store.image_list().len(), 2);
    assert_eq!(test.store.troubles().len(), 1);
}

#[test]
fn a_list_of_images_of_a_later_version_is_refused_before_anything_is_touched() {
    let (test, _) = store();
    let root = test.root();
    damage(&root.join("state.json"), "version 99");
    let TestStore { store, dir } = test;
    drop(store);
    let before = files(&root);
    let error = Store::open(&root).expect_err("a later version");
    assert!(error.to_string().contains("state of version 99, this program knows up to 2"), "{error}");
    assert_eq!(files(&root), before);
    drop(dir);
}

#[test]
fn what_is_called_as_nothing_of_the_store_is_left_alone() {
    let (test, _) = store();
    for path in ["layers/backup/fs", "snapshots/backup/fs", "blobs/sha256/notes.d"] {
        std::fs::create_dir_all(test.root().join(path)).expect("a directory of somebody's");
        std::fs::write(test.root().join(path).join("file"), "x").expect("write");
    }
    let before = files(&test.root());
    let test = test.reopen();
    check_sound(&test.store);
    let test = test.reopen();
    assert_eq!(files(&test.root()), before);
}

#[test]
fn files_that_cannot_be_removed_keep_no_store_from_opening() {
    let (test, _) = store();
    let stuck = test.root().join("ingest/stuck");
    std::fs::create_dir(&stuck).expect("unfinished work");
    let file = stuck.join("file");
    std::fs::write(&file, "x").expect("write");
    let attribute = |change: &str, path: &Path| {
        let done = std::process::Command::new("chattr").arg(change).arg(path).status().expect("run chattr");
        assert!(done.success(), "chattr {change}");
    };
    attribute("+i", &file);
    let test = test.reopen();
    check_sound(&test.store);
    let stuck = files(&test.root()).into_iter().find(|path| path.ends_with("stuck/file")).expect("it stays");
    attribute("-i", &stuck);
}

#[test]
fn files_that_a_layer_has_whose_record_cannot_be_read_stay_though_nobody_else_has_them() {
    let common = archive("common");
    let common_files = oci::Digest::sha256_of(&common).hex().to_owned();
    for how in DAMAGES {
        let test = TestStore::new();
        let bases = [Archive::new().file("one", b"1").finish(), Archive::new().file("two", b"2").finish()];
        for (at, base) in bases.iter().enumerate() {
            let saved = docker_archive(&format!("app:{at}"), &[base, &common]);
            test.store.image_load(&saved[..], &Progress::none()).expect("load");
        }
        let images = [0, 1].map(|at| test.store.image_get(&format!("app:{at}")).expect("image"));
        test.store.snapshot_create("c", Some(&images[0].id)).expect("snapshot");
        let hurt = test.root().join("layers").join(images[0].layers[1].hex());
        let record = std::fs::read(hurt.join("layer.json")).expect("the record");
        damage(&hurt.join("layer.json"), how);
        let test = test.reopen();
        let force = RemoveOptions { force: true, ..RemoveOptions::default() };
        test.store.image_remove("app:1", &force).expect("remove the other image");
        test.wait_until_clean();
        assert!(test.names("diffs").contains(&common_files), "{how}: {:?}", test.names("diffs"));
        // What the other image alone had is gone all the same.
        let other = oci::Digest::sha256_of(&bases[1]).hex().to_owned();
        assert!(!test.names("diffs").contains(&other), "{how}: {:?}", test.names("diffs"));
        // Who mends the record has everything.
        if how == "a directory" {
            std::fs::remove_dir(hurt.join("layer.json")).expect("remove");
        }
        std::fs::write(hurt.join("layer.json"), record).expect("mend");
        let test = test.reopen();
        assert_eq!(test.store.troubles(), []);
        let snapshot = test.store.snapshot_get("c").expect("the snapshot");
        assert_eq!(in_container(&snapshot, "cat one content"), "1common", "{how}");
    }
}

#[test]
fn what_a_container_stands_on_stays_though_its_topmost_layer_cannot_be_read_and_no_image_has_it() {
    for how in DAMAGES {
        let test = TestStore::new();
        let base = archive("base");
        for mark in ["one", "two"] {
            let top = Archive::new().file(mark, mark.as_bytes()).finish();
            let saved = docker_archive(&format!("{mark}:1"), &[&base, &top]);
            test.store.image_load(&saved[..], &Progress::none()).expect("load");
        }
        let image = test.store.image_get("one:1").expect("image");
        test.store.snapshot_create("c", Some(&image.id)).expect("snapshot");
        let path = test.root().join("layers").join(image.layers[1].hex()).join("layer.json");
        let record = std::fs::read(&path).expect("the record");
        damage(&path, how);
        let test = test.reopen();
        let force = RemoveOptions { force: true, ..RemoveOptions::default() };
        for name in ["one:1", "two:1"] {
            test.store.image_remove(name, &force).expect("remove");
        }
        test.wait_until_clean();
        let test = test.reopen();
        if how == "a directory" {
            std::fs::remove_dir(&path).expect("remove");
        }
        std::fs::write(&path, &record).expect("mend");
        let test = test.reopen();
        assert_eq!(test.store.troubles(), [], "{how}");
        let snapshot = test.store.snapshot_get("c").expect("the snapshot");
        assert_eq!(in_container(&snapshot, "cat one content"), "onebase", "{how}");
        // And what nobody needs goes now.
        test.store.snapshot_remove("c").expect("remove");
        test.wait_until_clean();
        let test = test.reopen();
        test.wait_until_clean();
        assert_eq!((test.names("layers"), test.names("diffs")), (Vec::new(), Vec::new()), "{how}");
    }
}

/// The log of the list of images, and what is in it.
fn log_of(test: &TestStore) -> (PathBuf, Vec<u8>) {
    let is_log = |path: &PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy();
        name.starts_with("state.") && name.ends_with(".log") && !name.contains("damaged")
    };
    let logs: Vec<PathBuf> = files(&test.root()).into_iter().filter(is_log).collect();
    assert_eq!(logs.len(), 1, "{logs:?}");
    let bytes = std::fs::read(&logs[0]).expect("the log");
    (logs[0].clone(), bytes)
}

#[test]
fn a_list_of_images_whose_log_is_gone_says_so_and_loses_names_only() {
    let (test, _) = store();
    let (log, bytes) = log_of(&test);
    assert!(!bytes.is_empty());
    std::fs::remove_file(log).expect("remove");
    let test = test.reopen();
    assert_eq!(test.store.image_list().len(), 2, "what is on disk is found");
    let told = test.store.troubles();
    assert!(
        told.len() == 1 && told[0].problem.starts_with("it is missing; what was in it is lost"),
        "{told:?}"
    );
    test.store.snapshot_get("on-hurt").expect("nothing was collected");
    let test = test.reopen();
    assert_eq!(test.store.image_list().len(), 2);
    assert_eq!(test.store.troubles().len(), 1, "it is told until the file goes: {:?}", test.store.troubles());
}

#[test]
fn a_damaged_log_is_kept_as_it_is_whatever_else_lies_there() {
    let (test, _) = store();
    let (log, mut bytes) = log_of(&test);
    bytes[40] ^= 1;
    std::fs::write(&log, &bytes).expect("damage it");
    // One that a killed process left, of an earlier list.
    let stray = test.root().join("state.ffffffffffffffff.log");
    std::fs::write(&stray, "of before").expect("write");
    let list = std::fs::read(test.root().join("state.json")).expect("the list");
    let test = test.reopen();
    let aside: Vec<Vec<u8>> = files(&test.root())
        .iter()
        .filter(|path| path.display().to_string().contains("damaged"))
        .map(|path| std::fs::read(path).expect("read"))
        .collect();
    assert!(aside.contains(&bytes), "the damaged log");
    assert!(aside.contains(&list), "the list before it");
    assert_eq!(test.store.troubles().len(), 1, "{:?}", test.store.troubles());
    assert_eq!(test.reopen().store.image_list().len(), 2);
}

#[test]
fn a_layer_that_cannot_be_entered_leaves_nothing() {
    let (test, _) = store();
    let before = (test.names("diffs"), test.names("layers"));
    // The next short name is taken by somebody.
    let next = test.root().join("l").join(test.names("l").len().to_string());
    std::fs::create_dir(&next).expect("in the way");
    let options = image::ImportOptions::default();
    test.store.image_import(&archive("third")[..], options.clone()).expect_err("it cannot be entered");
    test.wait_until_clean();
    assert_eq!((test.names("diffs"), test.names("layers")), before);
    std::fs::remove_dir(&next).expect("out of the way");
    test.store.image_import(&archive("third")[..], options).expect("now it can");
    let test = test.reopen();
    check_sound(&test.store);
    assert_eq!(test.store.troubles(), []);
}

#[test]
fn a_configuration_that_was_changed_is_not_taken_for_the_image_s() {
    let (test, hurt) = store();
    let path = test.root().join("blobs/sha256").join(hurt.id.0.hex());
    let mut other = (*hurt.config).clone();
    other.config.entrypoint = Some(vec!["/evil".to_owned()]);
    std::fs::write(path, other.to_bytes()).expect("write");
    let error = test.store.image_get("hurt").expect_err("it is not what it was");
    let shown = base::error::chain(&error).to_string();
    assert!(shown.contains("content has digest sha256:"), "{shown}");
    check_sound(&test.store);
}
