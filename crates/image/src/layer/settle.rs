//! Giving an unpacked layer its place on top of others.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::place::Place;
use base::space::Space;
use base::sparse;
use oci::Digest;
use oci::limits::LAYERS_MAX;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};

use super::attributes::{list_xattrs_at, set_xattr_at};
use super::ingest::Ingested;
use super::place::Root;
use super::unpack::is_whiteout;
use super::{Layer, LayerError};
use crate::state::{self, LayerRecord, Origin};
use crate::store::{IngestDir, Inner, Tables, link_target};

/// Moves an unpacked layer into place on top of `parent`. If the same layer came another way
/// meanwhile, that one is taken. What was kept of it as it came becomes a blob, on which the caller has a
/// lease.
pub(crate) fn settle(
    inner: &Arc<Inner>,
    ingested: Ingested,
    parent: Option<&Layer>,
    origin: Option<Origin>,
) -> Result<Layer, LayerError> {
    if let Some(blob) = &ingested.blob {
        let path = inner.blob_path(blob);
        inner.blob_settle(&ingested.directory, blob).map_err(|source| LayerError::Store { path, source })?;
    }
    let parent_id = parent.map(|parent| parent.chain_id.clone());
    let chain_id = Digest::chain(parent_id.as_ref(), &ingested.diff_id);
    if let Some(layer) = Layer::hold(inner, &chain_id) {
        return Ok(layer);
    }
    let path = ingested.directory.path().to_owned();
    let store_error = |path: &Path| {
        let path = path.to_owned();
        move |source| LayerError::Store { path, source }
    };
    let lower = lower_directories(inner, parent_id.as_ref())?;
    if lower.len() >= LAYERS_MAX {
        return Err(LayerError::Depth { below: lower.len(), max: LAYERS_MAX });
    }
    let copied = complete(&path.join("fs"), &lower, &ingested)?;
    let is_loose = ingested.unpacked.implied.is_empty() && ingested.unpacked.foreign_links.is_empty();
    let files = match is_loose {
        true => LayerRecord::loose(&ingested.diff_id),
        false => LayerRecord::bound(&chain_id),
    };
    let mut tables = inner.tables();
    if let Some(layer) = Layer::hold_in(inner, &mut tables, &chain_id) {
        return Ok(layer);
    }
    let target = inner.root.join("diffs").join(&files);
    let brings = !tables.has_files(&files);
    if brings {
        let cleared = match tables.is_free(&files) && target.exists() {
            // Those of a layer that could not be removed.
            true => inner.discard(&target),
            // Those of one that could not be read when the store was opened; a container may stand on it.
            false => set_aside(&target),
        };
        cleared.map_err(store_error(&target))?;
        ingested.directory.move_to(&target).map_err(store_error(&target))?;
    }
    let record = LayerRecord {
        chain_id,
        diff_id: ingested.diff_id,
        parent: parent_id,
        size: ingested.unpacked.size + copied,
        archive_size: ingested.archive_size,
        key: tables.take_key(),
        files: Some(files),
        origins: origin.into_iter().collect(),
    };
    let entered = enter(inner, &mut tables, record);
    if entered.is_err() && brings {
        // No layer has them.
        give_up(inner, &target);
    }
    entered
}

/// Puts the files of a layer that fits on any on top of `parent`.
pub(crate) fn place(
    inner: &Arc<Inner>,
    parent: Option<&Layer>,
    diff_id: &Digest,
    origin: Option<Origin>,
) -> Result<Option<Layer>, LayerError> {
    let parent_id = parent.map(|parent| parent.chain_id.clone());
    let chain_id = Digest::chain(parent_id.as_ref(), diff_id);
    let mut tables = inner.tables();
    if let Some(layer) = Layer::hold_in(inner, &mut tables, &chain_id) {
        return Ok(Some(layer));
    }
    let below = tables.layer_stack(parent_id.as_ref()).map_err(LayerError::MissingParent)?.len();
    if below >= LAYERS_MAX {
        return Err(LayerError::Depth { below, max: LAYERS_MAX });
    }
    let Some(same) = tables.loose(diff_id).cloned() else { return Ok(None) };
    let record = LayerRecord {
        chain_id,
        parent: parent_id,
        key: tables.take_key(),
        origins: origin.into_iter().chain(same.origins).collect(),
        ..same
    };
    enter(inner, &mut tables, record).map(Some)
}

/// Makes a layer known whose files have their place.
fn enter(inner: &Arc<Inner>, tables: &mut Tables, record: LayerRecord) -> Result<Layer, LayerError> {
    let (chain_id, target) = (record.chain_id.clone(), inner.layer_dir(&record.chain_id));
    let link = inner.link_path(&record.key);
    let make = || -> io::Result<()> {
        let staged = IngestDir::new(inner)?;
        record_write(staged.path(), &record)?;
        // One that could not be read when the store was opened.
        set_aside(&target)?;
        staged.move_to(&target)?;
        let _ = fs::remove_file(&link);
        symlink(link_target(&record), &link).inspect_err(|_| give_up(inner, &target))
    };
    make().map_err(|source| LayerError::Store { path: target.clone(), source })?;
    tables.layer_insert_new(record);
    Ok(Layer::hold_in(inner, tables, &chain_id).expect("it was inserted just now"))
}

/// Writes the record of a layer that nobody relies on yet: it reaches the disk with the layer's files.
fn record_write(directory: &Path, record: &LayerRecord) -> io::Result<()> {
    let bytes = state::encode(record);
    base::fs::write_atomic_unsynced(&directory.join("layer.json"), &bytes, 0o600)
}

/// Writes a layer's record anew.
pub(crate) fn record_rewrite(directory: &Path, record: &LayerRecord) -> io::Result<()> {
    let bytes = state::encode(record);
    base::fs::write_atomic(&directory.join("layer.json"), &bytes, 0o600)
}

/// Takes back what was put into its place for a layer that did not come to be.
fn give_up(inner: &Inner, path: &Path) {
    if let Err(error) = inner.discard(path) {
        tracing::warn!(path = %path.display(), %error, "files of no layer could not be removed");
    }
}

/// Makes way for a layer, where a directory of its name is left.
fn set_aside(target: &Path) -> io::Result<()> {
    let random = base::Random::next_u64(&base::SystemRandom);
    match fs::rename(target, target.with_extension(format!("damaged-{random:016x}"))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The unpacked directories of `chain_id` and what is below, topmost first.
fn lower_directories(inner: &Inner, chain_id: Option<&Digest>) -> Result<Vec<PathBuf>, LayerError> {
    let tables = inner.tables();
    let stack = tables.layer_stack(chain_id).map_err(LayerError::MissingParent)?;
    Ok(stack.iter().map(|record| inner.files_dir(record).join("fs")).collect())
}

/// Settles what could not be known while unpacking: how directories look that the archive only
/// implied, and files that it links to but does not bring. Gives the bytes that were copied.
fn complete(files: &Path, lower: &[PathBuf], ingested: &Ingested) -> Result<u64, LayerError> {
    let entry_error = |path: &Path| {
        let path = path.to_owned();
        move |source| LayerError::Entry { path, source }
    };
    if ingested.unpacked.implied.is_empty() && ingested.unpacked.foreign_links.is_empty() {
        return Ok(0);
    }
    let root = Root::open(files).map_err(entry_error(files))?;
    let mut below = Vec::new();
    for path in lower {
        below.push(Root::open(path).map_err(entry_error(path))?);
    }
    let mut copied = 0;
    let mut space = root.space().map_err(entry_error(files))?;
    let mut implied: BTreeSet<PathBuf> = ingested.unpacked.implied.clone();
    for (link, target) in &ingested.unpacked.foreign_links {
        let missing = || LayerError::LinkTarget { path: link.clone(), target: target.clone() };
        let source = find(&below, target).map_err(entry_error(link))?.ok_or_else(missing)?;
        let size = copy_up(&root, &source, target, &mut implied, &mut space).map_err(entry_error(link))?;
        copied += size;
        let make = || -> io::Result<()> {
            let from = root.open_following(target.parent().unwrap_or(Path::new("")))?;
            let to = root.open_following(link.parent().unwrap_or(Path::new("")))?;
            let (from_name, to_name) = (file_name(target)?, file_name(link)?);
            Ok(rustix::fs::linkat(&from.fd, from_name, &to.fd, to_name, AtFlags::empty())?)
        };
        make().map_err(entry_error(link))?;
    }
    // Deepest first: changing what is inside a directory changes its times.
    for path in implied.iter().rev() {
        if let Some(found) = find(&below, path).map_err(entry_error(path))?
            && found.kind == FileType::Directory
        {
            copy_attributes(&found, &root, path).map_err(entry_error(path))?;
        }
    }
    Ok(copied)
}

/// Something found in a layer below.
pub(super) struct Found<'a> {
    root: &'a Root,
    path: PathBuf,
    pub(super) kind: FileType,
    pub(super) stat: rustix::fs::Stat,
}

/// Looks for `path` in the layers, topmost first, as overlayfs would.
pub(super) fn find<'a>(layers: &'a [Root], path: &Path) -> io::Result<Option<Found<'a>>> {
    let name = file_name(path)?;
    for root in layers {
        let parent = match root.open_following(path.parent().unwrap_or(Path::new(""))) {
            Ok(parent) => parent,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        match rustix::fs::statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_whiteout(&stat) => return Ok(None),
            Ok(stat) => {
                let kind = FileType::from_raw_mode(stat.st_mode);
                return Ok(Some(Found { root, path: parent.path.join(name), kind, stat }));
            }
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Copies a file of a layer below to the same path in this one.
fn copy_up(
    root: &Root,
    source: &Found<'_>,
    path: &Path,
    implied: &mut BTreeSet<PathBuf>,
    space: &mut Space,
) -> io::Result<u64> {
    let name = file_name(path)?;
    let parent = root.directory(path.parent().unwrap_or(Path::new("")), &mut |made| {
        implied.insert(made.to_owned());
    })?;
    if rustix::fs::statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Ok(0);
    }
    let from = source.root.open_following(source.path.parent().unwrap_or(Path::new("")))?;
    let size = match source.kind {
        FileType::RegularFile => {
            let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let input = Place::made(&from.fd, file_name(&source.path)?, FileType::RegularFile)?.read()?;
            let mut output =
                fs::File::from(rustix::fs::openat(&parent.fd, name, write, Mode::from_raw_mode(0o600))?);
            sparse::copy(&input, &mut output, |bytes| space.take(bytes))?
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(&from.fd, file_name(&source.path)?, Vec::new())?;
            rustix::fs::symlinkat(&target, &parent.fd, name)?;
            0
        }
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a hard link to neither file nor symbolic link",
            ));
        }
    };
    copy_attributes(source, root, path)?;
    Ok(size)
}

fn copy_attributes(source: &Found<'_>, root: &Root, path: &Path) -> io::Result<()> {
    let name = file_name(path)?;
    let to = root.open_following(path.parent().unwrap_or(Path::new("")))?;
    let from = source.root.open_following(source.path.parent().unwrap_or(Path::new("")))?;
    let stat = &source.stat;
    let (uid, gid) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(&to.fd, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if source.kind != FileType::Symlink {
        rustix::fs::chmodat(&to.fd, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
    }
    for (attribute, value) in list_xattrs_at(&from, file_name(&source.path)?)? {
        set_xattr_at(&to, name, &attribute, &value)?;
    }
    let time = |seconds: i64, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: nanos.cast_signed() };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(rustix::fs::utimensat(&to.fd, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn file_name(path: &Path) -> io::Result<&OsStr> {
    path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path without file name"))
}
