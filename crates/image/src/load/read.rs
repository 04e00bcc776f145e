//! Reading image archives as they stream in.
//!
//! The documents that say what the layers are mostly come last, and the stream cannot be wound
//! back. So every member that looks like a layer is unpacked as it passes, and its place is found
//! when the documents are known; the archive itself never touches the disk.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::config::ReadConfigError;
use oci::digest::Algorithm;
use oci::{Digest, Document, ImageConfig, Platform};
use tar::EntryType;

use super::layout::{Described, Found, blob_path};
use super::{LoadError, Loaded};
use crate::content::{Blobs, Kept, Lease, StagedBlob};
use crate::image::{ImageId, NewRecord};
use crate::layer::entries::Entries;
use crate::layer::inflate::{Compression, Inflated};
use crate::layer::ingest::{Expected, Ingested, ingest};
use crate::layer::settle::{place, settle};
use crate::layer::{Climbing, Layer, LayerError, reassemble};
use crate::progress::{Action, Progress};
use crate::store::{Inner, WriteError};

/// Documents are small; what is larger and no layer is not worth keeping.
const DOCUMENT_MAX: u64 = 8 * 1024 * 1024;
/// And all of an archive together, which are held until its images are known; with the paths of its
/// members, and each document once more for each image that it is read for.
const DOCUMENTS_MAX: u64 = 64 * 1024 * 1024;
/// What remembering a member costs besides its path and content.
const REMEMBERED: u64 = 256;
/// Layers of an archive, each of which lies unpacked until its images are known: those of a hundred
/// images with nothing in common.
const LAYERS_MAX: usize = 100 * oci::limits::LAYERS_MAX;
/// Where a tar header says that it is one.
const TAR_MAGIC_AT: usize = 257;
const TAR_BLOCK: usize = 512;

/// The members of an archive, by path.
#[derive(Default)]
pub(super) struct Members {
    documents: HashMap<PathBuf, Vec<u8>>,
    layers: HashMap<PathBuf, MemberLayer>,
    /// What is neither, called by its digest.
    blobs: HashMap<PathBuf, StagedBlob>,
    links: HashMap<PathBuf, PathBuf>,
    /// Bytes of all that, but for the layers, and of what was read again.
    held: Cell<u64>,
}

/// A layer that was unpacked as it passed, and what became of it.
enum MemberLayer {
    Unplaced(Ingested),
    Placed(Digest),
}

pub(super) fn load(
    inner: &Arc<Inner>,
    archive: impl Read,
    platform: Option<&Platform>,
    progress: &Progress,
) -> Result<Vec<Loaded>, LoadError> {
    let archive = Inflated::new(archive).map_err(LoadError::Read)?;
    let mut members = read_members(inner, archive, progress)?;
    let described = members.described(platform)?;
    let mut lease = Lease::new(inner);
    // Everything is checked and placed before the first image is recorded. The layers are held until then.
    let mut ready = Vec::new();
    for mut image in described {
        let bytes = members.document(&image.config)?.to_vec();
        let path = image.config.display().to_string();
        members.hold(bytes.len() as u64)?;
        let document = match promised(&image.config) {
            Some(digest) => verified(&image.config, &digest, bytes)?,
            None => Kept::of(bytes),
        };
        let config = ImageConfig::take(document.bytes()).map_err(|error| match error {
            ReadConfigError::Json(source) => LoadError::Document { path, source },
            ReadConfigError::TooMuch(source) => LoadError::TooMuch { path, source },
        })?;
        if platform.is_some_and(|platform| config.platform().fitness(platform).is_none()) {
            continue;
        }
        // What a link leads to is called by its own digest.
        let called = image.layers.iter().flat_map(|layer| [layer.as_path(), members.follow(layer)]);
        lease.content(called.filter_map(name_digest));
        let held = members.place(inner, &config, &image)?;
        if let Some(source) = &mut image.source {
            for other in &image.others {
                source.documents.extend(members.keep(inner, other, &mut lease)?);
            }
        }
        ready.push((document, config, image, held));
    }
    let mut records = Vec::new();
    for (document, config, image, _held) in &ready {
        let (names, source) = (&image.names[..], image.source.as_ref());
        records.push(NewRecord { document, config, parent: None, names, source });
    }
    inner.image_put(&records)?;
    let mut loaded = Vec::new();
    for (document, _, image, _held) in &ready {
        let id = ImageId(document.digest().clone());
        if image.names.is_empty() {
            progress.tell(None, Action::LoadedImage { name: None, id: id.0.clone() });
        }
        for name in &image.names {
            progress.tell(None, Action::LoadedImage { name: Some(name.familiar()), id: id.0.clone() });
        }
        loaded.push(Loaded { id, names: image.names.clone() });
    }
    Ok(loaded)
}

fn read_members(inner: &Arc<Inner>, archive: impl Read, progress: &Progress) -> Result<Members, LoadError> {
    let mut members = Members::default();
    let mut archive = Entries::new(io::BufReader::with_capacity(256 * 1024, archive));
    archive.each(LoadError::Read, |mut entry| {
        let Some(path) = member_path(entry.path()) else { return Ok(()) };
        members.hold(path.as_os_str().len() as u64 + REMEMBERED)?;
        match entry.kind() {
            EntryType::Symlink | EntryType::Link => {
                // Old versions of `docker save` write a repeated layer as a link to the first.
                let Some(target) = entry.link() else { return Ok(()) };
                let base = match entry.kind() {
                    EntryType::Symlink => path.parent().unwrap_or(Path::new("")),
                    _ => Path::new(""),
                };
                if let Some(target) = member_path(&base.join(target)) {
                    members.hold(target.as_os_str().len() as u64)?;
                    members.links.insert(path, target);
                }
            }
            EntryType::Regular | EntryType::Continuous => {
                // Nobody writes such archives of images. What is called by a digest would be hashed with its holes,
                // which cost whoever sends them nothing.
                if entry.holes().is_some() {
                    let problem = format!("`{}` is a sparse file, which is not supported", path.display());
                    return Err(LoadError::Shape(problem));
                }
                let size = entry.size();
                let start = peek(&mut entry, size).map_err(LoadError::Read)?;
                if looks_like_layer(&start) {
                    if members.layers.len() >= LAYERS_MAX {
                        return Err(LoadError::Shape(format!("it has more than {LAYERS_MAX} layers")));
                    }
                    let layer = member_layer(inner, &path, &start, &mut entry, size, progress)?;
                    members.layers.insert(path, MemberLayer::Unplaced(layer));
                } else if size <= DOCUMENT_MAX {
                    members.hold(size)?;
                    let mut bytes = start;
                    entry.read_to_end(&mut bytes).map_err(LoadError::Read)?;
                    if let Some(digest) = promised(&path) {
                        verify(&path, &digest, &bytes)?;
                    }
                    members.documents.insert(path, bytes);
                } else if let Some(digest) = name_digest(&path) {
                    if members.blobs.len() >= LAYERS_MAX {
                        return Err(LoadError::Shape(format!("it has more than {LAYERS_MAX} large blobs")));
                    }
                    let staged = member_blob(inner, &digest, &start, &mut entry)?;
                    members.blobs.insert(path, staged);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    // Whoever sends the archive wants to see it taken whole.
    io::copy(&mut archive.into_rest(), &mut io::sink()).map_err(LoadError::Read)?;
    Ok(members)
}

/// Unpacks a member as it passes. In an OCI layout the name says what the content has to be.
fn member_layer(
    inner: &Arc<Inner>,
    path: &Path,
    start: &[u8],
    entry: &mut impl Read,
    size: u64,
    progress: &Progress,
) -> Result<Ingested, LoadError> {
    let blob = name_digest(path);
    // What is not called by its digest, no manifest names.
    let keep = blob.is_some() && inner.options.blobs == Blobs::Keep;
    let expected = Expected { blob, keep, ..Expected::default() };
    let subject = subject(path);
    let told = |current: u64| progress.tell(Some(&subject), Action::LoadingLayer { current, total: size });
    ingest(inner, Cursor::new(start).chain(entry), &expected, &told)
        .map_err(|source| LoadError::Layer { path: path.display().to_string(), source })
}

/// Writes down a member as it passes. What it is called is checked when it is kept.
fn member_blob(
    inner: &Arc<Inner>,
    digest: &Digest,
    start: &[u8],
    entry: &mut impl Read,
) -> Result<StagedBlob, LoadError> {
    let path = inner.blob_path(digest);
    let failed = |source| LoadError::Write(WriteError::io(&path)(source));
    let mut staged = StagedBlob::new(inner, digest).map_err(failed)?;
    let mut buffer = vec![0; 256 * 1024];
    staged.write_all(start).map_err(failed)?;
    loop {
        match entry.read(&mut buffer) {
            Ok(0) => return Ok(staged),
            Ok(got) => staged.write_all(&buffer[..got]).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(LoadError::Read(error)),
        }
    }
}

impl Members {
    /// Counts what is held in memory, or read once more.
    pub(super) fn hold(&self, bytes: u64) -> Result<(), LoadError> {
        self.held.set(self.held.get().saturating_add(bytes));
        if self.held.get() > DOCUMENTS_MAX {
            let problem = format!("its documents are larger than {DOCUMENTS_MAX} bytes together");
            return Err(LoadError::Read(io::Error::new(io::ErrorKind::InvalidData, problem)));
        }
        Ok(())
    }

    pub(super) fn document(&self, path: &Path) -> Result<&[u8], LoadError> {
        self.documents
            .get(self.follow(path))
            .map(Vec::as_slice)
            .ok_or_else(|| LoadError::Shape(format!("`{}` is missing", path.display())))
    }

    /// The document at `path`, if there is one.
    pub(super) fn document_get(&self, path: &Path) -> Option<&[u8]> {
        self.documents.get(self.follow(path)).map(Vec::as_slice)
    }

    /// Whether there is something at `path`.
    pub(super) fn has(&self, path: &Path) -> bool {
        let path = self.follow(path);
        self.documents.contains_key(path) || self.layers.contains_key(path) || self.blobs.contains_key(path)
    }

    fn follow<'a>(&'a self, path: &'a Path) -> &'a Path {
        self.links.get(path).map_or(path, PathBuf::as_path)
    }

    /// Gives an image's layers their place, one on top of the other. What is given back holds them.
    fn place(
        &mut self,
        inner: &Arc<Inner>,
        config: &ImageConfig,
        image: &Described,
    ) -> Result<Vec<Layer>, LoadError> {
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != image.layers.len() {
            let (have, want) = (image.layers.len(), diff_ids.len());
            let path = image.config.display();
            return Err(LoadError::Shape(format!("`{path}` names {want} layers, the manifest {have}")));
        }
        let mut held: Vec<Layer> = Vec::new();
        for (path, diff_id) in image.layers.iter().zip(diff_ids) {
            let shown = path.display().to_string();
            let chain_id = Digest::chain(held.last().map(Layer::chain_id), diff_id);
            let member = self.follow(path).to_owned();
            let layer = match self.layers.remove(&member) {
                Some(MemberLayer::Unplaced(ingested)) => {
                    diff_id
                        .expect(ingested.diff_id.clone())
                        .map_err(|source| LoadError::Mismatch { path: shown.clone(), source })?;
                    settle(inner, ingested, held.last(), None)
                        .map_err(|source| LoadError::Layer { path: shown.clone(), source })?
                }
                Some(MemberLayer::Placed(placed)) if placed == chain_id => hold(inner, &placed, &shown)?,
                // The same archive on top of another layer: if its files depend on what they lie on, it is
                // unpacked once more, out of the one that is placed.
                Some(MemberLayer::Placed(placed)) => {
                    let found = place(inner, held.last(), diff_id, None)
                        .map_err(|source| LoadError::Layer { path: shown.clone(), source })?;
                    match found {
                        Some(layer) => layer,
                        None => copy_layer(inner, &placed, held.last(), diff_id, &shown)?,
                    }
                }
                // `docker save` may leave out what the other side is known to have.
                None => place(inner, held.last(), diff_id, None)
                    .map_err(|source| LoadError::Layer { path: shown.clone(), source })?
                    .ok_or_else(|| LoadError::Shape(format!("layer `{shown}` is missing")))?,
            };
            self.layers.insert(member, MemberLayer::Placed(layer.chain_id().clone()));
            held.push(layer);
        }
        Ok(held)
    }
}

impl Members {
    /// Keeps a document that is not the image's own, with what it leads to, as it came: another platform's
    /// manifest, or one that is about the image's. Nothing of one that is not here as a whole.
    fn keep(&mut self, inner: &Arc<Inner>, found: &Found, lease: &mut Lease) -> Result<Vec<Kept>, LoadError> {
        let mut documents = vec![found.kept.clone()];
        if let Document::Index(_) = &found.document {
            for child in &found.children {
                documents.extend(self.keep(inner, child, lease)?);
            }
            return Ok(documents);
        }
        for link in found.document.links() {
            lease.content([link.digest.clone()]);
            let path = blob_path(&link.digest);
            if inner.has_blob(link) {
                continue;
            }
            if let Some(bytes) = self.document_get(&path) {
                if bytes.len() as u64 != link.size {
                    return Ok(Vec::new());
                }
                self.hold(link.size)?;
                documents.push(verified(&path, &link.digest, bytes.to_vec())?);
                continue;
            }
            let blob = inner.blob_path(&link.digest);
            let failed = |source| LoadError::Write(WriteError::io(&blob)(source));
            let staged = match (self.blobs.remove(&path), self.layers.get(&path)) {
                (Some(staged), _) => staged,
                (None, Some(MemberLayer::Unplaced(layer))) if layer.blob.as_ref() == Some(&link.digest) => {
                    inner.blob_settle(&layer.directory, &link.digest).map_err(failed)?;
                    continue;
                }
                (None, Some(MemberLayer::Unplaced(layer))) if layer.diff_id == link.digest => {
                    let mut staged = StagedBlob::new(inner, &link.digest).map_err(failed)?;
                    reassemble(layer.directory.path(), &mut staged).map_err(failed)?;
                    staged
                }
                (None, Some(MemberLayer::Placed(chain_id))) => {
                    let Some(layer) = Layer::hold(inner, chain_id) else { return Ok(Vec::new()) };
                    if *layer.diff_id() != link.digest {
                        return Ok(Vec::new());
                    }
                    let mut staged = StagedBlob::new(inner, &link.digest).map_err(failed)?;
                    layer.write_archive(&mut staged).map_err(failed)?;
                    staged
                }
                _ => return Ok(Vec::new()),
            };
            if staged.size() != link.size {
                return Ok(Vec::new());
            }
            staged.keep(inner, &link.digest).map_err(|error| match error.downcast() {
                Ok(source) => LoadError::Mismatch { path: path.display().to_string(), source },
                Err(error) => failed(error),
            })?;
        }
        Ok(documents)
    }
}

fn hold(inner: &Arc<Inner>, chain_id: &Digest, shown: &str) -> Result<Layer, LoadError> {
    Layer::hold(inner, chain_id).ok_or_else(|| LoadError::Layer {
        path: shown.to_owned(),
        source: LayerError::MissingParent(chain_id.clone()),
    })
}

fn copy_layer(
    inner: &Arc<Inner>,
    chain_id: &Digest,
    parent: Option<&Layer>,
    diff_id: &Digest,
    shown: &str,
) -> Result<Layer, LoadError> {
    let source = hold(inner, chain_id, shown)?;
    let layer_error = |source| LoadError::Layer { path: shown.to_owned(), source };
    let (reader, mut writer) = io::pipe().map_err(LoadError::Read)?;
    // It has been taken once, and may be of an import.
    let expected =
        Expected { diff_id: Some(diff_id.clone()), climbs: Climbing::Stopped, ..Expected::default() };
    let ingested = std::thread::scope(|scope| {
        scope.spawn(move || source.write_archive(&mut writer));
        ingest(inner, reader, &expected, &|_| {})
    });
    settle(inner, ingested.map_err(layer_error)?, parent, None).map_err(layer_error)
}

/// A member's path without `.` and leading slashes; `None` for what cannot matter.
pub(super) fn member_path(path: &Path) -> Option<PathBuf> {
    crate::layer::clean(path).filter(|path| !path.as_os_str().is_empty())
}

/// The digest in a name such as `blobs/sha256/<hex>`.
fn name_digest(path: &Path) -> Option<Digest> {
    let mut parts = path.iter().map(|part| part.to_str());
    if parts.next()?? != "blobs" {
        return None;
    }
    Digest::parse(&format!("{}:{}", parts.next()??, parts.next()??)).ok()
}

/// The digest that a document has, going by its name.
fn promised(path: &Path) -> Option<Digest> {
    name_digest(path).or_else(|| {
        // The configuration in an archive of an old `docker save` is called after its digest.
        let name = path.to_str()?.strip_suffix(".json")?;
        (name.len() == Algorithm::Sha256.hex_len()).then(|| Digest::from_sha256_hex(name).ok())?
    })
}

fn verify(path: &Path, digest: &Digest, bytes: &[u8]) -> Result<(), LoadError> {
    digest.verify(bytes).map_err(|source| LoadError::Mismatch { path: path.display().to_string(), source })
}

/// What was found at `path`, as the document of this digest.
pub(super) fn verified(path: &Path, digest: &Digest, bytes: Vec<u8>) -> Result<Kept, LoadError> {
    Kept::verified(digest, bytes)
        .map_err(|source| LoadError::Mismatch { path: path.display().to_string(), source })
}

/// What progress calls a member: the short form of the digest in its path, if there is one.
fn subject(path: &Path) -> String {
    let longest =
        path.iter().filter_map(|part| part.to_str()).max_by_key(|part| part.len()).unwrap_or_default();
    longest.chars().take(12).collect()
}

/// The first block of a member, or all of it if it is shorter.
fn peek(entry: &mut impl Read, size: u64) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(TAR_BLOCK);
    entry.take(size.min(TAR_BLOCK as u64)).read_to_end(&mut start)?;
    Ok(start)
}

fn looks_like_layer(start: &[u8]) -> bool {
    let is_empty_tar = start.len() == TAR_BLOCK && start.iter().all(|&b| b == 0);
    Compression::of(start) != Compression::None || is_empty_tar || looks_like_tar(start)
}

/// Whether a stream that begins like this is a tar archive with something in it.
pub(crate) fn looks_like_tar(start: &[u8]) -> bool {
    start.get(TAR_MAGIC_AT..TAR_MAGIC_AT + 5) == Some(b"ustar") || is_old_tar(start)
}

/// A header from before there was a magic: its checksum tells.
fn is_old_tar(start: &[u8]) -> bool {
    if start.len() < TAR_BLOCK {
        return false;
    }
    let mut block = [0u8; TAR_BLOCK];
    block.copy_from_slice(&start[..TAR_BLOCK]);
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, &b)| if (148..156).contains(&at) { 32 } else { u32::from(b) })
        .sum();
    tar::Header::from_byte_slice(&block).cksum().is_ok_and(|stored| stored == sum)
}
