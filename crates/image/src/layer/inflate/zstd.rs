//! Frames of zstd, one after another.

use std::io::{self, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::input::Input;
use super::{Compression, MAGIC_MAX, skip};

/// Reads all frames of a zstd stream one after another.
pub(crate) struct ZstdReader<R> {
    input: Input<R>,
    decoder: FrameDecoder,
    in_frame: bool,
    has_ended: bool,
}

impl<R: Read> ZstdReader<R> {
    pub(super) fn new(input: Input<R>) -> Self {
        Self { input, decoder: FrameDecoder::new(), in_frame: false, has_ended: false }
    }

    pub(super) fn input_mut(&mut self) -> &mut Input<R> {
        &mut self.input
    }

    pub(super) fn into_input(self) -> Input<R> {
        self.input
    }

    /// Begins the next frame; false at the end of the stream.
    fn next_frame(&mut self) -> io::Result<bool> {
        loop {
            if Compression::of(self.input.peek(MAGIC_MAX)?) != Compression::Zstd {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.input) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => skip(&mut self.input, u64::from(length))?,
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
    }
}

impl<R: Read> Read for ZstdReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.has_ended {
                return Ok(0);
            }
            if !self.in_frame && !self.next_frame()? {
                self.has_ended = true;
                return Ok(0);
            }
            if self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let strategy = BlockDecodingStrategy::UptoBytes(buffer.len().max(128 * 1024));
                self.decoder
                    .decode_blocks(&mut self.input, strategy)
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
