//! A container of a pod, in the runtime's words.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base::beneath::{Beneath, BeneathError};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, SeccompProfile, SecurityContext, VolumeDevice};
use rustix::fs::Mode;

use super::admission::{self, Profile};
use super::env::Environment;
use super::expand::{Room, TooLarge, expand};
use super::hosts;
use super::resources;
use super::sandbox_spec::metadata;
use super::volumes::Prepared;
use crate::runtime::{
    AppArmor, BlockDevice, ContainerConfig, ContainerId, FileKind, Mount, Port, Propagation, Seccomp,
    Security,
};

/// What a container is made from, besides its own spec.
pub struct Context<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// How many instances came before.
    pub attempt: u32,
    /// The container whose processes it sees.
    pub target: Option<ContainerId>,
    /// The environment, worked out.
    pub env: Environment,
    /// The pod's volumes as they are on the host, by name.
    pub volumes: &'a BTreeMap<String, Prepared>,
    /// What is shown as its `/etc/hosts`.
    pub hosts: PathBuf,
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
    /// Whether the runtime can limit what is written into a container's root file system.
    pub storage_limits: bool,
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
    /// More words than a program can be started with.
    #[error(
        "command and args are larger than {most} bytes, what $(NAME) stands for included",
        most = MOST_COMMAND
    )]
    CommandTooLarge,
    /// No path can be that long.
    #[error(
        "subPathExpr for volumeMount \"{volume}\" of container \"{container}\" is longer than {longest} bytes, what $(NAME) stands for included",
        longest = LONGEST_PATH
    )]
    SubPathTooLong {
        /// The volume.
        volume: String,
        /// The container.
        container: String,
    },
    /// A part of a volume that cannot be shown.
    #[error("failed to prepare subPath for volumeMount \"{volume}\" of container \"{container}\"")]
    SubPath {
        /// The volume.
        volume: String,
        /// The container.
        container: String,
        /// Why.
        source: BeneathError,
    },
    /// A seccomp profile that cannot be read.
    #[error("read the seccomp profile \"{name}\" of this node")]
    Seccomp {
        /// Its name, a path below the directory of profiles.
        name: String,
        /// Why.
        source: BeneathError,
    },
    /// A seccomp profile that is no JSON; what it is instead is not told.
    #[error("the seccomp profile \"{0}\" of this node is not a JSON object")]
    SeccompForm(String),
    /// An annotation that names no AppArmor profile.
    #[error("invalid AppArmor profile name: {0:?}")]
    AppArmor(String),
    /// A user or group that the kernel cannot have, or that stands for none.
    #[error("{what} {id} is out of range: it must be between 0 and 2147483647")]
    IdRange {
        /// Which setting.
        what: &'static str,
        /// Its value.
        id: i64,
    },
}

/// Bytes of a log file before another is begun: the kubelet's `containerLogMaxSize`.
const LOG_FILE: u64 = 10 << 20;

/// Bytes of a command with its arguments: no program can be started with more.
const MOST_COMMAND: usize = 2 << 20;
/// The kernel's `PATH_MAX`.
const LONGEST_PATH: usize = 4096;

/// What one instance of `container` should be.
pub fn container_spec(context: &Context<'_>, container: &Container) -> Result<ContainerConfig, SpecError> {
    let pod_spec = context.pod.spec.as_ref().cloned().unwrap_or_default();
    let security = Effective::new(&pod_spec, container);
    security.check_ids()?;
    security.check_non_root(context.image_user)?;
    let (command, args) = command(context, container).map_err(|TooLarge| SpecError::CommandTooLarge)?;
    Ok(ContainerConfig {
        pod: metadata(context.pod),
        name: container.name.clone(),
        attempt: context.attempt,
        image: container.image.clone().unwrap_or_default(),
        command,
        args,
        env: context.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        working_dir: container.working_dir.clone().filter(|path| !path.is_empty()),
        user: security.user(context.image_user),
        groups: security.groups(),
        strict_groups: security.pod.supplemental_groups_policy.as_deref() == Some("Strict"),
        tty: container.tty.unwrap_or(false),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        mounts: mounts(context, container)?,
        devices: devices(context, container)?,
        resources: resources::of_container(context.pod, container, context.node_memory),
        storage_limit: storage_limit(container).filter(|_| context.storage_limits),
        security: Security {
            apparmor: apparmor(context.pod, &pod_spec, container)?,
            ..security.security(context.seccomp_directory, pod_spec.host_users == Some(false))?
        },
        read_only_rootfs: security.container.read_only_root_filesystem.unwrap_or(false),
        host_pid: pod_spec.host_pid.unwrap_or(false),
        processes_of: context.target.clone(),
        ports: container.ports.iter().flatten().filter_map(exposed_port).collect(),
        log_path: context.log.clone(),
        log_max_size: LOG_FILE,
    })
}

type Words = Option<Vec<String>>;

/// What replaces the image's entry point, and what its command.
fn command(context: &Context<'_>, container: &Container) -> Result<(Words, Words), TooLarge> {
    let mut room = Room::new(MOST_COMMAND);
    let mut words = |list: &Words| -> Result<Words, TooLarge> {
        let Some(list) = list.as_ref().filter(|list| !list.is_empty()) else { return Ok(None) };
        let expanded = list.iter().map(|word| {
            // Its end counts too.
            room.take(1)?;
            expand(word, &mut room, |name| context.env.get(name).map(String::as_str))
        });
        expanded.collect::<Result<_, _>>().map(Some)
    };
    Ok((words(&container.command)?, words(&container.args)?))
}

/// The bytes of the node's disk that a container may take.
fn storage_limit(container: &Container) -> Option<i64> {
    let limits = container.resources.as_ref()?.limits.as_ref();
    Some(resources::quantity(limits, "ephemeral-storage")?.value()).filter(|&bytes| bytes > 0)
}

/// What a pod asks for of the disk and does not get, in a sentence; `containers` says whether root file
/// systems are limited.
pub fn unlimited_storage(spec: &PodSpec, containers: bool) -> Option<String> {
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let names: Vec<String> = all
        .filter(|container| !containers && storage_limit(container).is_some())
        .map(|container| format!("ephemeral-storage of container \"{}\"", container.name))
        .collect();
    (!names.is_empty())
        .then(|| format!("limits on the node's disk are not enforced here: {}", names.join(", ")))
}

fn exposed_port(port: &k8s_openapi::api::core::v1::ContainerPort) -> Option<Port> {
    Some(Port {
        number: u16::try_from(port.container_port).ok()?,
        protocol: protocol(port.protocol.as_deref()),
    })
}

/// The API's protocol; TCP where it says nothing.
pub fn protocol(text: Option<&str>) -> net::Protocol {
    match text {
        Some("UDP") => net::Protocol::Udp,
        Some("SCTP") => net::Protocol::Sctp,
        _ => net::Protocol::Tcp,
    }
}

fn mounts(context: &Context<'_>, container: &Container) -> Result<Vec<Mount>, SpecError> {
    let mut mounts = Vec::new();
    let value = |name: &str| context.env.get(name).map(String::as_str);
    for wanted in container.volume_mounts.iter().flatten() {
        let volume =
            context.volumes.get(&wanted.name).ok_or_else(|| SpecError::NoVolume(wanted.name.clone()))?;
        let sub_path = match (&wanted.sub_path_expr, &wanted.sub_path) {
            (Some(expression), _) if !expression.is_empty() => {
                let path = expand(expression, &mut Room::new(LONGEST_PATH), value);
                Some(path.map_err(|TooLarge| SpecError::SubPathTooLong {
                    volume: wanted.name.clone(),
                    container: container.name.clone(),
                })?)
            }
            (_, Some(path)) if !path.is_empty() => Some(path.clone()),
            _ => None,
        };
        if let Some(sub_path) = &sub_path {
            // To be told now is kinder. What is mounted is found once more when it is mounted, by
            // the runtime, which holds on to it.
            check_sub_path(&volume.path, sub_path).map_err(|source| SpecError::SubPath {
                volume: wanted.name.clone(),
                container: container.name.clone(),
                source,
            })?;
        }
        let propagation = match wanted.mount_propagation.as_deref() {
            Some("HostToContainer") => Propagation::HostToContainer,
            Some("Bidirectional") => Propagation::Bidirectional,
            _ => Propagation::Private,
        };
        mounts.push(Mount {
            container_path: wanted.mount_path.clone(),
            host_path: volume.path.clone(),
            must_be: volume.must_be.filter(|_| sub_path.is_none()),
            sub_path,
            read_only: volume.read_only || wanted.read_only.unwrap_or(false),
            // What is mounted below a volume stays as it is, unless more is asked for.
            recursive_read_only: matches!(
                wanted.recursive_read_only.as_deref(),
                Some("Enabled" | "IfPossible")
            ),
            propagation,
        });
    }
    if hosts::is_shown(container) {
        mounts.push(own_file(hosts::PATH, &context.hosts));
    }
    let message = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
    mounts.push(own_file(message, &context.termination_message));
    Ok(mounts)
}

/// The devices that the container has of the pod's volumes.
fn devices(context: &Context<'_>, container: &Container) -> Result<Vec<BlockDevice>, SpecError> {
    let device = |wanted: &VolumeDevice| {
        let volume = context.volumes.get(&wanted.name);
        let volume = volume.filter(|volume| volume.must_be == Some(FileKind::BlockDevice));
        let volume = volume.ok_or_else(|| SpecError::NoVolume(wanted.name.clone()))?;
        Ok(BlockDevice {
            container_path: wanted.device_path.clone(),
            host_path: volume.path.clone(),
            read_only: volume.read_only,
        })
    };
    container.volume_devices.iter().flatten().map(device).collect()
}

/// A file of ours, which containers may write to.
fn own_file(place: &str, file: &Path) -> Mount {
    Mount {
        container_path: place.to_owned(),
        host_path: file.to_owned(),
        sub_path: None,
        must_be: None,
        read_only: false,
        recursive_read_only: true,
        propagation: Propagation::Private,
    }
}

/// Finds the part of a volume that a mount shows, made as a directory where it is missing: with the volume's
/// mode, so that who may write into that may write into its parts.
fn check_sub_path(volume: &Path, sub_path: &str) -> Result<(), BeneathError> {
    use std::os::unix::fs::PermissionsExt as _;
    let io = |source| BeneathError::Io { path: volume.to_owned(), source };
    let mode = std::fs::metadata(volume).map_err(io)?.permissions().mode() & 0o777;
    let root = Beneath::open(volume).map_err(io)?;
    root.find_or_make(Path::new(sub_path), Mode::from_raw_mode(mode)).map(drop)
}

/// Bytes of a profile; Docker's own has 14,000.
const LONGEST_PROFILE: u64 = 1 << 20;

/// The largest number of a user or group. What is above is negative to some programs, and the very
/// last one means "none" to the kernel, so that who asks for it stays root.
const LARGEST_ID: i64 = i32::MAX as i64;

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

    /// `user[:group]` for the runtime; `None` leaves it to the image.
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
        match user.parse::<i64>() {
            Ok(0) => Err(SpecError::RunsAsRoot),
            Ok(1..=LARGEST_ID) => Ok(()),
            Ok(id) => Err(SpecError::IdRange { what: "the image's user", id }),
            Err(_) if user.is_empty() => Err(SpecError::RunsAsRoot),
            Err(_) => Err(SpecError::UserNotNumeric { user }),
        }
    }

    /// The API refuses such numbers too; those that came before it did must not become others.
    fn check_ids(&self) -> Result<(), SpecError> {
        let single = [
            ("runAsUser", self.user_id()),
            ("runAsGroup", self.container.run_as_group.or(self.pod.run_as_group)),
            ("fsGroup", self.pod.fs_group),
        ];
        let listed = self.pod.supplemental_groups.iter().flatten();
        let all = single
            .into_iter()
            .filter_map(|(what, id)| Some((what, id?)))
            .chain(listed.map(|&id| ("supplementalGroups", id)));
        for (what, id) in all {
            if !(0..=LARGEST_ID).contains(&id) {
                return Err(SpecError::IdRange { what, id });
            }
        }
        Ok(())
    }

    /// `own_users` says that the pod has users of its own, without which procfs stays masked.
    fn security(&self, profiles: &Path, own_users: bool) -> Result<Security, SpecError> {
        let capabilities = self.container.capabilities.clone().unwrap_or_default();
        let unmasked = own_users && self.container.proc_mount.as_deref() == Some("Unmasked");
        let profile = self.container.seccomp_profile.as_ref().or(self.pod.seccomp_profile.as_ref());
        Ok(Security {
            privileged: self.container.privileged.unwrap_or(false),
            cap_add: capabilities.add.unwrap_or_default(),
            cap_drop: capabilities.drop.unwrap_or_default(),
            seccomp: seccomp(profile, profiles)?,
            no_new_privileges: !self.container.allow_privilege_escalation.unwrap_or(true),
            unmasked,
            ..Security::default()
        })
    }
}

/// The AppArmor profile that a container asks for. Where it says nothing it has the default one, if
/// the host has that and the container is not privileged; a privileged one has it on no account.
fn apparmor(pod: &Pod, spec: &PodSpec, container: &Container) -> Result<AppArmor, SpecError> {
    let privileged = container.security_context.as_ref().and_then(|security| security.privileged);
    Ok(match admission::apparmor(pod, spec, container).map_err(SpecError::AppArmor)? {
        Profile::RuntimeDefault if privileged != Some(true) => AppArmor::RuntimeDefault,
        Profile::Unset | Profile::RuntimeDefault => AppArmor::Default,
        Profile::Unconfined => AppArmor::Unconfined,
        Profile::Localhost(name) => AppArmor::Profile(name),
    })
}

/// The filter that a profile names. Without one the built-in profile holds: what a cluster would
/// have to switch on elsewhere (`seccompDefault`) is the rule here.
fn seccomp(profile: Option<&SeccompProfile>, directory: &Path) -> Result<Seccomp, SpecError> {
    let Some(profile) = profile else { return Ok(Seccomp::RuntimeDefault) };
    match (profile.type_.as_str(), &profile.localhost_profile) {
        ("Unconfined", _) => Ok(Seccomp::Unconfined),
        ("Localhost", Some(name)) => {
            let fail = |source| SpecError::Seccomp { name: name.clone(), source };
            let profiles = Beneath::open(directory)
                .map_err(|source| fail(BeneathError::Io { path: directory.to_owned(), source }))?;
            let bytes = profiles.read(Path::new(name), LONGEST_PROFILE).map_err(fail)?;
            // Whoever reads it next may say in an error what it found.
            let form = || SpecError::SeccompForm(name.clone());
            let text = String::from_utf8(bytes).map_err(|_| form())?;
            let object: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(&text);
            object.map(|_| Seccomp::Profile(text)).map_err(|_| form())
        }
        _ => Ok(Seccomp::RuntimeDefault),
    }
}

#[cfg(test)]
mod tests;
