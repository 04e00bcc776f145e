//! Pull and push.

mod destination;
mod inspect;
mod pull;
mod push;

use std::sync::Arc;
use std::time::Duration;

pub use destination::Destination;
pub use inspect::Remote;
use oci::manifest::ParseDocumentError;
use oci::{Descriptor, Digest, Platform, Reference};
pub use pull::Described;

use crate::error::Kind;
use crate::image::{FindError, ImageId};
use crate::layer::LayerError;
use crate::progress::Progress;
use crate::registry::{Client, Credentials};
use crate::store::{Store, WriteError};

/// What to pull, and as whom.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    /// The platform; without one the host's.
    pub platform: Option<Platform>,
    /// Who asks.
    pub credentials: Credentials,
    /// It is one of several: whoever asked for all of them tells what came of it.
    pub is_part: bool,
}

/// What a pull brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pulled {
    /// The image.
    pub id: ImageId,
    /// The digest that the name led to: a manifest's or an index's.
    pub digest: Digest,
    /// Whether the name leads elsewhere than before.
    pub changed: bool,
}

/// Why an image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry has no such repository, tag or content.
    #[error("{what} not found in the registry: {message}")]
    NotFound {
        /// What was asked for.
        what: String,
        /// Whether it is the whole repository that the registry does not know.
        is_repository: bool,
        /// What the registry says.
        message: String,
    },
    /// The registry refuses.
    #[error("access to {what} denied: {message}")]
    Denied {
        /// What was asked for.
        what: String,
        /// What the registry says.
        message: String,
    },
    /// The registry does not know who asks, or not by these credentials.
    #[error("access to {what} needs a login: {message}")]
    Unauthorized {
        /// What was asked for.
        what: String,
        /// What the registry says.
        message: String,
    },
    /// The registry does not take a user's name and password.
    #[error("{address} does not take this user and password")]
    Login {
        /// What was asked for.
        address: String,
    },
    /// An address gives something else than what is to be fetched.
    #[error("failed to GET {address} with status {status} {reason}: {message}")]
    Address {
        /// The address.
        address: String,
        /// The HTTP status.
        status: u16,
        /// The same in words.
        reason: &'static str,
        /// What it says besides.
        message: String,
    },
    /// The registry or another server could not be reached, or the connection broke too often.
    #[error("reach the server of {what}")]
    Unreachable {
        /// What was asked for.
        what: String,
        /// What went wrong.
        source: Arc<reqwest::Error>,
    },
    /// The connection ended before the content did.
    #[error("{what} ended after {have} of {want} bytes")]
    CutOff {
        /// What was asked for.
        what: String,
        /// Bytes that came.
        have: u64,
        /// Bytes that were promised.
        want: u64,
    },
    /// The registry sends nothing, or next to nothing.
    #[error("the registry has sent or taken next to nothing of {what} for {} seconds", limit.as_secs())]
    Slow {
        /// What was asked for.
        what: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// Too many layers are on their way already.
    #[error("layer {digest} has waited for its turn for too long: {busy}")]
    Busy {
        /// The layer's digest in the registry.
        digest: Digest,
        /// What is under way.
        busy: offload::Busy,
    },
    /// The registry answers with a failure.
    #[error("registry answers {status} for {what}: {message}")]
    Status {
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What the registry says.
        message: String,
    },
    /// No image for this platform is offered.
    #[error("no matching manifest for {platform} in the manifest list entries")]
    Platform {
        /// The image.
        name: String,
        /// The wanted platform.
        platform: Platform,
    },
    /// The manifest cannot be understood.
    #[error("manifest of {name}")]
    Manifest {
        /// The image.
        name: String,
        /// What is wrong with it.
        source: ParseDocumentError,
    },
    /// A document is broken, or does not fit another.
    #[error("{name} is malformed: {problem}")]
    Malformed {
        /// The image.
        name: String,
        /// What does not fit.
        problem: String,
    },
    /// Content is not what its digest promised.
    #[error("verify {what}")]
    Mismatch {
        /// What was asked for.
        what: String,
        /// What was promised and what came.
        source: oci::digest::Mismatch,
    },
    /// A layer could not be unpacked.
    #[error("layer {digest}")]
    Layer {
        /// The layer's digest in the registry.
        digest: Digest,
        /// What went wrong.
        source: LayerError,
    },
    /// The image could not be stored.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Why an image could not be pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// There is no image of this name.
    #[error(transparent)]
    Find(#[from] FindError),
    /// There is no image with this tag, though there are others of the repository.
    #[error("no image has the tag {name}")]
    NoTag {
        /// What was asked for.
        name: String,
    },
    /// A digest is not what a registry is told.
    #[error("a name with a digest cannot be pushed")]
    Digest,
    /// The conversation with the registry failed.
    #[error(transparent)]
    Registry(#[from] PullError),
    /// A layer cannot be put together again.
    #[error("read layer {digest}")]
    Layer {
        /// The layer's diff id.
        digest: Digest,
        /// What went wrong.
        source: std::io::Error,
    },
}

impl PullError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            PullError::NotFound { .. } | PullError::Platform { .. } => Kind::NotFound,
            PullError::Denied { .. } => Kind::Denied,
            PullError::Unauthorized { .. } | PullError::Login { .. } => Kind::Unauthorized,
            PullError::Address { status, .. } => match status {
                400 => Kind::Invalid,
                401 => Kind::Unauthorized,
                403 => Kind::Denied,
                404 => Kind::NotFound,
                _ => Kind::Unavailable,
            },
            PullError::Unreachable { .. }
            | PullError::CutOff { .. }
            | PullError::Slow { .. }
            | PullError::Busy { .. }
            | PullError::Status { .. } => Kind::Unavailable,
            PullError::Manifest { .. } | PullError::Malformed { .. } | PullError::Mismatch { .. } => {
                Kind::Invalid
            }
            PullError::Layer { source, .. } => source.kind(),
            PullError::Write(error) => error.kind(),
        }
    }
}

impl PushError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            PushError::Find(error) => error.kind(),
            PushError::NoTag { .. } => Kind::NotFound,
            PushError::Digest => Kind::Invalid,
            PushError::Registry(error) => error.kind(),
            PushError::Layer { .. } => Kind::Internal,
        }
    }
}

impl Store {
    /// Brings an image from a registry. Dropping the future ends the pull and leaves nothing behind
    /// but layers that another running pull waits for.
    pub async fn image_pull(
        &self,
        client: &Client,
        reference: &Reference,
        options: &PullOptions,
        progress: &Progress,
    ) -> Result<Pulled, PullError> {
        pull::pull(&self.inner, client, reference, options, progress).await
    }

    /// Sends the image named `reference` to its registry; without a tag, all tags of the repository.
    /// Gives the digest of the last manifest.
    pub async fn image_push(
        &self,
        client: &Client,
        reference: &Reference,
        credentials: &Credentials,
        progress: &Progress,
    ) -> Result<Digest, PushError> {
        push::push(&self.inner, client, reference, credentials, progress).await
    }

    /// Sends a document that is [kept](Store::documents_put), a manifest or an index, with all that it leads to, as
    /// it is: under the tag of `reference`, or, `by_digest`, under none.
    pub async fn document_push(
        &self,
        client: &Client,
        reference: &Reference,
        by_digest: bool,
        target: &Descriptor,
        credentials: &Credentials,
        progress: &Progress,
    ) -> Result<(), PushError> {
        push::push_document(&self.inner, client, reference, by_digest, target, credentials, progress).await
    }
}
