//! Volumes, copying in and out, differences, exports, commits.

mod support;

use bytes::Bytes;
use engine::container::{ArchivePut, ChangeKind, CommitSpec, Mount, MountSource, RemoveOptions};
use engine::volume::{VolumeFilter, VolumeSpec};
use engine::{ByteStream, ContainerSpec, Engine, Fact, Kind, Operation};
use futures::StreamExt;
use support::{create, on_host, output, remove_all, shell, start, wait};

fn volume(name: Option<&str>, target: &str) -> Mount {
    let source = MountSource::Volume {
        name: name.map(str::to_owned),
        no_copy: false,
        subpath: None,
        driver: None,
        labels: Default::default(),
        options: Default::default(),
    };
    Mount { target: target.to_owned(), read_only: false, source }
}

fn archive(files: &[(&str, &str)]) -> ByteStream {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o640);
        header.set_uid(7);
        header.set_gid(8);
        header.set_size(content.len() as u64);
        // Written as it is: the library itself would refuse names that lead upwards.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, content.as_bytes()).expect("append");
    }
    let bytes = builder.into_inner().expect("an archive");
    futures::stream::iter([Ok(Bytes::from(bytes))]).boxed()
}

async fn names(stream: ByteStream) -> Vec<String> {
    let pieces: Vec<Bytes> = stream.map(|piece| piece.expect("a piece")).collect().await;
    let bytes = pieces.concat();
    let mut archive = tar::Archive::new(&bytes[..]);
    let entries = archive.entries().expect("entries");
    entries.map(|entry| entry.expect("an entry").path().expect("a path").display().to_string()).collect()
}

async fn read(engine: &Engine, id: &engine::ContainerId, path: &str) -> String {
    let (_, stream) = engine.container_archive_get(id, path).await.expect("get");
    let pieces: Vec<Bytes> = stream.map(|piece| piece.expect("a piece")).collect().await;
    let bytes = pieces.concat();
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut entry = archive.entries().expect("entries").next().expect("one entry").expect("readable");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut entry, &mut text).expect("text");
    text
}

#[test]
fn a_volume_is_filled_from_the_image_once_and_outlives_containers() {
    on_host(|_, engine| async move {
        let with = |line: &str| ContainerSpec { mounts: vec![volume(Some("data"), "/etc")], ..shell(line) };
        assert_eq!(
            output(&engine, with("test -s /etc/passwd && echo filled; echo own > /etc/own; rm /etc/passwd"))
                .await,
            "filled\n"
        );
        assert_eq!(
            output(&engine, with("cat /etc/own; test -e /etc/passwd || echo gone")).await,
            "own\ngone\n"
        );
        let id = create(&engine, with("true")).await;
        let error = engine.volume_remove("data", false).await.expect_err("it is in use");
        assert_eq!(error.kind(), Kind::Conflict);
        engine.container_remove(&id, RemoveOptions { force: false, volumes: true }).await.expect("remove");
        engine.volume_remove("data", false).await.expect("remove");
        assert_eq!(
            engine.volume_inspect("data").expect_err("it is gone").fact(),
            Some(&Fact::NoVolume { name: "data".to_owned() })
        );
    });
}

#[test]
fn anonymous_volumes_go_with_their_container() {
    on_host(|_, engine| async move {
        let spec = ContainerSpec { mounts: vec![volume(None, "/data")], ..shell("echo x > /data/file") };
        let id = start(&engine, spec).await;
        wait(&engine, &id).await;
        assert_eq!(engine.volume_list(&VolumeFilter::default()).len(), 1);
        engine.container_remove(&id, RemoveOptions { force: false, volumes: true }).await.expect("remove");
        assert!(engine.volume_list(&VolumeFilter::default()).is_empty());
        engine.volume_create(VolumeSpec::default()).await.expect("another");
        let pruned = engine.volume_prune(Default::default(), false).await.expect("prune");
        assert_eq!(pruned.removed.len(), 1);
    });
}

#[test]
fn a_missing_bind_source_is_told_unless_it_is_to_be_made() {
    on_host(|host, engine| async move {
        let bind = |create| ContainerSpec {
            mounts: vec![Mount {
                target: "/data".to_owned(),
                read_only: false,
                source: MountSource::Bind {
                    path: host.path("missing"),
                    propagation: Default::default(),
                    create,
                    non_recursive: false,
                    subpath: None,
                    must_be: None,
                    writable_below: false,
                },
            }],
            ..shell("echo x > /data/file")
        };
        let error = engine.container_create(bind(false)).await.expect_err("it is missing");
        assert_eq!(error.kind(), Kind::Invalid);
        output(&engine, bind(true)).await;
        assert_eq!(std::fs::read_to_string(host.path("missing/file")).expect("a file"), "x\n");
    });
}

#[test]
fn entries_are_named_as_the_path_says_and_a_slash_enters_links() {
    on_host(|_, engine| async move {
        let long = "n".repeat(120);
        let line = format!(
            "mkdir /tmp/d; echo x > /tmp/d/f; ln -s / /tmp/root; ln -s d /tmp/dir; ln -s dir /tmp/chain; \
             ln -s nothing /tmp/broken; mkdir /tmp/{long}; echo y > /tmp/{long}/{long}; \
             ln /tmp/{long}/{long} /tmp/{long}/z; ln -s {long} /tmp/{long}/zz"
        );
        let id = start(&engine, shell(&line)).await;
        wait(&engine, &id).await;
        for (path, expected) in [
            ("/tmp/d", vec!["d/", "d/f"]),
            ("tmp/d/", vec!["d/", "d/f"]),
            ("/tmp/d/.", vec!["./", "./f"]),
            ("/tmp/d/./", vec!["./", "./f"]),
            ("/tmp/dir", vec!["dir"]),
            ("/tmp/dir/", vec!["dir/", "dir/f"]),
            ("/tmp/dir/.", vec!["./", "./f"]),
            ("/tmp/chain/", vec!["chain/", "chain/f"]),
            ("/tmp/root", vec!["root"]),
            ("/tmp/broken", vec!["broken"]),
        ] {
            let (_, stream) = engine.container_archive_get(&id, path).await.expect(path);
            assert_eq!(names(stream).await, expected, "{path}");
        }
        for (path, expected) in [
            ("/", ["/", "/tmp/d/f"]),
            (".", ["./", "./tmp/d/f"]),
            ("/./", ["./", "./tmp/d/f"]),
            ("/tmp/root/", ["root/", "root/tmp/d/f"]),
            ("/tmp/root/.", ["./", "./tmp/d/f"]),
        ] {
            let (_, stream) = engine.container_archive_get(&id, path).await.expect(path);
            let names = names(stream).await;
            assert!(expected.iter().all(|name| names.iter().any(|is| is == name)), "{path}: {names:?}");
        }
        let whole = names(engine.container_export(&id).await.expect("export")).await;
        assert!(whole.iter().any(|name| name == "tmp/d/f"), "{whole:?}");
        for (path, name, target) in [
            ("/tmp/chain", "chain", "/tmp/d"),
            ("/tmp/chain/", "chain", ""),
            ("/tmp/broken", "broken", "/tmp/nothing"),
            ("/tmp/root/tmp/chain", "chain", "/tmp/d"),
        ] {
            let stat = engine.container_archive_stat(&id, path).await.expect(path);
            assert_eq!((&*stat.name, &*stat.link_target), (name, target), "{path}");
        }
        for path in ["/tmp/d/f/", "/tmp/broken/"] {
            engine.container_archive_stat(&id, path).await.expect_err("no directory");
        }
        // What does not fit into a header.
        let (_, stream) = engine.container_archive_get(&id, &format!("/tmp/{long}")).await.expect("get");
        let pieces: Vec<Bytes> = stream.map(|piece| piece.expect("a piece")).collect().await;
        let bytes = pieces.concat();
        let mut archive = tar::Archive::new(&bytes[..]);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let entries: Vec<(String, Option<String>)> = archive
            .entries()
            .expect("entries")
            .map(|entry| {
                let entry = entry.expect("an entry");
                (text(&entry.path_bytes()), entry.link_name_bytes().map(|link| text(&link)))
            })
            .collect();
        let file = format!("{long}/{long}");
        let expected = [
            (format!("{long}/"), None),
            (file.clone(), None),
            (format!("{long}/z"), Some(file)),
            (format!("{long}/zz"), Some(long.clone())),
        ];
        assert_eq!(entries, expected);
    });
}

#[test]
fn files_are_copied_in_and_out_whether_the_container_runs_or_not() {
    on_host(|_, engine| async move {
        let id =
            create(&engine, shell("cat /tmp/a; stat -c '%u:%g %a' /tmp/a; cat /tmp/b; sleep 1000")).await;
        let put = |files| engine.container_archive_put(&id, "/tmp", ArchivePut::default(), archive(files));
        put(&[("a", "first\n")]).await.expect("before the start");
        assert_eq!(read(&engine, &id, "/tmp/a").await, "first\n");
        put(&[("b", "second\n"), ("deep/c", "third")]).await.expect("several");
        engine.container_start(&id).await.expect("start");
        testkit::wait_until_async("the output", || async {
            let (out, _) = support::logs(&engine, &id).await;
            if out == "first\n7:8 640\nsecond\n" { Ok(()) } else { Err(out) }
        })
        .await;
        put(&[("d", "fourth")]).await.expect("while it runs");
        assert_eq!(read(&engine, &id, "/tmp/d").await, "fourth");
        let (stat, stream) = engine.container_archive_get(&id, "/tmp/deep").await.expect("a directory");
        assert_eq!(
            (stat.name.as_str(), names(stream).await),
            ("deep", vec!["deep/".to_owned(), "deep/c".to_owned()])
        );
        let error = engine.container_archive_stat(&id, "/nothing").await.expect_err("there is none");
        assert_eq!(error.message(), format!("Could not find the file /nothing in container {id}"));
        remove_all(&engine).await;
    });
}

#[test]
fn nothing_is_copied_into_what_is_mounted_read_only_nor_into_an_image() {
    on_host(|_, engine| async move {
        let spec = VolumeSpec { name: Some("fixed".to_owned()), ..VolumeSpec::default() };
        let fixed = engine.volume_create(spec).await.expect("make a volume").path.clone();
        std::fs::create_dir(fixed.join("tmp")).expect("make");
        let mount = |target: &str, source| Mount { target: target.to_owned(), read_only: false, source };
        let memory = || MountSource::Tmpfs { size: None, mode: None, options: Vec::new() };
        let image = MountSource::Image { reference: support::IMAGE.to_owned(), subpath: None };
        let mounts = vec![
            Mount { read_only: true, ..volume(Some("fixed"), "/fixed") },
            mount("/fixed/tmp", memory()),
            mount("/image", image),
            mount("/image/tmp", memory()),
            volume(Some("own"), "/own"),
        ];
        let line = "ln -sfn /fixed /link; ln -sfn /own /good; sleep 1000";
        let id = create(&engine, ContainerSpec { mounts, ..shell(line) }).await;
        let put = async |path: &str, name: &str| {
            let put = engine.container_archive_put(&id, path, ArchivePut::default(), archive(&[(name, "x")]));
            put.await.map_err(|error| (error.kind(), error.full_message()))
        };
        let refused = Err((Kind::Invalid, "mounted volume is marked read-only".to_owned()));
        for stage in ["created", "running", "stopped"] {
            match stage {
                "running" => {
                    engine.container_start(&id).await.expect("start");
                    testkit::wait_until_async("the links", || async {
                        engine.container_archive_stat(&id, "/good").await.map(drop)
                    })
                    .await;
                }
                "stopped" => {
                    engine.container_kill(&id, None).await.expect("kill");
                    wait(&engine, &id).await;
                }
                _ => {}
            }
            for path in ["/fixed", "fixed/", "/own/../fixed/.", "/image", "/image/etc"] {
                assert_eq!(put(path, "planted").await, refused, "{stage} {path}");
            }
            for path in ["fixed/planted", "image/etc/planted"] {
                assert_eq!(put("/", path).await, refused, "{stage} {path}");
            }
            for path in ["/fixed/tmp", "/image/tmp"] {
                assert_eq!(put(path, "planted").await, Ok(()), "{stage} {path}");
            }
            if stage != "created" {
                assert_eq!(put("/link", "planted").await, refused, "{stage}");
                assert_eq!(put("/good", stage).await, Ok(()), "{stage}");
            }
        }
        assert!(!fixed.join("planted").exists() && !fixed.join("tmp/planted").exists());
        let own = engine.volume_inspect("own").expect("it is there").path.clone();
        assert!(own.join("running").exists() && own.join("stopped").exists());
        let line = "ls /planted /etc/planted /tmp/planted 2>/dev/null || echo none";
        assert_eq!(output(&engine, shell(line)).await, "none\n");
        remove_all(&engine).await;
    });
}

#[test]
fn no_link_in_a_container_leads_a_copy_out_of_it() {
    on_host(|host, engine| async move {
        std::fs::write(host.path("secret"), "secret").expect("write");
        let outside = host.path("").display().to_string();
        let id = start(
            &engine,
            shell(&format!("ln -s {outside} /tmp/out; ln -s ../../../../../.. /tmp/up; sleep 1000")),
        )
        .await;
        testkit::wait_until_async("the links", || async {
            engine.container_archive_stat(&id, "/tmp/up").await.map(drop)
        })
        .await;
        for running in [true, false] {
            if !running {
                engine.container_kill(&id, None).await.expect("kill");
            }
            assert!(engine.container_archive_get(&id, "/tmp/out/secret").await.is_err());
            let put = engine.container_archive_put(
                &id,
                "/tmp/out",
                ArchivePut::default(),
                archive(&[("planted", "x")]),
            );
            assert!(put.await.is_err());
            let put = engine.container_archive_put(
                &id,
                "/tmp",
                ArchivePut::default(),
                archive(&[("../up/planted", "x")]),
            );
            // It leads to the container's own root, whichever way it climbs.
            put.await.expect("below the directory, and by the link");
            engine.container_archive_stat(&id, "/planted").await.expect("in the container");
            let stat = engine.container_archive_stat(&id, "/tmp/up/bin").await.expect("the container's own");
            assert_eq!(stat.name, "bin");
        }
        assert!(!host.path("planted").exists() && !std::path::Path::new("/planted").exists());
        remove_all(&engine).await;
    });
}

#[test]
fn a_container_whose_image_takes_hours_can_be_removed() {
    on_host(|host, engine| async move {
        let disk = rustix::fs::statvfs(host.path("root")).expect("statvfs");
        // As much as a layer may be: minutes of zeros, and each of them would be waited for.
        let length = disk.f_blocks * disk.f_frsize / 2;
        let id = start(&engine, shell(&format!("truncate -s {length} /hole"))).await;
        wait(&engine, &id).await;
        let committing = tokio::spawn({
            let (engine, id) = (engine.clone(), id.clone());
            async move { engine.container_commit(&id, CommitSpec::default()).await }
        });
        let ingest = host.path("root/images/ingest");
        testkit::wait_until_async("a layer being made", || async {
            let mut entries =
                std::fs::read_dir(&ingest).map_err(|error| format!("{}: {error}", ingest.display()))?;
            let is_layer = |entry: std::io::Result<std::fs::DirEntry>| {
                entry.is_ok_and(|entry| entry.path().join("archive").exists())
            };
            if entries.any(is_layer) { Ok(()) } else { Err("nothing is made".to_owned()) }
        })
        .await;
        engine.container_remove(&id, RemoveOptions { force: true, volumes: true }).await.expect("remove");
        let error = committing.await.expect("it ends").expect_err("given up");
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(matches!(error.fact(), Some(Fact::Status { operation: Operation::Commit, .. })), "{error:?}");
    });
}

#[test]
fn differences_are_shown_exported_and_committed() {
    on_host(|_, engine| async move {
        let id = start(&engine, shell("echo new > /tmp/new; rm /etc/group; echo x >> /etc/passwd")).await;
        wait(&engine, &id).await;
        let changes = engine.container_changes(&id).await.expect("changes");
        let kind = |path: &str| changes.iter().find(|change| change.path == path).map(|change| change.kind);
        assert_eq!(kind("/tmp/new"), Some(ChangeKind::Added));
        assert_eq!(kind("/etc/group"), Some(ChangeKind::Deleted));
        assert_eq!(kind("/etc/passwd"), Some(ChangeKind::Modified));
        let exported = names(engine.container_export(&id).await.expect("export")).await;
        assert!(exported.iter().any(|name| name == "./tmp/new" || name == "tmp/new"), "{exported:?}");
        assert!(!exported.iter().any(|name| name.ends_with("etc/group")));
        let reference = Some("made:1".to_owned());
        let image = engine
            .container_commit(&id, CommitSpec { reference, ..CommitSpec::default() })
            .await
            .expect("commit");
        assert_eq!(engine.image_inspect("made:1").expect("inspect").id, image);
        let spec = ContainerSpec {
            image: "made:1".to_owned(),
            ..shell("cat /tmp/new; test -e /etc/group || echo gone")
        };
        assert_eq!(output(&engine, spec).await, "new\ngone\n");
        remove_all(&engine).await;
    });
}

/// An archive of `hello.txt`, as `xz` and `bzip2` make it.
const COMPRESSED: [&str; 2] = [
    "fd377a585a0000016922de360200210116000000742fe5a3e007ff004c5d00341949ee8df0bac8ff9bfff20c69af11e74efcfe054c7c78d86030c7b90801b36428f7feca3a58c0dd16868afc26c38fac6cfc526356a62d9a23aa601756a1bb94376480d1da1eff1ac88d0000d2498bc800016480100000009c7ecfb13e300d8b020000000001595a",
    "425a68393141592653598f49b3d000002f5b80ca9040017780008063469e4008882000544413106004d18c825223d4d03d4003d4683d67c84a910307590d6d152040163d3b2e50416021ac508e39b5014aa203a9dfeb8963333d561c891093e2636c5dc914e142423d26cf40",
];

#[test]
fn archives_of_every_form_are_copied_in() {
    on_host(|_, engine| async move {
        let id = create(&engine, shell("true")).await;
        for compressed in COMPRESSED {
            let bytes = Bytes::from(hex::decode(compressed).expect("digits"));
            let archive = futures::stream::iter([Ok(bytes)]).boxed();
            engine.container_archive_put(&id, "/tmp", ArchivePut::default(), archive).await.expect("put");
            assert_eq!(read(&engine, &id, "/tmp/hello.txt").await, "from afar\n");
            let forget = archive_of(&[(entry("hello.txt", b""), &[])]);
            engine.container_archive_put(&id, "/tmp", ArchivePut::default(), forget).await.expect("put");
        }
        // A time before 1970, an attribute with a line feed in it, holes; and neither padding nor an end.
        let sparse = [
            ("GNU.sparse.size", &b"33554433"[..]),
            ("GNU.sparse.map", b"33554432,1"),
            ("mtime", b"-86400"),
            ("SCHILY.xattr.user.note", b"two\nlines"),
        ];
        let archive = archive_of(&[(entry("sparse", b"x"), &sparse)]);
        engine.container_archive_put(&id, "/tmp", ArchivePut::default(), archive).await.expect("put");
        let file = engine.container_inspect(&id).expect("inspect").layers[0].join("tmp/sparse");
        let metadata = std::fs::metadata(&file).expect("stat");
        use std::os::unix::fs::MetadataExt;
        assert_eq!((metadata.len(), metadata.mtime()), (33_554_433, -86_400));
        assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
        let mut note = [0; 20];
        let length = rustix::fs::getxattr(&file, "user.note", &mut note[..]).expect("an attribute");
        assert_eq!(&note[..length], b"two\nlines");
        // And out again: the time, and links with every dot that they have.
        rustix::fs::symlink(".././/../../above/./", file.with_file_name("link")).expect("link");
        let (_, stream) = engine.container_archive_get(&id, "/tmp").await.expect("get");
        let pieces: Vec<Bytes> = stream.map(|piece| piece.expect("a piece")).collect().await;
        let mut seen = 0;
        let each = image::Entries::new(&pieces.concat()[..]).each(
            |error| error,
            |entry| {
                if entry.path().ends_with("sparse") {
                    assert_eq!(entry.attributes()?.times.last_modification.tv_sec, -86_400);
                    seen += 1;
                }
                if let Some(link) = entry.link() {
                    assert_eq!(link.as_os_str(), ".././/../../above/./");
                    seen += 1;
                }
                Ok(())
            },
        );
        each.expect("an archive");
        assert_eq!(seen, 2);
        remove_all(&engine).await;
    });
}

#[test]
fn a_link_above_the_root_is_copied_as_it_is_and_leads_nowhere_else() {
    on_host(|host, engine| async move {
        let outside = host.path("outside");
        std::fs::create_dir(&outside).expect("make");
        std::fs::write(outside.join("secret"), "secret").expect("write");
        let up = format!("{}{}", "../".repeat(30), &outside.display().to_string()[1..]);
        let id = create(&engine, shell("true")).await;
        let running = start(&engine, shell("sleep 1000")).await;
        for id in [&id, &running] {
            let mut link = entry("out", b"");
            link.0.set_entry_type(tar::EntryType::Symlink);
            let records = [("linkpath", up.as_bytes())];
            let archive = archive_of(&[(link, &records), (entry("out/made", b"x"), &[])]);
            // There is no such directory in the container.
            engine
                .container_archive_put(id, "/tmp", ArchivePut::default(), archive)
                .await
                .expect_err("nothing");
            let (stat, _) = engine.container_archive_get(id, "/tmp/out").await.expect("the link itself");
            assert_eq!(stat.link_target, outside.display().to_string());
            engine
                .container_archive_get(id, "/tmp/out/secret")
                .await
                .map(drop)
                .expect_err("not in the container");
        }
        let names: Vec<_> = std::fs::read_dir(&outside).expect("list").collect();
        assert_eq!(names.len(), 1, "something was written outside");
        remove_all(&engine).await;
    });
}

/// A header and content.
type Written = (tar::Header, Vec<u8>);

fn entry(name: &str, content: &[u8]) -> Written {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o640);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(content.len() as u64);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    (header, content.to_vec())
}

/// An entry, and what is said of it before.
type Told<'a> = (Written, &'a [(&'a str, &'a [u8])]);

/// An archive of these, each with what is said of it before; it ends with the last byte of the last.
fn archive_of(entries: &[Told<'_>]) -> ByteStream {
    let mut bytes = Vec::new();
    for ((header, content), records) in entries {
        bytes.resize(usize::next_multiple_of(bytes.len(), 512), 0);
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions(records.iter().copied()).expect("append");
        let said = builder.into_inner().expect("an archive");
        // Without the end.
        bytes.extend_from_slice(&said[..said.len() - 1024]);
        let mut header = header.clone();
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
    }
    futures::stream::iter([Ok(Bytes::from(bytes))]).boxed()
}
