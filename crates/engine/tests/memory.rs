//! `/dev/shm`, memory with a limit whoever shares it, and the limits of all containers of a sandbox.

mod support;

use engine::container::{NamespaceMode, Resources};
use engine::sandbox::SandboxSpec;
use engine::{ContainerId, ContainerSpec, Engine};
use support::{create, logs, on_host, output, remove_all, shell, start, wait};

/// Writes more than there is room for, and tells how much there was, in KiB.
const FILL: &str = "dd if=/dev/zero of=/dev/shm/fill bs=64k count=2000 2>/dev/null; stat -f -c '%t' /dev/shm; \
                    du -k /dev/shm/fill | cut -f1";

/// What a file system in memory is called by its number.
const TMPFS: &str = "1021994";

async fn told(engine: &Engine, id: &ContainerId) -> String {
    wait(engine, id).await;
    logs(engine, id).await.0
}

#[test]
fn shared_memory_has_the_size_that_was_asked_for_and_docker_s_where_none_was() {
    on_host(|_, engine| async move {
        for ipc in [NamespaceMode::Default, NamespaceMode::Private, NamespaceMode::Shareable] {
            for (size, expected) in [(None, 65536), (Some(1 << 20), 1024)] {
                let mut spec = ContainerSpec { shm_size: size, ..shell(FILL) };
                spec.namespaces.ipc = ipc.clone();
                assert_eq!(output(&engine, spec).await, format!("{TMPFS}\n{expected}\n"), "{ipc:?}");
            }
        }
    });
}

#[test]
fn a_container_that_joins_another_s_ipc_has_its_memory_also_after_a_restart() {
    on_host(|_, engine| async move {
        let mut donor = ContainerSpec { shm_size: Some(1 << 20), ..shell("exec sleep 1000") };
        donor.namespaces.ipc = NamespaceMode::Shareable;
        let donor = start(&engine, donor).await;
        for round in 0..2 {
            let mut guest =
                shell(&format!("test ! -e /dev/shm/fill && {FILL}; cat /proc/mounts | grep -c ' /dev/shm '"));
            guest.namespaces.ipc = NamespaceMode::Container(donor.clone());
            assert_eq!(output(&engine, guest).await, format!("{TMPFS}\n1024\n1\n"), "round {round}");
            engine.container_restart(&donor, None, Some(std::time::Duration::ZERO)).await.expect("restart");
        }
        remove_all(&engine).await;
    });
}

#[test]
fn the_containers_of_a_sandbox_share_memory_with_a_limit_and_leave_none_behind() {
    on_host(|host, engine| async move {
        let sandbox = engine.sandbox_create(SandboxSpec::default()).await.expect("make a sandbox");
        let member = |line: &str| ContainerSpec { sandbox: Some(sandbox.clone()), ..shell(line) };
        let one = start(&engine, member(FILL)).await;
        assert_eq!(told(&engine, &one).await, format!("{TMPFS}\n65536\n"));
        let other = create(&engine, member("du -k /dev/shm/fill | cut -f1; rm /dev/shm/fill")).await;
        engine.container_start(&other).await.expect("start");
        assert_eq!(told(&engine, &other).await, "65536\n", "it is the same memory");
        remove_all(&engine).await;
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("read");
        let here = host.directory.path().to_str().expect("text");
        assert!(!mounts.lines().any(|line| line.contains(here)), "{mounts}");
    });
}

/// A file of a group in the hierarchy of a controller, by its name in cgroup v1 and in v2.
fn group_file(controller: &str, group: &str, v1: &str, v2: &str) -> String {
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let path = match unified {
        true => format!("/sys/fs/cgroup/{group}/{v2}"),
        false => format!("/sys/fs/cgroup/{controller}/{group}/{v1}"),
    };
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
}

#[test]
fn what_the_containers_of_a_sandbox_take_together_is_limited() {
    on_host(|host, engine| async move {
        let weight = Resources { cpu_shares: Some(2048), ..Resources::default() };
        engine.group_apply("pods/burstable", weight).await.expect("weigh a class");
        let limits = Resources {
            cpu_shares: Some(512),
            cpu_period: Some(100_000),
            cpu_quota: Some(50_000),
            memory: Some(64 << 20),
            memory_swap: Some(64 << 20),
            ..Resources::default()
        };
        let spec = SandboxSpec {
            cgroup_parent: Some("pods/burstable".to_owned()),
            resources: limits,
            ..SandboxSpec::default()
        };
        let sandbox = engine.sandbox_create(spec).await.expect("make a sandbox");
        let mut member =
            ContainerSpec { sandbox: Some(sandbox.clone()), ..shell("cat /proc/self/cgroup; sleep 1000") };
        member.resources.oom_group = true;
        member.namespaces.cgroup = NamespaceMode::Host;
        let id = start(&engine, member).await;
        let class = format!("{}/pods/burstable", host.config().instance);
        let own = format!("{class}/{sandbox}");
        testkit::wait_until_async("the container to tell its groups", || async {
            let (out, _) = logs(&engine, &id).await;
            let inside = out.lines().filter(|line| line.ends_with(&format!("{own}/{id}"))).count();
            if inside > 0 { Ok(()) } else { Err(out) }
        })
        .await;
        assert_eq!(group_file("memory", &own, "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
        let quota = group_file("cpu", &own, "cpu.cfs_quota_us", "cpu.max");
        assert!(matches!(quota.as_str(), "50000" | "50000 100000"), "{quota}");
        if !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            assert_eq!(group_file("cpu", &class, "cpu.shares", ""), "2048");
            assert_eq!(group_file("cpu", &own, "cpu.shares", ""), "512");
        } else {
            assert_eq!(group_file("", &format!("{own}/{id}"), "", "memory.oom.group"), "1");
        }
        remove_all(&engine).await;
        let left = std::path::Path::new("/sys/fs/cgroup/memory").join(&own);
        assert!(!left.exists(), "the sandbox's group is still there");
    });
}
