//! From an entry's content to a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use base::sparse::SparseWriter;

use super::Entry;

/// Why content could not be copied into a file.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The archive could not be read.
    #[error("read the archive")]
    Read(#[source] io::Error),
    /// The file could not be written.
    #[error("write the file")]
    Write(#[source] io::Error),
}

impl<R: Read> Entry<'_, R> {
    /// Writes the content into the empty `file` by way of `buffer`. The holes of a sparse file stay holes,
    /// and so do long runs of zeros. `each` hears how much was written and may refuse. Gives the length.
    pub fn copy_to(
        &mut self,
        file: &mut File,
        buffer: &mut [u8],
        mut each: impl FnMut(u64) -> io::Result<()>,
    ) -> Result<u64, CopyError> {
        let size = self.size();
        let Some(map) = &self.about.map else {
            let mut writer = SparseWriter::new(file);
            loop {
                let got = self.source.read(buffer).map_err(CopyError::Read)?;
                if got == 0 {
                    return writer.finish().map_err(CopyError::Write);
                }
                writer.write(&buffer[..got]).and_then(&mut each).map_err(CopyError::Write)?;
            }
        };
        for piece in &map.pieces {
            file.seek(SeekFrom::Start(piece.offset)).map_err(CopyError::Write)?;
            let mut left = piece.length;
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                let got = self.source.read(&mut buffer[..most]).map_err(CopyError::Read)?;
                file.write_all(&buffer[..got]).and_then(|()| each(got as u64)).map_err(CopyError::Write)?;
                left -= got as u64;
            }
        }
        file.set_len(size).map_err(CopyError::Write)?;
        self.at = size;
        Ok(size)
    }
}
