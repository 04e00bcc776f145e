//! Telling compressed streams apart by their first bytes, and inflating them.
//!
//! A stream may be several of a kind one after another. What follows the last and is none is left alone, as
//! the programs do that make such streams.

mod input;
mod members;
mod zstd;

use std::io::{self, BufRead, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;

use input::Input;
use members::Members;
use zstd::ZstdReader;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Frames that carry something else than content (RFC 8878, section 3.1.2): 0x184D2A50 to 5F.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
const XZ_MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const BZIP2_MAGIC: [u8; 3] = *b"BZh";
/// What comes after that and a digit: a block, or the end of a stream that has none. Three letters and a
/// digit may be the name of a file.
const BZIP2_BLOCKS: [[u8; 6]; 2] =
    [[0x31, 0x41, 0x59, 0x26, 0x53, 0x59], [0x17, 0x72, 0x45, 0x38, 0x50, 0x90]];
/// The longest of these.
const MAGIC_MAX: usize = 10;

/// How a stream is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

/// A stream that is inflated if it was compressed.
pub(crate) enum Inflated<R: Read> {
    Plain(Input<R>),
    Gzip(Box<Members<GzDecoder<Input<R>>>>),
    Bzip2(Box<Members<BzDecoder<Input<R>>>>),
    Xz(Box<Members<XzReader<Input<R>>>>),
    Zstd(Box<ZstdReader<R>>),
}

/// A stream that is inflated while it is read, if its first bytes say that it is compressed by gzip, bzip2, xz
/// or zstd.
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
        } else if start.starts_with(&XZ_MAGIC) {
            Compression::Xz
        } else if start.starts_with(&BZIP2_MAGIC)
            && start.get(3).is_some_and(|level| (b'1'..=b'9').contains(level))
            && start.get(4..MAGIC_MAX).is_some_and(|block| BZIP2_BLOCKS.iter().any(|known| known == block))
        {
            Compression::Bzip2
        } else {
            Compression::None
        }
    }
}

impl<R: Read> Inflated<R> {
    pub(crate) fn new(source: R) -> io::Result<Self> {
        let mut input = Input::new(source);
        Ok(match Compression::of(input.peek(MAGIC_MAX)?) {
            Compression::None => Inflated::Plain(input),
            Compression::Gzip => Inflated::Gzip(Box::new(Members::new(input))),
            Compression::Bzip2 => Inflated::Bzip2(Box::new(Members::new(input))),
            Compression::Xz => Inflated::Xz(Box::new(Members::new(input))),
            Compression::Zstd => Inflated::Zstd(Box::new(ZstdReader::new(input))),
        })
    }

    pub(crate) fn compression(&self) -> Compression {
        match self {
            Inflated::Plain(_) => Compression::None,
            Inflated::Gzip(_) => Compression::Gzip,
            Inflated::Bzip2(_) => Compression::Bzip2,
            Inflated::Xz(_) => Compression::Xz,
            Inflated::Zstd(_) => Compression::Zstd,
        }
    }

    /// The stream that is inflated.
    pub(crate) fn source_mut(&mut self) -> &mut R {
        self.input_mut().source_mut()
    }

    /// The stream that was inflated.
    pub(crate) fn into_source(self) -> R {
        match self {
            Inflated::Plain(input) => input,
            Inflated::Gzip(members) => members.into_input(),
            Inflated::Bzip2(members) => members.into_input(),
            Inflated::Xz(members) => members.into_input(),
            Inflated::Zstd(reader) => reader.into_input(),
        }
        .into_source()
    }

    /// Reads what lies behind the compressed content, which still counts for the digest.
    pub(crate) fn drain_source(&mut self) -> io::Result<()> {
        io::copy(self.input_mut(), &mut io::sink()).map(drop)
    }

    fn input_mut(&mut self) -> &mut Input<R> {
        match self {
            Inflated::Plain(input) => input,
            Inflated::Gzip(members) => members.input_mut(),
            Inflated::Bzip2(members) => members.input_mut(),
            Inflated::Xz(members) => members.input_mut(),
            Inflated::Zstd(reader) => reader.input_mut(),
        }
    }
}

impl<R: Read> Read for Inflated<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Inflated::Plain(input) => input.read(buffer),
            Inflated::Gzip(members) => members.read(buffer),
            Inflated::Bzip2(members) => members.read(buffer),
            Inflated::Xz(members) => members.read(buffer),
            Inflated::Zstd(reader) => reader.read(buffer),
        }
    }
}

/// Passes over bytes of a stream; fails if there are not so many.
fn skip(source: &mut impl BufRead, count: u64) -> io::Result<()> {
    match io::copy(&mut source.take(count), &mut io::sink())? {
        skipped if skipped == count => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
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

    fn bzip2(content: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(content).expect("compress");
        encoder.finish().expect("compress")
    }

    fn xz(content: &[u8]) -> Vec<u8> {
        let options = lzma_rust2::XzOptions::with_preset(1);
        let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).expect("compress");
        writer.write_all(content).expect("compress");
        writer.finish().expect("compress")
    }

    /// A stream whose only block claims a dictionary of `2 << (half + 11)` bytes.
    fn xz_claiming(half: u8, content: &[u8]) -> Vec<u8> {
        let mut stream = xz(content);
        let (start, length) = (12, (usize::from(stream[12]) + 1) * 4);
        let header = &mut stream[start..start + length];
        // The filter's number, the length of its properties, and these.
        let filter = header.windows(2).position(|bytes| bytes == [0x21, 1]).expect("a filter");
        header[filter + 2] = half * 2;
        let mut crc = flate2::Crc::new();
        crc.update(&header[..length - 4]);
        header[length - 4..].copy_from_slice(&crc.sum().to_le_bytes());
        stream
    }

    type Compress = fn(&[u8]) -> Vec<u8>;

    /// Each way, with a function that compresses so.
    const ALL: [(Compression, Compress); 4] = [
        (Compression::Gzip, gzip),
        (Compression::Bzip2, bzip2),
        (Compression::Xz, xz),
        (Compression::Zstd, zstd),
    ];

    /// Gives a byte at a time.
    struct Drop<'a>(&'a [u8]);

    impl Read for Drop<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(1);
            self.0.read(&mut buffer[..most])
        }
    }

    #[test]
    fn streams_of_all_kinds_inflate_to_the_same() {
        let content: Vec<u8> = (0..100_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        check(&content, Compression::None, &content);
        for (kind, compress) in ALL {
            check(&compress(&content), kind, &content);
            check(&compress(b""), kind, b"");
        }
        check(b"", Compression::None, b"");
    }

    #[test]
    fn several_streams_and_skippable_frames_are_one_stream() {
        for (kind, compress) in ALL {
            check(&[compress(b"one"), compress(b"two")].concat(), kind, b"onetwo");
        }
        check(&[xz(b"one"), vec![0; 8], xz(b"two"), vec![0; 4]].concat(), Compression::Xz, b"onetwo");
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        check(
            &[&skippable[..], &zstd(b"one"), &skippable, &zstd(b"two")].concat(),
            Compression::Zstd,
            b"onetwo",
        );
    }

    #[test]
    fn what_follows_a_stream_and_is_none_is_left_alone() {
        for (kind, compress) in ALL {
            for garbage in [&b"x"[..], b"garbage after the end", &[0; 700]] {
                let stream = [&compress(b"one")[..], garbage].concat();
                check(&stream, kind, b"one");
                let mut inflated = Inflated::new(Drop(&stream)).expect("begin");
                assert_eq!(io::read_to_string(&mut inflated).expect("inflate"), "one");
                inflated.drain_source().expect("drain");
                assert!(inflated.into_source().0.is_empty(), "not all was read");
            }
        }
    }

    #[test]
    fn an_archive_whose_first_name_is_like_a_magic_is_no_stream() {
        for name in ["BZh9", "BZhair.txt", "BZ"] {
            let mut block = [0; 512];
            block[..name.len()].copy_from_slice(name.as_bytes());
            check(&block, Compression::None, &block);
        }
    }

    #[test]
    fn a_stream_that_wants_much_memory_is_refused() {
        let content = b"small";
        // As the largest preset of xz has it.
        check(&xz_claiming(14, content), Compression::Xz, content);
        let stream = xz_claiming(17, content);
        let mut inflated = Inflated::new(&stream[..]).expect("begin");
        for _ in 0..2 {
            let error = inflated.read(&mut [0; 10]).expect_err("too much");
            assert!(error.to_string().contains("more than 128 MiB of memory"), "{error}");
        }
    }

    #[test]
    fn a_stream_that_is_cut_off_is_an_error() {
        let content: Vec<u8> = (0..50_000u32).flat_map(u32::to_le_bytes).collect();
        for (_, compress) in ALL {
            let stream = compress(&content);
            let cut = &stream[..stream.len() / 2];
            assert!(Inflated::new(cut).expect("begin").read_to_end(&mut Vec::new()).is_err());
        }
    }
}
