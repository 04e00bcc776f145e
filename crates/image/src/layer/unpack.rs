//! The extractor: a layer's archive becomes a directory that overlayfs can use.
//!
//! Whiteouts (`.wh.name`) become character devices 0/0 and opaque markers (`.wh..wh..opq`) an
//! attribute, as overlayfs expects. Layers are unpacked without looking at those below, so that
//! several can be unpacked at once; what needs them is settled by [`Unpacked::settle`].

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use tar::EntryType;

use super::LayerError;
use super::attributes::{OPAQUE, set_xattr_at, settable};
use super::entries::Entries;
use super::place::{Directory, Root, clean, symlink_escapes};
use super::skeleton::SkeletonWriter;

const WHITEOUT_PREFIX: &[u8] = b".wh.";
const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";
/// Marks that aufs kept for itself.
const AUFS_PREFIX: &[u8] = b".wh..wh.";
const COPY_BUFFER: usize = 256 * 1024;

/// What unpacking left to say and to do.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    /// Bytes of the files.
    pub(crate) size: u64,
    /// Directories that no entry describes: they look like those in the layers below.
    pub(crate) implied: BTreeSet<PathBuf>,
    /// Hard links to files of layers below: link and target.
    pub(crate) foreign_links: Vec<(PathBuf, PathBuf)>,
}

/// An archive passing by: what is read goes to the skeleton, except while a file's content is read.
struct Tee<R: Read, W: Write> {
    source: R,
    skeleton: Rc<RefCell<SkeletonWriter<W>>>,
    in_content: Rc<Cell<bool>>,
}

struct Unpacker<'a, W: Write> {
    root: Root,
    /// Whether this is a layer, in which some names are marks and whose archive will be wanted back.
    is_layer: bool,
    spill: &'a Path,
    skeleton: Rc<RefCell<SkeletonWriter<W>>>,
    in_content: Rc<Cell<bool>>,
    /// The directory of the last entry: neighbours in an archive mostly share it.
    last: Option<(PathBuf, Rc<Directory>)>,
    /// Which record holds the content of the file with this inode.
    contents: HashMap<u64, u32>,
    /// Times of directories, set last since making entries in them changes them.
    directory_times: BTreeMap<PathBuf, Timestamps>,
    done: Unpacked,
    buffer: Vec<u8>,
}

/// The parts of an entry that its kind does not decide.
struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    times: Timestamps,
    xattrs: Vec<(String, Vec<u8>)>,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buffer)?;
        if !self.in_content.get() {
            self.skeleton.borrow_mut().raw(&buffer[..got])?;
        }
        Ok(got)
    }
}

/// Unpacks the uncompressed `archive` into the empty directory `root`; contents that a later entry
/// replaces go to `spill`, everything that is no content to `skeleton`.
pub(super) fn unpack<W: Write>(
    archive: impl Read,
    root: &Path,
    spill: &Path,
    skeleton: W,
) -> Result<(Unpacked, W), LayerError> {
    let store_error = |source| LayerError::Store { path: root.to_owned(), source };
    let directory = Root::open(root).map_err(store_error)?;
    let (done, skeleton) = unpack_into(archive, directory, spill, skeleton, true)?;
    Ok((done, skeleton.finish().map_err(store_error)?))
}

/// Unpacks an `archive` of ordinary files into a directory, which need not be empty.
pub(crate) fn unpack_plain(archive: impl Read, directory: BorrowedFd<'_>) -> Result<(), LayerError> {
    let open = || Root::new(directory.try_clone_to_owned()?);
    let root = open().map_err(|source| LayerError::Store { path: PathBuf::new(), source })?;
    unpack_into(archive, root, Path::new(""), io::sink(), false).map(drop)
}

fn unpack_into<W: Write>(
    archive: impl Read,
    root: Root,
    spill: &Path,
    skeleton: W,
    is_layer: bool,
) -> Result<(Unpacked, SkeletonWriter<W>), LayerError> {
    let skeleton = Rc::new(RefCell::new(SkeletonWriter::new(skeleton)));
    let in_content = Rc::new(Cell::new(!is_layer));
    let tee = Tee { source: archive, skeleton: skeleton.clone(), in_content: in_content.clone() };
    let mut archive = Entries::new(tee);
    let mut unpacker = Unpacker {
        root,
        is_layer,
        spill,
        skeleton: skeleton.clone(),
        in_content,
        last: None,
        contents: HashMap::new(),
        directory_times: BTreeMap::new(),
        done: Unpacked::default(),
        buffer: vec![0; COPY_BUFFER],
    };
    archive.each(LayerError::Read, |entry| unpacker.entry(entry))?;
    // The archive ends with blocks that are no entries, and they count for the digest.
    io::copy(&mut archive.into_rest(), &mut io::sink()).map_err(LayerError::Read)?;
    let done = unpacker.finish()?;
    let skeleton = Rc::into_inner(skeleton).expect("the tee and the unpacker are gone").into_inner();
    Ok((done, skeleton))
}

impl<W: Write> Unpacker<'_, W> {
    fn entry<R: Read>(&mut self, mut entry: tar::Entry<'_, R>) -> Result<(), LayerError> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let name = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        let path = clean(&name).ok_or_else(|| LayerError::Escape { path: name.clone() })?;
        let attributes = Attributes::read(&mut entry).map_err(LayerError::Read)?;
        let Some(file_name) = path.file_name().map(OsStr::to_owned) else {
            return match kind {
                EntryType::Directory => self.root_entry(attributes).map_err(at(&name)),
                _ => Err(LayerError::Escape { path: name }),
            };
        };
        let parent = self.parent(path.parent().unwrap_or(Path::new(""))).map_err(at(&name))?;
        if self.is_layer && file_name.as_bytes().starts_with(WHITEOUT_PREFIX) {
            return self.whiteout(&parent, &file_name, &name);
        }
        let link = entry.link_name_bytes().map(|link| PathBuf::from(OsStr::from_bytes(&link)));
        let is_directory = kind == EntryType::Directory
            || (kind == EntryType::Regular && name.as_os_str().as_bytes().ends_with(b"/"));
        if is_directory {
            return self.directory(&parent, &file_name, attributes).map_err(at(&name));
        }
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(&parent, &file_name, &mut entry, attributes, &name)
            }
            EntryType::Link => {
                let target = link.ok_or_else(|| LayerError::Escape { path: name.clone() })?;
                let target = clean(&target).ok_or_else(|| LayerError::Escape { path: name.clone() })?;
                self.hard_link(&parent, &file_name, &target).map_err(at(&name))
            }
            EntryType::Symlink => {
                let target = link.ok_or_else(|| LayerError::Escape { path: name.clone() })?;
                if symlink_escapes(&path, &target) {
                    return Err(LayerError::Escape { path: name });
                }
                self.symlink(&parent, &file_name, &target, attributes).map_err(at(&name))
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                // Some writers leave a FIFO's numbers blank.
                let device = match kind {
                    EntryType::Fifo => (0, 0),
                    _ => device_of(entry.header()).map_err(LayerError::Read)?,
                };
                let file_type = match kind {
                    EntryType::Char => FileType::CharacterDevice,
                    EntryType::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                self.node(&parent, &file_name, file_type, device, attributes).map_err(at(&name))
            }
            other => Err(LayerError::EntryType { path: name, kind: char::from(other.as_byte()) }),
        }
    }

    /// The directory that an entry goes into; made if no entry has made it yet.
    fn parent(&mut self, path: &Path) -> io::Result<Rc<Directory>> {
        if let Some((last, directory)) = &self.last
            && last == path
        {
            return Ok(directory.clone());
        }
        let implied = &mut self.done.implied;
        let directory = Rc::new(self.root.directory(path, &mut |made| {
            implied.insert(made.to_owned());
        })?);
        self.last = Some((path.to_owned(), directory.clone()));
        Ok(directory)
    }

    fn root_entry(&mut self, attributes: Attributes) -> io::Result<()> {
        let root = self.root.open_following(Path::new(""))?;
        attributes.apply_at(&root, OsStr::new("."), true)?;
        self.directory_times.insert(PathBuf::new(), attributes.times);
        Ok(())
    }

    fn directory(&mut self, parent: &Rc<Directory>, name: &OsStr, attributes: Attributes) -> io::Result<()> {
        let make = || rustix::fs::mkdirat(&parent.fd, name, Mode::from_raw_mode(0o700));
        match make() {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let existing = rustix::fs::statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(existing.st_mode) != FileType::Directory {
                    let was_whiteout = is_whiteout(&existing);
                    self.remove(parent, name)?;
                    make()?;
                    if was_whiteout {
                        // What the layers below have under this name stays hidden.
                        set_xattr_at(parent, name, OPAQUE, b"y")?;
                    }
                }
            }
            Err(error) => return Err(error.into()),
        }
        attributes.apply_at(parent, name, true)?;
        let path = parent.path.join(name);
        self.done.implied.remove(&path);
        self.directory_times.insert(path, attributes.times);
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        parent: &Rc<Directory>,
        name: &OsStr,
        entry: &mut tar::Entry<'_, R>,
        attributes: Attributes,
        shown: &Path,
    ) -> Result<(), LayerError> {
        let entry_error = at(shown);
        let mut file = self.create(parent, name).map_err(&entry_error)?;
        let size = entry.size();
        // The holes of a sparse file are not in the archive, so its stretch of it is kept as it is.
        let is_plain = entry.header().entry_type() != EntryType::GNUSparse && size > 0;
        if is_plain && self.is_layer {
            let path = parent.path.join(name);
            let number = self.skeleton.borrow_mut().file(&path, size).map_err(&entry_error)?;
            let inode = rustix::fs::fstat(&file).map_err(io::Error::from).map_err(&entry_error)?.st_ino;
            self.contents.insert(inode, number);
            self.in_content.set(true);
        }
        let mut copied = 0;
        let result = loop {
            match entry.read(&mut self.buffer) {
                Ok(0) => break Ok(()),
                Ok(got) => match file.write_all(&self.buffer[..got]) {
                    Ok(()) => copied += got as u64,
                    Err(error) => break Err(entry_error(error)),
                },
                Err(error) => break Err(LayerError::Read(error)),
            }
        };
        self.in_content.set(!self.is_layer);
        result?;
        if copied != size && is_plain {
            return Err(LayerError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        self.done.size += copied;
        attributes.apply(&file).map_err(&entry_error)
    }

    fn create(&mut self, parent: &Rc<Directory>, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&parent.fd, name, flags, Mode::from_raw_mode(0o600));
        let fd = match open() {
            Err(Errno::EXIST) => {
                self.remove(parent, name)?;
                open()?
            }
            other => other?,
        };
        Ok(File::from(fd))
    }

    fn hard_link(&mut self, parent: &Rc<Directory>, name: &OsStr, target: &Path) -> io::Result<()> {
        let link = parent.path.join(name);
        let Some(target_name) = target.file_name() else { return Err(Errno::PERM.into()) };
        let target_parent = match self.root.open_following(target.parent().unwrap_or(Path::new(""))) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.done.foreign_links.push((link, target.to_owned()));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if target_parent.path == parent.path && target_name == name {
            return Ok(());
        }
        let make = || rustix::fs::linkat(&target_parent.fd, target_name, &parent.fd, name, AtFlags::empty());
        match make() {
            Err(Errno::NOENT) => self.done.foreign_links.push((link, target.to_owned())),
            Err(Errno::EXIST) => {
                self.remove(parent, name)?;
                make()?;
            }
            other => other?,
        }
        Ok(())
    }

    fn symlink(
        &mut self,
        parent: &Rc<Directory>,
        name: &OsStr,
        target: &Path,
        attributes: Attributes,
    ) -> io::Result<()> {
        let make = || rustix::fs::symlinkat(target, &parent.fd, name);
        if let Err(error) = make() {
            if error != Errno::EXIST {
                return Err(error.into());
            }
            self.remove(parent, name)?;
            make()?;
        }
        attributes.apply_at(parent, name, false)
    }

    fn node(
        &mut self,
        parent: &Rc<Directory>,
        name: &OsStr,
        file_type: FileType,
        (major, minor): (u32, u32),
        attributes: Attributes,
    ) -> io::Result<()> {
        let device = rustix::fs::makedev(major, minor);
        let make = || rustix::fs::mknodat(&parent.fd, name, file_type, Mode::from_raw_mode(0o600), device);
        if let Err(error) = make() {
            if error != Errno::EXIST {
                return Err(error.into());
            }
            self.remove(parent, name)?;
            make()?;
        }
        attributes.apply_at(parent, name, true)
    }

    fn whiteout(&mut self, parent: &Rc<Directory>, marker: &OsStr, shown: &Path) -> Result<(), LayerError> {
        if marker.as_bytes() == OPAQUE_MARKER {
            return set_xattr_at(parent, OsStr::new("."), OPAQUE, b"y").map_err(at(shown));
        }
        if marker.as_bytes().starts_with(AUFS_PREFIX) {
            return Ok(());
        }
        let hidden = OsStr::from_bytes(&marker.as_bytes()[WHITEOUT_PREFIX.len()..]);
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(LayerError::Escape { path: shown.to_owned() });
        }
        let device = rustix::fs::makedev(0, 0);
        match rustix::fs::mknodat(&parent.fd, hidden, FileType::CharacterDevice, Mode::empty(), device) {
            Ok(()) => Ok(()),
            // A whiteout speaks of the layers below: what this layer has under the name stays, and
            // hides them by itself, except that a directory must be told to.
            Err(Errno::EXIST) => (|| {
                let existing = rustix::fs::statat(&parent.fd, hidden, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(existing.st_mode) == FileType::Directory {
                    set_xattr_at(parent, hidden, OPAQUE, b"y")?;
                }
                Ok(())
            })()
            .map_err(at(shown)),
            Err(error) => Err(at(shown)(error.into())),
        }
    }

    /// Takes away what an earlier entry of this archive put there.
    fn remove(&mut self, parent: &Directory, name: &OsStr) -> io::Result<()> {
        self.last = None;
        let existing = rustix::fs::statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(existing.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(&parent.fd, name, flags, Mode::empty())?;
                let mut names = Vec::new();
                for entry in rustix::fs::Dir::read_from(&fd)? {
                    let entry = entry?;
                    let bytes = entry.file_name().to_bytes();
                    if bytes != b"." && bytes != b".." {
                        names.push(OsStr::from_bytes(bytes).to_owned());
                    }
                }
                let directory = Directory { fd, path: parent.path.join(name) };
                for inner in names {
                    self.remove(&directory, &inner)?;
                }
                self.directory_times.remove(&directory.path);
                self.done.implied.remove(&directory.path);
                rustix::fs::unlinkat(&parent.fd, name, AtFlags::REMOVEDIR)?;
            }
            FileType::RegularFile if self.contents.contains_key(&existing.st_ino) => {
                // The archive had this content, so putting it together again needs it.
                let number = self.contents.remove(&existing.st_ino).unwrap_or_default();
                let kept = self.spill.join(number.to_string());
                rustix::fs::renameat(&parent.fd, name, rustix::fs::CWD, &kept)?;
            }
            _ => rustix::fs::unlinkat(&parent.fd, name, AtFlags::empty())?,
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Unpacked, LayerError> {
        for (path, times) in std::mem::take(&mut self.directory_times).into_iter().rev() {
            let set = || -> io::Result<()> {
                let directory = self.root.open_following(&path)?;
                rustix::fs::utimensat(&directory.fd, ".", &times, AtFlags::empty())?;
                Ok(())
            };
            set().map_err(at(&path))?;
        }
        Ok(self.done)
    }
}

impl Attributes {
    fn read<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Self> {
        let header = entry.header();
        let fields = header.as_old();
        let mode = filled(&fields.mode, || header.mode())? & 0o7777;
        let mut uid = filled(&fields.uid, || header.uid())?;
        let mut gid = filled(&fields.gid, || header.gid())?;
        let mut modified =
            Timespec { tv_sec: filled(&fields.mtime, || header.mtime())?.cast_signed(), tv_nsec: 0 };
        let mut xattrs = Vec::new();
        if let Some(extensions) = entry.pax_extensions()? {
            for extension in extensions {
                let extension = extension?;
                let Ok(key) = extension.key() else { continue };
                match key {
                    "uid" => uid = number(extension.value_bytes())?,
                    "gid" => gid = number(extension.value_bytes())?,
                    "mtime" => modified = timespec(extension.value_bytes())?,
                    _ => {
                        if let Some(name) = key.strip_prefix("SCHILY.xattr.").filter(|name| settable(name)) {
                            xattrs.push((name.to_owned(), extension.value_bytes().to_vec()));
                        }
                    }
                }
            }
        }
        let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "owner out of range");
        Ok(Self {
            mode,
            uid: id(uid).ok_or_else(invalid)?,
            gid: id(gid).ok_or_else(invalid)?,
            times: Timestamps { last_access: modified, last_modification: modified },
            xattrs,
        })
    }

    /// Applies to an open file. The owner goes first: changing it clears the set-id bits and the
    /// file's capabilities.
    fn apply(&self, file: &File) -> io::Result<()> {
        if (self.uid, self.gid) != (0, 0) {
            rustix::fs::fchown(file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(self.mode))?;
        for (name, value) in &self.xattrs {
            tolerate(rustix::fs::fsetxattr(file, name, value, rustix::fs::XattrFlags::empty()), name)?;
        }
        rustix::fs::futimens(file, &self.times)?;
        Ok(())
    }

    /// Applies to what is in `parent` under `name`, without opening it.
    fn apply_at(&self, parent: &Directory, name: &OsStr, with_mode: bool) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::fs::chownat(&parent.fd, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if with_mode {
            // Nobody else writes here, so what was just made is not a symbolic link.
            rustix::fs::chmodat(parent.fd.as_fd(), name, Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        }
        for (xattr, value) in &self.xattrs {
            set_xattr_at(parent, name, xattr, value)?;
        }
        rustix::fs::utimensat(&parent.fd, name, &self.times, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }
}

/// File systems without room for an attribute lose it; Docker does the same.
pub(super) fn tolerate(result: Result<(), Errno>, name: &str) -> io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::PERM) => {
            tracing::debug!(xattr = name, "the file system does not take an extended attribute");
            Ok(())
        }
        other => Ok(other?),
    }
}

pub(super) fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn device_of(header: &tar::Header) -> io::Result<(u32, u32)> {
    Ok((header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)))
}

/// A number of a header; a field that its writer left blank is zero.
fn filled<T: Default>(field: &[u8], value: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(T::default()) } else { value() }
}

fn number(text: &[u8]) -> io::Result<u64> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a number in a header is malformed"))
}

/// A time as PAX headers write it: seconds, perhaps with a fraction, perhaps negative.
fn timespec(text: &[u8]) -> io::Result<Timespec> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "a time in a header is malformed");
    let text = std::str::from_utf8(text).map_err(|_| invalid())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| invalid())?;
    let mut nanos: i64 = 0;
    for i in 0..9 {
        let digit = fraction.as_bytes().get(i).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return Err(invalid());
        }
        nanos = nanos * 10 + i64::from(digit - b'0');
    }
    if whole.starts_with('-') && nanos > 0 {
        return Ok(Timespec { tv_sec: seconds - 1, tv_nsec: 1_000_000_000 - nanos });
    }
    Ok(Timespec { tv_sec: seconds, tv_nsec: nanos })
}

fn at(path: &Path) -> impl Fn(io::Error) -> LayerError + use<> {
    let path = path.to_owned();
    move |source| LayerError::Entry { path: path.clone(), source }
}
