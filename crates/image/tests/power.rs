//! Power cuts: what was acknowledged is whole, what was not leaves nothing behind.

mod support;
#[path = "support/fake.rs"]
mod support_fake;
#[path = "support/registry.rs"]
mod support_registry;
#[path = "support/remote.rs"]
mod support_remote;

use image::registry::{Client, Config, Credentials};
use image::{ImportOptions, NewImage, Progress, PullOptions, Store};
use oci::ContainerConfig;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;
use support::{Archive, docker_archive, reference};
use support_fake::{Fake, Manner, Reply};
use support_remote::{Content, Made};
use testkit::PowerCut;

/// Runs `test` with a disk that can lose power.
fn with_disk(test: impl FnOnce(PowerCut) + Send) {
    testkit::require_root();
    let run = || {
        // SAFETY: nothing of this thread's file descriptors or memory is unshared.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.expect("mounts of one's own");
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .expect("keep mounts to oneself");
        test(PowerCut::new());
    };
    std::thread::scope(|scope| {
        if let Err(panic) = scope.spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn open(disk: &PowerCut) -> Store {
    Store::open(&disk.path().join("image")).expect("open the store")
}

/// A layer with files of several sizes: in one block, in many, in a directory of their own.
fn layer(mark: u8) -> Vec<u8> {
    let mut archive = Archive::new().dir("d/", 0o755).file("d/large", &vec![mark; 300_000]);
    for number in 0..20 {
        archive = archive.file(&format!("d/{number}"), &[mark, number]);
    }
    archive.finish()
}

fn import(store: &Store, mark: u8, name: Option<&str>) -> image::Image {
    let options = ImportOptions { name: name.map(reference), ..ImportOptions::default() };
    store.image_import(&layer(mark)[..], options).expect("import an archive")
}

fn step(parent: &image::Image, mark: &str) -> NewImage {
    let created = "2026-01-01T00:00:00Z".parse().expect("a time");
    NewImage::on(Some(parent.id.clone()), ContainerConfig::default(), created, mark)
}

/// Does `acknowledged`, which gives how the image is named, and loses power: the image must be there
/// with all its files. Its archive is put together from them, and compared by its digest.
#[track_caller]
fn check(prepare: impl FnOnce(&Store) + Send, acknowledged: impl FnOnce(&Store) -> String + Send) {
    with_disk(|disk| {
        let store = open(&disk);
        prepare(&store);
        let name = acknowledged(&store);
        let left = disk.now();
        drop(store);
        let disk = disk.come_back(left);
        let store = open(&disk);
        assert_eq!(store.troubles(), []);
        let image = store.image_get(&name).expect("the image is there");
        store.image_save(&[image.id.to_string()], std::io::sink()).expect("its layers are whole");
        store.snapshot_create("c1", Some(&image.id)).expect("a container can be made of it");
    });
}

#[test]
fn an_imported_image_outlives_a_power_cut() {
    check(
        |_| (),
        |store| {
            import(store, 1, Some("app:1"));
            "app:1".to_owned()
        },
    );
    check(|_| (), |store| import(store, 1, None).id.to_string());
}

#[test]
fn a_loaded_image_outlives_a_power_cut() {
    check(
        |_| (),
        |store| {
            let archive = docker_archive("app:1", &[&layer(1), &layer(2)]);
            store.image_load(&archive[..], &Progress::none()).expect("load");
            "app:1".to_owned()
        },
    );
}

#[test]
fn a_pulled_image_outlives_a_power_cut() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let registry = support_registry::Registry::start(&support_registry::Setup::default());
    let name = registry.image("team/app:1");
    let elsewhere = support::TestStore::new();
    let archive = docker_archive(&name.familiar(), &[&layer(1), &layer(2)]);
    elsewhere.store.image_load(&archive[..], &Progress::none()).expect("load");
    runtime().block_on(async {
        let client = Client::new(Config::default()).expect("client");
        let (credentials, progress) = (Credentials::Anonymous, Progress::none());
        let pushed = elsewhere.store.image_push(&client, &name, &credentials, &progress).await;
        pushed.expect("push");
    });
    check(
        |_| (),
        |store| {
            // The threads that unpack live where the disk is mounted.
            runtime().block_on(async {
                let client = Client::new(Config::default()).expect("client");
                let options = PullOptions { credentials: Credentials::Anonymous, ..PullOptions::default() };
                store.image_pull(&client, &name, &options, &Progress::none()).await.expect("pull");
            });
            name.to_string()
        },
    );
}

#[test]
fn a_committed_image_outlives_a_power_cut() {
    check(
        |_| (),
        |store| {
            let base = import(store, 1, Some("base:1"));
            let snapshot = store.snapshot_create("c", Some(&base.id)).expect("snapshot");
            std::fs::write(snapshot.upper.join("written"), vec![7; 100_000]).expect("write a file");
            let layer = store.snapshot_capture("c", &base::cancel::Cancel::default()).expect("capture");
            let new = NewImage { layer: Some(layer), ..step(&base, "commit") };
            store.image_create(new).expect("create").id.to_string()
        },
    );
}

#[test]
fn a_name_outlives_a_power_cut_with_the_image_that_it_is_given_to() {
    check(
        |store| drop(import(store, 1, Some("base:1"))),
        |store| {
            store.image_tag("base:1", &reference("other:2")).expect("tag");
            "other:2".to_owned()
        },
    );
    check(
        |store| drop(import(store, 1, Some("base:1"))),
        |store| {
            let base = store.image_get("base:1").expect("base");
            let layer = store.layer_unpack(base.layers.last(), &layer(2)[..]).expect("unpack");
            let new = NewImage { layer: Some(layer), ..step(&base, "RUN") };
            let (made, _held) = store.image_create_step(new).expect("a step");
            store.image_tag(&made.id.to_string(), &reference("built:1")).expect("tag");
            "built:1".to_owned()
        },
    );
}

#[test]
fn the_last_step_of_a_build_outlives_a_power_cut_with_the_steps_before() {
    with_disk(|disk| {
        let store = open(&disk);
        let base = import(&store, 1, Some("base:1"));
        let one = store.layer_unpack(base.layers.last(), &layer(2)[..]).expect("unpack");
        let (first, _first) =
            store.image_create_step(NewImage { layer: Some(one), ..step(&base, "one") }).expect("a step");
        let (last, _last) = store.image_create_step(step(&first, "two")).expect("another step");
        store.image_keep(&last.id, &[reference("app:1"), reference("app:2")]).expect("keep");
        let left = disk.now();
        drop((_first, _last, store));
        let disk = disk.come_back(left);
        let store = open(&disk);
        assert_eq!(store.troubles(), []);
        for name in ["app:1", "app:2", &first.id.to_string()] {
            assert!(store.image_get(name).is_ok(), "{name}");
        }
        store.image_save(&["app:1".to_owned()], std::io::sink()).expect("its layers are whole");
    });
}

#[test]
fn what_was_not_acknowledged_is_cleared_away_after_a_power_cut() {
    with_disk(|disk| {
        let store = open(&disk);
        let base = import(&store, 1, Some("base:1"));
        let layer = store.layer_unpack(base.layers.last(), &layer(2)[..]).expect("unpack");
        let (step, held) =
            store.image_create_step(NewImage { layer: Some(layer), ..step(&base, "RUN") }).expect("a step");
        // The names of all that reach the disk, but not what is in the files, as it happens when
        // somebody else flushes a file of theirs.
        base::fs::write_atomic(&disk.path().join("somebody's"), b"x", 0o600).expect("flush a file");
        let left = disk.now();
        drop((held, store));
        let disk = disk.come_back(left);
        let empty = std::fs::read_dir(disk.path().join("image/layers")).expect("layers").flatten();
        let torn = empty.filter(|entry| {
            std::fs::metadata(entry.path().join("layer.json")).is_ok_and(|record| record.len() == 0)
        });
        assert_eq!(torn.count(), 1, "the layer of the step lost its record");
        let store = open(&disk);
        assert_eq!(store.troubles(), []);
        assert!(store.image_get(&step.id.to_string()).is_err());
        assert_eq!(support::names(&disk.path().join("image/layers")).len(), 1);
        store.image_save(&["base:1".to_owned()], std::io::sink()).expect("the other is whole");
    });
}

/// A registry with this content; what `stalls` is the digest of never comes.
async fn serving(named: &Content, contents: Vec<Content>, stalls: Option<String>) -> Fake {
    let named = named.bytes.clone();
    Fake::start(move |asked| {
        let content = contents.iter().find(|content| asked.target.ends_with(&content.digest().to_string()));
        match content {
            Some(content) if stalls.as_ref().is_some_and(|stalls| asked.target.ends_with(stalls)) => {
                Reply::ok(content.bytes.clone()).how(Manner::Stall(1))
            }
            Some(content) => Reply::ok(content.bytes.clone()),
            None if asked.target.ends_with("/manifests/1") => Reply::ok(named.clone()),
            None if asked.target == "/v2/" => Reply::ok("{}"),
            None => Reply::missing(),
        }
    })
    .await
}

/// How many layers a pull that is under way has brought, going by its lease.
fn brought(root: &std::path::Path) -> usize {
    let leases = support::names(&root.join("leases"));
    let read = |name: &String| std::fs::read(root.join("leases").join(name)).ok();
    let lease = leases.iter().filter(|name| !name.starts_with('.')).find_map(read);
    let lease: Option<serde_json::Value> = lease.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    lease.and_then(|lease| Some(lease["layers"].as_array()?.len())).unwrap_or(0)
}

#[test]
fn what_a_killed_pull_had_brought_is_flushed_before_an_image_stands_on_it() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let made: Made = support_remote::image(&oci::Platform::host().to_string(), &[&layer(1), &layer(2)]);
    let about = support_remote::attestation(&made.manifest);
    let index = support_remote::index(&[&made.manifest, &about.manifest]);
    with_disk(|disk| {
        let (first, second) = (disk.path().join("image"), disk.path().join("image-left"));
        let pull = async |store: &Store, registry: &Fake| {
            let client = Client::new(Config::default()).expect("client");
            let options = PullOptions { credentials: Credentials::Anonymous, ..PullOptions::default() };
            let name = registry.image("app:1");
            store.image_pull(&client, &name, &options, &Progress::none()).await.map(|_| name)
        };
        // It has all layers, and waits for what is said about the image, when it is killed.
        let killed = runtime();
        killed.block_on(async {
            let contents = made.contents().into_iter().chain(about.contents()).collect();
            let stalls = Some(about.layers[0].digest().to_string());
            let registry = serving(&index, contents, stalls).await;
            let store = Store::open(&first).expect("open the store");
            let copied = async {
                while brought(&first) < 2 {
                    tokio::task::yield_now().await;
                }
                let mut copy = std::process::Command::new("cp");
                copy.arg("-a").arg(&first).arg(&second).status().expect("run cp").success()
            };
            tokio::select! {
                _ = pull(&store, &registry) => panic!("it cannot end"),
                copied = copied => assert!(copied),
            }
        });
        drop(killed);
        // In the same boot, another pull finds all of it.
        let store = Store::open(&second).expect("open what is left");
        let next = runtime();
        let name = next.block_on(async {
            let registry = serving(&made.manifest, made.contents(), None).await;
            let name = pull(&store, &registry).await.expect("pull");
            let layers = made.layers.iter().map(|layer| registry.asked(&layer.digest().to_string()).len());
            assert_eq!(layers.sum::<usize>(), 0, "they are here");
            name
        });
        drop(next);
        let left = disk.now();
        drop(store);
        let disk = disk.come_back(left);
        let store = Store::open(&disk.path().join("image-left")).expect("open the store");
        assert_eq!(store.troubles(), []);
        let image = store.image_get(&name.to_string()).expect("the image is there");
        store.image_save(&[name.to_string()], std::io::sink()).expect("its files are whole");
        for layer in &made.layers {
            let blob = disk.path().join("image-left/blobs/sha256").join(layer.digest().hex());
            assert!(std::fs::read(blob).expect("the layer as it came") == layer.bytes);
        }
        store.snapshot_create("c1", Some(&image.id)).expect("a container can be made of it");
    });
}

#[test]
fn a_layer_that_comes_again_does_not_take_the_place_of_one_that_is_on_disk() {
    let made = support_remote::image(&oci::Platform::host().to_string(), &[&layer(1)]);
    let layout = |manifest: &Content, contents: &[Content]| {
        let mut archive = Archive::new();
        for content in contents {
            archive = archive.file(&format!("blobs/sha256/{}", content.digest().hex()), &content.bytes);
        }
        let mut entry = manifest.at.clone();
        entry.annotations.insert("io.containerd.image.name".into(), "docker.io/library/app:1".into());
        let entry = serde_json::to_string(&entry).expect("JSON");
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
        archive.file("index.json", index.as_bytes()).finish()
    };
    with_disk(|disk| {
        let store = open(&disk);
        let archive = layout(&made.manifest, &made.contents());
        store.image_load(&archive[..], &Progress::none()).expect("load");
        // The same layer, in an image that never comes to be: its other layer is missing.
        let broken = support_remote::image(&oci::Platform::host().to_string(), &[&layer(1), &layer(2)]);
        let contents: Vec<Content> =
            broken.contents().into_iter().filter(|part| part.digest() != broken.layers[1].digest()).collect();
        assert_eq!(broken.layers[0].digest(), made.layers[0].digest());
        store
            .image_load(&layout(&broken.manifest, &contents)[..], &Progress::none())
            .expect_err("a layer is missing");
        // What has names reaches the disk, but not what is in the files.
        base::fs::write_atomic(&disk.path().join("somebody's"), b"x", 0o600).expect("flush a file");
        let left = disk.now();
        drop(store);
        let disk = disk.come_back(left);
        let store = open(&disk);
        assert_eq!(store.troubles(), []);
        let blob = disk.path().join("image/blobs/sha256").join(made.layers[0].digest().hex());
        assert!(std::fs::read(blob).expect("the layer as it came") == made.layers[0].bytes);
    });
}
