//! SPDY/3.1 frames, as far as kubectl's streams need them.
//! Source: SPDY protocol, draft 3.1, section 2.2 "Framing".

use bytes::{Buf, BufMut, Bytes, BytesMut};

const CONTROL: u32 = 0x8000_0000;
const VERSION: u32 = 3;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FIN: u8 = 1;

/// The length of what precedes a frame's content.
const HEAD: usize = 8;
/// Control frames are small; one that claims more is refused before it is read.
const CONTROL_LIMIT: usize = 64 << 10;
/// Data is passed on as it comes, in pieces of at most this size, however long its frame is.
const PIECE: usize = 32 << 10;
/// Smaller pieces are copied out of what was read together, which would otherwise be kept with them.
const SMALL: usize = 4 << 10;

/// One frame. Header blocks are as they travel, compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A piece of a stream.
    Data { stream: u32, fin: bool, bytes: Bytes },
    /// A new stream.
    SynStream { stream: u32, fin: bool, headers: Bytes },
    /// A new stream is accepted.
    SynReply { stream: u32, fin: bool, headers: Bytes },
    /// A stream ends abruptly.
    Reset { stream: u32, status: u32 },
    /// Are you there.
    Ping { id: u32 },
    /// No more streams, please.
    GoAway { last: u32, status: u32 },
    /// Something that can be ignored.
    Other,
}

/// Why bytes are no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of {0} bytes is larger than is read")]
    TooLarge(usize),
    #[error("a frame of another version of SPDY")]
    Version,
    #[error("a frame is shorter than its kind")]
    Short,
}

/// Takes frames out of what is read.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The frame of data that is under way: its stream, whether it is the last, and what is still to come.
    open: Option<(u32, bool, usize)>,
}

impl Decoder {
    /// Takes the first frame out of `buffer`, once it is whole; of data a piece, once there is some.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if self.open.is_some() {
            return Ok(self.data(buffer));
        }
        if buffer.len() < HEAD {
            return Ok(None);
        }
        let mut head = &buffer[..HEAD];
        let first = head.get_u32();
        let second = head.get_u32();
        let flags = second.to_be_bytes()[0];
        let length = (second & 0x00ff_ffff) as usize;
        let is_control = first & CONTROL != 0;
        let fin = flags & FIN != 0;
        if !is_control {
            buffer.advance(HEAD);
            self.open = Some((first, fin, length));
            return Ok(self.data(buffer));
        }
        if length > CONTROL_LIMIT {
            return Err(FrameError::TooLarge(length));
        }
        if buffer.len() < HEAD + length {
            return Ok(None);
        }
        buffer.advance(HEAD);
        let content = buffer.split_to(length).freeze();
        if (first >> 16) & 0x7fff != VERSION {
            return Err(FrameError::Version);
        }
        let kind = u16::try_from(first & 0xffff).expect("sixteen bits were kept");
        control(kind, fin, content).map(Some)
    }

    /// The next piece of the frame that is under way.
    fn data(&mut self, buffer: &mut BytesMut) -> Option<Frame> {
        let (stream, fin, left) = self.open?;
        let size = left.min(buffer.len()).min(PIECE);
        if size == 0 && left > 0 {
            return None;
        }
        let bytes = if size < SMALL {
            let bytes = Bytes::copy_from_slice(&buffer[..size]);
            buffer.advance(size);
            bytes
        } else {
            buffer.split_to(size).freeze()
        };
        let left = left - size;
        self.open = (left > 0).then_some((stream, fin, left));
        Some(Frame::Data { stream, fin: fin && left == 0, bytes })
    }
}

impl Frame {
    /// The frame's bytes.
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64);
        match self {
            Self::Data { stream, fin, bytes } => {
                out.reserve(HEAD + bytes.len());
                out.put_u32(stream & !CONTROL);
                put_flags_and_length(&mut out, *fin, bytes.len());
                out.extend_from_slice(bytes);
            }
            Self::SynStream { stream, fin, headers } => {
                put_control(&mut out, SYN_STREAM, *fin, 10 + headers.len());
                out.put_u32(*stream);
                out.put_u32(0);
                out.put_u16(0);
                out.extend_from_slice(headers);
            }
            Self::SynReply { stream, fin, headers } => {
                put_control(&mut out, SYN_REPLY, *fin, 4 + headers.len());
                out.put_u32(*stream);
                out.extend_from_slice(headers);
            }
            Self::Reset { stream, status } => {
                put_control(&mut out, RST_STREAM, false, 8);
                out.put_u32(*stream);
                out.put_u32(*status);
            }
            Self::Ping { id } => {
                put_control(&mut out, PING, false, 4);
                out.put_u32(*id);
            }
            Self::GoAway { last, status } => {
                put_control(&mut out, GOAWAY, false, 8);
                out.put_u32(*last);
                out.put_u32(*status);
            }
            Self::Other => {}
        }
        out.freeze()
    }
}

fn control(kind: u16, fin: bool, mut content: Bytes) -> Result<Frame, FrameError> {
    let needed = match kind {
        SYN_STREAM => 10,
        RST_STREAM | GOAWAY => 8,
        SYN_REPLY | PING => 4,
        _ => return Ok(Frame::Other),
    };
    if content.len() < needed {
        return Err(FrameError::Short);
    }
    let first = content.get_u32() & !CONTROL;
    Ok(match kind {
        SYN_STREAM => {
            // The associated stream and the priority mean nothing here.
            content.advance(6);
            Frame::SynStream { stream: first, fin, headers: content }
        }
        SYN_REPLY => Frame::SynReply { stream: first, fin, headers: content },
        RST_STREAM => Frame::Reset { stream: first, status: content.get_u32() },
        PING => Frame::Ping { id: first },
        _ => Frame::GoAway { last: first, status: content.get_u32() },
    })
}

fn put_control(out: &mut BytesMut, kind: u16, fin: bool, length: usize) {
    out.put_u32(CONTROL | VERSION << 16 | u32::from(kind));
    put_flags_and_length(out, fin, length);
}

fn put_flags_and_length(out: &mut BytesMut, fin: bool, length: usize) {
    let length = u32::try_from(length).expect("what is sent was cut to size") & 0x00ff_ffff;
    out.put_u32(u32::from(if fin { FIN } else { 0 }) << 24 | length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written_however_they_were_cut() {
        let bytes = Bytes::from_static(b"some bytes");
        let frames = [
            Frame::SynStream { stream: 1, fin: false, headers: bytes.clone() },
            Frame::SynReply { stream: 1, fin: false, headers: bytes.clone() },
            Frame::Data { stream: 1, fin: true, bytes },
            Frame::Reset { stream: 3, status: 5 },
            Frame::Ping { id: 7 },
            Frame::GoAway { last: 9, status: 0 },
        ];
        let wire: Vec<u8> = frames.iter().flat_map(|f| f.encode().to_vec()).collect();
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        let mut decoder = Decoder::default();
        for byte in wire {
            buffer.put_u8(byte);
            found.extend(decoder.next(&mut buffer).expect("well formed"));
        }
        // Data comes as it is cut.
        let data = |fin, byte: u8| Frame::Data { stream: 1, fin, bytes: Bytes::copy_from_slice(&[byte]) };
        let text = b"some bytes";
        let mut expected = frames[..2].to_vec();
        expected.extend(text.iter().enumerate().map(|(at, byte)| data(at + 1 == text.len(), *byte)));
        expected.extend_from_slice(&frames[3..]);
        assert_eq!(found, expected);
    }

    #[test]
    fn a_frame_of_data_is_never_held_as_a_whole() {
        let mut buffer = BytesMut::new();
        let mut decoder = Decoder::default();
        buffer.put_u32(1);
        buffer.put_u32(0x0100_0000 | 0x00ff_ffff);
        let mut total = 0;
        loop {
            if buffer.is_empty() {
                buffer.extend_from_slice(&[7; 50_000]);
            }
            let Some(frame) = decoder.next(&mut buffer).expect("well formed") else { continue };
            let Frame::Data { stream: 1, fin, bytes } = frame else { panic!("{frame:?}") };
            assert!(bytes.len() <= PIECE);
            total += bytes.len();
            if fin {
                break;
            }
        }
        assert_eq!(total, 0x00ff_ffff);
    }

    #[test]
    fn what_is_no_frame_is_refused_without_reading_on() {
        let check = |bytes: &[u8], expected| {
            assert_eq!(Decoder::default().next(&mut BytesMut::from(bytes)), Err(expected));
        };
        check(&[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff], FrameError::TooLarge(0x00ff_ffff));
        check(&[0x80, 2, 0, 6, 0, 0, 0, 0], FrameError::Version);
        check(&[0x80, 3, 0, 6, 0, 0, 0, 1, 9], FrameError::Short);
    }
}
