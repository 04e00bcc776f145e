//! The extractor: what layers may hold, what they may not, and what containers then see.

mod support;

use std::os::unix::fs::MetadataExt;

use base::cancel::Cancel;
use image::{ChangeKind, Layer, LayerError};
use support::{Archive, TestStore, in_container};
use tar::EntryType;

/// Unpacks layers one on top of the other; gives the topmost.
fn stack(test: &TestStore, layers: &[Vec<u8>]) -> Layer {
    let mut top: Option<Layer> = None;
    for archive in layers {
        let below = top.as_ref().map(|layer| layer.chain_id().clone());
        top = Some(test.store.layer_unpack(below.as_ref(), &archive[..]).expect("unpack a layer"));
    }
    top.expect("at least one layer")
}

/// What a script prints in a container over these layers.
#[track_caller]
fn check(layers: &[Vec<u8>], script: &str, expected: &str) {
    let test = TestStore::new();
    let top = stack(&test, layers);
    let snapshot = test.store.snapshot_create_on("c", Some(top.chain_id())).expect("snapshot");
    assert_eq!(in_container(&snapshot, script), expected);
}

/// Unpacks a hostile layer: what the complaint is, that nothing was written outside, and that
/// nothing stays behind.
#[track_caller]
fn check_refused(archive: Vec<u8>, complaint: &str) {
    let test = TestStore::new();
    let outside = test.dir.path().join("outside");
    std::fs::write(&outside, "untouched").expect("a file outside");
    let error = test.store.layer_unpack(None, &archive[..]).expect_err("a hostile layer");
    let shown = base::error::chain(&error).to_string();
    assert!(shown.contains(complaint), "`{shown}` does not say `{complaint}`");
    test.wait_until_clean();
    assert_eq!(test.names("layers"), [""; 0]);
    assert_eq!(std::fs::read_to_string(&outside).expect("still there"), "untouched");
    assert_eq!(support::names(test.dir.path()), ["image", "outside"]);
}

#[test]
fn whiteouts_hide_what_is_below_and_only_that() {
    let base = Archive::new().dir("d/", 0o755).file("d/a", b"a").file("d/b", b"b").file("e", b"e").finish();
    let hide = Archive::new().file("d/.wh.a", b"").file(".wh.e", b"").finish();
    check(&[base.clone(), hide], "find d e 2>/dev/null | sort; true", "d\nd/b");
    let opaque = Archive::new().dir("d/", 0o755).file("d/.wh..wh..opq", b"").file("d/c", b"c").finish();
    check(&[base.clone(), opaque], "ls d", "c");
    let replaced = Archive::new().file(".wh.d", b"").dir("d/", 0o755).file("d/new", b"n").finish();
    check(&[base.clone(), replaced], "ls d", "new");
    let same_layer = Archive::new().file("d/a", b"new").file("d/.wh.a", b"").finish();
    check(&[base, same_layer], "cat d/a", "new");
}

#[test]
fn attributes_survive() {
    let layer = Archive::new()
        .entry(EntryType::Regular, "setuid", "", b"x", |header| {
            header.set_mode(0o4755);
            header.set_uid(1000);
            header.set_gid(50);
        })
        .pax(&[
            ("SCHILY.xattr.user.note", b"kept"),
            ("mtime", b"1500000000.25"),
            ("path", "long/näme".as_bytes()),
        ])
        .file("ignored", b"y")
        .dir("sticky/", 0o1777)
        .entry(EntryType::Char, "null", "", b"", |header| {
            header.set_device_major(1).expect("ustar");
            header.set_device_minor(3).expect("ustar");
        })
        .entry(EntryType::Fifo, "pipe", "", b"", |_| {})
        .finish();
    let script = "stat -c '%n %a %u %g %Y %F' setuid long/näme sticky null pipe; getfattr --only-values -n user.note long/näme 2>/dev/null || true";
    check(
        &[layer],
        &format!("{script} | sed 's/^kept$//'"),
        "setuid 4755 1000 50 1700000000 regular file\nlong/näme 644 0 0 1500000000 regular file\nsticky 1777 0 0 1700000000 directory\nnull 644 0 0 1700000000 character special file\npipe 644 0 0 1700000000 fifo",
    );
}

#[test]
fn blank_numbers_are_zero() {
    let blank = |header: &mut tar::Header| {
        let fields = header.as_old_mut();
        (fields.uid, fields.gid, fields.mtime) = ([0; 8], [b' '; 8], [0; 12]);
    };
    let layer = Archive::new().entry(EntryType::Regular, "a", "", b"x", blank).finish();
    check(&[layer], "stat -c '%u %g %Y' a", "0 0 0");
}

#[test]
fn links_reach_what_is_in_the_layer_and_in_those_below() {
    let base = Archive::new().dir("usr/", 0o755).file("usr/tool", b"tool").symlink("bin", "usr").finish();
    check(
        &[base.clone(), Archive::new().link("usr/also", "usr/tool").finish()],
        "cat usr/also; stat -c %h usr/also",
        "tool2",
    );
    let through = Archive::new().symlink("bin", "usr").dir("usr/", 0o755).file("bin/x", b"x").finish();
    check(&[base.clone(), through], "ls -F usr; readlink bin", "tool\nx\nusr");
    let test = TestStore::new();
    let base = stack(&test, &[base]);
    let dangling = Archive::new().link("a", "no/such").finish();
    let error = test.store.layer_unpack(Some(base.chain_id()), &dangling[..]).expect_err("a dangling link");
    assert!(matches!(error, LayerError::LinkTarget { .. }), "{error}");
}

#[test]
fn directories_that_are_only_implied_look_like_those_below() {
    let base = Archive::new().dir("private/", 0o700).finish();
    check(
        &[base, Archive::new().file("private/x", b"").finish()],
        "stat -c '%a %Y' private",
        "700 1700000000",
    );
}

#[test]
fn later_entries_replace_earlier_ones_and_the_archive_is_still_whole() {
    let test = TestStore::new();
    let archive = Archive::new()
        .file("a", b"first")
        .file("a", b"second")
        .dir("d/", 0o755)
        .file("d/inner", b"inner")
        .symlink("d", "a")
        .file("l", b"linked")
        .link("l2", "l")
        .file("l", b"new")
        .dir("l2/", 0o755)
        .finish();
    let layer = stack(&test, &[archive]);
    let snapshot = test.store.snapshot_create_on("c", Some(layer.chain_id())).expect("snapshot");
    assert_eq!(in_container(&snapshot, "cat a d l; stat -c %F l2"), "secondsecondnewdirectory");
    let new = image::NewImage {
        layer: Some(layer),
        name: Some(support::reference("x")),
        ..image::NewImage::on(None, oci::ContainerConfig::default(), base::Timestamp::UNIX_EPOCH, "")
    };
    test.store.image_create(new).expect("create");
    // Saving puts the archive together again and checks its digest.
    test.store.image_save(&["x".into()], std::io::sink()).expect("save");
}

#[test]
fn names_that_lead_out_are_refused() {
    check_refused(Archive::new().file("../outside", b"x").finish(), "leaves the layer's root");
    check_refused(Archive::new().file("a/../../outside", b"x").finish(), "leaves the layer's root");
    // A target is looked for below the root, where it is not.
    check_refused(
        Archive::new().file("a", b"x").link("b", "../outside").finish(),
        "links to `outside`, which is not there",
    );
    check_refused(Archive::new().file(".wh...", b"").finish(), "leaves the layer's root");
    check_refused(Archive::new().dir("d/", 0o755).file("d/.wh..", b"").finish(), "leaves the layer's root");
    let device = Archive::new().entry(EntryType::new(b'Z'), "z", "", b"", |_| {}).finish();
    check_refused(device, "unsupported type 'Z'");
}

/// As Docker takes them; what is pulled or loaded is a layer, and refused as above.
#[test]
fn names_that_lead_out_of_somebody_s_own_archive_lead_to_its_root() {
    let test = TestStore::new();
    let archive = Archive::new()
        .file("../outside", b"one")
        .dir("d/", 0o755)
        .file("d/../../../e/inside", b"two")
        .symlink("../up", "../../..")
        .file("up/../../last", b"three")
        .link("../linked", "../../outside")
        .finish();
    let image = test.import(&archive, "own");
    let snapshot = test.store.snapshot_create("c", Some(&image.id)).expect("snapshot");
    let script = "cat outside e/inside last linked; readlink up";
    assert_eq!(in_container(&snapshot, script), "onetwothreeone../../..");
    // It goes out as it came.
    test.store.image_save(&["own".into()], std::io::sink()).expect("save");
    let plain = test.dir.path().join("a/b");
    std::fs::create_dir_all(&plain).expect("a directory");
    let place = std::fs::File::open(&plain).expect("open");
    image::unpack_files(&archive[..], std::os::fd::AsFd::as_fd(&place)).expect("unpack");
    assert_eq!(support::names(&plain), ["d", "e", "last", "linked", "outside", "up"]);
    assert_eq!(support::names(&test.dir.path().join("a")), ["b"]);
}

#[test]
fn links_are_followed_inside_the_root_only() {
    let test = TestStore::new();
    let outside = test.dir.path().join("outside");
    std::fs::create_dir(&outside).expect("a directory outside");
    let absolute = outside.display().to_string();
    let archive = Archive::new().symlink("out", &absolute).file("out/x", b"inside").finish();
    // The target does not exist inside, so there is nothing to write into.
    test.store.layer_unpack(None, &archive[..]).expect_err("a dangling directory");
    assert_eq!(support::names(&outside), [""; 0]);
    let archive =
        Archive::new().dir("real/", 0o755).symlink("out", "/real").file("out/x", b"inside").finish();
    let layer = test.store.layer_unpack(None, &archive[..]).expect("a link that stays inside");
    let snapshot = test.store.snapshot_create_on("c", Some(layer.chain_id())).expect("snapshot");
    assert_eq!(in_container(&snapshot, "cat real/x"), "inside");
}

#[test]
fn a_link_above_the_root_is_kept_as_it_is_and_never_followed_out() {
    let test = TestStore::new();
    let outside = test.dir.path().join("outside");
    std::fs::create_dir(&outside).expect("a directory outside");
    std::fs::write(outside.join("secret"), "secret").expect("write");
    // From wherever the layer is unpacked, this many reach the root of the host.
    let up = "../".repeat(40);
    let out = format!("{up}{}", &outside.display().to_string()[1..]);
    let through = Archive::new()
        .dir("d/", 0o755)
        .pax(&[("linkpath", out.as_bytes())])
        .symlink("d/out", "x")
        .symlink("d/root", "../..")
        .file("real", b"real")
        .link("d/linked", "../../real");
    let base = test.import(&through.finish(), "base");
    let chain = oci::Digest::chain(None, &base.config.rootfs.diff_ids[0]);
    let layer = test.store.layer_hold(&chain).expect("the layer");
    // Whatever goes through it goes below the root.
    let hostile = [
        Archive::new()
            .pax(&[("linkpath", out.as_bytes())])
            .symlink("out", "x")
            .file("out/made", b"x")
            .finish(),
        Archive::new()
            .pax(&[("linkpath", out.as_bytes())])
            .symlink("out", "x")
            .link("got", "out/secret")
            .finish(),
        Archive::new()
            .pax(&[("linkpath", out.as_bytes())])
            .symlink("out", "x")
            .file("out/.wh.secret", b"")
            .finish(),
    ];
    for (at, archive) in hostile.iter().enumerate() {
        let _ = test.store.layer_unpack(Some(layer.chain_id()), &archive[..]);
        let plain = tempfile::tempdir().expect("a directory");
        let place = std::fs::File::open(plain.path()).expect("open");
        let _ = image::unpack_files(&archive[..], std::os::fd::AsFd::as_fd(&place));
        assert_eq!(support::names(&outside), ["secret"], "{at}");
        let got = std::fs::symlink_metadata(plain.path().join("got"));
        assert!(got.is_err(), "{at}: a file of the host was linked to");
    }
    let snapshot = test.store.snapshot_create("c", Some(&base.id)).expect("snapshot");
    let script = "readlink d/out; readlink d/root; cat d/linked; ln -s ../../../../../.. above; mkdir new";
    assert_eq!(in_container(&snapshot, script), format!("{out}\n../..\nreal"));
    // And again when what a container wrote becomes a layer, and is saved.
    let committed = test.store.snapshot_capture("c", &Cancel::default()).expect("commit");
    let snapshot = test.store.snapshot_create_on("d", Some(committed.chain_id())).expect("snapshot");
    assert_eq!(
        in_container(&snapshot, "readlink above; readlink d/out"),
        format!("../../../../../..\n{out}")
    );
    let new = image::NewImage {
        layer: Some(committed),
        name: Some(support::reference("x")),
        ..image::NewImage::on(Some(base.id), oci::ContainerConfig::default(), base::Timestamp::UNIX_EPOCH, "")
    };
    test.store.image_create(new).expect("create");
    test.store.image_save(&["x".into()], std::io::sink()).expect("save");
    assert_eq!(std::fs::read_to_string(outside.join("secret")).expect("still there"), "secret");
}

#[test]
fn times_before_1970_are_kept_both_ways() {
    // As GNU tar writes them in its own format, and as everybody does in PAX headers.
    let binary = |header: &mut tar::Header| header.as_old_mut().mtime = [0xff; 12];
    let layer = Archive::new()
        .entry(EntryType::Regular, "binary", "", b"x", binary)
        .pax(&[("mtime", b"-86400.5")])
        .file("pax", b"x")
        .finish();
    let test = TestStore::new();
    let base = test.import(&layer, "base");
    let snapshot = test.store.snapshot_create("c", Some(&base.id)).expect("snapshot");
    let script = "stat -c %Y binary pax; touch -d @-100 made; mkdir d; touch -d @-200 d";
    assert_eq!(in_container(&snapshot, script), "-1\n-86401");
    let committed = test.store.snapshot_capture("c", &Cancel::default()).expect("commit");
    // Another store knows the layer by its archive only.
    let new = image::NewImage {
        layer: Some(committed),
        name: Some(support::reference("x")),
        ..image::NewImage::on(Some(base.id), oci::ContainerConfig::default(), base::Timestamp::UNIX_EPOCH, "")
    };
    test.store.image_create(new).expect("create");
    let mut saved = Vec::new();
    test.store.image_save(&["x".into()], &mut saved).expect("save");
    let other = TestStore::new();
    let loaded = other.store.image_load(&saved[..], &image::Progress::none()).expect("load");
    let snapshot = other.store.snapshot_create("c", Some(&loaded[0].id)).expect("snapshot");
    assert_eq!(in_container(&snapshot, "stat -c %Y binary pax made d"), "-1\n-86401\n-100\n-200");
}

#[test]
fn a_file_is_not_written_through_a_link_of_its_own_name() {
    let test = TestStore::new();
    let archive =
        Archive::new().file("target", b"old").symlink("name", "target").file("name", b"new").finish();
    let layer = test.store.layer_unpack(None, &archive[..]).expect("unpack");
    let snapshot = test.store.snapshot_create_on("c", Some(layer.chain_id())).expect("snapshot");
    assert_eq!(in_container(&snapshot, "cat target name"), "oldnew");
}

#[test]
fn overlayfs_attributes_of_an_archive_are_not_taken() {
    let archive = Archive::new()
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ])
        .dir("d/", 0o755)
        .finish();
    let base = Archive::new().dir("d/", 0o755).file("d/seen", b"").finish();
    check(&[base, archive], "ls d", "seen");
}

#[test]
fn archives_that_end_early_are_refused() {
    let whole = Archive::new().file("a", &[7; 5000]).finish();
    for len in [100, 600, 3000, 5500] {
        check_refused(whole[..len].to_vec(), "read layer archive");
    }
    check_refused(vec![b'x'; 5000], "read layer archive");
}

#[test]
fn what_a_container_changed_is_listed_captured_and_sealed() {
    let test = TestStore::new();
    let base =
        Archive::new().dir("d/", 0o755).file("d/keep", b"1").file("d/gone", b"2").file("f", b"3").finish();
    let base = stack(&test, &[base]);
    let snapshot = test.store.snapshot_create_on("c", Some(base.chain_id())).expect("snapshot");
    in_container(
        &snapshot,
        "rm d/gone; echo new > d/new; ln d/new d/twin; echo more >> f; rm -r d/keep; mkdir e; chmod 700 e; ln -s f s",
    );
    let changes = test.store.snapshot_changes("c").expect("changes");
    let listed: Vec<String> = changes
        .iter()
        .map(|change| format!("{} {}", ["C", "A", "D"][change.kind as usize], change.path.display()))
        .collect();
    assert_eq!(listed, ["C /d", "D /d/gone", "D /d/keep", "A /d/new", "A /d/twin", "A /e", "C /f", "A /s"]);
    assert_eq!(changes[0].kind, ChangeKind::Modified);
    assert_eq!(test.store.snapshot_size("c").expect("size"), 4 + 6 + 1);

    let captured = test.store.snapshot_capture("c", &Cancel::default()).expect("capture");
    let copy = test.store.snapshot_create_on("copy", Some(captured.chain_id())).expect("snapshot");
    let script = "find . -path ./dev -prune -o -path ./etc -prune -o -type f -links 2 -print | sort; cat f s; stat -c %a e; ls d";
    let expected = "./d/new\n./d/twin\n3more\n3more\n700\nnew\ntwin";
    assert_eq!(in_container(&copy, script), expected);
    let sealed = test.store.snapshot_seal("c", &Cancel::default()).expect("seal").expect("there are changes");
    assert_eq!(sealed.diff_id(), captured.diff_id());
    assert!(test.store.snapshot_get("c").is_err());
}

#[test]
fn a_hundred_and_twenty_seven_layers_fit_one_mount() {
    let test = TestStore::new();
    let layers: Vec<Vec<u8>> =
        (0..127).map(|n| Archive::new().file("n", n.to_string().as_bytes()).finish()).collect();
    let top = stack(&test, &layers);
    let snapshot = test.store.snapshot_create_on("c", Some(top.chain_id())).expect("snapshot");
    let root = std::os::unix::ffi::OsStrExt::as_bytes(test.root().as_os_str()).len();
    let usual = "/var/lib/gantry/images".len();
    let len: usize = snapshot.lower.iter().map(|path| path.as_os_str().len() + 1 - root + usual).sum();
    assert!(len + 200 < 4096, "{len} bytes of mount options");
    let mounted = test.store.snapshot_mount("c").expect("mount without a name");
    let file = rustix::fs::openat(&mounted, "n", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())
        .expect("open");
    assert_eq!(std::io::read_to_string(std::fs::File::from(file)).expect("read"), "126");
}

#[test]
fn an_unchanged_snapshot_seals_to_nothing_and_the_ground_is_no_change() {
    let test = TestStore::new();
    let base = stack(&test, &[Archive::new().file("a", b"a").finish()]);
    let snapshot = test.store.snapshot_create_on("c", Some(base.chain_id())).expect("snapshot");
    assert_eq!(in_container(&snapshot, "test -e etc/hosts && test -d proc && echo there"), "there");
    assert_eq!(test.store.snapshot_changes("c").expect("changes"), []);
    assert!(test.store.snapshot_seal("c", &Cancel::default()).expect("seal").is_none());
    let metadata = std::fs::metadata(test.root().join("ground/etc")).expect("the ground");
    assert_eq!(metadata.mode() & 0o777, 0o755);
}

#[test]
fn layers_of_the_same_files_have_them_once_whatever_they_lie_on() {
    let test = TestStore::new();
    let one = Archive::new().dir("d/", 0o755).file("d/of", b"one").finish();
    let two = Archive::new().dir("d/", 0o700).file("d/of", b"two").finish();
    let same = Archive::new().dir("d/", 0o711).file("d/same", b"same").file(".wh.gone", b"").finish();
    let on_one = stack(&test, &[one.clone(), same.clone()]);
    let on_two = stack(&test, &[two.clone(), same.clone()]);
    assert_eq!((test.names("layers").len(), test.names("diffs").len()), (4, 3));
    assert_ne!(on_one.chain_id(), on_two.chain_id());
    let see = |name: &str, layer: &Layer| {
        let snapshot = test.store.snapshot_create_on(name, Some(layer.chain_id())).expect("snapshot");
        in_container(&snapshot, "cat d/of d/same; stat -c %a d")
    };
    assert_eq!(see("a", &on_one), "onesame711");
    assert_eq!(see("b", &on_two), "twosame711");
    // What is put on top of a third is there at once; it needs no archive.
    let three = stack(&test, &[Archive::new().file("gone", b"").file("stays", b"").finish()]);
    let placed = test.store.layer_place(Some(&three), on_one.diff_id()).expect("place").expect("it is known");
    assert_eq!(test.names("diffs").len(), 4);
    let snapshot = test.store.snapshot_create_on("c", Some(placed.chain_id())).expect("snapshot");
    assert_eq!(in_container(&snapshot, "cat d/same; ls -d gone stays 2>/dev/null || true"), "samestays");
    for name in ["a", "b", "c"] {
        test.store.snapshot_remove(name).expect("remove");
    }
    drop((on_one, placed));
    assert_eq!(see("d", &on_two), "twosame711", "the files are there as long as one needs them");
    test.store.snapshot_remove("d").expect("remove");
    drop((on_two, three));
    test.wait_until_clean();
    assert_eq!((test.names("layers"), test.names("diffs"), test.names("l")), (vec![], vec![], vec![]));
}

#[test]
fn a_layer_that_lies_on_itself_in_one_image_can_be_mounted() {
    let test = TestStore::new();
    let add = Archive::new().file("f", b"f").finish();
    let remove = Archive::new().file(".wh.f", b"").finish();
    let top = stack(&test, &[add.clone(), remove.clone(), add.clone(), remove, add]);
    assert_eq!((test.names("layers").len(), test.names("diffs").len()), (5, 2));
    let snapshot = test.store.snapshot_create_on("c", Some(top.chain_id())).expect("snapshot");
    assert_eq!(in_container(&snapshot, "cat f"), "f");
}

#[test]
fn a_layer_whose_files_depend_on_what_they_lie_on_has_its_own() {
    let test = TestStore::new();
    let base = |mode| Archive::new().dir("d/", mode).file("d/of", b"x").finish();
    // It says nothing about `d`, so that is as it is below.
    let implied = Archive::new().file("d/more", b"more").finish();
    let one = stack(&test, &[base(0o755), implied.clone()]);
    let two = stack(&test, &[base(0o700), implied]);
    assert_eq!(test.names("diffs").len(), 4);
    for (name, layer, mode) in [("a", &one, "755"), ("b", &two, "700")] {
        let snapshot = test.store.snapshot_create_on(name, Some(layer.chain_id())).expect("snapshot");
        assert_eq!(in_container(&snapshot, "stat -c %a d"), mode);
    }
    assert!(test.store.layer_place(None, one.diff_id()).expect("place").is_none());
}
