//! Power cuts: what the engine acknowledged is there afterwards, and it starts.

mod support;

use engine::container::{
    ContainerUpdate, Mount, MountSource, PruneFilter, RemoveOptions, RestartPolicy, Status,
};
use engine::network::NetworkSpec;
use engine::sandbox::SandboxSpec;
use engine::volume::{VolumeFilter, VolumeSpec};
use engine::{ContainerId, ContainerSpec, Engine};
use support::{Host, create, on_powered_host, output, remove_all, shell, start};
use testkit::{PowerCut, Remains};

/// Ends the engine and all shims, as the end of the machine does, and starts again with `left`.
async fn come_back(host: &Host, engine: Engine, disk: PowerCut, left: Remains) -> (Engine, PowerCut) {
    engine.close().await;
    drop(engine);
    for entry in std::fs::read_dir(host.path("run/shims")).expect("the sockets").flatten() {
        let Ok((handle, _)) = runtime::shim::ShimHandle::find(&entry.path()) else { continue };
        let pid = rustix::process::Pid::from_raw(i32::try_from(handle.pid).expect("a process id"));
        rustix::process::kill_process(pid.expect("not zero"), rustix::process::Signal::KILL).expect("kill");
        testkit::wait_until("the shim's end", || if handle.is_alive() { Err(()) } else { Ok(()) });
    }
    let disk = disk.come_back(left);
    support::forget_run(host);
    (host.open().await, disk)
}

fn volume(name: Option<&str>) -> MountSource {
    MountSource::Volume {
        name: name.map(str::to_owned),
        no_copy: false,
        subpath: None,
        driver: None,
        labels: Default::default(),
        options: Default::default(),
    }
}

fn named_volume(name: &str, target: &str) -> Mount {
    Mount { target: target.to_owned(), read_only: false, source: volume(Some(name)) }
}

#[test]
fn a_created_container_outlives_a_power_cut() {
    on_powered_host(|host, engine, disk| async move {
        let id = create(&engine, shell("cat /etc/passwd")).await;
        let left = disk.now();
        let (engine, _disk) = come_back(&host, engine, disk, left).await;
        assert_eq!(engine.container_inspect(&id).expect("it is there").state.status, Status::Created);
        engine.container_start(&id).await.expect("it can be started");
        assert_eq!(support::wait(&engine, &id).await.code, 0);
        assert!(support::logs(&engine, &id).await.0.contains("root:x:0:0"));
        assert_eq!(engine.troubles(), []);
        remove_all(&engine).await;
    });
}

#[test]
fn a_container_that_runs_is_found_again_after_a_power_cut() {
    on_powered_host(|host, engine, disk| async move {
        let plain = start(&engine, shell("sleep 1000")).await;
        let spec = ContainerSpec { restart: RestartPolicy::Always, ..shell("sleep 1000") };
        let always = start(&engine, spec).await;
        let spec = ContainerSpec { restart: RestartPolicy::UnlessStopped, ..shell("sleep 1000") };
        let stopped = start(&engine, spec).await;
        engine.container_stop(&stopped, None, Some(std::time::Duration::ZERO)).await.expect("stop");
        let left = disk.now();
        let (engine, _disk) = come_back(&host, engine, disk, left).await;
        testkit::wait_until_async("what always runs", || async {
            match engine.container_inspect(&always).expect("it is there").state.status {
                Status::Running => Ok(()),
                other => Err(other),
            }
        })
        .await;
        let status = |id| engine.container_inspect(id).expect("it is there").state.status;
        assert_ne!(status(&plain), Status::Running);
        assert_eq!(status(&stopped), Status::Exited);
        engine.container_start(&plain).await.expect("start it again");
        assert_eq!(engine.troubles(), []);
        remove_all(&engine).await;
    });
}

/// Waits until a container is where `wanted` says.
async fn becomes(engine: &Engine, id: &ContainerId, wanted: Status) {
    testkit::wait_until_async("the container's status", || async {
        match engine.container_inspect(id).expect("it is there").state.status {
            status if status == wanted => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

#[test]
fn a_start_is_not_forgotten_by_a_power_cut() {
    on_powered_host(|host, engine, disk| async move {
        let spec = ContainerSpec { restart: RestartPolicy::Always, ..shell("sleep 1000") };
        let always = start(&engine, spec).await;
        let left = disk.now();
        let (engine, disk) = come_back(&host, engine, disk, left).await;
        becomes(&engine, &always, Status::Running).await;
        // The policy can come later than the start.
        let later = start(&engine, shell("sleep 1000")).await;
        let update = ContainerUpdate { restart: Some(RestartPolicy::Always), ..ContainerUpdate::default() };
        engine.container_update(&later, update).await.expect("update");
        let left = disk.now();
        let (engine, _disk) = come_back(&host, engine, disk, left).await;
        becomes(&engine, &later, Status::Running).await;
        assert_eq!(engine.troubles(), []);
        remove_all(&engine).await;
    });
}

#[test]
fn what_was_told_to_end_does_not_come_back_after_a_power_cut() {
    on_powered_host(|host, engine, disk| async move {
        let spec = |script| ContainerSpec { restart: RestartPolicy::UnlessStopped, ..shell(script) };
        let killed = start(&engine, spec("sleep 1000")).await;
        engine.container_kill(&killed, None).await.expect("kill");
        let left = disk.now();
        let (engine, disk) = come_back(&host, engine, disk, left).await;
        assert_eq!(engine.container_inspect(&killed).expect("it is there").state.status, Status::Exited);
        let looping = start(&engine, spec("exit 3")).await;
        becomes(&engine, &looping, Status::Restarting).await;
        engine.container_stop(&looping, None, None).await.expect("stop");
        let left = disk.now();
        let (engine, _disk) = come_back(&host, engine, disk, left).await;
        assert_eq!(engine.container_inspect(&looping).expect("it is there").state.status, Status::Exited);
        assert_eq!(engine.troubles(), []);
        remove_all(&engine).await;
    });
}

#[test]
fn what_a_container_was_changed_to_outlives_a_power_cut() {
    on_powered_host(|host, engine, disk| async move {
        let id = create(&engine, shell("true")).await;
        engine.container_rename(&id, "renamed").await.expect("rename");
        let update = ContainerUpdate { restart: Some(RestartPolicy::Always), ..ContainerUpdate::default() };
        engine.container_update(&id, update).await.expect("update");
        let left = disk.now();
        let (engine, _disk) = come_back(&host, engine, disk, left).await;
        let container = engine.container_inspect(&id).expect("it is there");
        assert_eq!(container.name, "renamed");
        assert_eq!(container.spec.restart, RestartPolicy::Always);
        remove_all(&engine).await;
    });
}

#[test]
fn a_volume_outlives_a_power_cut_with_what_it_was_filled_with() {
    on_powered_host(|host, engine, disk| async move {
        let spec = VolumeSpec { name: Some("made".to_owned()), ..VolumeSpec::default() };
        engine.volume_create(spec).await.expect("make a volume");
        let left = disk.now();
        let (engine, disk) = come_back(&host, engine, disk, left).await;
        engine.volume_inspect("made").expect("it is there");
        // The image's /etc is copied into it.
        let spec = ContainerSpec { mounts: vec![named_volume("filled", "/etc")], ..shell("cat /etc/passwd") };
        let id = create(&engine, spec).await;
        let left = disk.now();
        let (engine, _disk) = come_back(&host, engine, disk, left).await;
        let passwd = host.path("root/volumes/filled/_data/passwd");
        assert!(std::fs::read_to_string(passwd).expect("it was filled").contains("root:x:0:0"));
        engine.container_start(&id).await.expect("start");
        assert_eq!(support::wait(&engine, &id).await.code, 0);
        assert_eq!(engine.troubles(), []);
        remove_all(&engine).await;
    });
}

#[test]
fn a_sandbox_outlives_a_power_cut() {
    on_powered_host(|host, engine, disk| async move {
        let spec = SandboxSpec { name: "pod".to_owned(), ..SandboxSpec::default() };
        let id = engine.sandbox_create(spec).await.expect("make a sandbox");
        let left = disk.now();
        let (engine, _disk) = come_back(&host, engine, disk, left).await;
        let sandbox = engine.sandbox_inspect(&id).expect("it is there");
        assert_eq!((sandbox.spec.name.as_str(), sandbox.ready), ("pod", false));
        assert_eq!(engine.troubles(), []);
        remove_all(&engine).await;
    });
}

/// What is to be removed, each kind by itself.
const KINDS: [&str; 7] =
    ["container", "containers", "volume", "unused volumes", "sandbox", "network", "a name of an image"];

#[test]
fn what_was_removed_does_not_come_back_after_a_power_cut() {
    on_powered_host(|host, engine, disk| async move {
        let (mut engine, mut disk) = (engine, disk);
        let anonymous = Mount { target: "/data".to_owned(), read_only: false, source: volume(None) };
        let with_volume = ContainerSpec { mounts: vec![anonymous], ..shell("sleep 1000") };
        let running = start(&engine, with_volume.clone()).await;
        let [one, two] = [create(&engine, with_volume).await, create(&engine, shell("true")).await];
        for name in ["named", "unused"] {
            let spec = VolumeSpec { name: Some(name.to_owned()), ..VolumeSpec::default() };
            engine.volume_create(spec).await.expect("make a volume");
        }
        let sandbox = engine.sandbox_create(SandboxSpec::default()).await.expect("make a sandbox");
        let network = NetworkSpec { name: "front".to_owned(), ..NetworkSpec::default() };
        let network = engine.network_create(network).await.expect("make a network").id.clone();
        engine.image_tag(support::IMAGE, "spare:1").await.expect("tag");
        base::fs::sync_file_system(&host.path("root")).expect("all of it is on disk");
        let force = RemoveOptions { force: true, volumes: true };
        for (done, kind) in KINDS.into_iter().enumerate() {
            match kind {
                "container" => engine.container_remove(&running, force).await,
                "containers" => {
                    let both = [&one, &two].map(|id| engine.container_remove(id, force));
                    futures::future::try_join_all(both).await.map(drop)
                }
                "volume" => engine.volume_remove("named", false).await,
                "unused volumes" => engine.volume_prune(PruneFilter::default(), true).await.map(drop),
                "sandbox" => engine.sandbox_remove(&sandbox).await,
                "network" => engine.network_remove(&network).await,
                _ => engine.image_remove("spare:1", false, false).await.map(drop),
            }
            .expect(kind);
            let left = disk.now();
            (engine, disk) = come_back(&host, engine, disk, left).await;
            let is_there = [
                engine.container_inspect(&running).is_ok(),
                engine.container_inspect(&one).is_ok() || engine.container_inspect(&two).is_ok(),
                engine.volume_inspect("named").is_ok(),
                engine.volume_inspect("unused").is_ok(),
                engine.sandbox_inspect(&sandbox).is_ok(),
                engine.network_find("front").is_ok(),
                engine.image_inspect("spare:1").is_ok(),
            ];
            let expected: Vec<bool> = (0..KINDS.len()).map(|at| at > done).collect();
            assert_eq!(is_there.to_vec(), expected, "after removing: {kind}");
            let anonymous = engine.volume_list(&VolumeFilter::default());
            let anonymous = anonymous.iter().filter(|volume| volume.anonymous).count();
            assert_eq!(anonymous, [1, 0][done.min(1)], "they go with their containers");
            assert_eq!(engine.troubles(), [], "{kind}");
        }
        remove_all(&engine).await;
    });
}

#[test]
fn a_container_that_removes_itself_does_so_again_after_a_power_cut() {
    on_powered_host(|host, engine, disk| async move {
        let own = |line| ContainerSpec { auto_remove: true, ..shell(line) };
        let ended = start(&engine, own("true")).await;
        let never = create(&engine, own("true")).await;
        testkit::wait_until_async("it to go", || async {
            if engine.container_inspect(&ended).is_ok() { Err(()) } else { Ok(()) }
        })
        .await;
        let left = disk.now();
        // The machine starts anew, which is seen by this.
        let boot = host.path("boot");
        std::fs::write(&boot, "00000000-0000-4000-8000-000000000000\n").expect("write");
        let place = "/proc/sys/kernel/random/boot_id";
        rustix::mount::mount_bind(&boot, place).expect("another boot");
        let (engine, _disk) = come_back(&host, engine, disk, left).await;
        testkit::wait_until_async("both to be gone", || async {
            let there = [&ended, &never].map(|id| engine.container_inspect(id).is_ok());
            if there == [false, false] { Ok(()) } else { Err(there) }
        })
        .await;
        assert_eq!(engine.troubles(), []);
    });
}

#[test]
fn what_was_being_made_is_gone_after_a_power_cut_and_the_engine_starts() {
    on_powered_host(|host, engine, disk| async move {
        // Some of these are acknowledged when the power goes, some are not.
        let creating: Vec<_> = (0..20)
            .map(|_| {
                let engine = engine.clone();
                tokio::spawn(async move { create(&engine, shell("true")).await })
            })
            .collect();
        let mut made = Vec::new();
        let mut creating = creating.into_iter();
        for task in creating.by_ref().take(5) {
            made.push(task.await.expect("made"));
        }
        let left = disk.now();
        for task in creating {
            task.await.expect("made");
        }
        let (engine, _disk) = come_back(&host, engine, disk, left).await;
        for id in &made {
            engine.container_inspect(id).expect("it was acknowledged");
        }
        assert_eq!(engine.troubles(), []);
        assert_eq!(output(&engine, shell("echo fine")).await, "fine\n");
        remove_all(&engine).await;
    });
}

/// A file system that takes nothing while this is held, and keeps whoever writes to it.
struct Frozen(std::path::PathBuf);

impl Frozen {
    fn new(path: std::path::PathBuf) -> Self {
        assert!(fsfreeze("-f", &path), "freeze the disk");
        Self(path)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        fsfreeze("-u", &self.0);
    }
}

fn fsfreeze(how: &str, path: &std::path::Path) -> bool {
    std::process::Command::new("fsfreeze").arg(how).arg(path).status().expect("run fsfreeze").success()
}

#[test]
fn who_waits_for_the_disk_holds_up_nobody_else() {
    on_powered_host(|_, engine, disk| async move {
        let id = create(&engine, shell("true")).await;
        let frozen = Frozen::new(disk.path());
        // More of each than the runtime has workers.
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..3 {
            let (tags, renames) = (engine.clone(), engine.clone());
            waiting.spawn(async move { tags.image_tag(support::IMAGE, &format!("spare:{number}")).await });
            let id = id.clone();
            waiting.spawn(async move { renames.container_rename(&id, &format!("name{number}")).await });
        }
        for _ in 0..100 {
            let other = tokio::spawn(async { tokio::task::yield_now().await });
            tokio::time::timeout(std::time::Duration::from_secs(20), other)
                .await
                .expect("no worker is held up")
                .expect("it ends");
        }
        assert!(waiting.try_join_next().is_none(), "all of them wait for the disk");
        assert_eq!(engine.container_inspect(&id).expect("it is there").state.status, Status::Created);
        drop(frozen);
        while let Some(done) = waiting.join_next().await {
            done.expect("no panic").expect("done");
        }
        remove_all(&engine).await;
    });
}
