//! What the store keeps on disk: versioned types of its own, nothing foreign.
//!
//! `state.json` holds images and names, `layers/<chain>/layer.json` one layer,
//! `snapshots/<id>/snapshot.json` one snapshot. A later version of this program must read all of
//! these; a change of meaning takes a new version number ([`Record`]).

use std::collections::BTreeMap;

use base::Timestamp;
use base::record::Record;
use oci::{Digest, Reference};
use serde::{Deserialize, Serialize};

use crate::image::ImageId;

/// `state.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) images: BTreeMap<ImageId, ImageRecord>,
    /// Names with tags, and names with digests.
    pub(crate) names: BTreeMap<Reference, ImageId>,
}

/// One image; everything else about it is in its configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<ImageId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tagged_at: Option<Timestamp>,
    /// Chain ids, lowest first.
    pub(crate) layers: Vec<Digest>,
    /// The layers whose use by the image is counted.
    #[serde(skip)]
    pub(crate) held: Vec<Digest>,
}

/// `layer.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) chain_id: Digest,
    pub(crate) diff_id: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<Digest>,
    /// Bytes of the files in it.
    pub(crate) size: u64,
    /// Length of the uncompressed archive.
    pub(crate) archive_size: u64,
    /// The short name under `l/`.
    pub(crate) key: String,
    /// The compressed forms under which registries know it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) origins: Vec<Origin>,
}

/// A layer's form in a registry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) media_type: String,
    /// The repository that has it, as `host/path`.
    pub(crate) repository: String,
}

/// `snapshot.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    /// The layer that it lies on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) chain_id: Option<Digest>,
}

impl Record for State {
    const KNOWN: u32 = 1;
}

impl Record for LayerRecord {
    const KNOWN: u32 = 1;
}

impl Record for SnapshotRecord {
    const KNOWN: u32 = 1;
}

/// The document of a record.
pub(crate) fn encode<T: Record>(record: &T) -> Vec<u8> {
    base::record::encode(record).expect("a tree of strings always prints")
}
