//! Definitions, solved with real containers.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use build::solve::{Entitlement, JobOptions, PruneOptions, Solver, UsageKind};
use llb::pb::{self, file_action::Action};
use support::solving::{Client, Draft, alone, bind, cache, copy, solve, solve_in, text};
use support::with_engine;

/// A client with these files in its directory `context`.
fn client(directory: &std::path::Path, files: &[(&str, &str)]) -> Arc<Client> {
    for (path, content) in files {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().expect("in a directory")).expect("make");
        std::fs::write(path, content).expect("write");
    }
    let directories = [("context".to_owned(), directory.to_owned())].into();
    Arc::new(Client { directories, ..Client::default() })
}

#[test]
fn images_files_and_commands_come_together_and_are_not_done_twice() {
    with_engine(async |engine| {
        let directory = tempfile::tempdir().expect("a directory");
        let client = client(directory.path(), &[("a.txt", "content of a\n"), ("not.txt", "1")]);
        let solver = Solver::new(engine.clone());
        let mut draft = Draft::default();
        let (base, context) = (draft.busybox(), draft.source("local://context"));
        let copied = draft.files(&[base, context], vec![alone(Action::Copy(copy("/a.txt", "/dir/")), 1)]);
        let run = draft.run(&copied, "cat /dir/a.txt; echo made > /made; hostname; env | sort");
        let definition = draft.finish(&run);

        let first = solve(&solver, &client, &definition).await;
        let result = first.expect();
        assert_eq!(text(result, "/made").await, "made\n");
        let said = first.output();
        assert!(said.starts_with("content of a\nbuildkitsandbox\n") && !said.contains("HOSTNAME"), "{said}");
        assert_eq!(first.cached(), 1, "the base image is here");

        // Touched, and with another file beside it that nobody copies.
        std::fs::write(directory.path().join("not.txt"), "2").expect("write");
        std::fs::write(directory.path().join("a.txt"), "content of a\n").expect("write");
        let second = solve(&solver, &client, &definition).await;
        assert_eq!((second.cached(), second.output()), (3, String::new()));
        assert_eq!(text(second.expect(), "/made").await, "made\n");

        std::fs::write(directory.path().join("a.txt"), "other\n").expect("write");
        let third = solve(&solver, &client, &definition).await;
        assert!(third.output().starts_with("other\n") && third.cached() == 1);
        let all = engine::container::ContainerFilter { all: true, ..Default::default() };
        assert_eq!(engine.container_list(&all).expect("list").len(), 0);
    });
}

#[test]
fn a_command_that_fails_says_how_and_is_tried_again() {
    with_engine(async |engine| {
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let mut draft = Draft::default();
        let base = draft.busybox();
        let run = draft.run(&base, "echo before; exit 7");
        let definition = draft.finish(&run);
        for _ in 0..2 {
            let solved = solve(&solver, &client, &definition).await;
            let error = solved.error();
            assert_eq!(
                error,
                "process \"/bin/sh -c echo before; exit 7\" did not complete successfully: exit code: 7"
            );
            assert_eq!(solved.output(), "before\n");
        }
        let ended = draft.run_with(&base, "exit 7", Vec::new(), &[], |exec| {
            exec.meta.as_mut().expect("meta").valid_exit_codes = vec![7];
        });
        solve(&solver, &client, &draft.finish(&ended)).await.expect();
    });
}

#[test]
fn what_a_job_may_not_have_is_refused() {
    with_engine(async |engine| {
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let mut draft = Draft::default();
        let base = draft.busybox();
        let host = draft.run_with(&base, "true", Vec::new(), &[], |exec| exec.set_network(pb::NetMode::Host));
        let insecure = draft
            .run_with(&base, "true", Vec::new(), &[], |exec| exec.set_security(pb::SecurityMode::Insecure));
        for (run, entitlement) in [(&host, "network.host"), (&insecure, "security.insecure")] {
            let solved = solve(&solver, &client, &draft.finish(run)).await;
            assert_eq!(solved.error(), format!("{entitlement} is not allowed"));
        }
        let entitlements = BTreeSet::from([Entitlement::NetworkHost, Entitlement::SecurityInsecure]);
        let job = solver.job(JobOptions { entitlements, ..JobOptions::default() });
        let all = draft.run_with(&insecure, "cat /proc/self/status | grep CapEff", Vec::new(), &[], |exec| {
            exec.set_security(pb::SecurityMode::Insecure)
        });
        let solved = solve_in(&job, &draft.finish(&all)).await;
        solved.expect();
        assert!(solved.output().contains("CapEff:\t000001"), "{}", solved.output());
    });
}

#[test]
fn mounts_are_what_they_are_said_to_be_and_leave_nothing_behind() {
    with_engine(async |engine| {
        let directory = tempfile::tempdir().expect("a directory");
        let files = client(directory.path(), &[("d/f", "from the client\n")]);
        let client = Arc::new(Client {
            directories: files.directories.clone(),
            secrets: [("key".to_owned(), b"hidden\n".to_vec())].into(),
            agent: true,
            ..Client::default()
        });
        let solver = Solver::new(engine.clone());
        let mut draft = Draft::default();
        let (base, context) = (draft.busybox(), draft.source("local://context"));
        let other = draft.run(&base, "mkdir /out; echo one > /out/f");
        let secret = pb::Mount {
            mount_type: pb::MountType::Secret.into(),
            secret_opt: Some(pb::SecretOpt {
                id: "key".to_owned(),
                uid: 7,
                gid: 8,
                mode: 0o440,
                optional: false,
            }),
            ..bind(llb::EMPTY, "/run/secrets/key", false)
        };
        let agent = pb::Mount {
            mount_type: pb::MountType::Ssh.into(),
            ssh_opt: Some(pb::SshOpt { mode: 0o600, ..Default::default() }),
            ..bind(llb::EMPTY, "/run/agent", false)
        };
        let memory = pb::Mount { mount_type: pb::MountType::Tmpfs.into(), ..bind(llb::EMPTY, "/mem", false) };
        let kept = pb::Mount { output: 1, ..bind(2, "/kept", false) };
        let part = pb::Mount { selector: "/out".to_owned(), ..bind(2, "/part", true) };
        let discarded = bind(2, "/discarded", false);
        let line = "cat /client/d/f /part/f; stat -c '%u %g %a' /run/secrets/key; cat /run/secrets/key; \
            test -S /run/agent && stat -c '%a' /run/agent; \
            echo x > /mem/x; echo new > /kept/new; echo gone > /discarded/gone; \
            (echo x > /part/x) 2>&1; (echo x > /client/x) 2>&1; echo \"$TOKEN\"";
        let mounts = vec![bind(1, "/client", true), part, secret, agent, memory, kept, discarded];
        let run = draft.run_with(&base, line, mounts, &[context, other], |exec| {
            exec.secretenv.push(pb::SecretEnv {
                id: "key".to_owned(),
                name: "TOKEN".to_owned(),
                optional: false,
            });
        });
        let solved = solve(&solver, &client, &draft.finish(&run)).await;
        let result = solved.expect();
        let said = solved.output();
        assert!(said.starts_with("from the client\none\n7 8 440\nhidden\n600\n"), "{said}");
        assert_eq!(said.matches("Read-only file system").count(), 2, "{said}");
        assert!(said.ends_with("hidden\n\n"), "{said}");

        for path in ["/run/secrets", "/client", "/mem", "/kept", "/part", "/discarded"] {
            assert!(result.stat_file(path).await.is_err(), "{path} is in the layer");
        }
        let output = llb::Output { index: 1, ..run };
        let solved = solve(&solver, &client, &draft.finish(&output)).await;
        assert_eq!(text(solved.expect(), "/new").await, "new\n");
        assert_eq!(text(solved.expect(), "/out/f").await, "one\n");
        let mounted = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
        assert!(!mounted.contains("/builder/mounts"), "{mounted}");
    });
}

#[test]
fn caches_are_found_again_and_pruned() {
    with_engine(async |engine| {
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let mut draft = Draft::default();
        let base = draft.busybox();
        let mut count = |line: &str, sharing| {
            let mount = cache("counter", "/cache", sharing);
            let run = draft.run_with(
                &base,
                &format!("echo x >> /cache/n; wc -l < /cache/n; {line}"),
                vec![mount],
                &[],
                |_| {},
            );
            draft.finish(&run)
        };
        let shared = pb::CacheSharingOpt::Shared;
        assert_eq!(solve(&solver, &client, &count("echo a", shared)).await.output(), "1\na\n");
        assert_eq!(solve(&solver, &client, &count("echo b", shared)).await.output(), "2\nb\n");
        let usage = solver.disk_usage(&[]).await.expect("usage");
        let of = |kind| usage.iter().filter(|record| record.kind == kind).count();
        assert_eq!((of(UsageKind::CacheMount), of(UsageKind::Regular)), (1, 3));
        assert!(usage.iter().all(|record| !record.in_use), "{usage:?}");

        // Pruned by sort, then all.
        let options =
            PruneOptions { filter: vec!["type==exec.cachemount".to_owned()], ..PruneOptions::default() };
        assert_eq!(solver.prune(options).await.expect("prune").len(), 1);
        assert_eq!(solve(&solver, &client, &count("echo c", shared)).await.output(), "1\nc\n");
        solver.prune(PruneOptions { all: true, ..PruneOptions::default() }).await.expect("prune");
        assert_eq!(solver.disk_usage(&[]).await.expect("usage"), []);
        let again = solve(&solver, &client, &count("echo b", shared)).await;
        assert_eq!(again.output(), "1\nb\n");
    });
}

#[test]
fn a_socket_of_a_command_leads_to_the_client_s_agent() {
    with_engine(async |engine| {
        let (solver, client) =
            (Solver::new(engine.clone()), Arc::new(Client { agent: true, ..Client::default() }));
        let mut draft = Draft::default();
        let base = draft.busybox();
        let agent = pb::Mount {
            mount_type: pb::MountType::Ssh.into(),
            ssh_opt: Some(pb::SshOpt { mode: 0o600, ..Default::default() }),
            ..bind(llb::EMPTY, "/run/agent", false)
        };
        let mounts = vec![agent.clone(), cache("end", "/c", pb::CacheSharingOpt::Shared)];
        // However the asking ends, this does.
        let line =
            "n=0; while [ ! -e /c/end ] && [ $n -lt 1200 ]; do n=$((n+1)); sleep 0.05; done; test -e /c/end";
        let run = draft.run_with(&base, line, mounts, &[], |_| {});
        let definition = draft.finish(&run);
        let root = engine.config().root.join("builder");
        let ask = tokio::task::spawn_blocking(move || {
            use std::io::{Read, Write};
            let below = |path: std::path::PathBuf| {
                let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
                entries.map(|entry| entry.path()).collect::<Vec<_>>()
            };
            let socket = testkit::wait_until("the socket", || {
                let places = below(root.join("mounts")).into_iter().flat_map(below);
                places.map(|place| place.join("agent")).find(|path| path.exists()).ok_or("not yet")
            });
            // Its path may be longer than that of a socket can be.
            let directory = std::fs::File::open(socket.parent().expect("in a directory")).expect("open");
            let fd = std::os::fd::AsRawFd::as_raw_fd(&directory);
            // It has a name before anybody listens.
            let mut agent = testkit::wait_until("somebody to listen", || {
                std::os::unix::net::UnixStream::connect(format!("/proc/self/fd/{fd}/agent"))
            });
            agent.write_all(b"hello").expect("ask");
            let mut answer = String::new();
            agent.read_to_string(&mut answer).expect("an answer");
            // What is mounted after the agent may be made after it, too.
            testkit::wait_until("the cache", || {
                let end = |cache: &std::path::PathBuf| std::fs::write(cache.join("fs/end"), "");
                below(root.join("cache"))
                    .first()
                    .ok_or(std::io::Error::from(std::io::ErrorKind::NotFound))
                    .and_then(end)
            });
            answer
        });
        let (solved, answer) = tokio::join!(solve(&solver, &client, &definition), ask);
        solved.expect();
        assert_eq!(answer.expect("asked"), "the agent has heard hello");
        // Who has none is told, unless it does not matter.
        let none = Arc::new(Client::default());
        let without = draft.run_with(&base, "true", vec![agent.clone()], &[], |_| {});
        let error = solve(&solver, &none, &draft.finish(&without)).await.error();
        assert_eq!(error, "unset ssh forward key default");
        let optional = pb::SshOpt { optional: true, ..Default::default() };
        let agent = pb::Mount { ssh_opt: Some(optional), ..agent };
        let without = draft.run_with(&base, "test ! -e /run/agent", vec![agent], &[], |_| {});
        solve(&solver, &none, &draft.finish(&without)).await.expect();
    });
}
