//! The engine goes away and comes back: containers go on, and what happened meanwhile is learnt.

mod support;

use std::sync::Arc;
use std::time::Duration;

use base::{Clock, SystemClock, SystemRandom, Timestamp};
use engine::container::{
    ContainerFilter, Mount, MountSource, Propagation, RemoveOptions, RestartPolicy, Status,
};
use engine::exec::ExecSpec;
use engine::sandbox::SandboxSpec;
use engine::{ContainerSpec, Engine, Kind};
use runtime::cgroup::Cgroup;
use rustix::process::{Pid, Signal, kill_process};
use support::{Host, create, logs, on_host, on_small_host, remove_all, shell, start, status, until, wait};

/// Kills every shim, as a reboot does.
async fn kill_shims(host: &Host) {
    for entry in std::fs::read_dir(host.path("run/shims")).expect("the sockets").flatten() {
        let Ok((handle, _)) = runtime::shim::ShimHandle::find(&entry.path()) else { continue };
        let pid = Pid::from_raw(i32::try_from(handle.pid).expect("a process id")).expect("not zero");
        kill_process(pid, Signal::KILL).expect("kill a shim");
        testkit::wait_until_async("the shim's end", || async {
            if handle.is_alive() { Err(()) } else { Ok(()) }
        })
        .await;
    }
}

#[test]
fn a_container_goes_on_while_the_engine_is_away() {
    on_host(|host, engine| async move {
        let id =
            start(&engine, shell("echo before; while [ ! -e /go ]; do sleep 0.02; done; echo after; exit 6"))
                .await;
        let pid = engine.container_inspect(&id).expect("inspect").state.pid;
        let engine = host.reopen(engine, async || {}).await;
        assert_eq!(status(&engine, &id).0, Status::Running);
        assert_eq!(engine.container_inspect(&id).expect("inspect").state.pid, pid);
        let go = ExecSpec { command: vec!["touch".to_owned(), "/go".to_owned()], ..ExecSpec::default() };
        engine.exec_run(&id, go, None, 0).await.expect("a further process");
        assert_eq!(wait(&engine, &id).await.code, 6);
        assert_eq!(logs(&engine, &id).await.0, "before\nafter\n");
        remove_all(&engine).await;
    });
}

#[test]
fn what_is_being_ended_when_the_engine_closes_comes_to_its_end() {
    on_host(|host, engine| async move {
        let id = start(&engine, shell("trap '' TERM; while :; do sleep 1; done")).await;
        let other = engine.clone();
        let options = RemoveOptions { force: true, volumes: true };
        let mut removing = Box::pin(other.container_remove(&id, options));
        assert!(futures::poll!(&mut removing).is_pending(), "its processes have to end first");
        engine.close().await;
        removing.await.expect("it is removed");
        drop(other);
        let engine = host.reopen(engine, async || {}).await;
        assert!(engine.container_inspect(&id).is_err());
        remove_all(&engine).await;
    });
}

#[test]
fn an_end_while_the_engine_is_away_is_learnt() {
    on_host(|host, engine| async move {
        let signs = host.path("signs");
        std::fs::create_dir(&signs).expect("a directory");
        // Both end when they are told to.
        let until_told = |code: u8| {
            let mounts = vec![Mount {
                target: "/signs".to_owned(),
                read_only: true,
                source: MountSource::Bind {
                    path: signs.clone(),
                    subpath: None,
                    must_be: None,
                    propagation: Propagation::default(),
                    create: false,
                    non_recursive: false,
                    writable_below: false,
                },
            }];
            let line = format!("until [ -e /signs/end ]; do sleep 0.05; done; exit {code}");
            ContainerSpec { mounts, ..shell(&line) }
        };
        let id = start(&engine, until_told(5)).await;
        let again = ContainerSpec { restart: RestartPolicy::OnFailure { retries: Some(1) }, ..until_told(8) };
        let again = start(&engine, again).await;
        let pid = engine.container_inspect(&id).expect("inspect").state.pid.expect("it runs");
        let other = engine.container_inspect(&again).expect("inspect").state.pid.expect("it runs");
        let ends = async || {
            std::fs::write(signs.join("end"), "").expect("a file");
            testkit::wait_until("the programs' ends", || {
                let gone = |pid: u32| !std::path::Path::new(&format!("/proc/{pid}")).exists();
                if gone(pid) && gone(other) { Ok(()) } else { Err("they run") }
            });
        };
        let engine = host.reopen(engine, ends).await;
        until(&engine, &id, Status::Exited).await;
        assert_eq!(status(&engine, &id).1, 5);
        wait(&engine, &again).await;
        let container = engine.container_inspect(&again).expect("inspect");
        assert_eq!((container.state.exit_code, container.restart_count), (8, 1));
        remove_all(&engine).await;
    });
}

/// A clock that is an hour ahead.
struct Ahead(SystemClock);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        self.0.now() + Duration::from_secs(3600)
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[test]
fn how_it_ended_is_known_though_the_clock_was_set_back_after_the_start() {
    on_host(|host, engine| async move {
        // Its end before the last says nothing of the last.
        let id = start(&engine, shell("[ -e /again ] && exit 6; touch /again; exit 5")).await;
        assert_eq!(wait(&engine, &id).await.code, 5);
        engine.close().await;
        drop(engine);
        let engine = host.open_by(Arc::new(Ahead(SystemClock::new()))).await;
        engine.container_start(&id).await.expect("start it again");
        let ended = host.path(&format!("run/sandboxes/{id}/state/{id}/exit.json"));
        let ends = async || {
            testkit::wait_until("its end to be written down", || {
                if ended.exists() { Ok(()) } else { Err(ended.display().to_string()) }
            });
            kill_shims(&host).await;
        };
        let engine = host.reopen(engine, ends).await;
        until(&engine, &id, Status::Exited).await;
        assert_eq!(status(&engine, &id).1, 6);
        remove_all(&engine).await;
    });
}

/// Stands still until it is dropped: nobody writes to the file system meanwhile.
struct Frozen(std::path::PathBuf);

impl Frozen {
    fn freeze(place: std::path::PathBuf) -> Self {
        run("fsfreeze", &["-f".as_ref(), place.as_os_str()]);
        Self(place)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        run("fsfreeze", &["-u".as_ref(), self.0.as_os_str()]);
    }
}

fn run(program: &str, arguments: &[&std::ffi::OsStr]) {
    let status = std::process::Command::new(program).args(arguments).status().expect("run it");
    assert!(status.success(), "{program} {arguments:?}");
}

#[test]
fn a_container_that_lost_its_shim_has_not_ended_before_its_processes_have() {
    on_small_host("512m", |host, engine| async move {
        let disk = testkit::PowerCut::new();
        let mounts = vec![Mount {
            target: "/disk".to_owned(),
            read_only: false,
            source: MountSource::Bind {
                path: disk.path(),
                subpath: None,
                must_be: None,
                propagation: Propagation::default(),
                create: false,
                non_recursive: false,
                writable_below: false,
            },
        }];
        let spec = ContainerSpec { mounts, ..shell("while :; do echo x > /disk/file; sleep 0.01; done") };
        let id = start(&engine, spec).await;
        testkit::wait_until("it to write", || disk.path().join("file").metadata().map(drop));
        let pid = engine.container_inspect(&id).expect("inspect").state.pid.expect("it runs");
        let waits = || std::fs::read_to_string(format!("/proc/{pid}/stat")).map(|stat| stat.contains(") D "));
        let frozen = Frozen::freeze(disk.path());
        testkit::wait_until("it to wait for its disk", || match waits() {
            Ok(true) => Ok(()),
            other => Err(other),
        });
        kill_shims(&host).await;
        // For as long as it takes to tell of an end, and after the engine began anew: nobody is told of one.
        let lives = async |engine: &Engine| {
            for _ in 0..30 {
                assert!(waits().expect("it is there"));
                assert_eq!(status(engine, &id).0, Status::Running);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        lives(&engine).await;
        let engine = host.reopen(engine, async || {}).await;
        lives(&engine).await;
        drop(frozen);
        until(&engine, &id, Status::Exited).await;
        // Whoever is the parent by now may not have buried it yet.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        assert!(stat.as_ref().map_or(true, |stat| stat.contains(") Z ")), "{stat:?}");
        assert_eq!(status(&engine, &id).1, 137);
        assert_eq!(std::fs::read_dir(host.path("run/shims")).expect("the sockets").count(), 0);
        remove_all(&engine).await;
    });
}

#[test]
fn a_shim_that_is_killed_leaves_no_socket() {
    on_host(|host, engine| async move {
        let alone = start(&engine, shell("sleep 1000")).await;
        let sandbox = engine.sandbox_create(SandboxSpec::default()).await.expect("make a sandbox");
        let member = ContainerSpec { sandbox: Some(sandbox), ..shell("sleep 1000") };
        let member = start(&engine, member).await;
        kill_shims(&host).await;
        until(&engine, &alone, Status::Exited).await;
        until(&engine, &member, Status::Exited).await;
        testkit::wait_until_async("the sockets to go", || async {
            let left = std::fs::read_dir(host.path("run/shims")).expect("the sockets").count();
            if left == 0 { Ok(()) } else { Err(left) }
        })
        .await;
        remove_all(&engine).await;
    });
}

#[test]
fn what_a_taking_down_that_was_cut_off_left_goes_with_its_sandbox() {
    on_host(|host, engine| async move {
        let sandbox = engine.sandbox_create(SandboxSpec::default()).await.expect("make a sandbox");
        engine.sandbox_stop(&sandbox).await.expect("stop it");
        // Its network namespace was unmounted, and the file that it was at not removed any more.
        let pin = host.path("run/netns").join(sandbox.as_str());
        std::fs::write(&pin, "").expect("leave the file");
        engine.sandbox_remove(&sandbox).await.expect("remove it");
        assert!(!pin.exists());
    });
}

#[test]
fn groups_that_are_nobodys_go_and_those_of_others_stay() {
    on_host(|host, engine| async move {
        let group = |name: &str| {
            Cgroup::at(&std::path::Path::new("/").join(host.instance()).join(name))
                .expect("a name for a group")
        };
        // A sandbox whose limits cannot be had is not made.
        let mut spec =
            SandboxSpec { cgroup_parent: Some("pods/burstable".to_owned()), ..SandboxSpec::default() };
        spec.resources.cpuset_cpus = Some("4095".to_owned());
        engine.sandbox_create(spec).await.expect_err("there is no such processor");
        assert_eq!(group("pods/burstable").children().len(), 0);

        let id = start(&engine, shell("sleep 1000")).await;
        let (left, inner) = ("ab".repeat(32), "cd".repeat(32));
        let used = "ef".repeat(32);
        for name in [left.clone(), format!("pods/{left}/{inner}"), "pods/of-others".to_owned(), used.clone()]
        {
            group(&name).create().expect("make a group");
        }
        let mut sleeps = std::process::Command::new("sleep").arg("1000").spawn().expect("a process");
        group(&used).add(sleeps.id()).expect("put it into the group");
        let engine = host.reopen(engine, async || {}).await;
        assert!(!group(&left).exists() && !group(&format!("pods/{left}")).exists());
        assert!(group("pods/of-others").exists() && group(&used).exists() && group(id.as_str()).exists());
        assert_eq!(status(&engine, &id).0, Status::Running);
        sleeps.kill().and_then(|()| sleeps.wait()).expect("end it");
        remove_all(&engine).await;
    });
}

#[test]
fn after_a_reboot_containers_with_a_policy_come_back() {
    on_host(|host, engine| async move {
        let policy = |restart| ContainerSpec { restart, ..shell("sleep 1000") };
        let plain = start(&engine, policy(RestartPolicy::No)).await;
        let always = start(&engine, policy(RestartPolicy::Always)).await;
        let stopped = start(&engine, policy(RestartPolicy::UnlessStopped)).await;
        engine.container_stop(&stopped, None, Some(std::time::Duration::ZERO)).await.expect("stop");
        let never = create(&engine, policy(RestartPolicy::Always)).await;
        let engine = host.reopen(engine, async || kill_shims(&host).await).await;
        until(&engine, &always, Status::Running).await;
        assert_eq!(status(&engine, &plain), (Status::Exited, 137));
        assert_eq!(status(&engine, &stopped).0, Status::Exited);
        assert_eq!(status(&engine, &never).0, Status::Created);
        remove_all(&engine).await;
    });
}

#[test]
fn a_container_whose_shim_is_killed_is_dead_with_all_its_processes() {
    on_host(|host, engine| async move {
        let id = start(&engine, shell("sleep 1000 & sleep 1000")).await;
        let pid = engine.container_inspect(&id).expect("inspect").state.pid.expect("it runs");
        kill_shims(&host).await;
        assert_eq!(wait(&engine, &id).await.code, 137);
        testkit::wait_until("the program's end", || {
            if std::path::Path::new(&format!("/proc/{pid}")).exists() { Err("it runs") } else { Ok(()) }
        });
        engine.container_start(&id).await.expect("start it again");
        assert_eq!(status(&engine, &id).0, Status::Running);
        remove_all(&engine).await;
    });
}

#[test]
fn a_second_engine_on_the_same_root_is_refused() {
    on_host(|host, engine| async move {
        let second = Engine::open(host.config(), Arc::new(SystemClock::new()), Arc::new(SystemRandom)).await;
        let error = second.err().expect("the root is taken");
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(error.message().contains(&format!("process {}", std::process::id())), "{error}");
        engine.container_list(&ContainerFilter::default()).expect("the first goes on");
    });
}

#[test]
fn what_was_half_made_is_cleared_away_or_finished() {
    on_host(|host, engine| async move {
        let kept = create(&engine, shell("true")).await;
        let place = host.path("root/containers").join(kept.as_str());
        let making = host.path("root/containers").join(format!(".{kept}.making"));
        let rubbish = host.path("root/containers").join(format!(".{}.making", "f".repeat(64)));
        let engine = host
            .reopen(engine, async || {
                std::fs::create_dir(&rubbish).expect("a container without its record");
                std::fs::write(rubbish.join("hosts"), "x").expect("write a file");
                // The machine may lose power after the record was flushed, and before the move was.
                std::fs::rename(&place, &making).expect("a container that is not in its place");
            })
            .await;
        assert!(!rubbish.exists() && !making.exists());
        engine.container_inspect(&kept).expect("it is still there");
        assert_eq!(engine.troubles(), []);
        remove_all(&engine).await;
    });
}

#[test]
fn a_second_engine_in_the_same_run_directory_is_refused_before_it_touches_anything() {
    on_host(|host, engine| async move {
        let id = start(&engine, shell("sleep 1000")).await;
        let mut config = host.config();
        config.root = host.path("other");
        config.network = net::Config::new("other", config.root.join("network"));
        let second = Engine::open(config, Arc::new(SystemClock::new()), Arc::new(SystemRandom)).await;
        let error = second.err().expect("the run directory is taken");
        assert_eq!(error.kind(), Kind::Conflict);
        let told = error.full_message();
        assert!(told.contains(&host.path("root").display().to_string()), "{told}");
        assert!(told.contains(&host.path("run").display().to_string()), "{told}");
        assert_eq!(status(&engine, &id).0, Status::Running);
        remove_all(&engine).await;
    });
}

#[test]
fn the_shim_of_another_root_is_left_alone() {
    on_host(|host, engine| async move {
        let id = start(&engine, shell("sleep 1000")).await;
        let pid = engine.container_inspect(&id).expect("inspect").state.pid.expect("it runs");
        engine.close().await;
        drop(engine);
        // The same run directory, but another root, after the first engine has gone.
        let mut config = host.config();
        config.root = host.path("other");
        config.network = net::Config { state_dir: config.root.join("network"), ..config.network };
        let second = Engine::open(config, Arc::new(SystemClock::new()), Arc::new(SystemRandom)).await;
        let second = second.expect("nobody has the run directory");
        let told = second.troubles();
        assert!(told.iter().any(|trouble| trouble.subject.contains(id.as_str())), "{told:?}");
        second.close().await;
        drop(second);
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "its program goes on");
        let engine = host.open().await;
        assert_eq!(status(&engine, &id).0, Status::Running);
        remove_all(&engine).await;
    });
}

#[test]
fn what_removes_itself_does_so_although_the_engine_went_while_it_was_restarted() {
    on_host(|host, engine| async move {
        // It takes its time to end, so that the engine can go in between.
        let spec = ContainerSpec { auto_remove: true, ..shell("trap '' TERM; sleep 1000") };
        let id = start(&engine, spec).await;
        let restart = tokio::spawn({
            let (engine, id) = (engine.clone(), id.clone());
            async move { engine.container_restart(&id, None, None).await }
        });
        testkit::wait_until_async("the restart to begin", || async {
            let path = host.path("root/containers").join(id.as_str()).join("life.json");
            let life = std::fs::read_to_string(path).unwrap_or_default();
            if life.contains("\"halted\":true") { Ok(()) } else { Err(life) }
        })
        .await;
        let ends = async || {
            let _ = restart.await;
            kill_shims(&host).await;
        };
        let engine = host.reopen(engine, ends).await;
        testkit::wait_until_async("the container's removal", || async {
            match engine.container_inspect(&id) {
                Ok(container) => Err(container.state.status),
                Err(_) => Ok(()),
            }
        })
        .await;
    });
}

#[test]
fn a_container_of_work_that_went_with_the_engine_goes_too() {
    on_host(|host, engine| async move {
        let spec = || ContainerSpec { transient: true, ..shell("sleep 1000") };
        let step = start(&engine, spec()).await;
        let kept = start(&engine, spec()).await;
        engine.container_keep(&kept).await.expect("keep");
        let engine = host.reopen(engine, async || {}).await;
        testkit::wait_until_async("the step's end", || async {
            match engine.container_inspect(&step) {
                Ok(container) => Err(container.state.status),
                Err(_) => Ok(()),
            }
        })
        .await;
        assert_eq!(status(&engine, &kept).0, Status::Running);
        remove_all(&engine).await;
    });
}
