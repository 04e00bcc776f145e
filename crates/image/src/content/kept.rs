//! Documents that are what their digests say.

use oci::digest::Mismatch;
use oci::{Digest, Document};

/// A document that may be kept. It is what its digest says: nobody comes by one otherwise than by having its
/// bytes hashed.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    digest: Digest,
    bytes: Vec<u8>,
}

impl Kept {
    /// A document of which nobody has said what it is.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::sha256_of(&bytes), bytes }
    }

    /// What is said to be the document of this digest, if it is.
    pub(crate) fn verified(digest: &Digest, bytes: Vec<u8>) -> Result<Self, Mismatch> {
        digest.verify(&bytes)?;
        Ok(Self { digest: digest.clone(), bytes })
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it leads to; nothing where it is no manifest and no index.
    pub(crate) fn links(&self) -> Vec<Digest> {
        match Document::parse(&self.bytes, None) {
            Ok(document) => document.links().into_iter().map(|link| link.digest.clone()).collect(),
            Err(_) => Vec::new(),
        }
    }
}
