//! What archives, registries and containers may not make of a little: memory, disk, hours.

mod support;
#[path = "support/registry.rs"]
mod support_registry;

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use base::cancel::Cancel;
use image::registry::{Client, Config, Credentials};
use image::{Kind, LayerError, Progress, PullOptions};
use oci::{ContainerConfig, Digest};
use support::{Archive, TestStore, config_of, docker_archive, reference};
use tar::EntryType;

/// An archive that comes piece by piece, as it would not fit into memory well.
struct Pieces<I> {
    pieces: I,
    current: io::Cursor<Vec<u8>>,
}

impl<I: Iterator<Item = Vec<u8>>> Read for Pieces<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let got = self.current.read(buffer)?;
            if got > 0 {
                return Ok(got);
            }
            match self.pieces.next() {
                Some(piece) => self.current = io::Cursor::new(piece),
                None => return Ok(0),
            }
        }
    }
}

fn pieces(pieces: impl Iterator<Item = Vec<u8>>) -> impl Read {
    Pieces { pieces, current: io::Cursor::default() }
}

/// That a layer is refused with this complaint before the archive is at its end, and leaves nothing.
#[track_caller]
fn check_refused(archive: impl Read + Send, complaint: &str) {
    let test = TestStore::new();
    let mut archive = archive;
    let error = test.store.layer_unpack(None, &mut archive).expect_err("too much");
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    let shown = base::error::chain(&error).to_string();
    assert!(shown.contains(complaint), "`{shown}` does not say `{complaint}`");
    assert!(archive.read(&mut [0]).expect("read on") > 0, "all of it was read");
    assert_eq!(test.names("layers"), [""; 0]);
}

#[test]
fn links_to_files_of_other_layers_are_not_remembered_without_end() {
    let links = (0..u32::MAX).map(|n| {
        let (link, target) = (format!("{n:099}"), format!("no/{n:096}"));
        Archive::new().link(&link, &target).unfinished()
    });
    check_refused(pieces(links), "more than 16777216 bytes of hard links to files of other layers");
}

#[test]
fn directories_are_not_remembered_without_end() {
    let deep = format!("{}/", "d".repeat(240)).repeat(16);
    let directories = (0..u32::MAX).map(|n| {
        let path = format!("{deep}{n}/");
        Archive::new().pax(&[("path", path.as_bytes())]).dir("d/", 0o755).unfinished()
    });
    check_refused(pieces(directories), "more than 33554432 bytes of paths of directories");
}

#[test]
fn outside_of_layers_a_link_needs_its_file() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let place = std::fs::File::open(directory.path()).expect("open");
    let archive = Archive::new().link("a", "no/such").finish();
    let error =
        image::unpack_files(&archive[..], std::os::fd::AsFd::as_fd(&place)).expect_err("nothing to link");
    assert!(matches!(error, LayerError::LinkTarget { .. }), "{error}");
}

/// A sparse file in GNU's old format: one byte at `offset`, and nothing else.
fn sparse(name: &str, offset: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).expect("a short name");
    header.set_entry_type(EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_size(1);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    // Numbers that do not fit in octal are binary, with the highest bit set.
    let number = |number: u64| {
        let mut field = [0; 12];
        field[4..].copy_from_slice(&number.to_be_bytes());
        field[0] = 0x80;
        field
    };
    let gnu = header.as_gnu_mut().expect("a GNU header");
    gnu.sparse[0].offset = number(offset);
    gnu.sparse[0].numbytes = number(1);
    gnu.realsize = number(offset + 1);
    header.set_cksum();
    [&header.as_bytes()[..], b"x", &[0; 511]].concat()
}

/// Of a layer they are taken, as files in it; as the layer itself, or a document, they would be read with their holes.
#[test]
fn an_archive_of_images_with_a_sparse_member_is_refused() {
    let test = TestStore::new();
    let layer = Archive::new().file("f", b"x").finish();
    let rest = docker_archive("app:1", &[&layer]);
    let called = format!("blobs/sha256/{}", "a".repeat(64));
    let pax = Archive::new().pax(&[
        ("GNU.sparse.major", b"0"),
        ("GNU.sparse.minor", b"1"),
        ("GNU.sparse.name", b"pax.tar"),
        ("GNU.sparse.size", b"1048577"),
        ("GNU.sparse.map", b"1048576,1"),
    ]);
    let pax = pax.file("GNUSparseFile.0/pax.tar", b"x").unfinished();
    let (small, huge) = (sparse("small", 100), sparse(&called, 1 << 40));
    for (name, member) in [("small", small), (called.as_str(), huge), ("pax.tar", pax)] {
        let archive = [&member[..], &rest].concat();
        let error = test.store.image_load(&archive[..], &Progress::none()).expect_err("sparse");
        assert_eq!(error.kind(), Kind::Invalid);
        let said = base::error::chain(&error).to_string();
        assert!(said.contains(&format!("`{name}` is a sparse file, which is not supported")), "{said}");
    }
    test.wait_until_clean();
    test.store.image_load(&rest[..], &Progress::none()).expect("without them");
}

#[test]
fn sparse_files_stay_sparse_and_come_out_as_they_went_in() {
    const FAR: u64 = 64 << 20;
    let test = TestStore::new();
    let zeros = vec![0; 8 << 20];
    let mut map = format!("1\n{FAR}\n1\n").into_bytes();
    map.resize(512, 0);
    map.push(b'x');
    let length = (FAR + 1).to_string();
    let pax = Archive::new().pax(&[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"pax"),
        ("GNU.sparse.realsize", length.as_bytes()),
    ]);
    let pax = pax.file("GNUSparseFile.0/pax", &map).unfinished();
    let archive = [sparse("sparse", FAR), pax, Archive::new().file("zeros", &zeros).finish()].concat();
    let image = test.import(&archive, "x");
    let layer = test.root().join("diffs").join(&test.names("diffs")[0]).join("fs");
    for (name, length) in [("sparse", FAR + 1), ("pax", FAR + 1), ("zeros", zeros.len() as u64)] {
        let metadata = std::fs::metadata(layer.join(name)).expect("stat");
        assert_eq!(metadata.len(), length);
        assert!(metadata.blocks() * 512 < 1 << 20, "{name} takes {} blocks", metadata.blocks());
    }
    for name in ["sparse", "pax"] {
        let content = std::fs::read(layer.join(name)).expect("read");
        assert_eq!(content.iter().position(|&byte| byte != 0), Some(FAR as usize), "{name}");
        assert_eq!(content[FAR as usize], b'x');
    }
    assert_eq!(image.config.rootfs.diff_ids, [Digest::sha256_of(&archive)]);
    // Puts the archive together again and checks its digest.
    test.store.image_save(&["x".into()], io::sink()).expect("save");
}

#[test]
fn holes_that_no_disk_could_have_are_refused() {
    let rest = std::iter::repeat_n(vec![0; 512], 1 << 16);
    check_refused(
        pieces([sparse("huge", 1 << 50)].into_iter().chain(rest)),
        "holes are larger than the file system",
    );
    let rest = std::iter::repeat_n(vec![0; 512], 1 << 16);
    let map = Archive::new()
        .pax(&[("GNU.sparse.size", b"1125899906842624"), ("GNU.sparse.map", b"0,1")])
        .file("x", b"x")
        .unfinished();
    check_refused(pieces([map].into_iter().chain(rest)), "holes are larger than the file system");
}

/// A small file system of its own.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size: &str) -> Self {
        testkit::require_root();
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(directory.path());
        assert!(mount.status().expect("run mount").success(), "mount a small disk");
        Self(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn what_is_unpacked_leaves_room_for_everything_else() {
    let disk = SmallDisk::new("64m");
    let store = image::Store::open(&disk.0.path().join("image")).expect("open the store");
    // A few kilobytes that become 200 MiB.
    let ones = vec![1; 1 << 20];
    let files = (0..200).map(|n| Archive::new().file(&format!("f{n}"), &ones).unfinished());
    let mut bomb = Vec::new();
    let end = std::iter::once(vec![0; 1024]);
    flate2::read::GzEncoder::new(pieces(files.chain(end)), flate2::Compression::best())
        .read_to_end(&mut bomb)
        .expect("compress");
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    let full = |error: LayerError| {
        assert_eq!(error.kind(), Kind::NoSpace, "{error}");
        let shown = base::error::chain(&error).to_string();
        assert!(
            shown.contains("No space left on device: the last 1 MiB of the file system are kept free"),
            "{shown}"
        );
    };
    full(store.layer_unpack(None, &bomb[..]).expect_err("it does not fit"));
    let scratch = store.scratch().expect("a scratch directory");
    let place = std::fs::File::open(scratch.path()).expect("open");
    full(image::unpack_files(&bomb[..], std::os::fd::AsFd::as_fd(&place)).expect_err("it does not fit"));
    let left = rustix::fs::statvfs(disk.0.path()).expect("statvfs");
    assert!(left.f_bavail * left.f_frsize > 1 << 20, "the reserve was used: {} blocks", left.f_bavail);
}

/// A container's snapshot in which there is a file with nothing in it, so many bytes long.
fn with_hole(test: &TestStore, length: impl FnOnce(u64) -> u64) {
    let layer = test.store.layer_unpack(None, &Archive::new().file("a", b"a").finish()[..]).expect("unpack");
    let snapshot = test.store.snapshot_create_on("c", Some(layer.chain_id())).expect("snapshot");
    let disk = rustix::fs::statvfs(&snapshot.upper).expect("statvfs");
    let file = std::fs::File::create(snapshot.upper.join("hole")).expect("create");
    file.set_len(length(disk.f_blocks * disk.f_frsize)).expect("make it long");
}

#[test]
fn holes_larger_than_the_disk_do_not_become_a_layer() {
    let test = TestStore::new();
    with_hole(&test, |disk| disk * 2);
    let cancel = Cancel::default();
    let captured = test.store.snapshot_capture("c", &cancel);
    let sealed = test.store.snapshot_seal("c", &cancel).map(|_| ());
    for outcome in [captured.map(drop), sealed] {
        let error = outcome.expect_err("hours of zeros");
        assert_eq!(error.kind(), Kind::Invalid);
        let shown = base::error::chain(&error).to_string();
        assert!(
            shown.contains("file `hole` has ") && shown.contains("more than the file system is large"),
            "{shown}"
        );
    }
    test.wait_until_clean();
}

#[test]
fn nobody_reads_on_for_whom_nobody_waits() {
    let test = TestStore::new();
    // Minutes of zeros, if they were read.
    with_hole(&test, |disk| disk / 2);
    let cancel = Cancel::default();
    cancel.set();
    let captured = test.store.snapshot_capture("c", &cancel);
    let sealed = test.store.snapshot_seal("c", &cancel).map(|_| ());
    for outcome in [captured.map(drop), sealed] {
        let shown = base::error::chain(&outcome.expect_err("it was given up")).to_string();
        assert!(shown.contains("nobody waits for it any more"), "{shown}");
    }
    test.wait_until_clean();
}

#[test]
fn an_image_archive_is_not_remembered_without_end() {
    let test = TestStore::new();
    let target = "t/".repeat(2000);
    let links = (0..u32::MAX).map(|n| {
        let record = Archive::new().pax(&[("linkpath", target.as_bytes())]);
        record.symlink(&n.to_string(), "x").unfinished()
    });
    let empty = (0..u32::MAX).map(|n| Archive::new().file(&n.to_string(), b"").unfinished());
    let archives: [Box<dyn Read + Send>; 2] = [Box::new(pieces(links)), Box::new(pieces(empty))];
    for archive in archives {
        let error = test.store.image_load(archive, &Progress::none()).expect_err("too much");
        let shown = base::error::chain(&error).to_string();
        assert!(shown.contains("its documents are larger than 67108864 bytes together"), "{shown}");
    }
}

#[test]
fn one_document_is_not_read_again_for_each_image() {
    let test = TestStore::new();
    let mut config = config_of(&[]);
    config.config.labels = [("l".to_owned(), "x".repeat(4 << 20))].into();
    let entries = vec![r#"{"Config":"c.json","Layers":[]}"#; 100].join(",");
    let archive = Archive::new()
        .file("c.json", &config.to_bytes())
        .file("manifest.json", format!("[{entries}]").as_bytes())
        .finish();
    let error = test.store.image_load(&archive[..], &Progress::none()).expect_err("too much");
    let shown = base::error::chain(&error).to_string();
    assert!(shown.contains("its documents are larger than 67108864 bytes together"), "{shown}");
}

#[test]
fn an_image_takes_no_more_than_it_is_given() {
    let test = TestStore::new();
    let excessive = ContainerConfig {
        volumes: (0..257).map(|n| format!("/v{n}")).collect(),
        ..ContainerConfig::default()
    };
    let complaint = "the image has 257 volumes, and at most 256 are taken";

    let mut config = config_of(&[]);
    config.config = excessive.clone();
    let archive = Archive::new()
        .file("c.json", &config.to_bytes())
        .file("manifest.json", br#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":[]}]"#)
        .finish();
    let error = test.store.image_load(&archive[..], &Progress::none()).expect_err("load");
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(base::error::chain(&error).to_string().contains(complaint), "{error}");

    let options = image::ImportOptions { config: excessive.clone(), ..image::ImportOptions::default() };
    let layer = Archive::new().file("a", b"a").finish();
    let error = test.store.image_import(&layer[..], options).expect_err("import");
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Invalid, complaint));

    let new = |config| image::NewImage::on(None, config, base::Timestamp::UNIX_EPOCH, "");
    let error = test.store.image_create_step(new(excessive)).expect_err("build");
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Invalid, complaint));

    // Each step writes down those before it.
    let mut long = config_of(&[]);
    long.history =
        vec![oci::History { empty_layer: true, ..oci::History::default() }; oci::limits::HISTORY_MAX];
    let archive = Archive::new()
        .file("c.json", &long.to_bytes())
        .file("manifest.json", br#"[{"Config":"c.json","RepoTags":["long:1"],"Layers":[]}]"#)
        .finish();
    load_names(&test, &archive);
    let parent = Some(test.store.image_get("long:1").expect("it was loaded").id);
    let error = test.store.image_create_step(image::NewImage { parent, ..new(ContainerConfig::default()) });
    let error = error.expect_err("one too many").to_string();
    assert_eq!(error, "the image has 1001 steps in its history, and at most 1000 are taken");
    assert!(load_names(&test, &docker_archive("ok:1", &[&layer])).contains(&reference("ok:1").to_string()));
}

fn load_names(test: &TestStore, archive: &[u8]) -> Vec<String> {
    let loaded = test.store.image_load(archive, &Progress::none()).expect("load");
    loaded.iter().flat_map(|image| &image.names).map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_does_not_make_an_image_of_any_number_of_layers() {
    let test = TestStore::new();
    let layer = oci::Descriptor::of(oci::media_type::OCI_LAYER, b"x");
    let config = oci::Descriptor::of(oci::media_type::OCI_CONFIG, b"{}");
    let layers = vec![serde_json::to_string(&layer).expect("prints"); 128].join(",");
    let config = serde_json::to_string(&config).expect("prints");
    let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#);
    let address = support_registry::answering_front(move |_| (String::new(), manifest.clone())).await;
    let client = Client::new(Config::default()).expect("client");
    let name = reference(&format!("{address}/app:1"));
    let pulled = test.store.image_pull(&client, &name, &PullOptions::default(), &Progress::none()).await;
    let error = pulled.expect_err("too many");
    assert_eq!(error.kind(), Kind::Invalid);
    let shown = base::error::chain(&error).to_string();
    assert!(shown.contains("the image has 128 layers, and at most 127 are taken"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_does_not_list_tags_for_ever() {
    let page = |length: usize, count: usize| {
        let tags = vec![format!("\"{}\"", "t".repeat(length)); count].join(",");
        (
            "Link: </v2/app/tags/list?n=1000&last=x>; rel=\"next\"\r\n".to_owned(),
            format!(r#"{{"tags":[{tags}]}}"#),
        )
    };
    for (length, count) in [(1, 1000), (1 << 20, 4)] {
        let page = page(length, count);
        let address = support_registry::answering_front(move |_| page.clone()).await;
        let client = Client::new(Config::default()).expect("client");
        let listed = client.tags(&reference(&format!("{address}/app")), &Credentials::Anonymous).await;
        let error = listed.expect_err("there is no end").to_string();
        assert!(error.contains("longer than 100000 tags or 16777216 bytes"), "{error}");
    }
}

/// Writes until nothing more fits.
fn fill(disk: &SmallDisk) {
    let mut file = std::fs::OpenOptions::new();
    let file = file.create(true).append(true).open(disk.0.path().join("ballast"));
    let mut file = file.expect("create");
    for size in [1 << 16, 1 << 12, 1] {
        while io::Write::write(&mut file, &vec![1; size]).is_ok_and(|written| written > 0) {}
    }
}

#[test]
fn on_a_full_disk_names_can_be_removed_however_many_there_are() {
    let disk = SmallDisk::new("16m");
    let root = disk.0.path().join("image");
    let open = || {
        testkit::wait_until("the store's lock", || match image::Store::open(&root) {
            Err(image::OpenError::Locked(path)) => Err(path),
            opened => Ok(opened.expect("open the store")),
        })
    };
    let name = |number: usize| format!("{}:{}{number:04}", ["path"; 40].join("/"), "t".repeat(100));
    let names = |store: &image::Store| store.image_get("app:1").expect("the image").tags.len();
    let store = open();
    let options = image::ImportOptions { name: Some(reference("app:1")), ..image::ImportOptions::default() };
    store.image_import(&Archive::new().file("a", b"a").finish()[..], options).expect("import");
    for number in 0..1000 {
        store.image_tag("app:1", &reference(&name(number))).expect("tag");
    }
    let remove = |store: &image::Store, number: usize| {
        let removed = store.image_remove(&name(number), &image::RemoveOptions::default());
        assert_eq!(removed.expect("remove a name"), [image::Removal::Untagged(reference(&name(number)))]);
    };
    fill(&disk);
    // The last of the log's own block goes first.
    let refused = (1000..1100).find_map(|number| store.image_tag("app:1", &reference(&name(number))).err());
    let refused = refused.expect("the disk is full");
    assert_eq!(refused.kind(), Kind::NoSpace);
    let named = names(&store);
    for number in 0..3 {
        remove(&store, number);
        fill(&disk);
    }
    assert_eq!(names(&store), named - 3);
    drop(store);
    // The first change after a restart is the whole list.
    let store = open();
    assert_eq!(names(&store), named - 3);
    remove(&store, 3);
    drop(store);
    assert_eq!(names(&open()), named - 4);
}
