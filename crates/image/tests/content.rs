//! Content as it came: what was pulled or loaded goes out under the digest that it had, is found by it, and
//! goes when nothing leads to it any more.

mod support;
#[path = "support/fake.rs"]
mod support_fake;
#[path = "support/registry.rs"]
mod support_registry;
#[path = "support/remote.rs"]
mod support_remote;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use image::registry::{Client, Config, Credentials};
use image::{Blobs, Kind, Progress, PullOptions, RemoveOptions, Store, StoreOptions};
use oci::{Digest, Reference};
use support::{Archive, TestStore, in_container, reference};
use support_fake::{Fake, Manner};
use support_registry::{Registry, Setup};
use support_remote::{Content, Made, Remote, attestation, image, index};

fn client() -> Client {
    Client::new(Config::default()).expect("client")
}

async fn pull(store: &Store, name: &Reference) -> Digest {
    let pulled = store.image_pull(&client(), name, &PullOptions::default(), &Progress::none()).await;
    pulled.unwrap_or_else(|error| panic!("pull {name}: {}", base::error::chain(&error))).digest
}

/// Pushes; gives the digest, and what was said.
async fn push(store: &Store, name: &Reference) -> (Digest, String) {
    let words = Arc::new(Mutex::new(Vec::new()));
    let sink = words.clone();
    let progress =
        Progress::new(move |event| sink.lock().expect("no holder panics").push(event.action.text()));
    let pushed = store.image_push(&client(), name, &Credentials::Anonymous, &progress).await;
    let digest = pushed.unwrap_or_else(|error| panic!("push {name}: {}", base::error::chain(&error)));
    let words = words.lock().expect("no holder panics").join("\n");
    (digest, words)
}

/// Archives of two layers.
fn archives(mark: &str) -> (Vec<u8>, Vec<u8>) {
    let lower = Archive::new().dir("d/", 0o755).file("d/mark", mark.as_bytes()).finish();
    (lower, Archive::new().file("more", &[7; 100_000]).file("mark", mark.as_bytes()).finish())
}

/// An image for this machine and one for another, with what is said about the first.
fn platforms() -> (Made, Made, Made, Content) {
    let ((lower, upper), (other, _)) = (archives("here"), archives("elsewhere"));
    let here = image(&oci::Platform::host().to_string(), &[&lower, &upper]);
    let elsewhere = image("linux/s390x", &[&other]);
    let about = attestation(&here.manifest);
    let index = index(&[&elsewhere.manifest, &here.manifest, &about.manifest]);
    (here, elsewhere, about, index)
}

/// The same, put where an image `1` is asked for.
async fn platforms_at(remote: &Remote) -> (Made, Made, Made, Content) {
    let (here, elsewhere, about, index) = platforms();
    for made in [&here, &elsewhere, &about] {
        made.put(remote).await;
    }
    remote.manifest_put("1", &index).await;
    (here, elsewhere, about, index)
}

/// Files of blobs.
fn blobs(root: &Path) -> usize {
    support::names(&root.join("blobs/sha256")).len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pulled_image_goes_out_under_the_digest_that_it_came_by() {
    let (from, to) = (Registry::start(&Setup::default()), Registry::start(&Setup::default()));
    let (lower, upper) = archives("a");
    let made = image(&oci::Platform::host().to_string(), &[&lower, &upper]);
    let remote = Remote::new(from.address, "app");
    made.put(&remote).await;
    remote.manifest_put("1", &made.manifest).await;
    let test = TestStore::new();
    let (name, other) = (from.image("app:1"), to.image("else/where:2"));
    assert_eq!(pull(&test.store, &name).await, *made.manifest.digest());
    test.store.image_tag(&name.to_string(), &other).expect("tag");
    let test = test.reopen();
    assert_eq!(push(&test.store, &other).await.0, *made.manifest.digest());
    let came = Remote::new(to.address, "else/where").manifest("2").await;
    assert_eq!(came.as_deref(), Some(&made.manifest.bytes[..]));
    // And from there once more.
    let third = TestStore::new();
    assert_eq!(pull(&third.store, &other).await, *made.manifest.digest());
    let found = third.store.image_get(&other.to_string()).expect("pulled");
    assert_eq!(found.id.0, *made.config.digest());
    assert_eq!(found.digests, [other.with_digest(made.manifest.digest().clone())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kept_blobs_an_image_goes_out_under_another_digest_and_takes_less() {
    let (from, to) = (Registry::start(&Setup::default()), Registry::start(&Setup::default()));
    let (lower, upper) = archives("a");
    let made = image(&oci::Platform::host().to_string(), &[&lower, &upper]);
    let remote = Remote::new(from.address, "app");
    made.put(&remote).await;
    remote.manifest_put("1", &made.manifest).await;
    testkit::require_root();
    let dir = tempfile::tempdir().expect("temporary directory");
    let options = StoreOptions { blobs: Blobs::Remake };
    let store = Store::open_with(&dir.path().join("image"), options).expect("open");
    let (name, other) = (from.image("app:1"), to.image("app:1"));
    pull(&store, &name).await;
    assert_eq!(blobs(&dir.path().join("image")), 2, "the configuration and the manifest");
    store.image_tag(&name.to_string(), &other).expect("tag");
    // The registry that it came from has the layers as they were.
    assert_eq!(push(&store, &name).await.0, *made.manifest.digest());
    let (digest, _) = push(&store, &other).await;
    assert_ne!(digest, *made.manifest.digest());
    // It is found by either.
    for name in [name.with_digest(made.manifest.digest().clone()), other.with_digest(digest)] {
        assert_eq!(store.image_get(&name.to_string()).expect("found").id.0, *made.config.digest());
    }
    let third = TestStore::new();
    pull(&third.store, &other).await;
    assert_eq!(third.store.image_get(&other.to_string()).expect("pulled").id.0, *made.config.digest());
}

/// The image `app:1` of a registry for this machine: itself, its provenance, and the index of both.
async fn with_provenance(registry: &Registry) -> (Made, Made, Content) {
    let (here, _, about, _) = platforms();
    let index = index(&[&here.manifest, &about.manifest]);
    let remote = Remote::new(registry.address, "app");
    for made in [&here, &about] {
        made.put(&remote).await;
    }
    remote.manifest_put("1", &index).await;
    (here, about, index)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_its_provenance_goes_anywhere_as_it_is() {
    let (from, to) = (Registry::start(&Setup::default()), Registry::start(&Setup::default()));
    let (_, about, index) = with_provenance(&from).await;
    let test = TestStore::new();
    let (name, other) = (from.image("app:1"), to.image("app:2"));
    assert_eq!(pull(&test.store, &name).await, *index.digest());
    test.store.image_tag(&name.to_string(), &other).expect("tag");
    assert_eq!(push(&test.store, &other).await.0, *index.digest());
    let there = Remote::new(to.address, "app");
    assert_eq!(there.manifest("2").await, Some(index.bytes.clone()));
    assert_eq!(
        there.manifest(&about.manifest.digest().to_string()).await,
        Some(about.manifest.bytes.clone())
    );
    assert!(there.has_blob(about.layers[0].digest()).await);
    let image = test.store.image_get(&other.to_string()).expect("the image");
    let snapshot = test.store.snapshot_create("c", Some(&image.id)).expect("snapshot");
    assert_eq!(in_container(&snapshot, "cat d/mark mark"), "herehere");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_which_a_part_is_here_is_pushed_where_the_rest_is_and_else_its_image_alone() {
    let (from, to) = (Registry::start(&Setup::default()), Registry::start(&Setup::default()));
    let remote = Remote::new(from.address, "app");
    let (here, elsewhere, _, index) = platforms_at(&remote).await;
    let test = TestStore::new();
    let name = from.image("app:1");
    assert_eq!(pull(&test.store, &name).await, *index.digest());
    assert!(!test.names("blobs/sha256").contains(&elsewhere.layers[0].digest().hex().to_owned()));
    let (again, beside, other) = (from.image("app:2"), from.image("beside:1"), to.image("app:1"));
    for tag in [&again, &beside, &other] {
        test.store.image_tag(&name.to_string(), tag).expect("tag");
    }
    // The registry takes what is not here from the repository that has it.
    let (digest, words) = push(&test.store, &beside).await;
    assert_eq!(digest, *index.digest(), "{words}");
    let place = Remote::new(from.address, "beside");
    let there = place.manifest(&elsewhere.manifest.digest().to_string()).await;
    assert_eq!(there.as_deref(), Some(&elsewhere.manifest.bytes[..]));
    assert!(place.has_blob(elsewhere.layers[0].digest()).await);
    let (digest, words) = push(&test.store, &again).await;
    assert_eq!(digest, *index.digest(), "{words}");
    assert_eq!(remote.manifest("2").await, Some(index.bytes.clone()));
    let (digest, words) = push(&test.store, &other).await;
    assert_eq!(digest, *here.manifest.digest());
    assert!(words.contains("Not all multiplatform-content is present"), "{words}");
    assert_eq!(Remote::new(to.address, "app").manifest("1").await, Some(here.manifest.bytes.clone()));
    // The name here leads to the index still.
    assert_eq!(push(&test.store, &again).await.0, *index.digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_found_by_the_digests_of_their_documents() {
    let registry = Registry::start(&Setup::default());
    let remote = Remote::new(registry.address, "app");
    let (here, elsewhere, about, index) = platforms_at(&remote).await;
    let test = TestStore::new();
    let name = registry.image("app:1");
    pull(&test.store, &name).await;
    for test in [test.reopen().reopen()] {
        let found = |text: &str| test.store.image_get(text).map(|image| image.id.0);
        for digest in [index.digest(), here.manifest.digest()] {
            for text in [name.with_digest(digest.clone()).to_string(), digest.to_string()] {
                assert_eq!(found(&text).expect(&text), *here.config.digest(), "{text}");
            }
        }
        for digest in [elsewhere.manifest.digest(), about.manifest.digest(), here.layers[0].digest()] {
            for text in [name.with_digest(digest.clone()).to_string(), digest.to_string()] {
                assert_eq!(found(&text).expect_err(&text).kind(), Kind::NotFound, "{text}");
            }
        }
        let stranger = reference("other/app").with_digest(index.digest().clone());
        assert_eq!(found(&stranger.to_string()).expect_err("another repository").kind(), Kind::NotFound);
        let by_digest = name.with_digest(index.digest().clone());
        test.store.image_tag(&by_digest.to_string(), &reference("mine:1")).expect("tag");
        let mine = reference("mine").with_digest(index.digest().clone());
        assert_eq!(found(&mine.to_string()).expect("by the tag's target"), *here.config.digest());
    }
}

/// An OCI layout with this content.
fn layout(top: &[(&Content, &str)], contents: &[Content]) -> Vec<u8> {
    layout_by("io.containerd.image.name", top, contents)
}

/// The same, with its names in this annotation.
fn layout_by(key: &str, top: &[(&Content, &str)], contents: &[Content]) -> Vec<u8> {
    let entries: Vec<oci::Descriptor> = top
        .iter()
        .map(|(content, name)| {
            let mut at = content.at.clone();
            at.annotations.insert(key.to_owned(), (*name).to_owned());
            at
        })
        .collect();
    let entries = serde_json::to_string(&entries).expect("JSON");
    let mut archive = Archive::new().file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    let mut written = std::collections::BTreeSet::new();
    for content in contents {
        if written.insert(content.digest().clone()) {
            archive = archive.file(&format!("blobs/sha256/{}", content.digest().hex()), &content.bytes);
        }
    }
    let index = format!(r#"{{"schemaVersion":2,"manifests":{entries}}}"#);
    archive.file("index.json", index.as_bytes()).finish()
}

fn load(store: &Store, archive: &[u8]) -> Result<Vec<String>, String> {
    let loaded = store.image_load(archive, &Progress::none());
    let names = |images: Vec<image::Loaded>| {
        images.iter().flat_map(|image| &image.names).map(|name| name.familiar()).collect()
    };
    loaded.map(names).map_err(|error| base::error::chain(&error).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_survives_load_save_load_and_push() {
    let registry = Registry::start(&Setup::default());
    let (here, elsewhere, about, index) = platforms();
    // Plain archives are kept as the layers that they are, for whichever platform.
    let (plain, _) = archives("plain");
    let config = Content::new(oci::media_type::OCI_CONFIG, support::config_of(&[&plain]).to_bytes());
    let layer = Content::new(oci::media_type::OCI_LAYER, plain);
    let plain = support_remote::manifest(&config, std::slice::from_ref(&layer)).on("linux/riscv64");
    let all = support_remote::index(&[&elsewhere.manifest, &here.manifest, &about.manifest, &plain]);
    let name = registry.image("app:1");
    let mut contents = [config, layer, plain.clone(), all.clone(), index].to_vec();
    for made in [&here, &elsewhere, &about] {
        contents.extend(made.contents());
    }
    let test = TestStore::new();
    assert_eq!(
        load(&test.store, &layout(&[(&all, &name.to_string())], &contents)),
        Ok(vec![name.familiar()])
    );
    let mut saved = Vec::new();
    test.store.image_save(&[name.to_string()], &mut saved).expect("save");
    let other = TestStore::new();
    assert_eq!(load(&other.store, &saved), Ok(vec![name.familiar()]));
    let other = other.reopen();
    let loaded =
        other.store.image_get(&name.with_digest(all.digest().clone()).to_string()).expect("by digest");
    assert_eq!((&loaded.id.0, &loaded.digests[..]), (here.config.digest(), &[][..]), "no registry has it");
    let (digest, words) = push(&other.store, &name).await;
    assert_eq!(digest, *all.digest(), "{words}");
    let remote = Remote::new(registry.address, "app");
    for manifest in [&elsewhere.manifest, &here.manifest, &about.manifest, &plain] {
        let there = remote.manifest(&manifest.digest().to_string()).await;
        assert_eq!(there.as_deref(), Some(&manifest.bytes[..]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pulled_image_that_is_saved_and_loaded_elsewhere_is_the_same() {
    let registry = Registry::start(&Setup::default());
    let remote = Remote::new(registry.address, "app");
    let (_, _, _, index) = platforms_at(&remote).await;
    let (test, other) = (TestStore::new(), TestStore::new());
    let name = registry.image("app:1");
    pull(&test.store, &name).await;
    let mut saved = Vec::new();
    test.store.image_save(&[name.to_string()], &mut saved).expect("save");
    // Docker's own form of it names the same blobs.
    assert_eq!(load(&other.store, &saved), Ok(vec![name.familiar()]));
    assert_eq!(push(&other.store, &name).await.0, *index.digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_was_made_here_has_one_digest_wherever_it_is_pushed_and_saved() {
    let (one, two) = (Registry::start(&Setup::default()), Registry::start(&Setup::default()));
    let test = TestStore::new();
    let (lower, _) = archives("made");
    test.import(&lower, "made:1");
    let (first, second) = (one.image("made:1"), two.image("made:1"));
    test.store.image_tag("made:1", &first).expect("tag");
    let (digest, _) = push(&test.store, &first).await;
    test.store.image_tag(&first.to_string(), &second).expect("tag");
    assert_eq!(push(&test.store, &second).await.0, digest);
    let mut saved = Vec::new();
    test.store.image_save(&[second.to_string()], &mut saved).expect("save");
    let other = TestStore::new();
    load(&other.store, &saved).expect("load");
    assert_eq!(push(&other.store, &second).await.0, digest);
    assert!(other.store.image_get(&digest.to_string()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_leads_to_any_more_goes() {
    let registry = Registry::start(&Setup::default());
    let remote = Remote::new(registry.address, "app");
    let (here, _, _, index) = platforms_at(&remote).await;
    let test = TestStore::new();
    let name = registry.image("app:1");
    pull(&test.store, &name).await;
    // Index, manifest, configuration, two layers; attestation, its configuration and statement.
    assert_eq!(blobs(&test.root()), 8);
    let test = test.reopen();
    assert_eq!(blobs(&test.root()), 8);
    // The same image alone: the name leads elsewhere, its digest stays known.
    remote.manifest_put("1", &here.manifest).await;
    pull(&test.store, &name).await;
    assert_eq!(blobs(&test.root()), 8);
    let by_digest = name.with_digest(index.digest().clone());
    test.store.image_remove(&by_digest.to_string(), &RemoveOptions::default()).expect("untag");
    assert_eq!(blobs(&test.root()), 4, "{:?}", test.names("blobs/sha256"));
    test.store.image_remove(&name.to_string(), &RemoveOptions::default()).expect("remove");
    assert_eq!(blobs(&test.root()), 0, "{:?}", test.names("blobs/sha256"));
    test.wait_until_clean();
    assert_eq!(test.names("layers"), [""; 0]);
    assert_eq!(test.names("leases"), [""; 0]);
}

/// Two layers of which the registry never sends the second whole; what a process leaves that is killed then.
async fn killed(layers: &[Vec<u8>]) -> TestStore {
    let stalled = Digest::sha256_of(&layers[1]).to_string();
    let registry = Fake::with_image(layers, move |asked, reply| {
        if asked.target.ends_with(&stalled) { reply.how(Manner::Stall(1000)) } else { reply }
    })
    .await;
    let test = TestStore::new();
    let pulling = {
        let (store, name) = (test.store.clone(), registry.image("app:1"));
        tokio::spawn(async move {
            let _ = store.image_pull(&client(), &name, &PullOptions::default(), &Progress::none()).await;
        })
    };
    while test.names("leases").iter().all(|name| name.starts_with('.')) {
        tokio::task::yield_now().await;
    }
    let left = tempfile::tempdir().expect("temporary directory");
    let copied = Command::new("cp").arg("-a").arg(test.root()).arg(left.path()).status().expect("run cp");
    assert!(copied.success());
    pulling.abort();
    let store = Store::open(&left.path().join("image")).expect("open what is left");
    TestStore { store, dir: left }
}

fn two_layers() -> [Vec<u8>; 2] {
    let (lower, upper) = archives("killed");
    [lower, upper]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_pull_goes_on_with_what_a_killed_one_had_brought() {
    let layers = two_layers();
    let test = killed(&layers).await;
    assert_eq!((test.names("layers").len(), test.names("leases").len()), (1, 1));
    let honest = Fake::with_image(&layers, |_, reply| reply).await;
    let name = honest.image("app:1");
    pull(&test.store, &name).await;
    assert_eq!(honest.asked(&Digest::sha256_of(&layers[0]).to_string()).len(), 0, "it is here");
    assert_eq!(test.names("leases"), [""; 0], "nothing is unfinished any more");
    test.store.image_remove(&name.to_string(), &RemoveOptions::default()).expect("remove");
    test.wait_until_clean();
    assert_eq!(test.names("layers"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_pull_had_brought_is_collected_when_its_time_is_over_or_after_another_boot() {
    for (key, value) in [("until", "2026-01-01T00:00:00Z"), ("boot", "another")] {
        let test = killed(&two_layers()).await;
        let path = test.root().join("leases").join(&test.names("leases")[0]);
        let text = std::fs::read(&path).expect("the lease");
        let mut lease: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        lease[key] = value.into();
        std::fs::write(&path, lease.to_string()).expect("write");
        let test = test.reopen();
        test.wait_until_clean();
        assert_eq!((test.names("layers"), test.names("leases")), (Vec::new(), Vec::new()), "{key}");
        assert_eq!(test.store.troubles(), []);
    }
}

#[test]
fn a_list_of_images_whose_log_is_damaged_loses_names_only() {
    let test = TestStore::new();
    for number in 0..4 {
        test.import(&archives(&number.to_string()).0, &format!("app:{number}"));
    }
    let log = support::names(&test.root()).into_iter().find(|name| name.ends_with(".log")).expect("a log");
    let path = test.root().join(log);
    let mut bytes = std::fs::read(&path).expect("the log");
    let second = bytes.iter().position(|&byte| byte == b'\n').expect("a line") + 40;
    bytes[second] ^= 1;
    std::fs::write(&path, bytes).expect("write");
    let test = test.reopen();
    assert_eq!(test.store.image_list().len(), 4, "what is on disk is found");
    let names: Vec<String> =
        test.store.image_list().iter().flat_map(|image| &image.tags).map(|name| name.familiar()).collect();
    assert_eq!(names, ["app:0"], "what the log says before");
    assert_eq!(test.store.troubles().len(), 1, "{:?}", test.store.troubles());
    let test = test.reopen();
    assert_eq!(test.store.image_list().len(), 4);
    assert_eq!(test.store.troubles().len(), 1, "it is told until the file goes: {:?}", test.store.troubles());
}

/// Changes one byte of a blob, as a failing disk does.
fn damage(test: &TestStore, digest: &Digest) -> Digest {
    let path = test.root().join("blobs/sha256").join(digest.hex());
    let mut bytes = std::fs::read(&path).expect("the blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).expect("write");
    Digest::sha256_of(&bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_damaged_as_it_came_does_not_go_out() {
    let (from, to) = (Registry::start(&Setup::default()), Registry::start(&Setup::default()));
    let (lower, upper) = archives("a");
    let made = image(&oci::Platform::host().to_string(), &[&lower, &upper]);
    let remote = Remote::new(from.address, "app");
    made.put(&remote).await;
    remote.manifest_put("1", &made.manifest).await;
    let test = TestStore::new();
    let (name, other) = (from.image("app:1"), to.image("app:1"));
    pull(&test.store, &name).await;
    test.store.image_tag(&name.to_string(), &other).expect("tag");
    let damaged = damage(&test, made.layers[1].digest());
    let (digest, words) = push(&test.store, &other).await;
    let said = format!("{} is damaged here as it came", made.layers[1].digest());
    assert!(words.contains(&said), "{words}");
    let there = Remote::new(to.address, "app");
    assert!(!there.has_blob(&damaged).await, "the registry has the damaged content");
    assert!(there.has_blob(made.layers[0].digest()).await, "what is whole goes out as it came");
    // One manifest has types of one kind.
    let sent = there.manifest("1").await.expect("the manifest");
    let sent: oci::Manifest = serde_json::from_slice(&sent).expect("a manifest");
    let types: Vec<&str> = sent.layers.iter().map(|layer| layer.media_type.as_str()).collect();
    assert_eq!(types, [oci::media_type::DOCKER_LAYER_GZIP; 2]);
    assert_eq!(sent.config.media_type, oci::media_type::DOCKER_CONFIG);
    // It is missed from now on, and the image goes out as it went.
    assert!(!test.names("blobs/sha256").contains(&made.layers[1].digest().hex().to_owned()));
    let (again, words) = push(&test.store, &other).await;
    assert_eq!((again, words.contains("damaged")), (digest, false), "{words}");
    let third = TestStore::new();
    pull(&third.store, &other).await;
    assert_eq!(third.store.image_get(&other.to_string()).expect("pulled").id.0, *made.config.digest());
    third.store.image_save(&[other.to_string()], std::io::sink()).expect("it is whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_of_an_index_does_not_go_out() {
    let (from, to) = (Registry::start(&Setup::default()), Registry::start(&Setup::default()));
    let (here, about, _) = with_provenance(&from).await;
    let test = TestStore::new();
    let (name, other) = (from.image("app:1"), to.image("app:1"));
    pull(&test.store, &name).await;
    test.store.image_tag(&name.to_string(), &other).expect("tag");
    let damaged = damage(&test, about.layers[0].digest());
    let (digest, words) = push(&test.store, &other).await;
    assert_eq!(digest, *here.manifest.digest());
    assert!(words.contains("Not all multiplatform-content is present"), "{words}");
    assert!(!Remote::new(to.address, "app").has_blob(&damaged).await);
}

#[test]
fn a_layer_that_is_damaged_as_it_came_is_not_saved_and_made_again_the_next_time() {
    let (lower, upper) = archives("a");
    let made = image(&oci::Platform::host().to_string(), &[&lower, &upper]);
    let archive = layout(&[(&made.manifest, "docker.io/library/app:1")], &made.contents());
    let test = TestStore::new();
    load(&test.store, &archive).expect("load");
    damage(&test, made.layers[0].digest());
    let names = ["app:1".to_owned()];
    test.store.image_save(&names, std::io::sink()).expect_err("it is damaged");
    let mut saved = Vec::new();
    test.store.image_save(&names, &mut saved).expect("it is put together");
    let other = TestStore::new();
    load(&other.store, &saved).expect("load what was saved");
    assert_eq!(other.store.image_get("app:1").expect("loaded").id.0, *made.config.digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_an_image_is_found_by_but_not_called_removes_nothing() {
    let registry = Registry::start(&Setup::default());
    let remote = Remote::new(registry.address, "app");
    let (here, _, _, index) = platforms_at(&remote).await;
    let test = TestStore::new();
    let name = registry.image("app:1");
    pull(&test.store, &name).await;
    test.store.image_tag(&name.to_string(), &reference("mine:1")).expect("tag");
    let force = RemoveOptions { force: true, ..RemoveOptions::default() };
    for digest in [here.manifest.digest(), index.digest()] {
        // Neither what lies in the index, nor a name in another repository is one of its names.
        let of = if digest == index.digest() { reference("mine:1") } else { name.clone() };
        let text = of.with_digest(digest.clone()).to_string();
        assert_eq!(test.store.image_get(&text).expect("it is found").id.0, *here.config.digest());
        for options in [&RemoveOptions::default(), &force] {
            let error = test.store.image_remove(&text, options).expect_err("no name of it");
            assert_eq!(error.kind(), Kind::Conflict);
            let shown = base::error::chain(&error).to_string();
            assert!(shown.contains("remove it by one of its names, or by its id"), "{shown}");
        }
    }
    let image = test.store.image_get("mine:1").expect("the image");
    assert_eq!((image.tags.len(), image.digests.len()), (2, 1));
    // One that is its name goes, and nothing else.
    let by_digest = name.with_digest(index.digest().clone());
    let removed = test.store.image_remove(&by_digest.to_string(), &RemoveOptions::default()).expect("untag");
    assert_eq!(removed, [image::Removal::Untagged(by_digest)]);
    assert_eq!(test.store.image_get("mine:1").expect("the image").tags.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_beside_an_image_is_whole_again_when_it_comes_again() {
    let registry = Registry::start(&Setup::default());
    let remote = Remote::new(registry.address, "app");
    let (here, elsewhere, about, index) = platforms_at(&remote).await;
    let mut contents = vec![index.clone()];
    for made in [&here, &elsewhere, &about] {
        contents.extend(made.contents());
    }
    let archive = layout(&[(&index, "docker.io/library/app:1")], &contents);
    let is_whole = |test: &TestStore, content: &Content| {
        let path = test.root().join("blobs/sha256").join(content.digest().hex());
        std::fs::read(path).expect("the blob") == content.bytes
    };
    let name = registry.image("app:1");
    for hurt in [&elsewhere.layers[0], &about.layers[0], &about.manifest] {
        let test = TestStore::new();
        load(&test.store, &archive).expect("load");
        damage(&test, hurt.digest());
        load(&test.store, &archive).expect("load again");
        assert!(is_whole(&test, hurt), "loaded: {}", hurt.digest());
    }
    for hurt in [&about.layers[0], &about.manifest, &here.manifest] {
        let test = TestStore::new();
        pull(&test.store, &name).await;
        damage(&test, hurt.digest());
        pull(&test.store, &name).await;
        assert!(is_whole(&test, hurt), "pulled: {}", hurt.digest());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_comes_again_in_the_form_that_was_lost() {
    let (from, to) = (Registry::start(&Setup::default()), Registry::start(&Setup::default()));
    let (lower, upper) = archives("a");
    let made = image(&oci::Platform::host().to_string(), &[&lower, &upper]);
    let remote = Remote::new(from.address, "app");
    made.put(&remote).await;
    remote.manifest_put("1", &made.manifest).await;
    let test = TestStore::new();
    let name = from.image("app:1");
    pull(&test.store, &name).await;
    let lost = test.root().join("blobs/sha256").join(made.layers[0].digest().hex());
    std::fs::remove_file(&lost).expect("it was kept");
    pull(&test.store, &name).await;
    assert!(lost.exists());
    let other = to.image("app:1");
    test.store.image_tag(&name.to_string(), &other).expect("tag");
    assert_eq!(push(&test.store, &other).await.0, *made.manifest.digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_tag_of_an_image_leaves_its_digests_in_other_repositories() {
    let registry = Registry::start(&Setup::default());
    let (lower, upper) = archives("a");
    let made = image(&oci::Platform::host().to_string(), &[&lower, &upper]);
    let remote = Remote::new(registry.address, "app");
    made.put(&remote).await;
    remote.manifest_put("1", &made.manifest).await;
    let test = TestStore::new();
    let (name, other) = (registry.image("app:1"), registry.image("other:1"));
    pull(&test.store, &name).await;
    test.store.image_tag(&name.to_string(), &other).expect("tag");
    push(&test.store, &other).await;
    let by_digest = |name: &Reference| name.with_digest(made.manifest.digest().clone());
    let remove = |name: &Reference| {
        let removed = test.store.image_remove(&name.to_string(), &RemoveOptions::default()).expect("remove");
        removed.len()
    };
    // The name with the digest goes with the last tag of its own repository only.
    test.store.image_remove(&by_digest(&other).to_string(), &RemoveOptions::default()).expect("untag");
    push(&test.store, &other).await;
    assert_eq!(remove(&name), 2);
    let found = test.store.image_get(&other.to_string()).expect("it is there");
    assert_eq!((found.tags, found.digests), (vec![other.clone()], vec![by_digest(&other)]));
    pull(&test.store, &by_digest(&name)).await;
    assert_eq!(remove(&other), 2);
    let left = test.store.image_get(&by_digest(&name).to_string()).expect("it has a name still");
    assert!(left.tags.is_empty());
    assert_eq!(left.digests, [by_digest(&name)]);
    assert_eq!(remove(&by_digest(&name)), 2);
    assert!(test.store.image_list().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_for_the_platforms_that_it_or_its_index_says() {
    let registry = Registry::start(&Setup::default());
    let (lower, _) = archives("a");
    let wrong = image("linux/s390x", &[&lower]);
    let listed = Content::new(&wrong.manifest.at.media_type, wrong.manifest.bytes.clone())
        .on(&oci::Platform::host().to_string());
    let remote = Remote::new(registry.address, "app");
    wrong.put(&remote).await;
    remote.manifest_put("list", &index(&[&listed])).await;
    remote.manifest_put("alone", &wrong.manifest).await;
    let fits = async |tag: &str, platform: &str| {
        let test = TestStore::new();
        let name = registry.image(&format!("app:{tag}"));
        pull(&test.store, &name).await;
        let image = test.store.image_get(&name.to_string()).expect("pulled");
        test.store.image_fits(&image, &platform.parse().expect(platform))
    };
    assert!(fits("list", &oci::Platform::host().to_string()).await);
    assert!(!fits("alone", &oci::Platform::host().to_string()).await);
    assert!(fits("alone", "linux/s390x").await);
}

#[test]
fn an_archive_has_an_image_for_the_platform_that_is_wanted() {
    let (here, elsewhere, _, index) = platforms();
    let contents: Vec<Content> = here.contents().into_iter().chain(elsewhere.contents()).collect();
    let archive = layout(&[(&index, "app:1")], &[contents, vec![index.clone()]].concat());
    let loaded = |platform: &str| {
        let test = TestStore::new();
        let platform = platform.parse().expect(platform);
        let loaded = test.store.image_load_for(&archive[..], &platform, &Progress::none()).expect("load");
        loaded.into_iter().map(|loaded| loaded.id.0).collect::<Vec<_>>()
    };
    assert_eq!(loaded("linux/s390x"), [elsewhere.config.digest().clone()]);
    assert_eq!(loaded(&oci::Platform::host().to_string()), [here.config.digest().clone()]);
    assert!(loaded("linux/mips64").is_empty());
}

#[test]
fn layouts_of_several_makers_are_understood() {
    let (here, elsewhere, about, index) = platforms();
    let all = |made: &[&Made]| -> Vec<Content> { made.iter().flat_map(|made| made.contents()).collect() };
    let id = here.config.digest().to_string();
    let check = |archive: Vec<u8>, names: &[&str]| {
        let test = TestStore::new();
        let loaded = test.store.image_load(&archive[..], &Progress::none()).expect("load");
        let ids: Vec<String> = loaded.iter().map(|loaded| loaded.id.to_string()).collect();
        assert_eq!(ids, std::slice::from_ref(&id));
        let said: Vec<String> =
            loaded.iter().flat_map(|loaded| &loaded.names).map(|name| name.familiar()).collect();
        assert_eq!(said, names);
    };
    // A bare tag and no name at all name nothing.
    let by_specification = "org.opencontainers.image.ref.name";
    let cases: [(&str, &[&str]); 3] =
        [("latest", &[]), ("Not A Name: ever", &[]), ("example.org/app:1", &["example.org/app:1"])];
    for (name, names) in cases {
        check(layout_by(by_specification, &[(&here.manifest, name)], &here.contents()), names);
    }
    // All platforms beside each other, whichever comes first, and what is said about one.
    let both = all(&[&here, &elsewhere, &about]);
    let (one, other) = ((&here.manifest, "app:1"), (&elsewhere.manifest, "app:1"));
    check(layout(&[one, other, (&about.manifest, "app:1")], &both), &["app:1"]);
    check(layout(&[other, one], &both), &["app:1"]);
    // Indexes in indexes.
    let outer = support_remote::index(&[&index]);
    check(
        layout(&[(&outer, "app:2")], &[both.clone(), vec![index.clone(), outer.clone()]].concat()),
        &["app:2"],
    );
    // Of an index only one platform's files are there, though the documents of all are.
    let contents = [here.contents(), vec![elsewhere.manifest.clone(), index.clone()]].concat();
    check(layout(&[(&index, "app:3")], &contents), &["app:3"]);
    let foreign = [elsewhere.contents(), vec![here.manifest.clone(), index.clone()]].concat();
    let archive = layout(&[(&index, "app:4")], &foreign);
    let test = TestStore::new();
    let loaded = test.store.image_load(&archive[..], &Progress::none()).expect("load");
    assert_eq!(loaded[0].id.0, *elsewhere.config.digest());
}
