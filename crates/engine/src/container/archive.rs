//! Copying files out of and into a container, running or not.
//!
//! Every path is resolved inside the container's root: no symbolic link leads out of it.

mod unpack;
mod write;

use std::borrow::Cow;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use base::Timestamp;
use runtime::held::HeldProcess;
use rustix::fs::{AtFlags, FileType, OFlags, readlinkat, statat};

use super::record::ContainerRecord;
use super::source::Source;
use super::spec::MountSource;
use crate::engine::Engine;
use crate::error::{Context, Error, Result};
use crate::id::ContainerId;
use crate::registry::ContainerCell;
use crate::rootfs::RootFs;
use crate::stream::ByteStream;
use crate::users;
use crate::work::{foreign, transfer};

pub(super) use write::write;

/// What a path in a container is.
#[derive(Clone, Debug)]
pub struct PathStat {
    /// Its last part.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Type and permission bits, as `stat` gives them.
    pub mode: u32,
    /// When its content last changed.
    pub modified: Timestamp,
    /// Where a symbolic link leads in the end, resolved inside the container; empty otherwise.
    pub link_target: String,
}

/// How an archive is unpacked into a container.
#[derive(Clone, Copy, Debug, Default)]
pub struct ArchivePut {
    /// Refuses to replace a directory by something else, and the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// Gives everything to the container's user instead of the owners that the archive names.
    pub copy_ownership: bool,
}

impl Engine {
    /// What `path` is; `Could not find the file …` where there is none.
    pub async fn container_archive_stat(&self, id: &ContainerId, path: &str) -> Result<PathStat> {
        let cell = self.inner.registry.get(id)?;
        let path = absolute(path);
        let (engine, held) = (self.clone(), self.running_process(&cell).await?);
        foreign([id.to_string()], move || {
            let (root, inner) = look_into(&engine, &cell, held.as_ref(), &path)?;
            stat(&root, &inner, &path).map_err(|error| not_found(error, &cell, &path))
        })
        .await
    }

    /// The file or directory `path` as a tar archive whose entries begin with its last part: with `/` for the root,
    /// with `./` for a path that ends so.
    pub async fn container_archive_get(
        &self,
        id: &ContainerId,
        path: &str,
    ) -> Result<(PathStat, ByteStream)> {
        let cell = self.inner.registry.get(id)?;
        let path = absolute(path);
        let told = Arc::clone(&cell);
        let transfer = transfer(of_container(id)).await?;
        let (engine, held) = (self.clone(), self.running_process(&cell).await?);
        let (root, inner, stat) = foreign([id.to_string()], move || {
            let (root, inner) = look_into(&engine, &cell, held.as_ref(), &path)?;
            let stat = stat(&root, &inner, &path).map_err(|error| not_found(error, &cell, &path))?;
            Ok((root, inner, stat))
        })
        .await?;
        let name = stat.name.clone();
        self.emit(&told, "archive-path", &[]);
        Ok((stat, self.stream_from(transfer, move |out| write(&root, &entered(&inner), &name, out))))
    }

    /// Unpacks a tar archive (also a compressed one) into the directory `path`, which must exist.
    pub async fn container_archive_put(
        &self,
        id: &ContainerId,
        path: &str,
        options: ArchivePut,
        archive: ByteStream,
    ) -> Result<()> {
        let cell = self.inner.registry.get(id)?;
        let path = absolute(path);
        let transfer = transfer(of_container(id)).await?;
        let told = Arc::clone(&cell);
        // A container that does not run must not be started while its layers are written to.
        let operation = Arc::clone(&cell.operation).lock_owned().await;
        let operation = (!cell.status().is_active()).then_some(operation);
        let (engine, held) = (self.clone(), self.running_process(&cell).await?);
        let unpacking = transfer.upload(archive, move |archive| {
            let _operation = operation;
            let Place { root, inner, whole } = write_into(&engine, &cell, held.as_ref(), &path)?;
            let target = root.open(&inner, OFlags::PATH).map_err(|error| not_found(error, &cell, &path))?;
            if !is_directory(&target, &path)? {
                return Err(no_directory());
            }
            let owner = if options.copy_ownership {
                let resolved = &cell.record().resolved;
                let identity = users::look_up(std::os::fd::AsFd::as_fd(&root), &resolved.user, &[])?;
                Some((identity.uid, identity.gid))
            } else {
                None
            };
            // What is mounted below the directory is in its place while the container runs; otherwise what
            // would go there is known by its path.
            let record = cell.record();
            let admit =
                |below: &str| match innermost(&record, &format!("{}/{below}", whole.trim_end_matches('/'))) {
                    Some((index, _)) if !record.mounts[index].writable => Err(marked_read_only()),
                    _ => Ok(()),
                };
            unpack::unpack(&root, &inner, options.no_overwrite_dir_non_dir, owner, &admit, archive)
        });
        unpacking.await?;
        self.emit(&told, "extract-to-dir", &[]);
        Ok(())
    }
}

/// What archives of a container are called where their threads are counted.
pub(super) fn of_container(id: &ContainerId) -> String {
    format!("container {id}")
}

/// The root to read from, and the path in it.
fn look_into(
    engine: &Engine,
    cell: &ContainerCell,
    held: Option<&HeldProcess>,
    path: &str,
) -> Result<(RootFs, String)> {
    if let Some(held) = held {
        let users = engine.users_of(&cell.sandbox)?;
        return Ok((RootFs::of_process(held, users)?, path.to_owned()));
    }
    match mounted(engine, cell, path)? {
        Some(mounted) => Ok(mounted),
        None => Ok((RootFs::read_only(&cell.record().layers)?, path.to_owned())),
    }
}

/// Where an archive is unpacked.
struct Place {
    root: RootFs,
    /// The path in it.
    inner: String,
    /// The path in the container.
    whole: String,
}

/// How many mounts the links on the way to a directory may lead to.
const TURNS: usize = 8;

/// How many links on the way to a file are followed, as the kernel does.
const LINKS: usize = 40;

/// Where to write; refuses what must not be written.
fn write_into(
    engine: &Engine,
    cell: &ContainerCell,
    held: Option<&HeldProcess>,
    path: &str,
) -> Result<Place> {
    // From here everything would be made as the host's root, who is nobody in there.
    if held.is_some() && engine.users_of(&cell.sandbox)?.is_some() {
        return Err(Error::conflict(format!(
            "container {} has users of its own: while it runs, only programs inside can write its files (`kubectl cp` uses one)",
            cell.id
        )));
    }
    let record = cell.record();
    let mut whole = path.to_owned();
    for _ in 0..TURNS {
        let mount = innermost(&record, &whole);
        match &mount {
            Some((index, _)) if !record.mounts[*index].writable => return Err(marked_read_only()),
            None if record.spec.read_only_rootfs => {
                return Err(Error::invalid("container rootfs is marked read-only"));
            }
            _ => {}
        }
        let root = match (held, mount) {
            (Some(held), _) => RootFs::of_process(held, None)?,
            (None, None) => RootFs::writable(&record.layers)?,
            (None, Some((index, rest))) => {
                let root = of_mount(engine, &record, index)?.ok_or_else(no_directory)?;
                return Ok(Place { root, inner: rest, whole });
            }
        };
        let target = root.open(&whole, OFlags::PATH).map_err(|error| not_found(error, cell, path))?;
        let found = std::fs::read_link(format!("/proc/self/fd/{}", target.as_raw_fd()));
        let found = found.context(|| format!("look at {path}"))?;
        // Links on the way may have led to what is mounted elsewhere.
        match found.to_str() {
            Some(found) if found != super::resolve::clean(&whole) && innermost(&record, found).is_some() => {
                found.clone_into(&mut whole);
            }
            _ => return Ok(Place { root, inner: whole.clone(), whole }),
        }
    }
    Err(Error::not_found(format!("Could not find the file {path} in container {}", cell.id)))
}

fn marked_read_only() -> Error {
    Error::invalid("mounted volume is marked read-only")
}

fn no_directory() -> Error {
    Error::invalid("extraction point is not a directory")
}

fn is_directory(file: &OwnedFd, path: &str) -> Result<bool> {
    let mode = rustix::fs::fstat(file).context(|| format!("look at {path}"))?.st_mode;
    Ok(FileType::from_raw_mode(mode) == FileType::Directory)
}

/// What is mounted over `path` when the container runs, and the rest of the path in it; files that
/// are mounted are not looked at.
fn mounted(engine: &Engine, cell: &ContainerCell, path: &str) -> Result<Option<(RootFs, String)>> {
    let record = cell.record();
    for (index, rest) in covering(&record, path) {
        if let Some(MountSource::Image { subpath, .. }) =
            record.spec.mounts.get(index).map(|mount| &mount.source)
        {
            let part = subpath.as_deref().unwrap_or_default();
            return Ok(Some((super::images::root(engine, &record, index)?, format!("/{part}{rest}"))));
        }
        if let Some(root) = of_mount(engine, &record, index)? {
            return Ok(Some((root, rest)));
        }
    }
    Ok(None)
}

/// The directory that a mount shows, which is no image's; `None` for a file. What is in memory is empty until the
/// container runs, and so again when it ends.
fn of_mount(engine: &Engine, record: &ContainerRecord, index: usize) -> Result<Option<RootFs>> {
    let mount = record.spec.mounts.get(index);
    if let Some(MountSource::Tmpfs { .. }) = mount.map(|mount| &mount.source) {
        return RootFs::in_memory().map(Some);
    }
    let Some(source) = Source::of_mount(engine, mount, &record.mounts[index])? else { return Ok(None) };
    Ok((source.kind()? == FileType::Directory).then(|| RootFs::of_directory(source.fd, source.held)))
}

/// The innermost mount over `path`, and the rest of the path in it.
fn innermost(record: &ContainerRecord, path: &str) -> Option<(usize, String)> {
    covering(record, path).into_iter().next()
}

/// All mounts over `path`, the innermost first, each with the rest of the path in it.
fn covering(record: &ContainerRecord, path: &str) -> Vec<(usize, String)> {
    let mut covering: Vec<(usize, String)> = covering_all(record, path).collect();
    // What is seen there is the innermost of them, and of those at one place the last.
    covering.sort_by_key(|(index, rest)| (rest.len(), std::cmp::Reverse(*index)));
    covering
}

/// The places of all mounts over `path`, each with the rest of the path in it.
fn covering_all(record: &ContainerRecord, path: &str) -> impl Iterator<Item = (usize, String)> {
    record.mounts.iter().enumerate().filter_map(move |(index, point)| {
        let rest = path.strip_prefix(point.target.trim_end_matches('/'))?;
        let rest = if rest.is_empty() { "/" } else { rest };
        rest.starts_with('/').then(|| (index, rest.to_owned()))
    })
}

fn stat(root: &RootFs, inner: &str, asked: &str) -> rustix::io::Result<PathStat> {
    let (parent, name) = root.open_parent(&entered(inner))?;
    let meta = statat(&parent, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
    let link_target = match FileType::from_raw_mode(meta.st_mode) {
        FileType::Symlink => {
            let target = readlinkat(&parent, name.as_str(), Vec::new())?.to_string_lossy().into_owned();
            let target = resolve(asked, &target);
            // A mount's own root knows nothing of the paths around it.
            if inner == asked { followed(root, target) } else { target }
        }
        _ => String::new(),
    };
    let modified = Timestamp::new(meta.st_mtime, i32::try_from(meta.st_mtime_nsec).unwrap_or_default());
    Ok(PathStat {
        name: last_part(asked),
        size: u64::try_from(meta.st_size).unwrap_or_default(),
        mode: meta.st_mode,
        modified: modified.unwrap_or(Timestamp::UNIX_EPOCH),
        link_target,
    })
}

/// A path whose last part is entered where a slash at its end says so: it names the directory, by a link too.
fn entered(path: &str) -> Cow<'_, str> {
    match path {
        "/" => path.into(),
        path if path.ends_with('/') => format!("{path}.").into(),
        path => path.into(),
    }
}

/// Where all links on a path lead, as far as there is something; the path itself where they go round.
fn followed(root: &RootFs, path: String) -> String {
    let mut done: Vec<String> = Vec::new();
    let mut rest: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
    let mut turns = 0;
    while let Some(part) = rest.pop() {
        match &*part {
            "" | "." => continue,
            ".." => {
                done.pop();
                continue;
            }
            _ => {}
        }
        let here = format!("/{}/{part}", done.join("/"));
        let link = root
            .open_parent(&here)
            .and_then(|(parent, name)| readlinkat(&parent, name.as_str(), Vec::new()))
            .map(|target| target.to_string_lossy().into_owned());
        let Ok(target) = link else {
            done.push(part);
            continue;
        };
        turns += 1;
        if turns > LINKS {
            return path;
        }
        if target.starts_with('/') {
            done.clear();
        }
        rest.extend(target.rsplit('/').map(str::to_owned));
    }
    format!("/{}", done.join("/"))
}

fn last_part(path: &str) -> String {
    match path.trim_end_matches('/').rsplit('/').next() {
        None | Some("") => "/".to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// Where a link at `path` leads.
fn resolve(path: &str, target: &str) -> String {
    let parent = Path::new(path.trim_end_matches('/')).parent().unwrap_or(Path::new("/"));
    super::resolve::clean(parent.join(target).to_str().unwrap_or("/"))
}

/// A path from the root on, without detours; that it is a directory, or what is in one, is still said at its end.
fn absolute(path: &str) -> String {
    let clean = super::resolve::clean(&format!("/{path}"));
    match path.trim_end_matches('/').rsplit('/').next() {
        Some(".") => format!("{}/.", clean.trim_end_matches('/')),
        _ if path.ends_with('/') && clean != "/" => format!("{clean}/"),
        _ => clean,
    }
}

fn not_found(error: rustix::io::Errno, cell: &ContainerCell, path: &str) -> Error {
    match error {
        // It is there, but is no directory, as the slash at the end says.
        rustix::io::Errno::NOTDIR if path.ends_with('/') => {
            Error::invalid(format!("{path} in container {} is not a directory", cell.id))
        }
        rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP => {
            Error::not_found(format!("Could not find the file {path} in container {}", cell.id))
        }
        error => Error::internal(format!("look at {path}")).with_source(std::io::Error::from(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_resolved_inside_the_container() {
        assert_eq!(resolve("/a/link", "b"), "/a/b");
        assert_eq!(resolve("/a/link", "/b/../c"), "/c");
        assert_eq!(resolve("/a/link", "../../../x"), "/x");
    }

    #[test]
    fn a_path_is_taken_as_it_reads() {
        let check = |path: &str, expected: &str| assert_eq!(absolute(path), expected, "{path:?}");
        for root in ["", "/", "..", "//", "a/../"] {
            check(root, "/");
        }
        for entered in [".", "/.", "./", "/./", "../."] {
            check(entered, "/.");
        }
        check("a//b/", "/a/b/");
        check("/a/../b/.", "/b/.");
        check("/a/./../../b", "/b");
    }

    #[test]
    fn a_slash_at_the_end_enters() {
        for (path, expected) in [("/", "/"), ("/a", "/a"), ("/a/", "/a/."), ("/a/.", "/a/.")] {
            assert_eq!(entered(path), expected);
        }
    }

    #[test]
    fn links_are_followed_to_their_end() {
        let tree = tempfile::tempdir().expect("a directory");
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, tree.path().join(name)).expect("a link");
        };
        std::fs::create_dir_all(tree.path().join("real/deep")).expect("directories");
        link("second", "first");
        link("/real", "second");
        link("../../../absent/x", "broken");
        link("round", "round");
        link("deep/../../second/deep", "real/in");
        let root = RootFs::of_directory(std::fs::File::open(tree.path()).expect("open").into(), None);
        for (path, expected) in [
            ("/real", "/real"),
            ("/second", "/real"),
            ("/first/deep", "/real/deep"),
            ("/real/in", "/real/deep"),
            ("/broken", "/absent/x"),
            ("/round", "/round"),
            ("/../first/../first", "/real"),
        ] {
            assert_eq!(followed(&root, path.to_owned()), expected, "{path}");
        }
    }

    #[test]
    fn the_last_part_of_a_path_names_it() {
        assert_eq!(last_part("/a/b/"), "b");
        assert_eq!(last_part("/"), "/");
        assert_eq!(last_part("/a/."), ".");
    }
}
