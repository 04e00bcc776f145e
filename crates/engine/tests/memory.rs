//! `/dev/shm`: memory with a limit, whoever shares it.

mod support;

use engine::container::NamespaceMode;
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
