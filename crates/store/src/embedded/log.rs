//! The durable log: groups of transactions in segments, each group flushed before it counts.
//!
//! ```text
//!   0000000000000005.snapshot   everything up to group 840
//!   0000000000000005.log        [header][group 841][group 842] ...
//!   0000000000000006.log        [header: goes on from 5 at byte 16384][group 901][....]...
//!   mark                        everything up to group 950 was durable
//!   reserve.log, reserve.snapshot   space for a full disk
//! ```
//!
//! What always holds:
//!
//! - One group at a time is not acknowledged, and it is the last. So whatever is there of a later
//!   group shows that it was acknowledged ([`reader`]), and so does the [`mark`].
//! - A file to which a write or flush has failed is never written again, nor is a file that was
//!   there when the log was opened: the log goes on in a new segment, whose header says where the
//!   one before ended. What lies behind that place does not count, whatever it is.
//! - A file has its name only once it is on disk, and is written to only once its name is.
//! - Space is taken, as zeros, before anything is written into it: a full disk is met between two
//!   groups, never within one. The last of it is kept for deletions.

mod block;
mod group;
mod header;
mod mark;
mod reader;
pub(crate) mod recover;
pub(crate) mod snapshot;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use base::Random;
use parking_lot::Mutex;

use self::block::BLOCK;
use self::group::Chain;
use self::header::{Header, Kind, Place};
use self::mark::{Mark, Marked};
pub use self::reader::{Damage, LogError};
use self::recover::{Recovery, SEGMENT_RESERVE, Unproven};
use super::files::{Files, LogFile, is_full};
use super::record::Loaded;
use crate::Revision;

/// Sizes, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A segment that has reached this is followed by another.
    pub(crate) segment: u64,
    /// How much space a segment takes at once: the first time, and later.
    pub(crate) first_growth: u64,
    pub(crate) growth: u64,
    /// How much space is kept for deletions within the segment.
    pub(crate) tail: u64,
    /// A snapshot is due when the segments since the last one have reached this, and twice its size.
    pub(crate) log: u64,
    /// Also when there are so many segments.
    pub(crate) segments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment: 16 << 20,
            first_growth: 512 << 10,
            growth: 2 << 20,
            tail: 128 << 10,
            log: 32 << 20,
            segments: 16,
        }
    }
}

impl Limits {
    /// Bytes of the segment that is kept for deletions.
    pub(crate) fn reserve(&self) -> u64 {
        self.first_growth.max(8 * self.tail)
    }
}

/// Held by whoever takes a reserve or puts one in its place, so that no other file takes its name
/// meanwhile.
pub(crate) type Reserves = Arc<Mutex<()>>;

/// An open log.
pub(crate) struct Log {
    files: Arc<dyn Files>,
    random: Arc<dyn Random>,
    limits: Limits,
    reserves: Reserves,
    store: u128,
    /// The segment that is written to; none after a failure, until there is another.
    head: Option<Head>,
    /// The last group, the value of the chain after it, and where it ends.
    group: u64,
    chain: Chain,
    end: Place,
    revision: Revision,
    /// A group that was read, but is on disk for sure only once it has been written again.
    unproven: Option<Unproven>,
    next_sequence: u64,
    mark: Option<Mark>,
    mark_is_dirty: bool,
    /// Whether no group was written to the segment yet.
    is_fresh: bool,
    /// Whether the segment is the reserve, and no snapshot was begun since.
    reserve_is_used: bool,
    segments: usize,
    log_bytes: u64,
    snapshot_bytes: u64,
    buffer: Vec<u8>,
}

struct Head {
    file: Box<dyn LogFile>,
    name: String,
    /// Up to here the file is made of zeros where nothing has been written.
    space: u64,
}

/// Why a group was not written.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// Nothing of it was: it will never be there.
    Refused(io::Error),
    /// Whether it is there after a restart is decided by the disk, unless the log goes on before.
    Unsettled(io::Error),
}

/// From where a snapshot has to take over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) store: u128,
    /// The first segment that is not in it.
    pub(crate) sequence: u64,
    pub(crate) first_group: u64,
    pub(crate) first_revision: u64,
    pub(crate) chain: Chain,
}

impl Log {
    /// Makes a log where there is none; with `contents`, they are its first snapshot. All of it is
    /// on disk when this returns.
    pub(crate) fn create(
        files: &dyn Files,
        random: &dyn Random,
        limits: Limits,
        contents: Option<&Loaded>,
    ) -> io::Result<()> {
        let mut store = [0; 16];
        random.fill(&mut store);
        let store = u128::from_le_bytes(store);
        // A log that begins with a snapshot says so: without it, it does not begin with group 1.
        let first_group = if contents.is_some() { 2 } else { 1 };
        let header = Header {
            kind: Kind::Segment,
            store,
            id: random.next_u64(),
            sequence: 1,
            first_group,
            first_revision: contents.map_or(0, |contents| contents.numbers.ceiling) + 1,
            chain: 0,
            before: None,
        };
        if let Some(contents) = contents {
            let cut =
                Cut { store, sequence: 1, first_group, first_revision: header.first_revision, chain: 0 };
            snapshot::write(files, random, cut, contents, &AtomicBool::new(false))?;
        }
        let file = files.create(&recover::segment(1))?;
        file.write_at(&vec![0; limits.first_growth as usize], 0)?;
        file.write_at(&header.encode(), 0)?;
        file.sync()?;
        Mark::create(files, Marked { store, group: first_group - 1 })?;
        files.sync_dir()
    }

    /// Reads the log and makes it ready to go on. It is opened on a full or failing disk too, and
    /// can be written to once [`Log::prepare`] succeeds.
    pub(crate) fn open(
        files: Arc<dyn Files>,
        random: Arc<dyn Random>,
        limits: Limits,
    ) -> Result<(Self, Loaded), LogError> {
        let mut recovery = Recovery::default();
        recovery.run(&*files, false)?;
        if recovery.torn {
            tracing::info!("the last write before the store ended was cut off, it was not acknowledged");
        }
        if recovery.marked.is_none() {
            tracing::warn!("the store's mark cannot be read: damage in its last write would not be seen");
        }
        for name in &recovery.unknown {
            tracing::warn!(name, "an unknown file lies beside the store's log, it is left alone");
        }
        for name in &recovery.obsolete {
            if let Err(error) = files.remove(name) {
                tracing::debug!(%error, name, "cannot remove what is left of an earlier log");
            }
        }
        let Recovery { loaded, store, unproven, .. } = recovery;
        let mut log = Self {
            files,
            random,
            limits,
            reserves: Reserves::default(),
            store,
            head: None,
            group: recovery.group,
            chain: recovery.chain,
            end: recovery.end,
            revision: loaded.changes.last().map_or(0, |change| change.event.revision()),
            unproven,
            next_sequence: recovery.next_sequence,
            mark: None,
            mark_is_dirty: false,
            is_fresh: false,
            reserve_is_used: false,
            segments: recovery.segments,
            log_bytes: recovery.log_bytes,
            snapshot_bytes: recovery.snapshot_bytes,
            buffer: Vec::new(),
        };
        if let Err(error) = log.go_on(true) {
            tracing::warn!(%error, "the store is opened, but cannot be written");
        }
        Ok((log, loaded))
    }

    /// Makes sure that there is a segment with space for a group with `bytes` of payload, besides the space
    /// that is kept for deletions. After an error nothing was written; [`Log::can_write`] says
    /// whether deletions can still be.
    pub(crate) fn prepare(&mut self, bytes: u64) -> io::Result<()> {
        let bytes = group::encoded_len(bytes as usize);
        if self.head.is_none() || self.end.offset >= self.limits.segment || self.reserve_is_used {
            self.go_on(false)?;
        }
        self.grow(self.end.offset + bytes + self.limits.tail)
    }

    /// Whether there is a segment that can be written to, though perhaps no space for more than
    /// deletions.
    pub(crate) fn can_write(&self) -> bool {
        self.head.is_some()
    }

    /// Writes a group, which ends with `revision`; returns once it is on disk.
    pub(crate) fn append(&mut self, payload: &[u8], revision: Revision) -> Result<(), AppendError> {
        let length = group::encoded_len(payload.len());
        if self.head.is_none() {
            self.go_on(true).map_err(AppendError::Refused)?;
        }
        if self.grow(self.end.offset + length).is_err() {
            // The reserve is left to a snapshot, which makes another one.
            let again = self.go_on(false).and_then(|()| self.grow(self.end.offset + length));
            again.map_err(AppendError::Refused)?;
        }
        let Err(error) = self.write(payload, revision) else { return Ok(()) };
        tracing::warn!(%error, "a write to the store's log failed: it goes on in another file");
        let again = self.go_on(true).and_then(|()| self.grow(self.end.offset + length));
        again.and_then(|()| self.write(payload, revision)).map_err(AppendError::Unsettled)
    }

    /// Puts the mark on disk: whatever was acknowledged is known to be from now on.
    pub(crate) fn sync_mark(&mut self) {
        let Some(mark) = self.mark.as_ref().filter(|_| self.mark_is_dirty) else { return };
        self.mark_is_dirty = false;
        if let Err(error) = mark.sync() {
            tracing::debug!(%error, "cannot flush the store's mark, it is made anew with the next segment");
            self.mark = None;
        }
    }

    /// Whether it is time for a snapshot.
    pub(crate) fn wants_snapshot(&self) -> bool {
        self.log_bytes >= self.limits.log.max(2 * self.snapshot_bytes)
            || self.segments >= self.limits.segments
    }

    /// Whether it is time for a snapshot on a full disk, which makes space for further deletions.
    pub(crate) fn is_short_of_space(&self) -> bool {
        let space = self.head.as_ref().map_or(0, |head| head.space - self.end.offset);
        self.reserve_is_used || space < self.limits.tail / 2
    }

    /// Begins a new segment, so that a snapshot can take the place of all that is before it.
    pub(crate) fn cut(&mut self) -> io::Result<Cut> {
        if self.head.is_none() || !self.is_fresh {
            self.go_on(true)?;
        }
        self.reserve_is_used = false;
        Ok(Cut {
            store: self.store,
            sequence: self.end.sequence,
            first_group: self.group + 1,
            first_revision: self.revision + 1,
            chain: self.chain,
        })
    }

    /// Notes that a snapshot of `bytes` from `cut` on has taken the place of what was before.
    pub(crate) fn was_cut(&mut self, cut: &Cut, bytes: u64) {
        self.snapshot_bytes = bytes;
        self.segments = 1 + (self.end.sequence - cut.sequence) as usize;
        self.log_bytes = (self.segments as u64 - 1) * self.limits.segment + self.end.offset;
    }

    /// What is held while a reserve is taken or made.
    pub(crate) fn reserves(&self) -> &Reserves {
        &self.reserves
    }

    /// Where the files are.
    pub(crate) fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }

    /// Takes space up to `end` of the segment, if it does not have it.
    fn grow(&mut self, end: u64) -> io::Result<()> {
        let Some(head) = &mut self.head else {
            return Err(io::Error::other("the store's log has no segment that can be written to"));
        };
        if end <= head.space {
            return Ok(());
        }
        let target = end.next_multiple_of(self.limits.growth);
        match fill(&*head.file, head.space, target) {
            Ok(()) => {
                head.space = target;
                Ok(())
            }
            Err(error) => {
                if !is_full(&error) {
                    // Whatever the disk made of it, nothing that counts lies there.
                    self.head = None;
                }
                Err(error)
            }
        }
    }

    /// Writes a group into the segment, which has the space. After a failure there is no segment.
    fn write(&mut self, payload: &[u8], revision: Revision) -> io::Result<()> {
        let Some(head) = &self.head else {
            return Err(io::Error::other("the store's log has no segment that can be written to"));
        };
        self.buffer.clear();
        let place = self.end.offset / BLOCK as u64;
        let (id, number) = (self.end.id, self.group + 1);
        let after = group::encode(&mut self.buffer, id, place, number, self.chain, payload);
        let written = head.file.write_at(&self.buffer, self.end.offset).and_then(|()| head.file.sync());
        if let Err(error) = written {
            tracing::debug!(file = head.name, "no more is written to it");
            self.head = None;
            return Err(error);
        }
        self.end.offset += self.buffer.len() as u64;
        self.log_bytes += self.buffer.len() as u64;
        self.revision = revision;
        self.is_fresh = false;
        (self.group, self.chain) = (number, after);
        if self.buffer.capacity() > 4 << 20 {
            self.buffer = Vec::new();
        }
        self.note();
        Ok(())
    }

    /// Writes down how far the log is durable.
    fn note(&mut self) {
        self.mark_is_dirty = true;
        if let Some(mark) = &mut self.mark
            && let Err(error) = mark.write(self.group)
        {
            tracing::debug!(%error, "cannot write the store's mark, it is made anew with the next segment");
            self.mark = None;
        }
    }

    /// Goes on in a new segment; on a full disk in the space that is kept for it, if `reserved`.
    fn go_on(&mut self, reserved: bool) -> io::Result<()> {
        match self.begin(None) {
            Err(error) if is_full(&error) && reserved => self.begin(Some(SEGMENT_RESERVE)).map_err(|_| error),
            result => result,
        }
    }

    /// Makes a segment, out of the file `reserve` if that is given.
    fn begin(&mut self, reserve: Option<&str>) -> io::Result<()> {
        let reserves = self.reserves.clone();
        let _held = reserve.map(|_| reserves.lock());
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let name = recover::segment(sequence);
        let staged = reserve.map_or_else(|| recover::unfinished(&name), str::to_owned);
        let result = self.begin_as(sequence, &name, &staged, reserve.is_some());
        if result.is_err() {
            // Under either name it is a beginning that nothing goes on from.
            for name in [&staged, &name] {
                let _ = self.files.remove(name);
            }
        }
        result
    }

    fn begin_as(&mut self, sequence: u64, name: &str, staged: &str, reserved: bool) -> io::Result<()> {
        if reserved && !is_blank(&*self.files, staged)? {
            return Err(io::Error::other("the reserve has been written to"));
        }
        let file = if reserved { self.files.open(staged, true)? } else { self.files.create(staged)? };
        let space = if reserved { file.len()? } else { self.limits.first_growth };
        let (first_group, chain, offset) = match &self.unproven {
            Some(unproven) => (self.group, unproven.before, unproven.offset),
            None => (self.group + 1, self.chain, self.end.offset),
        };
        let header = Header {
            kind: Kind::Segment,
            store: self.store,
            id: self.random.next_u64(),
            sequence,
            first_group,
            first_revision: self.revision + 1,
            chain,
            before: Some(Place { offset, ..self.end }),
        };
        let mut start = header.encode();
        if let Some(unproven) = &self.unproven {
            group::encode(&mut start, header.id, 1, first_group, chain, &unproven.payload);
        }
        if !reserved {
            fill(&*file, 0, space)?;
        }
        file.write_at(&start, 0)?;
        file.sync()?;
        // From here on a power cut may leave it as the newest segment, whatever comes of it: the one
        // before is not written again, so that nothing of it is passed over.
        self.head = None;
        self.files.rename(staged, name)?;
        if self.mark.is_none() {
            // Not more than is durable already: its name may be on disk before the segment's is.
            let group = self.group - u64::from(self.unproven.is_some());
            self.mark = Mark::create(&*self.files, Marked { store: self.store, group }).ok();
        }
        self.files.sync_dir()?;
        self.is_fresh = self.unproven.take().is_none();
        self.reserve_is_used = reserved;
        self.end = Place { sequence, id: header.id, offset: start.len() as u64 };
        self.head = Some(Head { file, name: name.to_owned(), space: space.max(self.end.offset) });
        self.segments += 1;
        self.log_bytes += self.end.offset;
        self.note();
        Ok(())
    }
}

/// Makes the reserves that are missing or too small: `snapshot` bytes for a snapshot.
pub(crate) fn reserve(
    files: &dyn Files,
    reserves: &Reserves,
    limits: Limits,
    snapshot: u64,
) -> io::Result<()> {
    for (name, size) in [(SEGMENT_RESERVE, limits.reserve()), (recover::SNAPSHOT_RESERVE, snapshot)] {
        let held = reserves.lock();
        if is_reserve(files, name, size)? {
            continue;
        }
        drop(held);
        let staged = recover::unfinished(name);
        let made = files.create(&staged).and_then(|file| {
            fill(&*file, 0, size)?;
            file.sync()?;
            let _held = reserves.lock();
            files.rename(&staged, name)
        });
        if let Err(error) = made {
            let _ = files.remove(&staged);
            return Err(error);
        }
    }
    files.sync_dir()
}

/// Has the last snapshot, of `size` bytes, give up what it does not need of the space that it was made in.
/// Another program may take it: for a full disk on which the reserves cannot be made otherwise.
pub(crate) fn give_up_excess(files: &dyn Files, last: &Cut, size: u64) -> io::Result<()> {
    let last = files.open(&recover::snapshot(last.sequence), true)?;
    if last.len()? > size {
        last.truncate(size)?;
        last.sync()?;
    }
    Ok(())
}

/// Makes the space for a snapshot `least` bytes long out of the snapshot before the last, which may be
/// shorter. Takes nothing if there is not enough: the next segment may need it. Only the thread that takes
/// snapshots touches that file.
pub(crate) fn lengthen(files: &dyn Files, least: u64) -> io::Result<()> {
    let file = files.open(recover::SNAPSHOT_RESERVE, true)?;
    let length = file.len()?;
    if length >= least {
        return Ok(());
    }
    let filled = fill(&*file, length, least).and_then(|()| file.sync());
    if filled.is_err() {
        file.truncate(length)?;
    }
    filled
}

/// Whether a reserve is there as it has to be.
fn is_reserve(files: &dyn Files, name: &str, size: u64) -> io::Result<bool> {
    let length = match files.open(name, false) {
        Ok(file) => file.len()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(length >= size && (name != SEGMENT_RESERVE || is_blank(files, name)?))
}

/// Whether nothing was written into a reserve.
fn is_blank(files: &dyn Files, name: &str) -> io::Result<bool> {
    let file = files.open(name, false)?;
    let (mut bytes, mut offset) = (vec![0; 64 << 10], 0);
    loop {
        let length = file.read_at(&mut bytes, offset)?;
        if bytes[..length].iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
        offset += length as u64;
    }
}

/// Writes zeros, so that the space is there when something else is written.
fn fill(file: &dyn LogFile, from: u64, to: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = from;
    while at < to {
        let length = (to - at).min(ZEROS.len() as u64);
        file.write_at(&ZEROS[..length as usize], at)?;
        at += length;
    }
    Ok(())
}
