//! What lies in a store's directory, read and judged before anything is changed.
//!
//! Nothing here writes. Whatever cannot be understood is told as a [`Trouble`], and the survey is
//! then not [clear](Survey::is_clear): while it is not, opening the store collects nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use base::{RecordError, Trouble};
use oci::{Digest, Document, ImageConfig};

use super::OpenError;
use super::journal::{Replayed, log_path};
use crate::content::DEPTH_MAX;
use crate::image::ImageId;
use crate::state::{ImageRecord, LayerRecord, SnapshotRecord, State};

/// How a list of images is called that was damaged.
pub(super) const DAMAGED_STATE: &str = "state.json.damaged-";

/// What was found.
#[derive(Default)]
pub(super) struct Survey {
    /// Images and names; none where there never were any.
    pub(super) state: State,
    /// Whether there is nothing yet.
    pub(super) is_new: bool,
    /// Whether `state.json` is there but damaged, so that `state` is what could be put together.
    pub(super) is_rebuilt: bool,
    /// Whether its log is damaged or gone, so that `state` is what was before.
    pub(super) is_damaged: bool,
    /// Parents before those that lie on them.
    pub(super) layers: Vec<LayerRecord>,
    /// Directories of layers whose record is empty: the machine lost power before they were flushed.
    pub(super) torn_layers: Vec<String>,
    /// Those whose record cannot be read otherwise.
    pub(super) unread_layers: Vec<String>,
    pub(super) snapshots: BTreeMap<String, SnapshotRecord>,
    /// Snapshots whose record cannot be read, and whether it is merely empty.
    pub(super) unread_snapshots: BTreeMap<String, bool>,
    /// What manifests and indexes lead to that something needs.
    pub(super) documents: BTreeMap<Digest, Vec<Digest>>,
    pub(super) troubles: Vec<Trouble>,
}

impl Survey {
    /// Looks at the store in `root`. Refuses a state of a later version, and one that the disk does
    /// not give: either would be lost by going on without it.
    pub(super) fn of(root: &Path) -> Result<Self, OpenError> {
        let mut survey = Self::default();
        let path = root.join("state.json");
        let read = base::record::read::<State>(&path);
        survey.read_layers(&root.join("layers"));
        survey.read_snapshots(&root.join("snapshots"));
        match read {
            Ok(mut state) => {
                let replayed = state.replay(root);
                let replayed = replayed.map_err(|source| OpenError::Io { path: path.clone(), source })?;
                let problem = match replayed {
                    Replayed::Whole => None,
                    Replayed::Damaged => Some("a change in it is damaged; what came after"),
                    Replayed::Missing => Some("it is missing; what was in it"),
                };
                if let Some(problem) = problem {
                    let log = log_path(root, state.log.as_deref().unwrap_or_default());
                    let problem =
                        format!("{problem} is lost, but for what is on disk (docker tag gives names back)");
                    survey.tell("the log of images".to_owned(), &log, &problem);
                    survey.is_damaged = true;
                }
                survey.state = state;
                if survey.is_damaged {
                    survey.rebuild(root);
                }
            }
            Err(RecordError::Missing) if survey.layers.is_empty() => survey.is_new = true,
            Err(RecordError::Newer { version, known }) => {
                return Err(OpenError::Version { path, version, known });
            }
            Err(RecordError::Io(source)) => return Err(OpenError::Io { path, source }),
            Err(error @ (RecordError::Missing | RecordError::Damaged(_))) => {
                survey.troubles.push(Trouble::saying(
                    "the list of images",
                    &path,
                    format!(
                        "{}; the images are there as far as their files are, without their names (docker tag gives them back)",
                        base::error::chain(&error)
                    ),
                ));
                survey.is_rebuilt = true;
                survey.rebuild(root);
            }
        }
        survey.tell_of_damaged_states(root);
        survey.sort_torn_layers(&root.join("layers"));
        survey.check_images(root);
        survey.read_documents(root);
        Ok(survey)
    }

    /// Whether everything was understood.
    pub(super) fn is_clear(&self) -> bool {
        self.troubles.is_empty()
    }

    fn read_layers(&mut self, directory: &Path) {
        let mut records = Vec::new();
        for path in self.entries("the layers", directory) {
            let name = file_name(&path);
            let found = base::record::read::<LayerRecord>(&path.join("layer.json"));
            match found {
                Ok(record) if record.chain_id.hex() == name => records.push(record),
                Ok(_) => {
                    self.tell(format!("layer {name}"), &path, "its record is another layer's");
                    self.unread_layers.push(name);
                }
                Err(_) if is_empty(&path.join("layer.json")) => self.torn_layers.push(name),
                Err(error) => {
                    self.troubles.push(Trouble::new(format!("layer {name}"), &path, &error));
                    self.unread_layers.push(name);
                }
            }
        }
        // Parents first, so that every layer finds its parent in the table.
        let known: BTreeSet<Digest> = records.iter().map(|record| record.chain_id.clone()).collect();
        let mut placed: BTreeSet<Digest> = BTreeSet::new();
        while !records.is_empty() {
            let (ready, waiting): (Vec<_>, Vec<_>) = records.into_iter().partition(|record| {
                record.parent.as_ref().is_none_or(|parent| placed.contains(parent) || !known.contains(parent))
            });
            if ready.is_empty() {
                for record in &waiting {
                    let path = directory.join(record.chain_id.hex());
                    self.tell(format!("layer {}", record.chain_id), &path, "it lies on itself");
                    self.unread_layers.push(record.chain_id.hex().to_owned());
                }
                return;
            }
            placed.extend(ready.iter().map(|record| record.chain_id.clone()));
            self.layers.extend(ready);
            records = waiting;
        }
    }

    fn read_snapshots(&mut self, directory: &Path) {
        for path in self.entries("the containers' files", directory) {
            let name = file_name(&path);
            let record = path.join("snapshot.json");
            match base::record::read::<SnapshotRecord>(&record) {
                Ok(record) => {
                    self.snapshots.insert(name, record);
                }
                Err(error) => {
                    self.unread_snapshots.insert(name.clone(), is_empty(&record));
                    self.troubles.push(Trouble::new(format!("the files of container {name}"), &path, &error));
                }
            }
        }
    }

    /// An empty record is of a layer that was unpacked when the machine lost power, unless an image
    /// needs it: an image is recorded only after its layers were flushed. Or a container: it is told of what it
    /// stood on.
    fn sort_torn_layers(&mut self, directory: &Path) {
        let of_images = self.state.images.values().flat_map(|image| &image.layers);
        let of_snapshots = self.snapshots.values().filter_map(|snapshot| snapshot.chain_id.as_ref());
        let needed: BTreeSet<&str> = of_images.chain(of_snapshots).map(Digest::hex).collect();
        let rebuilt = self.is_rebuilt;
        let (told, torn) =
            self.torn_layers.drain(..).partition(|name| rebuilt || needed.contains(name.as_str()));
        self.torn_layers = torn;
        let told: Vec<String> = told;
        for name in told {
            self.tell(format!("layer {name}"), &directory.join(&name), "its record is empty");
            self.unread_layers.push(name);
        }
    }

    /// Tells of images that cannot be used as they are. They stay known: what is missing may come
    /// back, by hand or by pulling the image again.
    fn check_images(&mut self, root: &Path) {
        let layers: BTreeSet<&Digest> = self.layers.iter().map(|record| &record.chain_id).collect();
        let mut troubles = Vec::new();
        for (id, record) in &self.state.images {
            let path = blob_path(root, &id.0);
            let problem = match base::record::read_plain(&path) {
                Err(error) => Some((path, format!("its configuration cannot be read: {error}"))),
                Ok(content) => match id.0.verify(&content) {
                    Err(_) => Some((path, "its configuration is damaged".to_owned())),
                    Ok(()) => {
                        record.layers.iter().find(|chain_id| !layers.contains(chain_id)).map(|missing| {
                            (
                                root.join("layers").join(missing.hex()),
                                "a layer of it cannot be used".to_owned(),
                            )
                        })
                    }
                },
            };
            if let Some((path, problem)) = problem {
                let names: Vec<String> = self
                    .state
                    .names
                    .iter()
                    .filter(|(_, named)| named.image == *id)
                    .map(|(name, _)| name.familiar())
                    .collect();
                let names = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
                let problem = format!("{problem}; pull, load or build it again, or remove it");
                troubles.push(Trouble::saying(format!("image {}{names}", id.short()), &path, problem));
            }
        }
        self.troubles.extend(troubles);
    }

    /// Reads the manifests and indexes that names and images lead to. What is not here need not be: of an
    /// index there is what was wanted. What is damaged leads nowhere, and is missed when the image goes out
    /// the next time, which then goes out as another.
    fn read_documents(&mut self, root: &Path) {
        let sources = self.state.images.values().filter_map(|image| image.source.as_ref());
        let targets = self.state.names.values().filter_map(|named| named.target.as_ref());
        let mut next: Vec<(Digest, usize)> =
            sources.chain(targets).map(|content| (content.digest.clone(), 1)).collect();
        while let Some((digest, depth)) = next.pop() {
            if self.documents.contains_key(&digest) {
                continue;
            }
            let Ok(bytes) = base::record::read_plain(&blob_path(root, &digest)) else { continue };
            if digest.verify(&bytes).is_err() {
                continue;
            }
            let Ok(document) = Document::parse(&bytes, None) else { continue };
            let links: Vec<Digest> = document.links().iter().map(|link| link.digest.clone()).collect();
            if matches!(document, Document::Index(_)) && depth < DEPTH_MAX {
                next.extend(links.iter().map(|link| (link.clone(), depth + 1)));
            }
            self.documents.insert(digest, links);
        }
    }

    /// Earlier lists of images that could not be read: while one is kept, its layers are.
    fn tell_of_damaged_states(&mut self, root: &Path) {
        for path in self.entries("the image store", root) {
            // Its log is told with it, which is called as it is, with the log's own name behind.
            let name = file_name(&path);
            let log = name.strip_suffix(".log");
            let lists = log.into_iter().chain(log.and_then(|log| Some(log.rsplit_once('.')?.0)));
            let is_there = |list: &str| list.starts_with(DAMAGED_STATE) && root.join(list).exists();
            let has_list = lists.into_iter().any(is_there);
            if name.starts_with(DAMAGED_STATE) && !has_list {
                let problem = "the list of images could not be read once, and names may be in it; remove it when they are not missed";
                self.tell("an earlier list of images".to_owned(), &path, problem);
            }
        }
    }

    /// Puts the images together that are not known from their configurations, which are named by their digests.
    fn rebuild(&mut self, root: &Path) {
        let layers: BTreeSet<&Digest> = self.layers.iter().map(|record| &record.chain_id).collect();
        let mut images = std::mem::take(&mut self.state.images);
        for algorithm in ["sha256", "sha512"] {
            let directory = root.join("blobs").join(algorithm);
            for path in base::fs::entries(&directory).unwrap_or_default() {
                let Ok(digest) = Digest::parse(&format!("{algorithm}:{}", file_name(&path))) else {
                    continue;
                };
                let Ok(content) = base::record::read_plain(&path) else { continue };
                let Ok(config) = ImageConfig::parse(&content) else { continue };
                let chain_ids = config.chain_ids();
                if digest.verify(&content).is_ok()
                    && chain_ids.iter().all(|chain_id| layers.contains(chain_id))
                {
                    let record = ImageRecord { layers: chain_ids, ..ImageRecord::default() };
                    images.entry(ImageId(digest)).or_insert(record);
                }
            }
        }
        self.state.images = images;
    }

    /// What is in a directory. One that cannot be read hides everything in it, which is told.
    fn entries(&mut self, subject: &str, directory: &Path) -> Vec<PathBuf> {
        base::fs::entries(directory).unwrap_or_else(|error| {
            self.troubles.push(Trouble::new(subject, directory, &error));
            Vec::new()
        })
    }

    fn tell(&mut self, subject: String, path: &Path, problem: &str) {
        self.troubles.push(Trouble::saying(subject, path, problem));
    }
}

/// Where the document with this digest is.
pub(crate) fn blob_path(root: &Path, digest: &Digest) -> PathBuf {
    root.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_empty(path: &Path) -> bool {
    let metadata: io::Result<std::fs::Metadata> = path.metadata();
    metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
}
