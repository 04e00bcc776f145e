//! Log lines as the text that `kubectl logs` shows.

use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use crate::runtime::{LogLine, LogLines};

struct Text {
    lines: LogLines,
    timestamps: bool,
    at_line_start: bool,
    left: u64,
}

/// The text of `lines`, at most `limit` bytes of it: it ends with the limit, not with the line after.
pub(super) fn text(
    lines: LogLines,
    timestamps: bool,
    limit: Option<u64>,
) -> impl Stream<Item = Bytes> + Send + 'static {
    let text = Text { lines, timestamps, at_line_start: true, left: limit.unwrap_or(u64::MAX) };
    futures::stream::unfold(text, |mut text| async {
        if text.left == 0 {
            return None;
        }
        match text.lines.next().await? {
            Ok(line) => Some((text.piece(&line), text)),
            Err(error) => {
                tracing::warn!(error = error.full_message(), "a log could not be read on");
                None
            }
        }
    })
}

impl Text {
    fn piece(&mut self, line: &LogLine) -> Bytes {
        let begins = std::mem::replace(&mut self.at_line_start, line.text.ends_with(b"\n"));
        let mut piece = if self.timestamps && begins {
            let mut piece = format!("{:.9} ", line.at).into_bytes();
            piece.extend_from_slice(&line.text);
            Bytes::from(piece)
        } else {
            line.text.clone()
        };
        piece.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= piece.len() as u64;
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(timestamps: bool, limit: Option<u64>, expected: &str) {
        let lines = ["one\n", "tw", "o\n"].map(|text| {
            Ok(LogLine { at: base::Timestamp::new(1, 5).expect("a moment"), text: Bytes::from(text) })
        });
        // As a container that goes on and says nothing more.
        let lines = futures::stream::iter(lines).chain(futures::stream::pending());
        let text = text(lines.boxed(), timestamps, limit);
        let mut seen = Vec::new();
        let read = async {
            std::pin::pin!(text)
                .for_each(|piece| {
                    seen.push(piece);
                    async {}
                })
                .await
        };
        let ended = futures::FutureExt::now_or_never(read).is_some();
        assert_eq!(String::from_utf8(seen.concat()).expect("text"), expected);
        assert_eq!(ended, limit.is_some());
    }

    #[test]
    fn the_text_ends_with_the_limit() {
        check(false, None, "one\ntwo\n");
        check(false, Some(4), "one\n");
        check(false, Some(5), "one\nt");
        check(true, Some(33), "1970-01-01T00:00:01.000000005Z on");
    }
}
