//! Going through a tar archive, with a bound on what an entry says of itself.
//!
//! Only the headers are the library's. Its reader ends a PAX record at the first line feed, which the
//! value of an attribute may have in it; it has no sparse files in PAX format; and it refuses archives that
//! end with the last byte of their last file, as `docker build -f -` sends them.
//!
//! Long names, link targets and attributes travel as entries of their own before the one that they
//! are of, and are held in memory, however long they claim to be; compressed, a gigabyte of it is small.

mod copy;
mod pax;
mod sparse;

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

pub use copy::CopyError;
use pax::Records;
use sparse::Map;

use super::header::{Attributes, has_content};

/// The most that an entry may say of itself: Linux' longest extended attribute is 64 KiB.
const HEADERS_MAX: u64 = 2 << 20;

const BLOCK: usize = 512;

/// An archive whose headers are bounded.
///
/// It ends with a block of zeros, or with the stream: also behind the content of the last file, whose
/// padding somebody left out.
#[derive(Debug)]
pub struct Entries<R> {
    source: Source<R>,
}

/// An entry of an archive. To read it is to read its content, holes as zeros.
#[derive(Debug)]
pub struct Entry<'a, R> {
    source: &'a mut Source<R>,
    about: About,
    /// How much of the content was read, holes included.
    at: u64,
    /// The piece of a sparse file that comes next, or is being read.
    piece: usize,
}

/// What is said of an entry.
#[derive(Debug)]
struct About {
    header: Header,
    kind: EntryType,
    path: PathBuf,
    link: Option<PathBuf>,
    records: Records,
    /// Bytes of the content, holes included.
    size: u64,
    /// Where the content of a sparse file belongs.
    map: Option<Map>,
}

#[derive(Debug)]
struct Source<R> {
    reader: R,
    /// Bytes of the content of an entry that were not read yet.
    left: u64,
    /// And what fills the last block.
    padding: usize,
}

/// What entries say of the one that follows.
#[derive(Default)]
struct Said {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Option<Records>,
}

impl<R: Read> Entries<R> {
    /// The entries of the archive that `reader` gives.
    pub fn new(reader: R) -> Self {
        Self { source: Source { reader, left: 0, padding: 0 } }
    }

    /// Gives each entry to `take`, in order. What went wrong with the archive itself is told by `fault`.
    pub fn each<E>(
        &mut self,
        fault: impl Fn(io::Error) -> E,
        mut take: impl FnMut(Entry<'_, R>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(about) = self.source.next().map_err(&fault)? {
            take(Entry { source: &mut self.source, about, at: 0, piece: 0 })?;
            self.source.pass().map_err(&fault)?;
        }
        Ok(())
    }

    /// What comes after the entries.
    pub fn into_rest(self) -> R {
        self.source.reader
    }
}

impl<R> Entry<'_, R> {
    /// What it is. A sparse file is a regular one, and what is called like a directory is one.
    pub fn kind(&self) -> EntryType {
        self.about.kind
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.about.path
    }

    /// Where a link leads.
    pub fn link(&self) -> Option<&Path> {
        self.about.link.as_deref()
    }

    /// Bytes of its content, holes included.
    pub fn size(&self) -> u64 {
        self.about.size
    }

    /// Bytes of its content that the archive does not have. `None` where it has the content as it is.
    pub fn holes(&self) -> Option<u64> {
        self.about.map.as_ref().map(Map::holes)
    }

    /// The number of a device; 0 where its writer left it blank.
    pub fn device(&self) -> io::Result<u64> {
        let header = &self.about.header;
        let (major, minor) = (header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0));
        Ok(rustix::fs::makedev(major, minor))
    }

    /// Owner, mode, times and extended attributes.
    pub fn attributes(&self) -> io::Result<Attributes> {
        Attributes::read(&self.about.header, self.about.records.iter())
    }
}

impl<R: Read> Read for Entry<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(map) = &self.about.map else { return self.source.read(buffer) };
        while map.pieces.get(self.piece).is_some_and(|piece| piece.end() <= self.at) {
            self.piece += 1;
        }
        let end = self.about.size;
        let (start, end) = map.pieces.get(self.piece).map_or((end, end), |piece| (piece.offset, piece.end()));
        let within = |length: u64| usize::try_from(length).unwrap_or(usize::MAX).min(buffer.len());
        let got = if self.at < start {
            let count = within(start - self.at);
            buffer[..count].fill(0);
            count
        } else {
            let count = within(end - self.at);
            self.source.read(&mut buffer[..count])?
        };
        self.at += got as u64;
        Ok(got)
    }
}

impl<R: Read> Source<R> {
    /// The next entry that is a file; `None` at the end.
    fn next(&mut self) -> io::Result<Option<About>> {
        let mut said = Said::default();
        let mut budget = HEADERS_MAX;
        loop {
            let Some(header) = self.header()? else {
                return match said {
                    Said { path: None, link: None, records: None } => Ok(None),
                    _ => Err(invalid("something is said of an entry that does not come".to_owned())),
                };
            };
            match header.entry_type() {
                EntryType::GNULongName => said.path = Some(until_nul(self.said(&header, &mut budget)?)),
                EntryType::GNULongLink => said.link = Some(until_nul(self.said(&header, &mut budget)?)),
                EntryType::XHeader => said.records = Some(Records::parse(&self.said(&header, &mut budget)?)?),
                EntryType::XGlobalHeader => {
                    self.begin(header.entry_size()?);
                    self.pass()?;
                }
                _ => return self.about(header, said, budget).map(Some),
            }
        }
    }

    fn about(&mut self, header: Header, said: Said, budget: u64) -> io::Result<About> {
        let records = said.records.unwrap_or_default();
        let sparse_name = records.get("GNU.sparse.name");
        let path = sparse_name.or(records.get("path")).map(<[u8]>::to_vec).or(said.path);
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = records.get("linkpath").map(<[u8]>::to_vec).or(said.link);
        let link = link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::GNUSparse if path.ends_with(b"/") => EntryType::Directory,
            EntryType::GNUSparse => EntryType::Regular,
            kind => kind,
        };
        // Of the others some writers tell the size without the content.
        let has_content = has_content(header.entry_type());
        let stored = match records.number("size")? {
            _ if !has_content => 0,
            Some(size) => size,
            None => super::header::filled(&header.as_old().size, || header.entry_size())?,
        };
        let map = match header.entry_type() {
            EntryType::GNUSparse => Some(Map::of_gnu(&header, budget, || self.block())?),
            _ if has_content => Map::of_pax(&records)?,
            _ => None,
        };
        self.begin(stored);
        let map = match map {
            Some(map) if map.is_in_content => Some(map.read(&mut *self, budget)?),
            other => other,
        };
        if let Some(map) = &map {
            map.check(self.left)?;
        }
        let size = map.as_ref().map_or(stored, |map| map.size);
        let as_path = |bytes: Vec<u8>| PathBuf::from(OsStr::from_bytes(&bytes));
        Ok(About { header, kind, path: as_path(path), link: link.map(as_path), records, size, map })
    }

    /// What an entry says of the next.
    fn said(&mut self, header: &Header, budget: &mut u64) -> io::Result<Vec<u8>> {
        let size = header.entry_size()?;
        spend(budget, size)?;
        self.begin(size);
        let mut bytes = Vec::with_capacity(size as usize);
        self.read_to_end(&mut bytes)?;
        self.pass()?;
        Ok(bytes)
    }

    /// The next header; `None` at the end.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let Some(block) = self.block()? else { return Ok(None) };
        if block == [0; BLOCK] {
            return Ok(None);
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&block);
        let stored = header.cksum()?;
        // The field itself counts as blanks. Some old writers took bytes for signed numbers.
        let counted =
            || block.iter().enumerate().map(|(at, &byte)| if (148..156).contains(&at) { b' ' } else { byte });
        let unsigned: u32 = counted().map(u32::from).sum();
        let signed: i32 = counted().map(|byte| i32::from(byte.cast_signed())).sum();
        if stored != unsigned && i64::from(stored) != i64::from(signed) {
            return Err(invalid("archive header checksum mismatch".to_owned()));
        }
        Ok(Some(header))
    }

    /// The next block; `None` at the end of the stream.
    fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        match fill(&mut self.reader, &mut block)? {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends within a header")),
        }
    }

    /// So much content comes next.
    fn begin(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK - (size % BLOCK as u64) as usize) % BLOCK;
    }

    /// Passes over what is left of an entry.
    fn pass(&mut self) -> io::Result<()> {
        let mut buffer = [0; 32 * 1024];
        while self.read(&mut buffer)? > 0 {}
        // The last one may have none.
        let padding = std::mem::take(&mut self.padding);
        fill(&mut self.reader, &mut buffer[..padding]).map(drop)
    }
}

/// The content of an entry, as it is in the archive.
impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let got = self.reader.read(&mut buffer[..most])?;
        if got == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends within a file"));
        }
        self.left -= got as u64;
        Ok(got)
    }
}

/// Fills the buffer, or as much of it as there is.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Takes from what an entry may say of itself.
fn spend(budget: &mut u64, bytes: u64) -> io::Result<()> {
    *budget = budget.checked_sub(bytes).ok_or_else(|| {
        invalid(format!("the name or the attributes of an entry are longer than {HEADERS_MAX} bytes"))
    })?;
    Ok(())
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn invalid(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests;
