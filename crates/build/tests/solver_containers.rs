//! Containers that a client has in its build: what runs in them, what they may, and that nothing of them stays.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use build::solve::{
    Container, ContainerOptions, Entitlement, Job, JobOptions, Process, ProcessOptions, Ref, Session,
    SolveError, Solver,
};
use engine::OutputKind;
use llb::pb::{self, CacheSharingOpt, MountType, NetMode, SecurityMode};
use support::solving::{Client, Draft, bind, cache};
use support::with_engine;

fn client() -> Arc<dyn Session> {
    let secrets = [("s".to_owned(), b"hidden".to_vec())].into();
    Arc::new(Client { secrets, ..Client::default() })
}

fn job(solver: &Solver, entitlements: &[Entitlement]) -> Job {
    let entitlements = entitlements.iter().copied().collect::<BTreeSet<_>>();
    solver.job(JobOptions { session: Some(client()), entitlements, ..JobOptions::default() })
}

async fn base(job: &Job) -> Ref {
    let mut draft = Draft::default();
    let base = draft.busybox();
    let run = draft.run(&base, "echo of the result > /made");
    job.solve(&draft.finish(&run)).await.expect("a definition")
}

async fn options(job: &Job) -> ContainerOptions {
    let root = pb::Mount { dest: "/".to_owned(), ..pb::Mount::default() };
    let mounts = vec![(root, Some(base(job).await))];
    ContainerOptions { mounts, network: NetMode::None.into(), ..ContainerOptions::default() }
}

fn shell(line: &str) -> ProcessOptions {
    let args = ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
    let meta = pb::Meta { args, env: vec!["PATH=/bin".to_owned()], ..pb::Meta::default() };
    ProcessOptions { meta, ..ProcessOptions::default() }
}

/// What a process writes, and with what it ends.
async fn ended(mut process: Process) -> (String, Result<i32, SolveError>) {
    let mut text = String::new();
    while let Some(piece) = process.output.next().await {
        let (kind, bytes) = piece.expect("output");
        let before = if matches!(kind, OutputKind::Stderr) { "!" } else { "" };
        text += &format!("{before}{}", String::from_utf8_lossy(&bytes));
    }
    let code = process.wait().await;
    (text, code)
}

async fn said(container: &Container, options: ProcessOptions) -> (String, i32) {
    let process = container.start(options).await.expect("it starts");
    let (text, code) = ended(process).await;
    (text, code.expect("it ends"))
}

#[test]
fn processes_have_what_is_theirs_and_end_with_the_first() {
    with_engine(async |engine| {
        let solver = Solver::new(engine.clone());
        let job = job(&solver, &[]);
        let mut options = options(&job).await;
        options.mounts.push((bind(llb::EMPTY, "/scratch", false), None));
        options.mounts.push((bind(llb::EMPTY, "/result", true), Some(base(&job).await)));
        options.mounts.push((cache("c", "/cache", CacheSharingOpt::Shared), None));
        let secret = pb::Mount {
            mount_type: MountType::Secret.into(),
            secret_opt: Some(pb::SecretOpt { id: "s".to_owned(), mode: 0o400, ..pb::SecretOpt::default() }),
            ..bind(llb::EMPTY, "/run/secrets/s", true)
        };
        options.mounts.push((secret, None));
        options.hostname = "here".to_owned();
        let container = job.container(options).await.expect("a container");
        assert_eq!(&*container.read_file(0, "/made", None).await.expect("before"), b"of the result\n");
        let mut first = shell("echo first; cat; sleep 100");
        first.meta.env.push("OF_FIRST=1".to_owned());
        first.stdin = true;
        let mut first = container.start(first).await.expect("it starts");
        let piece = first.output.next().await.expect("output").expect("output");
        assert_eq!(&*piece.1, b"first\n");

        let line = "cat /made /result/made /run/secrets/s; echo $S $OF_FIRST $(hostname) $(pwd); \
                    echo x > /scratch/x; echo x > /cache/x; echo x > /result/x; echo wrong >&2; exit 7";
        let mut further = shell(line);
        further.secret_env =
            vec![pb::SecretEnv { id: "s".to_owned(), name: "S".to_owned(), optional: false }];
        let (text, code) = said(&container, further).await;
        assert!(text.starts_with("of the result\nof the result\nhiddenhidden here /\n"), "{text}");
        assert!(text.contains("Read-only file system") && text.ends_with("wrong\n") && code == 7, "{text}");
        assert_eq!(&*container.read_file(1, "x", None).await.expect("what was written"), b"x\n");
        assert_eq!(&*container.read_file(3, "x", None).await.expect("what was written"), b"x\n");
        assert_eq!(&*container.read_file(0, "scratch/x", None).await.expect("through the root"), b"x\n");
        assert_eq!(container.stat_file(0, "/bin/sh").await.expect("found").path, "sh");
        assert!(container.read_dir(5, "/", None).await.is_err(), "there is none of this number");

        let mut echo = shell("read line; echo got $line; tty; read line; stty size");
        (echo.stdin, echo.tty) = (true, true);
        let echo = container.start(echo).await.expect("it starts");
        let handle = echo.handle().clone();
        handle.resize(engine::TerminalSize { columns: 100, rows: 40 }).await.expect("resized");
        handle.write("words\nmore\n".into()).await.expect("written");
        let (text, code) = ended(echo).await;
        assert!(text.contains("got words\r\n/dev/pts/") && text.contains("40 100"), "{text}");
        assert_eq!(code.expect("it ends"), 0);

        let trap = container.start(shell("trap 'exit 9' INT; echo ready; while :; do sleep 0.1; done")).await;
        let mut trap = trap.expect("it starts");
        trap.output.next().await.expect("output").expect("output");
        trap.handle().signal("INT").await.expect("sent");
        assert_eq!(ended(trap).await.1.expect("it ends"), 9);

        let other = container.start(shell("sleep 100")).await.expect("it starts");
        first.handle().signal("KILL").await.expect("sent");
        assert_eq!(ended(first).await.1.expect("it ends"), 137);
        assert_eq!(ended(other).await.1.expect("it ends"), 137);
        assert!(container.start(shell("true")).await.is_err(), "what has ended has no processes");
        assert!(!container.release().await.expect("released"), "nothing ran any more");
    });
}

/// CVE-2024-23653: what a build has no right to, its containers have not either.
#[test]
fn containers_may_what_their_build_may() {
    with_engine(async |engine| {
        let solver = Solver::new(engine.clone());
        let plain = job(&solver, &[]);
        let host = ContainerOptions { network: NetMode::Host.into(), ..options(&plain).await };
        let refused = plain.container(host).await.err().expect("refused");
        assert_eq!(refused.to_string(), "network.host is not allowed");
        let unknown = ContainerOptions { network: 7, ..options(&plain).await };
        assert!(plain.container(unknown).await.is_err());
        let insecure = |line: &str| ProcessOptions { security: SecurityMode::Insecure.into(), ..shell(line) };
        let container = plain.container(options(&plain).await).await.expect("a container");
        let mut lasting = Vec::new();
        for _ in 0..2 {
            let refused = container.start(insecure("true")).await.err().expect("refused");
            assert_eq!(refused.to_string(), "security.insecure is not allowed");
            // The first process, and one beside it.
            lasting.push(container.start(shell("sleep 100")).await.expect("it starts"));
        }
        container.release().await.expect("released");

        let entitled = job(&solver, &[Entitlement::SecurityInsecure]);
        let capabilities = "grep CapEff /proc/self/status";
        let container = entitled.container(options(&entitled).await).await.expect("a container");
        let _first = container.start(insecure("sleep 100")).await.expect("it starts");
        let (all, _) = said(&container, insecure(capabilities)).await;
        container.release().await.expect("released");
        let container = entitled.container(options(&entitled).await).await.expect("a container");
        let (few, _) = said(&container, shell(capabilities)).await;
        assert_ne!(all, few);
        let mut windows = options(&entitled).await;
        windows.platform = Some(pb::Platform { os: "windows".to_owned(), ..pb::Platform::default() });
        assert!(entitled.container(windows).await.is_err());
    });
}

#[test]
fn nothing_of_a_container_stays() {
    with_engine(async |engine| {
        let solver = Solver::new(engine.clone());
        let mark = format!("{}", 800_000 + std::process::id());
        let sleeps = || {
            let lines = std::fs::read_dir("/proc").expect("processes").flatten();
            let lines = lines.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
            lines.filter(|line| line.ends_with(format!("sleep\0{mark}\0").as_bytes())).count()
        };
        let gone = async |what: &str| {
            for _ in 0..600 {
                let mounts = std::fs::read_dir(engine.config().root.join("builder/mounts"));
                let snapshots = std::fs::read_dir(engine.config().root.join("images/snapshots"));
                let left = [mounts, snapshots].map(|list| list.map(Iterator::count).unwrap_or_default());
                if sleeps() == 0 && left == [0, 0] {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            panic!("{what}: something stays");
        };
        for what in ["released", "dropped", "the build is cancelled", "never started", "a process is dropped"]
        {
            let job = job(&solver, &[]);
            let mut options = options(&job).await;
            options.mounts.push((bind(llb::EMPTY, "/scratch", false), None));
            let container = job.container(options).await.expect("a container");
            if what == "never started" {
                drop(container);
                gone(what).await;
                continue;
            }
            let mut first =
                container.start(shell(&format!("echo x; sleep {mark}"))).await.expect("it starts");
            let mut second =
                container.start(shell(&format!("echo x; sleep {mark}"))).await.expect("it starts");
            for process in [&mut first, &mut second] {
                process.output.next().await.expect("output").expect("output");
            }
            match what {
                "released" => {
                    assert!(container.release().await.expect("released"), "it ran");
                    assert!(matches!(first.wait().await, Err(SolveError::Cancelled)));
                }
                "dropped" => drop((first, second, container)),
                "a process is dropped" => {
                    drop(second);
                    for _ in 0..100 {
                        if sleeps() < 2 {
                            break;
                        }
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                    assert_eq!(sleeps(), 1, "the other goes on");
                    container.end();
                }
                _ => {
                    job.cancel();
                    assert!(matches!(first.wait().await, Err(SolveError::Cancelled)));
                    container.end();
                }
            }
            drop(job);
            gone(what).await;
        }
    });
}
