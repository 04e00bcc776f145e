//! Reading what is in the log files: the rotated ones first, then the current one.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::line;
use super::{LogLine, LogQuery};
use crate::error::{Context, Result};

/// The shim breaks lines at 16 KiB; what is longer is no log line.
const LONGEST_LINE: u64 = 64 << 10;

/// Reads the current file on, as it grows and is rotated.
pub(super) struct Reader {
    path: PathBuf,
    file: Option<BufReader<File>>,
    /// A line whose end has not been written yet.
    unfinished: Vec<u8>,
}

/// The lines that `query` asks for, and a reader that stands after them.
pub(super) fn history(path: &Path, query: &LogQuery) -> Result<(Vec<LogLine>, Reader)> {
    let mut reader = Reader { path: path.to_owned(), file: open(path)?, unfinished: Vec::new() };
    if query.tail == Some(0) {
        reader.skip_to_end().context(|| format!("read `{}`", path.display()))?;
        return Ok((Vec::new(), reader));
    }
    let mut lines = Kept { last: VecDeque::new(), most: query.tail };
    // Opened after the current file: a rotation in between shows lines twice rather than not at all,
    // and those are told by where the current one was.
    for older in rotated(path) {
        let mut old = Reader { path: older.clone(), file: open(&older)?, unfinished: Vec::new() };
        if old.inode() == reader.inode() {
            continue;
        }
        old.read(|line| lines.take(line, query)).context(|| format!("read `{}`", older.display()))?;
    }
    reader.read(|line| lines.take(line, query)).context(|| format!("read `{}`", path.display()))?;
    Ok((lines.last.into(), reader))
}

/// Rotated files, oldest first: `<path>.9` … `<path>.1`.
fn rotated(path: &Path) -> Vec<PathBuf> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    let mut files: Vec<PathBuf> = (1..).map(numbered).take_while(|path| path.exists()).collect();
    files.reverse();
    files
}

fn open(path: &Path) -> Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::with_capacity(64 << 10, file))),
        // Nothing was written yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(|| format!("open `{}`", path.display())),
    }
}

/// The last lines, as many as are asked for.
struct Kept {
    last: VecDeque<LogLine>,
    most: Option<usize>,
}

impl Kept {
    fn take(&mut self, line: LogLine, query: &LogQuery) {
        if !query.admits(&line) {
            return;
        }
        if self.most.is_some_and(|most| self.last.len() == most) {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

impl Reader {
    /// Gives all whole lines that are there now, those of a new file included that took the
    /// current one's place.
    pub(super) fn read_on(&mut self, mut take: impl FnMut(LogLine)) -> Result<()> {
        let tried = |path: &Path| format!("read `{}`", path.display());
        loop {
            self.read(&mut take).context(|| tried(&self.path))?;
            if !self.was_replaced() {
                return Ok(());
            }
            // What was written to the old file before the rotation comes first.
            self.read(&mut take).context(|| tried(&self.path))?;
            self.unfinished.clear();
            self.file = open(&self.path)?;
        }
    }

    fn read(&mut self, mut take: impl FnMut(LogLine)) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        loop {
            let count = file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut self.unfinished)?;
            if count == 0 {
                return Ok(());
            }
            if self.unfinished.last() == Some(&b'\n') {
                self.unfinished.pop();
                if let Some(line) = line::parse(&self.unfinished) {
                    take(line);
                }
                self.unfinished.clear();
            } else if self.unfinished.len() as u64 > LONGEST_LINE {
                self.unfinished.clear();
            }
        }
    }

    fn skip_to_end(&mut self) -> io::Result<()> {
        match &mut self.file {
            Some(file) => io::Seek::seek(file, io::SeekFrom::End(0)).map(drop),
            None => Ok(()),
        }
    }

    /// Whether another file, or the first, is at the path now.
    fn was_replaced(&self) -> bool {
        match self.path.metadata() {
            Ok(meta) => self.inode() != Some((meta.dev(), meta.ino())),
            Err(_) => false,
        }
    }

    fn inode(&self) -> Option<(u64, u64)> {
        let meta = self.file.as_ref()?.get_ref().metadata().ok()?;
        Some((meta.dev(), meta.ino()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const QUERY: LogQuery =
        LogQuery { stdout: true, stderr: true, since: None, until: None, tail: None, follow: false };

    fn written(number: u32) -> String {
        let stream = if number.is_multiple_of(2) { "stdout" } else { "stderr" };
        format!("2026-01-01T00:00:{number:02}Z {stream} F line {number}\n")
    }

    fn texts(lines: &[LogLine]) -> Vec<String> {
        lines.iter().map(|line| String::from_utf8_lossy(&line.text).trim_end().to_owned()).collect()
    }

    #[track_caller]
    fn check(query: LogQuery, expected: &[&str]) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("log");
        std::fs::write(directory.path().join("log.2"), written(1)).expect("oldest");
        std::fs::write(directory.path().join("log.1"), written(2) + &written(3)).expect("older");
        std::fs::write(&path, written(4) + "torn").expect("current");
        let (lines, _) = history(&path, &query).expect("readable");
        assert_eq!(texts(&lines), expected);
    }

    #[test]
    fn rotated_files_come_first_and_a_torn_line_not_at_all() {
        check(QUERY, &["line 1", "line 2", "line 3", "line 4"]);
    }

    #[test]
    fn the_last_lines_of_the_wanted_streams_and_times_are_given() {
        check(LogQuery { tail: Some(2), ..QUERY }, &["line 3", "line 4"]);
        check(LogQuery { tail: Some(0), ..QUERY }, &[]);
        check(LogQuery { stdout: false, tail: Some(1), ..QUERY }, &["line 3"]);
        let at = |second: &str| Some(format!("2026-01-01T00:00:{second}Z").parse().expect("a time"));
        check(LogQuery { since: at("02"), until: at("03"), ..QUERY }, &["line 2", "line 3"]);
    }

    #[test]
    fn a_reader_goes_on_across_a_rotation() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("log");
        let (lines, mut reader) = history(&path, &QUERY).expect("no file yet");
        assert!(lines.is_empty());
        std::fs::write(&path, written(1)).expect("first file");
        let mut seen = Vec::new();
        reader.read_on(|line| seen.push(line)).expect("readable");
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("open");
        file.write_all(written(2).as_bytes()).expect("before the rotation");
        std::fs::rename(&path, directory.path().join("log.1")).expect("rotate");
        std::fs::write(&path, written(3)).expect("second file");
        reader.read_on(|line| seen.push(line)).expect("readable");
        assert_eq!(texts(&seen), ["line 1", "line 2", "line 3"]);
    }
}
