//! What an archive's documents say: which images are in it, as what, and under which names.

use std::collections::BTreeSet;
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
                for image in docker {
                    let config = self.document_get(&image.config).map(Digest::sha256_of);
                    let same = |known: &&mut Described| {
                        config.as_ref().is_some_and(|config| blob_path(config) == known.config)
                    };
                    match described.iter_mut().find(same).map(|known| known.config.clone()) {
                        None => described.push(image),
                        Some(config) => {
                            let has =
                                |name: &Reference| described.iter().any(|known| known.names.contains(name));
                            let more: Vec<Reference> =
                                image.names.into_iter().filter(|name| !has(name)).collect();
                            if let Some(known) = described.iter_mut().find(|known| known.config == config) {
                                known.names.extend(more);
                            }
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
        for (name, entry) in &named {
            let name = name.clone();
            if !is_meant(entry, &name, &named, platform) {
                continue;
            }
            let same = |known: &&mut Described| {
                known.source.as_ref().is_some_and(|source| source.target.digest == entry.digest)
            };
            match described.iter_mut().find(same) {
                Some(known) => known.names.extend(name.filter(|name| !known.names.contains(name))),
                None => described.extend(self.oci_image(entry, name, platform)?),
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

/// Whether an entry of a layout's index is to be loaded: not what is about another, and of one image for
/// several platforms, which some tools write down there instead of in an index of its own, the one that runs
/// best.
fn is_meant(
    entry: &Descriptor,
    name: &Option<Reference>,
    all: &[(Option<Reference>, &Descriptor)],
    platform: Option<&Platform>,
) -> bool {
    if entry.about().is_some() {
        return all.len() == 1;
    }
    let of_image = all.iter().filter(|(other, entry)| other == name && entry.about().is_none());
    let of_image: Vec<&Descriptor> = of_image.map(|(_, entry)| *entry).collect();
    let platforms: BTreeSet<&Platform> =
        of_image.iter().filter_map(|entry| entry.platform.as_ref()).collect();
    let are_one = of_image.len() > 1 && platforms.len() == of_image.len();
    !are_one || select(of_image.into_iter(), platform).is_some_and(|chosen| chosen == *entry)
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
