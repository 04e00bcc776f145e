//! Requests without the client, for what it hides.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::daemon::Daemon;

/// An answer as it travelled.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// What came after the headers, chunks put together.
    pub body: String,
}

/// Sends one request to the Docker API at `socket` and reads the whole answer.
pub fn raw(socket: &Path, method: &str, path: &str, body: &str) -> io::Result<Answer> {
    let mut stream = connect(socket, method, path, body, "Connection: close\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| io::Error::other(format!("no answer: {}", String::from_utf8_lossy(&bytes))))
}

impl Daemon {
    /// Sends one request and reads the whole answer.
    pub fn raw(&self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        raw(&self.socket(), method, path, body)
    }

    /// Sends one request that asks for the connection itself.
    pub fn upgrade(&self, path: &str, body: &str) -> io::Result<UnixStream> {
        connect(&self.socket(), "POST", path, body, "Connection: Upgrade\r\nUpgrade: tcp\r\n")
    }
}

fn connect(socket: &Path, method: &str, path: &str, body: &str, more: &str) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let length = body.len();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: docker\r\n{kind}Content-Length: {length}\r\n{more}\r\n{body}"
    )?;
    Ok(stream)
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let chunked = headers.get("transfer-encoding").is_some_and(|value| value == "chunked");
    let body = if chunked { unchunk(body)? } else { body.to_owned() };
    Some(Answer { status, headers, body })
}

fn unchunk(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (length, after) = rest.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.push_str(after.get(..length)?);
        rest = after.get(length..)?.strip_prefix("\r\n")?;
    }
}
