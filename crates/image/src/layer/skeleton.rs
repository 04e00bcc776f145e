//! What is left of a layer's archive once its files are unpacked: everything but their contents.
//!
//! A layer's digest covers its tar archive to the last byte of padding, so `save` and `push` must
//! give back exactly that. Keeping the archive beside the unpacked files would store everything
//! twice. Instead the parts that are no file content are kept (compressed, they are small), with
//! the names of the files in between.
//!
//! The file is a gzip stream of records: `R`, length (u32, little endian), bytes; or `F`, length of
//! a path (u32), path, size of the file (u64). The n-th `F` record's content is in `spill/<n>` if
//! there is such a file (a later entry of the same archive took its place), else in `fs/<path>`.

use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base::place::Place;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

const RAW: u8 = b'R';
const FILE: u8 = b'F';
/// The longest raw record; longer stretches are several records.
const RAW_MAX: usize = 64 * 1024;
/// The longest path that Linux takes, so what a reader believes.
const PATH_MAX: usize = 4096;

/// Writes a skeleton while an archive passes by.
pub(super) struct SkeletonWriter<W: Write> {
    out: GzEncoder<W>,
    raw: Vec<u8>,
    files: u32,
}

impl<W: Write> SkeletonWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out: GzEncoder::new(out, Compression::fast()), raw: Vec::with_capacity(RAW_MAX), files: 0 }
    }

    /// Bytes that are no file content.
    pub(super) fn raw(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let take = bytes.len().min(RAW_MAX - self.raw.len());
            self.raw.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.raw.len() == RAW_MAX {
                self.flush_raw()?;
            }
        }
        Ok(())
    }

    /// The content of the file at `path` (relative to the layer's root, free of symbolic links)
    /// comes here. Gives the record's number.
    pub(super) fn file(&mut self, path: &Path, size: u64) -> io::Result<u32> {
        self.flush_raw()?;
        let path = path.as_os_str().as_bytes();
        self.out.write_all(&[FILE])?;
        self.out.write_all(&length(path)?)?;
        self.out.write_all(path)?;
        self.out.write_all(&size.to_le_bytes())?;
        let number = self.files;
        self.files = number.checked_add(1).ok_or_else(|| io::Error::other("too many files in a layer"))?;
        Ok(number)
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.flush_raw()?;
        self.out.finish()
    }

    fn flush_raw(&mut self) -> io::Result<()> {
        if !self.raw.is_empty() {
            self.out.write_all(&[RAW])?;
            self.out.write_all(&length(&self.raw)?)?;
            self.out.write_all(&self.raw)?;
            self.raw.clear();
        }
        Ok(())
    }
}

/// Puts the archive of the layer in `directory` together again and writes it to `out`.
///
/// The caller hashes what is written: files that were changed behind the store's back show there.
pub(crate) fn reassemble(directory: &Path, out: &mut dyn Write) -> io::Result<()> {
    let root = open_root(&directory.join("fs"))?;
    let spill = directory.join("spill");
    let mut skeleton = GzDecoder::new(BufReader::new(std::fs::File::open(directory.join("archive"))?));
    let mut buffer = vec![0; 256 * 1024];
    let mut number: u32 = 0;
    loop {
        let mut tag = [0];
        if skeleton.read(&mut tag)? == 0 {
            return Ok(());
        }
        let len = read_length(&mut skeleton)?;
        match tag[0] {
            RAW if len <= RAW_MAX => {
                skeleton.read_exact(&mut buffer[..len])?;
                out.write_all(&buffer[..len])?;
            }
            FILE if len <= PATH_MAX => {
                let mut path = vec![0; len];
                skeleton.read_exact(&mut path)?;
                let mut size = [0; 8];
                skeleton.read_exact(&mut size)?;
                let mut file = match std::fs::File::open(spill.join(number.to_string())) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => open_beneath(&root, &path)?,
                    Err(error) => return Err(error),
                };
                copy_exactly(&mut file, out, u64::from_le_bytes(size), &mut buffer)?;
                number += 1;
            }
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "damaged record of a layer's archive",
                ));
            }
        }
    }
}

fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn open_beneath(root: &OwnedFd, path: &[u8]) -> io::Result<std::fs::File> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let fd = rustix::fs::openat2(root.as_fd(), path, flags, Mode::empty(), resolve)?;
    let place = Place::of(fd);
    match place.kind()? {
        FileType::RegularFile => place.read(),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a file of the layer is no file any more")),
    }
}

fn copy_exactly(from: &mut impl Read, to: &mut dyn Write, size: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut left = size;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let got = from.read(&mut buffer[..want])?;
        if got == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a file of the layer is shorter than it was",
            ));
        }
        to.write_all(&buffer[..got])?;
        left -= got as u64;
    }
    Ok(())
}

fn length(bytes: &[u8]) -> io::Result<[u8; 4]> {
    let len = u32::try_from(bytes.len()).map_err(|_| io::Error::other("record too long"))?;
    Ok(len.to_le_bytes())
}

fn read_length(from: &mut impl Read) -> io::Result<usize> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes) as usize)
}
