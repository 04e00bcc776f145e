//! Operations on files, and layers on layers.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use build::solve::{Event, JobOptions, Ref, ResolveMode, Session, Solver, UsageKind};
use llb::Output;
use llb::pb::{self, file_action::Action, op};
use support::solving::{Client, Draft, Solved, alone, cache, copy, solve, solve_in, text};
use support::with_engine;

/// A client whose context has a bit of everything.
fn client(directory: &std::path::Path) -> Arc<Client> {
    for (path, content) in [
        ("src/main.go", "main"),
        ("src/lib/lib.go", "lib"),
        ("src/lib/lib.md", "text"),
        ("src/notes.md", "notes"),
        ("one.txt", "one"),
        ("two.txt", "two"),
    ] {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().expect("in a directory")).expect("make");
        std::fs::write(&path, content).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("permissions");
    }
    std::os::unix::fs::symlink("one.txt", directory.join("link")).expect("link");
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = support::header(tar::EntryType::Regular, 6);
    archive.append_data(&mut header, "packed/file", &b"packed"[..]).expect("into memory");
    std::fs::write(directory.join("a.tar"), archive.into_inner().expect("into memory")).expect("write");
    let directories = [("context".to_owned(), directory.to_owned())].into();
    Arc::new(Client { directories, ..Client::default() })
}

/// All that is below a directory: names, owners and permissions; what a link leads to, what a file has in it.
async fn listing(result: &Ref, top: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![top.to_owned()];
    while let Some(directory) = pending.pop() {
        for file in result.read_dir(&directory, None).await.expect("list") {
            let path = format!("{}/{}", directory.trim_end_matches('/'), file.path);
            let what = match file.mode & 0o170_000 {
                0o040_000 => {
                    pending.push(path.clone());
                    "/".to_owned()
                }
                0o120_000 => format!(" -> {}", file.link),
                _ => format!(" {}", text(result, &path).await),
            };
            let name = path.strip_prefix(top).unwrap_or(&path).trim_start_matches('/');
            lines.push(format!("{name}{what} {}:{} {:o}", file.uid, file.gid, file.mode & 0o7777));
        }
    }
    lines.sort();
    lines
}

struct Case<'a> {
    solver: &'a Solver,
    client: &'a Arc<Client>,
}

impl Case<'_> {
    async fn solved(&self, draft: &Draft, output: &Output) -> Solved {
        solve(self.solver, self.client, &draft.finish(output)).await
    }

    /// Copies from the context into `/to` of a root file system that has that directory.
    async fn copied(&self, change: impl FnOnce(&mut pb::FileActionCopy)) -> Result<Vec<String>, String> {
        let mut draft = Draft::default();
        let (base, context) = (draft.busybox(), draft.source("local://context"));
        let there =
            pb::FileActionMkDir { path: "/to".to_owned(), mode: 0o755, timestamp: -1, ..Default::default() };
        let base = draft.files(&[base], vec![alone(Action::Mkdir(there), llb::EMPTY)]);
        let mut action = copy("", "/to/");
        change(&mut action);
        let output = draft.files(&[base, context], vec![alone(Action::Copy(action), 1)]);
        match self.solved(&draft, &output).await.result {
            Ok(result) => Ok(listing(&result, "/to").await),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn named(name: &str) -> Option<pb::UserOpt> {
    let named = pb::NamedUserOpt { name: name.to_owned(), input: 0 };
    Some(pb::UserOpt { user: Some(pb::user_opt::User::ByName(named)) })
}

#[test]
fn files_are_copied_as_the_action_says() {
    with_engine(async |engine| {
        let directory = tempfile::tempdir().expect("a directory");
        let (solver, client) = (Solver::new(engine.clone()), client(directory.path()));
        let case = Case { solver: &solver, client: &client };
        let root = pb::ChownOpt {
            user: Some(pb::UserOpt { user: Some(pb::user_opt::User::ById(0)) }),
            group: Some(pb::UserOpt { user: Some(pb::user_opt::User::ById(0)) }),
        };
        let check = async |change: &dyn Fn(&mut pb::FileActionCopy), expected: &[&str]| {
            let found = case.copied(|action| {
                action.owner = Some(root.clone());
                change(action);
            });
            assert_eq!(found.await.expect("copied"), expected);
        };
        check(&|action| action.src = "/one.txt".to_owned(), &["one.txt one 0:0 640"]).await;
        check(&|action| action.src = "/*.txt".to_owned(), &["one.txt one 0:0 640", "two.txt two 0:0 640"])
            .await;
        let src = &[
            "lib/ 0:0 755",
            "lib/lib.go lib 0:0 640",
            "lib/lib.md text 0:0 640",
            "main.go main 0:0 640",
            "notes.md notes 0:0 640",
        ];
        check(&|action| action.src = "/src".to_owned(), src).await;
        let renamed = |action: &mut pb::FileActionCopy| {
            (action.src, action.dest) = ("/one.txt".to_owned(), "/to/deep/er".to_owned());
        };
        check(&renamed, &["deep/ 0:0 755", "deep/er one 0:0 640"]).await;
        let whole = |action: &mut pb::FileActionCopy| {
            (action.src, action.dir_copy_contents) = ("/src/lib".to_owned(), false);
        };
        check(&whole, &["lib/ 0:0 755", "lib/lib.go lib 0:0 640", "lib/lib.md text 0:0 640"]).await;
        let some = |action: &mut pb::FileActionCopy| {
            action.src = "/src".to_owned();
            action.include_patterns = vec!["**/*.go".to_owned()];
            action.exclude_patterns = vec!["main.go".to_owned()];
        };
        check(&some, &["lib/ 0:0 755", "lib/lib.go lib 0:0 640"]).await;
        let symbolic = |action: &mut pb::FileActionCopy| {
            (action.src, action.mode_str) = ("/one.txt".to_owned(), "u+x,g-r".to_owned());
        };
        check(&symbolic, &["one.txt one 0:0 700"]).await;
        let octal =
            |action: &mut pb::FileActionCopy| (action.src, action.mode) = ("/one.txt".to_owned(), 0o604);
        check(&octal, &["one.txt one 0:0 604"]).await;
        let above = |action: &mut pb::FileActionCopy| {
            renamed(action);
            action.mode = 0o757;
        };
        check(&above, &["deep/ 0:0 757", "deep/er one 0:0 757"]).await;
        let link = |action: &mut pb::FileActionCopy| {
            (action.src, action.follow_symlink) = ("/link".to_owned(), false);
        };
        check(&link, &["link -> one.txt 0:0 777"]).await;
        check(&|action| action.src = "/link".to_owned(), &["link one 0:0 640"]).await;
        let unpacked = |action: &mut pb::FileActionCopy| {
            (action.src, action.attempt_unpack_docker_compatibility) = ("/a.tar".to_owned(), true);
        };
        check(&unpacked, &["packed/ 0:0 755", "packed/file packed 0:0 644"]).await;
        let owned = |action: &mut pb::FileActionCopy| {
            unpacked(action);
            action.owner = Some(pb::ChownOpt { user: named("nobody"), group: None });
        };
        let found = case.copied(owned).await.expect("copied");
        assert!(found.iter().all(|line| line.contains(" 65534:")), "{found:?}");

        let fails = async |change: &dyn Fn(&mut pb::FileActionCopy)| {
            case.copied(|action| change(action)).await.expect_err("it is refused")
        };
        assert!(fails(&|action| action.src = "/none".to_owned()).await.ends_with("\"/none\": not found"));
        assert_eq!(fails(&|action| action.src = "/*.none".to_owned()).await, "/*.none not found");
        let closed = |action: &mut pb::FileActionCopy| {
            (action.src, action.dest, action.create_dest_path) =
                ("/one.txt".to_owned(), "/none/a".to_owned(), false);
        };
        assert!(fails(&closed).await.starts_with("failed to stat /none/a"));
        let unknown = |action: &mut pb::FileActionCopy| {
            action.src = "/one.txt".to_owned();
            action.owner = Some(pb::ChownOpt { user: named("somebody"), group: None });
        };
        assert!(fails(&unknown).await.starts_with("unable to find user somebody"));
    });
}

#[test]
fn actions_follow_on_each_other_and_make_one_layer() {
    with_engine(async |engine| {
        let directory = tempfile::tempdir().expect("a directory");
        let (solver, client) = (Solver::new(engine.clone()), client(directory.path()));
        let case = Case { solver: &solver, client: &client };
        let mut draft = Draft::default();
        let time = 1_700_000_000_000_000_000;
        let actions = [
            Action::Mkdir(pb::FileActionMkDir {
                path: "/a/b".to_owned(),
                mode: 0o700,
                make_parents: true,
                timestamp: time,
                ..Default::default()
            }),
            Action::Mkfile(pb::FileActionMkFile {
                path: "/a/b/f".to_owned(),
                mode: 0o600,
                data: "text".into(),
                timestamp: time,
                ..Default::default()
            }),
            Action::Symlink(pb::FileActionSymlink {
                oldpath: "b/f".to_owned(),
                newpath: "/a/l".to_owned(),
                timestamp: time,
                ..Default::default()
            }),
            Action::Mkfile(pb::FileActionMkFile {
                path: "/a/gone".to_owned(),
                timestamp: -1,
                ..Default::default()
            }),
            Action::Rm(pb::FileActionRm {
                path: "/a/g*".to_owned(),
                allow_wildcard: true,
                ..Default::default()
            }),
        ];
        let count = actions.len();
        let actions: Vec<pb::FileAction> = actions
            .into_iter()
            .enumerate()
            .map(|(at, action)| pb::FileAction {
                input: i64::try_from(at).expect("few") - 1,
                secondary_input: llb::EMPTY,
                output: if at + 1 == count { 0 } else { llb::SKIP_OUTPUT },
                action: Some(action),
            })
            .collect();
        let made = draft.files(&[], actions);
        let solved = case.solved(&draft, &made).await;
        let result = solved.expect();
        assert_eq!(
            listing(result, "/").await,
            ["a/ 0:0 755", "a/b/ 0:0 700", "a/b/f text 0:0 600", "a/l -> b/f 0:0 777"]
        );
        assert_eq!(result.stat_file("/a/b/f").await.expect("the file").modified, time);
        let chain = result.chain().await.expect("layers");
        assert_eq!(engine.images().layer_chain(chain.top().expect("a layer")).len(), 1);
        let missing = pb::FileActionRm { path: "/none".to_owned(), ..Default::default() };
        let removed =
            draft.files(std::slice::from_ref(&made), vec![alone(Action::Rm(missing.clone()), llb::EMPTY)]);
        assert!(case.solved(&draft, &removed).await.error().contains("no such file"));
        let allowed = pb::FileActionRm { allow_not_found: true, ..missing };
        let removed = draft.files(&[made], vec![alone(Action::Rm(allowed), llb::EMPTY)]);
        case.solved(&draft, &removed).await.expect();
    });
}

#[test]
fn layers_are_merged_and_told_apart_without_a_copy() {
    with_engine(async |engine| {
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let case = Case { solver: &solver, client: &client };
        let mut draft = Draft::default();
        let base = draft.busybox();
        let file = |path: &str| {
            Action::Mkfile(pb::FileActionMkFile {
                path: path.to_owned(),
                mode: 0o644,
                timestamp: -1,
                ..Default::default()
            })
        };
        let alone_on = |draft: &mut Draft, path: &str| {
            draft.files(&[], vec![pb::FileAction { input: llb::EMPTY, ..alone(file(path), llb::EMPTY) }])
        };
        let (one, two) = (alone_on(&mut draft, "/one"), alone_on(&mut draft, "/two"));
        let inputs = (0..3).map(|input| pb::MergeInput { input }).collect();
        let merge = op::Op::Merge(pb::MergeOp { inputs });
        let merged = draft.builder.add(merge, &[base.clone(), one, two], None, Default::default());
        let diffs = engine.config().root.join("images/diffs");
        let solved = case.solved(&draft, &merged).await;
        let result = solved.expect();
        for path in ["/one", "/two", "/bin/sh"] {
            result.stat_file(path).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        assert_eq!(std::fs::read_dir(&diffs).expect("list").count(), 3);

        let changed = draft.run(&base, "echo x > /changed; rm /bin/true");
        let sides = (pb::LowerDiffInput { input: 0 }, pb::UpperDiffInput { input: 1 });
        let diff = op::Op::Diff(pb::DiffOp { lower: Some(sides.0), upper: Some(sides.1) });
        let between = draft.builder.add(diff, &[base, changed], None, Default::default());
        let solved = case.solved(&draft, &between).await;
        assert_eq!(text(solved.expect(), "/changed").await, "x\n");
        assert!(solved.expect().stat_file("/bin/sh").await.is_err());
    });
}

#[test]
fn what_is_between_two_results_is_known_also_if_neither_stands_on_the_other() {
    with_engine(async |engine| {
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let case = Case { solver: &solver, client: &client };
        let mut draft = Draft::default();
        let base = draft.busybox();
        let lower = draft.run(&base, "mkdir /d; echo 1 > /d/both; echo 1 > /d/lower; touch -d @1 /d/both");
        let upper = draft
            .run(&base, "mkdir /d; echo 1 > /d/both; echo 2 > /d/upper; touch -d @1 /d/both; rm /bin/true");
        let sides = (pb::LowerDiffInput { input: 0 }, pb::UpperDiffInput { input: 1 });
        let diff = op::Op::Diff(pb::DiffOp { lower: Some(sides.0), upper: Some(sides.1) });
        let between = draft.builder.add(diff, &[lower.clone(), upper], None, Default::default());
        let solved = case.solved(&draft, &between).await;
        let result = solved.expect();
        assert_eq!(text(result, "/d/upper").await, "2\n");
        for path in ["/bin/sh", "/d/both", "/d/lower"] {
            assert!(result.stat_file(path).await.is_err(), "{path} is not between them");
        }
        // On the one that it is from it makes the other.
        let inputs = (0..2).map(|input| pb::MergeInput { input }).collect();
        let merge = op::Op::Merge(pb::MergeOp { inputs });
        let merged = draft.builder.add(merge, &[lower, between.clone()], None, Default::default());
        let solved = case.solved(&draft, &merged).await;
        let result = solved.expect();
        assert_eq!(text(result, "/d/upper").await, "2\n");
        assert_eq!(text(result, "/d/both").await, "1\n");
        for path in ["/bin/true", "/d/lower"] {
            assert!(result.stat_file(path).await.is_err(), "{path} was removed");
        }
        let again = case.solved(&draft, &between).await;
        assert!(again.cached() >= 3, "{} were found done", again.cached());
    });
}

#[test]
fn what_is_not_to_be_found_is_done_again() {
    with_engine(async |engine| {
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let mut draft = Draft::default();
        let base = draft.busybox();
        let run = draft.run(&base, "echo ran");
        let definition = draft.finish(&run);
        assert_eq!(solve(&solver, &client, &definition).await.output(), "ran\n");
        assert_eq!(solve(&solver, &client, &definition).await.output(), "");
        draft.builder.metadata(&run).ignore_cache = true;
        for _ in 0..2 {
            assert_eq!(solve(&solver, &client, &draft.finish(&run)).await.output(), "ran\n");
        }
    });
}

/// What is made to copy into is nobody's, though what is copied keeps its owners; a link that leads to nothing
/// leads to what is made.
#[test]
fn directories_are_made_for_what_is_copied() {
    with_engine(async |engine| {
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let case = Case { solver: &solver, client: &client };
        let mut draft = Draft::default();
        let by = |id| Some(pb::UserOpt { user: Some(pb::user_opt::User::ById(id)) });
        let owner = Some(pb::ChownOpt { user: by(7), group: by(8) });
        let mkdir = |path: &str| {
            Action::Mkdir(pb::FileActionMkDir {
                path: path.to_owned(),
                mode: 0o700,
                make_parents: true,
                timestamp: -1,
                owner: owner.clone(),
            })
        };
        let from =
            draft.files(&[], vec![pb::FileAction { input: llb::EMPTY, ..alone(mkdir("/d/in"), llb::EMPTY) }]);
        let link = |to: &str| {
            Action::Symlink(pb::FileActionSymlink {
                oldpath: to.to_owned(),
                newpath: "/l".to_owned(),
                timestamp: -1,
                ..Default::default()
            })
        };
        let mut copied = async |to: &str, dest: &str| {
            let base =
                draft.files(&[], vec![pb::FileAction { input: llb::EMPTY, ..alone(link(to), llb::EMPTY) }]);
            let action = Action::Copy(copy("/d", dest));
            let output = draft.files(&[base, from.clone()], vec![alone(action, 1)]);
            let solved = case.solved(&draft, &output).await;
            match &solved.result {
                Ok(result) => listing(result, "/").await,
                Err(error) => vec![error.to_string()],
            }
        };
        let plain = ["l -> x 0:0 777", "new/ 0:0 755", "new/in/ 7:8 700"];
        assert_eq!(copied("x", "/new").await, plain);
        let beyond = ["a/ 0:0 755", "a/b/ 0:0 755", "a/b/in/ 7:8 700", "l -> ../../a/b 0:0 777"];
        assert_eq!(copied("../../a/b", "/l/").await, beyond);
        let error = copied("l/x", "/l/").await;
        assert!(error[0].contains("Too many levels of symbolic links"), "{error:?}");
    });
}

#[test]
fn what_wants_no_cache_begins_with_empty_cache_mounts() {
    with_engine(async |engine| {
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let mut draft = Draft::default();
        let base = draft.busybox();
        let mounts = || vec![cache("anew", "/c", pb::CacheSharingOpt::Locked)];
        let first = draft.run_with(&base, "ls /c; touch /c/one", mounts(), &[], |_| {});
        let second = draft.run_with(&first, "ls /c; touch /c/two", mounts(), &[], |_| {});
        for _ in 0..2 {
            for output in [&first, &second] {
                draft.builder.metadata(output).ignore_cache = true;
            }
            assert_eq!(solve(&solver, &client, &draft.finish(&second)).await.output(), "one\n");
        }
        let mut other = Draft::default();
        let base = other.busybox();
        let kept = other.run_with(&base, "ls /c", mounts(), &[], |_| {});
        assert_eq!(solve(&solver, &client, &other.finish(&kept)).await.output(), "one\ntwo\n");
    });
}

#[test]
fn files_of_a_client_that_has_nothing_in_common_are_not_kept() {
    with_engine(async |engine| {
        let directory = tempfile::tempdir().expect("a directory");
        let directories: std::collections::HashMap<_, _> =
            [("context".to_owned(), directory.path().to_owned())].into();
        let solver = Solver::new(engine.clone());
        let mut draft = Draft::default();
        let context = draft.source("local://context");
        for (alone, expected) in [(true, 0), (false, 1)] {
            let client: Arc<dyn Session> =
                Arc::new(Client { directories: directories.clone(), alone, ..Client::default() });
            let job = solver.job(JobOptions { session: Some(client), ..JobOptions::default() });
            let solved = solve_in(&job, &draft.finish(&context)).await;
            solved.expect();
            let told =
                |event: &Event| matches!(event, Event::Status(status) if status.name == "transferring");
            assert!(solved.events.iter().any(told), "{:?}", solved.events);
            drop((solved, job));
            let records = solver.disk_usage(&[]).await.expect("records");
            let locals = records.iter().filter(|record| record.kind == UsageKind::Local).count();
            assert_eq!(locals, expected, "alone: {alone}");
        }
    });
}

#[test]
fn files_come_from_the_session_that_is_named() {
    with_engine(async |engine| {
        let directory = tempfile::tempdir().expect("a directory");
        let (solver, other) = (Solver::new(engine.clone()), client(directory.path()));
        let client = Arc::new(Client { others: [("other".to_owned(), other)].into(), ..Client::default() });
        let mut draft = Draft::default();
        let mut source = |session: &str| {
            let attrs = [("local.session".to_owned(), session.to_owned())].into();
            let source = pb::SourceOp { identifier: "local://context".to_owned(), attrs };
            let output = draft.builder.add(op::Op::Source(source), &[], None, Default::default());
            draft.finish(&output)
        };
        let (named, own) = (source("other"), source(""));
        let solved = solve(&solver, &client, &named).await;
        assert_eq!(text(solved.expect(), "/one.txt").await, "one");
        assert!(solve(&solver, &client, &own).await.result.is_err());
    });
}

/// Front ends that clients run ask what a name leads to, and then want that and nothing else.
#[test]
fn an_image_of_no_registry_is_found_by_what_it_was_said_to_be() {
    with_engine(async |engine| {
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let job = solver.job(JobOptions::default());
        let resolved = job.resolve_image("busybox", None, ResolveMode::Default).await.expect("the image");
        let mut draft = Draft::default();
        let mut of = |name: &str| {
            let source =
                draft.source(&format!("docker-image://docker.io/library/{name}@{}", resolved.digest));
            draft.finish(&source)
        };
        let (same, other) = (of("busybox:latest"), of("other"));
        solve(&solver, &client, &same).await.expect().stat_file("/bin/sh").await.expect("a shell");
        assert!(solve(&solver, &client, &other).await.result.is_err());
    });
}
