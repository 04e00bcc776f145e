//! Neighbours that swap what is at a path while it is looked at and used. Each plays the attack for
//! a bounded number of rounds; what must not be reached is a canary outside of the volume.

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use engine::container::{ArchivePut, FileKind, Mount, MountSource, RemoveOptions};
use engine::volume::VolumeSpec;
use engine::{ContainerSpec, Engine, Kind};
use futures::StreamExt;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use support::{create, logs, on_host, remove_all, shell, start, wait};

/// Swaps two names, as quickly as it can, until it is stopped.
struct Swapping {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Swapping {
    fn begin(mut swap: impl FnMut() -> bool + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut swaps = 0;
            while !told.load(Ordering::Relaxed) {
                swaps += u64::from(swap());
            }
            swaps
        });
        Self { stop, thread: Some(thread) }
    }

    fn exchange(one: PathBuf, other: PathBuf) -> Self {
        Self::begin(move || renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).is_ok())
    }

    /// Stops it; it must have done something.
    fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let swaps = self.thread.take().expect("it runs").join().expect("the thread ends");
        assert!(swaps > 100, "only {swaps} swaps: nothing was attacked");
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A directory outside of every volume, with a secret in it.
fn canary(directory: &Path) -> PathBuf {
    let canary = directory.join("canary");
    std::fs::create_dir(&canary).expect("make a directory");
    std::fs::write(canary.join("secret"), "secret\n").expect("write");
    canary
}

fn untouched(canary: &Path) {
    let names: Vec<_> =
        std::fs::read_dir(canary).expect("list").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(names, ["secret"], "something was written outside");
}

#[test]
fn a_neighbour_gets_nothing_of_the_host_through_a_part_of_a_volume() {
    on_host(|host, engine| async move {
        let canary = canary(host.directory.path());
        let spec = VolumeSpec { name: Some("shared".to_owned()), ..VolumeSpec::default() };
        let data = engine.volume_create(spec).await.expect("make a volume").path.clone();
        std::fs::create_dir(data.join("part")).expect("make a directory");
        std::fs::write(data.join("part/own"), "own\n").expect("write");
        symlink(&canary, data.join("link")).expect("link");
        let sources = [
            MountSource::Volume {
                name: Some("shared".to_owned()),
                no_copy: true,
                subpath: Some("part".to_owned()),
                driver: None,
                labels: Default::default(),
                options: Default::default(),
            },
            MountSource::Bind {
                path: data.clone(),
                subpath: Some("part".to_owned()),
                must_be: None,
                writable_below: false,
                propagation: Default::default(),
                create: true,
                non_recursive: false,
            },
        ];
        let swapping = Swapping::exchange(data.join("part"), data.join("link"));
        let (mut started, mut refused) = (0, 0);
        for round in 0..60 {
            let mount =
                Mount { target: "/data".to_owned(), read_only: false, source: sources[round % 2].clone() };
            let spec = ContainerSpec { mounts: vec![mount], ..shell("cat /data/*; echo x > /data/own") };
            let id = create(&engine, spec).await;
            match engine.container_start(&id).await {
                Ok(()) => {
                    assert_eq!(wait(&engine, &id).await.code, 0);
                    let (out, _) = logs(&engine, &id).await;
                    assert!(matches!(out.as_str(), "own\n" | "x\n"), "the container saw {out:?}");
                    started += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Invalid, "{}", error.full_message());
                    let message = error.full_message();
                    let said = ["leads out", "path concatenation escapes the base directory"];
                    assert!(said.iter().any(|said| message.contains(said)), "{message}");
                    refused += 1;
                }
            }
            engine.container_remove(&id, RemoveOptions::default()).await.expect("remove");
        }
        swapping.end();
        assert!(started > 0 && refused > 0, "{started} started, {refused} refused");
        untouched(&canary);
    });
}

#[test]
fn what_a_mount_must_be_is_what_is_mounted() {
    on_host(|host, engine| async move {
        let (file, directory) = (host.path("file"), host.path("directory"));
        std::fs::write(&file, "content\n").expect("write");
        std::fs::create_dir(&directory).expect("make a directory");
        let swapping = Swapping::exchange(file.clone(), directory);
        let mut started = 0;
        for _ in 0..40 {
            let source = MountSource::Bind {
                path: file.clone(),
                subpath: None,
                must_be: Some(FileKind::File),
                writable_below: false,
                propagation: Default::default(),
                create: false,
                non_recursive: false,
            };
            let mount = Mount { target: "/data".to_owned(), read_only: true, source };
            let id = create(&engine, ContainerSpec { mounts: vec![mount], ..shell("test -f /data") }).await;
            match engine.container_start(&id).await {
                Ok(()) => {
                    assert_eq!(wait(&engine, &id).await.code, 0, "something else was mounted");
                    started += 1;
                }
                Err(error) => assert!(error.message().ends_with("is not a file"), "{error}"),
            }
            engine.container_remove(&id, RemoveOptions::default()).await.expect("remove");
        }
        swapping.end();
        assert!(started > 0);
    });
}

/// An archive with the entry `name` so many times over, each of which replaces the one before.
fn archive(times: usize, entry: impl Fn(&mut tar::Header)) -> engine::ByteStream {
    let mut builder = tar::Builder::new(Vec::new());
    for _ in 0..times {
        let mut header = tar::Header::new_gnu();
        header.set_path("target").expect("a path");
        header.set_mode(0o4755);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000_000);
        header.set_size(0);
        entry(&mut header);
        header.set_cksum();
        builder.append(&header, std::io::empty()).expect("append");
    }
    let bytes = builder.into_inner().expect("an archive");
    futures::stream::iter([Ok(Bytes::from(bytes))]).boxed()
}

async fn put(engine: &Engine, id: &engine::ContainerId, archive: engine::ByteStream) -> Result<(), String> {
    let put = engine.container_archive_put(id, "/tmp", ArchivePut::default(), archive).await;
    put.map_err(|error| error.full_message())
}

#[test]
fn nothing_outside_gets_the_mode_owner_or_time_of_what_is_copied_in() {
    on_host(|host, engine| async move {
        let canary = host.path("canary");
        std::fs::write(&canary, "secret").expect("write");
        std::fs::set_permissions(&canary, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        let before = std::fs::metadata(&canary).expect("stat");
        let id = start(&engine, shell("exec sleep 1000")).await;
        let pid = engine.container_inspect(&id).expect("inspect").state.pid.expect("it runs");
        let inside = PathBuf::from(format!("/proc/{pid}/root/tmp"));
        let (target, link) = (inside.join("target"), inside.join("link"));
        let outside = canary.clone();
        // Whatever is made there is swapped with a link that leads out of the container.
        let swapping = Swapping::begin(move || {
            let _ = symlink(&outside, &link);
            renameat_with(CWD, &target, CWD, &link, RenameFlags::EXCHANGE).is_ok()
        });
        let kinds =
            [tar::EntryType::Regular, tar::EntryType::Directory, tar::EntryType::Fifo, tar::EntryType::Char];
        for kind in kinds {
            for _ in 0..20 {
                // It may fail since something is in the way, or vanished: that is the attacker's loss.
                let _ = put(&engine, &id, archive(200, |header| header.set_entry_type(kind))).await;
            }
            let after = std::fs::metadata(&canary).expect("stat");
            let told = |meta: &std::fs::Metadata| (meta.mode(), meta.uid(), meta.gid(), meta.mtime());
            assert_eq!(told(&after), told(&before), "{kind:?}");
        }
        swapping.end();
        assert_eq!(std::fs::read_to_string(&canary).expect("read"), "secret");
        remove_all(&engine).await;
    });
}

#[test]
fn a_copy_out_of_a_running_container_opens_no_device_and_waits_for_no_pipe() {
    on_host(|_, engine| async move {
        let id = start(
            &engine,
            shell("mkdir /tmp/d; cd /tmp/d; echo content > file; mkfifo pipe; touch /tmp/ready; exec sleep 1000"),
        )
        .await;
        testkit::wait_until_async("the files", || async {
            engine.container_archive_stat(&id, "/tmp/ready").await.map(drop)
        })
        .await;
        let pid = engine.container_inspect(&id).expect("inspect").state.pid.expect("it runs");
        let inside = PathBuf::from(format!("/proc/{pid}/root/tmp/d"));
        let swapping = Swapping::exchange(inside.join("file"), inside.join("pipe"));
        for _ in 0..100 {
            let copied = async {
                let (_, stream) = engine.container_archive_get(&id, "/tmp/d").await.expect("get");
                stream.collect::<Vec<_>>().await
            };
            let limit = std::time::Duration::from_secs(30);
            tokio::time::timeout(limit, copied).await.expect("it waits for nobody");
        }
        swapping.end();
        remove_all(&engine).await;
    });
}
