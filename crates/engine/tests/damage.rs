//! Records that cannot be read are their own thing's trouble: the engine starts, says so, and leaves
//! the thing alone, with whatever runs.

mod support;

use std::path::{Path, PathBuf};

use engine::container::Status;
use engine::sandbox::{SandboxFilter, SandboxSpec};
use engine::volume::{VolumeFilter, VolumeSpec};
use engine::{ContainerId, ContainerSpec, Engine};
use support::{Host, Immutable, create, on_host, remove_all, shell, start};

/// What can become of a record.
const DAMAGES: [&str; 5] = ["empty", "cut", "nonsense", "version 99", "a directory"];

/// Damages the record at `path`; what it was is kept beside the test's directories.
fn damage(path: &Path, how: &str) -> Vec<u8> {
    let content = std::fs::read(path).expect("the record");
    let write = |bytes: &[u8]| std::fs::write(path, bytes).expect("write");
    match how {
        "empty" => write(b""),
        "cut" => write(&content[..content.len() / 2]),
        "nonsense" => write(&[0xff; 512]),
        "version 99" => {
            let text = String::from_utf8(content.clone()).expect("text");
            let (head, rest) = text.split_once(',').expect("the version comes first");
            assert!(head.starts_with("{\"version\":"), "{head}");
            write(format!("{{\"version\":99,{rest}").as_bytes());
        }
        _ => {
            std::fs::remove_file(path).expect("remove");
            std::fs::create_dir(path).expect("a directory in its place");
        }
    }
    content
}

fn repair(path: &Path, content: &[u8]) {
    if path.is_dir() {
        std::fs::remove_dir(path).expect("remove");
    }
    std::fs::write(path, content).expect("write");
}

fn container_path(host: &Host, id: &ContainerId) -> PathBuf {
    host.path("root/containers").join(id.as_str())
}

fn pid(engine: &Engine, id: &ContainerId) -> u32 {
    engine.container_inspect(id).expect("inspect").state.pid.expect("it runs")
}

fn runs(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[track_caller]
fn check_told(engine: &Engine, host: &Host, subject: &str, how: &str) {
    let told = engine.troubles();
    assert!(told.iter().any(|trouble| trouble.subject.contains(subject)), "{how}: {told:?}");
    let warnings = engine.host_facts().warnings;
    assert!(warnings.iter().any(|warning| warning.contains(subject)), "{how}: {warnings:?}");
    let examined = Engine::examine(&host.path("root"));
    assert!(examined.iter().any(|trouble| trouble.subject.contains(subject)), "{how}: {examined:?}");
}

#[test]
fn a_running_container_whose_record_cannot_be_read_goes_on_and_comes_back_with_it() {
    on_host(|host, engine| async move {
        let mut engine = engine;
        let hurt = start(&engine, shell("echo mine > /file; sleep 1000")).await;
        let sound = start(&engine, shell("sleep 1000")).await;
        let (one, two) = (pid(&engine, &hurt), pid(&engine, &sound));
        let record = container_path(&host, &hurt).join("state.json");
        for how in DAMAGES {
            let mut content = Vec::new();
            engine = host.reopen(engine, async || content = damage(&record, how)).await;
            check_told(&engine, &host, hurt.as_str(), how);
            assert!(engine.container_inspect(&hurt).is_err(), "{how}: it is left out");
            assert_eq!(pid(&engine, &sound), two, "{how}");
            assert!(runs(one), "{how}: its program goes on");
            engine = host.reopen(engine, async || repair(&record, &content)).await;
            assert_eq!(engine.troubles(), [], "{how}");
            assert_eq!(pid(&engine, &hurt), one, "{how}: it is taken up as it runs");
            assert!(engine.container_size(&hurt).await.expect("its files").writable > 0, "{how}");
        }
        remove_all(&engine).await;
    });
}

#[test]
fn what_became_of_a_container_is_asked_of_its_shim_if_the_record_of_it_is_lost() {
    on_host(|host, engine| async move {
        let mut engine = engine;
        let running = start(&engine, shell("sleep 1000")).await;
        let one = pid(&engine, &running);
        let life = container_path(&host, &running).join("life.json");
        for how in ["empty", "cut", "nonsense"] {
            engine = host.reopen(engine, async || drop(damage(&life, how))).await;
            assert_eq!(pid(&engine, &running), one, "{how}");
            assert_eq!(engine.troubles(), [], "{how}");
        }
        engine = host.reopen(engine, async || drop(damage(&life, "version 99"))).await;
        check_told(&engine, &host, running.as_str(), "version 99");
        assert!(runs(one));
        engine = host.reopen(engine, async || repair(&life, b"")).await;
        assert_eq!(pid(&engine, &running), one);
        remove_all(&engine).await;
    });
}

#[test]
fn a_sandbox_whose_record_cannot_be_read_goes_on_with_its_containers() {
    on_host(|host, engine| async move {
        let mut engine = engine;
        let sandbox = engine.sandbox_create(SandboxSpec::default()).await.expect("make a sandbox");
        let within = ContainerSpec { sandbox: Some(sandbox.clone()), ..shell("sleep 1000") };
        let inside = start(&engine, within).await;
        let one = pid(&engine, &inside);
        let record = host.path("root/sandboxes").join(sandbox.as_str()).join("state.json");
        for how in DAMAGES {
            let mut content = Vec::new();
            engine = host.reopen(engine, async || content = damage(&record, how)).await;
            check_told(&engine, &host, sandbox.as_str(), how);
            assert!(runs(one), "{how}");
            assert!(engine.container_inspect(&inside).is_err(), "{how}");
            engine = host.reopen(engine, async || repair(&record, &content)).await;
            assert_eq!(engine.troubles(), [], "{how}");
            assert_eq!(pid(&engine, &inside), one, "{how}");
            assert_eq!(engine.sandbox_list(&SandboxFilter::default()).len(), 1, "{how}");
        }
        remove_all(&engine).await;
    });
}

#[test]
fn directories_that_nobody_made_are_left_alone() {
    on_host(|host, engine| async move {
        let kept = create(&engine, shell("true")).await;
        let strange = [
            host.path("root/containers").join("f".repeat(64)),
            host.path("root/containers/backup"),
            host.path("root/sandboxes").join("e".repeat(64)),
            host.path("root/volumes/notes"),
            host.path("run/sandboxes/notes"),
            host.path("run/bundles/notes"),
        ];
        let engine = host
            .reopen(engine, async || {
                for path in &strange {
                    std::fs::create_dir(path).expect("a directory of somebody's");
                    std::fs::write(path.join("file"), "x").expect("write");
                }
                // A copy of a container's directory under another name.
                let copy = host.path("root/containers").join("d".repeat(64));
                let from = container_path(&host, &kept);
                let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(copy).status();
                assert!(copied.expect("run cp").success());
            })
            .await;
        for path in &strange {
            assert!(path.join("file").exists(), "{}", path.display());
        }
        let told: Vec<String> = engine.troubles().into_iter().map(|trouble| trouble.subject).collect();
        for name in ["f", "e", "d"] {
            assert!(told.iter().any(|subject| subject.contains(&name.repeat(64))), "{told:?}");
        }
        engine.container_inspect(&kept).expect("it is still there");
        remove_all(&engine).await;
    });
}

#[test]
fn a_volume_whose_record_cannot_be_read_keeps_its_name_and_its_files() {
    on_host(|host, engine| async move {
        let mut engine = engine;
        for name in ["hurt", "sound"] {
            let spec = VolumeSpec { name: Some(name.to_owned()), ..VolumeSpec::default() };
            let volume = engine.volume_create(spec).await.expect("make a volume");
            std::fs::write(volume.path.join("file"), name).expect("write");
        }
        let record = host.path("root/volumes/hurt/volume.json");
        for how in DAMAGES {
            let mut content = Vec::new();
            engine = host.reopen(engine, async || content = damage(&record, how)).await;
            check_told(&engine, &host, "volume hurt", how);
            let spec = VolumeSpec { name: Some("hurt".to_owned()), ..VolumeSpec::default() };
            let error = engine.volume_create(spec).await.expect_err("the name is taken");
            assert!(error.message().contains("no volume that can be read"), "{how}: {error}");
            assert!(engine.volume_inspect("sound").is_ok(), "{how}");
            engine = host.reopen(engine, async || repair(&record, &content)).await;
            let volume = engine.volume_inspect("hurt").expect("it is back");
            assert_eq!(std::fs::read(volume.path.join("file")).expect("its file"), b"hurt", "{how}");
        }
    });
}

#[test]
fn a_copied_backup_becomes_a_volume() {
    on_host(|host, engine| async move {
        let data = host.path("root/volumes/backup/_data");
        let engine = host
            .reopen(engine, async || {
                std::fs::create_dir_all(&data).expect("copy a backup");
                std::fs::write(data.join("file"), "precious").expect("write");
            })
            .await;
        let volume = engine.volume_inspect("backup").expect("it is a volume");
        assert_eq!(volume.path, data);
        assert!(!volume.anonymous);
        let engine = host.reopen(engine, async || {}).await;
        assert_eq!(std::fs::read(data.join("file")).expect("its file"), b"precious");
        assert_eq!(engine.volume_list(&VolumeFilter::default()).len(), 1);
        assert_eq!(engine.troubles(), []);
    });
}

#[test]
fn files_that_cannot_be_removed_keep_no_engine_from_starting() {
    on_host(|host, engine| async move {
        let id = start(&engine, shell("sleep 1000")).await;
        let mut stuck = Vec::new();
        let engine = host
            .reopen(engine, async || {
                for path in [
                    host.path("root/trash/stuck"),
                    host.path("run/trash/stuck"),
                    host.path("root/containers").join(format!(".{}.making", "f".repeat(64))),
                    host.path("root/volumes/.half.making"),
                    host.path("run/sandboxes").join("f".repeat(64)),
                    host.path("run/bundles").join("f".repeat(64)),
                ] {
                    std::fs::create_dir(&path).expect("a directory");
                    std::fs::write(path.join("file"), "x").expect("write");
                    stuck.push(Immutable::new(path.join("file")));
                }
            })
            .await;
        assert_eq!(engine.container_inspect(&id).expect("inspect").state.status, Status::Running);
        testkit::wait_until_async("the trash to be told of", || async {
            let told = engine.troubles();
            let has = |path: &Path| told.iter().any(|trouble| trouble.path.starts_with(path));
            let all = has(&host.path("root/trash/stuck"))
                && has(&host.path("run/trash/stuck"))
                && has(&host.path("root/containers"))
                && has(&host.path("root/volumes"));
            if all { Ok(()) } else { Err(told) }
        })
        .await;
        // What was moved to the trash meanwhile is found there by its mark.
        drop(stuck);
        for attribute in ["root", "run"] {
            let path = host.path(attribute);
            let _ = std::process::Command::new("chattr").arg("-R").arg("-i").arg(path).status();
        }
        remove_all(&engine).await;
    });
}

#[test]
fn an_engine_whose_own_record_is_of_a_later_version_is_refused_untouched() {
    on_host(|host, engine| async move {
        engine.close().await;
        drop(engine);
        let path = host.path("root/engine.json");
        let content = damage(&path, "version 99");
        let opened = Engine::open(
            host.config(),
            std::sync::Arc::new(base::SystemClock::new()),
            std::sync::Arc::new(base::SystemRandom),
        );
        let error = opened.await.err().expect("a later version").full_message();
        assert!(error.contains("version 99"), "{error}");
        assert!(std::fs::read_to_string(&path).expect("read").contains("\"version\":99"));
        damage(&path, "cut");
        let engine = host.open().await;
        assert_eq!(engine.troubles().len(), 1);
        engine.close().await;
        drop(engine);
        repair(&path, &content);
        host.open().await.close().await;
    });
}
