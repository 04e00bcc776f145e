//! Unpacking a tar archive into a directory of a root file system, confined to that root.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use base::place::Place;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, linkat, mkdirat, mknodat, openat, statat,
    symlinkat, unlinkat,
};
use tar::{Entry, EntryType};

use crate::error::{Error, Result};
use crate::rootfs::RootFs;

/// Unpacks `archive` into the directory `target` of `root`. With `keep_kinds` no directory is
/// replaced by something else, nor the other way round; `owner` goes over the archive's.
pub(super) fn unpack(
    root: &RootFs,
    target: &str,
    keep_kinds: bool,
    owner: Option<(u32, u32)>,
    archive: impl Read,
) -> Result<()> {
    let mut archive = image::Entries::new(image::inflated(archive).map_err(bad_archive)?);
    let target = target.trim_end_matches('/');
    let mut unpacking = Unpacking { root, target, keep_kinds, owner, times: Vec::new() };
    archive.each(bad_archive, |entry| unpacking.entry(entry))?;
    unpacking.finish();
    Ok(())
}

struct Unpacking<'a> {
    root: &'a RootFs,
    target: &'a str,
    /// A directory stays one, and so does what is none.
    keep_kinds: bool,
    /// Whom everything is given to, whatever the archive says.
    owner: Option<(u32, u32)>,
    /// Times of directories, set last: what is put into them changes them.
    times: Vec<(String, i64)>,
}

impl Unpacking<'_> {
    fn entry(&mut self, mut entry: Entry<'_, impl Read>) -> Result<()> {
        let path = entry.path().map_err(bad_archive)?.into_owned();
        let Some(inner) = inside(&path)? else {
            return Ok(());
        };
        let failed =
            |source: io::Error| Error::internal(format!("unpack `{}`", path.display())).with_source(source);
        let full = format!("{}/{inner}", self.target);
        let (parent, name) = self.parent(&full).map_err(failed)?;
        self.make_room(&parent, &name, entry.header().entry_type(), &path)?;
        if let Some(made) = self.make(&mut entry, &parent, &name).map_err(failed)? {
            self.dress(&entry, &made, full).map_err(failed)?;
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
        &self,
        entry: &mut Entry<'_, impl Read>,
        parent: &OwnedFd,
        name: &str,
    ) -> io::Result<Option<Place>> {
        let header = entry.header();
        let device = || -> io::Result<u64> {
            let (major, minor) = (header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0));
            Ok(rustix::fs::makedev(major, minor))
        };
        let node = |kind: FileType, device: u64| -> io::Result<Option<Place>> {
            mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device)?;
            Place::made(parent, name, kind).map(Some)
        };
        match header.entry_type() {
            EntryType::Directory => {
                match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
                    Err(rustix::io::Errno::EXIST) => {}
                    other => other?,
                }
                Place::made(parent, name, FileType::Directory).map(Some)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file = File::from(openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
                if let Err(error) = io::copy(entry, &mut file) {
                    // Half a file is worse than none, and on a full disk it takes the last of the space.
                    let _ = unlinkat(parent, name, AtFlags::empty());
                    return Err(error);
                }
                Ok(Some(Place::of(file)))
            }
            EntryType::Symlink => {
                let target = entry.link_name()?.ok_or(io::ErrorKind::InvalidData)?;
                symlinkat(target.as_ref(), parent, name)?;
                Place::made(parent, name, FileType::Symlink).map(Some)
            }
            EntryType::Link => {
                let target = entry.link_name()?.ok_or(io::ErrorKind::InvalidData)?.into_owned();
                let inner = inside(&target).ok().flatten().ok_or(io::ErrorKind::InvalidData)?;
                let (from, from_name) = self.root.open_parent(&format!("{}/{inner}", self.target))?;
                linkat(&from, from_name.as_str(), parent, name, AtFlags::empty())?;
                Ok(None)
            }
            EntryType::Fifo => node(FileType::Fifo, 0),
            EntryType::Char => node(FileType::CharacterDevice, device()?),
            EntryType::Block => node(FileType::BlockDevice, device()?),
            // Global headers and the like say nothing about files.
            _ => Ok(None),
        }
    }

    /// Gives what was made its owner, mode and time.
    fn dress(&mut self, entry: &Entry<'_, impl Read>, made: &Place, path: String) -> io::Result<()> {
        let header = entry.header();
        let id = |number: u64| u32::try_from(number).unwrap_or(0);
        let (uid, gid) = match self.owner {
            Some(owner) => owner,
            None => (id(header.uid()?), id(header.gid()?)),
        };
        made.set_owner(uid, gid)?;
        if header.entry_type() != EntryType::Symlink {
            made.set_mode(header.mode()? & 0o7777)?;
        }
        let time = i64::try_from(header.mtime()?).unwrap_or_default();
        if header.entry_type() == EntryType::Directory {
            self.times.push((path, time));
        } else {
            set_time(made, time)?;
        }
        Ok(())
    }

    fn finish(self) {
        for (path, time) in self.times.into_iter().rev() {
            // A later entry, or somebody in the container, may have replaced it by now.
            let Ok((parent, name)) = self.root.open_parent(&path) else { continue };
            if let Ok(directory) = Place::made(&parent, name.as_str(), FileType::Directory) {
                let _ = set_time(&directory, time);
            }
        }
    }
}

fn set_time(place: &Place, time: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: time, tv_nsec: 0 };
    place.set_times(&Timestamps { last_access: time, last_modification: time })
}

/// Removes the directory `name` with all that is in it.
fn remove_tree(parent: &OwnedFd, name: &str) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // Without following links that others put in its way.
    base::tree::remove(&Path::new(&format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name))
}

/// The path of an entry below the directory that is unpacked into; nothing for that directory itself.
fn inside(path: &Path) -> Result<Option<String>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => match part.to_str() {
                Some(part) => parts.push(part),
                None => return Err(Error::invalid(format!("`{}` is no text", path.display()))),
            },
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::invalid(format!(
                    "invalid symlink or path \"{}\" in the archive",
                    path.display()
                )));
            }
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
        assert!(inside(Path::new("a/../../b")).is_err());
    }
}
