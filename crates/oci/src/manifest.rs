//! Manifests and indexes: which configuration and layers make an image, and for which platform.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::limits::{DOCUMENT_MAX, TooMuch, at_most};
use crate::media_type;
use crate::platform::Platform;
use crate::serde_shapes::null_default;

/// The annotation in an index by which BuildKit says that an entry is about another: its digest.
pub const ANNOTATION_ABOUT: &str = "vnd.docker.reference.digest";

/// Points at content: what it is, its digest and its size.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    #[serde(default)]
    pub media_type: String,
    /// The content's digest.
    pub digest: Digest,
    /// The content's length in bytes.
    pub size: u64,
    /// Where else it may be fetched.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Arbitrary additions, for example the reference name in an OCI layout.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The platform that the content is for, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// An image manifest, Docker's version 2 schema 2 or OCI's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u8,
    /// What this document is; OCI manifests may leave it out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(deserialize_with = "null_default")]
    pub layers: Vec<Descriptor>,
    /// Arbitrary additions.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image index (OCI) or manifest list (Docker): manifests by platform.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u8,
    /// What this document is; OCI indexes may leave it out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The manifests, and perhaps further indexes.
    #[serde(deserialize_with = "null_default")]
    pub manifests: Vec<Descriptor>,
    /// Arbitrary additions.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a tag or digest in a registry can lead to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Images by platform.
    Index(Index),
}

/// Why bytes are neither manifest nor index.
#[derive(Debug, thiserror::Error)]
pub enum ParseDocumentError {
    /// The bytes are no such JSON document.
    #[error("read image manifest")]
    Json(#[source] serde_json::Error),
    /// A valid document of a kind that is not supported, such as Docker's schema 1.
    #[error("manifest of type `{0}` is not supported")]
    Unsupported(String),
    /// It is longer or shorter than whoever pointed at it said.
    #[error("it has {has} bytes, and {said} were promised")]
    Size {
        /// What was said.
        said: u64,
        /// What it has.
        has: usize,
    },
    /// It holds more than is taken.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
}

impl Descriptor {
    /// A descriptor of `content` as `media_type`.
    pub fn of(media_type: &str, content: &[u8]) -> Self {
        Self::new(media_type, Digest::sha256_of(content), content.len() as u64)
    }

    /// A descriptor of content known by digest and size.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
        }
    }

    /// What this entry of an index is about, if it is one that tells of another (provenance, contents).
    pub fn about(&self) -> Option<Digest> {
        Digest::parse(self.annotations.get(ANNOTATION_ABOUT)?).ok()
    }
}

impl Document {
    /// Reads a manifest or index. `content_type` is what the transport said, if it said something;
    /// a type inside the document goes first, as a confused pair of the two has fooled clients
    /// before (CVE-2021-41190). What it holds stays within the bounds of [`crate::limits`].
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ParseDocumentError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Probe {
            #[serde(default)]
            schema_version: u8,
            #[serde(default)]
            media_type: Option<String>,
            manifests: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
        }
        at_most("bytes in its manifest", bytes.len(), DOCUMENT_MAX)?;
        let probe: Probe = serde_json::from_slice(bytes).map_err(ParseDocumentError::Json)?;
        let said = probe.media_type.as_deref().or(content_type).unwrap_or_default();
        if probe.schema_version != 2 {
            return Err(ParseDocumentError::Unsupported(format!("{said} (schema {})", probe.schema_version)));
        }
        let is_index = match (probe.manifests.is_some(), probe.layers.is_some()) {
            (true, false) => true,
            (false, true) => false,
            _ => {
                return Err(ParseDocumentError::Unsupported(format!(
                    "{said} (both or neither of manifests and layers)"
                )));
            }
        };
        let contradicts = if is_index { media_type::is_manifest(said) } else { media_type::is_index(said) };
        if contradicts {
            return Err(ParseDocumentError::Unsupported(format!("{said} (its content is of another kind)")));
        }
        if is_index {
            let index: Index = serde_json::from_slice(bytes).map_err(ParseDocumentError::Json)?;
            index.check()?;
            Ok(Document::Index(index))
        } else {
            let manifest: Manifest = serde_json::from_slice(bytes).map_err(ParseDocumentError::Json)?;
            manifest.check()?;
            Ok(Document::Manifest(manifest))
        }
    }
}

impl Document {
    /// Reads the document that `descriptor` points at, whose bytes were verified by its digest. What it is
    /// has to be what was said, from whichever side (CVE-2021-41190).
    pub fn parse_at(bytes: &[u8], descriptor: &Descriptor) -> Result<Self, ParseDocumentError> {
        let said = &descriptor.media_type;
        if bytes.len() as u64 != descriptor.size {
            return Err(ParseDocumentError::Size { said: descriptor.size, has: bytes.len() });
        }
        let document = Self::parse(bytes, Some(said))?;
        let contradicts = match &document {
            Document::Manifest(_) => media_type::is_index(said),
            Document::Index(_) => media_type::is_manifest(said),
        };
        if contradicts {
            return Err(ParseDocumentError::Unsupported(format!("{said} (its content is of another kind)")));
        }
        Ok(document)
    }

    /// What it is: what it says itself, what the transport said, or what its content shows.
    pub fn media_type<'a>(&'a self, said: Option<&'a str>) -> &'a str {
        let (own, shown) = match self {
            Document::Manifest(manifest) => (manifest.media_type.as_str(), media_type::OCI_MANIFEST),
            Document::Index(index) => (index.media_type.as_str(), media_type::OCI_INDEX),
        };
        let fits = |said: &&str| match self {
            Document::Manifest(_) => media_type::is_manifest(said),
            Document::Index(_) => media_type::is_index(said),
        };
        Some(own).filter(|own| !own.is_empty()).or(said.filter(fits)).unwrap_or(shown)
    }

    /// Everything that it points at: an index its entries, a manifest its configuration and its layers.
    pub fn links(&self) -> Vec<&Descriptor> {
        match self {
            Document::Manifest(manifest) => {
                std::iter::once(&manifest.config).chain(&manifest.layers).collect()
            }
            Document::Index(index) => index.manifests.iter().collect(),
        }
    }
}

impl Index {
    /// The manifest that runs best on a machine of platform `host`. Where no entry names a
    /// platform, the first one is taken: such an index was made for one machine.
    pub fn select(&self, host: &Platform) -> Option<&Descriptor> {
        let mut best: Option<(u8, &Descriptor)> = None;
        for entry in &self.manifests {
            let Some(fitness) = entry.platform.as_ref().and_then(|platform| platform.fitness(host)) else {
                continue;
            };
            if best.is_none_or(|(known, _)| fitness > known) {
                best = Some((fitness, entry));
            }
        }
        match best {
            Some((_, entry)) => Some(entry),
            None if self.manifests.iter().all(|entry| entry.platform.is_none()) => self.manifests.first(),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(platform: Option<&str>, seed: &str) -> String {
        let digest = Digest::sha256_of(seed.as_bytes());
        let platform = platform.map_or(String::new(), |text| {
            let platform: Platform = text.parse().expect(text);
            format!(r#","platform":{}"#, serde_json::to_string(&platform).expect("plain"))
        });
        format!(r#"{{"mediaType":"m","digest":"{digest}","size":1{platform}}}"#)
    }

    #[track_caller]
    fn check(document: &str, content_type: Option<&str>, expected: Result<&str, &str>) {
        let got = Document::parse(document.as_bytes(), content_type).map(|document| match document {
            Document::Manifest(manifest) => format!("manifest of {} layers", manifest.layers.len()),
            Document::Index(index) => format!("index of {}", index.manifests.len()),
        });
        let got = got.map_err(|e| e.to_string());
        assert_eq!(got.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn manifests_and_indexes_are_told_apart_by_their_content() {
        let d = descriptor(None, "x");
        check(
            &format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{d}]}}"#),
            None,
            Ok("manifest of 1 layers"),
        );
        check(&format!(r#"{{"schemaVersion":2,"manifests":[{d}]}}"#), None, Ok("index of 1"));
        let layers = |count: usize| {
            format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{}]}}"#, vec![d.as_str(); count].join(","))
        };
        check(&layers(127), None, Ok("manifest of 127 layers"));
        check(&layers(128), None, Err("the image has 128 layers, and at most 127 are taken"));
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, vec![d.as_str(); 1001].join(","));
        let problem = "the image has 1001 manifests in its index, and at most 1000 are taken";
        check(&index, None, Err(problem));
        check(r#"{"schemaVersion":2,"manifests":null,"layers":[]}"#, None, Err("read image manifest"));
    }

    #[test]
    fn a_document_that_is_two_things_at_once_is_refused() {
        let d = descriptor(None, "x");
        check(
            &format!(r#"{{"schemaVersion":2,"config":{d},"layers":[],"manifests":[]}}"#),
            None,
            Err("manifest of type ` (both or neither of manifests and layers)` is not supported"),
        );
        check(
            &format!(r#"{{"schemaVersion":2,"config":{d},"layers":[]}}"#),
            Some(media_type::OCI_INDEX),
            Err(
                "manifest of type `application/vnd.oci.image.index.v1+json (its content is of another kind)` is not supported",
            ),
        );
        check(r#"{"schemaVersion":1}"#, None, Err("manifest of type ` (schema 1)` is not supported"));
        check("[]", None, Err("read image manifest"));
    }

    #[test]
    fn what_was_pointed_at_is_what_was_said() {
        let d = descriptor(None, "x");
        let manifest = format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{d}]}}"#);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{d}]}}"#);
        let check = |document: &str, media_type: &str, more: u64, expected: Result<usize, &str>| {
            let mut at = Descriptor::of(media_type, document.as_bytes());
            at.size += more;
            let got = Document::parse_at(document.as_bytes(), &at).map(|document| document.links().len());
            assert_eq!(got.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
        };
        check(&manifest, media_type::OCI_MANIFEST, 0, Ok(2));
        check(&manifest, "", 0, Ok(2));
        check(&index, media_type::DOCKER_LIST, 0, Ok(1));
        let other = "(its content is of another kind)` is not supported";
        let list = media_type::DOCKER_LIST;
        check(&manifest, list, 0, Err(&format!("manifest of type `{list} {other}")));
        let one = media_type::DOCKER_MANIFEST;
        check(&index, one, 0, Err(&format!("manifest of type `{one} {other}")));
        let size = index.len();
        check(&index, list, 1, Err(&format!("it has {size} bytes, and {} were promised", size + 1)));
    }

    #[test]
    fn an_index_gives_the_manifest_for_the_host() {
        let entries = [Some("linux/arm64"), Some("linux/amd64"), None]
            .iter()
            .enumerate()
            .map(|(i, platform)| descriptor(*platform, &i.to_string()))
            .collect::<Vec<_>>()
            .join(",");
        let index: Index = serde_json::from_str(&format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#))
            .expect("index");
        let chosen = |host: &str| index.select(&host.parse().expect(host)).map(|d| d.digest.clone());
        assert_eq!(chosen("linux/amd64"), Some(Digest::sha256_of(b"1")));
        assert_eq!(chosen("linux/arm64"), Some(Digest::sha256_of(b"0")));
        assert_eq!(chosen("linux/riscv64"), None);
    }
}
