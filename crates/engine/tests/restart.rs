//! The engine goes away and comes back: containers go on, and what happened meanwhile is learnt.

mod support;

use std::sync::Arc;

use base::{SystemClock, SystemRandom};
use engine::container::{
    ContainerFilter, Mount, MountSource, Propagation, RemoveOptions, RestartPolicy, Status,
};
use engine::exec::ExecSpec;
use engine::{ContainerSpec, Engine, Kind};
use rustix::process::{Pid, Signal, kill_process};
use support::{Host, create, logs, on_host, remove_all, shell, start, status, until, wait};

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
