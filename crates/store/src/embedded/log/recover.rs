//! Reading a whole log: the snapshot, if there is one, then the segments after it.
//!
//! Segments name the one before them and where it ended, so the newest leads to all that count: a
//! segment that none names was begun and given up. What belongs to none of them is left alone.

use std::collections::BTreeMap;

use super::super::files::Files;
use super::super::record::Loaded;
use super::group::Chain;
use super::header::{Header, Kind, Place};
use super::mark::{Mark, Marked};
use super::reader::{Damage, End, Group, LogError, Next, Reader};

/// What a log turned out to be. After an error it holds what came before the damage.
#[derive(Default)]
pub(crate) struct Recovery {
    pub(crate) loaded: Loaded,
    pub(crate) store: u128,
    /// The last group, the value of the chain after it, and where it ends.
    pub(crate) group: u64,
    pub(crate) chain: Chain,
    pub(crate) end: Place,
    /// The last group once more, if nothing shows that it was acknowledged.
    pub(crate) unproven: Option<Unproven>,
    /// Whether a write that was never acknowledged was cut off at the end.
    pub(crate) torn: bool,
    /// What the mark says; `None` if it cannot be read.
    pub(crate) marked: Option<Marked>,
    pub(crate) segments: usize,
    pub(crate) snapshot: Option<u64>,
    pub(crate) snapshot_bytes: u64,
    pub(crate) log_bytes: u64,
    /// No file has so high a sequence.
    pub(crate) next_sequence: u64,
    /// Files that belong to a log, and that nothing needs.
    pub(crate) obsolete: Vec<String>,
    /// Files that belong to no log.
    pub(crate) unknown: Vec<String>,
    /// How many groups were passed over, where damage is passed over.
    pub(crate) skipped: u64,
}

/// A group that may be on disk or not, though it was read.
pub(crate) struct Unproven {
    pub(crate) payload: Vec<u8>,
    /// The value of the chain before it.
    pub(crate) before: Chain,
    /// Where it begins.
    pub(crate) offset: u64,
}

/// What a file's name says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Name {
    Segment(u64),
    Snapshot(u64),
    /// Begun, and not put in its place.
    Unfinished(u64),
    /// The mark and the reserves.
    Fixed,
    Unknown,
}

/// The name of a segment.
pub(crate) fn segment(sequence: u64) -> String {
    format!("{sequence:016x}.log")
}

/// The name of a snapshot.
pub(crate) fn snapshot(sequence: u64) -> String {
    format!("{sequence:016x}.snapshot")
}

/// The name of either before it is in its place.
pub(crate) fn unfinished(name: &str) -> String {
    format!("{name}.new")
}

/// Space for a segment and for a snapshot on a full disk.
pub(crate) const SEGMENT_RESERVE: &str = "reserve.log";
pub(crate) const SNAPSHOT_RESERVE: &str = "reserve.snapshot";

impl Recovery {
    /// Reads everything. With `pass_over`, damage is noted in the error, and what can be read after
    /// it is read nevertheless.
    pub(crate) fn run(&mut self, files: &dyn Files, pass_over: bool) -> Result<(), LogError> {
        let names = files.list().map_err(|source| read_error(files, source))?;
        let mut segments = Vec::new();
        for name in names {
            match classify(&name) {
                Name::Segment(sequence) => segments.push(sequence),
                Name::Snapshot(sequence) => self.snapshot = self.snapshot.max(Some(sequence)),
                Name::Unfinished(_) => self.obsolete.push(name.clone()),
                Name::Fixed => {}
                Name::Unknown => self.unknown.push(name.clone()),
            }
            if let Name::Segment(sequence) | Name::Snapshot(sequence) | Name::Unfinished(sequence) =
                classify(&name)
            {
                self.next_sequence = self.next_sequence.max(sequence + 1);
            }
        }
        self.next_sequence = self.next_sequence.max(1);
        segments.sort_unstable();
        self.marked = Mark::read(files).map_err(|source| read_error(files, source))?;
        let chain = self.chain_of(files, &segments)?;
        self.store = chain.last().map(|reader| reader.header.store).unwrap_or_default();
        self.segments = chain.len();
        let needed: Vec<u64> = chain.iter().map(|reader| reader.header.sequence).collect();
        self.obsolete.extend(segments.into_iter().filter(|s| !needed.contains(s)).map(segment));
        let mut first_error = None;
        let mut note = |result: Result<(), LogError>| match result {
            Err(LogError::Damaged(damage)) if pass_over => {
                first_error.get_or_insert(LogError::Damaged(damage));
                Ok(())
            }
            result => result,
        };
        note(self.read_snapshot(files, chain.first().map(|reader| reader.header), pass_over))?;
        let limits: BTreeMap<u64, u64> = chain
            .iter()
            .filter_map(|reader| reader.header.before)
            .map(|before| (before.sequence, before.offset))
            .collect();
        for reader in chain {
            let limit = limits.get(&reader.header.sequence).copied();
            note(self.read_segment(reader, limit, pass_over))?;
        }
        note(self.check_mark(files))?;
        first_error.map_or(Ok(()), Err)
    }

    /// The segments that count, oldest first, found from the newest.
    fn chain_of(&self, files: &dyn Files, segments: &[u64]) -> Result<Vec<Reader>, LogError> {
        let oldest = self.snapshot.unwrap_or(0);
        let Some(&newest) = segments.last() else {
            return Err(missing(files, oldest.max(1)));
        };
        if newest < oldest {
            return Err(missing(files, oldest));
        }
        let mut chain = vec![open(files, newest, None)?];
        loop {
            let Header { sequence, before, store, first_group, .. } = chain[chain.len() - 1].header;
            match before {
                // Whatever lies before a snapshot is in it.
                _ if sequence == oldest => break,
                None if oldest == 0 && first_group == 1 => break,
                None if oldest == 0 => {
                    let file = files.path().join(snapshot(sequence));
                    return Err(Damage { file, offset: 0, what: "the file is missing".to_owned() }.into());
                }
                Some(before) if before.sequence >= oldest && before.sequence < sequence => {
                    let reader = open(files, before.sequence, Some(store))?;
                    if reader.header.id != before.id || reader.header.first_group > first_group {
                        let what = "it is not the segment that the log goes on from".to_owned();
                        return Err(reader.damage(0, what).into());
                    }
                    chain.push(reader);
                }
                _ => return Err(missing(files, oldest)),
            }
        }
        chain.reverse();
        Ok(chain)
    }

    fn read_snapshot(
        &mut self,
        files: &dyn Files,
        next: Option<Header>,
        pass_over: bool,
    ) -> Result<(), LogError> {
        let Some(next) = next else { return Ok(()) };
        let Some(sequence) = self.snapshot else {
            (self.group, self.chain) = (next.first_group - 1, next.chain);
            return Ok(());
        };
        (self.group, self.chain) = (next.first_group - 1, next.chain);
        let mut reader = Reader::open(files, &snapshot(sequence))?;
        let Header { kind, store, first_group, chain, .. } = reader.header;
        if (kind, store, first_group, chain, reader.header.sequence)
            != (Kind::Snapshot, next.store, next.first_group, next.chain, sequence)
        {
            return Err(reader.damage(0, "it is not the snapshot that the log goes on from").into());
        }
        self.snapshot_bytes = reader.len;
        read_whole(&mut self.loaded, &mut reader, pass_over)
    }

    /// Reads a segment, up to `limit` if another one goes on from there.
    fn read_segment(
        &mut self,
        mut reader: Reader,
        limit: Option<u64>,
        pass_over: bool,
    ) -> Result<(), LogError> {
        let Header { sequence, id, first_group, chain, .. } = reader.header;
        let mut error = None;
        if (self.group + 1, self.chain) != (first_group, chain) {
            let what =
                format!("it begins with group {first_group}, which does not follow on group {}", self.group);
            let damage = reader.damage(0, what);
            if !pass_over {
                return Err(damage.into());
            }
            error.get_or_insert(damage);
            (self.group, self.chain) = (first_group - 1, chain);
        }
        self.unproven = None;
        let mut before = Some(self.chain);
        while limit.is_none_or(|limit| reader.offset < limit) {
            let problem = match reader.next(self.group + 1, before) {
                Ok(Next::Group(group)) => match self.take(&reader, group, limit.is_none()) {
                    Ok(()) => {
                        before = Some(self.chain);
                        continue;
                    }
                    Err(damage) => damage,
                },
                Ok(Next::Other) if limit.is_none() => match reader.end(self.group + 1) {
                    Ok(end) => {
                        self.torn = end == End::Torn;
                        break;
                    }
                    Err(LogError::Damaged(damage)) => damage,
                    Err(error) => return Err(error),
                },
                Ok(Next::Other) => {
                    let what = format!("group {} was acknowledged, but cannot be read", self.group + 1);
                    reader.damage(reader.offset, what)
                }
                Err(LogError::Damaged(damage)) => damage,
                Err(error) => return Err(error),
            };
            if !pass_over {
                return Err(problem.into());
            }
            error.get_or_insert(problem);
            let Some(next) = reader.skip(self.group + 1)? else { break };
            self.skipped += next - self.group - 1;
            self.group = next - 1;
            before = None;
        }
        if let Some(limit) = limit.filter(|&limit| reader.offset != limit)
            && error.is_none()
        {
            let what = format!("the log goes on from byte {limit}, which is no end of a group");
            error = Some(reader.damage(reader.offset, what));
        }
        self.end = Place { sequence, id, offset: reader.offset };
        self.log_bytes += reader.offset;
        error.map_or(Ok(()), |damage| Err(damage.into()))
    }

    fn take(&mut self, reader: &Reader, group: Group, newest: bool) -> Result<(), Damage> {
        if self.loaded.apply(&group.payload).is_none() {
            let what = format!("group {} holds what this version does not know", group.number);
            return Err(reader.damage(group.offset, what));
        }
        let proven = self.marked.is_some_and(|marked| marked.group >= group.number);
        self.unproven = (newest && !proven).then_some(Unproven {
            payload: group.payload,
            before: self.chain,
            offset: group.offset,
        });
        (self.group, self.chain) = (group.number, group.after);
        Ok(())
    }

    /// Nothing that was acknowledged may be missing at the end.
    fn check_mark(&self, files: &dyn Files) -> Result<(), LogError> {
        let Some(marked) = self.marked else { return Ok(()) };
        let damage =
            |offset, what| Damage { file: files.path().join(segment(self.end.sequence)), offset, what };
        if marked.store != self.store {
            let what = "the mark beside it is that of another store".to_owned();
            return Err(damage(0, what).into());
        }
        if self.group < marked.group {
            let what = format!(
                "the log ends with group {}, but everything up to group {} was acknowledged",
                self.group, marked.group
            );
            return Err(damage(self.end.offset, what).into());
        }
        Ok(())
    }
}

/// Reads a snapshot or a backup, which must be there to its end.
pub(crate) fn read_whole(loaded: &mut Loaded, reader: &mut Reader, pass_over: bool) -> Result<(), LogError> {
    let (mut number, mut chain) = (0, Some(Chain::default()));
    let mut error = None;
    loop {
        let problem = match reader.next(number + 1, chain) {
            Ok(Next::Group(group)) => match loaded.apply(&group.payload) {
                Some(true) => return error.map_or(Ok(()), |damage: Damage| Err(damage.into())),
                Some(false) => {
                    (number, chain) = (group.number, Some(group.after));
                    continue;
                }
                None => reader.damage(group.offset, "it holds what this version does not know"),
            },
            Ok(Next::Other) => reader.damage(reader.offset, format!("part {} cannot be read", number + 1)),
            Err(LogError::Damaged(damage)) => damage,
            Err(error) => return Err(error),
        };
        let first = error.get_or_insert(problem).clone();
        let next = if pass_over { reader.skip(number + 1)? } else { None };
        let Some(next) = next else { return Err(first.into()) };
        (number, chain) = (next - 1, None);
    }
}

fn open(files: &dyn Files, sequence: u64, store: Option<u128>) -> Result<Reader, LogError> {
    let reader = Reader::open(files, &segment(sequence))?;
    let header = reader.header;
    if (header.kind, header.sequence) != (Kind::Segment, sequence)
        || store.is_some_and(|store| store != header.store)
    {
        return Err(reader.damage(0, "its header is that of another file").into());
    }
    Ok(reader)
}

fn missing(files: &dyn Files, sequence: u64) -> LogError {
    let what = "the file is missing".to_owned();
    Damage { file: files.path().join(segment(sequence)), offset: 0, what }.into()
}

fn read_error(files: &dyn Files, source: std::io::Error) -> LogError {
    LogError::Read { file: files.path().to_owned(), source }
}

fn classify(name: &str) -> Name {
    if [SEGMENT_RESERVE, SNAPSHOT_RESERVE, super::mark::NAME].contains(&name) {
        return Name::Fixed;
    }
    if name.ends_with(".new") {
        let sequence = name.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        return Name::Unfinished(sequence.unwrap_or(0));
    }
    let Some((digits, kind)) = name.split_once('.') else { return Name::Unknown };
    match (u64::from_str_radix(digits, 16), kind) {
        (Ok(sequence), "log") if segment(sequence) == name => Name::Segment(sequence),
        (Ok(sequence), "snapshot") if snapshot(sequence) == name => Name::Snapshot(sequence),
        _ => Name::Unknown,
    }
}
