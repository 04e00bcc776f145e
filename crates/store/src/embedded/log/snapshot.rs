//! Snapshots: everything up to a group in one file, which takes the place of the segments before.
//!
//! The file has a header, groups as a segment has them, and a record that says that it is whole. A
//! backup is the same file elsewhere.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use base::Random;

use super::super::files::{Files, LogFile, is_full};
use super::super::record::{self, Loaded};
use super::Cut;
use super::block::BLOCK;
use super::group::{self, Chain};
use super::header::{Header, Kind};
use super::reader::{LogError, Reader};
use super::recover::{SEGMENT_RESERVE, SNAPSHOT_RESERVE, read_whole, snapshot, unfinished};
use crate::Revision;

/// About how much payload one group of a snapshot has.
const PART: usize = 1 << 20;

/// Writes a snapshot; it is on disk under its name when this returns. On a full disk it takes the
/// space that is kept for it. Gives its size in bytes. Gives up when `stop` is set.
pub(crate) fn write(
    files: &dyn Files,
    random: &dyn Random,
    cut: Cut,
    contents: &Loaded,
    stop: &AtomicBool,
) -> io::Result<u64> {
    let name = snapshot(cut.sequence);
    let staged = unfinished(&name);
    let attempt = |name: &str, reserved| {
        let written = write_as(files, random, cut, contents, stop, name, reserved);
        // What a write to has failed is not used again; a reserve that was too small is still one.
        if let Err(error) = &written
            && !(reserved && is_full(error))
        {
            let _ = files.remove(name);
        }
        written
    };
    let (size, staged) = match attempt(&staged, false) {
        Err(error) if is_full(&error) => {
            (attempt(SNAPSHOT_RESERVE, true).map_err(|_| error)?, SNAPSHOT_RESERVE)
        }
        written => (written?, staged.as_str()),
    };
    files.rename(staged, &name)?;
    files.sync_dir()?;
    Ok(size)
}

/// How large a snapshot is at most whose records take so many bytes.
pub(crate) fn most_bytes(records: u64) -> u64 {
    // Each group ends within a block, and the header is one.
    let groups = records / PART as u64 + 2;
    group::encoded_len(records as usize) + (2 * groups + 1) * BLOCK as u64
}

/// Writes a snapshot under another name; it is on disk when this returns.
pub(crate) fn write_to(
    files: &dyn Files,
    random: &dyn Random,
    store: u128,
    contents: &Loaded,
    name: &str,
) -> io::Result<u64> {
    let staged = unfinished(name);
    let first_revision = last_revision(contents) + 1;
    let cut = Cut { store, sequence: 1, first_group: 1, first_revision, chain: 0 };
    let written = write_as(files, random, cut, contents, &AtomicBool::new(false), &staged, false);
    let placed = written.and_then(|size| {
        files.rename(&staged, name)?;
        files.sync_dir()?;
        Ok(size)
    });
    if placed.is_err() {
        let _ = files.remove(&staged);
    }
    placed
}

/// Reads a snapshot under another name.
pub(crate) fn read_from(files: &dyn Files, name: &str) -> Result<Loaded, LogError> {
    let mut reader = Reader::open(files, name)?;
    if reader.header.kind != Kind::Snapshot {
        return Err(reader.damage(0, "it is a segment of a store, not a backup").into());
    }
    let mut loaded = Loaded::default();
    read_whole(&mut loaded, &mut reader, false)?;
    Ok(loaded)
}

/// Removes what a snapshot has taken the place of. What the reserves lack is made of it, so that its
/// space is not given up where it may not be had again; a segment's needs `segment` bytes.
pub(crate) fn remove_older(files: &dyn Files, sequence: u64, segment: u64) -> io::Result<()> {
    let names = files.list()?;
    let mut lacks_segment = !names.iter().any(|name| name == SEGMENT_RESERVE);
    let mut lacks_snapshot = !names.iter().any(|name| name == SNAPSHOT_RESERVE);
    for name in names {
        let Some((digits, kind)) = name.split_once('.') else { continue };
        if u64::from_str_radix(digits, 16).is_ok_and(|number| number < sequence) {
            match kind {
                "snapshot" if lacks_snapshot => {
                    files.rename(&name, SNAPSHOT_RESERVE)?;
                    lacks_snapshot = false;
                }
                "log" if lacks_segment && files.open(&name, false)?.len()? >= segment => {
                    lacks_segment = false;
                    if let Err(error) = wipe(files, &name) {
                        tracing::debug!(%error, "cannot make a reserve of a segment");
                        files.remove(&unfinished(SEGMENT_RESERVE))?;
                    }
                }
                "log" | "snapshot" | "log.new" | "snapshot.new" => files.remove(&name)?,
                _ => {}
            }
        }
    }
    files.sync_dir()
}

/// Makes the reserve of a segment that nothing needs any more.
fn wipe(files: &dyn Files, name: &str) -> io::Result<()> {
    let staged = unfinished(SEGMENT_RESERVE);
    files.rename(name, &staged)?;
    let file = files.open(&staged, true)?;
    super::fill(&*file, 0, file.len()?)?;
    file.sync()?;
    files.rename(&staged, SEGMENT_RESERVE)
}

/// The largest revision that anything in a log has.
pub(crate) fn last_revision(contents: &Loaded) -> Revision {
    let changes = contents.changes.iter().map(|change| change.event.revision()).max();
    changes.unwrap_or(0).max(contents.numbers.ceiling).max(contents.numbers.compacted)
}

fn write_as(
    files: &dyn Files,
    random: &dyn Random,
    cut: Cut,
    contents: &Loaded,
    stop: &AtomicBool,
    name: &str,
    reserved: bool,
) -> io::Result<u64> {
    let file = if reserved { files.open(name, true)? } else { files.create(name)? };
    let header = Header {
        kind: Kind::Snapshot,
        store: cut.store,
        id: random.next_u64(),
        sequence: cut.sequence,
        first_group: cut.first_group,
        first_revision: cut.first_revision,
        chain: cut.chain,
        before: None,
    };
    let mut writer = Writer { file: &*file, id: header.id, number: 0, chain: 0, offset: 0 };
    writer.put(&header.encode())?;
    let mut payload = Vec::new();
    for change in &contents.changes {
        record::put_change(&mut payload, change);
        if payload.len() >= PART {
            if stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            writer.group(&payload)?;
            payload.clear();
        }
    }
    record::put_numbers(&mut payload, contents.numbers);
    for (&lease, &ttl) in &contents.leases {
        record::put_lease(&mut payload, lease, Some(ttl));
    }
    record::put_end(&mut payload);
    writer.group(&payload)?;
    let size = writer.offset;
    // Made out of a reserve it may be longer: the space would be gone if it were given back.
    file.sync()?;
    Ok(size)
}

struct Writer<'a> {
    file: &'a dyn LogFile,
    id: u64,
    number: u64,
    chain: Chain,
    offset: u64,
}

impl Writer<'_> {
    fn group(&mut self, payload: &[u8]) -> io::Result<()> {
        self.number += 1;
        let mut out = Vec::new();
        let place = self.offset / BLOCK as u64;
        self.chain = group::encode(&mut out, self.id, place, self.number, self.chain, payload);
        self.put(&out)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}
