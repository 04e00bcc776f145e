//! Who has a volume, and when it goes.

mod support;

use std::collections::BTreeSet;
use std::ffi::OsString;

use engine::container::{Mount, MountSource, PruneFilter, RemoveOptions};
use engine::volume::{VolumeFilter, VolumeSpec};
use engine::{ContainerSpec, Engine, Fact, Kind};
use rustix::mount::MountPropagationFlags;
use support::{create, on_host, on_small_host, output, remove_all, shell, start, wait};

fn with_volume(name: Option<&str>, line: &str) -> ContainerSpec {
    with_volume_at("/data", name, line)
}

fn with_volume_at(target: &str, name: Option<&str>, line: &str) -> ContainerSpec {
    let source = MountSource::Volume {
        name: name.map(str::to_owned),
        no_copy: false,
        subpath: None,
        driver: None,
        labels: Default::default(),
        options: Default::default(),
    };
    let mounts = vec![Mount { target: target.to_owned(), read_only: false, source }];
    ContainerSpec { mounts, ..shell(line) }
}

/// Whoever fills a volume and is killed between two of its files leaves it so; the next one goes on.
#[test]
fn a_volume_that_was_half_filled_is_filled_before_it_is_used() {
    on_host(|host, engine| async move {
        let id = create(&engine, with_volume_at("/bin", Some("tools"), "true")).await;
        let volume = host.path("root/volumes/tools");
        let entries = |directory: &str| -> BTreeSet<OsString> {
            let found = std::fs::read_dir(volume.join(directory)).expect("a directory");
            found.map(|entry| entry.expect("an entry").file_name()).collect()
        };
        let whole = entries("_data");
        assert!(whole.len() > 3, "{whole:?}");
        engine.container_remove(&id, RemoveOptions::default()).await.expect("remove");
        let engine = host
            .reopen(engine, async || {
                std::fs::create_dir(volume.join("_filling")).expect("where it is put together");
                for name in whole.iter().skip(2) {
                    std::fs::rename(volume.join("_data").join(name), volume.join("_filling").join(name))
                        .expect("move");
                }
                let record = std::fs::read_to_string(volume.join("volume.json")).expect("its record");
                let half =
                    record.replace("\"filled\":true,\"filling\":false", "\"filled\":false,\"filling\":true");
                assert_ne!(record, half);
                std::fs::write(volume.join("volume.json"), half).expect("write");
                // Somebody who did not want it filled has put something there meanwhile.
                std::fs::write(volume.join("_data/mine"), "mine").expect("write");
            })
            .await;
        let id = start(&engine, with_volume_at("/bin", Some("tools"), "cat /bin/mine")).await;
        assert_eq!(wait(&engine, &id).await.code, 0);
        let mut wanted = whole.clone();
        wanted.insert("mine".into());
        assert_eq!(entries("_data"), wanted);
        assert!(!volume.join("_filling").exists());
        remove_all(&engine).await;
    });
}

fn volumes(engine: &Engine) -> Vec<String> {
    engine.volume_list(&VolumeFilter::default()).iter().map(|volume| volume.name.clone()).collect()
}

#[test]
fn an_anonymous_volume_stays_while_another_container_has_it() {
    on_host(|host, engine| async move {
        let first = create(&engine, with_volume(None, "true")).await;
        let name = volumes(&engine).remove(0);
        // What `--volumes-from` comes to.
        let second = start(&engine, with_volume(Some(&name), "sleep 1000")).await;
        let rm = RemoveOptions { force: true, volumes: true };
        engine.container_remove(&first, rm).await.expect("remove the first");
        assert_eq!(volumes(&engine), [name.as_str()]);
        let engine = host.reopen(engine, async || {}).await;
        let error = engine.volume_remove(&name, true).await.expect_err("it is in use");
        assert_eq!(error.kind(), Kind::Conflict);
        assert_eq!(
            error.fact(),
            Some(&Fact::VolumeInUse { name: name.clone(), users: vec![second.clone()] })
        );
        engine.container_remove(&second, rm).await.expect("remove the second");
        engine.volume_remove(&name, false).await.expect("nobody has it");
        remove_all(&engine).await;
    });
}

#[test]
fn a_container_that_removes_itself_leaves_the_volume_that_another_has() {
    on_host(|_, engine| async move {
        let first = create(&engine, ContainerSpec { auto_remove: true, ..with_volume(None, "true") }).await;
        let name = volumes(&engine).remove(0);
        let second = create(&engine, with_volume(Some(&name), "true")).await;
        engine.container_start(&first).await.expect("start");
        testkit::wait_until_async("its removal", || async {
            if engine.container_inspect(&first).is_err() { Ok(()) } else { Err("it is there") }
        })
        .await;
        assert_eq!(volumes(&engine), [name]);
        engine.container_start(&second).await.expect("start");
        assert_eq!(wait(&engine, &second).await.code, 0);
        remove_all(&engine).await;
    });
}

/// Containers are made on a volume, again and again, while it is pruned again and again: either the
/// volume was gone before and is made anew, or it stays as long as the container.
#[test]
fn pruning_takes_no_volume_that_a_container_has_begun_to_use() {
    on_host(|_, engine| async move {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let pruning = tokio::spawn({
            let engine = engine.clone();
            async move {
                let mut pruned = 0;
                while !*stopped.borrow() {
                    let done = engine.volume_prune(PruneFilter::default(), true).await.expect("prune");
                    pruned += done.removed.len();
                }
                pruned
            }
        });
        for round in 0..60 {
            let spec = VolumeSpec { name: Some("shared".to_owned()), ..VolumeSpec::default() };
            engine.volume_create(spec).await.expect("make the volume");
            let id = create(&engine, with_volume(Some("shared"), "true")).await;
            engine.volume_inspect("shared").unwrap_or_else(|error| panic!("round {round}: {error}"));
            let source = engine.container_inspect(&id).expect("inspect").mounts[0].source.clone();
            assert!(source.is_dir(), "round {round}: its files are gone");
            engine.container_remove(&id, RemoveOptions { force: true, volumes: true }).await.expect("remove");
        }
        stop.send(true).expect("it is listening");
        assert!(pruning.await.expect("it ends") > 0, "something was pruned meanwhile");
        remove_all(&engine).await;
    });
}

#[test]
fn no_volume_is_pruned_while_it_is_not_known_who_has_it() {
    on_host(|host, engine| async move {
        let id = create(&engine, with_volume(None, "true")).await;
        let path = host.path("root/containers").join(id.as_str()).join("state.json");
        let engine = host.reopen(engine, async || std::fs::write(&path, "").expect("damage")).await;
        let error = engine.volume_prune(PruneFilter::default(), true).await.expect_err("it may be its");
        assert_eq!(error.kind(), Kind::Conflict);
        assert_eq!(volumes(&engine).len(), 1);
    });
}

fn with_part(target: &str, part: Option<&str>, line: &str) -> ContainerSpec {
    let mut spec = with_volume_at(target, Some("data"), line);
    if let MountSource::Volume { subpath, .. } = &mut spec.mounts[0].source {
        *subpath = part.map(str::to_owned);
    }
    spec
}

#[test]
fn a_part_of_a_volume_is_found_through_its_links_and_filled() {
    on_small_host("300m", |_, engine| async move {
        let spec = VolumeSpec { name: Some("data".to_owned()), ..VolumeSpec::default() };
        let data = engine.volume_create(spec).await.expect("make a volume").path.clone();
        for directory in ["subdir", "hack", "bin"] {
            std::fs::create_dir(data.join(directory)).expect("make");
        }
        std::fs::write(data.join("subdir/hello.txt"), "world\n").expect("write");
        for (target, link) in [("../subdir", "good"), ("/", "root"), ("root", "bad"), ("../../../..", "up")] {
            std::os::unix::fs::symlink(target, data.join("hack").join(link)).expect("link");
        }
        for part in ["subdir", "hack/good", "./hack/../subdir"] {
            let part = if part.starts_with('.') { "subdir" } else { part };
            let seen = output(&engine, with_part("/volume", Some(part), "cat /volume/hello.txt")).await;
            assert_eq!(seen, "world\n", "{part}");
        }
        assert_eq!(output(&engine, with_part("/f", Some("subdir/hello.txt"), "cat /f")).await, "world\n");
        // An empty part is filled as a whole volume is.
        let found = output(&engine, with_part("/etc", Some("bin"), "ls /etc/passwd")).await;
        assert_eq!(found, "/etc/passwd\n");
        assert!(data.join("bin/passwd").exists() && !data.join("passwd").exists());
        let refusals = [
            ("hack/root", "path concatenation escapes the base directory"),
            ("hack/bad", "path concatenation escapes the base directory"),
            ("hack/up", "path concatenation escapes the base directory"),
            ("none", "cannot access path "),
        ];
        for (part, said) in refusals {
            let id = create(&engine, with_part("/volume", Some(part), "true")).await;
            let error = engine.container_start(&id).await.expect_err(part);
            assert!(error.full_message().contains(said), "{part}: {}", error.full_message());
        }
        remove_all(&engine).await;
    });
}

fn options(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Whether something is mounted at a path, as this thread sees it.
fn is_mounted(path: &std::path::Path) -> bool {
    let table = std::fs::read_to_string("/proc/thread-self/mounts").expect("a table");
    table.lines().any(|line| line.split(' ').nth(1) == path.to_str())
}

#[test]
fn a_volume_in_memory_is_filled_and_is_one_for_all() {
    on_small_host("300m", |host, engine| async move {
        let options = options(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=8m,noexec")]);
        let spec = VolumeSpec { name: Some("data".to_owned()), options, ..VolumeSpec::default() };
        let data = engine.volume_create(spec).await.expect("make a volume").path.clone();
        let line = "test -s /etc/passwd && echo own > /etc/own && sleep 1000";
        let first = start(&engine, with_volume_at("/etc", Some("data"), line)).await;
        let seen =
            "until test -e /etc/own; do :; done; cat /etc/own; df -m /etc | tail -1 | awk '{print $2}'";
        assert_eq!(output(&engine, with_volume_at("/etc", Some("data"), seen)).await, "own\n8\n");
        assert!(is_mounted(&data), "who runs still needs it");
        // It is the same for who comes after the engine was opened once more.
        let engine = host.reopen(engine, async || {}).await;
        assert_eq!(output(&engine, with_volume_at("/etc", Some("data"), seen)).await, "own\n8\n");
        // And for who copies.
        let (stat, _) = engine.container_archive_get(&first, "/etc/own").await.expect("it is there");
        assert_eq!(stat.size, 4);
        engine.container_remove(&first, RemoveOptions { force: true, volumes: false }).await.expect("remove");
        assert!(!is_mounted(&data), "nobody uses it");
        let again =
            output(&engine, with_volume_at("/etc", Some("data"), "ls /etc/own 2>/dev/null; ls /etc/passwd"))
                .await;
        assert_eq!(again, "/etc/passwd\n", "it goes with the last, and is filled again");
        remove_all(&engine).await;
        assert!(!is_mounted(&data));
    });
}

#[test]
fn a_volume_that_shows_a_directory_is_filled_and_never_removed_with_it() {
    on_small_host("300m", |host, engine| async move {
        let place = host.path("place");
        std::fs::create_dir(&place).expect("make");
        let shows = |words: &str| {
            options(&[("type", "none"), ("device", place.to_str().expect("text")), ("o", words)])
        };
        let spec =
            VolumeSpec { name: Some("data".to_owned()), options: shows("bind"), ..VolumeSpec::default() };
        let data = engine.volume_create(spec).await.expect("make a volume").path.clone();
        let id = create(&engine, with_volume_at("/etc", Some("data"), "echo own > /etc/own")).await;
        assert!(place.join("passwd").exists(), "it is filled when the container is made");
        assert!(!is_mounted(&data));
        engine.container_start(&id).await.expect("start");
        assert_eq!(wait(&engine, &id).await.code, 0);
        // A container that does not run: its volume is put in its place to look into it.
        let (stat, _) = engine.container_archive_get(&id, "/etc/own").await.expect("get");
        assert_eq!(stat.size, 4);
        remove_all(&engine).await;
        let read_only =
            VolumeSpec { name: Some("fixed".to_owned()), options: shows("bind,ro"), ..VolumeSpec::default() };
        engine.volume_create(read_only).await.expect("make another");
        let line = "echo x > /data/x || cat /data/own";
        assert_eq!(output(&engine, with_volume_at("/data", Some("fixed"), line)).await, "own\n");
        // Mounts below it that both know of stay where they were.
        rustix::mount::mount_change(host.path(""), MountPropagationFlags::SHARED).expect("as hosts have it");
        let inner = place.join("inner");
        std::fs::create_dir(&inner).expect("make");
        rustix::mount::mount(
            "none",
            &inner,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            None::<&std::ffi::CStr>,
        )
        .expect("mount");
        let deep =
            VolumeSpec { name: Some("deep".to_owned()), options: shows("rbind"), ..VolumeSpec::default() };
        engine.volume_create(deep).await.expect("make a third");
        let seen =
            output(&engine, with_volume_at("/data", Some("deep"), "grep -c ' /data/inner ' /proc/mounts"))
                .await;
        assert_eq!(seen, "1\n");
        assert!(is_mounted(&inner), "what the host had mounted is gone");
        remove_all(&engine).await;
        // Whatever is mounted there when it is removed is not the volume's.
        let running = start(&engine, with_volume_at("/data", Some("data"), "sleep 1000")).await;
        let engine = host.reopen(engine, async || {}).await;
        assert!(is_mounted(&data));
        engine
            .container_remove(&running, RemoveOptions { force: true, volumes: true })
            .await
            .expect("remove");
        rustix::mount::mount_bind(&place, &data).expect("mount it by hand");
        engine.volume_remove("data", false).await.expect("remove");
        engine.volume_prune(PruneFilter::default(), true).await.expect("prune");
        assert!(volumes(&engine).is_empty());
        assert!(place.join("own").exists() && place.join("passwd").exists(), "what it showed was removed");
        remove_all(&engine).await;
    });
}

#[test]
fn containers_that_come_at_once_fill_a_volume_once() {
    on_small_host("300m", |host, engine| async move {
        let place = host.path("place");
        std::fs::create_dir(&place).expect("make");
        let shown = options(&[("type", "none"), ("device", place.to_str().expect("text")), ("o", "bind")]);
        let spec = VolumeSpec { name: Some("mounted".to_owned()), options: shown, ..VolumeSpec::default() };
        let data = engine.volume_create(spec).await.expect("make a volume").path.clone();
        let spec = VolumeSpec { name: Some("data".to_owned()), ..VolumeSpec::default() };
        let part = engine.volume_create(spec).await.expect("make another").path.join("part");
        std::fs::create_dir(&part).expect("make");
        let entries = |directory: &std::path::Path| -> BTreeSet<OsString> {
            let found = std::fs::read_dir(directory).expect("a directory");
            found.map(|entry| entry.expect("an entry").file_name()).collect()
        };
        let whole = {
            let id = create(&engine, with_volume_at("/bin", Some("whole"), "true")).await;
            let source = engine.container_inspect(&id).expect("inspect").mounts[0].source.clone();
            entries(&source)
        };
        for spec in [with_volume_at("/bin", Some("mounted"), "true"), with_part("/bin", Some("part"), "true")]
        {
            let made = (0..6).map(|_| {
                let (engine, spec) = (engine.clone(), spec.clone());
                tokio::spawn(async move { engine.container_create(spec).await })
            });
            for made in futures::future::join_all(made).await {
                let id = made.expect("it ends").expect("create the container").id;
                // Whoever finds it filled finds all of it.
                engine.container_start(&id).await.expect("start");
                assert_eq!(wait(&engine, &id).await.code, 0);
            }
        }
        assert_eq!((entries(&place), entries(&part)), (whole.clone(), whole));
        // What is shown is not on the volumes' disk, and is not measured there.
        let id = start(&engine, with_volume_at("/data", Some("mounted"), "sleep 1000")).await;
        assert!(is_mounted(&data));
        let usage = engine.disk_usage().await.expect("measure").volumes;
        let size = |name: &str| {
            let volume = usage.iter().find(|volume| volume.name == name).expect("it is listed");
            volume.usage.expect("it was measured").size
        };
        assert_eq!(size("mounted"), 0);
        assert!(size("data") > 1 << 16, "{}", size("data"));
        engine.container_remove(&id, RemoveOptions { force: true, volumes: false }).await.expect("remove");
        remove_all(&engine).await;
    });
}

#[test]
fn a_volume_that_cannot_be_mounted_says_why() {
    on_small_host("300m", |_, engine| async move {
        let broken = options(&[("type", "none"), ("device", "/none/such"), ("o", "bind")]);
        let spec = VolumeSpec { name: Some("data".to_owned()), options: broken, ..VolumeSpec::default() };
        let data = engine.volume_create(spec).await.expect("it is looked for when it is used").path.clone();
        let said = format!(
            "error while mounting volume '{0}': failed to mount local volume: mount /none/such:{0}, flags: 0x1000",
            data.display()
        );
        let error =
            engine.container_create(with_volume_at("/etc", Some("data"), "true")).await.expect_err("filled");
        assert!(
            error.full_message().starts_with(&format!("failed to populate volume: {said}")),
            "{}",
            error.full_message()
        );
        // Where the image has nothing, it shows at the start.
        let id = create(&engine, with_volume_at("/none", Some("data"), "true")).await;
        let error = engine.container_start(&id).await.expect_err("mounted");
        assert!(error.full_message().contains(&said), "{}", error.full_message());
        remove_all(&engine).await;
    });
}

fn with_image(reference: &str, part: Option<&str>, line: &str) -> ContainerSpec {
    let source = MountSource::Image { reference: reference.to_owned(), subpath: part.map(str::to_owned) };
    let mounts = vec![Mount { target: "/image".to_owned(), read_only: false, source }];
    ContainerSpec { mounts, ..shell(line) }
}

#[test]
fn images_are_mounted_and_can_be_removed_under_a_container_by_force() {
    on_small_host("400m", |host, engine| async move {
        // One of several layers, with links in it.
        let line = "mkdir /hack /subdir; echo bar > /foo; echo world > /subdir/hello; ln -s ../subdir /hack/good; ln -s ../../../../.. /hack/bad";
        let made = start(&engine, shell(line)).await;
        wait(&engine, &made).await;
        let commit =
            engine::container::CommitSpec { reference: Some("test:1".to_owned()), ..Default::default() };
        let image = engine.container_commit(&made, commit).await.expect("commit");
        engine.container_remove(&made, RemoveOptions::default()).await.expect("remove");
        let of_test = |part, line: &str| with_image("test:1", part, line);
        let line = "cat /image/foo; echo x > /image/foo || rm /image/foo || cat /image/etc/passwd | head -1";
        let seen = output(&engine, of_test(None, line)).await;
        assert!(seen.starts_with("bar\nroot:"), "{seen}");
        assert_eq!(output(&engine, of_test(Some("hack/good"), "cat /image/hello")).await, "world\n");
        assert_eq!(output(&engine, of_test(Some("subdir/hello"), "cat /image")).await, "world\n");
        // Of one layer.
        let of_one = output(&engine, with_image(support::IMAGE, Some("etc"), "ls /image/passwd")).await;
        assert_eq!(of_one, "/image/passwd\n");
        for (part, said) in [("hack/bad", "path concatenation escapes"), ("none", "cannot access path ")] {
            let id = create(&engine, of_test(Some(part), "true")).await;
            let error = engine.container_start(&id).await.expect_err(part);
            assert!(error.full_message().contains(said), "{part}: {}", error.full_message());
        }
        let error = engine.container_create(with_image("none:1", None, "true")).await.expect_err("absent");
        assert_eq!(error.kind(), Kind::NotFound);
        remove_all(&engine).await;

        let id = start(&engine, of_test(None, "cat /image/foo; sleep 1000")).await;
        let place = engine.container_inspect(&id).expect("inspect").mounts[0].source.clone();
        let error = engine.image_remove("test:1", false, true).await.expect_err("it is used");
        let said = format!("container {} is using its referenced image", id.short());
        assert!(error.full_message().contains(&said), "{}", error.full_message());
        engine.container_stop(&id, None, Some(std::time::Duration::ZERO)).await.expect("stop");
        assert!(!is_mounted(&place));
        engine.image_remove("test:1", true, true).await.expect("by force");
        assert!(engine.image_inspect(image.as_str()).is_err(), "it is gone");
        let engine = host.reopen(engine, async || {}).await;
        let (stat, _) = engine.container_archive_get(&id, "/image/foo").await.expect("get");
        assert_eq!(stat.size, 4);
        engine.container_start(&id).await.expect("its layers are kept");
        let engine = host.reopen(engine, async || {}).await;
        engine.container_remove(&id, RemoveOptions { force: true, volumes: true }).await.expect("remove");
        assert!(!is_mounted(&place));
        remove_all(&engine).await;
    });
}
