//! What becomes of a log whose files are damaged: everything is read, or opening stops and says why.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::super::faulty::{Dice, DiceRandom, FaultyDisk};
use super::super::memory::Change;
use super::super::record;
use super::*;
use crate::{Event, EventKind, KeyValue, LeaseId};

type Contents = BTreeMap<String, Vec<u8>>;

const SMALL: Limits = Limits {
    segment: 6 << 10,
    first_growth: 4 << 10,
    growth: 2 << 10,
    tail: 512,
    log: 1 << 20,
    segments: 100,
};

/// A log with a snapshot and several segments, as a killed process leaves it.
struct Example {
    contents: Contents,
    loaded: Vec<Change>,
    /// How many changes there are without those of the last group.
    but_last: usize,
}

fn random(seed: u64) -> Arc<DiceRandom> {
    Arc::new(DiceRandom(Mutex::new(Dice::new(seed))))
}

fn change(revision: u64, size: usize) -> Change {
    let kv = KeyValue {
        key: Bytes::from(format!("key/{}", revision % 7)),
        value: Bytes::from(vec![revision as u8 | 1; size]),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        lease: None,
    };
    Change { event: Event { kind: EventKind::Put, kv: Arc::new(kv), previous: None }, place: 0 }
}

fn open(disk: &FaultyDisk) -> Result<(Log, Loaded), LogError> {
    Log::open(Arc::new(disk.clone()), random(9), SMALL)
}

fn append(log: &mut Log, change: &Change) {
    let mut payload = Vec::new();
    record::put_change(&mut payload, change);
    log.append(&payload, change.event.revision()).expect("append");
}

fn example() -> Example {
    let disk = FaultyDisk::new(7);
    let contents = Loaded {
        changes: (1..4).map(|revision| change(revision, 300)).collect(),
        leases: BTreeMap::from([(LeaseId(3), Duration::from_secs(9))]),
        ..Loaded::default()
    };
    Log::create(&disk, &*random(8), SMALL, Some(&contents)).expect("create");
    let (mut log, _) = open(&disk).expect("open");
    reserve(&disk, &Reserves::default(), SMALL, 2048).expect("reserve");
    let mut loaded = contents.changes;
    for (revision, size) in (4..).zip([10, 700, 1500, 3, 480, 481, 2000, 40, 900, 1200, 100, 800]) {
        let change = change(revision, size);
        log.prepare(size as u64).expect("prepare");
        append(&mut log, &change);
        loaded.push(change);
    }
    assert!(log.segments > 2, "{} segments", log.segments);
    Example { contents: disk.contents(), but_last: loaded.len() - 1, loaded }
}

impl Example {
    /// As a power cut may leave it, by which the last mark was lost.
    fn with_stale_mark(mut self) -> Self {
        let disk = FaultyDisk::holding(&self.contents);
        let store = Mark::read(&disk).expect("read").expect("a mark").store;
        Mark::create(&disk, Marked { store, group: 0 }).expect("create a mark");
        self.contents = disk.contents();
        self
    }

    /// Opens what is left after `harm`: everything is there, or it was refused and nothing changed.
    /// True if everything is there.
    #[track_caller]
    fn check(&self, contents: &Contents, harm: &str) -> bool {
        let found = self.found(contents, harm);
        assert!(found.is_none_or(|found| found == self.loaded.len()), "{harm}: {found:?} changes are left");
        found.is_some()
    }

    /// How many changes are read, which are the first ones; none if it was refused.
    #[track_caller]
    fn found(&self, contents: &Contents, harm: &str) -> Option<usize> {
        let disk = FaultyDisk::holding(contents);
        match open(&disk) {
            Ok((_, loaded)) => {
                let count = loaded.changes.len();
                let expected = &self.loaded[..count.min(self.loaded.len())];
                assert!(loaded.changes == expected, "{harm}: the {count} changes are not the first ones");
                Some(count)
            }
            Err(LogError::Read { .. }) => panic!("{harm}: the disk does not fail here"),
            Err(LogError::Version { .. } | LogError::Damaged(_)) => {
                assert_eq!(&disk.contents(), contents, "{harm}: what is refused is left as it is");
                None
            }
        }
    }
}

fn files(contents: &Contents) -> Vec<(String, usize)> {
    contents.iter().map(|(name, bytes)| (name.clone(), bytes.len())).collect()
}

fn every_byte_flipped(example: &Example) {
    assert!(example.check(&example.contents, "no harm"));
    let mut refused = 0;
    for (name, length) in
        files(&example.contents).into_iter().filter(|(name, _)| !name.starts_with("reserve"))
    {
        for place in 0..length {
            let mut contents = example.contents.clone();
            let byte = &mut contents.get_mut(&name).expect("the file")[place];
            *byte ^= 1 << (place % 8);
            let harm = format!("byte {place} of {name} flipped");
            refused += u32::from(!example.check(&contents, &harm));
        }
    }
    assert!(refused > 5000, "{refused} flips were noticed");
}

#[test]
fn any_flipped_byte_loses_nothing_in_silence() {
    every_byte_flipped(&example());
}

#[test]
fn any_flipped_byte_loses_nothing_in_silence_though_the_mark_is_stale() {
    every_byte_flipped(&example().with_stale_mark());
}

#[test]
fn any_page_of_zeros_loses_nothing_in_silence() {
    let example = example();
    let stale = Example { loaded: example.loaded.clone(), ..self::example().with_stale_mark() };
    for size in [4096, 512] {
        for (name, length) in files(&example.contents) {
            for place in (0..length).step_by(size) {
                let harm = format!("{size} bytes from {place} of {name} on are zeros");
                let wipe = |contents: &Contents| {
                    let mut contents = contents.clone();
                    let file = contents.get_mut(&name).expect("the file");
                    file[place..length.min(place + size)].fill(0);
                    contents
                };
                example.check(&wipe(&example.contents), &harm);
                // Without the mark, the last group looks as if its write had been cut off: it may be
                // missing, and nothing besides.
                let found = stale.found(&wipe(&stale.contents), &harm);
                assert!(found.is_none_or(|found| found >= stale.but_last), "{harm}: {found:?} are left");
            }
        }
    }
}

#[test]
fn any_prefix_of_the_log_is_refused_or_is_what_a_power_cut_leaves() {
    let example = example();
    let stale = self::example().with_stale_mark();
    let newest = example.contents.keys().filter(|name| name.ends_with("0.log") || name.len() == 20);
    let newest = newest.max().expect("a segment").clone();
    for (name, length) in files(&example.contents) {
        let mut before = 0;
        for end in 0..length {
            let harm = format!("{name} ends at {end}");
            let cut = |contents: &Contents| {
                let mut contents = contents.clone();
                contents.get_mut(&name).expect("the file").truncate(end);
                contents
            };
            example.check(&cut(&example.contents), &harm);
            if name == newest {
                // Only what comes after may be missing, the more the earlier it ends.
                let found = stale.found(&cut(&stale.contents), &harm).unwrap_or(0);
                assert!(found >= before, "{harm}: {found} are left");
                before = found;
            } else {
                stale.check(&cut(&stale.contents), &harm);
            }
        }
    }
}

#[test]
fn a_missing_file_is_noticed() {
    let example = example();
    for (name, _) in files(&example.contents) {
        let mut contents = example.contents.clone();
        contents.remove(&name);
        let opened = example.check(&contents, &format!("{name} is missing"));
        assert_eq!(opened, name.starts_with("reserve") || name == "mark", "{name} is missing");
    }
}

#[test]
fn a_file_or_block_from_elsewhere_is_noticed() {
    let example = example();
    let other = {
        let disk = FaultyDisk::new(1);
        Log::create(&disk, &*random(99), SMALL, None).expect("create");
        let (mut log, _) = open(&disk).expect("open");
        for revision in 1..12 {
            log.prepare(500).expect("prepare");
            append(&mut log, &change(revision, 500));
        }
        disk.contents()
    };
    for (name, bytes) in other.iter().filter(|(name, _)| example.contents.contains_key(*name)) {
        let mut contents = example.contents.clone();
        contents.insert(name.clone(), bytes.clone());
        let opened = example.check(&contents, &format!("{name} is another store's"));
        assert_eq!(opened, name.starts_with("reserve"), "{name} is another store's");
    }
    // A stale copy of a segment, and blocks in places that are not theirs.
    let segments: Vec<&String> = example.contents.keys().filter(|name| name.len() == 20).collect();
    for pair in segments.windows(2) {
        let mut contents = example.contents.clone();
        contents.insert(pair[1].clone(), example.contents[pair[0]].clone());
        assert!(!example.check(&contents, "a segment under another's name"));
    }
    for name in segments {
        for place in 1..example.contents[name].len() / BLOCK {
            let mut contents = example.contents.clone();
            let file = contents.get_mut(name).expect("the file");
            if file[place * BLOCK..(place + 1) * BLOCK] != file[(place - 1) * BLOCK..place * BLOCK] {
                file.copy_within((place - 1) * BLOCK..place * BLOCK, place * BLOCK);
                example.check(&contents, &format!("block {place} of {name} is a copy of the one before"));
            }
        }
    }
}

#[test]
fn what_can_be_read_beside_damage_is_saved() {
    let example = example();
    let newest = example.contents.keys().filter(|name| name.len() == 20).max().expect("a segment").clone();
    let mut contents = example.contents.clone();
    contents.get_mut(&newest).expect("the file")[BLOCK + 100] ^= 1;
    let mut recovery = Recovery::default();
    let error = recovery.run(&FaultyDisk::holding(&contents), true).expect_err("it is damaged");
    assert!(matches!(&error, LogError::Damaged(damage) if damage.offset == BLOCK as u64), "{error}");
    assert_eq!(recovery.skipped, 1);
    assert_eq!(recovery.loaded.changes.len(), example.loaded.len() - 1);
}

#[test]
fn after_a_failed_flush_nothing_is_written_to_the_file_again() {
    let disk = FaultyDisk::new(3);
    Log::create(&disk, &*random(8), SMALL, None).expect("create");
    let (mut log, _) = open(&disk).expect("open");
    append(&mut log, &change(1, 100));
    let (failed, before) = (log.end, disk.contents());
    let name = recover::segment(failed.sequence);
    // The write comes through, the flush fails; what was written is tried again elsewhere.
    disk.fail_after(1);
    append(&mut log, &change(2, 100));
    assert!(log.end.sequence > failed.sequence, "it goes on in another segment");
    let written = disk.contents()[&name].clone();
    assert_ne!(written, before[&name], "the write before the failed flush");
    append(&mut log, &change(3, 100));
    assert_eq!(disk.contents()[&name], written);
    // Whatever became of the failed write, each change is there once.
    let (_, loaded) = open(&disk.cut_now()).expect("open");
    let revisions: Vec<u64> = loaded.changes.iter().map(|change| change.event.revision()).collect();
    assert_eq!(revisions, [1, 2, 3]);
}
