//! Images as they are looked up, listed, named and made.

mod put;
mod written;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;

use base::Timestamp;
use oci::reference::ParseReferenceError;
use oci::{ContainerConfig, Digest, Document, History, ImageConfig, Platform, Reference, Verbatim};

pub(crate) use put::{NewRecord, Source};
pub use written::{Documents, MadeAs};

use offload::in_place;

use crate::content::Kept;
use crate::error::Kind;
use crate::layer::Layer;
use crate::state::{Content, ImageRecord, Named};
use crate::store::{Inner, Store, Tables, WriteError};

/// Names an image: the digest of its configuration, as Docker's classic store has it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ImageId(pub Digest);

/// An image of the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of the configuration.
    pub id: ImageId,
    /// The configuration.
    pub config: Arc<ImageConfig>,
    /// Names with tags, sorted.
    pub tags: Vec<Reference>,
    /// Names with the digests of manifests in registries, sorted.
    pub digests: Vec<Reference>,
    /// Chain ids of the layers, lowest first.
    pub layers: Vec<Digest>,
    /// Bytes of all layers, unpacked.
    pub size: u64,
    /// The image that a build or commit began from, if it was made here.
    pub parent: Option<ImageId>,
    /// When a name was last given to it here.
    pub tagged_at: Option<Timestamp>,
}

/// One line of an image's history, newest first.
#[derive(Clone, Debug)]
pub struct HistoryEntry {
    /// The image as of this step, where it is in the store.
    pub id: Option<ImageId>,
    /// When, as written in the configuration.
    pub created: Option<String>,
    /// The command or instruction.
    pub created_by: String,
    /// A message.
    pub comment: String,
    /// Bytes that the step's layer holds.
    pub size: u64,
    /// Names of the image as of this step.
    pub tags: Vec<Reference>,
}

/// An image to be made on top of another, or of nothing.
#[derive(Debug)]
pub struct NewImage {
    /// The image to begin from.
    pub parent: Option<ImageId>,
    /// The layer to add; none for a change of the configuration only.
    pub layer: Option<Layer>,
    /// How containers run: the whole of it, not a difference.
    pub config: ContainerConfig,
    /// When the image is made.
    pub created: Timestamp,
    /// The instruction or command, for the history.
    pub created_by: String,
    /// The same word by word, by which a build knows a step that was done; empty where nobody asks.
    pub command: Vec<String>,
    /// A message for the history.
    pub comment: String,
    /// Who made it.
    pub author: String,
    /// The platform; without one the parent's, or the host's.
    pub platform: Option<Platform>,
    /// The name to give it.
    pub name: Option<Reference>,
}

/// An image that running work needs: nobody removes it while this is held.
#[derive(Debug)]
pub struct ImageHold {
    inner: Arc<Inner>,
    id: ImageId,
}

/// Why an image could not be found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// No image has this name or id.
    #[error("no such image: {name}")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// Several images' ids begin like this.
    #[error("image id prefix {prefix} is ambiguous")]
    Ambiguous {
        /// The beginning of an id.
        prefix: String,
    },
    /// It can be no name.
    #[error("look up image `{name}`")]
    Name {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        source: ParseReferenceError,
    },
    /// The store's own files could not be read.
    #[error("read configuration of image {id}")]
    Read {
        /// The image.
        id: Digest,
        /// What went wrong.
        source: io::Error,
    },
}

impl ImageId {
    /// The first twelve digits, as listings show them.
    pub fn short(&self) -> &str {
        self.0.short()
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl NewImage {
    /// An image like its parent, which says what it was made by.
    pub fn on(
        parent: Option<ImageId>,
        config: ContainerConfig,
        created: Timestamp,
        created_by: &str,
    ) -> Self {
        Self {
            parent,
            layer: None,
            config,
            created,
            created_by: created_by.to_owned(),
            command: Vec::new(),
            comment: String::new(),
            author: String::new(),
            platform: None,
            name: None,
        }
    }
}

impl FindError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            FindError::NotFound { .. } => Kind::NotFound,
            FindError::Ambiguous { .. } => Kind::Conflict,
            FindError::Name { .. } => Kind::Invalid,
            FindError::Read { source, .. } => Kind::of_io(source),
        }
    }
}

impl Store {
    /// All images, newest first. Intermediate images of builds are among them: those have a child
    /// and no name. An image that cannot be read is left out, and the log says why.
    pub fn image_list(&self) -> Vec<Image> {
        let ids: Vec<ImageId> = self.inner.tables().images.keys().cloned().collect();
        let mut images = Vec::with_capacity(ids.len());
        for id in ids {
            match self.inner.image(&id) {
                Ok(image) => images.push(image),
                // Removed meanwhile.
                Err(FindError::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(error = %base::error::chain(&error), "an image is left out of a list")
                }
            }
        }
        images.sort_by(|a, b| b.config.created.cmp(&a.config.created).then_with(|| a.id.cmp(&b.id)));
        images
    }

    /// Finds an image by name, by name with the digest of its manifest or of an index that leads there, by
    /// that digest alone, by id or by the beginning of an id.
    pub fn image_get(&self, name: &str) -> Result<Image, FindError> {
        let id = self.inner.tables().resolve(name)?;
        self.inner.image(&id)
    }

    /// The configuration of an image as it came.
    pub fn image_document(&self, id: &ImageId) -> Result<bytes::Bytes, FindError> {
        let read_error = |source| FindError::Read { id: id.0.clone(), source };
        let document = in_place(|| self.inner.blob_read(&id.0)).map_err(read_error)?;
        Ok(bytes::Bytes::copy_from_slice(document.bytes()))
    }

    /// The images whose parent is `id`.
    pub fn image_children(&self, id: &ImageId) -> Vec<ImageId> {
        self.inner.tables().children_of(id).cloned().collect()
    }

    /// The history of an image, newest step first.
    pub fn image_history(&self, name: &str) -> Result<Vec<HistoryEntry>, FindError> {
        let image = self.image_get(name)?;
        let mut ancestors: Vec<ImageId> = Vec::new();
        let mut layers = image.layers.iter();
        let tables = self.inner.tables();
        let mut next = Some(image.id.clone());
        while let Some(id) = next {
            next = tables.images.get(&id).and_then(|record| record.parent.clone());
            ancestors.push(id);
        }
        let mut entries: Vec<HistoryEntry> = image
            .config
            .history
            .iter()
            .map(|step| HistoryEntry {
                id: None,
                created: step.created.clone(),
                created_by: step.created_by.clone(),
                comment: step.comment.clone(),
                size: match step.empty_layer {
                    true => 0,
                    false => {
                        layers.next().and_then(|chain| tables.layer(chain)).map_or(0, |layer| layer.size)
                    }
                },
                tags: Vec::new(),
            })
            .collect();
        entries.reverse();
        if entries.is_empty() {
            // Some tools write no history at all; the image itself is still one step.
            entries.push(HistoryEntry {
                id: None,
                created: image.config.created.clone(),
                created_by: String::new(),
                comment: String::new(),
                size: image.size,
                tags: Vec::new(),
            });
        }
        for (entry, id) in entries.iter_mut().zip(&ancestors) {
            entry.tags = tables.names_of(id).filter(|name| name.tag().is_some()).cloned().collect();
            entry.id = Some(id.clone());
        }
        Ok(entries)
    }

    /// Gives the image `source` the name `target`, with the tag `latest` unless it has one.
    /// The name is taken from the image that had it. On disk when this returns.
    pub fn image_tag(&self, source: &str, target: &Reference) -> Result<Image, WriteError> {
        let (id, named) = {
            let tables = self.inner.tables();
            let id = tables.resolve(source)?;
            let named = tables.name_of(source).and_then(|named| named.target.clone());
            (id, named)
        };
        self.inner.image_keep(&id, named.as_ref(), std::slice::from_ref(target))?;
        Ok(self.inner.image(&id)?)
    }

    /// Makes sure that an image outlives a crash of the machine, which a step of a build need not,
    /// and gives it names.
    pub fn image_keep(&self, id: &ImageId, names: &[Reference]) -> Result<(), WriteError> {
        self.inner.image_keep(id, None, names)
    }

    /// Whether an image is for a platform, or runs there: its configuration says so, or an index that it came
    /// by does, for there are configurations that are wrong.
    pub fn image_fits(&self, image: &Image, wanted: &Platform) -> bool {
        if image.config.platform().fitness(wanted).is_some() {
            return true;
        }
        let sources: BTreeSet<Digest> = {
            let tables = self.inner.tables();
            let names = tables.names.values().filter(|named| named.image == image.id);
            let record = tables.images.get(&image.id).and_then(|record| record.source.as_ref());
            let targets = names.filter_map(|named| named.target.as_ref()).chain(record);
            targets.map(|target| target.digest.clone()).collect()
        };
        sources.iter().any(|source| in_place(|| self.inner.offers(source, &image.id, wanted)))
    }

    /// Keeps an image from being removed while what is given back is held.
    pub fn image_hold(&self, id: &ImageId) -> Result<ImageHold, FindError> {
        let mut tables = self.inner.tables();
        if !tables.images.contains_key(id) {
            return Err(FindError::NotFound { name: id.to_string() });
        }
        Ok(ImageHold::new(&self.inner, &mut tables, id.clone()))
    }

    /// Makes an image; on disk when this returns.
    pub fn image_create(&self, new: NewImage) -> Result<Image, WriteError> {
        let names: Vec<Reference> = new.name.iter().cloned().collect();
        let (config, parent, _layer) = self.configure(new)?;
        let document = Kept::of(config.to_bytes_checked()?);
        let record = NewRecord { document: &document, config: &config, parent, names: &names, source: None };
        self.inner.image_put(&[record])?;
        Ok(self.inner.image(&ImageId(document.digest().clone()))?)
    }

    /// Makes an image of a step of a build. It can be done again, so nothing is waited for: a crash
    /// of the machine may take it, unless [`Store::image_keep`] was called.
    pub fn image_create_step(&self, new: NewImage) -> Result<(Image, ImageHold), WriteError> {
        let (config, parent, _layer) = self.configure(new)?;
        let document = Kept::of(config.to_bytes_checked()?);
        let hold = {
            let id = ImageId(document.digest().clone());
            let mut tables = self.inner.tables();
            self.inner.blob_write(&document, true)?;
            tables.set_unflushed(&id.0);
            if !tables.images.contains_key(&id) {
                let record = ImageRecord { parent, layers: config.chain_ids(), ..ImageRecord::default() };
                tables.image_insert(id.clone(), record);
                tables.set_pending(&id);
            }
            ImageHold::new(&self.inner, &mut tables, id)
        };
        self.inner.janitor.keep_later();
        Ok((self.inner.image(&hold.id)?, hold))
    }

    /// The configuration of an image that is to be made, with its parent and its own layer.
    fn configure(&self, new: NewImage) -> Result<(ImageConfig, Option<ImageId>, Option<Layer>), WriteError> {
        let mut config = match &new.parent {
            Some(parent) => {
                let mut config = (*self.inner.image(parent)?.config).clone();
                if let Some(platform) = &new.platform {
                    config.architecture = platform.architecture.clone();
                    config.variant = platform.variant.clone();
                    config.os = platform.os.clone();
                }
                config
            }
            None => ImageConfig::for_platform(&new.platform.clone().unwrap_or_else(Platform::host)),
        };
        let created = new.created.to_string();
        config.config = new.config;
        config.container_config = (!new.command.is_empty()).then(|| {
            Verbatim::from(&ContainerConfig { cmd: Some(new.command), ..ContainerConfig::default() })
        });
        config.author.clone_from(&new.author);
        config.created = Some(created.clone());
        config.history.push(History {
            created: Some(created),
            created_by: new.created_by,
            author: new.author,
            comment: new.comment,
            empty_layer: new.layer.is_none(),
        });
        config.rootfs.diff_ids.extend(new.layer.iter().map(|layer| layer.diff_id().clone()));
        Ok((config, new.parent, new.layer))
    }
}

impl ImageHold {
    fn new(inner: &Arc<Inner>, tables: &mut Tables, id: ImageId) -> Self {
        tables.work_begin(&id);
        Self { inner: inner.clone(), id }
    }
}

impl Drop for ImageHold {
    fn drop(&mut self) {
        self.inner.tables().work_end(&self.id);
    }
}

impl Inner {
    /// As [`Store::image_keep`]; the names lead to `target`, or to what the image is known as.
    fn image_keep(
        &self,
        id: &ImageId,
        target: Option<&Content>,
        names: &[Reference],
    ) -> Result<(), WriteError> {
        let mut tables = self.flushed(&BTreeSet::new(), &BTreeSet::from([id.clone()]))?;
        self.name_set(&mut tables, id, target, names)
    }

    /// Whether the index `source`, if it is one and here, offers an image for a platform.
    fn offers(&self, source: &Digest, id: &ImageId, wanted: &Platform) -> bool {
        let Ok(kept) = self.blob_read(source) else { return false };
        let Ok(Document::Index(index)) = Document::parse(kept.bytes(), None) else { return false };
        let tables = self.tables();
        index.manifests.iter().any(|entry| {
            let fits = entry.platform.as_ref().is_some_and(|of| of.fitness(wanted).is_some());
            fits && tables.leads_to(&entry.digest, &id.0)
        })
    }

    /// The image `id` with its configuration.
    pub(crate) fn image(&self, id: &ImageId) -> Result<Image, FindError> {
        let (record, size, names) = {
            let tables = self.tables();
            let record = tables.images.get(id).ok_or_else(|| FindError::NotFound { name: id.to_string() })?;
            let names: Vec<Reference> = tables.names_of(id).cloned().collect();
            (record.clone(), tables.image_size(record), names)
        };
        let read_error = |source| FindError::Read { id: id.0.clone(), source };
        let document = in_place(|| self.blob_read(&id.0)).map_err(read_error)?;
        let config = ImageConfig::parse(document.bytes()).map_err(|error| read_error(error.into()))?;
        let (tags, digests) = names.into_iter().partition(|name| name.tag().is_some());
        Ok(Image {
            id: id.clone(),
            config: Arc::new(config),
            tags,
            digests,
            layers: record.layers,
            size,
            parent: record.parent,
            tagged_at: record.tagged_at,
        })
    }
}

impl Tables {
    /// Points a name at an image.
    pub(crate) fn name_put(&mut self, name: &Reference, named: Named) {
        self.names.insert(name.with_default_tag(), named);
    }

    /// What the name that `text` is leads to.
    pub(crate) fn name_of(&self, text: &str) -> Option<&Named> {
        let reference = Reference::parse(text).ok()?;
        match reference.digest() {
            Some(digest) => self.name_with_digest(&reference, digest),
            None => self.names.get(&reference.with_default_tag()),
        }
    }

    /// What a name with a digest leads to: what a registry had under it, or what one of the repository's
    /// other names leads to, if that is the digest of it or of the image's manifest in it.
    fn name_with_digest(&self, reference: &Reference, digest: &Digest) -> Option<&Named> {
        self.names.get(&reference.with_digest(digest.clone())).or_else(|| {
            let same =
                |name: &Reference| name.domain() == reference.domain() && name.path() == reference.path();
            let mut of_repository = self.names.iter().filter(|(name, _)| same(name));
            let found = of_repository.find(|(_, named)| {
                named
                    .target
                    .as_ref()
                    .is_some_and(|target| self.is_known_as(&named.image, &target.digest, digest))
            });
            found.map(|(_, named)| named)
        })
    }

    /// Whether `digest` is that of `source`, as what an image is known, or of its manifest in there.
    fn is_known_as(&self, id: &ImageId, source: &Digest, digest: &Digest) -> bool {
        source == digest || self.leads_to(source, digest) && self.leads_to(digest, &id.0)
    }

    /// What a person means by `text`: a name first, then an id or manifest, then the beginning of an id.
    pub(crate) fn resolve(&self, text: &str) -> Result<ImageId, FindError> {
        let not_found = || FindError::NotFound { name: text.to_owned() };
        if let Ok(digest) = Digest::parse(text) {
            let id = ImageId(digest);
            if self.images.contains_key(&id) {
                return Ok(id);
            }
            let known = self.images.iter().find(|(image, record)| {
                let sources = record.source.iter().chain(
                    self.names
                        .values()
                        .filter(|named| named.image == **image)
                        .filter_map(|named| named.target.as_ref()),
                );
                sources.into_iter().any(|source| self.is_known_as(image, &source.digest, &id.0))
            });
            return known.map(|(id, _)| id.clone()).ok_or_else(not_found);
        }
        let named = match Reference::parse(text) {
            Ok(_) => match self.name_of(text) {
                Some(named) => return Ok(named.image.clone()),
                None => Ok(()),
            },
            Err(error) => Err(error),
        };
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        if !prefix.is_empty() && prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            let mut matching = self.images.keys().filter(|id| id.0.hex().starts_with(prefix));
            match (matching.next(), matching.next()) {
                (Some(id), None) => return Ok(id.clone()),
                (Some(_), Some(_)) => return Err(FindError::Ambiguous { prefix: prefix.to_owned() }),
                (None, _) => {}
            }
        }
        match named {
            Err(ParseReferenceError::LooksLikeId(_)) | Ok(()) => Err(not_found()),
            Err(source) => Err(FindError::Name { name: text.to_owned(), source }),
        }
    }
}
