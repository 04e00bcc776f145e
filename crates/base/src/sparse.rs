//! Files with holes: read, copied and written without the zeros that are not there.
//!
//! `truncate -s 16T` makes a file in no time; whoever reads or writes it byte by byte takes hours and
//! fills the disk.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;

use rustix::fs::{SeekFrom as Place, fstat, seek};
use rustix::io::Errno;

const BUFFER: usize = 256 << 10;
/// What `st_blocks` counts in.
const BLOCK: u64 = 512;

/// Compared with, since comparing blocks is quicker than looking at each byte.
const ZEROS: [u8; 4096] = [0; 4096];

/// Writes a file whose long runs of zeros become holes.
#[derive(Debug)]
pub struct SparseWriter<'a> {
    file: &'a mut File,
    /// How far it is, holes included.
    at: u64,
    /// Whether a hole comes last, which the file does not know of yet.
    in_hole: bool,
}

impl<'a> SparseWriter<'a> {
    /// Begins to write the empty `file`.
    pub fn new(file: &'a mut File) -> Self {
        Self { file, at: 0, in_hole: false }
    }

    /// Writes a piece. One that is nothing but zeros becomes a hole. Gives how many bytes were written.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<u64> {
        let length = piece.len() as u64;
        self.in_hole = piece.chunks(ZEROS.len()).all(|part| part == &ZEROS[..part.len()]);
        if self.in_hole {
            self.file.seek(SeekFrom::Start(self.at + length))?;
            self.at += length;
            return Ok(0);
        }
        self.file.write_all(piece)?;
        self.at += length;
        Ok(length)
    }

    /// Ends the file; gives its length.
    pub fn finish(self) -> io::Result<u64> {
        if self.in_hole {
            self.file.set_len(self.at)?;
        }
        Ok(self.at)
    }
}

/// Bytes of a file that are not on disk.
pub fn holes(stat: &rustix::fs::Stat) -> u64 {
    let there = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK);
    u64::try_from(stat.st_size).unwrap_or(0).saturating_sub(there)
}

/// Copies the whole of `from` to the empty file `to`; holes stay holes. `each` hears of every piece
/// before it is written and may refuse. Gives the length.
pub fn copy(from: &File, to: &mut File, mut each: impl FnMut(u64) -> io::Result<()>) -> io::Result<u64> {
    let mut at = 0;
    let mut buffer = vec![0; BUFFER];
    while let Some((start, end)) = next_data(from, at)? {
        let (mut source, mut left) = (from, end - start);
        source.seek(SeekFrom::Start(start))?;
        to.seek(SeekFrom::Start(start))?;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let got = source.read(&mut buffer[..most])?;
            if got == 0 {
                // It was made shorter meanwhile.
                break;
            }
            each(got as u64)?;
            to.write_all(&buffer[..got])?;
            left -= got as u64;
        }
        at = end;
    }
    let length = u64::try_from(fstat(from)?.st_size).unwrap_or(0);
    to.set_len(length)?;
    Ok(length)
}

/// The next stretch from `at` on that is no hole.
fn next_data(file: impl AsFd, at: u64) -> io::Result<Option<(u64, u64)>> {
    match seek(&file, Place::Data(at)) {
        Ok(start) => Ok(Some((start, seek(&file, Place::Hole(start))?))),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    const FAR: u64 = 1 << 40;

    #[test]
    fn holes_are_neither_read_nor_written() {
        let mut sparse = tempfile::tempfile().expect("a file");
        sparse.write_all(b"begin").expect("write");
        sparse.seek(SeekFrom::Start(FAR)).expect("seek");
        sparse.write_all(b"end").expect("write");
        sparse.set_len(FAR * 2).expect("make it longer");
        assert!(holes(&fstat(&sparse).expect("stat")) > FAR);
        let mut copied = tempfile::tempfile().expect("a file");
        let mut seen = 0;
        let length = copy(&sparse, &mut copied, |bytes| {
            seen += bytes;
            Ok(())
        });
        assert_eq!(length.expect("copy"), FAR * 2);
        assert!(seen < 1 << 20, "{seen} bytes were copied");
        let metadata = copied.metadata().expect("stat");
        assert!(metadata.blocks() * BLOCK < 1 << 20 && metadata.len() == FAR * 2, "{metadata:?}");
        let mut text = [0; 3];
        copied.seek(SeekFrom::Start(FAR)).expect("seek");
        copied.read_exact(&mut text).expect("read");
        assert_eq!(&text, b"end");
        let refused = copy(&sparse, &mut copied, |_| Err(io::ErrorKind::StorageFull.into()));
        assert_eq!(refused.expect_err("refused").kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn zeros_are_written_as_holes() {
        let mut file = tempfile::tempfile().expect("a file");
        let mut writer = SparseWriter::new(&mut file);
        let zeros = vec![0; 1 << 20];
        for piece in [&zeros[..], b"x", &zeros, &zeros] {
            writer.write(piece).expect("write");
        }
        assert_eq!(writer.finish().expect("finish"), (3 << 20) + 1);
        let metadata = file.metadata().expect("stat");
        assert_eq!(metadata.len(), (3 << 20) + 1);
        assert!(metadata.blocks() * BLOCK < 1 << 20, "{metadata:?}");
        let mut content = Vec::new();
        file.seek(SeekFrom::Start(0)).expect("seek");
        file.read_to_end(&mut content).expect("read");
        assert_eq!(content.iter().position(|&byte| byte == b'x'), Some(1 << 20));
        assert_eq!(content.iter().filter(|&&byte| byte != 0).count(), 1);
    }
}
