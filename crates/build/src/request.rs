//! What to build and how, and what a build tells meanwhile.

use std::collections::BTreeMap;

use engine::ByteStream;
use engine::container::Resources;
use engine::image::{ImageId, Progress, RegistryAuth};

/// A build to be done.
pub struct BuildRequest {
    /// The build context: a tar archive, plain or compressed. Not read where it is fetched
    /// ([`BuildOptions::remote`]).
    pub context: ByteStream,
    /// How.
    pub options: BuildOptions,
}

/// How an image is built; the defaults are those of `docker build`.
#[derive(Clone, Default)]
pub struct BuildOptions {
    /// Where the context is fetched from: a git repository (`https://….git#branch:directory`, `git://…`,
    /// `git@…`, `github.com/…`), or the address of an archive or of a Dockerfile alone. Empty where it is sent.
    pub remote: String,
    /// Where the Dockerfile is in the context; `Dockerfile` if empty.
    pub dockerfile: String,
    /// The names that the image gets.
    pub tags: Vec<String>,
    /// Build arguments; `None` removes the Dockerfile's default.
    pub args: BTreeMap<String, Option<String>>,
    /// Labels that the image gets beside the Dockerfile's.
    pub labels: BTreeMap<String, String>,
    /// The stage to stop at, by name or number; the last if empty.
    pub target: String,
    /// Do every step again.
    pub no_cache: bool,
    /// Where there are any, only their steps count as done.
    pub cache_from: Vec<String>,
    /// Ask the registry for a newer base image even if there is one here.
    pub pull: bool,
    /// Remove the container of a step that succeeded.
    pub remove: bool,
    /// Remove the container of a step that failed, too.
    pub force_remove: bool,
    /// Tell only the image's id.
    pub quiet: bool,
    /// Make the build's layers one. Refused: see [`crate::BuildError::Squash`].
    pub squash: bool,
    /// The network of `RUN`; the default one if empty.
    pub network: String,
    /// `os/arch[/variant]`; the host's if `None`.
    pub platform: Option<String>,
    /// `host:address` lines for `/etc/hosts` during `RUN`.
    pub extra_hosts: Vec<String>,
    /// Limits on `RUN`.
    pub resources: Resources,
    /// Bytes of `/dev/shm` during `RUN`.
    pub shm_size: Option<u64>,
    /// The cgroup below which those of `RUN` are made; the engine's own where there is none.
    pub cgroup_parent: Option<String>,
    /// Who one is, by registry.
    pub auth: BTreeMap<String, RegistryAuth>,
}

/// Something that a build tells.
#[derive(Clone, Debug, PartialEq)]
pub enum BuildEvent {
    /// Text as it goes to the terminal, with its line ends.
    Text(String),
    /// The pull of a base image, or of something else that is fetched.
    Pull(Progress),
    /// A stage's image is there. The last is the build's, and comes before the last texts.
    Built(ImageId),
}
