//! From a directory that a container wrote to a layer's archive, and to the list of its changes.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use base::cancel::Cancel;
use base::place::Place;
use base::sparse;
use oci::{Digest, Hasher};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use tar::{EntryType, Header};

use super::attributes::{is_opaque_at, list_xattrs_at};
use super::place::{Directory, Root};
use super::settle::find;
use super::skeleton::SkeletonWriter;
use super::unpack::is_whiteout;
use crate::snapshot::{Change, ChangeKind};

const BLOCK: usize = 512;
/// The name that fits into a header without an extension.
const NAME_MAX: usize = 100;

/// Where an archive goes.
trait Sink {
    /// Headers and padding.
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// The content of the file at `path`.
    fn content(&mut self, path: &Path, size: u64, file: &mut File) -> io::Result<()>;
}

/// Writes the archive whole.
struct ArchiveSink<'a, W> {
    out: W,
    cancel: &'a Cancel,
    buffer: Vec<u8>,
}

/// Hashes the archive and keeps its skeleton.
struct SealSink<'a, W: Write> {
    cancel: &'a Cancel,
    skeleton: SkeletonWriter<W>,
    hasher: Hasher,
    archive_size: u64,
    buffer: Vec<u8>,
}

/// What [`seal`] found out.
pub(crate) struct Sealed {
    pub(crate) diff_id: Digest,
    pub(crate) archive_size: u64,
    /// Bytes of the files.
    pub(crate) size: u64,
}

struct Packer<'a, S: Sink> {
    sink: &'a mut S,
    /// The first name of every file that has several.
    links: HashMap<(u64, u64), PathBuf>,
    size: u64,
    entries: u64,
    /// Bytes of the files that are not on disk, and as many as the file system has.
    holes: u64,
    most_holes: u64,
}

/// Writes what is in `upper` as a layer's archive.
///
/// Fails with [`io::ErrorKind::FileTooLarge`] if there are larger holes in the files than the file system
/// is large: the archive has them as zeros, which would take hours and fit nowhere.
pub(crate) fn pack(upper: &Path, out: impl Write, cancel: &Cancel) -> io::Result<()> {
    let mut sink = ArchiveSink { out, cancel, buffer: vec![0; 256 * 1024] };
    pack_into(upper, &mut sink)?;
    sink.out.flush()
}

/// Computes the digest of the archive that [`pack`] would write, and writes its skeleton. `None`
/// if there is nothing in `upper`. Fails as [`pack`] does.
pub(crate) fn seal(upper: &Path, skeleton: impl Write, cancel: &Cancel) -> io::Result<Option<Sealed>> {
    let mut sink = SealSink {
        cancel,
        skeleton: SkeletonWriter::new(skeleton),
        hasher: Hasher::sha256(),
        archive_size: 0,
        buffer: vec![0; 256 * 1024],
    };
    let (size, entries) = pack_into(upper, &mut sink)?;
    sink.skeleton.finish()?.flush()?;
    let sealed = Sealed { diff_id: sink.hasher.finish(), archive_size: sink.archive_size, size };
    Ok((entries > 0).then_some(sealed))
}

/// What differs between `upper` and the layers below it, topmost first.
pub(crate) fn changes(upper: &Path, lower: &[PathBuf]) -> io::Result<Vec<Change>> {
    let mut below = Vec::new();
    for path in lower {
        below.push(Root::open(path)?);
    }
    let root = Root::open(upper)?;
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let directory = root.open_following(&path)?;
        for name in names(&directory)? {
            let stat = rustix::fs::statat(&directory.fd, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            let path = path.join(&name);
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let kind = if is_whiteout(&stat) {
                Some(ChangeKind::Deleted)
            } else {
                match find(&below, &path)? {
                    None => Some(ChangeKind::Added),
                    // A directory is copied up as soon as anything inside it changes.
                    Some(old)
                        if is_directory && old.kind == FileType::Directory && same(&old.stat, &stat) =>
                    {
                        None
                    }
                    Some(_) => Some(ChangeKind::Modified),
                }
            };
            if let Some(kind) = kind {
                found.push(Change { path: Path::new("/").join(&path), kind });
            }
            if is_directory {
                pending.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn same(a: &Stat, b: &Stat) -> bool {
    (a.st_mode, a.st_uid, a.st_gid, a.st_mtime, a.st_mtime_nsec)
        == (b.st_mode, b.st_uid, b.st_gid, b.st_mtime, b.st_mtime_nsec)
}

fn pack_into(upper: &Path, sink: &mut impl Sink) -> io::Result<(u64, u64)> {
    let root = Root::open(upper)?;
    let directory = root.open_following(Path::new(""))?;
    let total = root.space()?.total()?;
    let most_holes = if total == 0 { u64::MAX } else { total };
    let mut packer = Packer { sink, links: HashMap::new(), size: 0, entries: 0, holes: 0, most_holes };
    packer.directory(&directory)?;
    packer.sink.raw(&[0; 2 * BLOCK])?;
    Ok((packer.size, packer.entries))
}

impl<S: Sink> Packer<'_, S> {
    /// Writes what is in a directory, sorted, so that equal content gives equal archives.
    fn directory(&mut self, directory: &Directory) -> io::Result<()> {
        base::tree::check_depth(directory.path.components().count())?;
        for name in names(directory)? {
            let stat = rustix::fs::statat(&directory.fd, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            if is_whiteout(&stat) {
                let mut marker = OsString::from(".wh.");
                marker.push(&name);
                self.marker(&directory.path.join(marker), &stat)?;
            } else {
                self.entry(directory, &name, &stat)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, parent: &Directory, name: &OsStr, stat: &Stat) -> io::Result<()> {
        let path = parent.path.join(name);
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Socket {
            // A socket means nothing without the process that listens on it.
            return Ok(());
        }
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let first = first.clone();
                let mut header = header(stat, EntryType::Link);
                header.set_size(0);
                return self.header(&path, stat, header, Some(first.as_os_str().as_bytes()), &[]);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.clone());
        }
        let xattrs = list_xattrs_at(parent, name)?;
        match kind {
            FileType::Directory => {
                let mut shown = path.clone().into_os_string();
                shown.push("/");
                self.header(Path::new(&shown), stat, header(stat, EntryType::Directory), None, &xattrs)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(&parent.fd, name, flags, Mode::empty())?;
                if is_opaque_at(parent, name)? {
                    self.marker(&path.join(".wh..wh..opq"), stat)?;
                }
                self.directory(&Directory { fd, path })
            }
            FileType::RegularFile => {
                // A container that runs may put a pipe or a device there meanwhile.
                let mut file = Place::made(&parent.fd, name, FileType::RegularFile)?.read()?;
                let size = stat.st_size.cast_unsigned();
                self.holes = self.holes.saturating_add(sparse::holes(stat));
                if self.holes > self.most_holes {
                    let problem = format!(
                        "file `{}` has {size} bytes of which most are a hole; a layer has holes as zeros, and these would be more than the file system is large",
                        path.display()
                    );
                    return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
                }
                let mut header = header(stat, EntryType::Regular);
                header.set_size(size);
                self.header(&path, stat, header, None, &xattrs)?;
                self.size += size;
                if size > 0 {
                    self.sink.content(&path, size, &mut file)?;
                    self.sink.raw(&[0; BLOCK][..padding(size)])?;
                }
                Ok(())
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&parent.fd, name, Vec::new())?;
                self.header(&path, stat, header(stat, EntryType::Symlink), Some(target.to_bytes()), &xattrs)
            }
            FileType::Fifo => self.header(&path, stat, header(stat, EntryType::Fifo), None, &xattrs),
            FileType::CharacterDevice | FileType::BlockDevice => {
                let kind = if kind == FileType::CharacterDevice { EntryType::Char } else { EntryType::Block };
                let mut header = header(stat, kind);
                header.set_device_major(rustix::fs::major(stat.st_rdev))?;
                header.set_device_minor(rustix::fs::minor(stat.st_rdev))?;
                self.header(&path, stat, header, None, &xattrs)
            }
            _ => Ok(()),
        }
    }

    /// An empty file whose name says what is hidden.
    fn marker(&mut self, path: &Path, stat: &Stat) -> io::Result<()> {
        let mut header = header(stat, EntryType::Regular);
        header.set_mode(0);
        header.set_uid(0);
        header.set_gid(0);
        self.header(path, stat, header, None, &[])
    }

    /// Writes a header, before it a PAX header with what does not fit.
    fn header(
        &mut self,
        path: &Path,
        stat: &Stat,
        mut header: Header,
        link: Option<&[u8]>,
        xattrs: &[(String, Vec<u8>)],
    ) -> io::Result<()> {
        self.entries += 1;
        let mut extensions = Vec::new();
        if stat.st_mtime < 0 {
            // The header's own field counts from 1970.
            pax_record(&mut extensions, "mtime", stat.st_mtime.to_string().as_bytes());
        }
        for (name, value) in xattrs {
            pax_record(&mut extensions, &format!("SCHILY.xattr.{name}"), value);
        }
        let fields = &mut header.as_ustar_mut().ok_or_else(|| io::Error::other("not a ustar header"))?;
        let path = path.as_os_str().as_bytes();
        if path.len() > NAME_MAX || !path.is_ascii() {
            pax_record(&mut extensions, "path", path);
        }
        let kept = path.len().min(NAME_MAX);
        fields.name[..kept].copy_from_slice(&path[..kept]);
        if let Some(link) = link {
            if link.len() > NAME_MAX || !link.is_ascii() {
                pax_record(&mut extensions, "linkpath", link);
            }
            let kept = link.len().min(NAME_MAX);
            fields.linkname[..kept].copy_from_slice(&link[..kept]);
        }
        if !extensions.is_empty() {
            let mut pax = Header::new_ustar();
            pax.set_path("PaxHeaders.0/entry")?;
            pax.set_entry_type(EntryType::XHeader);
            pax.set_mode(0o644);
            pax.set_size(extensions.len() as u64);
            pax.set_cksum();
            self.sink.raw(pax.as_bytes())?;
            self.sink.raw(&extensions)?;
            self.sink.raw(&[0; BLOCK][..padding(extensions.len() as u64)])?;
        }
        header.set_cksum();
        self.sink.raw(header.as_bytes())
    }
}

impl<W: Write> Sink for ArchiveSink<'_, W> {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.cancel.check()?;
        self.out.write_all(bytes)
    }

    fn content(&mut self, _path: &Path, size: u64, file: &mut File) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            self.cancel.check()?;
            let got = read_some(file, &mut self.buffer, left)?;
            self.out.write_all(&self.buffer[..got])?;
            left -= got as u64;
        }
        Ok(())
    }
}

impl<W: Write> Sink for SealSink<'_, W> {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.cancel.check()?;
        self.hasher.update(bytes);
        self.archive_size += bytes.len() as u64;
        self.skeleton.raw(bytes)
    }

    fn content(&mut self, path: &Path, size: u64, file: &mut File) -> io::Result<()> {
        self.skeleton.file(path, size)?;
        self.archive_size += size;
        let mut left = size;
        while left > 0 {
            self.cancel.check()?;
            let got = read_some(file, &mut self.buffer, left)?;
            self.hasher.update(&self.buffer[..got]);
            left -= got as u64;
        }
        Ok(())
    }
}

/// Reads at most `left` bytes. A running container may make a file shorter while it is read; its
/// header has been written by then, so the rest reads as zeros, as `tar` itself does it.
fn read_some(file: &mut File, buffer: &mut [u8], left: u64) -> io::Result<usize> {
    let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
    match file.read(&mut buffer[..want])? {
        0 => {
            buffer[..want].fill(0);
            Ok(want)
        }
        got => Ok(got),
    }
}

fn header(stat: &Stat, kind: EntryType) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(u64::from(stat.st_uid));
    header.set_gid(u64::from(stat.st_gid));
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(0);
    header
}

fn pax_record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    records.extend_from_slice(format!("{len} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn padding(size: u64) -> usize {
    (size.next_multiple_of(BLOCK as u64) - size) as usize
}

fn names(directory: &Directory) -> io::Result<Vec<OsString>> {
    let fd = rustix::fs::openat(
        &directory.fd,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    names.sort();
    Ok(names)
}
