//! What a container should be: everything that its creator can say.

mod mount;
mod network;
mod process;
mod security;

use std::collections::BTreeMap;

use super::resources::Resources;
use crate::id::SandboxId;
use crate::network::EndpointSpec;
use crate::stream::TerminalSize;

pub use mount::{FileKind, Mount, MountSource, Propagation};
pub use network::{ContainerLink, Dns, HostEntry, Port, PortBinding, Protocol};
pub use process::{HealthTest, Healthcheck, LogOptions, RestartPolicy};
pub use security::{AppArmor, NamespaceMode, Namespaces, NetworkMode, Seccomp, Security};

/// What a container should be. Everything but `image` may be left at its default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerSpec {
    /// The name; one is made up where there is none.
    pub name: Option<String>,
    /// The image as the user named it: reference, id, or unique prefix of an id. It must be present.
    pub image: String,
    /// The topmost of the image store's layers that its root file system is made of, instead of an image; empty
    /// where it is of none. Such a container is a step of a build's: it is not listed, and nothing is told of it.
    pub layers: Option<String>,
    /// The platform wanted (`linux/arm64`), where it is not the host's.
    pub platform: Option<String>,
    /// The sandbox to live in; without one the container gets its own, with its own network.
    pub sandbox: Option<SandboxId>,
    /// Arguments; `None` takes the image's (unless `entrypoint` is given).
    pub command: Option<Vec<String>>,
    /// The program; `None` takes the image's, an empty one resets it.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value`, over the image's; `NAME` alone removes it.
    pub env: Vec<String>,
    /// The same, which is written down nowhere that outlives the machine's power.
    pub secret_env: SecretEnv,
    /// The working directory; `None` takes the image's.
    pub workdir: Option<String>,
    /// `user[:group]`, by name or number; `None` takes the image's.
    pub user: Option<String>,
    /// Further groups, by name or number.
    pub groups: Vec<String>,
    /// It is in no groups but those that are named: what the image's `/etc/group` says of its user
    /// does not count.
    pub strict_groups: bool,
    /// Gives the process a terminal.
    pub tty: bool,
    /// Keeps a standard input open.
    pub stdin_open: bool,
    /// Closes the standard input when the first attached client goes.
    pub stdin_once: bool,
    /// Bytes of output that are kept for the first client that attaches; 0 is none.
    pub backlog: u32,
    /// What the creator means to attach to; kept, not acted on.
    pub attach: AttachFlags,
    /// Labels, over the image's.
    pub labels: BTreeMap<String, String>,
    /// Notes of the front that made the container; the engine keeps and returns them, unread.
    pub annotations: BTreeMap<String, String>,
    /// Host name; `None` takes the short id (or the host's name in the host's network).
    pub hostname: Option<String>,
    /// Domain name.
    pub domainname: Option<String>,
    /// Mounts, in order. Volumes that the image declares are added.
    pub mounts: Vec<Mount>,
    /// Limits.
    pub resources: Resources,
    /// What the processes may do.
    pub security: Security,
    /// The root file system is read-only.
    pub read_only_rootfs: bool,
    /// Runs the engine's reaper as process 1, the program as its child.
    pub init: bool,
    /// Which namespaces are shared with whom.
    pub namespaces: Namespaces,
    /// The networks to join, for [`NetworkMode::Network`] in addition to the first, with what each endpoint asks for.
    pub networks: BTreeMap<String, EndpointSpec>,
    /// Containers that it knows by names of its own in the default network; they must run when it starts.
    pub links: Vec<ContainerLink>,
    /// The MAC address wanted on the first network.
    pub mac_address: Option<String>,
    /// Name resolution.
    pub dns: Dns,
    /// Lines for `/etc/hosts`.
    pub extra_hosts: Vec<HostEntry>,
    /// Container ports that exist, besides the image's: for publish-all and for listings.
    pub exposed_ports: Vec<Port>,
    /// Container ports that are reachable from the host.
    pub ports: Vec<PortBinding>,
    /// Publishes every exposed port on a free host port.
    pub publish_all: bool,
    /// What happens when the program ends.
    pub restart: RestartPolicy,
    /// The signal that asks it to stop, by name or number; `None` takes the image's, or SIGTERM.
    pub stop_signal: Option<String>,
    /// How long it may take to stop before it is killed, in seconds; `None` is ten, negative is for ever.
    pub stop_timeout: Option<i64>,
    /// `None` takes the image's.
    pub healthcheck: Option<Healthcheck>,
    /// `None` takes the engine's default.
    pub log: Option<LogOptions>,
    /// Namespaced kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Removes the container when it ends.
    pub auto_remove: bool,
    /// It belongs to work of the process that makes it, a step of a build: an engine that is opened
    /// and finds it removes it. [`crate::Engine::container_keep`] takes this back.
    pub transient: bool,
    /// Size of `/dev/shm` in bytes; `None` is 64 MiB.
    pub shm_size: Option<u64>,
    /// There is no `/dev/shm` at all.
    pub no_shared_memory: bool,
    /// The size of its terminal at the beginning.
    pub console_size: Option<TerminalSize>,
    /// The cgroup below which the container's is made; `None` is the sandbox's or the engine's own.
    pub cgroup_parent: Option<String>,
    /// An OCI runtime other than the built-in one, by its name.
    pub runtime: Option<String>,
    /// Options of the root file system's storage.
    pub storage_options: BTreeMap<String, String>,
}

/// Variables whose values nobody else may see.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretEnv(pub Vec<String>);

impl std::fmt::Debug for SecretEnv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secret variables", self.0.len())
    }
}

/// Which streams the creator means to attach to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachFlags {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}
