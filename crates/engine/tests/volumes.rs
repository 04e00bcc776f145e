//! Who has a volume, and when it goes.

mod support;

use std::collections::BTreeSet;
use std::ffi::OsString;

use engine::container::{Mount, MountSource, PruneFilter, RemoveOptions};
use engine::volume::{VolumeFilter, VolumeSpec};
use engine::{ContainerSpec, Engine, Fact, Kind};
use support::{create, on_host, remove_all, shell, start, wait};

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
