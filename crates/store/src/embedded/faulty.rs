//! A disk for tests: it fails when told, fills up, and loses power.
//!
//! What was written and not flushed is on its way: after a power cut any part of it is there, sector
//! by sector or page by page, in any order; the same goes for names. What a flush failed on is there
//! or not, and no later flush brings it there, as with the page cache of Linux.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::Random;
use parking_lot::Mutex;

use super::files::{Files, LogFile};

const SECTOR: u64 = 512;

/// A disk with one directory. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct FaultyDisk {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

/// A fixed sequence of random numbers (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

#[derive(Clone)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    flushed_names: BTreeMap<String, usize>,
    /// Each is one change of the directory, which comes through wholly or not at all.
    moving_names: Vec<Vec<(String, Option<usize>)>>,
    dice: Dice,
    /// Counts what was asked of the disk.
    operations: u64,
    /// The operations that fail.
    failing: BTreeSet<u64>,
    /// Whether everything that changes something fails.
    broken: bool,
    capacity: Option<u64>,
    /// At which operation the power is cut, and how it looked then.
    cut_at: Option<u64>,
    cut: Option<Box<State>>,
    /// Whatever the test wants to know of the moment of the cut.
    on_cut: Option<Arc<dyn Fn() + Send + Sync>>,
}

#[derive(Clone, Default)]
struct Inode {
    /// As a reader sees it.
    bytes: Vec<u8>,
    /// What outlives a power cut for sure.
    flushed: Vec<u8>,
    moving: Vec<Moving>,
}

/// A write that is on its way: where, and what.
type Moving = (u64, Vec<u8>);

struct FaultyFile {
    disk: FaultyDisk,
    inode: usize,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// Random numbers for what is tested, from the same kind of sequence.
pub(crate) struct DiceRandom(pub(crate) Mutex<Dice>);

impl Random for DiceRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut dice = self.0.lock();
        bytes.iter_mut().for_each(|byte| *byte = dice.next() as u8);
    }
}

impl FaultyDisk {
    /// An empty disk.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(State {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            flushed_names: BTreeMap::new(),
            moving_names: Vec::new(),
            dice: Dice::new(seed),
            operations: 0,
            failing: BTreeSet::new(),
            broken: false,
            capacity: None,
            cut_at: None,
            cut: None,
            on_cut: None,
        })
    }

    fn with(state: State) -> Self {
        Self { path: PathBuf::from("/faulty"), state: Arc::new(Mutex::new(state)) }
    }

    /// The disk as it is now, for another process: what was on its way still is.
    pub(crate) fn copy(&self) -> Self {
        Self::with(State { cut_at: None, cut: None, on_cut: None, ..self.state.lock().clone() })
    }

    /// The disk after a power cut at this moment.
    pub(crate) fn cut_now(&self) -> Self {
        Self::with(self.state.lock().cut())
    }

    /// Cuts the power after so many more operations: then `on_cut` is called, and everything fails.
    pub(crate) fn cut_after(&self, operations: u64, on_cut: Arc<dyn Fn() + Send + Sync>) {
        let mut state = self.state.lock();
        state.cut_at = Some(state.operations + operations);
        state.on_cut = Some(on_cut);
    }

    /// The disk after the power cut that was asked for, once it has happened.
    pub(crate) fn after_cut(&self) -> Option<Self> {
        self.state.lock().cut.as_ref().map(|cut| Self::with(State::clone(cut)))
    }

    /// The operation that is so many away fails.
    pub(crate) fn fail_after(&self, operations: u64) {
        let mut state = self.state.lock();
        let at = state.operations + operations;
        state.failing.insert(at);
    }

    /// Lets everything fail that changes something, or no longer.
    pub(crate) fn set_broken(&self, broken: bool) {
        self.state.lock().broken = broken;
    }

    /// Takes back all faults that were asked for.
    pub(crate) fn heal(&self) {
        let mut state = self.state.lock();
        (state.failing, state.broken, state.capacity) = (BTreeSet::new(), false, None);
    }

    /// Leaves so much space; `None` for no limit.
    pub(crate) fn set_free(&self, free: Option<u64>) {
        let mut state = self.state.lock();
        state.capacity = free.map(|free| state.used() + free);
    }

    /// All files with what a reader sees in them.
    pub(crate) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state.lock();
        state.names.iter().map(|(name, &inode)| (name.clone(), state.inodes[inode].bytes.clone())).collect()
    }

    /// A disk that holds these files.
    pub(crate) fn holding(contents: &BTreeMap<String, Vec<u8>>) -> Self {
        let disk = Self::new(1);
        let mut state = disk.state.lock();
        for (name, bytes) in contents {
            let inode = state.inodes.len();
            state.inodes.push(Inode { bytes: bytes.clone(), flushed: bytes.clone(), moving: Vec::new() });
            state.names.insert(name.clone(), inode);
        }
        state.flushed_names = state.names.clone();
        drop(state);
        disk
    }
}

impl State {
    /// Counts an operation; an error if it is to fail.
    fn step(&mut self) -> io::Result<()> {
        let now = self.operations;
        self.operations += 1;
        if self.cut_at == Some(now) {
            self.cut = Some(Box::new(self.cut()));
            self.broken = true;
            if let Some(on_cut) = self.on_cut.take() {
                on_cut();
            }
        }
        if self.broken || self.failing.remove(&now) {
            return Err(io::Error::other("the disk fails"));
        }
        Ok(())
    }

    fn cut(&self) -> Self {
        let mut after = Self { cut_at: None, cut: None, on_cut: None, ..self.clone() };
        after.operations += 1;
        let mut dice = Dice::new(self.dice.clone().next() ^ self.operations);
        // Whole pages or sectors; sometimes nothing, mostly something of each write comes through.
        let unit = if dice.below(2) == 0 { SECTOR } else { 4096 };
        let chance = [0, 30, 50, 80, 100][dice.below(5) as usize];
        for inode in &mut after.inodes {
            inode.land(&mut dice, unit, chance);
            inode.bytes = inode.flushed.clone();
        }
        for change in std::mem::take(&mut after.moving_names) {
            if dice.below(100) < chance {
                apply(&mut after.flushed_names, change);
            }
        }
        after.names = after.flushed_names.clone();
        (after.failing, after.broken, after.capacity) = (BTreeSet::new(), false, None);
        after.dice = dice;
        after
    }

    fn used(&self) -> u64 {
        self.names.values().map(|&inode| self.inodes[inode].bytes.len() as u64).sum()
    }

    fn rename(&mut self, change: Vec<(String, Option<usize>)>) {
        apply(&mut self.names, change.clone());
        self.moving_names.push(change);
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Inode {
    /// Lets a part of what is on its way arrive, and the rest never.
    fn land(&mut self, dice: &mut Dice, unit: u64, chance: u64) {
        for (offset, bytes) in std::mem::take(&mut self.moving) {
            let mut at = 0;
            while at < bytes.len() {
                let end = ((offset + at as u64) / unit + 1) * unit - offset;
                let end = bytes.len().min(end as usize);
                if dice.below(100) < chance {
                    put(&mut self.flushed, offset + at as u64, &bytes[at..end]);
                }
                at = end;
            }
        }
    }

    fn flush(&mut self) {
        for (offset, bytes) in std::mem::take(&mut self.moving) {
            put(&mut self.flushed, offset, &bytes);
        }
        self.flushed.truncate(self.bytes.len());
    }
}

fn put(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let end = offset as usize + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset as usize..end].copy_from_slice(bytes);
}

fn apply(names: &mut BTreeMap<String, usize>, change: Vec<(String, Option<usize>)>) {
    for (name, inode) in change {
        match inode {
            Some(inode) => drop(names.insert(name, inode)),
            None => drop(names.remove(&name)),
        }
    }
}

impl Files for FaultyDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let mut state = self.state.lock();
        state.step()?;
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.rename(vec![(name.to_owned(), Some(inode))]);
        Ok(Box::new(FaultyFile { disk: self.clone(), inode }))
    }

    fn open(&self, name: &str, _: bool) -> io::Result<Box<dyn LogFile>> {
        let inode = self.state.lock().inode(name)?;
        Ok(Box::new(FaultyFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        let inode = state.inode(from)?;
        state.rename(vec![(from.to_owned(), None), (to.to_owned(), Some(inode))]);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        state.inode(name)?;
        state.rename(vec![(name.to_owned(), None)]);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        state.flushed_names = state.names.clone();
        state.moving_names.clear();
        Ok(())
    }
}

impl LogFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().inodes[self.inode].bytes.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state.lock();
        let file = &state.inodes[self.inode].bytes;
        let rest = file.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(bytes.len());
        bytes[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let longer =
            (offset + bytes.len() as u64).saturating_sub(state.inodes[self.inode].bytes.len() as u64);
        let used = state.used();
        let full = state.capacity.is_some_and(|capacity| used + longer > capacity);
        let mut length = bytes.len() as u64;
        if full || state.broken {
            // Some of it got through.
            length = state.dice.below(length / SECTOR + 1) * SECTOR;
            if full {
                length = length.saturating_sub(longer);
            }
        }
        let written = bytes[..length as usize].to_vec();
        let inode = &mut state.inodes[self.inode];
        // What has no bytes makes no file longer, wherever it was to go.
        if !written.is_empty() {
            put(&mut inode.bytes, offset, &written);
            inode.moving.push((offset, written));
        }
        state.step()?;
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.step()?;
        state.inodes[self.inode].bytes.truncate(length as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let result = state.step();
        let mut dice = state.dice.clone();
        let inode = &mut state.inodes[self.inode];
        match &result {
            Ok(()) => inode.flush(),
            Err(_) => inode.land(&mut dice, SECTOR, 50),
        }
        state.dice = dice;
        result
    }
}
