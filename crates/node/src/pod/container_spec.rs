//! A container of a pod, in the engine's words.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engine::SandboxId;
use engine::container::{
    ContainerSpec, LogOptions, Mount, MountSource, NamespaceMode, Namespaces, Port, Propagation, Protocol,
    Seccomp, Security,
};
use k8s_openapi::api::core::v1::{Container, Pod, SeccompProfile, SecurityContext};

use super::expand::expand;
use super::resources;
use crate::labels;

/// What a container is made from, besides its own spec.
pub struct Context<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The sandbox it will live in.
    pub sandbox: SandboxId,
    /// How many instances came before.
    pub attempt: u32,
    /// The environment, worked out.
    pub env: Vec<(String, String)>,
    /// Where the pod's volumes are on the host, by name.
    pub volumes: &'a BTreeMap<String, PathBuf>,
    /// The file that the container may leave a message in.
    pub termination_message: PathBuf,
    /// Where its log goes.
    pub log: PathBuf,
    /// The user that the image names, where it does.
    pub image_user: &'a str,
    /// Bytes of memory of the node.
    pub node_memory: i64,
    /// Where `Localhost` seccomp profiles are.
    pub seccomp_directory: &'a Path,
}

/// Why a container cannot be made as its spec says. The kubelet calls this `CreateContainerConfigError`.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// It must not run as root, and would.
    #[error("container has runAsNonRoot and image will run as root")]
    RunsAsRoot,
    /// It must not run as root, and nobody can tell whether it would.
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root"
    )]
    UserNotNumeric {
        /// The image's user.
        user: String,
    },
    /// A mount names a volume that the pod does not have.
    #[error("volumeMounts names the volume \"{0}\", which is not prepared")]
    NoVolume(String),
    /// A part of a volume that cannot be shown.
    #[error("prepare subPath \"{sub_path}\" of volume \"{volume}\"")]
    SubPath {
        /// The volume.
        volume: String,
        /// The part.
        sub_path: String,
        /// Why.
        source: super::subpath::SubPathError,
    },
    /// A seccomp profile that cannot be read.
    #[error("read the seccomp profile {}", path.display())]
    Seccomp {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The engine's spec of one instance of `container`.
pub fn container_spec(context: &Context<'_>, container: &Container) -> Result<ContainerSpec, SpecError> {
    let pod_spec = context.pod.spec.as_ref().cloned().unwrap_or_default();
    let security = Effective::new(&pod_spec, container);
    security.check_non_root(context.image_user)?;
    let value =
        |name: &str| context.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let words = |list: &Option<Vec<String>>| {
        list.as_ref()
            .filter(|list| !list.is_empty())
            .map(|list| list.iter().map(|word| expand(word, value)).collect::<Vec<_>>())
    };
    Ok(ContainerSpec {
        name: Some(labels::container_name(context.pod, &container.name, context.attempt)),
        image: container.image.clone().unwrap_or_default(),
        sandbox: Some(context.sandbox.clone()),
        entrypoint: words(&container.command),
        command: words(&container.args),
        env: context.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        workdir: container.working_dir.clone().filter(|path| !path.is_empty()),
        user: security.user(context.image_user),
        groups: security.groups(),
        tty: container.tty.unwrap_or(false),
        stdin_open: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        labels: labels::of_container(context.pod, &container.name, context.attempt),
        mounts: mounts(context, container)?,
        resources: resources::of_container(context.pod, container, context.node_memory),
        security: security.security(context.seccomp_directory)?,
        read_only_rootfs: security.container.read_only_root_filesystem.unwrap_or(false),
        namespaces: Namespaces {
            pid: if pod_spec.host_pid.unwrap_or(false) {
                NamespaceMode::Host
            } else {
                // The sandbox's, where `shareProcessNamespace` asks for it.
                NamespaceMode::Default
            },
            ..Namespaces::default()
        },
        exposed_ports: container.ports.iter().flatten().filter_map(exposed_port).collect(),
        log: Some(LogOptions {
            path: Some(context.log.clone()),
            max_size: Some(10 << 20),
            ..LogOptions::default()
        }),
        ..ContainerSpec::default()
    })
}

fn exposed_port(port: &k8s_openapi::api::core::v1::ContainerPort) -> Option<Port> {
    Some(Port {
        number: u16::try_from(port.container_port).ok()?,
        protocol: protocol(port.protocol.as_deref()),
    })
}

/// The engine's word for the API's protocol; TCP where it says nothing.
pub fn protocol(text: Option<&str>) -> Protocol {
    match text {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Tcp,
    }
}

fn mounts(context: &Context<'_>, container: &Container) -> Result<Vec<Mount>, SpecError> {
    let mut mounts = Vec::new();
    let value =
        |name: &str| context.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    for wanted in container.volume_mounts.iter().flatten() {
        let volume =
            context.volumes.get(&wanted.name).ok_or_else(|| SpecError::NoVolume(wanted.name.clone()))?;
        let sub_path = match (&wanted.sub_path_expr, &wanted.sub_path) {
            (Some(expression), _) if !expression.is_empty() => Some(expand(expression, value)),
            (_, Some(path)) if !path.is_empty() => Some(path.clone()),
            _ => None,
        };
        let path = match sub_path {
            Some(sub_path) => super::subpath::prepare(volume, &sub_path)
                .map_err(|source| SpecError::SubPath { volume: wanted.name.clone(), sub_path, source })?,
            None => volume.clone(),
        };
        let propagation = match wanted.mount_propagation.as_deref() {
            Some("HostToContainer") => Propagation::Rslave,
            Some("Bidirectional") => Propagation::Rshared,
            _ => Propagation::Rprivate,
        };
        let mut mount = bind(&wanted.mount_path, path, wanted.read_only.unwrap_or(false), propagation);
        if let MountSource::Bind { writable_below, .. } = &mut mount.source {
            // What is mounted below a volume stays as it is, unless more is asked for.
            *writable_below =
                !matches!(wanted.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible"));
        }
        mounts.push(mount);
    }
    let message = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
    mounts.push(bind(message, context.termination_message.clone(), false, Propagation::Rprivate));
    Ok(mounts)
}

fn bind(target: &str, path: PathBuf, read_only: bool, propagation: Propagation) -> Mount {
    Mount {
        target: target.to_owned(),
        read_only,
        source: MountSource::Bind {
            path,
            propagation,
            create: false,
            non_recursive: false,
            writable_below: false,
        },
    }
}

/// The security settings of a container over those of its pod.
struct Effective {
    container: SecurityContext,
    pod: k8s_openapi::api::core::v1::PodSecurityContext,
}

impl Effective {
    fn new(spec: &k8s_openapi::api::core::v1::PodSpec, container: &Container) -> Self {
        Self {
            container: container.security_context.clone().unwrap_or_default(),
            pod: spec.security_context.clone().unwrap_or_default(),
        }
    }

    fn user_id(&self) -> Option<i64> {
        self.container.run_as_user.or(self.pod.run_as_user)
    }

    /// `user[:group]` for the engine; `None` leaves it to the image.
    fn user(&self, image_user: &str) -> Option<String> {
        let group = self.container.run_as_group.or(self.pod.run_as_group);
        match (self.user_id(), group) {
            (None, None) => None,
            (Some(user), None) => Some(user.to_string()),
            (Some(user), Some(group)) => Some(format!("{user}:{group}")),
            (None, Some(group)) => {
                let user = image_user.split(':').next().filter(|user| !user.is_empty()).unwrap_or("0");
                Some(format!("{user}:{group}"))
            }
        }
    }

    fn groups(&self) -> Vec<String> {
        let listed = self.pod.supplemental_groups.iter().flatten();
        listed.chain(self.pod.fs_group.iter()).map(i64::to_string).collect()
    }

    fn check_non_root(&self, image_user: &str) -> Result<(), SpecError> {
        if !self.container.run_as_non_root.or(self.pod.run_as_non_root).unwrap_or(false) {
            return Ok(());
        }
        let user = match self.user_id() {
            Some(id) => id.to_string(),
            None => image_user.split(':').next().unwrap_or_default().to_owned(),
        };
        match user.parse::<u32>() {
            Ok(0) => Err(SpecError::RunsAsRoot),
            Ok(_) => Ok(()),
            Err(_) if user.is_empty() => Err(SpecError::RunsAsRoot),
            Err(_) => Err(SpecError::UserNotNumeric { user }),
        }
    }

    fn security(&self, profiles: &Path) -> Result<Security, SpecError> {
        let capabilities = self.container.capabilities.clone().unwrap_or_default();
        let unmasked = self.container.proc_mount.as_deref() == Some("Unmasked");
        let profile = self.container.seccomp_profile.as_ref().or(self.pod.seccomp_profile.as_ref());
        Ok(Security {
            privileged: self.container.privileged.unwrap_or(false),
            cap_add: capabilities.add.unwrap_or_default(),
            cap_drop: capabilities.drop.unwrap_or_default(),
            seccomp: seccomp(profile, profiles)?,
            no_new_privileges: !self.container.allow_privilege_escalation.unwrap_or(true),
            masked_paths: unmasked.then(Vec::new),
            read_only_paths: unmasked.then(Vec::new),
            options: Vec::new(),
        })
    }
}

/// The filter that a profile names. Without one the built-in profile holds: what a cluster would
/// have to switch on elsewhere (`seccompDefault`) is the rule here.
fn seccomp(profile: Option<&SeccompProfile>, directory: &Path) -> Result<Seccomp, SpecError> {
    let Some(profile) = profile else { return Ok(Seccomp::Default) };
    match (profile.type_.as_str(), &profile.localhost_profile) {
        ("Unconfined", _) => Ok(Seccomp::Unconfined),
        ("Localhost", Some(name)) => {
            let path = directory.join(name);
            let text = std::fs::read_to_string(&path);
            text.map(Seccomp::Profile).map_err(|source| SpecError::Seccomp { path, source })
        }
        _ => Ok(Seccomp::Default),
    }
}

#[cfg(test)]
mod tests;
