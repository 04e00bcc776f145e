//! Names, removal, pruning, and stores that were left in the middle of something.

mod support;

use std::collections::HashSet;
use std::io::Read;

use image::{
    Conflict, FindError, Image, Kind, NewImage, Progress, Removal, RemoveError, RemoveOptions, Store,
};
use support::{Archive, TestStore, docker_archive, reference};

fn import(test: &TestStore, content: &str, name: &str) -> Image {
    test.import(&Archive::new().file("content", content.as_bytes()).finish(), name)
}

/// An image made from `parent` by a step that adds a file.
fn child(test: &TestStore, parent: &Image, content: &str, name: Option<&str>) -> Image {
    let archive = Archive::new().file(content, b"x").finish();
    let layer = test.store.layer_unpack(parent.layers.last(), &archive[..]).expect("unpack");
    let new = NewImage {
        layer: Some(layer),
        name: name.map(reference),
        ..NewImage::on(
            Some(parent.id.clone()),
            parent.config.config.clone(),
            base::Timestamp::UNIX_EPOCH,
            content,
        )
    };
    test.store.image_create(new).expect("create")
}

/// What a removal did, in words; ids by the names given.
#[track_caller]
fn remove(test: &TestStore, name: &str, options: &RemoveOptions) -> Result<Vec<String>, String> {
    let removed = test.store.image_remove(name, options).map_err(|error| match error {
        RemoveError::Conflict { source, .. } => match source {
            Conflict::Running(_) => "running".to_owned(),
            Conflict::InWork(_) => "in work".to_owned(),
            Conflict::Named(_) => "named".to_owned(),
            Conflict::Stopped(_) => "stopped".to_owned(),
            Conflict::ManyNames(_) => "many names".to_owned(),
            Conflict::Children(_) => "children".to_owned(),
            Conflict::NoName(_) => "no name".to_owned(),
        },
        other => other.to_string(),
    })?;
    let words = removed.iter().map(|removal| match removal {
        Removal::Untagged(name) => format!("untagged {}", name.familiar()),
        Removal::Deleted(_) => "deleted".to_owned(),
    });
    Ok(words.collect())
}

fn words(words: &[&str]) -> Result<Vec<String>, String> {
    Ok(words.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn images_are_found_by_name_id_and_prefix() {
    let test = TestStore::new();
    let image = import(&test, "a", "app:1");
    for name in [
        "app:1",
        "docker.io/library/app:1",
        &image.id.to_string(),
        image.id.0.hex(),
        image.id.short(),
        &image.id.0.hex()[..3],
    ] {
        assert_eq!(test.store.image_get(name).expect(name).id, image.id);
    }
    for name in ["app", "app:2", "other", &"0".repeat(64)] {
        assert!(matches!(test.store.image_get(name), Err(FindError::NotFound { .. })), "{name}");
    }
    assert_eq!(test.store.image_get("UPPER").expect_err("no name").kind(), Kind::Invalid);
}

#[test]
fn a_name_moves_to_the_image_that_gets_it_last() {
    let test = TestStore::new();
    let (a, b) = (import(&test, "a", "app"), import(&test, "b", "app"));
    assert_eq!(test.store.image_get("app").expect("named").id, b.id);
    assert!(test.store.image_get(&a.id.to_string()).expect("still there").tags.is_empty());
    test.store.image_tag(a.id.short(), &reference("app")).expect("tag");
    let test = test.reopen();
    assert_eq!(test.store.image_get("app:latest").expect("named").id, a.id);
    assert!(test.store.image_get("app").expect("named").tagged_at.is_some());
}

#[test]
fn the_last_name_takes_the_image_along() {
    let test = TestStore::new();
    let image = import(&test, "a", "app:1");
    test.store.image_tag("app:1", &reference("app:2")).expect("tag");
    test.store.image_tag("app:1", &reference("other:1")).expect("tag");
    let options = RemoveOptions::default();
    assert_eq!(remove(&test, "app:1", &options), words(&["untagged app:1"]));
    assert_eq!(remove(&test, image.id.short(), &options), Err("many names".to_owned()));
    assert_eq!(remove(&test, "other:1", &options), words(&["untagged other:1"]));
    assert_eq!(remove(&test, "app:2", &options), words(&["untagged app:2", "deleted"]));
    test.wait_until_clean();
    assert_eq!(test.names("layers"), [""; 0]);
    assert_eq!(test.names("l"), [""; 0]);
    assert_eq!(test.names("blobs/sha256"), [""; 0]);
}

#[test]
fn by_its_id_an_image_goes_that_has_one_tag() {
    let test = TestStore::new();
    let image = import(&test, "a", "app:1");
    test.store.image_tag("app:1", &reference("app:2")).expect("tag");
    let options = RemoveOptions::default();
    assert_eq!(remove(&test, image.id.short(), &options), Err("many names".to_owned()));
    remove(&test, "app:1", &options).expect("untag");
    assert_eq!(remove(&test, image.id.short(), &options), words(&["untagged app:2", "deleted"]));
    let image = import(&test, "a", "app:1");
    test.store.image_tag("app:1", &reference("app:2")).expect("tag");
    let force = RemoveOptions { force: true, ..options };
    let all = words(&["untagged app:1", "untagged app:2", "deleted"]);
    assert_eq!(remove(&test, image.id.short(), &force), all);
}

#[test]
fn a_prune_leaves_an_image_in_use_one_name() {
    let test = TestStore::new();
    let image = import(&test, "a", "app:z");
    for tag in ["h", "a", "q"] {
        test.store.image_tag("app:z", &reference(&format!("app:{tag}"))).expect("tag");
    }
    let base = import(&test, "base", "base");
    let built = child(&test, &base, "step", Some("built"));
    let in_use = HashSet::from([image.id.clone(), built.id.clone()]);
    let pruned = test.store.image_prune(false, &in_use, |_| true).expect("prune");
    let mut names: Vec<String> = pruned
        .removed
        .iter()
        .map(|removal| match removal {
            Removal::Untagged(name) => name.familiar(),
            Removal::Deleted(id) => panic!("{id} is needed"),
        })
        .collect();
    names.sort();
    // What others are built on needs no name.
    assert_eq!(names, ["app:a", "app:h", "app:q", "base:latest"]);
    assert_eq!(test.store.image_get("app:z").expect("it is there").id, image.id);
    assert_eq!(test.store.image_list().len(), 3);
    assert!(test.store.image_prune(false, &in_use, |_| true).expect("prune").removed.is_empty());
}

#[test]
fn what_is_in_use_or_built_upon_stays() {
    let test = TestStore::new();
    let base = import(&test, "a", "base");
    let app = child(&test, &base, "one", Some("app"));
    let running = RemoveOptions { running: HashSet::from([app.id.clone()]), ..RemoveOptions::default() };
    assert_eq!(remove(&test, "app", &running), Err("named".to_owned()));
    assert_eq!(remove(&test, app.id.short(), &running), Err("running".to_owned()));
    let forced = RemoveOptions { force: true, ..running };
    assert_eq!(remove(&test, app.id.short(), &forced), Err("running".to_owned()));
    assert_eq!(remove(&test, "app", &forced), words(&["untagged app:latest"]));
    test.store.image_tag(app.id.short(), &reference("app")).expect("it is there");
    let stopped = RemoveOptions { stopped: HashSet::from([app.id.clone()]), ..RemoveOptions::default() };
    assert_eq!(remove(&test, "app", &stopped), Err("named".to_owned()));
    assert_eq!(remove(&test, app.id.short(), &stopped), Err("stopped".to_owned()));
    assert_eq!(remove(&test, base.id.short(), &RemoveOptions::default()), Err("children".to_owned()));
    // By name, the base only loses it, and goes with the image that is built on it.
    assert_eq!(remove(&test, "base", &RemoveOptions::default()), words(&["untagged base:latest"]));
    let forced = RemoveOptions { force: true, ..stopped };
    assert_eq!(remove(&test, "app", &forced), words(&["untagged app:latest", "deleted", "deleted"]));
    assert!(test.store.image_list().is_empty());
}

#[test]
fn a_snapshot_keeps_the_layers_of_an_image_that_is_gone() {
    let test = TestStore::new();
    let image = import(&test, "a", "app");
    test.store.snapshot_create("c", Some(&image.id)).expect("snapshot");
    remove(&test, "app", &RemoveOptions { force: true, ..RemoveOptions::default() }).expect("remove");
    let test = test.reopen();
    let snapshot = test.store.snapshot_get("c").expect("still there");
    assert_eq!(support::in_container(&snapshot, "cat content"), "a");
    assert_eq!(test.store.snapshot_list(), ["c"]);
    test.store.snapshot_remove("c").expect("remove");
    test.wait_until_clean();
    assert_eq!(test.names("layers"), [""; 0]);
}

#[test]
fn pruning_takes_what_nobody_needs_and_says_how_much_that_was() {
    let test = TestStore::new();
    let base = import(&test, "base", "base");
    let step = child(&test, &base, "step", None);
    let last = child(&test, &step, "last", None);
    let kept = child(&test, &base, "kept", Some("kept"));
    let usage = test.store.disk_usage();
    assert_eq!(usage.layers, 4 + 1 + 1 + 1);
    assert!(usage.shared.contains(&(kept.id.clone(), 4)));
    let in_use = HashSet::from([last.id.clone()]);
    assert!(test.store.image_prune(true, &in_use, |_| true).expect("prune").removed.is_empty());
    let pruned = test.store.image_prune(true, &HashSet::new(), |_| true).expect("prune");
    assert_eq!(pruned.removed, [Removal::Deleted(last.id), Removal::Deleted(step.id)]);
    assert_eq!(pruned.reclaimed, 2);
    let pruned = test.store.image_prune(false, &HashSet::new(), |image| image.id != base.id).expect("prune");
    assert_eq!(pruned.removed.len(), 2);
    assert_eq!(test.store.image_list().len(), 1);
}

#[test]
fn history_tells_the_steps_with_their_sizes() {
    let test = TestStore::new();
    let base = import(&test, "base", "base");
    let app = child(&test, &base, "step", Some("app"));
    let history = test.store.image_history("app").expect("history");
    let lines: Vec<(String, u64, bool)> =
        history.iter().map(|entry| (entry.created_by.clone(), entry.size, entry.id.is_some())).collect();
    assert_eq!(lines, [("step".to_owned(), 1, true), (String::new(), 4, true)]);
    assert_eq!(history[0].id, Some(app.id));
    assert_eq!(test.store.image_children(&base.id).len(), 1);
}

/// A store's directory as a crash may leave it, byte for byte, after so many operations of a load.
#[test]
fn a_store_that_was_left_at_any_point_opens_and_is_whole() {
    let test = TestStore::new();
    let lower = Archive::new().dir("d/", 0o755).file("d/f", &[1; 9000]).finish();
    let upper = Archive::new().file("d/g", &[2; 9000]).finish();
    let archive = docker_archive("app:1", &[&lower, &upper]);
    import(&test, "acknowledged", "before");
    // The archive stops giving bytes at some point, as if the process had been killed there: a copy
    // of the directory is what would be found.
    for stop in (0..archive.len()).step_by(archive.len() / 12) {
        let copy = tempfile::tempdir().expect("temporary directory");
        let mut reader =
            CopyAt { archive: &archive, at: 0, stop, root: test.root(), copy: copy.path().join("image") };
        let _ = test.store.image_load(&mut reader, &Progress::none());
        let found =
            Store::open(&copy.path().join("image")).expect("a store that was left in the middle opens");
        let names: Vec<String> =
            found.image_list().iter().flat_map(|image| &image.tags).map(|name| name.familiar()).collect();
        assert!(names.contains(&"before:latest".to_owned()), "stopped at {stop}: {names:?}");
        found.image_save(&names, std::io::sink()).expect("every image is whole");
        drop(found);
        assert!(support::names(&copy.path().join("image/ingest")).is_empty());
        let _ = remove(&test, "app:1", &RemoveOptions::default());
    }
}

/// Gives an archive, and copies the store's directory when it has given so much.
struct CopyAt<'a> {
    archive: &'a [u8],
    at: usize,
    stop: usize,
    root: std::path::PathBuf,
    copy: std::path::PathBuf,
}

impl Read for CopyAt<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = buffer.len().min(512).min(self.archive.len() - self.at);
        buffer[..got].copy_from_slice(&self.archive[self.at..self.at + got]);
        if (self.at..=self.at + got).contains(&self.stop) && !self.copy.exists() {
            // Files come and go meanwhile, as they do when a machine stops.
            let copied = std::process::Command::new("cp").arg("-a").arg(&self.root).arg(&self.copy).output();
            copied.expect("run cp");
        }
        self.at += got;
        Ok(got)
    }
}

#[test]
fn files_that_a_crash_left_are_cleared_away_when_the_store_opens() {
    let test = TestStore::new();
    import(&test, "a", "app");
    let root = test.root();
    std::fs::create_dir_all(root.join("ingest/left/fs")).expect("an unfinished layer");
    let torn = root.join(format!("layers/{}", "0".repeat(64)));
    std::fs::create_dir_all(torn.join("fs")).expect("a layer");
    std::fs::write(torn.join("layer.json"), "").expect("whose record was not flushed");
    std::fs::write(root.join(format!("blobs/sha256/{}", "1".repeat(64))), "x")
        .expect("a document nobody knows");
    let link = root.join("l").join(&test.names("l")[0]);
    std::fs::remove_file(&link).expect("a link that was not made yet");
    let test = test.reopen();
    test.wait_until_clean();
    assert_eq!(test.names("layers").len(), 1);
    assert_eq!(test.names("blobs/sha256").len(), 1);
    assert!(link.join("content").exists());
}

#[test]
fn what_running_work_needs_is_not_removed() {
    let test = TestStore::new();
    let base = import(&test, "base", "base");
    let held = test.store.image_hold(&base.id).expect("hold");
    let force = RemoveOptions { force: true, ..RemoveOptions::default() };
    let id = base.id.to_string();
    let error = test.store.image_remove(&id, &force).expect_err("a build needs it");
    assert!(matches!(error, image::RemoveError::Conflict { source: Conflict::InWork(_), .. }), "{error}");
    test.store.image_prune(false, &HashSet::new(), |_| true).expect("prune");
    // By name and force the name goes, as with Docker, and the image stays.
    let removed = test.store.image_remove("base", &force).expect("untag");
    assert_eq!(removed, [Removal::Untagged(reference("base:latest"))]);
    test.store.image_prune(true, &HashSet::new(), |_| true).expect("prune");
    test.store.image_get(&id).expect("it is there");
    drop(held);
    test.store.image_remove(&id, &force).expect("now it goes");
    assert!(test.store.image_get(&id).is_err());
}

#[test]
fn state_of_a_later_version_is_left_alone() {
    let test = TestStore::new();
    import(&test, "a", "app");
    let TestStore { store, dir } = test;
    drop(store);
    let path = dir.path().join("image/state.json");
    std::fs::write(&path, r#"{"version":3,"images":[]}"#).expect("write");
    let error = Store::open(&dir.path().join("image")).expect_err("a later version");
    assert!(error.to_string().contains("state of version 3, this program knows up to 2"), "{error}");
    assert!(std::fs::read_to_string(&path).expect("read").contains("\"version\":3"));
}
