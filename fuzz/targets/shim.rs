//! The protocol between engine and shim: frames do not depend on how they were cut.
#![no_main]

use runtime::shim::protocol::{Decoder, Frame, FrameError};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((cut, data)) = data.split_first() else { return };
    let whole = frames(std::iter::once(data));
    let pieces = frames(data.chunks(usize::from(*cut).max(1)));
    assert_eq!(whole, pieces);
});

/// The frames as text, and how it ended.
fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Option<String>) {
    let (mut decoder, mut found) = (Decoder::default(), Vec::new());
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => found.push(read(&frame)),
                Ok(None) => break,
                Err(error) => return (found, Some(error.to_string())),
            }
        }
    }
    (found, None)
}

fn read(frame: &Frame) -> String {
    let document: Result<serde_json::Value, FrameError> = frame.json();
    format!("{frame:?} {}", document.is_ok())
}
