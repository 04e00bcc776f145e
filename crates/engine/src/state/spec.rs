//! What a container should be.

mod mounts;
mod network;
mod process;
mod resources;
mod security;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::container;
use crate::id::SandboxId;

use mounts::Mount;
pub(super) use network::{ContainerLink, Dns, Endpoint, HostEntry, Port, PortBinding};
use process::{AttachFlags, RestartPolicy, TerminalSize};
pub(super) use process::{Healthcheck, Log};
pub(super) use resources::Resources;
use security::{Namespaces, Security};

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Spec {
    name: Option<String>,
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<String>,
    platform: Option<String>,
    sandbox: Option<SandboxId>,
    command: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    env: Vec<String>,
    #[serde(skip)]
    secret_env: container::SecretEnv,
    workdir: Option<String>,
    user: Option<String>,
    groups: Vec<String>,
    strict_groups: bool,
    tty: bool,
    stdin_open: bool,
    stdin_once: bool,
    backlog: u32,
    attach: AttachFlags,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    hostname: Option<String>,
    domainname: Option<String>,
    mounts: Vec<Mount>,
    resources: Resources,
    security: Security,
    read_only_rootfs: bool,
    init: bool,
    namespaces: Namespaces,
    networks: BTreeMap<String, Endpoint>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<ContainerLink>,
    mac_address: Option<String>,
    dns: Dns,
    extra_hosts: Vec<HostEntry>,
    exposed_ports: Vec<Port>,
    ports: Vec<PortBinding>,
    publish_all: bool,
    restart: RestartPolicy,
    stop_signal: Option<String>,
    stop_timeout: Option<i64>,
    healthcheck: Option<Healthcheck>,
    log: Option<Log>,
    sysctls: BTreeMap<String, String>,
    auto_remove: bool,
    transient: bool,
    shm_size: Option<u64>,
    no_shared_memory: bool,
    console_size: Option<TerminalSize>,
    cgroup_parent: Option<String>,
    runtime: Option<String>,
    storage_options: BTreeMap<String, String>,
}

base::same_fields!(
    Spec = container::ContainerSpec {
        name,
        image,
        layers,
        platform,
        sandbox,
        command,
        entrypoint,
        env,
        secret_env,
        workdir,
        user,
        groups,
        strict_groups,
        tty,
        stdin_open,
        stdin_once,
        backlog,
        attach: inner,
        labels,
        annotations,
        hostname,
        domainname,
        mounts: each,
        resources: inner,
        security: inner,
        read_only_rootfs,
        init,
        namespaces: inner,
        networks: named,
        links: each,
        mac_address,
        dns: inner,
        extra_hosts: each,
        exposed_ports: each,
        ports: each,
        publish_all,
        restart: inner,
        stop_signal,
        stop_timeout,
        healthcheck: maybe,
        log: maybe,
        sysctls,
        auto_remove,
        transient,
        shm_size,
        no_shared_memory,
        console_size: maybe,
        cgroup_parent,
        runtime,
        storage_options,
    }
);
