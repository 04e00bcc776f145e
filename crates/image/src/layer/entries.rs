//! Going through a tar archive with a bound on what an entry says of itself.
//!
//! Long names, link targets and attributes travel as entries of their own before the one that they
//! are of, and the library reads each into memory, however long it claims to be; compressed, a
//! gigabyte of it is small. So the archive cannot be read past a place while the next header is looked for.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use tar::{Archive, Entry, EntryType};

/// The most that an entry may say of itself: Linux' longest extended attribute is 64 KiB.
const HEADERS_MAX: u64 = 2 << 20;

/// The most that a sparse file may say of where its pieces are: five thousand of them. Reading goes
/// through the list once for each, so it grows by the square.
const SPARSE_MAX: u64 = 128 << 10;

const BLOCK: u64 = 512;

/// An archive whose headers are bounded.
pub struct Entries<R: Read> {
    archive: Archive<Bounded<R>>,
    mark: Rc<Mark>,
}

/// Reads up to a mark.
pub struct Bounded<R> {
    source: R,
    mark: Rc<Mark>,
}

#[derive(Default)]
struct Mark {
    position: Cell<u64>,
    limit: Cell<u64>,
}

impl<R: Read> Entries<R> {
    /// The entries of the archive that `source` gives.
    pub fn new(source: R) -> Self {
        let mark = Rc::new(Mark::default());
        Self { archive: Archive::new(Bounded { source, mark: Rc::clone(&mark) }), mark }
    }

    /// Gives each entry to `take`, in order. What went wrong with the archive itself is told by `fault`.
    pub fn each<E>(
        &mut self,
        fault: impl Fn(io::Error) -> E,
        mut take: impl FnMut(Entry<'_, Bounded<R>>) -> Result<(), E>,
    ) -> Result<(), E> {
        // Where the content of the entry before ends.
        let mut end = 0_u64;
        let mut entries = self.archive.entries().map_err(&fault)?;
        loop {
            self.mark.limit.set(end.saturating_add(HEADERS_MAX));
            let Some(entry) = entries.next() else { break };
            let entry = entry.map_err(&fault)?;
            let size = match entry.header().entry_type() {
                // Longer than what stands in the archive.
                EntryType::GNUSparse => {
                    let map = self.mark.position.get().saturating_sub(entry.raw_file_position());
                    if map > SPARSE_MAX {
                        let problem = format!("the map of a sparse file is longer than {SPARSE_MAX} bytes");
                        return Err(fault(io::Error::new(io::ErrorKind::InvalidData, problem)));
                    }
                    entry.header().entry_size().map_err(&fault)?
                }
                _ => entry.size(),
            };
            end = size
                .checked_next_multiple_of(BLOCK)
                .unwrap_or(u64::MAX)
                .saturating_add(entry.raw_file_position());
            self.mark.limit.set(u64::MAX);
            take(entry)?;
        }
        self.mark.limit.set(u64::MAX);
        Ok(())
    }

    /// What comes after the entries.
    pub fn into_rest(self) -> impl Read {
        self.archive.into_inner()
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.mark.limit.get().saturating_sub(self.mark.position.get());
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the name or the attributes of an entry are longer than {HEADERS_MAX} bytes"),
            ));
        }
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.source.read(&mut buffer[..most])?;
        self.mark.position.set(self.mark.position.get() + count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_path("x").expect("a short name");
        header.set_cksum();
        header
    }

    fn read(source: impl Read) -> io::Result<usize> {
        let mut count = 0;
        Entries::new(source).each(
            |error| error,
            |mut entry| {
                count += 1;
                // Half of the content is left to be passed over.
                let half = entry.size() / 2;
                io::copy(&mut entry.by_ref().take(half), &mut io::sink()).map(drop)
            },
        )?;
        Ok(count)
    }

    #[test]
    fn large_files_are_read_and_large_headers_are_not() {
        let file = |size: u64| {
            let data = io::repeat(7).take(size.next_multiple_of(BLOCK));
            io::Cursor::new(header(EntryType::Regular, size).as_bytes().to_vec()).chain(data)
        };
        let end = || io::repeat(0).take(2 * BLOCK);
        let whole = file(9 << 20).chain(file(100)).chain(file(5 << 20)).chain(end());
        assert_eq!(read(whole).expect("an archive"), 3);
        for kind in [EntryType::XHeader, EntryType::GNULongName, EntryType::GNULongLink] {
            // A terabyte, if anybody read it.
            let bomb = header(kind, 1 << 40);
            let bomb = io::Cursor::new(bomb.as_bytes().to_vec()).chain(io::repeat(b'1'));
            let error = read(file(9 << 20).chain(bomb)).expect_err("it is too long");
            assert!(error.to_string().contains("longer than 2097152 bytes"), "{error}");
        }
    }
}
