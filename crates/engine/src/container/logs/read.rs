//! Reading what is in the log files: forwards from any place, a bounded piece at a time.

use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use bytes::{Bytes, BytesMut};

use super::files::{Files, Part};
use super::line;
use super::tail;
use super::{LogLine, LogQuery};
use crate::error::{Context, Result};

/// The shim breaks lines at 16 KiB, of which each byte may be escaped by six; what is longer is no log line.
pub(super) const LONGEST_LINE: usize = 128 << 10;

/// How much is read at once.
pub(super) const BLOCK: usize = 64 << 10;

/// A batch is not added to when its lines stem from so many bytes, or when so many were looked
/// through: whoever waits for it may have gone.
const ENOUGH: usize = 64 << 10;
const PATIENCE: usize = 4 << 20;

/// Clocks of files tick more coarsely than those of lines, in seconds.
const COARSENESS: i64 = 1;

/// Reads a log from one place on, across its rotations.
pub(super) struct Reader {
    files: Files,
    part: Option<Part>,
    /// Up to where the part was read.
    position: u64,
    /// The part's successor: nothing more is written to the part.
    next: Option<Part>,
    /// What was read and not given yet: the beginning of a line.
    begun: BytesMut,
    /// Within a line that is too long to be one.
    skipping: bool,
    /// Where reading ends; nowhere, if it follows.
    end: Option<Place>,
}

/// A place in a log.
pub(super) struct Place {
    pub(super) part: Part,
    pub(super) offset: u64,
}

/// A few lines.
pub(super) struct Batch {
    pub(super) lines: Vec<LogLine>,
    pub(super) then: Then,
}

/// What comes after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// There may be more now.
    More,
    /// All that is there now was read.
    Wait,
    /// Nothing, ever.
    End,
}

impl Reader {
    /// A reader of what `query` asks for. Unless it follows, what is written from now on is left out.
    pub(super) fn open(files: Files, query: &LogQuery) -> Result<Self> {
        let mut reader = Self {
            files,
            part: None,
            position: 0,
            next: None,
            begun: BytesMut::new(),
            skipping: false,
            end: None,
        };
        let Some(newest) = reader.files.newest()? else { return Ok(reader) };
        let offset = newest.metadata().context(|| reader.tried())?.len();
        let end = Place { part: newest, offset };
        let begin = match query.tail {
            Some(lines) => tail::find(&reader.files, &end, lines, query)?,
            None => None,
        };
        match begin {
            Some(begin) => (reader.part, reader.position) = (Some(begin.part), begin.offset),
            None => {
                // Nothing in a file is younger than its last change.
                let after = query.since.map(|since| (since.as_second() - COARSENESS, 0));
                reader.part = reader.files.oldest(after)?;
            }
        }
        if !query.follow {
            reader.end = Some(end);
        }
        Ok(reader)
    }

    /// The next lines that `query` admits.
    pub(super) fn batch(&mut self, query: &LogQuery) -> Result<Batch> {
        let mut batch = Batch { lines: Vec::new(), then: Then::More };
        let (mut kept, mut looked) = (0, 0);
        while kept < ENOUGH && looked < PATIENCE {
            let count = self.fill().context(|| self.tried())?;
            looked += count;
            if count > 0 {
                for line in self.lines() {
                    if query.is_past(&line) {
                        batch.then = Then::End;
                        return Ok(batch);
                    }
                    if query.admits(&line) {
                        kept += line.text.len() + size_of::<LogLine>();
                        batch.lines.push(line);
                    }
                }
            } else if self.is_at_end().context(|| self.tried())? {
                batch.then = Then::End;
                return Ok(batch);
            } else if !self.go_on()? {
                // Who waits keeps no memory that it does not need.
                self.begun = BytesMut::from(&self.begun[..]);
                batch.then = Then::Wait;
                return Ok(batch);
            }
        }
        Ok(batch)
    }

    /// Reads a block of the part; how much it was.
    fn fill(&mut self) -> io::Result<usize> {
        let Some(part) = &self.part else { return Ok(0) };
        let mut upto = part.metadata()?.len();
        if let Some(end) = self.end.as_ref().filter(|end| end.part.is(part)) {
            upto = upto.min(end.offset);
        }
        let most = upto.saturating_sub(self.position).min(BLOCK as u64) as usize;
        if most == 0 {
            return Ok(0);
        }
        let begun = self.begun.len();
        self.begun.resize(begun + most, 0);
        let read = loop {
            match part.file.read_at(&mut self.begun[begun..], self.position) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.begun.truncate(begun + *read.as_ref().unwrap_or(&0));
        let count = read?;
        self.position += count as u64;
        Ok(count)
    }

    /// Takes the whole lines out of what was read.
    fn lines(&mut self) -> impl Iterator<Item = LogLine> + use<> {
        let whole = match self.begun.iter().rposition(|&byte| byte == b'\n') {
            Some(last) => {
                let mut whole = self.begun.split_to(last + 1).freeze();
                if std::mem::take(&mut self.skipping) {
                    let end = whole.iter().position(|&byte| byte == b'\n').map_or(whole.len(), |end| end + 1);
                    whole = whole.slice(end..);
                }
                whole
            }
            None => Bytes::new(),
        };
        if self.begun.len() > LONGEST_LINE {
            self.begun.clear();
            self.skipping = true;
        }
        split(whole).filter_map(|line| line::parse(&line))
    }

    /// Whether all was read that had been written when reading began.
    fn is_at_end(&self) -> io::Result<bool> {
        let Some(end) = &self.end else { return Ok(false) };
        let Some(part) = &self.part else { return Ok(true) };
        // In a file that was emptied meanwhile there is nothing left of it.
        Ok(end.part.is(part) && (self.position >= end.offset || part.metadata()?.len() < end.offset))
    }

    /// Goes on to where more is; `false` if there is nothing more now.
    fn go_on(&mut self) -> Result<bool> {
        let Some(part) = &self.part else {
            self.part = self.files.oldest(None)?;
            return Ok(self.part.is_some());
        };
        if let Some(next) = self.next.take() {
            self.begin(next);
            return Ok(true);
        }
        let meta = part.metadata().context(|| self.tried())?;
        if meta.len() < self.position {
            // Somebody has emptied it in place.
            self.position = 0;
            self.begun.clear();
            self.skipping = false;
            return Ok(true);
        }
        self.next = match &self.end {
            // Not found by its name any more: what lies between was removed.
            Some(end) if meta.nlink() == 0 && end.part.metadata().context(|| self.tried())?.nlink() == 0 => {
                let part = end.part.try_clone().context(|| self.tried())?;
                Some(part)
            }
            _ => self.files.newer(part)?,
        };
        // What was written to the part before its successor was begun comes first.
        Ok(self.next.is_some())
    }

    fn begin(&mut self, part: Part) {
        self.part = Some(part);
        self.position = 0;
        // A line that was never finished.
        self.begun.clear();
        self.skipping = false;
    }

    fn tried(&self) -> String {
        format!("read `{}`", self.files.path().display())
    }
}

/// Lines with their line ends, all of one piece of memory.
pub(super) fn split(mut text: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let end = text.iter().position(|&byte| byte == b'\n')?;
        Some(text.split_to(end + 1))
    })
}

#[cfg(test)]
mod tests;
