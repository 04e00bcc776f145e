//! From what a container should be to what the runtime is told: an OCI `config.json`.
//!
//! Pure: everything that has to be looked up (the user's ids, the mounts' sources, the devices'
//! numbers, whose namespaces are joined) comes in as [`Surroundings`].

mod cpuset;
mod env;
mod mounts;
mod namespaces;
mod resources;
mod security;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use runtime::shim::descriptors::Descriptors;
use runtime::spec::{IdMapping, Linux, LinuxDevice, Process, Root, Spec};

use crate::container::{ContainerSpec, Mount, ResolvedSpec};
use crate::error::Result;
use crate::id_blocks::IdBlock;
use crate::users::Identity;

pub(crate) use cpuset::check as check_processors;
pub(crate) use env::{exec_env, overlay as overlay_env};
pub(crate) use namespaces::Joined;
pub(crate) use resources::{
    check as check_limits, is_unified, rlimits, throttled, to_oci as resources_to_oci,
};
pub(crate) use security::{capability_names, capability_sets, check as check_security, guards_quotas};

/// What was found out before a container is started.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// As whom it runs.
    pub(crate) identity: Identity,
    /// The mounts that its creator, its image and the engine want, with their real sources.
    pub(crate) mounts: Vec<PreparedMount>,
    /// Devices of the host, with their numbers.
    pub(crate) devices: Vec<LinuxDevice>,
    /// Block devices that limits name: path, major and minor number.
    pub(crate) block_devices: Vec<(String, i64, i64)>,
    /// Where its namespaces come from.
    pub(crate) joined: Joined,
    /// Its cgroup, from the root of the hierarchy.
    pub(crate) cgroup: PathBuf,
    /// Whether it is in the host's network.
    pub(crate) host_network: bool,
    /// Its limit of open files, soft and hard, where it asks for none.
    pub(crate) descriptors: Option<(u64, u64)>,
    /// The AppArmor profile of its processes.
    pub(crate) apparmor: Option<String>,
    /// The disk of root file systems and volumes has quotas, which it must leave alone.
    pub(crate) quotas: bool,
    /// The ids of its users, where its sandbox has users of its own.
    pub(crate) users: Option<IdBlock>,
    /// Kernel parameters that the sandbox asks for.
    pub(crate) sysctls: std::collections::BTreeMap<String, String>,
}

/// A mount whose source is known.
#[derive(Debug)]
pub(crate) enum PreparedMount {
    /// A part of the host's tree.
    Bind {
        /// It, open; `None` where nobody but the host's administrator can change what is at its path.
        open: Option<OwnedFd>,
        /// Where it was found.
        source: PathBuf,
        target: String,
        read_only: bool,
        propagation: crate::container::Propagation,
        recursive: bool,
        /// Whether the mounts below it stay as they are though it is read-only.
        writable_below: bool,
    },
    /// A file system of its own.
    Filesystem { kind: String, source: String, target: String, options: Vec<String> },
}

impl PreparedMount {
    /// What is mounted for memory at `mount`'s target.
    pub(crate) fn tmpfs(mount: &Mount, size: Option<u64>, mode: Option<u32>, extra: &[String]) -> Self {
        let mut options: Vec<String> = ["nosuid", "nodev", "noexec"].map(str::to_owned).into();
        if mount.read_only {
            options.push("ro".to_owned());
        }
        if let Some(size) = size {
            options.push(format!("size={size}"));
        }
        options.push(format!("mode={:o}", mode.unwrap_or(0o1777)));
        for option in extra {
            // What is asked for goes over the default that it contradicts.
            let opposite = option.strip_prefix("no").map_or_else(|| format!("no{option}"), str::to_owned);
            options.retain(|have| *have != opposite);
            if !options.contains(option) {
                options.push(option.clone());
            }
        }
        Self::Filesystem {
            kind: "tmpfs".to_owned(),
            source: "tmpfs".to_owned(),
            target: mount.target.clone(),
            options,
        }
    }

    pub(crate) fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. } | Self::Filesystem { target, .. } => target,
        }
    }
}

/// The whole document for a container, and what it names on the host as far as that is open.
pub(crate) fn generate(
    spec: &ContainerSpec,
    resolved: &ResolvedSpec,
    mut around: Surroundings,
) -> Result<(Spec, Descriptors)> {
    let mut descriptors = Descriptors::default();
    let capabilities = capability_names(&spec.security)?;
    let privileged = spec.security.privileged;
    let process = Process {
        terminal: spec.tty,
        console_size: spec.console_size.map(Into::into).filter(|_| spec.tty),
        user: around.identity.to_oci(),
        args: resolved.args.clone(),
        env: env::container_env(spec, resolved, &around.identity),
        cwd: if resolved.workdir.is_empty() { "/".into() } else { PathBuf::from(&resolved.workdir) },
        capabilities: Some(security::capability_sets(&capabilities, around.identity.uid)),
        rlimits: rlimits(&spec.resources.ulimits, around.descriptors)?,
        no_new_privileges: spec.security.no_new_privileges,
        apparmor_profile: around.apparmor.take(),
        // Not the daemon's own, which may be protected.
        oom_score_adj: Some(spec.resources.oom_score_adj.unwrap_or_default()),
        ..Process::default()
    };
    let sysctls = sysctls(spec, &around);
    let rootfs_propagation = mounts::rootfs_propagation(&around.mounts);
    let mounts = mounts::mounts(spec, &mut around, privileged, &mut descriptors);
    let namespaces = namespaces::namespaces(&spec.namespaces, around.joined, &mut descriptors);
    let own_uts = namespaces::makes_new(&namespaces, runtime::spec::NamespaceKind::Uts);
    let users: Vec<IdMapping> = around.users.map(IdBlock::map).into_iter().collect();
    let linux = Linux {
        uid_mappings: users.clone(),
        gid_mappings: users,
        sysctl: sysctls,
        resources: Some(runtime::spec::Resources {
            devices: security::device_rules(spec, &around.devices)?,
            ..resources::to_oci(&spec.resources, &around.block_devices)
        }),
        cgroups_path: Some(around.cgroup),
        namespaces,
        devices: around.devices,
        seccomp: security::seccomp(&spec.security, &capabilities, around.quotas)?,
        masked_paths: security::masked_paths(&spec.security),
        readonly_paths: security::read_only_paths(&spec.security),
        rootfs_propagation,
        ..Linux::default()
    };
    let document = Spec {
        oci_version: runtime::spec::VERSION.to_owned(),
        root: Some(Root { path: "rootfs".into(), readonly: spec.read_only_rootfs }),
        process: Some(process),
        hostname: own_uts.then(|| resolved.hostname.clone()),
        domainname: spec.domainname.clone().filter(|_| own_uts),
        mounts,
        linux: Some(linux),
        ..Spec::default()
    };
    Ok((document, descriptors))
}

fn sysctls(spec: &ContainerSpec, around: &Surroundings) -> std::collections::BTreeMap<String, String> {
    let mut sysctls = std::collections::BTreeMap::new();
    if !around.host_network && spec.sandbox.is_none() && around.joined.network.is_none() {
        // Programs that run as nobody in particular may listen on low ports and use ping.
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        sysctls.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
    }
    sysctls.extend(around.sysctls.clone());
    sysctls.extend(spec.sysctls.clone());
    sysctls
}

#[cfg(test)]
mod tests;
