//! Definitions of somebody else: what they do not reach, and what of them does not stay.

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use build::solve::{Attestation, Exporter, JobOptions, Outcome, Session, Solver};
use llb::pb::{self, CacheSharingOpt, file_action::Action, op};
use oci::{Descriptor, media_type};
use support::solving::{Client, Draft, Stores, alone, bind, cache, copy, solve, solve_in};
use support::{with_engine, with_engine_at};

/// A directory of this host that no build has anything to do with.
fn canary() -> tempfile::TempDir {
    let canary = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(canary.path().join("y/stub")).expect("make");
    std::fs::write(canary.path().join("secret"), "of the host\n").expect("write");
    canary
}

/// CVE-2024-23651: a part of a cache is mounted while another build makes a link of it that leads out.
#[test]
fn a_part_of_a_cache_that_becomes_a_link_leads_nowhere() {
    with_engine(async |engine| {
        let canary = canary();
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let mut draft = Draft::default();
        let base = draft.busybox();
        let shared = || cache("c", "/c", CacheSharingOpt::Shared);
        let part = || pb::Mount { selector: "part".to_owned(), dest: "/part".to_owned(), ..shared() };
        let link = draft.run(&base, "true");
        let out = canary.path().display();
        let make = draft.run_with(&link, &format!("ln -s {out} /c/part"), vec![shared()], &[], |_| {});
        solve(&solver, &client, &draft.finish(&make)).await.expect();
        let look = draft.run_with(&base, "cat /part/secret; echo looked", vec![part()], &[], |_| {});
        let solved = solve(&solver, &client, &draft.finish(&look)).await;
        assert!(!solved.output().contains("of the host"), "{}", solved.output());

        // The same while it changes to and fro.
        let line = format!(
            "rm -rf /c/part; while [ ! -e /c/end ]; do mkdir /c/part; rmdir /c/part; ln -s {out} /c/part; rm /c/part; done"
        );
        let swap = draft.run_with(&base, &line, vec![shared()], &[], |_| {});
        let swap = draft.finish(&swap);
        let mut looked = 0;
        let swapping = solve(&solver, &client, &swap);
        let looking = async {
            let mut draft = Draft::default();
            let base = draft.busybox();
            for round in 0..30 {
                let line = format!("cat /part/secret; echo looked {round}");
                let look = draft.run_with(&base, &line, vec![part()], &[], |_| {});
                let solved = solve(&solver, &client, &draft.finish(&look)).await;
                assert!(!solved.output().contains("of the host"), "{}", solved.output());
                looked += usize::from(solved.result.is_ok());
            }
            let end = draft.run_with(&base, "touch /c/end", vec![shared()], &[], |_| {});
            solve(&solver, &client, &draft.finish(&end)).await.expect();
        };
        tokio::join!(swapping, looking);
        println!("{looked} of 30 found a directory");
    });
}

/// CVE-2024-23652: where something was mounted the command leaves a link that leads out.
#[test]
fn mount_points_are_taken_back_in_the_layer_only() {
    with_engine(async |engine| {
        let canary = canary();
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let mut draft = Draft::default();
        let base = draft.busybox();
        let mount = cache("c", "/x/y/stub", CacheSharingOpt::Shared);
        let line = format!("mv /x /moved && ln -s {} /x && echo done", canary.path().display());
        let run = draft.run_with(&base, &line, vec![mount], &[], |_| {});
        let solved = solve(&solver, &client, &draft.finish(&run)).await;
        assert_eq!((solved.expect(), solved.output().as_str()).1, "done\n");
        assert!(canary.path().join("y/stub").is_dir(), "it was removed on the host");
    });
}

#[test]
fn files_are_found_in_their_trees_only() {
    with_engine(async |engine| {
        let canary = canary();
        let directory = tempfile::tempdir().expect("a directory");
        let link = |name: &str, to: &Path| std::os::unix::fs::symlink(to, directory.path().join(name));
        link("absolute", canary.path()).expect("link");
        link("above", Path::new("../../../../../../etc")).expect("link");
        let directories = [("context".to_owned(), directory.path().to_owned())].into();
        let client = Arc::new(Client { directories, ..Client::default() });
        let solver = Solver::new(engine.clone());
        let mut draft = Draft::default();
        let (base, context) = (draft.busybox(), draft.source("local://context"));
        let inputs = [base.clone(), context];
        for source in ["absolute/secret", "above/passwd", "../../../../etc/passwd", "absolute"] {
            let copied = draft.files(&inputs, vec![alone(Action::Copy(copy(source, "/out")), 1)]);
            let error = solve(&solver, &client, &draft.finish(&copied)).await.error();
            assert!(error.contains("not found"), "{source}: {error}");
        }
        // Nor is anything made, or removed, where a link in the image leads.
        let out = canary.path().display();
        let linked = draft.run(&base, &format!("ln -s {out} /out; ln -s {out}/secret /file"));
        let mkfile =
            pb::FileActionMkFile { path: "/out/new".to_owned(), timestamp: -1, ..Default::default() };
        let mkdir = pb::FileActionMkDir {
            path: "/out/new".to_owned(),
            make_parents: true,
            timestamp: -1,
            ..Default::default()
        };
        let remove = |path: &str| pb::FileActionRm { path: path.to_owned(), ..Default::default() };
        let into = pb::FileActionCopy { src: "/bin/busybox".to_owned(), ..copy("", "/out/new") };
        for action in [
            Action::Mkfile(mkfile),
            Action::Mkdir(mkdir),
            Action::Rm(remove("/out/secret")),
            Action::Rm(remove("/file")),
            Action::Copy(into),
        ] {
            let done = draft.files(&[linked.clone(), base.clone()], vec![alone(action, 1)]);
            let _ = solve(&solver, &client, &draft.finish(&done)).await;
        }
        let left: Vec<_> = std::fs::read_dir(canary.path())
            .expect("list")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(left.len(), 2, "{left:?}");
    });
}

fn tmpfs(dest: &str) -> pb::Mount {
    pb::Mount { mount_type: pb::MountType::Tmpfs.into(), ..bind(llb::EMPTY, dest, false) }
}

/// CVE-2024-23650, and what else nobody sends who means well: all of it is answered.
#[test]
fn what_makes_no_sense_is_refused() {
    with_engine(async |engine| {
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let mut draft = Draft::default();
        let base = draft.busybox();
        type Change = fn(&mut pb::ExecOp);
        let changes: [Change; 10] = [
            |exec| exec.meta.as_mut().expect("meta").args.clear(),
            |exec| exec.meta = None,
            |exec| exec.mounts.clear(),
            |exec| exec.mounts[0].input = 7,
            |exec| exec.mounts.push(bind(0, "relative", true)),
            |exec| exec.mounts.push(pb::Mount { selector: "none".to_owned(), ..bind(0, "/m", true) }),
            |exec| exec.mounts.push(tmpfs(&"/a".repeat(512 << 10))),
            |exec| exec.mounts.extend((0..513).map(|at| tmpfs(&format!("/m{at}")))),
            |exec| exec.network = 99,
            |exec| exec.meta.as_mut().expect("meta").cwd = "relative".to_owned(),
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let run = draft.run_with(&base, "true", Vec::new(), &[], change);
            let solved = solve(&solver, &client, &draft.finish(&run)).await;
            assert!(solved.result.is_err(), "change {at}");
        }
        for identifier in [
            "",
            "docker-image://",
            "docker-image://UPPER",
            "local://",
            "git://",
            "http://",
            "x://y",
            "oci-layout://a",
        ] {
            let source = draft.source(identifier);
            assert!(solve(&solver, &client, &draft.finish(&source)).await.result.is_err(), "{identifier}");
        }
        let actions = vec![pb::FileAction { output: -1, ..alone(Action::Rm(Default::default()), -1) }; 4097];
        let many = draft.files(std::slice::from_ref(&base), actions);
        let error = solve(&solver, &client, &draft.finish(&many)).await.error();
        assert!(error.contains("4097 actions"), "{error}");
        // A thousand operations on each other are gone through without a deep stack.
        let mut last = base;
        for number in 0..1000 {
            last = draft.builder.add(
                op::Op::Passthrough(pb::PassthroughOp { id: number.to_string(), outputs: vec![0] }),
                &[last],
                None,
                Default::default(),
            );
        }
        solve(&solver, &client, &draft.finish(&last)).await.expect();
    });
}

/// Whether a process of this host has these words on its command line.
fn runs(words: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    processes.map(|entry| entry.path().join("cmdline")).any(|path| {
        let line = std::fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(words)
    })
}

#[test]
fn no_process_outlives_a_build_that_is_given_up() {
    with_engine(async |engine| {
        let solver = Solver::new(engine.clone());
        let client: Arc<dyn Session> = Arc::new(Client::default());
        let mut draft = Draft::default();
        let base = draft.busybox();
        let mount = cache("given-up", "/c", CacheSharingOpt::Locked);
        let run = draft.run_with(&base, "sleep 98761 & sleep 98761", vec![mount.clone()], &[], |_| {});
        let definition = draft.finish(&run);
        let job = solver.job(JobOptions { session: Some(client), ..JobOptions::default() });
        let cancelling = async {
            let started = tokio::task::spawn_blocking(|| {
                testkit::wait_until("the command", || runs("sleep 98761").then_some(()).ok_or("not yet"));
            });
            started.await.expect("wait");
            job.cancel();
        };
        let (solved, ()) = tokio::join!(solve_in(&job, &definition), cancelling);
        assert_eq!(solved.error(), "context canceled");
        let ended = tokio::task::spawn_blocking(|| {
            testkit::wait_until("its end", || (!runs("sleep 98761")).then_some(()).ok_or("it runs"));
        });
        ended.await.expect("wait");
        // What it had is free again.
        let again = draft.run_with(&base, "echo free", vec![mount], &[], |_| {});
        let solved = solve(&solver, &Arc::new(Client::default()), &draft.finish(&again)).await;
        assert_eq!(solved.output(), "free\n");
    });
}

#[test]
fn the_same_command_of_two_builds_runs_once_and_others_run_at_once() {
    with_engine(async |engine| {
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let mut draft = Draft::default();
        let base = draft.busybox();
        let shared = || vec![cache("meet", "/c", CacheSharingOpt::Shared)];
        let run =
            draft.run_with(&base, "echo x >> /c/runs; sleep 0.3; wc -l < /c/runs", shared(), &[], |_| {});
        let definition = draft.finish(&run);
        let (one, two) =
            tokio::join!(solve(&solver, &client, &definition), solve(&solver, &client, &definition));
        assert_eq!([one.output(), two.output()], ["1\n", "1\n"], "one of them ran it, and both heard it");
        let third = solve(&solver, &client, &definition).await;
        assert_eq!((third.output().as_str(), third.cached()), ("", 2));

        // Each waits for the other.
        let meet = |own: &str, other: &str| {
            format!("touch /c/{own}; while [ ! -e /c/{other} ]; do sleep 0.05; done; echo met > /{own}")
        };
        let left = draft.run_with(&base, &meet("left", "right"), shared(), &[], |_| {});
        let right = draft.run_with(&base, &meet("right", "left"), shared(), &[], |_| {});
        let from = pb::FileActionCopy { src: "/right".to_owned(), ..copy("", "/") };
        let both = draft.files(&[left, right], vec![alone(Action::Copy(from), 1)]);
        let both = draft.finish(&both);
        let solving = solve(&solver, &client, &both);
        let solved =
            tokio::time::timeout(std::time::Duration::from_secs(60), solving).await.expect("they meet");
        let names = solved.expect().read_dir("/", Some("*t")).await.expect("list");
        let names: Vec<&str> = names.iter().map(|file| file.path.as_str()).collect();
        assert!(names.contains(&"left") && names.contains(&"right"), "{names:?}");
    });
}

/// What a client does not answer keeps nobody else from what is wanted: neither the same command nor a cache.
#[test]
fn a_client_that_never_answers_is_waited_for_by_nobody_else() {
    with_engine(async |engine| {
        let solver = Solver::new(engine.clone());
        let secrets = std::collections::HashMap::from([("s".to_owned(), b"known".to_vec())]);
        let silent = Arc::new(Client { silent: true, ..Client::default() });
        let client = Arc::new(Client { secrets, ..Client::default() });
        let mut draft = Draft::default();
        let base = draft.busybox();
        let option = pb::SecretOpt { id: "s".to_owned(), mode: 0o400, ..Default::default() };
        let secret = pb::Mount {
            mount_type: pb::MountType::Secret.into(),
            secret_opt: Some(option),
            ..bind(llb::EMPTY, "/s", true)
        };
        let mounts = vec![secret, cache("locked", "/c", CacheSharingOpt::Locked)];
        let run = draft.run_with(&base, "cat /s", mounts, &[], |_| {});
        let definition = draft.finish(&run);
        let waiting = solve(&solver, &silent, &definition);
        tokio::pin!(waiting);
        let first = tokio::time::timeout(std::time::Duration::from_secs(3), &mut waiting).await;
        assert!(first.is_err(), "it waits for an answer");
        let other = solve(&solver, &client, &definition);
        let other = tokio::time::timeout(std::time::Duration::from_secs(20), other);
        let other = tokio::select! {
            biased;
            solved = other => solved.expect("the other waits for this one"),
            _ = waiting => panic!("the other waits for this one"),
        };
        assert_eq!(other.output(), "known");
        // Done, it is nobody's question any more.
        assert_eq!(solve(&solver, &silent, &definition).await.cached(), 2);
    });
}

/// Puts an image of one file into a client's layout; gives how a definition names it.
fn layout(stores: &Stores, content: &[u8]) -> String {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = support::header(tar::EntryType::Regular, content.len() as u64);
    archive.append_data(&mut header, "file", content).expect("into memory");
    let archive = archive.into_inner().expect("into memory");
    let layer = stores.put("oci:base", &archive);
    let config = serde_json::json!({
        "architecture": oci::Platform::host().architecture, "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [&layer] },
    });
    let config = config.to_string();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": Descriptor::new(media_type::OCI_CONFIG, stores.put("oci:base", config.as_bytes()), config.len() as u64),
        "layers": [Descriptor::new(media_type::OCI_LAYER, layer, archive.len() as u64)],
    });
    format!("oci-layout://base@{}", stores.put("oci:base", manifest.to_string().as_bytes()))
}

/// Clients that stop in the middle of what they send keep nobody from a thread, and no other owner from a layer.
#[test]
fn clients_that_stop_sending_are_waited_for_by_nobody_else() {
    with_engine(async |engine| {
        let solver = Solver::new(engine.clone());
        let stores = Arc::new(Stores::default());
        let of = |owner: &str, stops| {
            let owner = Some(owner.to_owned());
            Arc::new(Client { stops, owner, stores: Arc::clone(&stores), ..Client::default() })
        };
        let layouts: Vec<llb::Definition> = (0..12_u8)
            .map(|at| {
                let mut draft = Draft::default();
                let source = draft.source(&layout(&stores, &vec![at; 200 << 10]));
                draft.finish(&source)
            })
            .collect();
        let bring = async |client: Arc<Client>, definition: &llb::Definition| {
            let solved = solve(&solver, &client, definition).await;
            solved.expect().read_file("/file", None).await.map(|file| file.len())
        };
        let stuck = futures::future::join_all(layouts.iter().map(|layout| bring(of("silent", true), layout)));
        let others = async {
            // A manifest, a configuration and the beginning of a layer, of each.
            while stores.read.lock().expect("whole").len() < 3 * layouts.len() {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            let mut draft = Draft::default();
            let base = draft.busybox();
            let from = draft.source("docker-image://docker.io/library/busybox:latest");
            let copied =
                draft.files(&[base, from], vec![alone(Action::Copy(copy("/bin/busybox", "/other")), 1)]);
            solve(&solver, &of("another", false), &draft.finish(&copied)).await.expect();
            bring(of("another", false), &layouts[0]).await
        };
        let others = tokio::time::timeout(std::time::Duration::from_secs(40), others);
        let brought = tokio::select! {
            stuck = stuck => panic!("nothing more came of that: {stuck:?}"),
            others = others => others.expect("others wait for clients that are silent"),
        };
        assert_eq!(brought.expect("brought"), 200 << 10);
    });
}

/// One build with many commands does not keep others from theirs.
#[test]
fn a_build_has_so_many_commands_at_a_time() {
    with_engine(async |engine| {
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let shared = || vec![cache("many", "/c", CacheSharingOpt::Shared)];
        let mut draft = Draft::default();
        let base = draft.busybox();
        let mut outputs = vec![base.clone()];
        for at in 0..10 {
            let line = format!("touch /c/{at}; while [ ! -e /c/go ]; do sleep 0.1; done; touch /{at}");
            outputs.push(draft.run_with(&base, &line, shared(), &[], |_| {}));
        }
        let actions = (1..=10)
            .map(|at| pb::FileAction {
                input: if at == 1 { 0 } else { 9 + at },
                secondary_input: at,
                output: if at == 10 { 0 } else { llb::SKIP_OUTPUT },
                action: Some(Action::Copy(copy("/bin/busybox", "/out"))),
            })
            .collect();
        let all = draft.files(&outputs, actions);
        let all = draft.finish(&all);
        let line =
            "while [ $(ls /c | wc -l) -lt 8 ]; do sleep 0.1; done; sleep 2; ls /c | wc -l; touch /c/go";
        let mut look = Draft::default();
        let base = look.busybox();
        let run = look.run_with(&base, line, shared(), &[], |_| {});
        let look = look.finish(&run);
        let (many, looked) = tokio::join!(solve(&solver, &client, &all), solve(&solver, &client, &look));
        many.expect();
        assert_eq!(looked.output(), "8\n");
    });
}

/// What is said of a result has an end for all of it together, however small each of it is.
#[test]
fn what_is_said_of_a_result_has_an_end() {
    with_engine(async |engine| {
        let solver = Solver::new(engine.clone());
        let mut draft = Draft::default();
        let base = draft.busybox();
        // Of a megabyte each, all of them one file.
        let line = |count: usize| {
            format!(
                "mkdir /said; cd /said; printf '{{\"predicateType\":\"t\",\"predicate\":\"' > 0; \
                 head -c 1048576 /dev/zero | tr '\\0' x >> 0; printf '\"}}' >> 0; \
                 for at in $(seq {count}); do ln 0 $at; done"
            )
        };
        let (few, many) = (draft.run(&base, &line(3)), draft.run(&base, &line(70)));
        let exported = async |said: &llb::Output, times: usize| {
            let session: Arc<dyn Session> = Arc::new(Client::default());
            let job = solver.job(JobOptions { session: Some(session), ..JobOptions::default() });
            let single = job.solve(&draft.finish(&base)).await.expect("a definition");
            let attestation = Attestation {
                predicate: String::new(),
                path: "/said".to_owned(),
                content: Some(job.solve(&draft.finish(said)).await.expect("a definition")),
                is_bundle: true,
                subjects: Vec::new(),
                of_itself: true,
                metadata: Default::default(),
            };
            let platform = oci::Platform::host().to_string();
            let outcome = Outcome {
                single: Some(single),
                attestations: [(platform, vec![attestation; times])].into(),
                ..Outcome::default()
            };
            let attributes = [("name".to_owned(), "said".to_owned())].into();
            let exporter = Exporter { kind: "image".to_owned(), attributes, id: "0".to_owned() };
            job.export(&outcome, &exporter).await.map_err(|error| error.to_string())
        };
        exported(&few, 2).await.expect("eight statements");
        for (said, times) in [(&many, 1), (&few, 20)] {
            let error = exported(said, times).await.expect_err("too much is said");
            assert_eq!(error, "the statements of attestations exceed 67108864 bytes");
        }
    });
}

/// A cache whose first user has failed before it was filled begins as it should; one that is being filled is
/// nobody else's.
#[test]
fn a_cache_is_filled_before_it_is_used() {
    with_engine(async |engine| {
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let mut draft = Draft::default();
        let base = draft.busybox();
        let from =
            |input: i64, dest: &str| pb::Mount { input, ..cache("filled", dest, CacheSharingOpt::Shared) };
        let inputs = [draft.run(&base, "mkdir -m 755 /seed; touch /seed/one")];
        // A second root that is none is found before the cache is filled.
        let root = pb::Mount { selector: "part".to_owned(), ..bind(0, "/", true) };
        let failed = draft.run_with(&base, "true", vec![root, from(1, "/c")], &inputs, |_| {});
        solve(&solver, &client, &draft.finish(&failed)).await.error();
        let look = "ls /c/seed; stat -c %a /c";
        let used = draft.run_with(&base, look, vec![from(1, "/c")], &inputs, |_| {});
        assert_eq!(solve(&solver, &client, &draft.finish(&used)).await.output(), "one\n755\n");
    });
}

/// Runs this test once more as a process that is killed in the middle of a build.
#[test]
fn after_a_kill_what_was_done_is_there_and_nothing_else() {
    let definitions = || {
        let mut draft = Draft::default();
        let base = draft.busybox();
        let first = draft.run(&base, "echo done > /done");
        let mount = cache("killed", "/c", CacheSharingOpt::Locked);
        let second = draft.run_with(&first, "touch /c/started; sleep 98762", vec![mount], &[], |_| {});
        (draft.finish(&first), draft.finish(&second))
    };
    if let Some(place) = std::env::var_os("SOLVER_KILLED_AT") {
        with_engine_at(Path::new(&place), async |engine| {
            let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
            let (first, second) = definitions();
            solve(&solver, &client, &first).await.expect();
            engine.images().result_keep().expect("keep");
            solve(&solver, &client, &second).await.expect();
        });
        return;
    }
    testkit::require_root();
    let place = tempfile::tempdir().expect("a directory");
    let mut killed = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "after_a_kill_what_was_done_is_there_and_nothing_else"])
        .env("SOLVER_KILLED_AT", place.path())
        .spawn()
        .expect("run it");
    let caches = place.path().join("root/builder/cache");
    testkit::wait_until("the command", || {
        let mut caches = std::fs::read_dir(&caches).into_iter().flatten().flatten();
        caches.any(|cache| cache.path().join("fs/started").exists()).then_some(()).ok_or("not yet")
    });
    killed.kill().and_then(|()| killed.wait()).expect("kill it");
    with_engine_at(place.path(), async |engine| {
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let ended = tokio::task::spawn_blocking(|| {
            testkit::wait_until("its end", || (!runs("sleep 98762")).then_some(()).ok_or("it runs"));
        });
        ended.await.expect("wait");
        let (first, _) = definitions();
        let solved = solve(&solver, &client, &first).await;
        assert_eq!(solved.cached(), 2, "what was done is found");
        let mounted = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
        let place = place.path().join("root/builder").display().to_string();
        let left: Vec<&str> = mounted.lines().filter(|line| line.contains(&place)).collect();
        assert!(left.is_empty(), "{left:?}");
        let containers = engine.config().root.join("containers");
        let removed = tokio::task::spawn_blocking(move || {
            testkit::wait_until("the removal of its container", || {
                match std::fs::read_dir(&containers).expect("list").count() {
                    0 => Ok(()),
                    left => Err(left),
                }
            });
        });
        removed.await.expect("wait");
        // Its cache is there, and free.
        let mut draft = Draft::default();
        let base = draft.busybox();
        let mount = cache("killed", "/c", CacheSharingOpt::Locked);
        let look = draft.run_with(&base, "ls /c", vec![mount], &[], |_| {});
        assert_eq!(solve(&solver, &client, &draft.finish(&look)).await.output(), "started\n");
    });
}
