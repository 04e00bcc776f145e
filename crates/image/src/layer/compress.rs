//! The compressed form of a layer's archive, as it is sent where none is kept.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::Layer;

/// What compresses here. Whatever changes the output by a single bit changes this name: by it is known that
/// what was made once can be made again.
pub(crate) const COMPRESSOR: &str = "zlib-rs level 6, 1";

impl Layer {
    /// Writes the layer's archive, compressed, and checks that it is still what it was.
    pub(crate) fn write_compressed<W: Write>(&self, out: W, told: impl FnMut(u64)) -> io::Result<W> {
        let mut told = Told { out: GzEncoder::new(out, Compression::default()), written: 0, told };
        self.write_archive(&mut told)?;
        told.out.finish()
    }
}

/// Tells how much has been written.
struct Told<W, F> {
    out: W,
    written: u64,
    told: F,
}

impl<W: Write, F: FnMut(u64)> Write for Told<W, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written += written as u64;
        (self.told)(self.written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If this fails, the library compresses otherwise than before: count [`COMPRESSOR`] up.
    #[test]
    fn what_was_compressed_once_is_compressed_to_the_same_again() {
        let content: Vec<u8> = (0..200_000_u32).flat_map(|number| (number % 977).to_le_bytes()).collect();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        // As layers are written: in pieces of several lengths.
        for piece in content.chunks(70_001) {
            encoder.write_all(piece).expect("into memory");
        }
        let compressed = encoder.finish().expect("into memory");
        let digest = oci::Digest::sha256_of(&compressed).to_string();
        assert_eq!(
            digest, "sha256:3a33cbc304c1ee5bc4a92a45d7e736b4ce14106f953822569ae702fde1b85ecc",
            "{COMPRESSOR}"
        );
    }
}
