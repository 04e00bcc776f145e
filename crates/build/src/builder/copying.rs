//! COPY and ADD.

use std::io::Cursor;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dockerfile::classic::{CopySource, Copying};
use dockerfile::words::expand_text;
use image::{Layer, Store};
use oci::{Digest, Hasher};
use rustix::fs::FileType;

use super::{Builder, Key, STEPS, Stage, nop};
use crate::configure::absolute;
use crate::download::{Downloaded, download, is_address};
use crate::error::BuildError;
use crate::files::{Entry, FileError, Owner, Target, Tree, hash_entries, make_directories, write_file};
use crate::ignore::Ignore;
use crate::owner::resolve_owner;

/// Something that is going to be copied.
enum Item {
    /// Files of a tree.
    Files { tree: Arc<Tree>, entries: Vec<Entry>, digest: Digest },
    /// A file made of text or fetched.
    File { name: String, content: Content, mode: u32, modified: Option<i64>, digest: Digest },
}

/// What a file is called that has no name where it comes from.
const UNNAMED: &str = "__unnamed__";

enum Content {
    Text(Vec<u8>),
    Fetched(Downloaded),
}

impl Item {
    /// What the history calls it, and the digest of what it brings. What is no directory brings its own name
    /// too, by which it is put into one.
    fn identity(&self) -> (&'static str, Digest) {
        let named = |name: &[u8], mode: u32, digest: &Digest| {
            let mut hasher = Hasher::sha256();
            hasher.update(format!("{}:{mode:o}:{digest}:", name.len()).as_bytes());
            hasher.update(name);
            hasher.finish()
        };
        match self {
            Item::Files { entries, digest, .. } => match entries.first() {
                Some(first) if first.kind() != FileType::Directory => {
                    let name = first.path.file_name().unwrap_or_default();
                    ("file", named(name.as_encoded_bytes(), first.stat.st_mode, digest))
                }
                _ => ("dir", digest.clone()),
            },
            Item::File { name, mode, digest, .. } => ("file", named(name.as_bytes(), *mode, digest)),
        }
    }
}

impl Builder {
    pub(super) async fn copy(
        &self,
        stage: &mut Stage,
        keyword: &'static str,
        copying: &Copying,
    ) -> Result<(), BuildError> {
        let failed = |problem: &str| BuildError::Copy { keyword, problem: problem.to_owned() };
        let target = self.expand(stage, &copying.target)?;
        if target.is_empty() {
            return Err(failed("no destination"));
        }
        let into_directory = target.ends_with('/') || target == "." || target.ends_with("/.");
        let items = self.items(stage, keyword, copying, &target).await?;
        if items.is_empty() {
            return Err(failed("no source files were specified"));
        }
        if items.len() > 1 && !into_directory {
            return Err(BuildError::Step(format!(
                "When using {keyword} with more than one source file, the destination must be a directory and end with a /"
            )));
        }
        let path = absolute(&stage.config.working_dir, &target);
        let owner = copying.owner.as_deref().map(|word| self.expand(stage, word)).transpose()?;
        let mode = copying.mode.as_deref().map(|word| self.expand(stage, word)).transpose()?;
        let mode = mode
            .map(|text| {
                parse_mode(&text).ok_or_else(|| failed(&format!("invalid chmod parameter: '{text}'")))
            })
            .transpose()?;
        let what = comment(keyword, &items, &path, into_directory, owner.as_deref(), mode);
        let key = Key::of([nop(stage), vec![format!("#(nop) {what}")]].concat());
        if !self.found_done(stage, &key).await? {
            let unpacks = keyword == "ADD";
            let (path, slash, kept) = (PathBuf::from(path), into_directory, keeps_owners(copying));
            let layer = self
                .layer(stage, move |target| {
                    let mut chosen = match owner {
                        Some(owner) => resolve_owner(target, &owner)
                            .map_err(|problem| BuildError::Copy { keyword, problem })?,
                        None => Owner { kept, ..Owner::default() },
                    };
                    chosen.mode = mode;
                    for item in &items {
                        place(target, item, &path, slash, unpacks, chosen)
                            .map_err(|error| BuildError::copy(keyword, error))?;
                    }
                    Ok(())
                })
                .await?;
            self.commit(stage, &key, layer)?;
        }
        self.arrow(stage).await;
        Ok(())
    }

    /// Finds and hashes everything that is to be copied.
    async fn items(
        &self,
        stage: &Stage,
        keyword: &'static str,
        copying: &Copying,
        target: &str,
    ) -> Result<Vec<Item>, BuildError> {
        let failed = |problem: String| BuildError::Copy { keyword, problem };
        let tree = match &copying.from {
            None => self.context.clone(),
            Some(from) => {
                let from = self.expand(stage, from)?;
                let image = self.source_image(&from).await?;
                Arc::new(Tree::new(self.store.image_mount(&image.id)?, Ignore::default(), &self.cancel))
            }
        };
        let mut exclude = Vec::new();
        for pattern in &copying.exclude {
            exclude.push(self.expand(stage, pattern)?);
        }
        let mut items = Vec::new();
        for source in &copying.sources {
            match source {
                CopySource::Document(document) => {
                    let variables = |name: &str| {
                        stage.config.env_get(name).map(str::to_owned).or_else(|| self.args.get(name))
                    };
                    let text = match document.expand {
                        true => expand_text(&document.content, self.escape, &variables)
                            .map_err(BuildError::Step)?,
                        false => document.content.clone(),
                    };
                    let digest = Digest::sha256_of(text.as_bytes());
                    let content = Content::Text(text.into_bytes());
                    let name = document.name.clone();
                    items.push(Item::File { name, content, mode: 0o644, modified: None, digest });
                }
                CopySource::Path(word) => {
                    let word = self.expand(stage, word)?;
                    if is_address(&word) {
                        if keyword == "COPY" {
                            return Err(failed("source can't be a URL for COPY".to_owned()));
                        }
                        items.push(self.fetched(&word, target).await.map_err(failed)?);
                        continue;
                    }
                    let of_image = copying.from.is_some();
                    if !of_image && !self.has_files {
                        return Err(failed("missing build context".to_owned()));
                    }
                    let (tree, exclude) = (tree.clone(), exclude.clone());
                    let owners = keeps_owners(copying);
                    let found = STEPS.run(move || find(&tree, &word, &exclude, owners)).await;
                    let found = found.map_err(|error| match error {
                        FileError::Missing(path) if of_image => FileError::NoFile(path),
                        other => other,
                    });
                    items.extend(found.map_err(|error| BuildError::copy(keyword, error))?);
                }
            }
        }
        Ok(items)
    }

    /// Fetches what is at an address, to be added at `target`.
    async fn fetched(&self, address: &str, target: &str) -> Result<Item, String> {
        let fetched = download(&self.engine, &self.store, address, &self.events).await?;
        let name = match &fetched.name {
            Some(name) => name.clone(),
            None if target.ends_with('/') => {
                return Err(format!("cannot determine filename for source {address}"));
            }
            None => UNNAMED.to_owned(),
        };
        self.text("\n".to_owned()).await;
        let (modified, digest) = (Some(fetched.modified), fetched.digest.clone());
        Ok(Item::File { name, content: Content::Fetched(fetched), mode: 0o600, modified, digest })
    }

    /// Makes a layer on top of the stage by writing into its root file system. `None` if nothing was written.
    pub(super) async fn layer(
        &self,
        stage: &Stage,
        write: impl FnOnce(&Target) -> Result<(), BuildError> + Send + 'static,
    ) -> Result<Option<Layer>, BuildError> {
        let (store, image, cancel) = (self.store.clone(), stage.image.clone(), self.cancel.clone());
        let work = STEPS.run(move || {
            let snapshot = StepSnapshot::new(&store, image.as_ref())?;
            // The mount has to be gone before its upper directory becomes a layer.
            write(&Target::new(store.snapshot_mount(&snapshot.id)?))?;
            store.snapshot_seal(&snapshot.id, &cancel).map_err(BuildError::from)
        });
        work.await
    }
}

/// A snapshot that goes away with the step, unless it became a layer.
struct StepSnapshot<'a> {
    store: &'a Store,
    id: String,
}

impl<'a> StepSnapshot<'a> {
    fn new(store: &'a Store, image: Option<&image::ImageId>) -> Result<Self, BuildError> {
        let id = format!("build-{:016x}", base::Random::next_u64(&base::SystemRandom));
        store.snapshot_create(&id, image)?;
        Ok(Self { store, id })
    }
}

impl Drop for StepSnapshot<'_> {
    fn drop(&mut self) {
        // Sealing took it already, if all went well.
        let _ = self.store.snapshot_remove(&self.id);
    }
}

/// Whether what is copied belongs to whom it belongs where it is: a context's files are somebody's on another
/// machine, those of an image are the image's.
fn keeps_owners(copying: &Copying) -> bool {
    copying.from.is_some() && copying.owner.is_none()
}

fn find(tree: &Arc<Tree>, word: &str, exclude: &[String], owners: bool) -> Result<Vec<Item>, FileError> {
    let exclude = Ignore::new(exclude.iter().map(String::as_str)).map_err(FileError::Pattern)?;
    let mut items = Vec::new();
    for path in tree.select(word)? {
        let entries = tree.entries(&path, &exclude)?;
        let digest = hash_entries(tree, &entries, owners)?;
        items.push(Item::Files { tree: tree.clone(), entries, digest });
    }
    Ok(items)
}

/// Puts one item where the instruction says.
fn place(
    target: &Target,
    item: &Item,
    path: &Path,
    slash: bool,
    unpacks: bool,
    owner: Owner,
) -> Result<(), FileError> {
    let write_error = |source| FileError::Write { path: path.to_owned(), source };
    // A file goes into a directory that is there, or that the slash says there should be.
    let below = |name: &std::ffi::OsStr| {
        if slash || target.is_directory(path) { path.join(name) } else { path.to_owned() }
    };
    match item {
        Item::Files { tree, entries, .. } => {
            let Some(first) = entries.first() else { return Ok(()) };
            match first.kind() {
                FileType::Directory => target.copy(tree, entries, path, owner),
                FileType::RegularFile if unpacks && image::is_archive(tree.file(&first.path)?) => {
                    let directory = make_directories(target, path, owner).map_err(write_error)?;
                    image::unpack_files(tree.file(&first.path)?, directory.as_fd()).map_err(|error| {
                        let kind = match error.kind() {
                            image::Kind::NoSpace => std::io::ErrorKind::StorageFull,
                            _ => std::io::ErrorKind::Other,
                        };
                        write_error(std::io::Error::new(kind, base::error::chain(&error).to_string()))
                    })
                }
                _ => {
                    let name = first.path.file_name().unwrap_or_default();
                    target.copy(tree, entries, &below(name), owner)
                }
            }
        }
        Item::File { name, content, mode, modified, .. } => {
            let to = below(name.as_ref());
            match content {
                Content::Text(text) => {
                    write_file(target, &to, &mut Cursor::new(text), *mode, *modified, owner)
                }
                Content::Fetched(fetched) => {
                    let mut file = fetched.open().map_err(write_error)?;
                    write_file(target, &to, &mut file, *mode, *modified, owner)
                }
            }
        }
    }
}

/// What the history says: what was copied by its digest, and where to. A step that was done before is known by
/// these words, so all that decides what it makes is in them.
fn comment(
    keyword: &str,
    items: &[Item],
    path: &str,
    slash: bool,
    owner: Option<&str>,
    mode: Option<u32>,
) -> String {
    let (kinds, digests): (Vec<_>, Vec<_>) = items.iter().map(Item::identity).unzip();
    let what = match (&kinds[..], &digests[..]) {
        ([kind], [digest]) => format!("{kind}:{}", digest.hex()),
        _ => {
            let mut hasher = Hasher::sha256();
            for (kind, digest) in kinds.iter().zip(&digests) {
                hasher.update(format!("{kind}:{},", digest.hex()).as_bytes());
            }
            format!("multi:{}", hasher.finish().hex())
        }
    };
    let owner = owner.map(|owner| format!("--chown={owner} ")).unwrap_or_default();
    let mode = mode.map(|mode| format!("--chmod={mode:o} ")).unwrap_or_default();
    let slash = if slash && path != "/" { "/" } else { "" };
    format!("{keyword} {owner}{mode}{what} in {path}{slash} ")
}

fn parse_mode(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)
}
