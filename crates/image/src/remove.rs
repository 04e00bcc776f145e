//! Taking images away: untag, delete, prune, and what the disk holds.

use std::collections::{BTreeMap, HashMap, HashSet};

use oci::{Digest, Reference};

use crate::error::Kind;
use crate::image::{FindError, Image, ImageId};
use crate::state::{ImageRecord, Named};
use crate::store::{Inner, Store, Tables, WriteError};

/// How an image is to be removed.
#[derive(Clone, Debug, Default)]
pub struct RemoveOptions {
    /// Remove all names, and remove even if a stopped container uses the image.
    pub force: bool,
    /// Keep parents that are left without name and child.
    pub keep_parents: bool,
    /// Images of running containers: never removed.
    pub running: HashSet<ImageId>,
    /// Images of containers that do not run: removed only by force.
    pub stopped: HashSet<ImageId>,
}

/// One thing that was taken away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Removal {
    /// A name.
    Untagged(Reference),
    /// An image.
    Deleted(ImageId),
}

/// Why an image is not removed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Conflict {
    /// A running container uses it.
    #[error("image {} is being used by a running container", .0.short())]
    Running(ImageId),
    /// A build under way uses it.
    #[error("image {} is being used by a running build", .0.short())]
    InWork(ImageId),
    /// A container uses it, and would be left with an image without a name.
    #[error("image {} is being used by a container (must force)", .0.short())]
    Named(ImageId),
    /// A stopped container uses it.
    #[error("image {} is being used by a stopped container (must force)", .0.short())]
    Stopped(ImageId),
    /// It was named by id and has names in several repositories.
    #[error("image {} is referenced in multiple repositories (must force)", .0.short())]
    ManyNames(ImageId),
    /// Another image was made from it.
    #[error("image {} has dependent child images", .0.short())]
    Children(ImageId),
    /// It is known by the digest that was named, which is none of its names.
    #[error("image {} has no such name: remove it by one of its names, or by its id", .0.short())]
    NoName(ImageId),
}

/// Why an image could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is no such image.
    #[error(transparent)]
    Find(#[from] FindError),
    /// Something needs it.
    #[error("unable to remove `{name}`")]
    Conflict {
        /// What was asked for.
        name: String,
        /// What needs it.
        source: Conflict,
    },
    /// The change could not be stored.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What a prune took away.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pruned {
    /// Names and images.
    pub removed: Vec<Removal>,
    /// Bytes given back.
    pub reclaimed: u64,
}

/// What the store holds on disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DiskUsage {
    /// Bytes of all layers, each counted once, and of what is kept of them as it came.
    pub layers: u64,
    /// For each image the bytes that it shares with others.
    pub shared: Vec<(ImageId, u64)>,
}

impl RemoveError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            RemoveError::Find(error) => error.kind(),
            RemoveError::Conflict { .. } => Kind::Conflict,
            RemoveError::Write(error) => error.kind(),
        }
    }
}

impl Store {
    /// Removes a name, and the image with its last name; by id, the image with its names.
    ///
    /// As Docker has it: by id, an image goes that has one tag at most, and names in one repository; with more
    /// only by force; one that others are built on only loses its names. With the last tag of a repository, its
    /// names with digests go; what is left of other repositories keeps the image. A name with a digest goes
    /// alone, and only if it is one: not what an image is found by besides, such as the digest of a manifest in
    /// its index.
    pub fn image_remove(&self, name: &str, options: &RemoveOptions) -> Result<Vec<Removal>, RemoveError> {
        let conflict = |source| RemoveError::Conflict { name: name.to_owned(), source };
        let mut tables = self.inner.tables();
        let id = tables.resolve(name)?;
        let by_name = Reference::parse(name).ok().map(|reference| match reference.digest() {
            Some(digest) => reference.with_digest(digest.clone()),
            None => reference.with_default_tag(),
        });
        let is_name =
            |reference: &Reference| tables.names.get(reference).is_some_and(|named| named.image == id);
        if by_name.as_ref().is_some_and(|reference| reference.digest().is_some() && !is_name(reference)) {
            return Err(conflict(Conflict::NoName(id)));
        }
        let by_name = by_name.filter(is_name);
        let names: Vec<Reference> = tables.names_of(&id).cloned().collect();
        let mut removed = Vec::new();
        let untag = by_name.as_ref().map_or_else(|| names.clone(), |reference| going_with(reference, &names));
        let (running, stopped) = (options.running.contains(&id), options.stopped.contains(&id));
        let mut deletes = untag.len() == names.len();
        if by_name.is_some() {
            if deletes && (running || stopped) && !options.force {
                return Err(conflict(Conflict::Named(id)));
            }
            // By force its last name goes, as with Docker; the image itself stays while it is needed.
            deletes &= !running && !tables.is_in_work(&id);
        } else {
            if tables.children_of(&id).next().is_some() {
                return Err(conflict(Conflict::Children(id)));
            }
            if running {
                return Err(conflict(Conflict::Running(id)));
            }
            if tables.is_in_work(&id) {
                return Err(conflict(Conflict::InWork(id)));
            }
            if !options.force && !names.is_empty() && !are_one(&names) {
                return Err(conflict(Conflict::ManyNames(id)));
            }
            if stopped && !options.force {
                return Err(conflict(Conflict::Stopped(id)));
            }
        }
        let before = (tables.names.clone(), tables.images.clone());
        for name in untag {
            tables.names.remove(&name);
            removed.push(Removal::Untagged(name));
        }
        let mut taken = Vec::new();
        if deletes {
            let in_use = |id: &ImageId| options.running.contains(id) || options.stopped.contains(id);
            take_with_parents(&mut tables, id, options.keep_parents, &in_use, &mut taken);
        }
        removed.extend(taken.iter().map(|(id, _)| Removal::Deleted(id.clone())));
        self.inner.complete_removal(&mut tables, before, taken)?;
        Ok(removed)
    }

    /// Removes every image that `wanted` lets go and nothing else needs. With `unnamed_only`, named
    /// images stay, whatever `wanted` says; otherwise those that are needed lose names, as with Docker: all
    /// but one where a container uses them, all where others are only built on them.
    pub fn image_prune(
        &self,
        unnamed_only: bool,
        in_use: &HashSet<ImageId>,
        wanted: impl Fn(&Image) -> bool,
    ) -> Result<Pruned, RemoveError> {
        let candidates: Vec<ImageId> = self
            .image_list()
            .into_iter()
            .filter(|image| !unnamed_only || (image.tags.is_empty() && !in_use.contains(&image.id)))
            .filter(|image| wanted(image))
            .map(|image| image.id)
            .collect();
        let before = self.inner.content_size(&self.inner.tables());
        self.inner.leases_expire();
        let mut tables = self.inner.tables();
        let mut pruned = Pruned::default();
        let names_and_images = (tables.names.clone(), tables.images.clone());
        let mut taken = Vec::new();
        for id in candidates {
            // It may be gone as the parent of another, got a name, or have images built on it.
            let named = tables.names_of(&id).any(|name| name.tag().is_some());
            let is_base = tables.children_of(&id).next().is_some();
            if !tables.images.contains_key(&id)
                || tables.is_in_work(&id)
                || (unnamed_only && (named || is_base))
            {
                continue;
            }
            let mut names: Vec<Reference> = tables.names_of(&id).cloned().collect();
            let stays = in_use.contains(&id);
            if stays {
                // Of what a container uses the names go as long as there are others.
                let mut left = names.clone();
                names = Vec::new();
                while let Some(name) = left.first().filter(|_| !are_one(&left)).cloned() {
                    let going = going_with(&name, &left);
                    left.retain(|name| !going.contains(name));
                    names.extend(going);
                }
            }
            for name in names {
                tables.names.remove(&name);
                pruned.removed.push(Removal::Untagged(name));
            }
            if stays || is_base {
                continue;
            }
            let in_use = |id: &ImageId| in_use.contains(id);
            let mut gone = Vec::new();
            take_with_parents(&mut tables, id, false, &in_use, &mut gone);
            pruned.removed.extend(gone.iter().map(|(id, _)| Removal::Deleted(id.clone())));
            taken.extend(gone);
        }
        if !pruned.removed.is_empty() {
            self.inner.complete_removal(&mut tables, names_and_images, taken)?;
        }
        let after = self.inner.content_size(&tables);
        pruned.reclaimed = before.saturating_sub(after);
        Ok(pruned)
    }

    /// What the images take on disk.
    pub fn disk_usage(&self) -> DiskUsage {
        let tables = self.inner.tables();
        let mut users: HashMap<&Digest, usize> = HashMap::new();
        for record in tables.images.values() {
            for chain_id in &record.layers {
                *users.entry(chain_id).or_default() += 1;
            }
        }
        let shared_size = |record: &ImageRecord| {
            let shared = record.layers.iter().filter(|chain_id| users.get(chain_id).is_some_and(|&n| n > 1));
            shared.filter_map(|chain_id| tables.layer(chain_id)).map(|layer| layer.size).sum()
        };
        DiskUsage {
            layers: self.inner.content_size(&tables),
            shared: tables.images.iter().map(|(id, record)| (id.clone(), shared_size(record))).collect(),
        }
    }
}

impl Inner {
    /// Writes down that images are gone, then takes their files away: what the state names is there.
    /// If it cannot be written down, everything is as it was `before`.
    fn complete_removal(
        &self,
        tables: &mut Tables,
        before: (BTreeMap<Reference, Named>, BTreeMap<ImageId, ImageRecord>),
        taken: Vec<(ImageId, ImageRecord)>,
    ) -> Result<(), WriteError> {
        if let Err(error) = self.persist_removal(tables) {
            (tables.names, tables.images) = before;
            return Err(error);
        }
        for (id, record) in taken {
            self.image_sweep(tables, &id, &record);
        }
        let gone = before.0.iter().filter(|(name, _)| !tables.names.contains_key(*name));
        let targets: Vec<Digest> =
            gone.filter_map(|(_, named)| Some(named.target.as_ref()?.digest.clone())).collect();
        self.content_sweep(tables, targets);
        Ok(())
    }
}

/// Takes an image out of the tables unless others are built on it, then its parents that nothing holds.
fn take_with_parents(
    tables: &mut Tables,
    id: ImageId,
    keep_parents: bool,
    in_use: &dyn Fn(&ImageId) -> bool,
    taken: &mut Vec<(ImageId, ImageRecord)>,
) {
    let mut next = Some(id);
    while let Some(id) = next {
        if tables.children_of(&id).next().is_some() {
            return;
        }
        let Some(record) = tables.image_take(&id) else { return };
        let parent = record.parent.clone();
        taken.push((id, record));
        next = parent.filter(|parent| {
            !keep_parents
                && !in_use(parent)
                && !tables.is_in_work(parent)
                && tables.images.contains_key(parent)
                && tables.names_of(parent).next().is_none()
        });
    }
}

/// The names that go when one does: with the last tag of a repository, those with digests in it.
fn going_with(name: &Reference, names: &[Reference]) -> Vec<Reference> {
    let has_tag =
        |other: &Reference| other.tag().is_some() && other.digest().is_none() && same_name(other, name);
    let is_last = name.digest().is_none() && !names.iter().any(|other| other != name && has_tag(other));
    let goes = |other: &&Reference| {
        *other == name || (is_last && other.digest().is_some() && same_name(other, name))
    };
    names.iter().filter(goes).cloned().collect()
}

/// Whether names count as one: a tag at most, and all in one repository.
fn are_one(names: &[Reference]) -> bool {
    let tags = names.iter().filter(|name| name.digest().is_none()).count();
    names.first().is_some_and(|first| tags <= 1 && names.iter().all(|name| same_name(name, first)))
}

fn same_name(a: &Reference, b: &Reference) -> bool {
    a.domain() == b.domain() && a.path() == b.path()
}
