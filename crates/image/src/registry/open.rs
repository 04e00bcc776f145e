//! What is at an address that is no registry's: files to add, contexts, root file systems.

use base::Timestamp;
use bytes::Bytes;
use reqwest::Response;
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED};

use super::limits::{Limits, Paced};
use super::repository::error_body;
use crate::transfer::PullError;

/// The longest file that is fetched from an address.
const FETCH_MAX: u64 = 64 << 30;
/// The longest name of a state that is remembered.
const TAG_MAX: usize = 1 << 10;

/// What is asked of an address.
#[derive(Clone, Default)]
pub struct AddressRequest {
    /// The address.
    pub address: String,
    /// Fields of the request's head.
    pub headers: Vec<(String, String)>,
    /// Who one is (`Authorization`), which nobody but the address's own server hears.
    pub authorization: Option<String>,
}

/// What a server says of something without giving it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressHead {
    /// Which state of it there is (`ETag`), without saying how strictly that is meant.
    pub tag: Option<String>,
    /// Whether it is as one of those that were asked about.
    pub unchanged: bool,
    /// What it is said to be called, without a path.
    pub file_name: Option<String>,
}

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
    /// Which state of it this is (`ETag`), without saying how strictly that is meant.
    pub tag: Option<String>,
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
        let header = |name: HeaderName| header(&response, name);
        let length = response.content_length();
        let file_name = header(CONTENT_DISPOSITION).as_deref().and_then(file_name);
        let modified = header(LAST_MODIFIED).and_then(|text| http_time(&text));
        let media_type = header(CONTENT_TYPE).unwrap_or_default();
        let tag = header(ETAG).as_deref().and_then(tag);
        if length.is_some_and(|length| length > FETCH_MAX) {
            return Err(too_long(address));
        }
        let pieces = Paced::new(address, response, limits);
        let address = address.to_owned();
        Ok(Self { length, media_type, file_name, modified, tag, address, pieces, came: 0 })
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

impl AddressRequest {
    /// What is to be asked with, and how.
    pub(super) fn build(
        &self,
        http: &reqwest::Client,
        method: reqwest::Method,
    ) -> Result<reqwest::RequestBuilder, PullError> {
        let mut request = http.request(method, &self.address);
        let authorization = self.authorization.iter().map(|value| ("authorization", value, true));
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value, false));
        for (name, value, is_secret) in headers.chain(authorization) {
            let wrong = || {
                let problem = format!("the value for the field {name} of its head cannot be sent");
                PullError::Malformed { name: self.address.clone(), problem }
            };
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
            value.set_sensitive(is_secret);
            request = request.header(name, value);
        }
        Ok(request)
    }
}

impl AddressHead {
    /// What an address answered to who asked for the head alone; nothing if that says nothing.
    pub(super) fn of(response: &Response) -> Option<Self> {
        let unchanged = response.status() == reqwest::StatusCode::NOT_MODIFIED;
        (unchanged || response.status() == reqwest::StatusCode::OK).then(|| Self {
            tag: header(response, ETAG).as_deref().and_then(tag),
            unchanged,
            file_name: header(response, CONTENT_DISPOSITION).as_deref().and_then(file_name),
        })
    }
}

fn header(response: &Response, name: HeaderName) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
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

/// A state's name: `W/"x"` and `"x"` are one.
fn tag(header: &str) -> Option<String> {
    let tag = header.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    (!tag.is_empty() && tag.len() <= TAG_MAX).then(|| tag.to_owned())
}

/// Reads the three forms that times have in HTTP (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`,
/// `Sunday, 06-Nov-94 08:49:37 GMT` and `Sun Nov  6 08:49:37 1994`.
fn http_time(text: &str) -> Option<Timestamp> {
    let words: Vec<&str> = text.split([' ', '-']).filter(|word| !word.is_empty()).collect();
    let (day, month, year, time) = match words[..] {
        [_, day, month, year, time, "GMT" | "UTC"] => (day, month, year, time),
        [_, month, day, time, year] => (day, month, year, time),
        _ => return None,
    };
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = MONTHS.find(month).filter(|at| month.len() == 3 && at % 3 == 0)? / 3 + 1;
    let year = match (year.len(), year.parse::<u32>().ok()?) {
        (4, year) => year,
        // What is said with two digits is of a century around 2000.
        (2, year) if year >= 70 => 1900 + year,
        (2, year) => 2000 + year,
        _ => return None,
    };
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
    fn a_state_is_one_however_strictly_it_is_meant() {
        for (header, expected) in [
            ("\"x\"", Some("\"x\"")),
            ("W/\"x\"", Some("\"x\"")),
            ("plain", Some("plain")),
            ("", None),
            ("W/", None),
        ] {
            assert_eq!(tag(header).as_deref(), expected, "{header}");
        }
        assert_eq!(tag(&"x".repeat(TAG_MAX + 1)), None);
    }

    #[test]
    fn times_are_those_of_http() {
        let seconds = |text: &str| http_time(text).map(|time| time.as_second());
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds("Sun, 6 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds("Sunday, 06-Nov-94 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds("Sunday, 29-Nov-26 08:49:37 UTC"), Some(1_795_942_177));
        assert_eq!(seconds("Sun Nov  6 08:49:37 1994"), Some(784_111_777));
        for text in [
            "",
            "yesterday",
            "Sun, 06 Nvo 1994 08:49:37 GMT",
            "Sun, 06 anF 1994 08:49:37 GMT",
            "Sunday, 06-Nov-194 08:49:37 GMT",
            "Sun Nov  6 08:49:37",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
