//! Limits, rights, health: what keeps a container within its bounds, and tells when it is not well.

mod support;

use std::time::Duration;

use engine::container::{
    ContainerFilter, ContainerUpdate, HealthStatus, HealthTest, Healthcheck, NamespaceMode, Resources,
    Security, Ulimit,
};
use engine::event::EventQuery;
use engine::{ContainerSpec, Kind};
use futures::StreamExt;
use support::{fill_disk, on_host, on_small_host, output, remove_all, shell, start, wait};

#[test]
fn a_container_that_takes_too_much_memory_is_killed_and_it_is_told() {
    on_host(|_, engine| async move {
        let resources =
            Resources { memory: Some(16 << 20), memory_swap: Some(16 << 20), ..Resources::default() };
        // It is the shell itself that grows.
        let line = "x=0123456789abcdef; while :; do x=$x$x; done";
        let id = start(&engine, ContainerSpec { resources, ..shell(line) }).await;
        assert_eq!(wait(&engine, &id).await.code, 137);
        let state = &engine.container_inspect(&id).expect("inspect").state;
        assert!(state.oom_killed && state.exit_code == 137, "{state:?}");
        remove_all(&engine).await;
    });
}

#[test]
fn limits_are_measured_and_changed_while_the_container_runs() {
    on_host(|_, engine| async move {
        let resources = Resources { memory: Some(64 << 20), pids: Some(50), ..Resources::default() };
        let id = start(&engine, ContainerSpec { resources, ..shell("sleep 1000") }).await;
        let stats = engine.container_stats(&id).await.expect("stats");
        assert_eq!((stats.memory.limit, stats.pids.limit), (64 << 20, Some(50)));
        assert!(stats.memory.usage > 0 && stats.pids.current >= 1 && stats.cpu.system > 0);
        let resources = Resources { memory: Some(128 << 20), memory_swap: Some(-1), ..Resources::default() };
        let update = ContainerUpdate { resources, restart: None };
        engine.container_update(&id, update).await.expect("update");
        assert_eq!(engine.container_stats(&id).await.expect("stats").memory.limit, 128 << 20);
        assert_eq!(engine.container_inspect(&id).expect("inspect").spec.resources.pids, Some(50));
        remove_all(&engine).await;
    });
}

#[test]
fn a_container_has_the_rights_that_it_is_given_and_no_more() {
    on_host(|_, engine| async move {
        let line = "mount -t tmpfs none /tmp 2>/dev/null && echo mounted || echo refused; ulimit -n";
        let ulimits = vec![Ulimit { name: "nofile".to_owned(), soft: 77, hard: 77 }];
        let resources = Resources { ulimits, ..Resources::default() };
        let plain = ContainerSpec { resources: resources.clone(), ..shell(line) };
        assert_eq!(output(&engine, plain).await, "refused\n77\n");
        let security = Security { privileged: true, ..Security::default() };
        assert_eq!(
            output(&engine, ContainerSpec { security, resources, ..shell(line) }).await,
            "mounted\n77\n"
        );
        let unknown = Security { cap_add: vec!["MAGIC".to_owned()], ..Security::default() };
        let refused = engine.container_create(ContainerSpec { security: unknown, ..shell(line) }).await;
        assert_eq!(refused.expect_err("there is no such capability").kind(), Kind::Invalid);
    });
}

#[test]
fn with_an_init_the_program_is_not_process_1() {
    on_host(|_, engine| async move {
        let spec = ContainerSpec { init: true, ..shell("test $$ -ne 1 && echo child; exit 0") };
        assert_eq!(output(&engine, spec).await, "child\n");
    });
}

#[test]
fn the_host_s_processes_are_seen_where_that_is_asked_for() {
    on_host(|_, engine| async move {
        let mut spec = shell("test -d /proc/$$ && test $$ -gt 5 && echo host");
        spec.namespaces.pid = NamespaceMode::Host;
        assert_eq!(output(&engine, spec).await, "host\n");
    });
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left_half_made() {
    on_small_host("48m", |host, engine| async move {
        let kept = start(&engine, shell("sleep 1000")).await;
        let filler = host.path("root/filler");
        fill_disk(&filler);
        let error = engine.container_create(shell("true")).await.expect_err("the disk is full");
        assert_eq!(error.kind(), Kind::NoSpace, "{error:?}");
        assert!(error.full_message().contains("no space left on device"), "{error:?}");
        let all = ContainerFilter { all: true, ..ContainerFilter::default() };
        assert_eq!(engine.container_list(&all).expect("list").len(), 1);
        assert_eq!(std::fs::read_dir(host.path("root/containers")).expect("list").count(), 1);
        engine
            .exec_run(
                &kept,
                engine::exec::ExecSpec { command: vec!["true".to_owned()], ..Default::default() },
                None,
                0,
            )
            .await
            .expect("what runs goes on");
        std::fs::remove_file(&filler).expect("make room");
        output(&engine, shell("true")).await;
        remove_all(&engine).await;
    });
}

#[test]
fn health_follows_the_check() {
    on_host(|_, engine| async move {
        let mut events =
            engine.events(EventQuery { actions: vec!["health_status".to_owned()], ..EventQuery::default() });
        let healthcheck = Some(Healthcheck {
            test: HealthTest::Shell("test -e /tmp/well && echo well".to_owned()),
            interval: Some(Duration::from_millis(30)),
            retries: Some(2),
            ..Healthcheck::default()
        });
        let line =
            "touch /tmp/well; while [ ! -e /tmp/spoil ]; do sleep 0.02; done; rm /tmp/well; sleep 1000";
        let id = start(&engine, ContainerSpec { healthcheck, ..shell(line) }).await;
        assert_eq!(events.next().await.expect("an event").expect("in time").action, "health_status: healthy");
        let health =
            engine.container_inspect(&id).expect("inspect").state.health.clone().expect("it is checked");
        assert_eq!((health.status, health.log[0].output.as_str()), (HealthStatus::Healthy, "well\n"));
        let command = ["touch", "/tmp/spoil"].map(str::to_owned).into();
        let spoil = engine::exec::ExecSpec { command, ..Default::default() };
        engine.exec_run(&id, spoil, None, 0).await.expect("run");
        assert_eq!(
            events.next().await.expect("an event").expect("in time").action,
            "health_status: unhealthy"
        );
        remove_all(&engine).await;
    });
}
