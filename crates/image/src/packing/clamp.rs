//! An archive with no time in it that is later than another.
//!
//! Headers are changed where they are late and left as they are otherwise, so that an archive in which nothing is
//! late passes bit for bit. Only times are understood; what else an archive says of its entries goes through.

use std::io::{self, Write};

use tar::{EntryType, Header};

use crate::layer::header::has_content;

const BLOCK: usize = 512;
/// The most that an entry may say of itself: as much as [`crate::layer::entries`] takes.
const RECORDS_MAX: u64 = 2 << 20;
/// Where a sparse file's header, and each of its further ones, says whether another follows.
const MORE_IN_HEADER: usize = 482;
const MORE_IN_EXTENSION: usize = 504;

/// Passes an archive on, with times no later than `latest`.
pub(super) struct Clamp<W> {
    out: W,
    latest: i64,
    /// A block, or the records of an entry, as far as they have come.
    gathered: Vec<u8>,
    state: State,
    /// The length that the records before an entry say that it has.
    size: Option<u64>,
}

enum State {
    /// The next is a header.
    Header,
    /// Records of the entry that follows, of this length, with their own header.
    Records(Box<Header>, u64),
    /// More about the holes of a sparse file, and then so much content.
    Sparse(u64),
    /// So many bytes that are no headers.
    Content(u64),
    /// The archive has ended.
    End,
}

impl<W: Write> Clamp<W> {
    pub(super) fn new(out: W, latest: i64) -> Self {
        Self { out, latest, gathered: Vec::new(), state: State::Header, size: None }
    }

    /// Gives back what was written to.
    pub(super) fn finish(mut self) -> io::Result<W> {
        if !self.gathered.is_empty() {
            return Err(invalid("it ends within a header"));
        }
        self.out.flush()?;
        Ok(self.out)
    }

    /// Gathers until there are `wanted` bytes; gives how many of `bytes` were taken, and all once they are there.
    fn gather(&mut self, bytes: &[u8], wanted: usize) -> (usize, Option<Vec<u8>>) {
        let take = bytes.len().min(wanted - self.gathered.len());
        self.gathered.extend_from_slice(&bytes[..take]);
        let whole = self.gathered.len() == wanted;
        (take, whole.then(|| std::mem::take(&mut self.gathered)))
    }

    fn header(&mut self, block: &[u8]) -> io::Result<State> {
        if block.iter().all(|byte| *byte == 0) {
            self.out.write_all(block)?;
            return Ok(State::End);
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        let said = header.entry_size()?;
        let kind = header.entry_type();
        if matches!(kind, EntryType::XHeader | EntryType::XGlobalHeader) {
            if said > RECORDS_MAX {
                return Err(invalid("an entry says too much of itself"));
            }
            return Ok(match said {
                0 => {
                    self.out.write_all(block)?;
                    State::Header
                }
                _ => State::Records(Box::new(header), said),
            });
        }
        let is_prefix = matches!(kind, EntryType::GNULongName | EntryType::GNULongLink);
        let size = if is_prefix { said } else { self.size.take().unwrap_or(said) };
        let late = i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(i64::MAX) > self.latest;
        if late {
            header.set_mtime(u64::try_from(self.latest).unwrap_or(0));
            header.set_cksum();
        }
        self.out.write_all(header.as_bytes())?;
        // A link has no content, whatever length it says.
        Ok(match has_content(kind) {
            true if kind == EntryType::GNUSparse && block[MORE_IN_HEADER] != 0 => {
                State::Sparse(padded(size)?)
            }
            true => content(padded(size)?),
            false => State::Header,
        })
    }

    /// The records of an entry, padding included.
    fn records(&mut self, mut header: Header, size: u64, bytes: &[u8]) -> io::Result<()> {
        let size = usize::try_from(size).map_err(|_| invalid("records that are too long"))?;
        let mut changed = Vec::with_capacity(bytes.len());
        let mut is_changed = false;
        let mut rest = &bytes[..size];
        while !rest.is_empty() {
            let Record { key, value, whole, after } =
                record(rest).ok_or_else(|| invalid("records that are none"))?;
            rest = after;
            if key == b"size" && header.entry_type() == EntryType::XHeader {
                self.size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            }
            let is_time = matches!(key, b"mtime" | b"atime" | b"ctime" | b"LIBARCHIVE.creationtime");
            if is_time && is_later(value, self.latest) {
                put_record(&mut changed, key, self.latest.to_string().as_bytes());
                is_changed = true;
            } else {
                changed.extend_from_slice(whole);
            }
        }
        let late = i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(i64::MAX) > self.latest;
        if late {
            header.set_mtime(u64::try_from(self.latest).unwrap_or(0));
        }
        if is_changed {
            header.set_size(changed.len() as u64);
        }
        if late || is_changed {
            header.set_cksum();
        }
        self.out.write_all(header.as_bytes())?;
        if !is_changed {
            return self.out.write_all(bytes);
        }
        let padding = changed.len().next_multiple_of(BLOCK) - changed.len();
        self.out.write_all(&changed)?;
        self.out.write_all(&[0; BLOCK][..padding])
    }
}

impl<W: Write> Write for Clamp<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match std::mem::replace(&mut self.state, State::Header) {
                State::Header => {
                    let (taken, block) = self.gather(rest, BLOCK);
                    rest = &rest[taken..];
                    if let Some(block) = block {
                        self.state = self.header(&block)?;
                    }
                }
                State::Records(header, size) => {
                    let wanted = usize::try_from(padded(size)?).map_err(|_| invalid("too long"))?;
                    let (taken, records) = self.gather(rest, wanted);
                    rest = &rest[taken..];
                    match records {
                        Some(records) => self.records(*header, size, &records)?,
                        None => self.state = State::Records(header, size),
                    }
                }
                State::Sparse(size) => {
                    let (taken, block) = self.gather(rest, BLOCK);
                    rest = &rest[taken..];
                    match block {
                        Some(block) => {
                            self.out.write_all(&block)?;
                            let more = block[MORE_IN_EXTENSION] != 0;
                            self.state = if more { State::Sparse(size) } else { content(size) };
                        }
                        None => self.state = State::Sparse(size),
                    }
                }
                State::Content(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    self.out.write_all(&rest[..take])?;
                    rest = &rest[take..];
                    self.state = content(left - take as u64);
                }
                State::End => {
                    self.out.write_all(rest)?;
                    rest = &[];
                    self.state = State::End;
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn content(left: u64) -> State {
    if left == 0 { State::Header } else { State::Content(left) }
}

fn padded(size: u64) -> io::Result<u64> {
    size.checked_next_multiple_of(BLOCK as u64).ok_or_else(|| invalid("a length that no file has"))
}

/// The first of some records.
struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
    /// All of it.
    whole: &'a [u8],
    /// What follows.
    after: &'a [u8],
}

fn record(bytes: &[u8]) -> Option<Record<'_>> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let (whole, after) = bytes.split_at_checked(length)?;
    let said = whole.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = said.iter().position(|byte| *byte == b'=')?;
    Some(Record { key: &said[..equals], value: &said[equals + 1..], whole, after })
}

/// Whether a time in decimal notation is later: with a fraction of the same second it is.
fn is_later(value: &[u8], latest: i64) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let Ok(seconds) = whole.parse::<i64>() else { return false };
    let has_fraction = fraction.bytes().any(|digit| digit != b'0');
    seconds > latest || seconds == latest && has_fraction && !whole.starts_with('-')
}

fn put_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the layer's archive cannot be rewritten: {problem}"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// An entry of a test's archive: name, seconds, what its records say.
    type Told<'a> = (&'a str, u64, &'a [(&'a str, &'a str)]);

    fn archive(entries: &[Told<'_>]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, mtime, records) in entries {
            builder
                .append_pax_extensions(records.iter().map(|(key, value)| (*key, value.as_bytes())))
                .expect("records");
            let mut header = Header::new_ustar();
            header.set_path(name).expect("a path");
            header.set_mode(0o644);
            header.set_size(700);
            header.set_mtime(*mtime);
            header.set_cksum();
            builder.append(&header, &[b'x'; 700][..]).expect("an entry");
        }
        builder.into_inner().expect("an archive")
    }

    fn clamped(bytes: &[u8], latest: i64, piece: usize) -> Vec<u8> {
        let mut clamp = Clamp::new(Vec::new(), latest);
        for piece in bytes.chunks(piece) {
            clamp.write_all(piece).expect("an archive");
        }
        clamp.finish().expect("its end")
    }

    #[track_caller]
    fn check(entries: &[Told<'_>], latest: i64, expected: &[Told<'_>]) {
        let bytes = archive(entries);
        let whole = clamped(&bytes, latest, usize::MAX);
        for piece in [1, 511, 512, 513] {
            assert_eq!(clamped(&bytes, latest, piece), whole, "in pieces of {piece}");
        }
        let mut read = tar::Archive::new(&whole[..]);
        let mut found = Vec::new();
        for entry in read.entries().expect("entries") {
            let mut entry = entry.expect("an entry");
            let mut records = Vec::new();
            if let Some(said) = entry.pax_extensions().expect("records") {
                for one in said {
                    let one = one.expect("a record");
                    records.push((
                        one.key().expect("a key").to_owned(),
                        one.value().expect("a value").to_owned(),
                    ));
                }
            }
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("content");
            assert_eq!(content, [b'x'; 700]);
            let path = entry.path().expect("a path").to_str().expect("text").to_owned();
            found.push((path, entry.header().mtime().expect("a time"), records));
        }
        let found: Vec<String> = found.into_iter().map(|one| format!("{one:?}")).collect();
        let expected: Vec<String> = expected.iter().map(|one| format!("{one:?}")).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_late_is_not_later_than_it_may_be_and_the_rest_stays() {
        check(
            &[("a", 5, &[]), ("b", 7, &[]), ("c", 7, &[])],
            6,
            &[("a", 5, &[]), ("b", 6, &[]), ("c", 6, &[])],
        );
        let x = ("SCHILY.xattr.user.x", "12 mtime=99");
        check(
            &[("a", 9, &[("mtime", "9.25"), x, ("atime", "3.5")]), ("b", 9, &[("mtime", "-2.5")])],
            7,
            &[("a", 7, &[("mtime", "7"), x, ("atime", "3.5")]), ("b", 7, &[("mtime", "-2.5")])],
        );
        check(&[("a", 7, &[("mtime", "7.5")])], 7, &[("a", 7, &[("mtime", "7")])]);
    }

    #[test]
    fn an_archive_in_which_nothing_is_late_passes_as_it_is() {
        // An attribute may have a line feed in it, and what looks like a time.
        let x = ("SCHILY.xattr.user.x", "mtime=9\n12 mtime=99\n");
        let mut bytes = archive(&[("a", 5, &[x, ("mtime", "5.5")]), ("b", 6, &[])]);
        bytes.extend_from_slice(&[0; 10240]);
        assert_eq!(clamped(&bytes, 6, 1000), bytes);
        assert_eq!(clamped(&[], 6, 1), [0_u8; 0]);
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let refused = |bytes: &[u8]| {
            let mut clamp = Clamp::new(Vec::new(), 1);
            clamp.write_all(bytes).and_then(|()| clamp.finish().map(drop)).expect_err("it is none").kind()
        };
        refused(&[b'x'; 512]);
        assert_eq!(refused(&archive(&[("a", 5, &[])])[..100]), io::ErrorKind::InvalidData);
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(1 << 40);
        header.set_cksum();
        assert_eq!(refused(header.as_bytes()), io::ErrorKind::InvalidData);
    }
}
