//! A container's output on disk, in CRI's format or in Docker's.
//!
//! One line of output is one line of the log: `<time> <stdout|stderr> <F|P> <text>`, or
//! `{"log":"<text>\n","stream":"<stdout|stderr>","time":"<time>"}`. A line longer than 16 KiB comes in
//! parts, all but the last marked `P`, or without the line end. What came in together is written
//! together; a file that has grown too long is put aside and a new one begun.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base::Timestamp;

use super::protocol::LogSpec;

/// The longest part of a line.
const PART: usize = 16 << 10;

/// Which stream a text came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout = 0,
    Stderr = 1,
}

/// The log of one process.
#[derive(Debug)]
pub(super) struct Log {
    spec: LogSpec,
    file: File,
    size: u64,
    /// The file ends within an entry: the disk was full, or the machine stopped.
    torn: bool,
    /// By stream: the beginning of a line whose end has not come yet.
    begun: [Vec<u8>; 2],
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl Log {
    /// Opens the log, which may be there from an earlier run of the container.
    pub(super) fn open(spec: LogSpec) -> io::Result<Self> {
        let file = append_to(&spec.path)?;
        let (size, torn) = ends(&file)?;
        Ok(Self { spec, file, size, torn, begun: [Vec::new(), Vec::new()] })
    }

    /// Writes what came from a stream at `now`.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8], now: Timestamp) -> io::Result<()> {
        let time = now.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string();
        let entry = self.format();
        let begun = &mut self.begun[stream as usize];
        let mut out = Vec::with_capacity(bytes.len() + 64);
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = PART - begun.len();
            // One further than there is room: a line that just fits is whole.
            match rest.iter().take(room + 1).position(|&byte| byte == b'\n') {
                Some(end) => {
                    entry(&mut out, &time, stream, true, begun, &rest[..end]);
                    begun.clear();
                    rest = &rest[end + 1..];
                }
                None if rest.len() > room => {
                    entry(&mut out, &time, stream, false, begun, &rest[..room]);
                    begun.clear();
                    rest = &rest[room..];
                }
                None => {
                    begun.extend_from_slice(rest);
                    rest = &[];
                }
            }
        }
        self.put(&out)
    }

    /// Writes the beginning of a line that will never end.
    pub(super) fn finish(&mut self, now: Timestamp) -> io::Result<()> {
        let time = now.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string();
        let entry = self.format();
        let mut out = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let begun = std::mem::take(&mut self.begun[stream as usize]);
            if !begun.is_empty() {
                entry(&mut out, &time, stream, false, &begun, &[]);
            }
        }
        self.put(&out)
    }

    /// Begins again at the log's path, after somebody has moved the file away.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let file = append_to(&self.spec.path)?;
        (self.size, self.torn) = ends(&file)?;
        self.file = file;
        Ok(())
    }

    fn format(&self) -> Entry {
        if self.spec.json { json } else { cri }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let most = self.spec.max_size;
        let long = self.size + bytes.len() as u64;
        let rotated = if most > 0 && self.size > 0 && long > most { self.rotate() } else { Ok(()) };
        // A file that cannot be put aside is written on, within bounds.
        if rotated.is_err() && long > most.saturating_mul(2) {
            return rotated;
        }
        self.append(bytes)?;
        rotated
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            // The half entry ends here and takes no other along.
            self.file.write_all(b"\n")?;
            self.size += 1;
            self.torn = false;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = &rest[count..];
                    self.size += count as u64;
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Puts the file aside and begins a new one. Whoever holds the old one reads it to its end, so it
    /// is not emptied in place, even if none is kept.
    fn rotate(&mut self) -> io::Result<()> {
        // Made first: if that is not possible nothing is moved, and the old file goes on.
        let next = self.spec.path.with_added_extension("next");
        let file = append_to(&next)?;
        file.set_len(0)?;
        let kept = self.spec.max_files.max(1);
        for number in (1..kept).rev() {
            let older = numbered(&self.spec.path, number);
            let newer =
                if number == 1 { self.spec.path.clone() } else { numbered(&self.spec.path, number - 1) };
            match std::fs::rename(newer, older) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(next, &self.spec.path)?;
        (self.file, self.size, self.torn) = (file, 0, false);
        Ok(())
    }
}

/// How long a log is, and whether it ends within an entry.
fn ends(file: &File) -> io::Result<(u64, bool)> {
    use std::os::unix::fs::FileExt;
    let size = file.metadata()?.len();
    let mut last = [b'\n'];
    if size > 0 {
        file.read_exact_at(&mut last, size - 1)?;
    }
    Ok((size, last != [b'\n']))
}

fn append_to(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Appends an entry: when and where it came from, whether it ends its line, and its two halves.
type Entry = fn(&mut Vec<u8>, &str, Stream, bool, &[u8], &[u8]);

/// JSON is text: what is none is replaced in it, as Docker replaces it.
fn json(out: &mut Vec<u8>, time: &str, stream: Stream, whole: bool, begun: &[u8], rest: &[u8]) {
    let end: &[u8] = if whole { b"\n" } else { b"" };
    let text = [begun, rest, end].concat();
    out.extend_from_slice(b"{\"log\":");
    serde_json::to_writer(&mut *out, &String::from_utf8_lossy(&text)).expect("memory takes all text");
    out.extend_from_slice(b",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(b"\",\"time\":\"");
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

fn cri(out: &mut Vec<u8>, time: &str, stream: Stream, whole: bool, begun: &[u8], rest: &[u8]) {
    out.extend_from_slice(time.as_bytes());
    out.push(b' ');
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(if whole { b" F " } else { b" P " });
    out.extend_from_slice(begun);
    out.extend_from_slice(rest);
    out.push(b'\n');
}

#[cfg(test)]
mod tests;
