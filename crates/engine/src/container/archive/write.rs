//! A part of a root file system as a tar archive.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use base::place::Place;
use rustix::fs::{Dir, FileType, Stat, readlinkat};
use tar::{Builder, EntryType, Header};

use crate::rootfs::RootFs;

/// Writes what `path` is to `out`; its entries begin with `name` as it is, also with `/` and with `./`; those of an
/// empty name with their own.
pub(in crate::container) fn write(
    root: &RootFs,
    path: &str,
    name: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (parent, last) = root.open_parent(path)?;
    let whole = name.is_empty();
    let mut archive = Archive { root, builder: Builder::new(out), links: HashMap::new(), whole };
    let last = std::ffi::CString::new(last)?;
    // The root's own name in a whole archive is that of where it is unpacked.
    archive.one(&parent, &last, Path::new(if whole { "." } else { name }))?;
    archive.builder.finish()
}

/// Bytes of a name in a header.
const NAME: usize = 100;

struct Archive<'a> {
    root: &'a RootFs,
    builder: Builder<&'a mut dyn Write>,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), PathBuf>,
    /// Whether names leave out what they begin with.
    whole: bool,
}

impl Archive<'_> {
    /// Writes one entry with its name, and the name that it is a link to, as they are: the library's own way
    /// leaves out what a name begins with.
    fn put(
        &mut self,
        header: &mut Header,
        name: &Path,
        link: Option<&[u8]>,
        data: impl Read,
    ) -> io::Result<()> {
        if let Some(link) = link {
            let link = self.field(EntryType::GNULongLink, link)?;
            header.as_old_mut().linkname = link;
        }
        let name = name.as_os_str().as_bytes();
        let name = if self.whole {
            name.strip_prefix(b"./").filter(|name| !name.is_empty()).unwrap_or(name)
        } else {
            name
        };
        header.as_old_mut().name = self.field(EntryType::GNULongName, name)?;
        header.set_cksum();
        self.builder.append(header, data)
    }

    /// A name for a header's field; one that does not fit into it is written before, as GNU's tar does.
    fn field(&mut self, kind: EntryType, text: &[u8]) -> io::Result<[u8; NAME]> {
        let mut field = [0; NAME];
        let fitting = text.len().min(NAME);
        field[..fitting].copy_from_slice(&text[..fitting]);
        if text.len() > NAME {
            let mut header = Header::new_gnu();
            let said = b"././@LongLink";
            if let Some(gnu) = header.as_gnu_mut() {
                gnu.name[..said.len()].copy_from_slice(said);
            }
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            // With the nought at its end.
            header.set_size(text.len() as u64 + 1);
            header.set_entry_type(kind);
            header.set_cksum();
            self.builder.append(&header, text.chain(&[0_u8][..]))?;
        }
        Ok(field)
    }

    fn one(&mut self, parent: &OwnedFd, entry: &CStr, name: &Path) -> io::Result<()> {
        // Held first and looked at then: somebody in the container may put a device there meanwhile.
        let place = Place::at(parent, entry)?;
        let meta = place.stat()?;
        let mut header = header(self.root, &meta);
        let kind = FileType::from_raw_mode(meta.st_mode);
        if kind != FileType::Directory && meta.st_nlink > 1 {
            let known = self.links.entry((meta.st_dev, meta.st_ino));
            if let std::collections::hash_map::Entry::Occupied(first) = &known {
                header.set_entry_type(EntryType::Link);
                header.set_size(0);
                let first = first.get().as_os_str().as_bytes().to_vec();
                return self.put(&mut header, name, Some(&first), io::empty());
            }
            known.or_insert_with(|| name.to_owned());
        }
        let seconds = meta.st_mtime.to_string();
        let modified = ("mtime", seconds.as_bytes());
        // The header's own field counts from 1970.
        let mut said: Vec<(&str, &[u8])> = (meta.st_mtime < 0).then_some(modified).into_iter().collect();
        // What it is said of has to follow.
        if !matches!(kind, FileType::RegularFile | FileType::Directory | FileType::Socket) {
            self.builder.append_pax_extensions(said.iter().copied())?;
        }
        match kind {
            FileType::Directory => {
                header.set_entry_type(EntryType::Directory);
                let directory = OwnedFd::from(place.read()?);
                self.builder.append_pax_extensions(said)?;
                self.put(&mut header, &with_slash(name), None, io::empty())?;
                self.directory(&directory, name)
            }
            FileType::RegularFile => {
                let mut file = place.read()?;
                let mut value = [0; 256];
                if let Ok(length) = rustix::fs::fgetxattr(&file, "security.capability", &mut value[..]) {
                    // What it may do beyond its mode.
                    said.push(("SCHILY.xattr.security.capability", &value[..length]));
                }
                self.builder.append_pax_extensions(said)?;
                let size = u64::try_from(meta.st_size).unwrap_or_default();
                header.set_size(size);
                header.set_entry_type(EntryType::Regular);
                // A file that grows or shrinks meanwhile must not break the archive.
                let data = Read::by_ref(&mut file).take(size).chain(io::repeat(0)).take(size);
                self.put(&mut header, name, None, data)
            }
            FileType::Symlink => {
                let target = readlinkat(&place, c"", Vec::new())?;
                header.set_entry_type(EntryType::Symlink);
                self.put(&mut header, name, Some(target.as_bytes()), io::empty())
            }
            FileType::Fifo => {
                header.set_entry_type(EntryType::Fifo);
                self.put(&mut header, name, None, io::empty())
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                header.set_entry_type(if kind == FileType::BlockDevice {
                    EntryType::Block
                } else {
                    EntryType::Char
                });
                header.set_device_major(rustix::fs::major(meta.st_rdev))?;
                header.set_device_minor(rustix::fs::minor(meta.st_rdev))?;
                self.put(&mut header, name, None, io::empty())
            }
            // A socket is nothing without the process that made it.
            _ => Ok(()),
        }
    }

    fn directory(&mut self, directory: &OwnedFd, name: &Path) -> io::Result<()> {
        base::tree::check_depth(name.components().count())?;
        let mut entries: Vec<std::ffi::CString> = Vec::new();
        for entry in Dir::read_from(directory)? {
            let entry = entry?.file_name().to_owned();
            if entry.as_c_str() != c"." && entry.as_c_str() != c".." {
                entries.push(entry);
            }
        }
        entries.sort();
        for entry in entries {
            let path = name.join(std::ffi::OsStr::from_bytes(entry.as_bytes()));
            match self.one(directory, &entry, &path) {
                // It was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }
}

fn header(root: &RootFs, meta: &Stat) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(meta.st_mode & 0o7777);
    header.set_uid(u64::from(root.inside(meta.st_uid)));
    header.set_gid(u64::from(root.inside(meta.st_gid)));
    header.set_mtime(u64::try_from(meta.st_mtime).unwrap_or_default());
    header.set_size(0);
    header
}

/// A directory's name, which ends with one slash.
fn with_slash(name: &Path) -> PathBuf {
    let mut text = name.as_os_str().to_owned();
    if !text.as_bytes().ends_with(b"/") {
        text.push("/");
    }
    text.into()
}
