//! Unpacking a tar archive into a directory of a root file system, confined to that root.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use base::place::Place;
use image::{Attributes, CopyError, Entry};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timestamps, linkat, mkdirat, mknodat, openat, statat, symlinkat,
    unlinkat,
};
use tar::EntryType;

use crate::error::{Error, Result};
use crate::rootfs::RootFs;

const COPY_BUFFER: usize = 256 << 10;

/// Unpacks `archive` into the directory `target` of `root`. With `keep_kinds` no directory is
/// replaced by something else, nor the other way round; `owner` goes over the archive's. `admit` is asked
/// for each path below the target.
pub(super) fn unpack(
    root: &RootFs,
    target: &str,
    keep_kinds: bool,
    owner: Option<(u32, u32)>,
    admit: &dyn Fn(&str) -> Result<()>,
    archive: impl Read,
) -> Result<()> {
    let mut archive = image::Entries::new(image::inflated(archive).map_err(bad_archive)?);
    let target = target.trim_end_matches('/');
    let buffer = vec![0; COPY_BUFFER];
    let mut unpacking = Unpacking { root, target, keep_kinds, owner, admit, times: Vec::new(), buffer };
    archive.each(bad_archive, |entry| unpacking.entry(entry))?;
    unpacking.finish();
    // Whoever sends the archive wants to see it taken whole; what follows its end is of no use.
    let _ = io::copy(&mut archive.into_rest(), &mut io::sink());
    Ok(())
}

struct Unpacking<'a> {
    root: &'a RootFs,
    target: &'a str,
    /// A directory stays one, and so does what is none.
    keep_kinds: bool,
    /// Whom everything is given to, whatever the archive says.
    owner: Option<(u32, u32)>,
    /// Refuses paths below the target.
    admit: &'a dyn Fn(&str) -> Result<()>,
    /// Times of directories, set last: what is put into them changes them.
    times: Vec<(String, Timestamps)>,
    buffer: Vec<u8>,
}

impl Unpacking<'_> {
    fn entry(&mut self, mut entry: Entry<'_, impl Read>) -> Result<()> {
        let path = entry.path().to_owned();
        let Some(inner) = inside(&path)? else {
            return Ok(());
        };
        (self.admit)(&inner)?;
        let failed =
            |source: io::Error| Error::internal(format!("unpack `{}`", path.display())).with_source(source);
        let attributes = entry.attributes().map_err(bad_archive)?;
        let full = format!("{}/{inner}", self.target);
        let (parent, name) = self.parent(&full).map_err(failed)?;
        self.make_room(&parent, &name, entry.kind(), &path)?;
        let made = self.make(&mut entry, &parent, &name).map_err(|error| match error {
            CopyError::Read(source) => bad_archive(source),
            CopyError::Write(source) => failed(source),
        })?;
        if let Some(made) = made {
            self.dress(entry.kind(), &attributes, &made, full).map_err(failed)?;
        }
        Ok(())
    }

    /// The directory that `path` is in, made where it is missing.
    fn parent(&self, path: &str) -> io::Result<(OwnedFd, String)> {
        match self.root.open_parent(path) {
            Err(rustix::io::Errno::NOENT) => {
                let Some((above, _)) = path.trim_end_matches('/').rsplit_once('/') else {
                    return Err(io::ErrorKind::NotFound.into());
                };
                let (parent, name) = self.parent(above)?;
                mkdirat(&parent, name.as_str(), Mode::from_raw_mode(0o755))?;
                Ok(self.root.open_parent(path)?)
            }
            other => Ok(other?),
        }
    }

    /// Takes away what is in the way of an entry of kind `kind`.
    fn make_room(&self, parent: &OwnedFd, name: &str, kind: EntryType, path: &Path) -> Result<()> {
        let Ok(meta) = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
        let is_directory = FileType::from_raw_mode(meta.st_mode) == FileType::Directory;
        let becomes_directory = kind == EntryType::Directory;
        if is_directory && becomes_directory {
            return Ok(());
        }
        if self.keep_kinds && is_directory != becomes_directory {
            let (old, new) =
                if is_directory { ("directory", "non-directory") } else { ("non-directory", "directory") };
            return Err(Error::invalid(format!("cannot overwrite {old} {:?} with {new} {:?}", path, path)));
        }
        let removed = if is_directory {
            remove_tree(parent, name)
        } else {
            unlinkat(parent, name, AtFlags::empty()).map_err(io::Error::from)
        };
        removed.map_err(|source| Error::internal(format!("replace `{}`", path.display())).with_source(source))
    }

    /// Makes what an entry says; what was made, unless it is only a further name of something.
    ///
    /// Whoever runs in the container may put something else under the name at any moment, so that
    /// it is used no more: what follows is done to the place that was made.
    fn make(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        parent: &OwnedFd,
        name: &str,
    ) -> Result<Option<Place>, CopyError> {
        if !matches!(entry.kind(), EntryType::Regular | EntryType::Continuous) {
            return self.make_special(entry, parent, name).map_err(CopyError::Write);
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(parent, name, flags, Mode::from_raw_mode(0o600));
        let mut file = File::from(file.map_err(|error| CopyError::Write(error.into()))?);
        if let Err(error) = entry.copy_to(&mut file, &mut self.buffer, |_| Ok(())) {
            // Half a file is worse than none, and on a full disk it takes the last of the space.
            let _ = unlinkat(parent, name, AtFlags::empty());
            return Err(error);
        }
        Ok(Some(Place::of(file)))
    }

    /// Makes what has no content.
    fn make_special(
        &self,
        entry: &Entry<'_, impl Read>,
        parent: &OwnedFd,
        name: &str,
    ) -> io::Result<Option<Place>> {
        let node = |kind: FileType, device: u64| -> io::Result<Option<Place>> {
            mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device)?;
            Place::made(parent, name, kind).map(Some)
        };
        match entry.kind() {
            EntryType::Directory => {
                match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
                    Err(rustix::io::Errno::EXIST) => {}
                    other => other?,
                }
                Place::made(parent, name, FileType::Directory).map(Some)
            }
            EntryType::Symlink => {
                let target = entry.link().ok_or(io::ErrorKind::InvalidData)?;
                symlinkat(target, parent, name)?;
                Place::made(parent, name, FileType::Symlink).map(Some)
            }
            EntryType::Link => {
                let target = entry.link().ok_or(io::ErrorKind::InvalidData)?;
                let inner = inside(target).ok().flatten().ok_or(io::ErrorKind::InvalidData)?;
                let (from, from_name) = self.root.open_parent(&format!("{}/{inner}", self.target))?;
                linkat(&from, from_name.as_str(), parent, name, AtFlags::empty())?;
                Ok(None)
            }
            EntryType::Fifo => node(FileType::Fifo, 0),
            EntryType::Char => node(FileType::CharacterDevice, entry.device()?),
            EntryType::Block => node(FileType::BlockDevice, entry.device()?),
            // Volume labels and the like say nothing about files.
            _ => Ok(None),
        }
    }

    /// Gives what was made its owner, mode, attributes and times.
    fn dress(
        &mut self,
        kind: EntryType,
        attributes: &Attributes,
        made: &Place,
        path: String,
    ) -> io::Result<()> {
        let (uid, gid) = self.owner.unwrap_or((attributes.uid, attributes.gid));
        made.set_owner(uid, gid)?;
        if kind != EntryType::Symlink {
            made.set_mode(attributes.mode)?;
            for (name, value) in &attributes.xattrs {
                made.set_attribute(name, value)?;
            }
        }
        if kind == EntryType::Directory {
            self.times.push((path, attributes.times.clone()));
        } else {
            made.set_times(&attributes.times)?;
        }
        Ok(())
    }

    fn finish(self) {
        for (path, times) in self.times.into_iter().rev() {
            // A later entry, or somebody in the container, may have replaced it by now.
            let Ok((parent, name)) = self.root.open_parent(&path) else { continue };
            if let Ok(directory) = Place::made(&parent, name.as_str(), FileType::Directory) {
                let _ = directory.set_times(&times);
            }
        }
    }
}

/// Removes the directory `name` with all that is in it.
fn remove_tree(parent: &OwnedFd, name: &str) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // Without following links that others put in its way.
    base::tree::remove(&Path::new(&format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name))
}

/// The path of an entry below the directory that is unpacked into; nothing for that directory itself. A name that
/// climbs leads no further than there.
fn inside(path: &Path) -> Result<Option<String>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => match part.to_str() {
                Some(part) => parts.push(part),
                None => return Err(Error::invalid(format!("`{}` is no text", path.display()))),
            },
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(if parts.is_empty() { None } else { Some(parts.join("/")) })
}

fn bad_archive(source: io::Error) -> Error {
    Error::invalid("read the archive").with_source(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_cannot_name_what_is_outside() {
        assert_eq!(inside(Path::new("./a//b/")).expect("a good path"), Some("a/b".to_owned()));
        assert_eq!(inside(Path::new("/etc/x")).expect("a good path"), Some("etc/x".to_owned()));
        assert_eq!(inside(Path::new("./")).expect("a good path"), None);
        for climbing in ["a/../../b", "../b", "/../../b", "../../a/../b"] {
            assert_eq!(inside(Path::new(climbing)).expect("below it"), Some("b".to_owned()), "{climbing}");
        }
        assert_eq!(inside(Path::new("../..")).expect("it"), None);
    }
}
