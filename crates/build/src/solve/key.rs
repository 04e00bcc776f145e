//! What an operation is known by: itself, without what changes nothing, and what it stands on, by content.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::{Digest, Hasher};

use super::job::Job;
use super::value::{self, Value};
use super::{SolveError, work};
use crate::files::hash_entries;
use crate::ignore::Ignore;

/// The version of all keys: what was remembered under another is not found.
const VERSION: &str = "1";

/// A key that is put together.
pub(crate) struct Key {
    hasher: Hasher,
}

/// What of an input counts.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// The paths in it.
    pub(crate) path: String,
    pub(crate) wildcard: bool,
    pub(crate) follow: bool,
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
    /// Whether it counts whom files belong to.
    pub(crate) owners: bool,
}

impl Key {
    pub(crate) fn new(kind: &str) -> Self {
        let mut key = Self { hasher: Hasher::sha256() };
        key.add(VERSION);
        key.add(kind);
        key
    }

    /// Adds a part; no two lists of parts look the same.
    pub(crate) fn add(&mut self, part: impl AsRef<[u8]>) {
        let part = part.as_ref();
        self.hasher.update(format!("{}:", part.len()).as_bytes());
        self.hasher.update(part);
    }

    /// Adds all of an input.
    pub(crate) async fn add_whole(&mut self, job: &Job, value: &Value) -> Result<(), SolveError> {
        let identity = match value.identity() {
            Some(identity) => identity,
            None => whole(job, value).await?.to_string(),
        };
        self.add(identity);
        Ok(())
    }

    /// Adds what is selected of an input.
    pub(crate) async fn add_selected(
        &mut self,
        job: &Job,
        value: &Value,
        selection: Selection,
    ) -> Result<(), SolveError> {
        self.add(selected(job, value, selection).await?.to_string());
        Ok(())
    }

    pub(crate) fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

async fn whole(job: &Job, value: &Value) -> Result<Digest, SolveError> {
    let tree = value::tree(job, value).await?;
    work(move || {
        let entries = tree.tree.entries(Path::new(""), &Ignore::default())?;
        Ok(hash_entries(&tree.tree, &entries, true)?)
    })
    .await
}

/// The digest of what is selected of a value: names, kinds, modes, contents; not times. What is not there counts
/// as that.
async fn selected(job: &Job, value: &Value, selection: Selection) -> Result<Digest, SolveError> {
    let identity = value.identity();
    let remembered =
        identity.map(|identity| Digest::sha256_of(format!("{identity} {selection:?}").as_bytes()));
    let hashes = Arc::clone(&job.inner.solver.inner.usage.hashes);
    if let Some(known) = remembered.as_ref().and_then(|key| hashes.get(key)) {
        return Ok(known);
    }
    let tree = value::tree(job, value).await?;
    let digest = work(move || hash(&tree.tree, &selection)).await?;
    if let Some(key) = remembered {
        hashes.put(key, digest.clone());
    }
    Ok(digest)
}

fn hash(tree: &crate::files::Tree, selection: &Selection) -> Result<Digest, SolveError> {
    let paths: Vec<PathBuf> = match selection.wildcard {
        true => tree.select(&selection.path)?,
        false => vec![PathBuf::from(crate::ignore::clean(&selection.path))],
    };
    let mut hasher = Hasher::sha256();
    let filter = super::file::Filter::new(&selection.include, &selection.exclude)?;
    for path in paths {
        // A name counts where it was not written out.
        if selection.wildcard {
            hasher.update(path.as_os_str().as_encoded_bytes());
        }
        match super::file::entries(tree, &path, selection.follow, &filter) {
            Ok(entries) => {
                hasher.update(hash_entries(tree, &entries, selection.owners)?.to_string().as_bytes())
            }
            Err(SolveError::NotFound(_)) => hasher.update(b"missing"),
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finish())
}
