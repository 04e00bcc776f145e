//! What is at an address that is no registry's: files to add, contexts, root file systems.

use base::Timestamp;
use bytes::Bytes;
use reqwest::Response;
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName, LAST_MODIFIED};

use super::limits::{Limits, Paced};
use super::repository::error_body;
use crate::transfer::PullError;

/// The longest file that is fetched from an address.
const FETCH_MAX: u64 = 64 << 30;

/// Something that is being fetched.
pub struct Opened {
    /// How many bytes it has, if that is said.
    pub length: Option<u64>,
    /// What it is said to be; empty where nothing is said.
    pub media_type: String,
    /// What it is said to be called, without a path.
    pub file_name: Option<String>,
    /// When it was changed.
    pub modified: Option<Timestamp>,
    address: String,
    pieces: Paced,
    came: u64,
}

impl Opened {
    /// What an address answered.
    pub(super) async fn new(address: &str, response: Response, limits: Limits) -> Result<Self, PullError> {
        if !response.status().is_success() {
            let status = response.status();
            let reason = status.canonical_reason().unwrap_or("Unknown");
            let status = status.as_u16();
            let message = String::from_utf8_lossy(&error_body(response).await).trim().to_owned();
            return Err(PullError::Address { address: address.to_owned(), status, reason, message });
        }
        let header = |name: HeaderName| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let length = response.content_length();
        let file_name = header(CONTENT_DISPOSITION).as_deref().and_then(file_name);
        let modified = header(LAST_MODIFIED).and_then(|text| http_time(&text));
        let media_type = header(CONTENT_TYPE).unwrap_or_default();
        if length.is_some_and(|length| length > FETCH_MAX) {
            return Err(too_long(address));
        }
        let pieces = Paced::new(address, response, limits);
        Ok(Self { length, media_type, file_name, modified, address: address.to_owned(), pieces, came: 0 })
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, PullError> {
        let piece = self.pieces.next().await?;
        self.came += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        if self.came > FETCH_MAX {
            return Err(too_long(&self.address));
        }
        Ok(piece)
    }

    /// How many bytes have come.
    pub fn came(&self) -> u64 {
        self.came
    }
}

fn too_long(address: &str) -> PullError {
    let problem = format!("it is longer than {FETCH_MAX} bytes");
    PullError::Malformed { name: address.to_owned(), problem }
}

/// The name in `attachment; filename="a.tar"` (RFC 6266), the last part of it.
fn file_name(header: &str) -> Option<String> {
    let mut parameters = header.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, name) = parameters.find(|(key, _)| key.trim().eq_ignore_ascii_case("filename"))?;
    let name = name.trim().trim_matches('"').replace(['\\', '\0'], "");
    let last = name.rsplit('/').next().filter(|last| !matches!(*last, "" | "." | ".."))?;
    Some(last.to_owned())
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
fn http_time(text: &str) -> Option<Timestamp> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words[..] else { return None };
    let month = MONTHS.find(month).filter(|at| month.len() == 3 && at % 3 == 0)? / 3 + 1;
    format!("{year}-{month:02}-{day:0>2}T{time}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_by_the_last_part_of_what_is_said() {
        let check = |header: &str, expected: Option<&str>| assert_eq!(file_name(header).as_deref(), expected);
        check("attachment; filename=\"a b.tar\"", Some("a b.tar"));
        check("inline; FileName=/etc/passwd", Some("passwd"));
        check("attachment; filename=../..", None);
        check("attachment", None);
    }

    #[test]
    fn times_are_those_of_http() {
        let seconds = |text: &str| http_time(text).map(|time| time.as_second());
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds("Sun, 6 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        for text in ["", "yesterday", "Sun, 06 Nvo 1994 08:49:37 GMT", "Sun, 06 anF 1994 08:49:37 GMT"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
