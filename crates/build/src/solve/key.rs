//! What an operation is known by: itself, without what changes nothing, and what it stands on, by content.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::{Digest, Hasher};
use rustix::fs::FileType;

use super::SolveError;
use super::job::Job;
use super::usage::FileDigests;
use super::value::{self, Value};
use crate::files::{Entry, FileError, Tree, hash_entries_by, read_into};
use crate::ignore::Ignore;

/// The version of all keys: what was remembered under another is not found.
const VERSION: &str = "3";

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
    /// Whether what is found comes along under its name: a directory's content does not.
    pub(crate) named: Named,
}

/// What of what is selected has a name that counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Named {
    /// Nothing.
    None,
    /// All but directories, whose content is meant.
    Files,
    /// All.
    All,
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
        // What is called by a digest is told from what has one by its sort: an archive may be made to have any that
        // was worked out here.
        let (sort, identity) = match value.identity() {
            Some(identity) => ("layers", identity),
            None => ("files", whole(job, value).await?.to_string()),
        };
        self.add(sort);
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
        self.add("selected");
        self.add(selected(job, value, selection).await?.to_string());
        Ok(())
    }

    pub(crate) fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

async fn whole(job: &Job, value: &Value) -> Result<Digest, SolveError> {
    let (tree, files) = (value::tree(job, value).await?, known_files(job, value));
    job.blocking(move || {
        let entries = tree.tree.entries(Path::new(""), &Ignore::default())?;
        content(&tree.tree, &entries, true, files.as_deref())
    })
    .await
}

/// The digest of what is selected of a value: names, kinds, modes, contents; not times. What is not there counts
/// as that.
pub(crate) async fn selected(job: &Job, value: &Value, selection: Selection) -> Result<Digest, SolveError> {
    let remembered_of = |value: &Value| {
        let of = |identity| Digest::sha256_of(format!("{VERSION} {identity} {selection:?}").as_bytes());
        value.identity().map(of)
    };
    let remembered = remembered_of(value);
    let hashes = Arc::clone(&job.inner.solver.inner.usage.hashes);
    let note = |key: &Digest, digest: &Digest| {
        job.inner.noted.selections.lock().insert(key.clone(), digest.clone());
    };
    if let Some(key) = &remembered {
        let known = match hashes.get(key) {
            Some(known) => Some(known),
            // What is not here yet may be known by what a cache says of it. A key that rests on that finds something,
            // and nothing is remembered under it: whatever is done has its inputs here, and a key of those.
            None if !value.is_here() => job.inner.imports.selection(job, key).await,
            None => None,
        };
        if let Some(known) = known {
            note(key, &known);
            return Ok(known);
        }
    }
    if let Value::Files(tree) = value {
        let (own, held) = (Digest::sha256_of(format!("{selection:?}").as_bytes()), Arc::clone(tree));
        if let Some(known) = tree.digests.get(&own) {
            return Ok(known);
        }
        let digest = job.blocking(move || hash(&held.tree, &selection, None)).await?;
        tree.digests.put(own, digest.clone());
        return Ok(digest);
    }
    let (tree, files) = (value::tree(job, value).await?, known_files(job, value));
    // What a cache promised and did not have is something else by now.
    let remembered = remembered_of(value);
    let digest = job.blocking(move || hash(&tree.tree, &selection, files.as_deref())).await?;
    if let Some(key) = remembered {
        note(&key, &digest);
        hashes.put(key, digest.clone());
    }
    Ok(digest)
}

/// What is known of a client's files; a layer's never change, and are remembered as a whole.
fn known_files(job: &Job, value: &Value) -> Option<Arc<FileDigests>> {
    matches!(value, Value::Local(_)).then(|| Arc::clone(&job.inner.solver.inner.usage.files))
}

/// The digest of entries, in which a file counts by the digest of its content.
fn content(
    tree: &Tree,
    entries: &[Entry],
    owners: bool,
    known: Option<&FileDigests>,
) -> Result<Digest, SolveError> {
    let mut buffer = vec![0; 128 * 1024];
    let mut add = |entry: &Entry, hasher: &mut Hasher| -> Result<(), FileError> {
        let mut read = || {
            let mut own = Hasher::sha256();
            read_into(tree, entry, &mut own, &mut buffer)?;
            Ok(own.finish())
        };
        let digest = match known {
            Some(known) => known.of(&entry.stat, read)?,
            None => read()?,
        };
        hasher.update(digest.hex().as_bytes());
        Ok(())
    };
    Ok(hash_entries_by(tree, entries, owners, &mut add)?)
}

fn hash(tree: &Tree, selection: &Selection, known: Option<&FileDigests>) -> Result<Digest, SolveError> {
    let paths: Vec<PathBuf> = match selection.wildcard {
        true => tree.select(&selection.path)?,
        false => vec![PathBuf::from(crate::ignore::clean(&selection.path))],
    };
    let mut key = Key::new("selected");
    key.add(paths.len().to_string());
    let filter = super::file::Filter::new(&selection.include, &selection.exclude)?;
    for path in paths {
        match super::file::entries(tree, &path, selection.follow, &filter) {
            Ok(entries) => {
                let is_directory = entries.first().is_some_and(|first| first.kind() == FileType::Directory);
                let counts = match selection.named {
                    Named::None => false,
                    Named::Files => !is_directory,
                    Named::All => true,
                };
                if let Some(name) = path.file_name().filter(|_| counts) {
                    key.add("named");
                    key.add(name.as_encoded_bytes());
                }
                key.add(content(tree, &entries, selection.owners, known)?.to_string());
            }
            Err(SolveError::NotFound(_)) => key.add("missing"),
            Err(error) => return Err(error),
        }
    }
    Ok(key.finish())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, FileTimes, OpenOptions};

    use base::cancel::Cancel;
    use rustix::fs::{Mode, OFlags};

    use super::*;

    fn selection() -> Selection {
        Selection {
            path: "*".to_owned(),
            wildcard: true,
            follow: true,
            include: Vec::new(),
            exclude: Vec::new(),
            owners: true,
            named: Named::Files,
        }
    }

    /// One file whose name is that of two with the digest of the first between them.
    #[test]
    fn no_name_looks_like_the_names_and_digests_of_several_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = |name: &str| {
            let root = directory.path().join(name);
            let root = rustix::fs::open(&root, OFlags::PATH, Mode::empty()).expect("open");
            Tree::new(root, Ignore::default(), &Cancel::default())
        };
        for (at, content) in [("two/a", "one"), ("two/b", "two")] {
            let path = directory.path().join(at);
            fs::create_dir_all(path.parent().expect("a parent")).expect("make");
            fs::write(path, content).expect("write");
        }
        let (two, filter) = (tree("two"), crate::solve::file::Filter::new(&[], &[]).expect("a filter"));
        let entries = crate::solve::file::entries(&two, Path::new("a"), true, &filter);
        let digest = content(&two, &entries.expect("entries"), true, None).expect("a digest");
        let joined = format!("a{digest}b");
        fs::create_dir(directory.path().join("one")).expect("make");
        fs::write(directory.path().join("one").join(joined), "two").expect("write");
        let all = |name: &str| hash(&tree(name), &selection(), None).expect("a digest");
        assert_ne!(all("one"), all("two"));
        assert_eq!(all("two"), all("two"));
    }

    #[test]
    fn a_file_is_read_again_when_it_is_not_what_it_was() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let known = FileDigests::default();
        let digest = |known: Option<&FileDigests>| {
            let root = rustix::fs::open(directory.path(), OFlags::PATH, Mode::empty()).expect("open");
            let tree = Tree::new(root, Ignore::default(), &Cancel::default());
            let entries = tree.entries(Path::new(""), &Ignore::default()).expect("entries");
            content(&tree, &entries, true, known).expect("a digest")
        };
        fs::write(&path, "one").expect("write");
        let one = digest(Some(&known));
        assert_eq!((digest(Some(&known)), digest(None)), (one.clone(), one.clone()));
        // As long as before, and as old: whoever sends it says how old it is.
        let modified = fs::metadata(&path).and_then(|file| file.modified()).expect("a time");
        let other = directory.path().join("other");
        fs::write(&other, "two").expect("write");
        let file = OpenOptions::new().write(true).open(&other).expect("open");
        file.set_times(FileTimes::new().set_modified(modified)).expect("set its time");
        fs::rename(&other, &path).expect("rename");
        let two = digest(Some(&known));
        assert!(two != one && two == digest(None));
        // Touched, and nothing else.
        let file = OpenOptions::new().write(true).open(&path).expect("open");
        file.set_times(FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH)).expect("touch");
        assert_eq!(digest(Some(&known)), two);
    }
}
