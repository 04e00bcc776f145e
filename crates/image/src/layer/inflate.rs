//! Telling compressed streams apart by their first bytes, and inflating them.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Frames that carry something else than content (RFC 8878, section 3.1.2): 0x184D2A50 to 5F.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// How a stream is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// A stream that is inflated if it was compressed.
pub(crate) enum Inflated<R: Read> {
    Plain(BufReader<R>),
    Gzip(MultiGzDecoder<BufReader<R>>),
    Zstd(Box<ZstdReader<BufReader<R>>>),
}

/// Reads all frames of a zstd stream one after another.
pub(crate) struct ZstdReader<R: BufRead> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

/// A stream that is inflated while it is read, if its first bytes say that it is gzip or zstd.
pub fn inflated<R: Read>(source: R) -> io::Result<impl Read + use<R>> {
    Inflated::new(source)
}

impl Compression {
    /// Looks at the first bytes of a stream.
    pub(crate) fn of(start: &[u8]) -> Self {
        let skippable = start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == ZSTD_SKIPPABLE;
        if start.starts_with(&GZIP_MAGIC) {
            Compression::Gzip
        } else if start.starts_with(&ZSTD_MAGIC) || skippable {
            Compression::Zstd
        } else {
            Compression::None
        }
    }
}

impl<R: Read> Inflated<R> {
    pub(crate) fn new(source: R) -> io::Result<Self> {
        let mut source = BufReader::with_capacity(128 * 1024, source);
        Ok(match Compression::of(source.fill_buf()?) {
            Compression::None => Inflated::Plain(source),
            Compression::Gzip => Inflated::Gzip(MultiGzDecoder::new(source)),
            Compression::Zstd => {
                Inflated::Zstd(Box::new(ZstdReader { source, decoder: FrameDecoder::new(), in_frame: false }))
            }
        })
    }

    pub(crate) fn compression(&self) -> Compression {
        match self {
            Inflated::Plain(_) => Compression::None,
            Inflated::Gzip(_) => Compression::Gzip,
            Inflated::Zstd(_) => Compression::Zstd,
        }
    }

    /// The stream that is inflated.
    pub(crate) fn source_mut(&mut self) -> &mut R {
        match self {
            Inflated::Plain(source) => source,
            Inflated::Gzip(decoder) => decoder.get_mut(),
            Inflated::Zstd(reader) => &mut reader.source,
        }
        .get_mut()
    }

    /// The stream that was inflated.
    pub(crate) fn into_source(self) -> R {
        match self {
            Inflated::Plain(source) => source,
            Inflated::Gzip(decoder) => decoder.into_inner(),
            Inflated::Zstd(reader) => reader.source,
        }
        .into_inner()
    }

    /// Reads what lies behind the compressed content, which still counts for the digest.
    pub(crate) fn drain_source(&mut self) -> io::Result<()> {
        let source = match self {
            Inflated::Plain(source) => source,
            Inflated::Gzip(decoder) => decoder.get_mut(),
            Inflated::Zstd(reader) => &mut reader.source,
        };
        io::copy(source, &mut io::sink()).map(drop)
    }
}

impl<R: Read> Read for Inflated<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Inflated::Plain(source) => source.read(buffer),
            Inflated::Gzip(decoder) => decoder.read(buffer),
            Inflated::Zstd(reader) => reader.read(buffer),
        }
    }
}

impl<R: BufRead> ZstdReader<R> {
    /// Begins the next frame; false at the end of the stream.
    fn next_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.source) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(&mut self.source.by_ref().take(u64::from(length)), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
    }
}

impl<R: BufRead> Read for ZstdReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.in_frame && !self.next_frame()? {
                return Ok(0);
            }
            if self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let strategy = BlockDecodingStrategy::UptoBytes(buffer.len().max(128 * 1024));
                self.decoder
                    .decode_blocks(&mut self.source, strategy)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            }
            let got = self.decoder.read(buffer)?;
            if got > 0 || buffer.is_empty() {
                return Ok(got);
            }
            if self.decoder.is_finished() {
                self.in_frame = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[track_caller]
    fn check(stream: &[u8], expected: Compression, content: &[u8]) {
        let mut inflated = Inflated::new(stream).expect("begin");
        assert_eq!(inflated.compression(), expected);
        let mut got = Vec::new();
        inflated.read_to_end(&mut got).expect("inflate");
        assert!(got == content, "content differs: {} and {} bytes", got.len(), content.len());
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).expect("compress");
        encoder.finish().expect("compress")
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn plain_gzip_and_zstd_streams_inflate_to_the_same() {
        let content: Vec<u8> = (0..100_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        check(&content, Compression::None, &content);
        check(&gzip(&content), Compression::Gzip, &content);
        check(&zstd(&content), Compression::Zstd, &content);
        check(b"", Compression::None, b"");
    }

    #[test]
    fn several_members_and_skippable_frames_are_one_stream() {
        check(&[gzip(b"one"), gzip(b"two")].concat(), Compression::Gzip, b"onetwo");
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        check(
            &[&skippable[..], &zstd(b"one"), &skippable, &zstd(b"two")].concat(),
            Compression::Zstd,
            b"onetwo",
        );
    }

    #[test]
    fn a_stream_that_is_cut_off_is_an_error() {
        let content: Vec<u8> = (0..50_000u32).flat_map(u32::to_le_bytes).collect();
        for stream in [gzip(&content), zstd(&content)] {
            let cut = &stream[..stream.len() / 2];
            assert!(Inflated::new(cut).expect("begin").read_to_end(&mut Vec::new()).is_err());
        }
    }
}
