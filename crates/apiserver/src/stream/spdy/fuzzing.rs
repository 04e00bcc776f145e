//! What a session reads, for the targets in `fuzz/`.

use bytes::BytesMut;

use super::frame::{Decoder, Frame};
use super::headers::Inflater;

/// What was read, as text, and how it ended. Data is put together again, however it was cut.
pub(crate) fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Option<String>) {
    let (mut decoder, mut inflater, mut buffer) = (Decoder::default(), Inflater::new(), BytesMut::new());
    let (mut found, mut data) = (Vec::new(), None::<(u32, Vec<u8>)>);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let frame = match decoder.next(&mut buffer) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    found.extend(data.map(|data| format!("{data:?}")));
                    return (found, Some(error.to_string()));
                }
            };
            let text = match frame {
                Frame::Data { stream, fin, bytes } => {
                    let (_, joined) = data.get_or_insert((stream, Vec::new()));
                    joined.extend_from_slice(&bytes);
                    if !fin {
                        continue;
                    }
                    "fin".to_owned()
                }
                Frame::SynStream { stream, headers, .. } | Frame::SynReply { stream, headers, .. } => {
                    format!("{stream} {:?}", inflater.read(&headers))
                }
                other => format!("{other:?}"),
            };
            found.extend(data.take().map(|data| format!("{data:?}")));
            found.push(text);
        }
    }
    found.extend(data.map(|data| format!("{data:?}")));
    (found, None)
}
