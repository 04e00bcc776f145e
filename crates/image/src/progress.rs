//! Progress of pulls, pushes and loads, in the steps that Docker's clients show.

use std::fmt;
use std::sync::Arc;

use oci::Digest;

/// Something happened to one layer, or to the whole transfer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// What it happened to: a layer's short digest, or a tag; nothing for the whole transfer.
    pub subject: Option<String>,
    /// What happened.
    pub action: Action,
}

/// A step of a transfer. Sizes are bytes; a total of 0 is unknown.
#[expect(missing_docs, reason = "the variants say what their fields are")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// The pull of a repository begins.
    PullingFrom(String),
    /// The layer is wanted.
    PullingFsLayer,
    /// The layer waits for its turn.
    Waiting,
    /// Bytes of the layer have come.
    Downloading { current: u64, total: u64 },
    /// The layer has come whole; its digest is looked at.
    Verifying,
    /// The layer has come whole and matches its digest.
    DownloadComplete,
    /// The connection broke; the transfer goes on after this many seconds.
    Retrying { seconds: u64 },
    /// Bytes of the layer have been unpacked.
    Extracting { current: u64, total: u64 },
    /// The layer is here and unpacked.
    PullComplete,
    /// The layer was here already.
    AlreadyExists,
    /// The manifest's digest.
    Digest(Digest),
    /// A sentence for the end.
    Status(String),
    /// The push to a repository begins.
    PushingTo(String),
    /// The layer is going to be pushed.
    Preparing,
    /// Bytes of the layer have been sent.
    Pushing { current: u64, total: u64 },
    /// The layer has been sent.
    Pushed,
    /// The registry has the layer already.
    LayerAlreadyExists,
    /// The registry took the layer from another of its repositories.
    MountedFrom(String),
    /// The tag now points at this manifest, which has this size.
    PushedManifest { tag: String, digest: Digest, size: u64 },
    /// Bytes of a layer have been read from an archive.
    LoadingLayer { current: u64, total: u64 },
    /// An image has been loaded, under this name or, without one, with this id.
    LoadedImage { name: Option<String>, id: Digest },
}

/// Takes events; cheap to clone, called from several threads.
#[derive(Clone)]
pub struct Progress(Option<Arc<dyn Fn(Event) + Send + Sync>>);

impl Action {
    /// The words that Docker's clients show for this step.
    pub fn text(&self) -> String {
        match self {
            Action::PullingFrom(repository) => format!("Pulling from {repository}"),
            Action::PullingFsLayer => "Pulling fs layer".into(),
            Action::Waiting => "Waiting".into(),
            Action::Downloading { .. } => "Downloading".into(),
            Action::Verifying => "Verifying Checksum".into(),
            Action::DownloadComplete => "Download complete".into(),
            Action::Retrying { seconds: 1 } => "Retrying in 1 second".into(),
            Action::Retrying { seconds } => format!("Retrying in {seconds} seconds"),
            Action::Extracting { .. } => "Extracting".into(),
            Action::PullComplete => "Pull complete".into(),
            Action::AlreadyExists => "Already exists".into(),
            Action::Digest(digest) => format!("Digest: {digest}"),
            Action::Status(sentence) => format!("Status: {sentence}"),
            Action::PushingTo(repository) => format!("The push refers to repository [{repository}]"),
            Action::Preparing => "Preparing".into(),
            Action::Pushing { .. } => "Pushing".into(),
            Action::Pushed => "Pushed".into(),
            Action::LayerAlreadyExists => "Layer already exists".into(),
            Action::MountedFrom(repository) => format!("Mounted from {repository}"),
            Action::PushedManifest { tag, digest, size } => format!("{tag}: digest: {digest} size: {size}"),
            Action::LoadingLayer { .. } => "Loading layer".into(),
            Action::LoadedImage { name: Some(name), .. } => format!("Loaded image: {name}"),
            Action::LoadedImage { name: None, id } => format!("Loaded image ID: {id}"),
        }
    }

    /// How much of how much, for steps that take time.
    pub fn progress(&self) -> Option<(u64, u64)> {
        match *self {
            Action::Downloading { current, total }
            | Action::Extracting { current, total }
            | Action::Pushing { current, total }
            | Action::LoadingLayer { current, total } => Some((current, total)),
            _ => None,
        }
    }
}

impl Progress {
    /// Calls `sink` for every event. It must not block: the transfer waits for it.
    pub fn new(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(sink)))
    }

    /// Nobody listens.
    pub fn none() -> Self {
        Self(None)
    }

    pub(crate) fn tell(&self, subject: Option<&str>, action: Action) {
        if let Some(sink) = &self.0 {
            sink(Event { subject: subject.map(str::to_owned), action });
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Progress(sink)" } else { "Progress(none)" })
    }
}
