//! What is asked of whoever runs a build: images' configurations and files of sources.

use std::pin::Pin;

use llb::pb;
use oci::{Digest, Platform};

use crate::lint::Warning;

/// Why something could not be had; who asked passes it on as it is.
pub type ClientError = Box<dyn std::error::Error + Send + Sync>;

/// An image is asked for in whose place something is used that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{by} is used in the place of the image {name}, and is none")]
pub struct Replaced {
    /// The image.
    pub name: String,
    /// What is used (`local://…`, `https://…`).
    pub by: String,
}

/// An answer that takes its time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ClientError>> + Send + 'a>>;

/// Who runs the build.
pub trait Client: Send + Sync {
    /// The configuration of an image, for a platform.
    fn resolve_image<'a>(&'a self, name: &'a str, options: ResolveOptions<'a>) -> Answer<'a, ResolvedImage>;

    /// Works a definition out and reads files of what it comes to: none for each that is not there. Of each at
    /// most the first `limit` bytes are wanted.
    fn read_files<'a>(
        &'a self,
        definition: &'a pb::Definition,
        paths: &'a [String],
        limit: u64,
    ) -> Answer<'a, Vec<Option<Vec<u8>>>>;

    /// Takes what was found about a Dockerfile, as a warning about the operation that loaded it.
    fn warn(&self, source: &DockerfileSource, warning: &Warning);

    /// The name of the client's session, which its directories come from.
    fn session(&self) -> &str;
}

/// How an image is looked for.
#[derive(Clone, Copy, Debug)]
pub struct ResolveOptions<'a> {
    /// The platform that is wanted; the builder's own if none.
    pub platform: Option<&'a Platform>,
    /// `default`, `pull` or `local`.
    pub mode: &'a str,
    /// What to show while it is looked for.
    pub name: &'a str,
    /// The store of the client's session that it is in, for those that are in no registry.
    pub store: Option<&'a str>,
}

/// An image that was found.
#[derive(Clone, Debug)]
pub struct ResolvedImage {
    /// Its whole name.
    pub name: String,
    /// Of its manifest or index; none where it has none.
    pub digest: Option<Digest>,
    /// Its configuration document.
    pub config: Vec<u8>,
}

/// A Dockerfile and where it came from: what places in it are told by.
#[derive(Clone, Debug, Default)]
pub struct DockerfileSource {
    /// Its path.
    pub filename: String,
    /// Its bytes.
    pub data: Vec<u8>,
    /// What it was read from; its last operation is the one that warnings belong to.
    pub definition: pb::Definition,
}

impl DockerfileSource {
    /// The same as definitions and errors have it.
    pub fn info(&self) -> pb::SourceInfo {
        pb::SourceInfo {
            filename: self.filename.clone(),
            data: self.data.clone().into(),
            definition: Some(self.definition.clone()),
            language: "Dockerfile".to_owned(),
        }
    }
}
