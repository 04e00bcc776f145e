//! Everything about one container.

use std::path::PathBuf;

use engine::Container;
use engine::container::{self, ContainerSize, ContainerState, Mount, MountKind, MountSource, Status};

use super::{endpoint, health, host_config, ports};
use crate::wire::container::config::Words;
use crate::wire::container::inspect::{GraphDriver, Health, HealthLog};
use crate::wire::container::{Config, Inspect, MountPoint, NetworkSettings, State};
use crate::wire::{self, Empty, Map};
use crate::words;

/// Writes a container.
pub(crate) fn document(container: &Container, size: Option<ContainerSize>) -> Inspect {
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let text = |path: &PathBuf| path.display().to_string();
    let mut words = container.resolved.args.iter().cloned();
    let host_config = host_config::document(container);
    // What `--tmpfs` asks for is told there and nowhere else.
    let tmpfs = host_config.general.tmpfs.clone();
    let mounted: Vec<String> = host_config.rest.mounts.iter().map(|mount| mount.target.clone()).collect();
    let execs: Vec<String> = container.execs.iter().map(ToString::to_string).collect();
    Inspect {
        id: container.id.to_string(),
        created: wire::time(container.created),
        path: words.next().unwrap_or_default(),
        args: words.collect(),
        state: state(&container.state),
        image: container.resolved.image_id.clone(),
        resolv_conf_path: text(&container.files.resolv_conf),
        hostname_path: text(&container.files.hostname),
        hosts_path: text(&container.files.hosts),
        // What is kept in another format is nobody's to read.
        log_path: container
            .files
            .log
            .as_ref()
            .filter(|_| container.resolved.log.is_json())
            .map(text)
            .unwrap_or_default(),
        name: format!("/{}", container.name),
        restart_count: i64::from(container.restart_count),
        driver: "overlay2".to_owned(),
        platform: "linux".to_owned(),
        mount_label: String::new(),
        process_label: String::new(),
        app_armor_profile: engine::host::apparmor_profile(&container.spec.security),
        exec_ids: (!execs.is_empty()).then_some(execs),
        graph_driver: graph_driver(&container.layers),
        size_rw: size.map(|size| bytes(size.writable)),
        size_root_fs: size.map(|size| bytes(size.root)),
        mounts: container
            .mounts
            .iter()
            .filter(|point| !tmpfs.contains_key(&point.target))
            .map(|point| mount(container, point))
            .collect(),
        config: config(container, &mounted),
        network_settings: network_settings(container),
        host_config,
    }
}

/// Writes a mount.
pub(crate) fn mount(container: &Container, point: &container::MountPoint) -> MountPoint {
    let asked = container.spec.mounts.iter().find(|mount| mount.target == point.target);
    let image = asked.and_then(|mount| match &mount.source {
        container::MountSource::Image { reference, .. } => Some(reference.clone()),
        _ => None,
    });
    let kind = match point.kind {
        MountKind::Bind => "bind",
        MountKind::Volume => "volume",
        MountKind::Image => "image",
        MountKind::Tmpfs => "tmpfs",
    };
    MountPoint {
        kind: kind.to_owned(),
        name: point.volume.clone().or(image).unwrap_or_default(),
        source: point.source.display().to_string(),
        destination: point.target.clone(),
        driver: point.driver.clone().unwrap_or_default(),
        mode: match (point.kind, point.writable) {
            (_, false) => "ro".to_owned(),
            (MountKind::Volume, true) => "z".to_owned(),
            (_, true) => String::new(),
        },
        rw: point.writable,
        propagation: point.propagation.clone(),
    }
}

fn state(state: &ContainerState) -> State {
    State {
        status: state.status.as_str().to_owned(),
        // The real daemon counts paused and restarting containers as running.
        running: matches!(state.status, Status::Running | Status::Paused | Status::Restarting),
        paused: state.status == Status::Paused,
        restarting: state.status == Status::Restarting,
        oom_killed: state.oom_killed,
        dead: state.status == Status::Dead,
        pid: state.pid.unwrap_or_default(),
        exit_code: i64::from(state.exit_code),
        error: words::last_error(state),
        started_at: wire::time_or_zero(state.started_at),
        finished_at: wire::time_or_zero(state.finished_at),
        health: state.health.as_ref().map(|health| Health {
            status: health.status.as_str().to_owned(),
            failing_streak: i64::from(health.failing_streak),
            log: health
                .log
                .iter()
                .map(|result| HealthLog {
                    start: wire::time(result.start),
                    end: wire::time(result.end),
                    exit_code: i64::from(result.exit_code),
                    output: result.output.clone(),
                })
                .collect(),
        }),
    }
}

fn config(container: &Container, mounted: &[String]) -> Config {
    let (spec, resolved) = (&container.spec, &container.resolved);
    let some = |words: &[String]| (!words.is_empty()).then(|| Words(words.to_vec()));
    let asked = spec
        .mounts
        .iter()
        .filter(|mount| is_bare(mount) && !mounted.contains(&mount.target))
        .map(|mount| &mount.target);
    let volumes: Map<Empty> =
        resolved.image_volumes.iter().chain(asked).map(|path| (path.clone(), Empty {})).collect();
    Config {
        hostname: resolved.hostname.clone(),
        domainname: spec.domainname.clone().unwrap_or_default(),
        user: resolved.user.clone(),
        attach_stdin: spec.attach.stdin,
        attach_stdout: spec.attach.stdout,
        attach_stderr: spec.attach.stderr,
        exposed_ports: ports::set(&resolved.exposed_ports),
        tty: spec.tty,
        open_stdin: spec.stdin_open,
        stdin_once: spec.stdin_once,
        env: Some(resolved.env.clone()),
        cmd: some(&resolved.command),
        healthcheck: resolved.healthcheck.as_ref().map(health::document),
        args_escaped: false,
        image: spec.image.clone(),
        volumes: (!volumes.is_empty()).then_some(volumes),
        working_dir: resolved.workdir.clone(),
        entrypoint: some(&resolved.entrypoint),
        network_disabled: false,
        mac_address: String::new(),
        on_build: None,
        labels: Some(resolved.labels.clone()),
        stop_signal: resolved.stop_signal.clone(),
        stop_timeout: spec.stop_timeout,
        shell: None,
    }
}

/// Whether a mount is no more than a place (`-v /data`), which is told where the image's are.
fn is_bare(mount: &Mount) -> bool {
    matches!(&mount.source, MountSource::Volume { name: None, .. })
}

fn network_settings(container: &Container) -> NetworkSettings {
    let networks: Map<_> =
        container.networks.iter().map(|(name, place)| (name.clone(), endpoint::settings(place))).collect();
    // Clients of long ago look for the default bridge's addresses here.
    let bridge = networks.get("bridge").cloned().unwrap_or_default();
    let key = container.state.pid.map(|pid| format!("/proc/{pid}/ns/net")).unwrap_or_default();
    NetworkSettings {
        bridge: String::new(),
        sandbox_id: container.sandbox.to_string(),
        sandbox_key: key,
        ports: match container.state.status.is_active() {
            true => ports::published(ports::told(container)),
            false => Map::new(),
        },
        endpoint_id: bridge.endpoint_id,
        gateway: bridge.gateway,
        global_ipv6_address: bridge.global_ipv6_address,
        global_ipv6_prefix_len: bridge.global_ipv6_prefix_len,
        ip_address: bridge.ip_address,
        ip_prefix_len: bridge.ip_prefix_len,
        ipv6_gateway: bridge.ipv6_gateway,
        mac_address: bridge.mac_address,
        networks,
        ..NetworkSettings::default()
    }
}

/// The layers in the terms of Docker's overlay storage; the writable one comes first.
fn graph_driver(layers: &[PathBuf]) -> GraphDriver {
    let text = |path: &PathBuf| path.display().to_string();
    let data = layers.split_first().map(|(upper, lower)| {
        Map::from([
            ("LowerDir".to_owned(), lower.iter().map(text).collect::<Vec<_>>().join(":")),
            ("UpperDir".to_owned(), text(upper)),
        ])
    });
    GraphDriver { data, name: "overlay2".to_owned() }
}
