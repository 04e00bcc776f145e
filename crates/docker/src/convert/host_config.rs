//! The host's half of a container's configuration, as clients read it back.
//!
//! Clients expect what they sent, down to the spelling of their `-v` arguments. It is kept as a
//! note on the container, and what the engine may have changed since is written over it; a
//! container that was not made here has no note, and is described from its specification.

use std::collections::BTreeMap;

use engine::Container;
use engine::container::{MountSource, NamespaceMode};

use super::{links, logging, namespaces, ports, resources, restart};
use crate::fault::Fault;
use crate::wire::Map;
use crate::wire::container::HostConfig;
use crate::wire::container::config::Words;

/// The name of the note.
const NOTE: &str = "docker/host-config";

/// What is kept on the container.
pub(crate) fn note(document: &HostConfig) -> Result<BTreeMap<String, String>, Fault> {
    let text = serde_json::to_string(document)
        .map_err(|error| Fault::internal(format!("keep the host configuration: {error}")))?;
    Ok(BTreeMap::from([(NOTE.to_owned(), text)]))
}

/// What the client noted on the container.
pub(crate) fn annotations(container: &Container) -> Map<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Noted {
        #[serde(default)]
        annotations: Map<String>,
    }
    let kept = container.spec.annotations.get(NOTE).filter(|text| text.contains("\"Annotations\""));
    kept.and_then(|text| serde_json::from_str::<Noted>(text).ok())
        .map(|noted| noted.annotations)
        .unwrap_or_default()
}

/// What clients read back.
pub(crate) fn document(container: &Container) -> HostConfig {
    let spec = &container.spec;
    let kept = spec.annotations.get(NOTE).and_then(|text| serde_json::from_str::<HostConfig>(text).ok());
    let mut document = kept.unwrap_or_else(|| described(container));
    resources::write(&spec.resources, &mut document.resources);
    let general = &mut document.general;
    general.restart_policy = restart::document(spec.restart);
    general.log_config = logging::document(&container.resolved.log);
    general.network_mode = namespaces::network_text(&spec.namespaces.network);
    general.auto_remove = spec.auto_remove;
    general.links = links::texts(container);
    general.shm_size = spec.shm_size.and_then(|size| i64::try_from(size).ok()).unwrap_or(64 << 20);
    general.runtime = spec.runtime.clone().unwrap_or_else(|| "gantry".to_owned());
    for (mode, own) in [(&mut general.ipc_mode, "private"), (&mut general.cgroupns_mode, "private")] {
        if mode.is_empty() {
            *mode = own.to_owned();
        }
    }
    if !general.privileged {
        // All that is hidden: who makes a container anew from what is read here hides no less.
        document.rest.masked_paths.get_or_insert_with(engine::host::masked_paths);
        document.rest.readonly_paths.get_or_insert_with(engine::host::read_only_paths);
    }
    document
}

fn described(container: &Container) -> HostConfig {
    let spec = &container.spec;
    let mut document = HostConfig::default();
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let mode = |mode: &NamespaceMode| namespaces::text(mode, "");
    let general = &mut document.general;
    let binds: Vec<String> = spec.mounts.iter().filter_map(bind).collect();
    general.binds = some(&binds);
    general.port_bindings = ports::wanted(&spec.ports);
    general.publish_all_ports = spec.publish_all;
    general.privileged = spec.security.privileged;
    general.readonly_rootfs = spec.read_only_rootfs;
    general.cap_add = some(&spec.security.cap_add).map(Words);
    general.cap_drop = some(&spec.security.cap_drop).map(Words);
    general.security_opt = some(&spec.security.options);
    general.group_add = some(&spec.groups);
    general.dns = spec.dns.servers.iter().map(ToString::to_string).collect();
    general.dns_search = spec.dns.search.clone();
    general.dns_options = spec.dns.options.clone();
    general.sysctls = spec.sysctls.clone();
    general.pid_mode = mode(&spec.namespaces.pid);
    general.ipc_mode = mode(&spec.namespaces.ipc);
    general.uts_mode = mode(&spec.namespaces.uts);
    general.userns_mode = mode(&spec.namespaces.user);
    general.cgroupns_mode = mode(&spec.namespaces.cgroup);
    general.oom_score_adj = spec.resources.oom_score_adj.map_or(0, i64::from);
    document.resources.cgroup_parent = spec.cgroup_parent.clone().unwrap_or_default();
    document.rest.masked_paths = spec.security.masked_paths.clone();
    document.rest.readonly_paths = spec.security.read_only_paths.clone();
    document.rest.init = spec.init.then_some(true);
    document
}

fn bind(mount: &engine::container::Mount) -> Option<String> {
    let mode = if mount.read_only { ":ro" } else { "" };
    match &mount.source {
        MountSource::Bind { path, .. } => Some(format!("{}:{}{mode}", path.display(), mount.target)),
        MountSource::Volume { name: Some(name), .. } => Some(format!("{name}:{}{mode}", mount.target)),
        MountSource::Volume { name: None, .. } | MountSource::Image { .. } | MountSource::Tmpfs { .. } => {
            None
        }
    }
}
