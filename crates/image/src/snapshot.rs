//! Snapshots: the writable layers of containers.

mod mount;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base::cancel::Cancel;
use oci::Digest;

use crate::error::Kind;
use crate::image::{FindError, ImageId};
use crate::layer::ingest::{Expected, Ingested, ingest};
use crate::layer::settle::settle;
use crate::layer::{Layer, LayerError, Unpacked, changes, pack, seal};
use crate::state::{self, SnapshotRecord};
use crate::store::{IngestDir, Inner, Store, Tables};

/// Where a container's root file system lies, as overlayfs takes it.
///
/// The paths are short enough for 127 layers to fit the page that mount options have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Read-only directories, topmost first, as `lowerdir` lists them. Never empty.
    pub lower: Vec<PathBuf>,
    /// What the container changes.
    pub upper: PathBuf,
    /// Overlayfs' scratch directory, on the same file system as `upper`.
    pub work: PathBuf,
}

/// Something that a container changed in its root file system.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Change {
    /// The absolute path inside the container.
    pub path: PathBuf,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// How a path differs from the image. The numbers are those of Docker's API.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ChangeKind {
    /// It is there in both and differs.
    Modified = 0,
    /// The container made it.
    Added = 1,
    /// The container removed it.
    Deleted = 2,
}

/// Why a snapshot could not be made, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is no such snapshot.
    #[error("no such snapshot: {0}")]
    NotFound(String),
    /// There is one already.
    #[error("snapshot {0} exists already")]
    Exists(String),
    /// It can be no name of a snapshot.
    #[error("`{0}` cannot name a snapshot: letters, digits, `_`, `-` and `.` can")]
    Name(String),
    /// The image is not there.
    #[error(transparent)]
    Image(#[from] FindError),
    /// A layer that it needs is not there.
    #[error("layer {0} is not in the store")]
    MissingLayer(Digest),
    /// The store's own files could not be read or written.
    #[error("use snapshot directory {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl SnapshotError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            SnapshotError::NotFound(_) => Kind::NotFound,
            SnapshotError::Exists(_) => Kind::Conflict,
            SnapshotError::Name(_) => Kind::Invalid,
            SnapshotError::Image(error) => error.kind(),
            SnapshotError::MissingLayer(_) => Kind::NotFound,
            SnapshotError::Io { source, .. } => Kind::of_io(source),
        }
    }
}

impl Store {
    /// Makes the writable layer `id` (a container's id) over `image`, or over nothing.
    pub fn snapshot_create(&self, id: &str, image: Option<&ImageId>) -> Result<Snapshot, SnapshotError> {
        let chain_id = match image {
            None => None,
            Some(image) => {
                let tables = self.inner.tables();
                let record = tables.images.get(image);
                let record = record.ok_or_else(|| FindError::NotFound { name: image.to_string() })?;
                record.layers.last().cloned()
            }
        };
        self.snapshot_create_on(id, chain_id.as_ref())
    }

    /// As [`Store::snapshot_create`], over the layer `chain_id`.
    pub fn snapshot_create_on(&self, id: &str, chain_id: Option<&Digest>) -> Result<Snapshot, SnapshotError> {
        check_name(id)?;
        let directory = self.inner.snapshot_dir(id);
        let error = |source| SnapshotError::Io { path: directory.clone(), source };
        let record = SnapshotRecord { chain_id: chain_id.cloned() };
        // Nobody may take the layer away while the snapshot is being made.
        let mut tables = self.inner.tables();
        if tables.snapshots.contains_key(id) || tables.unread_snapshots.contains_key(id) {
            return Err(SnapshotError::Exists(id.to_owned()));
        }
        let lower = lower_links(&self.inner, &tables, chain_id)?;
        let staged = IngestDir::new(&self.inner).map_err(error)?;
        let make = || -> io::Result<()> {
            for (name, mode) in [("fs", 0o755), ("work", 0o700)] {
                let path = staged.path().join(name);
                fs::create_dir(&path)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            }
            if let Some(below) = lower.first() {
                copy_root_attributes(below, &staged.path().join("fs"))?;
            }
            let bytes = state::encode(&record);
            base::fs::write_atomic_unsynced(&staged.path().join("snapshot.json"), &bytes, 0o600)
        };
        make().map_err(error)?;
        staged.move_to(&directory).map_err(error)?;
        tables.snapshot_insert(id.to_owned(), record);
        Ok(place(&directory, lower))
    }

    /// The snapshots whose record could not be read, and whether it is merely empty, as it is when
    /// the machine lost power soon after it was written: a snapshot is not flushed by itself.
    pub fn snapshot_list_unread(&self) -> BTreeMap<String, bool> {
        self.inner.tables().unread_snapshots.clone()
    }

    /// Takes a snapshot up again whose record could not be read, for a container that knows what it
    /// lies on: `lower`, as [`Snapshot::lower`] was when it was made. What the container wrote stays.
    pub fn snapshot_adopt(&self, id: &str, lower: &[PathBuf]) -> Result<(), SnapshotError> {
        let directory = self.inner.snapshot_dir(id);
        let error = |source| SnapshotError::Io { path: directory.clone(), source };
        let mut tables = self.inner.tables();
        if tables.snapshots.contains_key(id) {
            return Ok(());
        }
        for part in ["fs", "work"] {
            if !directory.join(part).is_dir() {
                return Err(SnapshotError::NotFound(id.to_owned()));
            }
        }
        let links = lower.iter().filter(|path| path.parent().is_some_and(|parent| parent.ends_with("l")));
        let top = links.filter_map(|path| path.file_name()?.to_str()).next();
        let chain_id = match top {
            Some(key) => Some(tables.layer_of_key(key).cloned().ok_or_else(|| {
                error(io::Error::new(io::ErrorKind::NotFound, "the layer that it lies on is not known"))
            })?),
            None => None,
        };
        let record = SnapshotRecord { chain_id };
        let bytes = state::encode(&record);
        base::fs::write_atomic(&directory.join("snapshot.json"), &bytes, 0o600).map_err(error)?;
        tables.snapshot_insert(id.to_owned(), record);
        drop(tables);
        self.inner.trouble_over(&directory);
        Ok(())
    }

    /// Removes a snapshot whose record could not be read, once it is known that it was never finished.
    pub fn snapshot_discard(&self, id: &str) -> Result<(), SnapshotError> {
        let directory = self.inner.snapshot_dir(id);
        let mut tables = self.inner.tables();
        if tables.unread_snapshots.remove(id).is_none() {
            return Err(SnapshotError::NotFound(id.to_owned()));
        }
        self.inner
            .discard(&directory)
            .map_err(|source| SnapshotError::Io { path: directory.clone(), source })?;
        drop(tables);
        self.inner.trouble_over(&directory);
        Ok(())
    }

    /// Finds a snapshot again, for example after a restart.
    pub fn snapshot_get(&self, id: &str) -> Result<Snapshot, SnapshotError> {
        let tables = self.inner.tables();
        let record = tables.snapshots.get(id).ok_or_else(|| SnapshotError::NotFound(id.to_owned()))?;
        let lower = lower_links(&self.inner, &tables, record.chain_id.as_ref())?;
        Ok(place(&self.inner.snapshot_dir(id), lower))
    }

    /// The ids of all snapshots, so that those whose containers are gone can be removed.
    pub fn snapshot_list(&self) -> Vec<String> {
        self.inner.tables().snapshots.keys().cloned().collect()
    }

    /// Removes a snapshot with all that the container wrote. It must not be mounted.
    pub fn snapshot_remove(&self, id: &str) -> Result<(), SnapshotError> {
        let directory = self.inner.snapshot_dir(id);
        let mut tables = self.inner.tables();
        let record = tables.snapshots.get(id).ok_or_else(|| SnapshotError::NotFound(id.to_owned()))?.clone();
        self.inner.discard(&directory).map_err(|source| SnapshotError::Io { path: directory, source })?;
        tables.snapshots.remove(id);
        self.inner.layer_release(&mut tables, record.chain_id.as_ref());
        Ok(())
    }

    /// Calls `then` once snapshots and layers that were removed until now take no room any more.
    pub fn when_removed(&self, then: impl FnOnce() + Send + 'static) {
        self.inner.when_removed(then);
    }

    /// What the container changed, sorted by path (`docker diff`).
    pub fn snapshot_changes(&self, id: &str) -> Result<Vec<Change>, SnapshotError> {
        let snapshot = self.snapshot_get(id)?;
        changes(&snapshot.upper, &snapshot.lower)
            .map_err(|source| SnapshotError::Io { path: snapshot.upper, source })
    }

    /// Bytes that the container wrote (`docker ps --size`).
    pub fn snapshot_size(&self, id: &str) -> Result<u64, SnapshotError> {
        let snapshot = self.snapshot_get(id)?;
        let size = base::tree::size(&snapshot.upper);
        size.map(|size| size.files).map_err(|source| SnapshotError::Io { path: snapshot.upper, source })
    }

    /// Makes a layer of what the container changed so far; the snapshot stays (`docker commit`).
    /// The caller pauses the container if the copy is to be of one moment. Given up soon after `cancel`
    /// was set.
    pub fn snapshot_capture(&self, id: &str, cancel: &Cancel) -> Result<Layer, LayerError> {
        let (parent, upper) = self.snapshot_below(id)?;
        let (reader, writer) = io::pipe().map_err(LayerError::Read)?;
        let ingested = std::thread::scope(|scope| {
            let packing =
                scope.spawn(|| pack(&upper, io::BufWriter::with_capacity(256 * 1024, writer), cancel));
            let ingested = ingest(&self.inner, reader, &Expected::default(), &|_| {});
            let packed = packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match (ingested, packed) {
                (Ok(ingested), Ok(())) => Ok(ingested),
                // A packer that stopped makes the archive end early, so its error says more; unless it
                // stopped as nobody took it any more.
                (Err(error), Err(packing)) if packing.kind() == io::ErrorKind::BrokenPipe => Err(error),
                (_, Err(packing)) => Err(LayerError::Pack(packing)),
                (Err(error), _) => Err(error),
            }
        })?;
        settle(&self.inner, ingested, parent.as_ref(), None)
    }

    /// Turns the snapshot itself into a layer, without copying; the snapshot is gone afterwards.
    /// It must not be mounted. For builds. `None` if nothing was changed (the snapshot is gone too).
    /// Given up soon after `cancel` was set.
    pub fn snapshot_seal(&self, id: &str, cancel: &Cancel) -> Result<Option<Layer>, LayerError> {
        let (parent, upper) = self.snapshot_below(id)?;
        let error = |source| LayerError::Store { path: upper.clone(), source };
        let staged = IngestDir::new(&self.inner).map_err(error)?;
        let skeleton = fs::File::create_new(staged.path().join("archive")).map_err(error)?;
        let sealed = seal(&upper, io::BufWriter::new(skeleton), cancel).map_err(LayerError::Pack)?;
        let Some(sealed) = sealed else {
            self.snapshot_remove(id).map_err(|source| error(io::Error::other(source)))?;
            return Ok(None);
        };
        fs::rename(&upper, staged.path().join("fs")).map_err(error)?;
        let ingested = Ingested {
            directory: staged,
            diff_id: sealed.diff_id,
            blob_size: sealed.archive_size,
            blob: None,
            archive_size: sealed.archive_size,
            unpacked: Unpacked { size: sealed.size, ..Unpacked::default() },
        };
        let layer = settle(&self.inner, ingested, parent.as_ref(), None)?;
        self.snapshot_remove(id).map_err(|source| error(io::Error::other(source)))?;
        Ok(Some(layer))
    }

    /// The layer that a snapshot lies on, held, and its upper directory.
    fn snapshot_below(&self, id: &str) -> Result<(Option<Layer>, PathBuf), LayerError> {
        let mut tables = self.inner.tables();
        let record = tables.snapshots.get(id).cloned();
        let record = record.ok_or_else(|| LayerError::Snapshot(id.to_owned()))?;
        let parent = match &record.chain_id {
            None => None,
            Some(chain_id) => Some(
                Layer::hold_in(&self.inner, &mut tables, chain_id)
                    .ok_or_else(|| LayerError::MissingParent(chain_id.clone()))?,
            ),
        };
        Ok((parent, self.inner.snapshot_dir(id).join("fs")))
    }
}

fn place(directory: &Path, lower: Vec<PathBuf>) -> Snapshot {
    Snapshot { lower, upper: directory.join("fs"), work: directory.join("work") }
}

/// The short links to a layer and those below it, topmost first, and below all the ground that
/// every container stands on.
fn lower_links(
    inner: &Inner,
    tables: &Tables,
    chain_id: Option<&Digest>,
) -> Result<Vec<PathBuf>, SnapshotError> {
    let stack = tables.layer_stack(chain_id).map_err(SnapshotError::MissingLayer)?;
    // Overlayfs takes no directory twice, and the topmost says all that the same below it would.
    let mut seen = HashSet::new();
    let mut links: Vec<PathBuf> = stack
        .iter()
        .filter(|record| record.files.as_ref().is_none_or(|files| seen.insert(files)))
        .map(|record| inner.link_path(&record.key))
        .collect();
    links.push(inner.root.join("ground"));
    Ok(links)
}

/// The root directory of a container is the upper one, so it has to look like the image's.
fn copy_root_attributes(below: &Path, upper: &Path) -> io::Result<()> {
    let metadata = fs::metadata(below)?;
    std::os::unix::fs::chown(upper, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(upper, fs::Permissions::from_mode(metadata.mode() & 0o7777))
}

fn check_name(id: &str) -> Result<(), SnapshotError> {
    let ok = !id.is_empty()
        && id.len() <= 128
        && !id.starts_with('.')
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if ok { Ok(()) } else { Err(SnapshotError::Name(id.to_owned())) }
}
