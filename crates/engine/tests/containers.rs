//! Containers from their creation to their removal, with real processes.

mod support;

use std::time::Duration;

use engine::container::{RemoveOptions, RestartPolicy, Status, WaitCondition};
use engine::sandbox::SandboxSpec;
use engine::{ContainerSpec, Fact, Kind, SandboxId};
use support::{create, logs, on_host, output, remove_all, shell, start, wait};

#[test]
fn a_container_runs_its_program_and_its_log_and_exit_code_are_kept() {
    on_host(|_, engine| async move {
        let id = start(&engine, shell("echo out; echo err >&2; exit 3")).await;
        assert_eq!(wait(&engine, &id).await.code, 3);
        assert_eq!(logs(&engine, &id).await, ("out\n".to_owned(), "err\n".to_owned()));
        let container = engine.container_inspect(&id).expect("inspect");
        assert_eq!((container.state.status, container.state.exit_code), (Status::Exited, 3));
        engine.container_remove(&id, RemoveOptions::default()).await.expect("remove");
        assert_eq!(engine.container_inspect(&id).expect_err("it is gone").kind(), Kind::NotFound);
    });
}

#[test]
fn a_container_sees_what_was_asked_for() {
    on_host(|host, engine| async move {
        let mut spec = shell(
            "hostname; id -u; pwd; echo $A; cat /etc/hostname; cat /data/file; test -w / || echo read-only",
        );
        spec.hostname = Some("box".to_owned());
        spec.user = Some("nobody".to_owned());
        spec.workdir = Some("/home".to_owned());
        spec.env = vec!["A=b c".to_owned()];
        spec.read_only_rootfs = true;
        std::fs::create_dir(host.path("shared")).expect("make a directory");
        std::fs::write(host.path("shared/file"), "content\n").expect("write a file");
        spec.mounts.push(engine::container::Mount {
            target: "/data".to_owned(),
            read_only: true,
            source: engine::container::MountSource::Bind {
                path: host.path("shared"),
                propagation: Default::default(),
                create: false,
                non_recursive: false,
                subpath: None,
                must_be: None,
                writable_below: false,
            },
        });
        assert_eq!(output(&engine, spec).await, "box\n65534\n/home\nb c\nbox\ncontent\nread-only\n");
    });
}

#[test]
fn a_program_that_does_not_exist_is_told_with_its_exit_code() {
    on_host(|_, engine| async move {
        let missing = ContainerSpec { command: Some(vec!["nope".to_owned()]), ..shell("") };
        let id = create(&engine, missing).await;
        let error = engine.container_start(&id).await.expect_err("there is no such program");
        assert_eq!(error.exit_code(), Some(127));
        assert!(error.message().contains("exec: \"nope\": executable file not found in $PATH"), "{error:?}");
        let denied = ContainerSpec { command: Some(vec!["/etc/passwd".to_owned()]), ..shell("") };
        let id = create(&engine, denied).await;
        let error = engine.container_start(&id).await.expect_err("this is no program");
        assert_eq!(error.exit_code(), Some(126), "{error:?}");
        assert!(error.message().contains("permission denied"), "{error:?}");
        remove_all(&engine).await;
    });
}

#[test]
fn a_name_is_taken_once_and_free_after_the_removal() {
    on_host(|_, engine| async move {
        let named = || ContainerSpec { name: Some("web".to_owned()), ..shell("true") };
        let id = create(&engine, named()).await;
        let error = engine.container_create(named()).await.expect_err("the name is taken");
        assert_eq!(error.kind(), Kind::Conflict);
        assert_eq!(error.fact(), Some(&Fact::NameTaken { name: "web".to_owned(), holder: id.clone() }));
        engine.container_rename(&id, "site").await.expect("rename");
        assert_eq!(engine.container_find("/site").expect("its new name"), id);
        assert_eq!(engine.container_find(id.short()).expect("the beginning of its id"), id);
        let other = create(&engine, named()).await;
        engine.container_remove(&other, RemoveOptions::default()).await.expect("remove");
        create(&engine, named()).await;
        remove_all(&engine).await;
    });
}

#[test]
fn an_image_that_is_not_here_is_told_with_its_tag() {
    on_host(|_, engine| async move {
        let spec = ContainerSpec { image: "nothing".to_owned(), ..shell("true") };
        let error = engine.container_create(spec).await.expect_err("there is no such image");
        let missing = Fact::NoImage { reference: "nothing:latest".to_owned() };
        assert_eq!((error.kind(), error.fact()), (Kind::NotFound, Some(&missing)));
    });
}

/// Whether it had ended before it was to be stopped.
fn not_modified(error: engine::Error) -> Result<(), engine::Error> {
    if error.kind() == Kind::NotModified { Ok(()) } else { Err(error) }
}

#[test]
fn a_container_that_ignores_the_stop_signal_is_killed_after_its_grace() {
    on_host(|_, engine| async move {
        let id = start(&engine, shell("trap '' TERM; echo ready; while :; do sleep 1; done")).await;
        engine.container_stop(&id, None, Some(Duration::from_millis(200))).await.expect("stop");
        let container = engine.container_inspect(&id).expect("inspect");
        assert_eq!((container.state.status, container.state.exit_code), (Status::Exited, 137));
        let error = engine.container_stop(&id, None, None).await.expect_err("it does not run");
        assert_eq!(error.kind(), Kind::NotModified);
        remove_all(&engine).await;
    });
}

#[test]
fn a_container_that_hears_the_stop_signal_ends_by_itself() {
    on_host(|_, engine| async move {
        let spec = ContainerSpec {
            stop_signal: Some("USR1".to_owned()),
            ..shell("trap 'exit 7' USR1; echo up; while :; do sleep 0.02; done")
        };
        let id = start(&engine, spec).await;
        testkit::wait_until_async("the trap", || async {
            let (out, _) = logs(&engine, &id).await;
            if out == "up\n" { Ok(()) } else { Err(out) }
        })
        .await;
        engine.container_stop(&id, None, None).await.expect("stop");
        assert_eq!(engine.container_inspect(&id).expect("inspect").state.exit_code, 7);
        remove_all(&engine).await;
    });
}

#[test]
fn a_signal_right_after_the_start_is_not_lost_on_who_is_about_to_catch_it() {
    on_host(|_, engine| async move {
        for signal in ["TERM", "USR1", "RTMIN+3"] {
            let number = if signal == "RTMIN+3" { "37" } else { signal };
            let line = format!(
                "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; trap 'exit 7' {number}; while :; do sleep 0.02; done"
            );
            let id = start(&engine, shell(&line)).await;
            engine.container_kill(&id, Some(signal)).await.expect("kill");
            engine.container_stop(&id, Some(signal), None).await.or_else(not_modified).expect("stop");
            assert_eq!(engine.container_inspect(&id).expect("inspect").state.exit_code, 7, "{signal}");
        }
        // One who waits without a word is not waited for, and dies of what nobody can catch.
        let id = start(&engine, shell("exec sleep 1000")).await;
        engine.container_kill(&id, Some("TERM")).await.expect("kill");
        engine.container_kill(&id, None).await.expect("kill");
        assert_eq!(engine.container_inspect(&id).expect("inspect").state.exit_code, 137);
        remove_all(&engine).await;
    });
}

#[test]
fn a_failing_container_is_restarted_as_often_as_its_policy_says() {
    on_host(|_, engine| async move {
        let restart = RestartPolicy::OnFailure { retries: Some(2) };
        let id = start(&engine, ContainerSpec { restart, ..shell("echo run; exit 1") }).await;
        testkit::wait_until_async("the last run", || async {
            let seen = engine.container_inspect(&id).expect("inspect");
            if seen.state.status == Status::Exited { Ok(()) } else { Err(seen.state.clone()) }
        })
        .await;
        assert_eq!(logs(&engine, &id).await.0, "run\nrun\nrun\n");
        assert_eq!(engine.container_inspect(&id).expect("inspect").restart_count, 2);
        remove_all(&engine).await;
    });
}

#[test]
fn a_container_that_removes_itself_is_gone_after_its_end() {
    on_host(|_, engine| async move {
        let id = create(&engine, ContainerSpec { auto_remove: true, ..shell("exit 5") }).await;
        let removed = engine.container_wait(&id, WaitCondition::Removed).expect("begin to wait");
        engine.container_start(&id).await.expect("start");
        assert_eq!(removed.await.expect("wait").code, 5);
        assert_eq!(engine.container_inspect(&id).expect_err("it is gone").kind(), Kind::NotFound);
    });
}

#[test]
fn a_running_container_is_removed_only_by_force() {
    on_host(|_, engine| async move {
        let id = start(&engine, shell("sleep 1000")).await;
        let error = engine.container_remove(&id, RemoveOptions::default()).await.expect_err("it runs");
        assert_eq!(error.kind(), Kind::Conflict);
        let force = RemoveOptions { force: true, volumes: false };
        engine.container_remove(&id, force).await.expect("remove by force");
    });
}

#[test]
fn a_paused_container_stands_still_and_goes_on() {
    on_host(|_, engine| async move {
        let id = start(&engine, shell("sleep 1000")).await;
        engine.container_pause(&id).await.expect("pause");
        assert_eq!(engine.container_inspect(&id).expect("inspect").state.status, Status::Paused);
        assert_eq!(engine.container_pause(&id).await.expect_err("it is paused").kind(), Kind::Conflict);
        engine.container_unpause(&id).await.expect("unpause");
        assert_eq!(engine.container_inspect(&id).expect("inspect").state.status, Status::Running);
        engine.container_pause(&id).await.expect("pause again");
        engine.container_stop(&id, None, Some(Duration::ZERO)).await.expect("stop a paused one");
        remove_all(&engine).await;
    });
}

#[test]
fn containers_that_are_made_at_once_have_names_of_their_own() {
    on_host(|_, engine| async move {
        // More than there are names of two words for any that meet by chance.
        let unnamed = (0..150).map(|_| engine.container_create(shell("true")));
        let made = futures::future::join_all(unnamed).await;
        let names: std::collections::BTreeSet<String> = made
            .into_iter()
            .map(|made| {
                let id = made.expect("nobody asked for a name").id;
                engine.container_inspect(&id).expect("it is there").name.clone()
            })
            .collect();
        assert_eq!(names.len(), 150);
        let named = (0..8).map(|_| {
            engine.container_create(ContainerSpec { name: Some("mine".to_owned()), ..shell("true") })
        });
        let made = futures::future::join_all(named).await;
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
        for refused in made.into_iter().filter_map(Result::err) {
            assert_eq!(refused.kind(), Kind::Conflict);
        }
        // One that was refused left nothing, and one that goes gives the name back.
        let id = engine.container_find("mine").expect("there is one");
        engine.container_remove(&id, Default::default()).await.expect("remove");
        engine
            .container_create(ContainerSpec { name: Some("mine".to_owned()), ..shell("true") })
            .await
            .expect("the name is free");
        remove_all(&engine).await;
    });
}

#[test]
fn the_host_s_queues_are_there_whether_the_host_has_mounted_them_or_not() {
    on_host(|_, engine| async move {
        let mut spec = shell("grep ' /dev/mqueue ' /proc/mounts | cut -d' ' -f3; readlink /proc/self/ns/ipc");
        spec.namespaces.ipc = engine::container::NamespaceMode::Host;
        let own = std::fs::read_link("/proc/self/ns/ipc").expect("a namespace");
        assert_eq!(output(&engine, spec).await, format!("mqueue\n{}\n", own.display()));
        remove_all(&engine).await;
    });
}

#[test]
fn no_container_is_made_in_a_sandbox_that_goes() {
    on_host(|host, engine| async move {
        let member = |sandbox: &SandboxId| ContainerSpec { sandbox: Some(sandbox.clone()), ..shell("true") };
        for round in 0..20 {
            let sandbox = engine.sandbox_create(SandboxSpec::default()).await.expect("make a sandbox");
            let making = (0..round % 5 + 1).map(|number| {
                let (engine, spec) = (engine.clone(), member(&sandbox));
                async move {
                    tokio::time::sleep(Duration::from_millis(number * 3)).await;
                    engine.container_create(spec).await
                }
            });
            let (removed, made) =
                tokio::join!(engine.sandbox_remove(&sandbox), futures::future::join_all(making));
            removed.expect("remove the sandbox");
            for refused in made.into_iter().filter_map(Result::err) {
                assert_eq!(refused.message(), format!("No such sandbox: {sandbox}"));
            }
            let left = engine.container_list(&Default::default()).expect("list");
            assert!(left.is_empty(), "round {round}: {left:?}");
            let kept = std::fs::read_dir(host.path("root/containers")).expect("list").count();
            assert_eq!(kept, 0, "round {round}");
        }
    });
}
