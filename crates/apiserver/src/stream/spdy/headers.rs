//! Header blocks: names and values, compressed with one context for each direction of a session.
//! Source: SPDY protocol, draft 3, section 2.6.10 "Name/Value Header Block".

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::dictionary::dictionary;

/// A block that inflates to more is refused: no client of ours sends as much.
const LIMIT: usize = 64 << 10;

/// What a client says of a stream, as far as anybody wants to know: other headers are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::stream) struct Headers {
    /// Which stream of several it is (`streamType`), in lower case.
    pub(in crate::stream) kind: String,
    /// The port to forward to.
    pub(in crate::stream) port: String,
    /// Which streams belong together (`requestID`).
    pub(in crate::stream) request: String,
}

/// No value that is kept is longer.
const VALUE: usize = 256;

/// Reads the header blocks of one session.
pub(super) struct Inflater {
    context: Decompress,
}

/// Writes the header blocks of one session.
pub(super) struct Deflater {
    context: Compress,
}

/// A header block could not be read; the session cannot go on, since its context is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a header block is malformed")]
pub(super) struct HeaderError;

impl Inflater {
    pub(super) fn new() -> Self {
        Self { context: Decompress::new(true) }
    }

    pub(super) fn read(&mut self, block: &[u8]) -> Result<Headers, HeaderError> {
        parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Bytes, HeaderError> {
        let mut plain = Vec::with_capacity(4096);
        let start = self.context.total_in();
        loop {
            let used = usize::try_from(self.context.total_in() - start).map_err(|_| HeaderError)?;
            let before = (self.context.total_in(), plain.len());
            match self.context.decompress_vec(&block[used..], &mut plain, FlushDecompress::Sync) {
                Ok(_) => {}
                // The first block asks for the dictionary; after that the context has it.
                Err(error) if error.needs_dictionary().is_some() => {
                    self.context.set_dictionary(&dictionary()).map_err(|_| HeaderError)?;
                    continue;
                }
                Err(_) => return Err(HeaderError),
            }
            let used = usize::try_from(self.context.total_in() - start).map_err(|_| HeaderError)?;
            let is_stuck = before == (self.context.total_in(), plain.len());
            if used == block.len() && plain.len() < plain.capacity() {
                return Ok(plain.into());
            }
            if plain.len() > LIMIT || (is_stuck && plain.len() < plain.capacity()) {
                return Err(HeaderError);
            }
            plain.reserve(4096);
        }
    }
}

impl Deflater {
    pub(super) fn new() -> Self {
        let mut context = Compress::new(Compression::fast(), true);
        context.set_dictionary(&dictionary()).expect("a new context takes a dictionary");
        Self { context }
    }

    pub(super) fn write(&mut self, headers: &[(&str, &str)]) -> Bytes {
        let mut plain = BytesMut::new();
        put_length(&mut plain, headers.len());
        for (name, value) in headers {
            put_length(&mut plain, name.len());
            plain.extend_from_slice(name.as_bytes());
            put_length(&mut plain, value.len());
            plain.extend_from_slice(value.as_bytes());
        }
        // Room for any block, plus what a flush adds: one call is enough.
        let mut block = Vec::with_capacity(plain.len() * 2 + 64);
        self.context
            .compress_vec(&plain, &mut block, FlushCompress::Sync)
            .expect("compressing into enough room never fails");
        block.into()
    }
}

fn put_length(out: &mut BytesMut, length: usize) {
    out.put_u32(u32::try_from(length).expect("headers of ours are short"));
}

fn parse(mut plain: &[u8]) -> Result<Headers, HeaderError> {
    let count = take_length(&mut plain)?;
    let mut headers = Headers::default();
    for _ in 0..count {
        let (name, value) = (take_text(&mut plain)?, take_text(&mut plain)?);
        let place = match name.to_ascii_lowercase().as_str() {
            "streamtype" => &mut headers.kind,
            "port" => &mut headers.port,
            "requestid" => &mut headers.request,
            _ => continue,
        };
        if value.len() > VALUE {
            return Err(HeaderError);
        }
        value.clone_into(place);
    }
    headers.kind.make_ascii_lowercase();
    Ok(headers)
}

fn take_length(plain: &mut &[u8]) -> Result<usize, HeaderError> {
    if plain.len() < 4 {
        return Err(HeaderError);
    }
    usize::try_from(plain.get_u32()).map_err(|_| HeaderError)
}

fn take_text<'a>(plain: &mut &'a [u8]) -> Result<&'a str, HeaderError> {
    let length = take_length(plain)?;
    let (text, rest) = plain.split_at_checked(length).ok_or(HeaderError)?;
    *plain = rest;
    std::str::from_utf8(text).map_err(|_| HeaderError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_one_session_are_read_in_order() {
        let (mut writer, mut reader) = (Deflater::new(), Inflater::new());
        for id in ["0", "1", "2"] {
            let long = "x".repeat(10_000);
            let headers = [("streamType", "Error"), ("port", "8080"), ("other", &long), ("requestid", id)];
            let block = writer.write(&headers);
            let found = reader.read(&block).expect("a good block");
            let expected =
                Headers { kind: "error".to_owned(), port: "8080".to_owned(), request: id.to_owned() };
            assert_eq!(found, expected);
        }
        assert_eq!(reader.read(&writer.write(&[])), Ok(Headers::default()));
        let long = "x".repeat(VALUE + 1);
        assert_eq!(reader.read(&writer.write(&[("requestid", &long)])), Err(HeaderError));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Inflater::new().read(b"nonsense"), Err(HeaderError));
        assert_eq!(parse(&[0, 0, 0, 9]), Err(HeaderError));
        assert_eq!(parse(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 1]), Err(HeaderError));
    }
}
