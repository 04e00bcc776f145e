//! What the store keeps on disk: versioned types of its own, nothing foreign.
//!
//! `state.json` and its log hold images and names, `layers/<chain>/layer.json` one layer,
//! `snapshots/<id>/snapshot.json` one snapshot, `leases/<id>.json` what a pull has brought so far. A later
//! version of this program must read all of these; a change of meaning takes a new version number
//! ([`Record`]).

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use base::record::Record;
use oci::{Descriptor, Digest, Reference};
use serde::{Deserialize, Serialize};

use crate::image::ImageId;

/// `state.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) images: BTreeMap<ImageId, ImageRecord>,
    /// Names with tags, and names with digests.
    pub(crate) names: BTreeMap<Reference, Named>,
    /// What steps of builds came to, by what they are known by. An earlier program passes over them, and what
    /// only they keep goes: a build does it again. So there is no new version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) results: BTreeMap<Digest, ResultRecord>,
    /// The log of what changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<String>,
}

/// A line of the log of `state.json`: what has changed; without a record it is gone.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Change {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) images: BTreeMap<ImageId, Option<ImageRecord>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) names: BTreeMap<Reference, Option<Named>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) results: BTreeMap<Digest, Option<ResultRecord>>,
}

/// What a step of a build came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ResultRecord {
    /// The topmost layer of each of its outputs; none of one that is empty.
    pub(crate) outputs: Vec<Option<Digest>>,
    /// What it was.
    #[serde(default)]
    pub(crate) description: String,
    /// What sort of thing it was.
    #[serde(default)]
    pub(crate) kind: String,
    /// Bytes that it added.
    #[serde(default)]
    pub(crate) size: u64,
    pub(crate) created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_used: Option<Timestamp>,
    #[serde(default)]
    pub(crate) uses: u64,
    /// What it stood on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parents: Vec<Digest>,
    /// The layers whose use by it is counted.
    #[serde(skip)]
    pub(crate) held: Vec<Digest>,
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
    /// As what it last came here, or went from here: a manifest, or an index that leads to one. None of
    /// an image that was made here, as long as no registry has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Content>,
    /// The layers whose use by the image is counted.
    #[serde(skip)]
    pub(crate) held: Vec<Digest>,
}

/// What a name leads to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Named {
    /// The image that is meant on this machine.
    pub(crate) image: ImageId,
    /// The document that the name leads to, a manifest or an index: none where there is only the
    /// configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Content>,
}

/// Points at content that is kept as it came.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
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
    /// The directory under `diffs/` that has its files; its own directory has them where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) files: Option<String>,
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
    /// What compressed it, if that was done here: the same makes it again, bit for bit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compressor: Option<String>,
}

/// `snapshot.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    /// The layer that it lies on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) chain_id: Option<Digest>,
}

/// `lease.json`: what unfinished work has brought here, which the next may go on with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LeaseRecord {
    /// The boot in which it was taken. What it names need not have been flushed, so it counts for nothing
    /// after another.
    pub(crate) boot: String,
    /// Until when it counts, at most.
    pub(crate) until: Timestamp,
    pub(crate) content: BTreeSet<Digest>,
    /// Chain ids.
    pub(crate) layers: BTreeSet<Digest>,
}

impl PartialEq for ImageRecord {
    /// Whether the same is on disk.
    fn eq(&self, other: &Self) -> bool {
        let Self { parent, tagged_at, layers, source, held: _ } = self;
        (parent, tagged_at, layers, source) == (&other.parent, &other.tagged_at, &other.layers, &other.source)
    }
}

impl PartialEq for ResultRecord {
    /// Whether the same is on disk.
    fn eq(&self, other: &Self) -> bool {
        let told = |record: &Self| (record.description.clone(), record.kind.clone(), record.size);
        let used = |record: &Self| (record.created, record.last_used, record.uses);
        (&self.outputs, &self.parents) == (&other.outputs, &other.parents)
            && used(self) == used(other)
            && told(self) == told(other)
    }
}

impl LayerRecord {
    /// How the directory is called that has the files of a layer which any layer may lie under.
    pub(crate) fn loose(diff_id: &Digest) -> String {
        diff_id.hex().to_owned()
    }

    /// How the directory is called that has the files of a layer which fits on those below it only.
    pub(crate) fn bound(chain_id: &Digest) -> String {
        format!("on-{}", chain_id.hex())
    }
}

impl Content {
    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.digest.clone(), self.size)
    }
}

impl From<&Descriptor> for Content {
    fn from(descriptor: &Descriptor) -> Self {
        let Descriptor { media_type, digest, size, .. } = descriptor.clone();
        Self { media_type, digest, size }
    }
}

impl Record for State {
    /// In version 1 names led to images only.
    const KNOWN: u32 = 2;

    fn parse(version: u32, document: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct First {
            images: BTreeMap<ImageId, ImageRecord>,
            names: BTreeMap<Reference, ImageId>,
        }
        match version {
            1 => serde_json::from_slice(document).map(|First { images, names }| {
                let named = |(name, image)| (name, Named { image, target: None });
                Self { images, names: names.into_iter().map(named).collect(), ..Self::default() }
            }),
            _ => serde_json::from_slice(document),
        }
    }
}

impl Record for LayerRecord {
    /// In version 1 a layer had its files in its own directory.
    const KNOWN: u32 = 2;

    fn version(&self) -> u32 {
        if self.files.is_none() { 1 } else { Self::KNOWN }
    }
}

impl Record for SnapshotRecord {
    const KNOWN: u32 = 1;
}

impl Record for LeaseRecord {
    const KNOWN: u32 = 1;
}

/// The document of a record.
pub(crate) fn encode<T: Record>(record: &T) -> Vec<u8> {
    base::record::encode(record).expect("a tree of strings always prints")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_images_of_version_1_is_read() {
        let (one, manifest) = (Digest::sha256_of(b"one"), Digest::sha256_of(b"manifest"));
        let document = format!(
            r#"{{"version":1,"images":{{"{one}":{{"layers":[],"tagged_at":"2026-01-01T00:00:00Z"}}}},
                "names":{{"docker.io/library/a:1":"{one}","docker.io/library/a@{manifest}":"{one}"}}}}"#
        );
        let state = State::parse(1, document.as_bytes()).expect("version 1");
        let id = ImageId(one);
        assert!(state.images[&id].tagged_at.is_some() && state.images[&id].source.is_none());
        let names: Vec<String> = state.names.keys().map(Reference::familiar).collect();
        assert_eq!(names, [format!("a@{manifest}"), "a:1".to_owned()]);
        assert!(state.names.values().all(|named| named.image == id && named.target.is_none()));
        // And written as what is read from then on.
        let path = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(path.path(), encode(&state)).expect("write");
        assert_eq!(base::record::read::<State>(path.path()).expect("version 2"), state);
    }
}
