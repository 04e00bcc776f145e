//! What holds a container goes wrong: it stands still, loses its connections, or ends with the
//! engine. Nothing else is held up by it, and what can be said of the container is right.

mod support;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base::{Clock, SystemClock, SystemRandom, Timestamp};
use engine::container::{NetworkMode, RemoveOptions, RestartPolicy, Status, WaitCondition};
use engine::exec::ExecSpec;
use engine::{ContainerId, ContainerSpec, Engine};
use runtime::shim::ShimHandle;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open};
use support::{Host, create, logs, on_host, remove_all, shell, start, status, until, wait};

/// How long what must not be held up may take on a machine that does much else.
const SOON: Duration = Duration::from_secs(40);

/// The shim of a container with a sandbox of its own.
fn shim_of(host: &Host, id: &ContainerId) -> ShimHandle {
    let socket = host.path(&format!("run/shims/{id}.sock"));
    ShimHandle::find(&socket).expect("find the shim").0
}

fn send(shim: &ShimHandle, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(shim.pid).expect("a process id")).expect("not zero");
    kill_process(pid, signal).expect("signal the shim");
}

async fn run(engine: &Engine, id: &ContainerId, line: &str) -> (Option<i32>, String) {
    let spec = ExecSpec { command: ["sh", "-c", line].map(str::to_owned).into(), ..ExecSpec::default() };
    let output = engine.exec_run(id, spec, Some(SOON), 4096).await.expect("a further process");
    (output.exit_code, String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn a_shim_that_stands_still_holds_up_neither_the_engine_nor_other_containers() {
    on_host(|host, engine| async move {
        let stuck = start(&engine, shell("sleep 1000")).await;
        let well = start(&engine, shell("sleep 1000")).await;
        let pid = engine.container_inspect(&stuck).expect("inspect").state.pid.expect("it runs");
        let shim = shim_of(&host, &stuck);
        send(&shim, Signal::STOP);
        let begun = Instant::now();
        let engine = host.reopen(engine, async || {}).await;
        assert!(begun.elapsed() < SOON, "opened after {:?}", begun.elapsed());
        // It is what it was: nobody can say otherwise.
        assert_eq!(status(&engine, &stuck).0, Status::Running);
        assert_eq!(run(&engine, &well, "echo well").await, (Some(0), "well".to_owned()));
        let remove = engine.container_remove(&stuck, RemoveOptions { force: true, volumes: true });
        tokio::time::timeout(SOON, remove).await.expect("removed in time").expect("removed");
        testkit::wait_until_async("the program's and the shim's end", || async {
            let is_there = |pid: u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
            if is_there(pid) || shim.is_alive() { Err("they live") } else { Ok(()) }
        })
        .await;
        assert_eq!(run(&engine, &well, "echo well").await.0, Some(0));
        remove_all(&engine).await;
    });
}

#[test]
fn a_shim_that_goes_on_is_heard_again_with_what_it_missed() {
    on_host(|host, engine| async move {
        let id = start(&engine, shell("while [ ! -e /go ]; do sleep 0.02; done; exit 6")).await;
        let shim = shim_of(&host, &id);
        send(&shim, Signal::STOP);
        let engine = host.reopen(engine, async || {}).await;
        assert_eq!(status(&engine, &id).0, Status::Running);
        send(&shim, Signal::CONT);
        testkit::wait_until_async("the shim to be heard", || async {
            let touch =
                ExecSpec { command: vec!["touch".to_owned(), "/go".to_owned()], ..ExecSpec::default() };
            engine.exec_run(&id, touch, Some(SOON), 0).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        assert_eq!(wait(&engine, &id).await.code, 6);
        remove_all(&engine).await;
    });
}

/// Closes every connection that a shim has, but not its own socket.
fn cut_connections(shim: &ShimHandle) -> usize {
    let pid = Pid::from_raw(i32::try_from(shim.pid).expect("a process id")).expect("not zero");
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("hold the shim");
    let mut cut = 0;
    for entry in std::fs::read_dir(format!("/proc/{}/fd", shim.pid)).expect("list").flatten() {
        let number: i32 = entry.file_name().to_str().and_then(|name| name.parse().ok()).expect("a number");
        let Ok(fd) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) else { continue };
        if rustix::net::sockopt::socket_acceptconn(fd.as_fd()).is_ok_and(|listens| !listens) {
            cut += usize::from(rustix::net::shutdown(&fd, rustix::net::Shutdown::Both).is_ok());
        }
    }
    cut
}

#[test]
fn a_further_process_that_begins_when_nobody_waits_for_it_any_more_is_ended() {
    on_host(|host, engine| async move {
        let id = start(&engine, shell("sleep 1000")).await;
        let spec = ExecSpec { command: ["sleep", "4242"].map(str::to_owned).into(), ..ExecSpec::default() };
        // It is known to the engine, so that nobody has to be asked about it.
        assert_eq!(run(&engine, &id, "true").await.0, Some(0));
        let late = engine.exec_create(&id, spec).await.expect("prepare");
        let shim = shim_of(&host, &id);
        send(&shim, Signal::STOP);
        let mut starting = Box::pin(engine.exec_start(&late, None));
        assert!(
            tokio::time::timeout(Duration::from_secs(1), &mut starting).await.is_err(),
            "it is asked for"
        );
        send(&shim, Signal::CONT);
        let runs = async || {
            let table = engine.container_top(&id, "-o pid,args").await.expect("top");
            table.rows.iter().any(|row| row[1] == "sleep 4242")
        };
        testkit::wait_until_async("its begin", || async { if runs().await { Ok(()) } else { Err(()) } })
            .await;
        // It runs, and whoever asked for it goes without having heard so.
        drop(starting);
        testkit::wait_until_async("its end", || async { if runs().await { Err(()) } else { Ok(()) } }).await;
        remove_all(&engine).await;
    });
}

#[test]
fn a_lost_connection_is_no_lost_container() {
    on_host(|host, engine| async move {
        let id = start(&engine, shell("while [ ! -e /go ]; do sleep 0.02; done; exit 6")).await;
        let shim = shim_of(&host, &id);
        assert!(cut_connections(&shim) > 0, "the engine listens to the shim");
        assert_eq!(run(&engine, &id, "touch /go; echo on").await.1, "on");
        assert_eq!(wait(&engine, &id).await.code, 6);
        remove_all(&engine).await;
    });
}

#[test]
fn a_user_database_without_an_end_does_not_keep_processes_from_joining() {
    on_host(|_, engine| async move {
        let id = start(&engine, shell("sleep 1000")).await;
        for place in ["/dev/zero", "/tmp/pipe"] {
            let line = format!("mkfifo /tmp/pipe; ln -sf {place} /etc/passwd; ln -sf {place} /etc/group");
            assert!(run(&engine, &id, &line).await.0.is_some());
            assert_eq!(run(&engine, &id, "echo on").await, (Some(0), "on".to_owned()), "{place}");
        }
        remove_all(&engine).await;
    });
}

#[test]
fn a_container_starts_again_after_its_shim_and_the_engine_have_died() {
    on_host(|host, engine| async move {
        let mut spec = shell("sleep 1000");
        spec.namespaces.network = NetworkMode::Bridge;
        let id = start(&engine, spec).await;
        let shim = shim_of(&host, &id);
        // Somebody looks into its network, so that this and its cable outlive it.
        let network = std::fs::File::open(format!("/proc/{}/ns/net", shim.pid)).expect("hold its network");
        let engine = host
            .reopen(engine, async || {
                send(&shim, Signal::KILL);
                testkit::wait_until("the shim's end", || if shim.is_alive() { Err(()) } else { Ok(()) });
            })
            .await;
        until(&engine, &id, Status::Exited).await;
        engine.container_start(&id).await.expect("start it again");
        assert_eq!(run(&engine, &id, "ip addr | grep -c eth0").await, (Some(0), "2".to_owned()));
        drop(network);
        remove_all(&engine).await;
    });
}

#[test]
fn a_machine_that_goes_down_in_order_remembers_how_containers_ended() {
    on_host(|host, engine| async move {
        let spec = |code: u32, restart| ContainerSpec {
            restart,
            stop_signal: Some("USR1".to_owned()),
            ..shell(&format!("trap 'exit {code}' USR1; echo ready; while :; do sleep 0.02; done"))
        };
        let once = start(&engine, spec(7, RestartPolicy::No)).await;
        let always = start(&engine, spec(8, RestartPolicy::UnlessStopped)).await;
        for id in [&once, &always] {
            testkit::wait_until_async("it to be ready", || async {
                let text = logs(&engine, id).await.0;
                if text.contains("ready") { Ok(()) } else { Err(text) }
            })
            .await;
        }
        let shims = [shim_of(&host, &once), shim_of(&host, &always)];
        let engine = host
            .reopen(engine, async || {
                for shim in &shims {
                    send(shim, Signal::TERM);
                    testkit::wait_until("the shim's end", || if shim.is_alive() { Err(()) } else { Ok(()) });
                }
                support::forget_run(&host);
            })
            .await;
        assert_eq!(status(&engine, &once), (Status::Exited, 7));
        until(&engine, &always, Status::Running).await;
        remove_all(&engine).await;
    });
}

#[test]
fn programs_have_the_usual_limit_of_files() {
    on_host(|_, engine| async move {
        let id = start(&engine, shell("ulimit -n; sleep 1000")).await;
        assert_eq!(run(&engine, &id, "ulimit -Sn; ulimit -Hn").await.1, "512\n2048");
        testkit::wait_until_async("the container's own", || async {
            let text = logs(&engine, &id).await.0;
            if text == "512\n" { Ok(()) } else { Err(text) }
        })
        .await;
        remove_all(&engine).await;
    });
}

#[test]
fn a_start_that_does_not_come_to_an_end_is_interrupted_by_a_removal() {
    on_host(|host, engine| async move {
        let parent = std::path::PathBuf::from(format!("/{}/still", host.instance()));
        let group = runtime::cgroup::Cgroup::at(&parent).expect("a good path");
        group.create().expect("make a cgroup");
        group.freeze().expect("freeze it");
        let spec = ContainerSpec {
            cgroup_parent: Some(parent.to_string_lossy().into_owned()),
            ..shell("sleep 1000")
        };
        let id = create(&engine, spec).await;
        let starting = tokio::spawn({
            let (engine, id) = (engine.clone(), id.clone());
            async move { engine.container_start(&id).await }
        });
        testkit::wait_until_async("the start to be under way", || async {
            match group.pids() {
                Ok(pids) if !pids.is_empty() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        let remove = engine.container_remove(&id, RemoveOptions { force: true, volumes: true });
        let removed = tokio::time::timeout(SOON, remove).await.expect("removed in time");
        // What stands still in a frozen cgroup of version 1 cannot end; that it is told is enough.
        if let Err(error) = removed {
            assert!(error.to_string().contains("kill"), "{error}");
        }
        assert!(starting.await.expect("no panic").is_err());
        group.thaw().expect("thaw");
        remove_all(&engine).await;
    });
}

/// A clock that panics so many times when it is asked for the time of day.
struct FaultyClock {
    clock: SystemClock,
    faults: AtomicU32,
}

impl Clock for FaultyClock {
    fn now(&self) -> Timestamp {
        let fault = self.faults.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(fault.is_err(), "a fault of the clock");
        self.clock.now()
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }
}

#[test]
fn a_panic_on_the_way_leaves_no_container_between_two_states() {
    on_host(|host, engine| async move {
        engine.close().await;
        drop(engine);
        base::panics::watch(|panic| eprintln!("{panic}"));
        let clock = Arc::new(FaultyClock { clock: SystemClock::new(), faults: AtomicU32::new(0) });
        let engine = Engine::open(host.config(), Arc::<FaultyClock>::clone(&clock), Arc::new(SystemRandom));
        let engine = engine.await.expect("open the engine");
        let pid = |id: &ContainerId| engine.container_inspect(id).expect("inspect").state.pid;
        // Ever further on the way from one program's end to the next one's start.
        for faults in 1..8 {
            let spec = ContainerSpec { restart: RestartPolicy::Always, ..shell("sleep 1000") };
            let always = start(&engine, spec).await;
            let (before, panics) = (pid(&always).expect("it runs"), base::panics::count());
            let exit = engine.container_wait(&always, WaitCondition::NextExit).expect("wait");
            clock.faults.store(faults, Ordering::SeqCst);
            let first = Pid::from_raw(i32::try_from(before).expect("a process id")).expect("not zero");
            kill_process(first, Signal::KILL).expect("kill its program");
            let exit = tokio::time::timeout(SOON, exit).await.expect("whoever waits is told").expect("exit");
            assert_eq!(exit.code, 137, "{faults} faults");
            testkit::wait_until_async("it to run again", || async {
                match (status(&engine, &always).0, pid(&always)) {
                    (Status::Running, Some(now)) if now != before => Ok(()),
                    other => Err(other),
                }
            })
            .await;
            assert_eq!(clock.faults.swap(0, Ordering::SeqCst), 0, "all of them happened");
            assert_eq!(base::panics::count() - panics, u64::from(faults), "each is counted");
            assert_eq!(run(&engine, &always, "echo on").await, (Some(0), "on".to_owned()));
        }
        let once = start(&engine, ContainerSpec { auto_remove: true, ..shell("read line") }).await;
        clock.faults.store(2, Ordering::SeqCst);
        testkit::wait_until_async("what removes itself to be gone", || async {
            match engine.container_inspect(&once) {
                Err(_) => Ok(()),
                Ok(view) => Err(view.state.status),
            }
        })
        .await;
        clock.faults.store(0, Ordering::SeqCst);
        remove_all(&engine).await;
    });
}

/// A shim cannot be asked: that says nothing about it, and it is asked again until it can.
#[test]
fn an_error_while_asking_a_shim_loses_neither_it_nor_its_container() {
    on_host(|host, engine| async move {
        let id = start(&engine, shell("while [ ! -e /go ]; do sleep 0.02; done; exit 6")).await;
        let shim = shim_of(&host, &id);
        let aside = host.path("aside.sock");
        std::fs::rename(&shim.socket, &aside).expect("move the socket aside");
        // Whoever asks here is cut off.
        let impostor = std::os::unix::net::UnixListener::bind(&shim.socket).expect("listen in its place");
        let cut = std::thread::spawn(move || {
            let cut: Vec<_> = impostor.incoming().take(3).map(drop).collect();
            cut.len()
        });
        let engine = host.reopen(engine, async || {}).await;
        assert_eq!(status(&engine, &id).0, Status::Running, "nobody can say otherwise");
        assert!(shim.socket.exists(), "somebody listened there");
        assert_eq!(cut.join().expect("no panic"), 3, "it is asked again and again");
        std::fs::rename(&aside, &shim.socket).expect("put it back");
        testkit::wait_until_async("the shim to be heard", || async {
            let touch =
                ExecSpec { command: vec!["touch".to_owned(), "/go".to_owned()], ..ExecSpec::default() };
            engine.exec_run(&id, touch, Some(SOON), 0).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        assert_eq!(wait(&engine, &id).await.code, 6);
        remove_all(&engine).await;
    });
}

#[test]
fn sockets_at_which_nobody_answers_hold_up_no_start_however_many() {
    on_host(|host, engine| async move {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("raise the limit");
        let id = start(&engine, shell("sleep 1000")).await;
        let listeners = std::cell::RefCell::new(Vec::new());
        let begun = std::cell::Cell::new(Instant::now());
        let engine = host
            .reopen(engine, async || {
                for number in 0..500 {
                    let socket = host.path(&format!("run/shims/{number:064x}.sock"));
                    let listener = std::os::unix::net::UnixListener::bind(socket).expect("listen");
                    listeners.borrow_mut().push(listener);
                }
                begun.set(Instant::now());
            })
            .await;
        assert!(begun.get().elapsed() < SOON, "opened after {:?}", begun.get().elapsed());
        assert_eq!(run(&engine, &id, "echo well").await, (Some(0), "well".to_owned()));
        let told = engine.troubles().iter().filter(|trouble| trouble.subject.contains("the shim of")).count();
        assert_eq!(told, 500, "each is told, and left alone");
        assert!(host.path(&format!("run/shims/{:064x}.sock", 7)).exists());
        remove_all(&engine).await;
    });
}
