//! Streams of one kind, one after another.

use std::io::{self, BufRead, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;

use super::input::Input;
use super::{Compression, MAGIC_MAX};

/// What inflating an xz stream may take: twice as much as the largest preset of `xz` does. One that says so
/// itself may want four gigabytes.
const XZ_MEMORY_MAX: u32 = 128 << 10;

/// Inflates one stream, and reads no byte behind it.
pub(crate) trait Member: Read + Sized {
    /// What it reads from.
    type Source;

    const KIND: Compression;

    fn begin(source: Self::Source) -> Self;

    fn end(self) -> Self::Source;

    fn source_mut(&mut self) -> &mut Self::Source;
}

/// Inflates all streams that come.
pub(crate) struct Members<M: Member> {
    /// There is always one, but for a moment.
    member: Option<M>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Ended,
    /// What a reader is like after it has failed, nobody says.
    Failed(io::ErrorKind),
}

impl<R: Read, M: Member<Source = Input<R>>> Members<M> {
    pub(super) fn new(input: Input<R>) -> Self {
        Self { member: Some(M::begin(input)), state: State::Reading }
    }

    pub(super) fn input_mut(&mut self) -> &mut Input<R> {
        self.member.as_mut().expect("there is always one").source_mut()
    }

    pub(super) fn into_input(self) -> Input<R> {
        self.member.expect("there is always one").end()
    }

    /// Begins the next stream; false if there is none.
    fn next(&mut self) -> io::Result<bool> {
        let mut input = self.member.take().expect("there is always one").end();
        let found = find::<R, M>(&mut input);
        self.member = Some(M::begin(input));
        found
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let got = self.member.as_mut().expect("there is always one").read(buffer)?;
            if got > 0 || buffer.is_empty() {
                return Ok(got);
            }
            if !self.next()? {
                self.state = State::Ended;
                return Ok(0);
            }
        }
    }
}

/// Whether another stream comes.
fn find<R: Read, M: Member>(input: &mut Input<R>) -> io::Result<bool> {
    // Streams of xz are filled up to a multiple of four bytes.
    while M::KIND == Compression::Xz && input.peek(1)? == [0] {
        let zeros = input.fill_buf()?.iter().take_while(|&&byte| byte == 0).count();
        input.consume(zeros);
    }
    Ok(Compression::of(input.peek(MAGIC_MAX)?) == M::KIND)
}

impl<R: Read, M: Member<Source = Input<R>>> Read for Members<M> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.state {
            State::Reading => {}
            State::Ended => return Ok(0),
            State::Failed(kind) => return Err(explain(kind.into())),
        }
        match self.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.state = State::Failed(error.kind());
                Err(explain(error))
            }
            read => read,
        }
    }
}

fn explain(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::OutOfMemory => {
            let problem = format!(
                "the stream takes more than {} MiB of memory to be inflated: compress it with a smaller dictionary",
                XZ_MEMORY_MAX >> 10
            );
            io::Error::new(io::ErrorKind::InvalidData, problem)
        }
        _ => error,
    }
}

impl<S: BufRead> Member for GzDecoder<S> {
    type Source = S;

    const KIND: Compression = Compression::Gzip;

    fn begin(source: S) -> Self {
        GzDecoder::new(source)
    }

    fn end(self) -> S {
        self.into_inner()
    }

    fn source_mut(&mut self) -> &mut S {
        self.get_mut()
    }
}

impl<S: BufRead> Member for BzDecoder<S> {
    type Source = S;

    const KIND: Compression = Compression::Bzip2;

    fn begin(source: S) -> Self {
        BzDecoder::new(source)
    }

    fn end(self) -> S {
        self.into_inner()
    }

    fn source_mut(&mut self) -> &mut S {
        self.get_mut()
    }
}

impl<S: Read> Member for XzReader<S> {
    type Source = S;

    const KIND: Compression = Compression::Xz;

    fn begin(source: S) -> Self {
        XzReader::new_mem_limit(source, false, XZ_MEMORY_MAX)
    }

    fn end(self) -> S {
        self.into_inner()
    }

    fn source_mut(&mut self) -> &mut S {
        self.inner_mut()
    }
}
