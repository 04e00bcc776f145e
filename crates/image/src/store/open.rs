//! Opening a store: reading its tables and clearing away what was left unfinished.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use base::{Clock, RecordError, Trouble};
use oci::Digest;
use oci::digest::Algorithm;
use offload::{SharedThreads, Threads};
use parking_lot::Mutex;

use super::janitor::Janitor;
use super::journal::{log_id, log_path};
use super::survey::{DAMAGED_STATE, Survey};
use super::tables::Spared;
use super::{Flights, Inner, OpenError, StoreOptions, Tables, keep, reserve, unique_name};
use crate::state::{LayerRecord, LeaseRecord};

const BOOT: &str = "/proc/sys/kernel/random/boot_id";

pub(super) fn open(
    root: &Path,
    options: StoreOptions,
    clock: Box<dyn Clock>,
) -> Result<Arc<Inner>, OpenError> {
    let directories =
        ["", "blobs", "blobs/sha256", "blobs/sha512", "diffs", "empty", "layers", "l", "leases", "snapshots"];
    for directory in directories {
        let path = root.join(directory);
        // Programs inside containers reach their files through these, so others may pass, not look.
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&path).map_err(io_error(&path))?;
    }
    let lock = lock(root)?;
    let boot = boot().map_err(io_error(Path::new(BOOT)))?;
    // Nothing is changed before everything was looked at.
    let survey = Survey::of(root)?;
    let mut troubles = survey.troubles.clone();
    let may_collect = survey.is_clear();

    let tables = Arc::new(Mutex::new(Tables::default()));
    let janitor = {
        let (kept, tables) = (root.to_owned(), Arc::clone(&tables));
        Janitor::start(move || keep::keep(&kept, &tables)).map_err(io_error(root))?
    };
    tell(&mut troubles, "the ground of all containers", &root.join("ground"), make_ground(root));
    tell(&mut troubles, "unfinished work", &root.join("ingest"), reset_ingest(root, &janitor));
    let inner = Arc::new(Inner {
        root: root.to_owned(),
        options,
        boot,
        tables,
        clock,
        janitor,
        flights: Flights::default(),
        transfers: SharedThreads::new(super::TRANSFERS.0, super::TRANSFERS.1),
        files: Threads::new(super::FILES),
        troubles: Mutex::default(),
        _lock: lock,
    });
    let is_mended = survey.is_rebuilt || survey.is_damaged;
    let log = survey.state.log.clone();
    if is_mended {
        let path = root.join("state.json");
        set_aside(root, log.as_deref()).map_err(io_error(&path))?;
        // Of what was found beside the list nobody knows whether it was flushed, and it is going to be in it.
        tell(&mut troubles, "the images that were found", root, base::fs::sync_file_system(root));
    }
    let is_new = survey.is_new;
    let (torn, unread) = (survey.torn_layers.clone(), survey.unread_layers.clone());
    let mut filled = fill(root, survey, &mut troubles);
    leases_take_up(&inner, &mut filled);
    filled.distrust_leftovers();
    if !may_collect {
        let spared = files_of_unread(root, &filled, unread.iter().chain(&torn));
        filled.spare(spared);
    }
    if may_collect {
        tell(&mut troubles, "earlier logs of images", root, remove_old_logs(root, log.as_deref()));
        for name in torn {
            let path = root.join("layers").join(name);
            tell(&mut troubles, "a layer that was not finished", &path, inner.discard(&path));
        }
        for chain_id in filled.unused_layers() {
            // A use that comes and goes takes the layer away, and those below that only it used.
            filled.acquire(&chain_id);
            inner.layer_release(&mut filled, Some(&chain_id));
        }
        for path in base::fs::entries(&root.join("diffs")).unwrap_or_default() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // What is called otherwise is not ours.
            if is_files(&name) && !filled.has_files(&name) {
                tell(&mut troubles, "files of no layer", &path, inner.discard(&path));
            }
        }
        tell(&mut troubles, "an unused document", &root.join("blobs"), remove_unused_blobs(root, &filled));
    }
    if is_new || is_mended {
        // From now on a store without it has lost it. A full disk is no reason not to start.
        tell(&mut troubles, "the list of images", root, inner.persist(&mut filled).map_err(io::Error::other));
    }
    *inner.tables() = filled;
    inner.leases_expire();
    for trouble in &troubles {
        tracing::error!(path = %trouble.path.display(), problem = trouble.problem, "{} is left alone", trouble.subject);
    }
    *inner.troubles.lock() = troubles;
    reserve::keep(root, inner.tables().list_bytes());
    Ok(inner)
}

/// Makes the tables of what was found, and the short links that they need.
fn fill(root: &Path, survey: Survey, troubles: &mut Vec<Trouble>) -> Tables {
    let mut tables = Tables::new(survey.state.clone());
    // Also those of layers that cannot be read: containers may lie on them.
    for link in base::fs::entries(&root.join("l")).unwrap_or_default() {
        tables.key_taken(&link.file_name().unwrap_or_default().to_string_lossy());
    }
    for record in survey.layers {
        let subject = format!("the short name of layer {}", record.chain_id);
        tell(troubles, &subject, &root.join("l").join(&record.key), restore_link(root, &record));
        tables.layer_insert(record);
    }
    for (id, record) in survey.snapshots {
        tables.snapshot_insert(id, record);
    }
    tables.unread_snapshots = survey.unread_snapshots;
    for (id, record) in survey.state.images {
        tables.image_insert(id, record);
    }
    for (key, record) in survey.state.results {
        if !tables.result_insert(key.clone(), record) {
            tracing::info!(%key, "a layer of what a build came to is gone: it is going to be done again");
        }
    }
    tables.names = survey.state.names;
    let images = &tables.images;
    tables.names.retain(|_, named| images.contains_key(&named.image));
    for (digest, links) in survey.documents {
        tables.document_insert(&digest, links);
    }
    tables
}

/// Goes on with what a process before this one left unfinished, if the machine has run since: nothing of it
/// need have been flushed. What is of another boot, or cannot be read, is dropped with what it names.
fn leases_take_up(inner: &Arc<Inner>, tables: &mut Tables) {
    for path in base::fs::entries(&inner.root.join("leases")).unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match base::record::read::<LeaseRecord>(&path) {
            Ok(mut lease) if lease.boot == inner.boot => {
                lease.layers.retain(|chain_id| tables.acquire(chain_id));
                tables.leases.insert(name, lease);
            }
            Err(RecordError::Newer { .. }) => {}
            _ => {
                let _ = fs::remove_file(&path);
            }
        }
    }
}

/// The files that layers have whose records cannot be read: a container may stand on them. The short links
/// lead there; they are left when such a record is set aside.
fn files_of_unread<'a>(root: &Path, tables: &Tables, unread: impl Iterator<Item = &'a String>) -> Spared {
    let known: BTreeSet<&str> = tables.layers().map(|record| record.key.as_str()).collect();
    let (mut links, mut spared) = (0, BTreeSet::new());
    for link in base::fs::entries(&root.join("l")).unwrap_or_default() {
        if known.contains(&*link.file_name().unwrap_or_default().to_string_lossy()) {
            continue;
        }
        let Some(target) = fs::read_link(&link).ok().filter(|_| link.exists()) else { continue };
        links += 1;
        let files = target.parent().and_then(Path::file_name);
        spared.extend(files.map(|files| files.to_string_lossy().into_owned()));
    }
    let mut layers = 0;
    for name in unread {
        layers += 1;
        // What fits on those below it only, and the lowest of all, are called after the chain.
        let chain = name.split('.').next().unwrap_or(name);
        spared.extend([chain.to_owned(), format!("on-{chain}")]);
    }
    if links < layers { Spared::All } else { Spared::These(spared) }
}

/// Whether a directory of this name has files of layers.
fn is_files(name: &str) -> bool {
    let hex = name.strip_prefix("on-").unwrap_or(name);
    [Algorithm::Sha256, Algorithm::Sha512].iter().any(|algorithm| algorithm.hex_len() == hex.len())
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The boot of the machine.
fn boot() -> io::Result<String> {
    Ok(fs::read_to_string(BOOT)?.trim().to_owned())
}

/// Keeps a failure as something to tell.
fn tell(troubles: &mut Vec<Trouble>, subject: &str, path: &Path, done: io::Result<()>) {
    if let Err(error) = done {
        troubles.push(Trouble::new(subject, path, &error));
    }
}

/// Keeps a damaged list of images, with its log, where nobody writes over it: `log` is the one that it names,
/// if that could be read, and else any may be. The list itself stays until another takes its place, so that
/// whatever comes between is found as it was.
fn set_aside(root: &Path, log: Option<&str>) -> io::Result<()> {
    let name = format!("{DAMAGED_STATE}{}", unique_name());
    let state = root.join("state.json");
    let its = log.map(|id| log_path(root, id));
    for path in base::fs::entries(root)? {
        let found = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(id) = log_id(&found) else { continue };
        let aside = root.join(format!("{name}.{id}.log"));
        match &its {
            Some(its) if *its == path => fs::hard_link(&path, aside)?,
            Some(_) => {}
            None => fs::rename(&path, aside)?,
        }
    }
    match fs::hard_link(&state, root.join(&name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Logs of lists that are no more are left by a process that was killed between.
fn remove_old_logs(root: &Path, current: Option<&str>) -> io::Result<()> {
    let current = current.map(|id| log_path(root, id));
    for path in base::fs::entries(root)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if log_id(&name).is_some() && Some(&path) != current.as_ref() {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
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
    let aside = match fs::rename(&ingest, &old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::DirBuilder::new().mode(0o700).create(&ingest),
    };
    for path in base::fs::entries(root)? {
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"trash-")) {
            janitor.remove(path);
        }
    }
    aside
}

/// Makes sure that the short name leads to the layer: the link is made after the layer, so a crash
/// may have come between.
fn restore_link(root: &Path, record: &LayerRecord) -> io::Result<()> {
    let link = root.join("l").join(&record.key);
    let target = super::link_target(record);
    if fs::read_link(&link).is_ok_and(|found| found == target) {
        return Ok(());
    }
    let _ = fs::remove_file(&link);
    symlink(target, link)
}

/// Content that nothing leads to comes from work that was interrupted.
fn remove_unused_blobs(root: &Path, tables: &Tables) -> io::Result<()> {
    let mut first = Ok(());
    let reached = tables.reached();
    for algorithm in ["sha256", "sha512"] {
        for path in base::fs::entries(&root.join("blobs").join(algorithm))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // What is called otherwise is not ours, but for a write that was cut short.
            let is_used = match Digest::parse(&format!("{algorithm}:{name}")) {
                Ok(digest) => reached.contains(&digest),
                Err(_) => !name.starts_with('.'),
            };
            if !is_used {
                first = first.and(fs::remove_file(&path));
            }
        }
    }
    first
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use base::clock::ManualClock;

    use super::*;
    use crate::Store;
    use crate::state::encode;

    struct Shared(Arc<ManualClock>);

    impl Clock for Shared {
        fn now(&self) -> base::Timestamp {
            self.0.now()
        }

        fn elapsed(&self) -> Duration {
            self.0.elapsed()
        }
    }

    #[test]
    fn what_a_killed_pull_left_goes_with_a_prune_when_its_time_is_over() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (first, second) = (directory.path().join("first"), directory.path().join("second"));
        let store = Store::open(&first).expect("open");
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        archive.append_data(&mut header, "file", &b"x"[..]).expect("into memory");
        let archive = archive.into_inner().expect("into memory");
        let layer = store.layer_unpack(None, &archive[..]).expect("unpack");
        let now: base::Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let lease = LeaseRecord {
            boot: store.inner.boot.clone(),
            until: now + Duration::from_secs(3600),
            content: BTreeSet::new(),
            layers: BTreeSet::from([layer.chain_id().clone()]),
        };
        fs::write(first.join("leases/a.json"), encode(&lease)).expect("write");
        // What is there when the process is killed.
        let copied = std::process::Command::new("cp").arg("-a").arg(&first).arg(&second).status();
        assert!(copied.expect("run cp").success());

        let clock = Arc::new(ManualClock::new(now));
        let inner = open(&second, StoreOptions::default(), Box::new(Shared(Arc::clone(&clock))));
        let store = Store { inner: inner.expect("open") };
        let prune = || store.image_prune(true, &HashSet::new(), |_| true).expect("prune").reclaimed;
        let layers = || base::fs::entries(&second.join("layers")).expect("layers").len();
        assert_eq!((prune(), layers()), (0, 1), "somebody may go on with it");
        assert!(store.inner.tables().is_unflushed(layer.chain_id()), "nobody waited for the disk");
        clock.advance(Duration::from_secs(3601));
        assert_eq!((prune(), layers()), (1, 0));
        assert!(base::fs::entries(&second.join("leases")).expect("leases").is_empty());
    }
}
