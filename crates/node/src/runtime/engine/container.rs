//! Containers, in the engine's words and back.

use engine::SandboxId;
use engine::container::{
    AppArmor, ContainerSpec, Device, FileKind, HealthTest, Healthcheck, LogOptions, Mount, MountSource,
    NamespaceMode, Namespaces, Propagation, Seccomp, Security, Status,
};

use super::convert;
use crate::labels;
use crate::runtime::{
    self, Container, ContainerConfig, ContainerId, ContainerState, ContainerStatus, Error, PodSandboxId,
};

/// Bytes of output that are kept for the only one who gives a container input.
const BACKLOG: u32 = 64 << 10;

/// What the engine is told to make.
pub(super) fn spec(config: ContainerConfig, sandbox: SandboxId) -> Result<ContainerSpec, Error> {
    let ContainerConfig {
        pod,
        name,
        attempt,
        image,
        command,
        args,
        env,
        working_dir,
        user,
        groups,
        strict_groups,
        tty,
        stdin,
        stdin_once,
        mounts,
        devices,
        resources,
        storage_limit,
        security,
        read_only_rootfs,
        host_pid,
        processes_of,
        ports,
        log_path,
        log_max_size,
    } = config;
    // Without it: the sandbox's, where the pod shares one.
    let pid = match processes_of {
        Some(other) => NamespaceMode::Container(convert::to_container_id(&other)?),
        None if host_pid => NamespaceMode::Host,
        None => NamespaceMode::Default,
    };
    Ok(ContainerSpec {
        name: Some(labels::container_name(&pod, &name, attempt)),
        labels: labels::of_container(&pod, &name, attempt),
        sandbox: Some(sandbox),
        image,
        entrypoint: command,
        command: args,
        env,
        workdir: working_dir,
        user,
        groups,
        strict_groups,
        tty,
        stdin_open: stdin,
        stdin_once,
        // Who attaches can do so only once it runs, and may be the one that it was made for.
        backlog: if stdin && stdin_once { BACKLOG } else { 0 },
        // Kubernetes has probes of its own, and does not run those of images.
        healthcheck: Some(Healthcheck { test: HealthTest::Disabled, ..Healthcheck::default() }),
        mounts: mounts.into_iter().map(mount).collect(),
        resources: engine::container::Resources {
            devices: devices.into_iter().map(device).collect(),
            ..convert::resources(resources)
        },
        storage_options: storage_limit
            .map(|bytes| ("size".to_owned(), bytes.to_string()))
            .into_iter()
            .collect(),
        security: self::security(security),
        read_only_rootfs,
        namespaces: Namespaces { pid, ..Namespaces::default() },
        exposed_ports: ports.into_iter().map(convert::port).collect(),
        log: Some(LogOptions { path: Some(log_path), max_size: Some(log_max_size), ..LogOptions::default() }),
        ..ContainerSpec::default()
    })
}

fn device(device: runtime::BlockDevice) -> Device {
    let runtime::BlockDevice { container_path, host_path, read_only } = device;
    Device {
        host_path: host_path.to_string_lossy().into_owned(),
        container_path,
        permissions: if read_only { "rm" } else { "rwm" }.to_owned(),
    }
}

fn mount(mount: runtime::Mount) -> Mount {
    let runtime::Mount {
        container_path,
        host_path,
        sub_path,
        must_be,
        read_only,
        recursive_read_only,
        propagation,
    } = mount;
    let source = MountSource::Bind {
        path: host_path,
        create: sub_path.is_some(),
        subpath: sub_path,
        must_be: must_be.map(|kind| match kind {
            runtime::FileKind::Directory => FileKind::Directory,
            runtime::FileKind::File => FileKind::File,
            runtime::FileKind::Socket => FileKind::Socket,
            runtime::FileKind::CharDevice => FileKind::CharDevice,
            runtime::FileKind::BlockDevice => FileKind::BlockDevice,
        }),
        propagation: match propagation {
            runtime::Propagation::Private => Propagation::Rprivate,
            runtime::Propagation::HostToContainer => Propagation::Rslave,
            runtime::Propagation::Bidirectional => Propagation::Rshared,
        },
        non_recursive: false,
        writable_below: !recursive_read_only,
    };
    Mount { target: container_path, read_only, source }
}

fn security(security: runtime::Security) -> Security {
    let runtime::Security { privileged, cap_add, cap_drop, seccomp, apparmor, no_new_privileges, unmasked } =
        security;
    Security {
        privileged,
        cap_add,
        cap_drop,
        seccomp: match seccomp {
            runtime::Seccomp::RuntimeDefault => Seccomp::Default,
            runtime::Seccomp::Unconfined => Seccomp::Unconfined,
            runtime::Seccomp::Profile(text) => Seccomp::Profile(text),
        },
        apparmor: match apparmor {
            runtime::AppArmor::Default => AppArmor::Default,
            runtime::AppArmor::RuntimeDefault => AppArmor::RuntimeDefault,
            runtime::AppArmor::Unconfined => AppArmor::Unconfined,
            runtime::AppArmor::Profile(name) => AppArmor::Profile(name),
        },
        no_new_privileges,
        masked_paths: unmasked.then(Vec::new),
        read_only_paths: unmasked.then(Vec::new),
        ..Security::default()
    }
}

/// The exit code of a program that could not be started: containerd's.
const START_FAILED: i32 = 128;

/// A container of a pod. One that only says so, by its labels, is in no sandbox of a pod's.
pub(super) fn listed(container: &engine::Container) -> Option<Container> {
    container.spec.sandbox.as_ref()?;
    let name = container.spec.labels.get(labels::CONTAINER_NAME)?.clone();
    Some(Container { id: ContainerId(container.id.to_string()), name, attempt: attempt(container) })
}

/// Which instance of its container this is, from 0.
fn attempt(container: &engine::Container) -> u32 {
    container.spec.labels.get(labels::RESTART_COUNT).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// What the engine knows of a container.
pub(super) fn status(container: &engine::Container) -> ContainerStatus {
    let state = &container.state;
    // The engine keeps no end of one that never began, and has Docker's codes for why.
    let start_failed = state.started_at.is_none() && !state.error.is_empty();
    ContainerStatus {
        id: ContainerId(container.id.to_string()),
        sandbox: PodSandboxId(container.sandbox.to_string()),
        name: container.spec.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or_default(),
        attempt: attempt(container),
        image: container.spec.image.clone(),
        image_id: container.resolved.image_id.clone(),
        created_at: container.created,
        state: match state.status {
            Status::Created if start_failed => ContainerState::Exited,
            Status::Created => ContainerState::Created,
            Status::Running | Status::Paused | Status::Restarting => ContainerState::Running,
            Status::Exited | Status::Dead | Status::Removing => ContainerState::Exited,
        },
        started_at: state.started_at,
        finished_at: state.finished_at.or_else(|| start_failed.then_some(container.created)),
        exit_code: if start_failed { START_FAILED } else { state.exit_code },
        oom_killed: state.oom_killed,
        start_failed,
        message: state.error.clone(),
        resources: convert::limits(&container.spec.resources),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::PodMetadata;

    fn config() -> ContainerConfig {
        let pod = PodMetadata { name: "p".to_owned(), namespace: "n".to_owned(), uid: "u".to_owned() };
        ContainerConfig { pod, name: "c".to_owned(), attempt: 2, ..ContainerConfig::default() }
    }

    fn made(config: ContainerConfig) -> ContainerSpec {
        spec(config, SandboxId::parse(&"b".repeat(64)).expect("an id")).expect("a spec")
    }

    #[test]
    fn an_instance_is_named_and_labelled_as_the_kubelet_does() {
        let found = made(config());
        assert_eq!(found.name.as_deref(), Some("k8s_c_p_n_u_2"));
        assert_eq!(found.labels[labels::POD_NAME], "p");
        assert_eq!(found.labels[labels::POD_UID], "u");
        assert_eq!(found.labels[labels::CONTAINER_NAME], "c");
        assert_eq!(found.labels[labels::RESTART_COUNT], "2");
    }

    #[test]
    fn an_image_s_health_check_is_not_run_in_a_pod() {
        assert_eq!(made(config()).healthcheck.map(|check| check.test), Some(HealthTest::Disabled));
    }

    #[test]
    fn one_that_looks_into_another_is_among_its_processes() {
        let other = "c".repeat(64);
        let processes_of = Some(ContainerId(other.clone()));
        let found = made(ContainerConfig { processes_of, host_pid: true, ..config() }).namespaces.pid;
        assert_eq!(found, NamespaceMode::Container(engine::ContainerId::parse(&other).expect("an id")));
        assert_eq!(made(ContainerConfig { host_pid: true, ..config() }).namespaces.pid, NamespaceMode::Host);
        assert_eq!(made(config()).namespaces.pid, NamespaceMode::Default);
    }

    #[test]
    fn procfs_is_unmasked_and_storage_limited_only_where_that_is_asked_for() {
        let found = made(config());
        assert_eq!((found.security.masked_paths, found.storage_options.len()), (None, 0));
        let security = runtime::Security { unmasked: true, ..runtime::Security::default() };
        let found = made(ContainerConfig { security, storage_limit: Some(10 << 20), ..config() });
        assert_eq!(found.security.masked_paths, Some(Vec::new()));
        assert_eq!(found.storage_options["size"], "10485760");
    }

    #[test]
    fn a_part_of_a_volume_is_made_where_it_is_missing_and_the_whole_never() {
        let of = |sub_path: Option<&str>| {
            let mount = runtime::Mount {
                container_path: "/d".to_owned(),
                host_path: "/pods/u/data".into(),
                sub_path: sub_path.map(str::to_owned),
                must_be: None,
                read_only: true,
                recursive_read_only: false,
                propagation: runtime::Propagation::HostToContainer,
            };
            super::mount(mount).source
        };
        let expected = |sub_path: Option<&str>| MountSource::Bind {
            path: "/pods/u/data".into(),
            create: sub_path.is_some(),
            subpath: sub_path.map(str::to_owned),
            must_be: None,
            propagation: Propagation::Rslave,
            non_recursive: false,
            writable_below: true,
        };
        for sub_path in [None, Some("part")] {
            assert_eq!(of(sub_path), expected(sub_path));
        }
    }
}
