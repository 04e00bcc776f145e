//! Files for the client: a directory or an archive of them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::Timestamp;
use base::cancel::Cancel;
use oci::Hasher;
use rustix::fs::{FileType, Mode, OFlags};

use super::attest::{self, Said, Subject};
use super::attributes::Attributes;
use super::parts::{Part, parts};
use super::{Exporter, warn_of};
use crate::files::{Owner, Target, Tree, write_file};
use crate::ignore::Ignore;
use crate::solve::attach::{Attached, Snapshot};
use crate::solve::reference::Outcome;
use crate::solve::session::Transferred;
use crate::solve::shown::Shown;
use crate::solve::value::{self, Chain, Root, Value};
use crate::solve::{SolveError, now};

/// What is handed over, and what keeps it there.
struct Gathered {
    /// The trees, and what each is called where they are not put next to each other.
    trees: Vec<OwnedFd>,
    _kept: Kept,
}

/// In the order in which it goes.
#[derive(Default)]
struct Kept {
    _attached: Option<Attached>,
    _roots: Vec<Root>,
    _written: Vec<Arc<Snapshot>>,
}

/// A tree of a part.
enum Grown {
    /// As it was built.
    Root(Root),
    /// With statements in it.
    Written(OwnedFd, Arc<Snapshot>),
}

pub(super) async fn to_directory(
    shown: &Shown,
    outcome: &Outcome,
    exporter: &Exporter,
) -> Result<BTreeMap<String, String>, SolveError> {
    let gathered = gather(shown, outcome, exporter).await?;
    if gathered.trees.len() > 1 {
        check_apart(&gathered.trees).await?;
    }
    let part = shown.part("copying files");
    for tree in &gathered.trees {
        // Who sends has this process's descriptors.
        let directory = PathBuf::from(format!("/proc/self/fd/{}", tree.as_raw_fd()));
        let told = |transferred: Transferred| part.at(transferred.bytes);
        shown.job().session()?.send_tree(&exporter.id, &directory, &told).await?;
    }
    Ok(BTreeMap::new())
}

pub(super) async fn to_archive(
    shown: &Shown,
    outcome: &Outcome,
    exporter: &Exporter,
) -> Result<BTreeMap<String, String>, SolveError> {
    let mut gathered = gather(shown, outcome, exporter).await?;
    let (Some(tree), true) = (gathered.trees.pop(), gathered.trees.is_empty()) else {
        return Err(SolveError::Unsupported(
            "platform-split=false: an archive of several platforms has a directory for each".to_owned(),
        ));
    };
    let pieces = shown.job().solver().engine().tree_export("build", tree);
    super::send(shown, exporter, &BTreeMap::new(), async { Ok(pieces.await?) }).await?;
    Ok(BTreeMap::new())
}

/// The trees of all parts: one of its own for a single one, or a directory for each in one.
async fn gather(shown: &Shown, outcome: &Outcome, exporter: &Exporter) -> Result<Gathered, SolveError> {
    let job = shown.job();
    let attributes = Attributes::read(exporter, None)?;
    warn_of(job, &attributes);
    let parts = parts(job, outcome, Some(&attributes))?;
    let several = !outcome.refs.is_empty();
    let is_split = attributes.platform_split.unwrap_or(several);
    let said = attest::said(job, outcome, &parts).await?;
    let (mut trees, mut kept) = (Vec::new(), Kept::default());
    for (part, said) in parts.iter().zip(&said) {
        let said: Vec<&Said> = said.iter().filter(|said| !said.inline_only).collect();
        let names = names(&said, part, &attributes, several && !is_split)?;
        match grow(shown, part, &said, names).await? {
            Grown::Root(root) => {
                trees.push(root.fd.try_clone().map_err(SolveError::io("keep what was built"))?);
                kept._roots.push(root);
            }
            Grown::Written(fd, snapshot) => {
                trees.push(fd);
                kept._written.push(snapshot);
            }
        }
    }
    if !is_split {
        return Ok(Gathered { trees, _kept: kept });
    }
    let root = job.solver().inner.root.clone();
    let named: Vec<String> = parts.iter().map(|part| part.id.replace('/', "_")).collect();
    let (attached, whole) = job
        .blocking(move || -> Result<(Attached, OwnedFd), SolveError> {
            let mut attached = Attached::new(&root)?;
            let place = attached.place()?;
            for (tree, name) in trees.iter().zip(&named) {
                attached.mount_at(tree, &place.join(name))?;
            }
            rustix::fs::chmod(&place, Mode::from_raw_mode(0o755))
                .map_err(|error| SolveError::io("gather what was built")(error.into()))?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let whole = rustix::fs::open(&place, flags, Mode::empty())
                .map_err(|error| SolveError::io("gather what was built")(error.into()))?;
            Ok((attached, whole))
        })
        .await?;
    kept._attached = Some(attached);
    Ok(Gathered { trees: vec![whole], _kept: kept })
}

/// The files that statements are in.
fn names(
    said: &[&Said],
    part: &Part,
    attributes: &Attributes,
    is_mixed: bool,
) -> Result<Vec<String>, SolveError> {
    let name = |said: &&Said| {
        let name = format!("{}{}", attributes.attestation_prefix, said.file);
        if !is_mixed {
            return name;
        }
        let of = part.id.replace('/', "_");
        match name.rsplit_once('.') {
            Some((stem, extension)) => format!("{stem}.{of}.{extension}"),
            None => format!("{name}.{of}"),
        }
    };
    let names: Vec<String> = said.iter().map(name).collect();
    if let Some(twice) = attest::twice(names.iter().map(String::as_str)) {
        return Err(SolveError::Invalid(format!("duplicate attestation path name {twice}")));
    }
    if let Some(odd) = names.iter().find(|name| name.contains('/') || matches!(&***name, "" | "." | "..")) {
        return Err(SolveError::Invalid(format!("{odd:?} is no name of a file for an attestation")));
    }
    Ok(names)
}

/// The tree of a part, with what is said of it.
async fn grow(shown: &Shown, part: &Part, said: &[&Said], names: Vec<String>) -> Result<Grown, SolveError> {
    let job = shown.job();
    let value = match &part.reference {
        Some(reference) => reference.value().await?,
        None => Value::Chain(Chain::default()),
    };
    if said.is_empty() {
        return value::root(job, &value).await.map(Grown::Root);
    }
    let chain = value::chain(job, &value).await?;
    let root = value::root(job, &Value::Chain(chain.clone())).await?;
    let cancel = job.inner.cancel.clone();
    let subjects = job.blocking(move || subjects(root.fd, &cancel)).await?;
    let printed: Result<Vec<Vec<u8>>, SolveError> =
        said.iter().map(|said| said.of(&subjects).print_pretty()).collect();
    let (printed, made) = (printed?, part.epoch.unwrap_or_else(now));
    let store = job.solver().inner.store.clone();
    let written = job.blocking(move || -> Result<(OwnedFd, Snapshot), SolveError> {
        let snapshot = Snapshot::new(&store, &chain)?;
        let fd = store.snapshot_mount(snapshot.id())?;
        let copy = fd.try_clone().map_err(SolveError::io("write down what is said of a result"))?;
        write(&Target::new(copy), &names, &printed, made)?;
        Ok((fd, snapshot))
    });
    let (fd, snapshot) = written.await?;
    Ok(Grown::Written(fd, Arc::new(snapshot)))
}

fn write(target: &Target, names: &[String], printed: &[Vec<u8>], made: Timestamp) -> Result<(), SolveError> {
    for (name, bytes) in names.iter().zip(printed) {
        let path = Path::new("/").join(name);
        write_file(target, &path, &mut &bytes[..], 0o600, Some(made.as_second()), Owner::default())?;
    }
    Ok(())
}

/// All regular files of a tree, with what is in them.
fn subjects(root: OwnedFd, cancel: &Cancel) -> Result<Vec<Subject>, SolveError> {
    let tree = Tree::new(root, Ignore::default(), cancel);
    let mut subjects = Vec::new();
    for entry in tree.entries(Path::new(""), &Ignore::default())? {
        if entry.kind() != FileType::RegularFile {
            continue;
        }
        let (mut hasher, mut buffer) = (Hasher::sha256(), vec![0; 128 << 10]);
        let mut file = tree.file(&entry.path)?;
        let failed = |error| SolveError::io("read what was built")(error);
        loop {
            cancel.check().map_err(failed)?;
            match file.read(&mut buffer).map_err(failed)? {
                0 => break,
                got => hasher.update(&buffer[..got]),
            }
        }
        subjects.push(Subject::new(entry.path.to_string_lossy().into_owned(), &hasher.finish()));
    }
    Ok(subjects)
}

/// Refuses files that are in several of the trees, which come to one place.
async fn check_apart(trees: &[OwnedFd]) -> Result<(), SolveError> {
    let copies: Result<Vec<OwnedFd>, std::io::Error> = trees.iter().map(OwnedFd::try_clone).collect();
    let copies = copies.map_err(SolveError::io("look into what was built"))?;
    crate::solve::blocking(move || {
        let mut seen = std::collections::HashSet::new();
        for tree in copies {
            let tree = Tree::new(tree, Ignore::default(), &Cancel::default());
            for entry in tree.entries(Path::new(""), &Ignore::default())? {
                if entry.kind() == FileType::Directory || seen.insert(entry.path.clone()) {
                    continue;
                }
                return Err(SolveError::Invalid(format!(
                    "cannot overwrite {} of one platform with that of another when split option is disabled",
                    entry.path.display()
                )));
            }
        }
        Ok(())
    })
    .await
}
