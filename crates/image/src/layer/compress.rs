//! The compressed form of a layer's archive, as it is sent where none is kept.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::Layer;

/// What compresses here where nothing else is said. Whatever changes the output by a single bit changes this name:
/// by it is known that what was made once can be made again.
pub(crate) const COMPRESSOR: &str = "zlib-rs level 6, 2";
/// How much is given to the library at a time: what comes out hangs on that.
const BLOCK: usize = 64 << 10;
/// How much is one frame of zstd: the library takes what it compresses from a reader and knows no failure.
const FRAME: usize = 4 << 20;

/// How an archive is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compressor {
    None,
    /// At this level.
    Gzip(u32),
    Zstd,
}

/// Compresses what is written.
pub(crate) enum Compressing<W: Write> {
    None(W),
    Gzip { encoder: GzEncoder<W>, pending: Vec<u8> },
    Zstd { out: W, pending: Vec<u8>, is_empty: bool },
}

impl Default for Compressor {
    fn default() -> Self {
        Self::Gzip(Compression::default().level())
    }
}

impl Compressor {
    /// By what is known that what was made once can be made again, as [`COMPRESSOR`]; none where nothing is
    /// compressed.
    pub(crate) fn name(self) -> Option<String> {
        match self {
            Self::None => None,
            _ if self == Self::default() => Some(COMPRESSOR.to_owned()),
            Self::Gzip(level) => Some(format!("zlib-rs level {level}, 2")),
            Self::Zstd => Some("ruzstd 0.9 fastest, 4 MiB, 1".to_owned()),
        }
    }

    pub(crate) fn onto<W: Write>(self, out: W) -> Compressing<W> {
        match self {
            Self::None => Compressing::None(out),
            Self::Gzip(level) => Compressing::Gzip {
                encoder: GzEncoder::new(out, Compression::new(level)),
                pending: Vec::with_capacity(BLOCK),
            },
            Self::Zstd => Compressing::Zstd { out, pending: Vec::new(), is_empty: true },
        }
    }
}

impl<W: Write> Compressing<W> {
    /// Writes what is left, and gives back what was written to.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::None(mut out) => {
                out.flush()?;
                Ok(out)
            }
            Self::Gzip { mut encoder, pending } => {
                encoder.write_all(&pending)?;
                encoder.finish()
            }
            Self::Zstd { mut out, pending, is_empty } => {
                if is_empty || !pending.is_empty() {
                    out.write_all(&frame(&pending))?;
                }
                out.flush()?;
                Ok(out)
            }
        }
    }
}

impl<W: Write> Write for Compressing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(out) => out.write(bytes),
            Self::Gzip { encoder, pending } => {
                let take = bytes.len().min(BLOCK - pending.len());
                pending.extend_from_slice(&bytes[..take]);
                if pending.len() == BLOCK {
                    encoder.write_all(pending)?;
                    pending.clear();
                }
                Ok(take)
            }
            Self::Zstd { out, pending, is_empty } => {
                let take = bytes.len().min(FRAME - pending.len());
                pending.extend_from_slice(&bytes[..take]);
                if pending.len() == FRAME {
                    out.write_all(&frame(pending))?;
                    pending.clear();
                    *is_empty = false;
                }
                Ok(take)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // What is pending goes when there is enough of it: what comes out does not hang on who writes how.
        Ok(())
    }
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

impl Layer {
    /// Writes the layer's archive, compressed, and checks that it is still what it was.
    pub(crate) fn write_compressed<W: Write>(&self, out: W, told: impl FnMut(u64)) -> io::Result<W> {
        let mut told = Told { out: Compressor::default().onto(out), written: 0, told };
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
    use std::io::Read as _;

    use super::*;
    use crate::layer::inflate::Inflated;

    /// What comes of a content that is longer than a frame; as layers are written, in pieces of several lengths.
    fn compressed(compressor: Compressor, content: &[u8], piece: usize) -> Vec<u8> {
        let mut compressing = compressor.onto(Vec::new());
        for piece in content.chunks(piece) {
            compressing.write_all(piece).expect("into memory");
        }
        compressing.finish().expect("into memory")
    }

    fn content(numbers: u32) -> Vec<u8> {
        (0..numbers).flat_map(|number| (number % 977).to_le_bytes()).collect()
    }

    /// If this fails, the library compresses otherwise than before: count [`COMPRESSOR`] up.
    #[test]
    fn what_was_compressed_once_is_compressed_to_the_same_again() {
        let compressed = compressed(Compressor::default(), &content(200_000), 70_001);
        let digest = oci::Digest::sha256_of(&compressed).to_string();
        assert_eq!(
            digest, "sha256:45275ce578e7299f669583bd318d091344417a97141b53c51b4a7228ee8d127c",
            "{COMPRESSOR}"
        );
    }

    #[test]
    fn what_is_compressed_is_read_again_and_does_not_hang_on_how_it_was_written() {
        let gzip = [1, 6, 9].map(Compressor::Gzip);
        for compressor in [Compressor::None, Compressor::Zstd].into_iter().chain(gzip) {
            for numbers in [0, 1, 1_100_000] {
                let content = content(numbers);
                let once = compressed(compressor, &content, 70_001);
                let again = compressed(compressor, &content, 1 << 23);
                assert!(once == again, "{compressor:?} {numbers}");
                let mut inflated = Vec::new();
                Inflated::new(&once[..]).expect("a stream").read_to_end(&mut inflated).expect("all of it");
                assert!(inflated == content, "{compressor:?} {numbers}");
            }
        }
    }
}
