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
            assert!(put.await.is_err());
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
