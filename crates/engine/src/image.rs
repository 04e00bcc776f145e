//! Images, as fronts see them: everything here is done by the image store.

mod archive;
mod bases;
mod convert;
mod fetch;
mod inspect;
mod list;
mod pattern;
mod remove;
mod tag;
mod transfer;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;

use base::Timestamp;
use futures::Stream;

use crate::container::{Healthcheck, Port};
use crate::error::{Fact, Result};

pub use ::image::registry::{AddressHead, AddressRequest, Found, Opened};
pub use ::image::{Blobs, Remote};
pub(crate) use convert::{config_to_oci, healthcheck_from_oci, kind, parse_port, reference, with_tag};
pub use fetch::stream as fetched_stream;
pub use oci::Platform;
pub use oci::platform::ParsePlatformError;
pub(crate) use transfer::parse_platform;

/// Names an image: the digest of its configuration (`sha256:…`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ImageId(pub(crate) String);

impl ImageId {
    /// The digest with its algorithm.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an image says of how it is run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageConfig {
    /// `user[:group]`.
    pub user: String,
    /// Ports that it listens on.
    pub exposed_ports: Vec<Port>,
    /// The environment.
    pub env: Vec<String>,
    /// The program.
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments.
    pub command: Option<Vec<String>>,
    /// Paths that become volumes.
    pub volumes: Vec<String>,
    /// The working directory.
    pub workdir: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to stop.
    pub stop_signal: Option<String>,
    /// The health check.
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for builds on top of it.
    pub on_build: Vec<String>,
    /// What runs shell-form commands.
    pub shell: Option<Vec<String>>,
}

/// An image.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// The digest of its manifest.
    pub manifest: String,
    /// Its names with tags (`nginx:latest`, shortened as Docker shows them).
    pub tags: Vec<String>,
    /// Its names with digests (`nginx@sha256:…`).
    pub digests: Vec<String>,
    /// The image that it was built on here, if known.
    pub parent: Option<ImageId>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Who made it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// `amd64`.
    pub architecture: String,
    /// `v8`.
    pub variant: Option<String>,
    /// `linux`.
    pub os: String,
    /// Bytes unpacked.
    pub size: u64,
    /// How it is run.
    pub config: ImageConfig,
    /// What the container had that it was made of, where that is known.
    pub container: Option<ImageConfig>,
    /// Digests of its unpacked layers, lowest first.
    pub layers: Vec<String>,
    /// When it last got a name here.
    pub last_tagged: Option<Timestamp>,
}

/// One step of how an image was made.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// The image at this step, where there is one of its own.
    pub id: Option<ImageId>,
    /// When.
    pub created: Option<Timestamp>,
    /// How.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// Bytes that it added.
    pub size: u64,
    /// Names of the image at this step.
    pub tags: Vec<String>,
}

/// Which images to list: all conditions must hold; an empty list is no condition.
#[derive(Clone, Debug, Default)]
pub struct ImageFilter {
    /// Also those that only others are built on.
    pub all: bool,
    /// Names, with `*`, one of.
    pub references: Vec<String>,
    /// Labels (`key` or `key=value`), all of.
    pub labels: Vec<String>,
    /// Whether it has no name.
    pub dangling: Option<bool>,
    /// Made before these images.
    pub before: Vec<String>,
    /// Made after these images.
    pub since: Vec<String>,
    /// Made before this time.
    pub until: Option<Timestamp>,
}

/// Who one is at a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    /// User name.
    pub username: String,
    /// Password or personal token.
    pub password: String,
    /// A refresh token instead of both.
    pub identity_token: String,
    /// A bearer token, sent as it is, instead of all.
    pub registry_token: String,
}

/// What is happening while an image is moved.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// A line on the whole: `Pulling from library/nginx`, `Digest: …`, `Status: …`, `Loaded image: …`.
    Message {
        /// What the line is about (the tag), if anything.
        id: Option<String>,
        /// The line.
        text: String,
    },
    /// A layer's state.
    Layer {
        /// The layer's short id.
        id: String,
        /// `Pulling fs layer`, `Downloading`, `Extracting`, `Pull complete`, `Already exists`, `Pushed` …
        status: String,
        /// Bytes done so far, and all, where it is under way.
        bytes: Option<(u64, u64)>,
    },
    /// What came is not all that was asked for.
    Warning {
        /// What is the matter.
        fact: Fact,
    },
    /// A tag of a registry now leads to this.
    Pushed {
        /// The tag.
        tag: String,
        /// The manifest's digest.
        digest: String,
        /// The manifest's bytes.
        size: u64,
    },
    /// It is done: the image and its digest.
    Done {
        /// The image's id.
        id: Option<ImageId>,
        /// The manifest's digest.
        digest: Option<String>,
    },
}

/// Progress of an operation that runs while this is read: it ends after `Done` or an error, and
/// dropping it aborts the operation.
pub type ProgressStream = Pin<Box<dyn Stream<Item = Result<Progress>> + Send>>;

/// How an image is pulled.
#[derive(Clone, Default)]
pub struct PullOptions {
    /// `os/arch[/variant]`; the host's where `None`.
    pub platform: Option<String>,
    /// Who one is.
    pub auth: Option<RegistryAuth>,
    /// Every tag of the repository.
    pub all_tags: bool,
}

/// What an imported root file system is made into.
#[derive(Clone, Debug, Default)]
pub struct ImportSpec {
    /// The image's name.
    pub reference: Option<String>,
    /// Why.
    pub message: String,
    /// How it is run.
    pub config: ImageConfig,
    /// `os/arch[/variant]`; the host's where `None`.
    pub platform: Option<String>,
}

/// What a removal did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageRemoved {
    /// A name was taken from an image.
    Untagged(String),
    /// An image or layer is gone.
    Deleted(String),
}

/// What a prune of images took away.
#[derive(Clone, Debug, Default)]
pub struct ImagePruned {
    /// Names and images.
    pub removed: Vec<ImageRemoved>,
    /// Bytes of disk that came back.
    pub reclaimed: u64,
}
