//! What the binary tells the engine about where and as what it runs.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::container::LogOptions;

/// Where and as what an engine runs. Two engines with different `root`, `run`, `instance` and
/// `bridge` live side by side without touching each other.
#[derive(Clone, Debug)]
pub struct Config {
    /// Durable state: `containers/`, `sandboxes/`, `volumes/`, `images/`, `network/`.
    pub root: PathBuf,
    /// State that a reboot may take: sockets, bundles.
    pub run: PathBuf,
    /// The name that all kernel objects of this engine carry (cgroups, nftables, bridges): lower-case
    /// letters and digits, ten at most.
    pub instance: String,
    /// The networks, with the default bridge.
    pub network: net::Config,
    /// The program that has the `shim` and `init` roles as its first argument: usually this very binary.
    pub binary: PathBuf,
    /// How logs are kept where a container does not say.
    pub log: LogOptions,
    /// Name servers for containers where the container does not say; empty: the host's.
    pub dns: Vec<IpAddr>,
    /// The ids of the host for sandboxes with users of their own; `None` is what `/etc/subuid` and
    /// `/etc/subgid` say ([`IdRange::of_host`](crate::IdRange::of_host)).
    pub user_ids: Option<crate::IdRange>,
    /// Registries that may be spoken to in plain HTTP besides loopback ones (`host:port`).
    pub insecure_registries: Vec<String>,
    /// What becomes of the compressed form in which images' layers come.
    pub image_blobs: crate::image::Blobs,
    /// Soft and hard limit of open files of programs for which nobody asks for one; those of this
    /// process where absent.
    pub descriptors: Option<(u64, u64)>,
}
