//! Opening a store: reading its tables and clearing away what was left unfinished.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use base::Clock;
use oci::Digest;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::janitor::Janitor;
use super::{Flights, Inner, OpenError, Tables, reserve, unique_name};
use crate::state::{self, LayerRecord, SnapshotRecord, State};

pub(super) fn open(root: &Path, clock: Box<dyn Clock>) -> Result<Arc<Inner>, OpenError> {
    let directories = ["", "blobs", "blobs/sha256", "blobs/sha512", "layers", "l", "snapshots"];
    for directory in directories {
        let path = root.join(directory);
        // Programs inside containers reach their files through these, so others may pass, not look.
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&path).map_err(io_error(&path))?;
    }
    let lock = lock(root)?;
    make_ground(root).map_err(io_error(&root.join("ground")))?;
    let janitor = Janitor::start(root).map_err(io_error(root))?;
    reset_ingest(root, &janitor).map_err(io_error(&root.join("ingest")))?;

    let mut tables = Tables::default();
    read_layers(root, &janitor, &mut tables)?;
    read_snapshots(root, &janitor, &mut tables)?;
    read_state(root, &mut tables)?;
    let inner = Arc::new(Inner {
        root: root.to_owned(),
        tables: Mutex::new(Tables::default()),
        clock,
        janitor,
        flights: Flights::default(),
        _lock: lock,
    });
    for chain_id in tables.unused_layers() {
        // A use that comes and goes takes the layer away, and those below that only it used.
        tables.acquire(&chain_id);
        inner.layer_release(&mut tables, Some(&chain_id));
    }
    remove_unused_blobs(root, &tables).map_err(io_error(&root.join("blobs")))?;
    *inner.tables.lock() = tables;
    reserve::keep(root);
    Ok(inner)
}

/// Makes what lies below every image: what a runtime mounts over in every container. Without it the
/// runtime would make these in the container's own layer, and they would show as its changes.
fn make_ground(root: &Path) -> io::Result<()> {
    let ground = root.join("ground");
    for directory in ["", "dev", "dev/pts", "dev/shm", "etc", "proc", "sys"] {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(ground.join(directory))?;
    }
    for file in ["etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv"] {
        OpenOptions::new().create(true).append(true).mode(0o644).open(ground.join(file))?;
    }
    Ok(())
}

fn lock(root: &Path) -> Result<File, OpenError> {
    let path = root.join("lock");
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io_error(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(root.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

/// Sets aside what an earlier process did not finish, and begins with an empty directory.
fn reset_ingest(root: &Path, janitor: &Janitor) -> io::Result<()> {
    let ingest = root.join("ingest");
    let old = root.join(format!("trash-{}", unique_name()));
    match fs::rename(&ingest, &old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::DirBuilder::new().mode(0o700).create(&ingest)?;
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b"trash-") {
            janitor.remove(entry.path());
        }
    }
    Ok(())
}

fn read_layers(root: &Path, janitor: &Janitor, tables: &mut Tables) -> Result<(), OpenError> {
    let directory = root.join("layers");
    let mut records: Vec<LayerRecord> = Vec::new();
    for entry in fs::read_dir(&directory).map_err(io_error(&directory))? {
        let path = entry.map_err(io_error(&directory))?.path();
        match read_json::<LayerRecord>(&path.join("layer.json")) {
            Ok(Some(record)) if record.version == state::VERSION => records.push(record),
            found => {
                // The record is moved into place together with the layer, so this is damage from
                // outside or from a power failure. An image that needs the layer says so itself.
                tracing::warn!(path = %path.display(), ?found, "a layer without readable record is removed");
                let trash = root.join("ingest").join(unique_name());
                fs::rename(&path, &trash).map_err(io_error(&path))?;
                janitor.remove(trash);
            }
        }
    }
    // Parents first, so that every layer finds its parent in the table.
    let known: BTreeSet<Digest> = records.iter().map(|record| record.chain_id.clone()).collect();
    let mut placed: BTreeSet<Digest> = BTreeSet::new();
    while !records.is_empty() {
        let before = records.len();
        let mut waiting = Vec::new();
        for record in records {
            if record.parent.as_ref().is_none_or(|parent| placed.contains(parent) || !known.contains(parent))
            {
                placed.insert(record.chain_id.clone());
                restore_link(root, &record).map_err(io_error(&root.join("l")))?;
                tables.layer_insert(record);
            } else {
                waiting.push(record);
            }
        }
        if waiting.len() == before {
            break;
        }
        records = waiting;
    }
    Ok(())
}

/// Makes sure that the short name leads to the layer: the link is made after the layer, so a crash
/// may have come between.
fn restore_link(root: &Path, record: &LayerRecord) -> io::Result<()> {
    let link = root.join("l").join(&record.key);
    let target = Path::new("../layers").join(record.chain_id.hex()).join("fs");
    if fs::read_link(&link).is_ok_and(|found| found == target) {
        return Ok(());
    }
    let _ = fs::remove_file(&link);
    symlink(target, link)
}

fn read_snapshots(root: &Path, janitor: &Janitor, tables: &mut Tables) -> Result<(), OpenError> {
    let directory = root.join("snapshots");
    for entry in fs::read_dir(&directory).map_err(io_error(&directory))? {
        let entry = entry.map_err(io_error(&directory))?;
        let path = entry.path();
        let record = match read_json::<SnapshotRecord>(&path.join("snapshot.json")) {
            Ok(Some(record)) => record,
            Ok(None) => {
                let trash = root.join("ingest").join(unique_name());
                fs::rename(&path, &trash).map_err(io_error(&path))?;
                janitor.remove(trash);
                continue;
            }
            Err(source) => return Err(source),
        };
        if let Some(chain_id) = &record.chain_id
            && !tables.acquire(chain_id)
        {
            tracing::warn!(snapshot = %path.display(), %chain_id, "a snapshot lies on a layer that is gone");
        }
        tables.snapshots.insert(entry.file_name().to_string_lossy().into_owned(), record);
    }
    Ok(())
}

fn read_state(root: &Path, tables: &mut Tables) -> Result<(), OpenError> {
    #[derive(serde::Deserialize)]
    struct Probe {
        version: u32,
    }
    let path = root.join("state.json");
    let Some(probe) = read_json::<Probe>(&path)? else { return Ok(()) };
    if probe.version > state::VERSION {
        return Err(OpenError::Version { path, version: probe.version, known: state::VERSION });
    }
    let Some(state) = read_json::<State>(&path)? else { return Ok(()) };
    for (id, record) in state.images {
        let config = root.join("blobs").join(id.0.algorithm().as_str()).join(id.0.hex());
        let whole = fs::read(&config).is_ok_and(|content| id.0.verify(&content).is_ok());
        if !whole {
            tracing::warn!(image = %id, "an image whose configuration is missing or damaged is forgotten");
            continue;
        }
        if let Err(missing) = tables.layer_stack(record.layers.last()) {
            tracing::warn!(image = %id, layer = %missing, "an image whose layers are gone is forgotten");
            continue;
        }
        if let Some(top) = record.layers.last() {
            tables.acquire(top);
        }
        tables.images.insert(id, record);
    }
    tables.names = state.names;
    let images = &tables.images;
    tables.names.retain(|_, id| images.contains_key(id));
    Ok(())
}

/// Configurations that no image has come from work that was interrupted.
fn remove_unused_blobs(root: &Path, tables: &Tables) -> io::Result<()> {
    for algorithm in ["sha256", "sha512"] {
        let directory = root.join("blobs").join(algorithm);
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let used = Digest::parse(&format!("{algorithm}:{}", name.to_string_lossy()))
                .is_ok_and(|digest| tables.images.contains_key(&crate::image::ImageId(digest)));
            if !used {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

/// Reads a document; `None` if there is no such file.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, OpenError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(OpenError::Io { path: path.to_owned(), source }),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| OpenError::State { path: path.to_owned(), source })
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, source }
}
