//! The list of images on disk, with what builds came to: `state.json` as it was once, and `state.<id>.log` with what changed since.
//!
//! A change costs what it is long, however many images there are. Each is a line: a checksum that covers all
//! lines before, and the change. What always holds:
//!
//! - A change is on disk when it has been written; a line that is cut off at the end of the log was never
//!   acknowledged. One in the middle that is not what it was is damage, and told.
//! - A log that was there when the store was opened, or to which a write has failed, is never written to
//!   again: the next change writes the whole list, whose log is another. Not so where there was no space for a
//!   line, of which nothing is left: a removal, which gets a little, must be possible then.
//! - `state.json` names its log, which is there: it was before. Any other is of an earlier list, and of no use.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use oci::{Digest, Reference};

use crate::image::ImageId;
use crate::state::{Change, ImageRecord, Named, ResultRecord, State};

/// A log that has reached this, and twice the list's size, is replaced by a list.
const LOG_MAX: u64 = 256 << 10;
/// Hexadecimal digits of a line's checksum.
const SUM: usize = 16;

/// What is on disk, and the log that goes on.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// What a reader of the files would find.
    written: State,
    log: Option<Log>,
    /// Bytes of the list.
    list: u64,
}

#[derive(Debug)]
struct Log {
    file: File,
    sum: String,
    bytes: u64,
}

/// How far the log of a list could be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Replayed {
    /// To its end.
    Whole,
    /// A line in it is not what it was, and others follow.
    Damaged,
    /// It is not there.
    Missing,
}

impl Journal {
    /// One that goes on with what was read; the next change writes the whole list.
    pub(super) fn new(written: State) -> Self {
        let list = crate::state::encode(&written).len() as u64;
        Self { written, log: None, list }
    }

    /// Bytes that the whole list takes, at most.
    pub(super) fn bytes(&self) -> u64 {
        self.list + self.log.as_ref().map_or(0, |log| log.bytes)
    }

    /// Brings images and names to disk.
    pub(super) fn write<'a>(
        &mut self,
        root: &Path,
        images: impl Iterator<Item = (&'a ImageId, &'a ImageRecord)>,
        names: &BTreeMap<Reference, Named>,
        results: impl Iterator<Item = (&'a Digest, &'a ResultRecord)>,
    ) -> io::Result<()> {
        let change = Change {
            images: difference(&self.written.images, images),
            names: difference(&self.written.names, names.iter()),
            results: difference(&self.written.results, results),
        };
        let is_long = |log: &Log| log.bytes > LOG_MAX.max(2 * self.list);
        if self.log.as_ref().is_some_and(|log| !is_long(log)) {
            if change.images.is_empty() && change.names.is_empty() && change.results.is_empty() {
                return Ok(());
            }
            let appended = self.log.as_mut().map_or(Ok(()), |log| log.append(&change));
            return match appended {
                Ok(()) => {
                    self.written.apply(change);
                    Ok(())
                }
                Err(Unwritten { error, is_as_before }) => {
                    if !is_as_before {
                        self.log = None;
                    }
                    Err(error)
                }
            };
        }
        self.write_list(root, change)
    }

    fn write_list(&mut self, root: &Path, change: Change) -> io::Result<()> {
        let mut state = self.written.clone();
        state.apply(change);
        let id = super::unique_name();
        let log = Log::create(root, &id)?;
        state.log = Some(id);
        let bytes = crate::state::encode(&state);
        if let Err(error) = base::fs::write_atomic(&root.join("state.json"), &bytes, 0o600) {
            let _ = fs::remove_file(log_path(root, state.log.as_deref().unwrap_or_default()));
            return Err(error);
        }
        if let Some(old) = &self.written.log {
            let _ = fs::remove_file(log_path(root, old));
        }
        (self.written, self.log, self.list) = (state, Some(log), bytes.len() as u64);
        Ok(())
    }
}

/// A line did not get into a log.
struct Unwritten {
    error: io::Error,
    /// There was no space for it, and nothing of it is left.
    is_as_before: bool,
}

impl Log {
    fn create(root: &Path, id: &str) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(log_path(root, id))?;
        Ok(Self { file, sum: id.to_owned(), bytes: 0 })
    }

    fn append(&mut self, change: &Change) -> Result<(), Unwritten> {
        let text = serde_json::to_string(change).expect("a tree of strings always prints");
        let sum = checksum(&self.sum, &text);
        let line = format!("{sum} {text}\n");
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            // What is there of it must not count. Should that fail too, the next list makes an end of it.
            let is_as_before = self.file.set_len(self.bytes).is_ok() && is_full;
            return Err(Unwritten { error, is_as_before });
        }
        let flushed = match self.bytes {
            // Its name has to get to the disk too.
            0 => self.file.sync_all(),
            _ => self.file.sync_data(),
        };
        if let Err(error) = flushed {
            // Nobody knows what the disk has of it.
            let _ = self.file.set_len(self.bytes);
            return Err(Unwritten { error, is_as_before: false });
        }
        self.sum = sum;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

impl State {
    /// Does to this list what its log says.
    pub(super) fn replay(&mut self, root: &Path) -> io::Result<Replayed> {
        let Some(id) = self.log.clone() else { return Ok(Replayed::Whole) };
        let bytes = match fs::read(log_path(root, &id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Replayed::Missing),
            read => read?,
        };
        let mut sum = id;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let end = rest.iter().position(|&byte| byte == b'\n');
            let line = &rest[..end.unwrap_or(rest.len())];
            let after = end.map_or(&[][..], |end| &rest[end + 1..]);
            match change_of(line, &sum).filter(|_| end.is_some()) {
                Some((change, next)) => {
                    self.apply(change);
                    sum = next;
                }
                // Zeros are what a power cut leaves of a file that had grown already.
                None if after.iter().all(|&byte| byte == 0) => break,
                None => return Ok(Replayed::Damaged),
            }
            rest = after;
        }
        Ok(Replayed::Whole)
    }

    fn apply(&mut self, change: Change) {
        put(&mut self.images, change.images);
        put(&mut self.names, change.names);
        put(&mut self.results, change.results);
    }
}

/// Where the log of this name is.
pub(super) fn log_path(root: &Path, id: &str) -> PathBuf {
    root.join(format!("state.{id}.log"))
}

/// Which log a file of this name is, if it is a list's.
pub(super) fn log_id(name: &str) -> Option<&str> {
    let id = name.strip_prefix("state.").and_then(|rest| rest.strip_suffix(".log"));
    id.filter(|id| id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The change that a line has, and its checksum, if it follows on a line with the checksum `before`.
fn change_of(line: &[u8], before: &str) -> Option<(Change, String)> {
    let text = std::str::from_utf8(line).ok()?;
    let (sum, text) = text.split_once(' ')?;
    if sum != checksum(before, text) {
        return None;
    }
    Some((serde_json::from_str(text).ok()?, sum.to_owned()))
}

fn checksum(before: &str, text: &str) -> String {
    Digest::sha256_of(format!("{before} {text}").as_bytes()).hex()[..SUM].to_owned()
}

/// What has to be done to `before` to make it `now`, which is sorted.
fn difference<'a, K: Ord + Clone + 'a, V: PartialEq + Clone + 'a>(
    before: &BTreeMap<K, V>,
    now: impl Iterator<Item = (&'a K, &'a V)>,
) -> BTreeMap<K, Option<V>> {
    let mut change = BTreeMap::new();
    let mut old = before.iter().peekable();
    for (key, value) in now {
        while let Some((gone, _)) = old.next_if(|(known, _)| *known < key) {
            change.insert(gone.clone(), None);
        }
        let known = old.next_if(|(known, _)| *known == key);
        if known.is_none_or(|(_, known)| known != value) {
            change.insert(key.clone(), Some(value.clone()));
        }
    }
    change.extend(old.map(|(gone, _)| (gone.clone(), None)));
    change
}

fn put<K: Ord, V>(to: &mut BTreeMap<K, V>, change: BTreeMap<K, Option<V>>) {
    for (key, value) in change {
        match value {
            Some(value) => drop(to.insert(key, value)),
            None => drop(to.remove(&key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(number: usize) -> (ImageId, ImageRecord) {
        let digest = Digest::sha256_of(&number.to_le_bytes());
        (ImageId(digest.clone()), ImageRecord { layers: vec![digest], ..ImageRecord::default() })
    }

    fn read(root: &Path) -> (State, Replayed) {
        let mut state: State = base::record::read(&root.join("state.json")).expect("the list");
        let replayed = state.replay(root).expect("the log");
        (state, replayed)
    }

    /// A list of so many images in the log.
    fn journal(root: &Path, images: usize) -> (Journal, BTreeMap<ImageId, ImageRecord>) {
        let (mut journal, mut all) = (Journal::default(), BTreeMap::new());
        journal.write(root, all.iter(), &BTreeMap::new(), std::iter::empty()).expect("an empty list");
        for number in 0..images {
            all.extend([image(number)]);
            journal.write(root, all.iter(), &BTreeMap::new(), std::iter::empty()).expect("one more");
        }
        (journal, all)
    }

    fn only_log(root: &Path) -> PathBuf {
        let mut logs = base::fs::entries(root).expect("files");
        logs.retain(|path| log_id(&path.file_name().expect("a name").to_string_lossy()).is_some());
        assert_eq!(logs.len(), 1, "{logs:?}");
        logs.remove(0)
    }

    #[test]
    fn a_change_costs_what_it_is_long_and_a_long_log_becomes_a_list() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (mut journal, mut all) = journal(directory.path(), 1);
        let list = || fs::read(directory.path().join("state.json")).expect("the list");
        let log = || fs::metadata(only_log(directory.path())).expect("the log").len();
        let mut change = |all: &BTreeMap<ImageId, ImageRecord>| {
            journal
                .write(directory.path(), all.iter(), &BTreeMap::new(), std::iter::empty())
                .expect("a change");
            assert_eq!(read(directory.path()).0.images, *all);
        };
        all.extend((1..2000).map(image));
        change(&all);
        assert!(log() > LOG_MAX && list().len() < 1000);
        all.extend([image(2000)]);
        change(&all);
        assert!(log() == 0 && list().len() > LOG_MAX as usize);
        let before = list();
        all.extend([image(2001)]);
        all.remove(&image(0).0);
        change(&all);
        assert!(list() == before && log() < 1000);
    }

    #[test]
    fn wherever_the_last_line_is_cut_off_what_was_before_is_there() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (_, all) = journal(directory.path(), 3);
        let path = only_log(directory.path());
        let bytes = fs::read(&path).expect("the log");
        let line = bytes.len() / 3;
        for cut in 2 * line..bytes.len() {
            for zeros in [0, 100] {
                let mut torn = bytes[..cut].to_vec();
                torn.resize(cut + zeros, 0);
                fs::write(&path, torn).expect("write");
                let (state, replayed) = read(directory.path());
                assert_eq!(replayed, Replayed::Whole, "cut at {cut}");
                let missing = all.keys().filter(|id| !state.images.contains_key(id)).count();
                assert_eq!(missing, 1, "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_byte_that_changed_in_the_middle_is_damage() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let _ = journal(directory.path(), 3);
        let path = only_log(directory.path());
        let bytes = fs::read(&path).expect("the log");
        for at in (0..bytes.len() * 2 / 3).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).expect("write");
            assert_eq!(read(directory.path()).1, Replayed::Damaged, "at {at}");
        }
    }

    #[test]
    fn a_log_that_is_not_there_is_missed() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let _ = journal(directory.path(), 3);
        fs::remove_file(only_log(directory.path())).expect("remove");
        assert_eq!(read(directory.path()).1, Replayed::Missing);
    }

    #[test]
    fn after_a_failed_write_the_whole_list_is_written() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (mut journal, mut all) = journal(directory.path(), 2);
        let log = journal.log.as_mut().expect("a log");
        // Reading is all that this descriptor allows.
        log.file = File::open(only_log(directory.path())).expect("open");
        all.extend([image(2)]);
        journal
            .write(directory.path(), all.iter(), &BTreeMap::new(), std::iter::empty())
            .expect_err("it cannot be written");
        assert_eq!(read(directory.path()).0.images.len(), 2);
        journal.write(directory.path(), all.iter(), &BTreeMap::new(), std::iter::empty()).expect("the list");
        let (state, _) = read(directory.path());
        assert_eq!(state.images, all);
        assert!(fs::read(only_log(directory.path())).expect("its log").is_empty());
    }
}
