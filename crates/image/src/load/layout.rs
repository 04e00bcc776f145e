//! What an archive's documents say: which images are in it, as what, and under which names.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use oci::archive::{
    ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, DOCKER_MANIFEST_FILE, DockerManifestEntry, OCI_INDEX_FILE,
};
use oci::{Descriptor, Digest, Document, Index, Platform, Reference, media_type};
use serde::de::DeserializeOwned;

use super::LoadError;
use super::read::{Members, member_path, verified};
use crate::content::{DEPTH_MAX, Kept};
use crate::image::Source;
use crate::state::Content;

/// Names that an archive gives; each is in every state that is written from then on.
const NAMES_MAX: usize = 10_000;

/// An image that the documents describe.
pub(super) struct Described {
    pub(super) config: PathBuf,
    /// Paths of the layers, lowest first.
    pub(super) layers: Vec<PathBuf>,
    pub(super) names: Vec<Reference>,
    /// As what it comes, if the archive is an OCI layout, and the documents from there to the configuration.
    pub(super) source: Option<Source>,
    /// What else that leads to.
    pub(super) others: Vec<Found>,
}

/// A manifest or index of an OCI layout, with what it leads to as far as that is there.
#[derive(Clone)]
pub(super) struct Found {
    descriptor: Descriptor,
    pub(super) document: Document,
    pub(super) kept: Kept,
    pub(super) children: Vec<Found>,
}

impl Members {
    /// The images of the archive. Where it is an OCI layout and Docker's as well, the former says as what
    /// they come, and both say their names.
    pub(super) fn described(&self, platform: Option<&Platform>) -> Result<Vec<Described>, LoadError> {
        let docker = self.docker_images()?;
        let oci = match (self.oci_images(platform), &docker) {
            // Content that is not what it is called by is refused, whoever names it.
            (Err(error @ LoadError::Mismatch { .. }), _) => return Err(error),
            // A layout that nobody needs may be as it likes.
            (Err(_), Some(_)) => None,
            (oci, _) => oci?,
        };
        let described = match (oci, docker) {
            (None, None) => {
                let problem = format!("it has neither {DOCKER_MANIFEST_FILE} nor {OCI_INDEX_FILE}");
                return Err(LoadError::Shape(problem));
            }
            (Some(described), None) | (None, Some(described)) => described,
            (Some(mut described), Some(docker)) => {
                let mut named: HashSet<Reference> =
                    described.iter().flat_map(|image| image.names.iter().cloned()).collect();
                let mut by_config: HashMap<PathBuf, usize> = HashMap::new();
                for (at, image) in described.iter().enumerate() {
                    by_config.entry(image.config.clone()).or_insert(at);
                }
                for image in docker {
                    let config = self.document_get(&image.config).map(Digest::sha256_of);
                    let same = config.and_then(|config| by_config.get(&blob_path(&config)).copied());
                    match same {
                        None => {
                            named.extend(image.names.iter().cloned());
                            described.push(image);
                        }
                        Some(at) => {
                            let more = image.names.into_iter().filter(|name| named.insert(name.clone()));
                            described[at].names.extend(more);
                        }
                    }
                }
                described
            }
        };
        check_names(described.iter().map(|image| image.names.len()).sum())?;
        Ok(described)
    }

    /// The images of a `docker save` archive, if it is one.
    fn docker_images(&self) -> Result<Option<Vec<Described>>, LoadError> {
        let Some(bytes) = self.document_get(Path::new(DOCKER_MANIFEST_FILE)) else { return Ok(None) };
        let entries: Vec<DockerManifestEntry> = parse(DOCKER_MANIFEST_FILE, bytes)?;
        check_names(entries.iter().map(|entry| entry.repo_tags.len()).sum())?;
        let described = entries.into_iter().map(|entry| {
            let mut names = Vec::new();
            for tag in &entry.repo_tags {
                names.push(parse_name(tag)?);
            }
            Ok(Described {
                config: inside(&entry.config)?,
                layers: entry.layers.iter().map(|layer| inside(layer)).collect::<Result<_, _>>()?,
                names,
                source: None,
                others: Vec::new(),
            })
        });
        described.collect::<Result<_, _>>().map(Some)
    }

    /// The images of an OCI layout, if it is one.
    fn oci_images(&self, platform: Option<&Platform>) -> Result<Option<Vec<Described>>, LoadError> {
        let Some(bytes) = self.document_get(Path::new(OCI_INDEX_FILE)) else { return Ok(None) };
        let index: Index = parse(OCI_INDEX_FILE, bytes)?;
        check_names(index.manifests.len())?;
        let mut described: Vec<Described> = Vec::new();
        let named: Vec<(Option<Reference>, &Descriptor)> =
            index.manifests.iter().map(|entry| (name_of(entry), entry)).collect();
        // Where an image is among those that are described, by what it comes as; none where it is no image.
        let mut known: HashMap<&Digest, Option<usize>> = HashMap::new();
        let mut given = HashSet::new();
        for (name, entry) in meant(&named, platform) {
            let is_new = given.insert((&entry.digest, name));
            match known.get(&entry.digest) {
                Some(Some(at)) => described[*at].names.extend(name.clone().filter(|_| is_new)),
                Some(None) => {}
                None => {
                    let image = self.oci_image(entry, name.clone(), platform)?;
                    known.insert(&entry.digest, image.is_some().then_some(described.len()));
                    described.extend(image);
                }
            }
        }
        if described.is_empty() && !index.manifests.is_empty() {
            return Err(LoadError::Shape("it has no image that runs in containers".to_owned()));
        }
        Ok(Some(described))
    }

    /// The image behind an entry of a layout; none where it is something else.
    fn oci_image(
        &self,
        entry: &Descriptor,
        name: Option<Reference>,
        platform: Option<&Platform>,
    ) -> Result<Option<Described>, LoadError> {
        let path = blob_path(&entry.digest);
        let top = self.found(entry, 1)?;
        let top = top.ok_or_else(|| LoadError::Shape(format!("`{}` is missing", path.display())))?;
        let mut documents = Vec::new();
        let mut others = Vec::new();
        let mut next = top;
        let manifest = loop {
            documents.push(next.kept);
            match next.document {
                Document::Manifest(manifest) => break manifest,
                Document::Index(_) => {
                    let Some(at) = self.choose(&next.children, platform) else {
                        let problem = format!("`{}` has no manifest of an image in it", path.display());
                        return Err(LoadError::Shape(problem));
                    };
                    let chosen = next.children.swap_remove(at);
                    others.extend(next.children);
                    next = chosen;
                }
            }
        };
        if !media_type::is_config(&manifest.config.media_type) {
            return Ok(None);
        }
        Ok(Some(Described {
            config: blob_path(&manifest.config.digest),
            layers: manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect(),
            names: name.into_iter().collect(),
            source: Some(Source { target: Content::from(entry), documents }),
            others,
        }))
    }

    /// The document that `descriptor` points at, if it is in the archive.
    fn found(&self, descriptor: &Descriptor, depth: usize) -> Result<Option<Found>, LoadError> {
        let path = blob_path(&descriptor.digest);
        let Some(bytes) = self.document_get(&path) else { return Ok(None) };
        let shown = path.display();
        self.hold(2 * bytes.len() as u64)?;
        // A link may have led to it from this name.
        let kept = verified(&path, &descriptor.digest, bytes.to_vec())?;
        let document = Document::parse_at(kept.bytes(), descriptor)
            .map_err(|error| LoadError::Shape(format!("`{shown}`: {}", base::error::chain(&error))))?;
        let mut children = Vec::new();
        if let Document::Index(index) = &document {
            if depth >= DEPTH_MAX {
                return Err(LoadError::Shape(format!("`{shown}` is an index in an index")));
            }
            for entry in &index.manifests {
                children.extend(self.found(entry, depth + 1)?);
            }
        }
        Ok(Some(Found { descriptor: descriptor.clone(), document, kept, children }))
    }
}

impl Members {
    /// Which of an index's documents is the image: the one that runs best here, or where it is wanted for, or
    /// else the first that is one. Those of which all is here go before others.
    fn choose(&self, children: &[Found], platform: Option<&Platform>) -> Option<usize> {
        let is_whole = |child: &&Found| match &child.document {
            Document::Index(_) => true,
            Document::Manifest(manifest) => {
                let config = std::iter::once(&manifest.config.digest);
                let all = config.chain(manifest.layers.iter().map(|layer| &layer.digest));
                all.map(blob_path).all(|path| self.has(&path))
            }
        };
        let of = |children: Vec<&Found>| {
            let chosen = select(children.iter().map(|child| &child.descriptor), platform)?;
            Some(chosen.digest.clone())
        };
        let whole = of(children.iter().filter(is_whole).collect());
        let chosen = whole.or_else(|| of(children.iter().collect()))?;
        children.iter().position(|child| child.descriptor.digest == chosen)
    }
}

/// The image's among the entries of an index, as [`Members::choose`] has it.
fn select<'a>(
    entries: impl Iterator<Item = &'a Descriptor>,
    platform: Option<&Platform>,
) -> Option<Descriptor> {
    let index = Index {
        schema_version: 2,
        media_type: String::new(),
        manifests: entries.cloned().collect(),
        annotations: Default::default(),
    };
    let chosen = index.select(platform.unwrap_or(&Platform::host()));
    chosen.or_else(|| index.manifests.iter().find(|entry| entry.about().is_none())).cloned()
}

/// The name that a layout's index gives an image: containerd's annotation, or the specification's, where that
/// is one and not a bare tag, which names no repository.
fn name_of(entry: &Descriptor) -> Option<Reference> {
    let read = |key: &str| entry.annotations.get(key).and_then(|name| parse_name(name).ok());
    let is_whole = entry.annotations.get(ANNOTATION_REF_NAME).is_some_and(|name| name.contains(['/', ':']));
    read(ANNOTATION_IMAGE_NAME).or_else(|| read(ANNOTATION_REF_NAME).filter(|_| is_whole))
}

/// The entries of a layout's index that are to be loaded: not what is about another, unless it is all there is, and of
/// one image for several platforms, which some tools write down there instead of in an index of its own, the one
/// that runs best.
fn meant<'a>(
    all: &'a [(Option<Reference>, &'a Descriptor)],
    platform: Option<&Platform>,
) -> impl Iterator<Item = (&'a Option<Reference>, &'a Descriptor)> {
    let mut by_name: HashMap<&Option<Reference>, Vec<&Descriptor>> = HashMap::new();
    for (name, entry) in all.iter().filter(|(_, entry)| entry.about().is_none()) {
        by_name.entry(name).or_default().push(entry);
    }
    // What is chosen of each name; all of it where it is not one image.
    let chosen: HashMap<&Option<Reference>, Option<Descriptor>> = by_name
        .into_iter()
        .filter(|(_, entries)| {
            let platforms: HashSet<&Platform> =
                entries.iter().filter_map(|entry| entry.platform.as_ref()).collect();
            entries.len() > 1 && platforms.len() == entries.len()
        })
        .map(|(name, entries)| (name, select(entries.into_iter(), platform)))
        .collect();
    all.iter().map(|(name, entry)| (name, *entry)).filter(move |(name, entry)| match entry.about() {
        Some(_) => all.len() == 1,
        None => chosen.get(name).is_none_or(|chosen| chosen.as_ref() == Some(entry)),
    })
}

fn check_names(count: usize) -> Result<(), LoadError> {
    match count > NAMES_MAX {
        true => Err(LoadError::Shape(format!("it has more than {NAMES_MAX} names"))),
        false => Ok(()),
    }
}

fn inside(path: &str) -> Result<PathBuf, LoadError> {
    member_path(Path::new(path)).ok_or_else(|| LoadError::Shape(format!("`{path}` leads out of the archive")))
}

fn parse_name(text: &str) -> Result<Reference, LoadError> {
    let name = Reference::parse(text).map_err(|error| LoadError::Shape(error.to_string()))?;
    Ok(name.with_default_tag())
}

fn parse<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, LoadError> {
    serde_json::from_slice(bytes).map_err(|source| LoadError::Document { path: path.to_owned(), source })
}

pub(super) fn blob_path(digest: &Digest) -> PathBuf {
    Path::new("blobs").join(digest.algorithm().as_str()).join(digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the entries are loaded, each with its name and platform (`-` for none).
    #[track_caller]
    fn check(entries: &[(&str, &str)], platform: Option<&str>, expected: &[usize]) {
        let of = |text: &str| (text != "-").then(|| text.parse::<Platform>().expect(text));
        let descriptors: Vec<Descriptor> = entries
            .iter()
            .enumerate()
            .map(|(at, (_, platform))| {
                let mut entry = Descriptor::of(media_type::OCI_MANIFEST, at.to_string().as_bytes());
                if *platform == "about" {
                    entry
                        .annotations
                        .insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
                    let digest = Digest::sha256_of(b"0").to_string();
                    entry.annotations.insert("vnd.docker.reference.digest".into(), digest);
                } else {
                    entry.platform = of(platform);
                }
                entry
            })
            .collect();
        let named: Vec<(Option<Reference>, &Descriptor)> = entries
            .iter()
            .zip(&descriptors)
            .map(|((name, _), entry)| ((*name != "-").then(|| parse_name(name).expect("a name")), entry))
            .collect();
        let platform = platform.and_then(of);
        let found: Vec<usize> = meant(&named, platform.as_ref())
            .map(|(_, entry)| descriptors.iter().position(|one| one == entry).expect("one of them"))
            .collect();
        assert_eq!(found, expected, "{entries:?}");
    }

    #[test]
    fn of_one_image_for_several_platforms_one_is_loaded_and_of_others_all() {
        let arm = Some("linux/arm64");
        check(&[("a", "linux/amd64"), ("a", "linux/arm64"), ("b", "linux/amd64")], arm, &[1, 2]);
        check(&[("-", "linux/arm64"), ("-", "linux/amd64"), ("-", "about")], arm, &[0]);
        check(&[("a", "-"), ("a", "linux/amd64")], arm, &[0, 1]);
        check(&[("a", "linux/amd64"), ("a", "linux/amd64")], arm, &[0, 1]);
        check(&[("a", "about")], None, &[0]);
        check(&[("a", "-"), ("a", "about")], None, &[0]);
        check(&[], None, &[]);
    }
}
