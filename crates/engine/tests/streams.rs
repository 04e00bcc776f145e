//! Attaching, further processes, logs that grow, events.

mod support;

use std::time::Duration;

use bytes::Bytes;
use engine::container::{AttachFlags, LogQuery, RemoveOptions, Resources, Ulimit};
use engine::event::EventQuery;
use engine::exec::ExecSpec;
use engine::{Attached, ContainerSpec, Engine, Kind, OutputKind, TerminalSize};
use futures::StreamExt;
use support::{create, on_host, remove_all, shell, start, wait};

const ALL: AttachFlags = AttachFlags { stdin: true, stdout: true, stderr: true };

/// Reads to the end: standard output, standard error, exit code.
async fn drain(attached: Attached) -> (String, String, i32) {
    let Attached { input, mut output, resize, exit } = attached;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(piece) = output.next().await {
        match piece.expect("a piece of output") {
            (OutputKind::Stdout, bytes) => out.extend_from_slice(&bytes),
            (OutputKind::Stderr, bytes) => err.extend_from_slice(&bytes),
        }
    }
    let status = exit.await.expect("an exit status");
    drop((input, resize));
    (String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned(), status.code)
}

fn exec(command: &[&str], attach: AttachFlags) -> ExecSpec {
    let command = command.iter().map(|&word| word.to_owned()).collect();
    ExecSpec { command, attach, ..ExecSpec::default() }
}

async fn running(engine: &Engine) -> engine::ContainerId {
    start(engine, shell("sleep 1000")).await
}

#[test]
fn who_attaches_before_the_start_misses_nothing() {
    on_host(|_, engine| async move {
        let id = create(&engine, shell("echo out; echo err >&2; exit 4")).await;
        let attached = engine.container_attach(&id, false).await.expect("attach");
        engine.container_start(&id).await.expect("start");
        assert_eq!(drain(attached).await, ("out\n".to_owned(), "err\n".to_owned(), 4));
        remove_all(&engine).await;
    });
}

#[test]
fn input_reaches_the_program_and_its_end_is_seen_while_output_goes_on() {
    on_host(|_, engine| async move {
        let spec = ContainerSpec { stdin_open: true, stdin_once: true, ..shell("cat; echo done") };
        let id = create(&engine, spec).await;
        let attached = engine.container_attach(&id, true).await.expect("attach");
        engine.container_start(&id).await.expect("start");
        let large = "x".repeat(300_000) + "\n";
        let sent = large.clone();
        let input = attached.input.clone();
        let writing = tokio::spawn(async move {
            input.write(Bytes::from(sent)).await.expect("write");
            input.close().await.expect("close");
        });
        let (out, _, code) = drain(attached).await;
        writing.await.expect("the writer");
        assert_eq!((out.len(), code), (large.len() + 5, 0));
        assert!(out.ends_with("x\ndone\n"));
        remove_all(&engine).await;
    });
}

#[test]
fn input_that_a_client_gave_before_it_went_reaches_the_program() {
    on_host(|_, engine| async move {
        let spec = ContainerSpec { stdin_open: true, ..shell("head -c 200000 | wc -c") };
        let id = start(&engine, spec).await;
        let attached = engine.container_attach(&id, false).await.expect("attach");
        // More than waits anywhere on its way.
        let giver = engine.container_attach(&id, true).await.expect("attach");
        giver.input.write(Bytes::from(vec![b'x'; 200_000])).await.expect("write");
        drop(giver);
        assert_eq!(drain(attached).await, ("200000\n".to_owned(), String::new(), 0));
        remove_all(&engine).await;
    });
}

#[test]
fn a_terminal_has_the_size_that_it_is_given() {
    on_host(|_, engine| async move {
        let spec =
            ContainerSpec { tty: true, stdin_open: true, ..shell("read line; stty size; echo got $line") };
        let id = start(&engine, spec).await;
        let attached = engine.container_attach(&id, true).await.expect("attach");
        engine.container_resize(&id, TerminalSize { columns: 100, rows: 30 }).await.expect("resize");
        attached.input.write(Bytes::from_static(b"word\n")).await.expect("write");
        let (out, err, code) = drain(attached).await;
        assert!(out.contains("30 100\r\n") && out.contains("got word\r\n"), "{out}");
        assert_eq!((err.as_str(), code), ("", 0));
        remove_all(&engine).await;
    });
}

#[test]
fn a_further_process_has_streams_and_an_exit_code_of_its_own() {
    on_host(|_, engine| async move {
        let id = running(&engine).await;
        let mut spec = exec(&["sh", "-c", "cat; echo $A $HOME; pwd; id -u; echo err >&2; exit 9"], ALL);
        spec.env = vec!["A=1".to_owned()];
        spec.user = Some("nobody".to_owned());
        spec.workdir = Some("/tmp".to_owned());
        let process = engine.exec_create(&id, spec).await.expect("create");
        assert!(!engine.exec_inspect(&process).expect("inspect").running);
        let attached = engine.exec_start(&process, None).await.expect("start");
        assert!(engine.exec_inspect(&process).expect("inspect").running);
        attached.input.write(Bytes::from_static(b"in\n")).await.expect("write");
        attached.input.close().await.expect("close");
        assert_eq!(drain(attached).await, ("in\n1 /home\n/tmp\n65534\n".to_owned(), "err\n".to_owned(), 9));
        let seen = engine.exec_inspect(&process).expect("inspect");
        assert_eq!((seen.running, seen.exit_code), (false, Some(9)));
        assert_eq!(engine.exec_start(&process, None).await.err().expect("it has run").kind(), Kind::Conflict);
        remove_all(&engine).await;
    });
}

#[test]
fn a_further_process_has_the_limits_of_the_container() {
    on_host(|_, engine| async move {
        let ulimits = vec![Ulimit { name: "nofile".to_owned(), soft: 20, hard: 30 }];
        let resources = Resources { ulimits, oom_score_adj: Some(321), ..Resources::default() };
        let id = start(&engine, ContainerSpec { resources, ..shell("sleep 1000") }).await;
        let line = "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj";
        let run = engine.exec_run(&id, exec(&["sh", "-c", line], AttachFlags::default()), None, 100).await;
        assert_eq!(&run.expect("run").stdout[..], &b"20\n30\n321\n"[..]);
        remove_all(&engine).await;
    });
}

#[test]
fn a_further_process_that_does_not_exist_is_told() {
    on_host(|_, engine| async move {
        let id = running(&engine).await;
        let process = engine.exec_create(&id, exec(&["nope"], ALL)).await.expect("create");
        let error = engine.exec_start(&process, None).await.err().expect("there is no such program");
        assert_eq!(error.exit_code(), Some(127));
        assert!(error.message().contains("exec: \"nope\": executable file not found in $PATH"), "{error:?}");
        remove_all(&engine).await;
    });
}

#[test]
fn a_process_that_is_run_is_killed_when_it_takes_too_long_or_nobody_waits() {
    on_host(|_, engine| async move {
        let id = running(&engine).await;
        let quick = engine
            .exec_run(&id, exec(&["sh", "-c", "echo hello; exit 2"], AttachFlags::default()), None, 4)
            .await;
        let quick = quick.expect("run");
        assert_eq!((quick.exit_code, &quick.stdout[..]), (Some(2), &b"hell"[..]));
        let limit = Some(Duration::from_millis(100));
        let slow = engine
            .exec_run(&id, exec(&["sleep", "1000"], AttachFlags::default()), limit, 4)
            .await
            .expect("run");
        assert_eq!(slow.exit_code, None);
        let table = engine.container_top(&id, "-o pid,args").await.expect("top");
        assert_eq!(table.titles, ["PID", "COMMAND"]);
        let runs = async |count: usize| {
            testkit::wait_until_async("the processes", || async {
                let table = engine.container_top(&id, "").await.expect("top");
                if table.rows.len() == count { Ok(()) } else { Err(table.rows) }
            })
            .await;
        };
        runs(1).await;
        let waiting = engine.exec_run(&id, exec(&["sleep", "1000"], AttachFlags::default()), None, 4);
        tokio::select! {
            ran = waiting => panic!("{ran:?}"),
            () = runs(2) => {}
        }
        runs(1).await;
        remove_all(&engine).await;
    });
}

#[test]
fn a_log_is_followed_until_the_container_ends() {
    on_host(|_, engine| async move {
        let spec = ContainerSpec { stdin_open: true, ..shell("while read line; do echo $line; done") };
        let id = start(&engine, spec).await;
        let query = LogQuery { stdout: true, follow: true, ..LogQuery::default() };
        let mut lines = engine.container_logs(&id, query).await.expect("follow");
        let attached = engine.container_attach(&id, true).await.expect("attach");
        for word in ["one", "two"] {
            attached.input.write(Bytes::from(format!("{word}\n"))).await.expect("write");
            let line = lines.next().await.expect("a line").expect("readable");
            assert_eq!(&line.text[..], format!("{word}\n").as_bytes());
        }
        engine.container_kill(&id, None).await.expect("kill");
        assert!(lines.next().await.is_none());
        remove_all(&engine).await;
    });
}

#[test]
fn events_tell_a_container_s_life_in_order() {
    on_host(|_, engine| async move {
        let mut events = engine.events(EventQuery::default());
        let since = base::Timestamp::now();
        let id = start(&engine, shell("exit 3")).await;
        wait(&engine, &id).await;
        engine.container_remove(&id, RemoveOptions::default()).await.expect("remove");
        let mut seen = Vec::new();
        while seen.last().is_none_or(|action| action != "destroy") {
            let event = events.next().await.expect("an event").expect("not too slow");
            if event.action == "die" {
                assert_eq!(event.attributes["exitCode"], "3");
            }
            seen.push(event.action.into_owned());
        }
        assert_eq!(seen, ["create", "connect", "start", "disconnect", "die", "destroy"]);
        let until = Some(base::Timestamp::now());
        let past = EventQuery {
            since: Some(since),
            until,
            actions: vec!["start".to_owned()],
            ..EventQuery::default()
        };
        let past: Vec<_> = engine.events(past).collect().await;
        assert_eq!(past.len(), 1);
    });
}

#[test]
fn what_is_prepared_and_never_started_has_a_bound() {
    on_host(|_, engine| async move {
        let id = start(&engine, shell("sleep 1000")).await;
        let mut large = exec(&["true"], AttachFlags::default());
        large.env = vec!["x".repeat(3 << 20)];
        let error = engine.exec_create(&id, large).await.expect_err("too long");
        assert_eq!(error.kind(), Kind::Invalid);
        let mut last = None;
        for _ in 0..1000 {
            let made = engine.exec_create(&id, exec(&["true"], AttachFlags::default())).await;
            last = Some(made.expect("there is room"));
        }
        let one_more = async || engine.exec_create(&id, exec(&["true"], AttachFlags::default())).await;
        assert_eq!(one_more().await.expect_err("too many").kind(), Kind::Conflict);
        engine.exec_start(&last.expect("one"), None).await.expect("start");
        one_more().await.expect("there is room again");
        remove_all(&engine).await;
    });
}
