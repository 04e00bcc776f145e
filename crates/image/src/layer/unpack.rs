//! The extractor: a layer's archive becomes a directory that overlayfs can use.
//!
//! Whiteouts (`.wh.name`) become character devices 0/0 and opaque markers (`.wh..wh..opq`) an
//! attribute, as overlayfs expects. Layers are unpacked without looking at those below, so that
//! several can be unpacked at once; what needs them is settled by [`settle`](mod@super::settle).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use base::space::Space;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timestamps};
use rustix::io::Errno;
use tar::EntryType;

use super::LayerError;
use super::attributes::{OPAQUE, set_xattr_at};
use super::entries::{CopyError, Entries, Entry};
use super::header::Attributes;
use super::place::{Directory, Root, clamp, clean};
use super::skeleton::SkeletonWriter;

const WHITEOUT_PREFIX: &[u8] = b".wh.";
const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";
/// Marks that aufs kept for itself.
const AUFS_PREFIX: &[u8] = b".wh..wh.";
const COPY_BUFFER: usize = 256 * 1024;
/// Links to files of other layers are remembered until those are known, and each is looked for then.
/// Real layers have a handful: only tools that know the layers below write them.
const FOREIGN_MAX: usize = 16 << 20;
/// Paths of directories are remembered until the end, when their times are set. Enough for two
/// hundred thousand of the usual length, more than the largest real layers have.
const DIRECTORIES_MAX: usize = 32 << 20;
/// What remembering something costs besides its paths.
const REMEMBERED: usize = 64;

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
    climbs: Climbing,
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
    /// Bytes of the links to files of other layers.
    foreign: usize,
    /// Bytes of the directories' paths.
    directories: usize,
    /// Bytes of sparse files that are not in the archive.
    holes: u64,
    space: Space,
    buffer: Vec<u8>,
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

/// What becomes of names that lead above the root.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Climbing {
    /// They are refused: no tool makes such layers, but those that are meant to do harm.
    #[default]
    Refused,
    /// They lead to the root and no further, as for a process whose root that is: somebody's own archives are
    /// packed like that, and Docker takes them so.
    Stopped,
}

/// Unpacks the uncompressed `archive` into the empty directory `root`; contents that a later entry
/// replaces go to `spill`, everything that is no content to `skeleton`.
pub(super) fn unpack<W: Write>(
    archive: impl Read,
    climbs: Climbing,
    root: &Path,
    spill: &Path,
    skeleton: W,
) -> Result<(Unpacked, W), LayerError> {
    let store_error = |source| LayerError::Store { path: root.to_owned(), source };
    let directory = Root::open(root).map_err(store_error)?;
    let (done, skeleton) = unpack_into(archive, directory, spill, skeleton, (true, climbs))?;
    Ok((done, skeleton.finish().map_err(store_error)?))
}

/// Unpacks an `archive` as a layer that nobody wants back.
pub(crate) fn fuzz(archive: impl Read, root: &Path, spill: &Path) -> Result<(), LayerError> {
    unpack(archive, Climbing::Refused, root, spill, io::sink()).map(drop)
}

/// Unpacks an `archive` of ordinary files into a directory, which need not be empty. Names that climb lead no
/// further than there.
pub(crate) fn unpack_plain(archive: impl Read, directory: BorrowedFd<'_>) -> Result<(), LayerError> {
    let open = || Root::new(directory.try_clone_to_owned()?);
    let root = open().map_err(|source| LayerError::Store { path: PathBuf::new(), source })?;
    unpack_into(archive, root, Path::new(""), io::sink(), (false, Climbing::Stopped)).map(drop)
}

fn unpack_into<W: Write>(
    archive: impl Read,
    root: Root,
    spill: &Path,
    skeleton: W,
    (is_layer, climbs): (bool, Climbing),
) -> Result<(Unpacked, SkeletonWriter<W>), LayerError> {
    let skeleton = Rc::new(RefCell::new(SkeletonWriter::new(skeleton)));
    let in_content = Rc::new(Cell::new(!is_layer));
    let tee = Tee { source: archive, skeleton: skeleton.clone(), in_content: in_content.clone() };
    let mut archive = Entries::new(tee);
    let space = root.space().map_err(|source| LayerError::Store { path: PathBuf::new(), source })?;
    let mut unpacker = Unpacker {
        root,
        is_layer,
        climbs,
        spill,
        skeleton: skeleton.clone(),
        in_content,
        last: None,
        contents: HashMap::new(),
        directory_times: BTreeMap::new(),
        done: Unpacked::default(),
        foreign: 0,
        directories: 0,
        holes: 0,
        space,
        buffer: vec![0; COPY_BUFFER],
    };
    archive.each(LayerError::Read, |entry| {
        unpacker.entry(entry)?;
        unpacker.check_remembered()
    })?;
    // The archive ends with blocks that are no entries, and they count for the digest.
    io::copy(&mut archive.into_rest(), &mut io::sink()).map_err(LayerError::Read)?;
    let done = unpacker.finish()?;
    let skeleton = Rc::into_inner(skeleton).expect("the tee and the unpacker are gone").into_inner();
    Ok((done, skeleton))
}

impl<W: Write> Unpacker<'_, W> {
    fn entry<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<(), LayerError> {
        let kind = entry.kind();
        let name = entry.path().to_owned();
        let path = match self.climbs {
            Climbing::Refused => clean(&name).ok_or_else(|| LayerError::Escape { path: name.clone() })?,
            Climbing::Stopped => clamp(&name),
        };
        let attributes = entry.attributes().map_err(LayerError::Read)?;
        self.space.take_entry().map_err(at(&name))?;
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
        match kind {
            EntryType::Directory => self.directory(&parent, &file_name, attributes).map_err(at(&name)),
            EntryType::Regular | EntryType::Continuous => {
                self.file(&parent, &file_name, &mut entry, attributes, &name)
            }
            EntryType::Link => {
                let target = entry.link().ok_or_else(|| LayerError::Escape { path: name.clone() })?;
                self.hard_link(&parent, &file_name, &clamp(target), &name)
            }
            // One that climbs above the root is as good as any other: whoever follows it has that root,
            // which has nothing above it, or does not follow links.
            EntryType::Symlink => {
                let target = entry.link().ok_or_else(|| LayerError::Escape { path: name.clone() })?;
                self.symlink(&parent, &file_name, target, attributes).map_err(at(&name))
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                // Some writers leave a FIFO's numbers blank.
                let device = match kind {
                    EntryType::Fifo => 0,
                    _ => entry.device().map_err(LayerError::Read)?,
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
        let (implied, directories) = (&mut self.done.implied, &mut self.directories);
        let directory = Rc::new(self.root.directory(path, &mut |made| {
            *directories += made.as_os_str().len() + REMEMBERED;
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
        let length = path.as_os_str().len();
        if self.directory_times.insert(path, attributes.times).is_none() {
            self.directories += length + REMEMBERED;
        }
        Ok(())
    }

    /// What is remembered until the end has to fit into memory, which is decided before anybody knows
    /// whether the archive is the one that was promised.
    fn check_remembered(&self) -> Result<(), LayerError> {
        let within = |has: usize, most: usize, what| match has > most {
            true => Err(LayerError::TooMuch { what, most: most as u64 }),
            false => Ok(()),
        };
        within(self.foreign, FOREIGN_MAX, "hard links to files of other layers")?;
        within(self.directories, DIRECTORIES_MAX, "paths of directories")
    }

    /// A hard link to a file that this archive has not brought.
    fn foreign_link(&mut self, link: PathBuf, target: &Path) -> Result<(), LayerError> {
        if !self.is_layer {
            // There is nothing below that it could be in.
            return Err(LayerError::LinkTarget { path: link, target: target.to_owned() });
        }
        self.foreign += link.as_os_str().len() + target.as_os_str().len() + REMEMBERED;
        self.done.foreign_links.push((link, target.to_owned()));
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        parent: &Rc<Directory>,
        name: &OsStr,
        entry: &mut Entry<'_, R>,
        attributes: Attributes,
        shown: &Path,
    ) -> Result<(), LayerError> {
        let entry_error = at(shown);
        let size = entry.size();
        // The holes of a sparse file are not in the archive, so its stretch of it is kept as it is.
        let is_plain = entry.holes().is_none() && size > 0;
        if let Some(holes) = entry.holes() {
            // Whoever puts such files into an archive, or exports them, writes them out as zeros.
            self.holes = self.holes.saturating_add(holes);
            let total = self.space.total().map_err(&entry_error)?;
            if total > 0 && self.holes > total {
                return Err(LayerError::Holes { path: shown.to_owned() });
            }
        }
        let mut file = self.create(parent, name).map_err(&entry_error)?;
        if is_plain && self.is_layer {
            let path = parent.path.join(name);
            let number = self.skeleton.borrow_mut().file(&path, size).map_err(&entry_error)?;
            let inode = rustix::fs::fstat(&file).map_err(io::Error::from).map_err(&entry_error)?.st_ino;
            self.contents.insert(inode, number);
            self.in_content.set(true);
        }
        let space = &mut self.space;
        let copied = entry.copy_to(&mut file, &mut self.buffer, |written| space.take(written));
        self.in_content.set(!self.is_layer);
        let copied = copied.map_err(|error| match error {
            CopyError::Read(error) => LayerError::Read(error),
            CopyError::Write(error) => entry_error(error),
        })?;
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

    fn hard_link(
        &mut self,
        parent: &Rc<Directory>,
        name: &OsStr,
        target: &Path,
        shown: &Path,
    ) -> Result<(), LayerError> {
        let entry_error = at(shown);
        let link = parent.path.join(name);
        let Some(target_name) = target.file_name() else { return Err(entry_error(Errno::PERM.into())) };
        let target_parent = match self.root.open_following(target.parent().unwrap_or(Path::new(""))) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.foreign_link(link, target),
            Err(error) => return Err(entry_error(error)),
        };
        if target_parent.path == parent.path && target_name == name {
            return Ok(());
        }
        let make = || rustix::fs::linkat(&target_parent.fd, target_name, &parent.fd, name, AtFlags::empty());
        match make() {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) => self.foreign_link(link, target),
            Err(Errno::EXIST) => {
                self.remove(parent, name).map_err(&entry_error)?;
                make().map_err(|error| entry_error(error.into()))
            }
            Err(error) => Err(entry_error(error.into())),
        }
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
        device: u64,
        attributes: Attributes,
    ) -> io::Result<()> {
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

pub(super) fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn at(path: &Path) -> impl Fn(io::Error) -> LayerError + use<> {
    let path = path.to_owned();
    move |source| LayerError::Entry { path: path.clone(), source }
}
