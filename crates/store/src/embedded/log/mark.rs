//! How far the log was durable, in a small file of its own.
//!
//! Written after each flush and not flushed itself: it costs no time, outlives the process at once
//! and a power cut after the next flush of its own, a second after the log has come to rest. What it
//! tells of was acknowledged, so that its absence is damage and no torn write. It is never ahead of
//! the log; it may be behind.
//!
//! Two slots are written in turn, each in a page of its own, so that one is always whole.

use std::io;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::files::{Files, LogFile};

pub(crate) const NAME: &str = "mark";
const NEW: &str = "mark.new";
const MAGIC: [u8; 8] = *b"GANTRYMK";
const SLOT: usize = 8 + 16 + 8 + 8;
const SLOTS: [u64; 2] = [0, 4096];

/// The open file.
pub(crate) struct Mark {
    file: Box<dyn LogFile>,
    store: u128,
    turn: usize,
}

/// What a mark says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Marked {
    /// The store that it belongs to.
    pub(crate) store: u128,
    /// All groups up to this one were durable.
    pub(crate) group: u64,
}

impl Mark {
    /// Makes the file anew; it is on disk when this returns, its name after the next
    /// [`Files::sync_dir`].
    pub(crate) fn create(files: &dyn Files, marked: Marked) -> io::Result<Self> {
        let file = files.create(NEW)?;
        let mark = Self { file, store: marked.store, turn: 1 };
        for offset in SLOTS {
            mark.file.write_at(&encode(marked), offset)?;
        }
        mark.file.sync()?;
        files.rename(NEW, NAME)?;
        Ok(mark)
    }

    /// What the file says; `None` if there is none, or nothing that can be read.
    pub(crate) fn read(files: &dyn Files) -> io::Result<Option<Marked>> {
        let file = match files.open(NAME, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut newest: Option<Marked> = None;
        for offset in SLOTS {
            let mut slot = [0; SLOT];
            let length = file.read_at(&mut slot, offset)?;
            if let Some(marked) = decode(&slot[..length])
                && newest.is_none_or(|newest| newest.group < marked.group)
            {
                newest = Some(marked);
            }
        }
        Ok(newest)
    }

    pub(crate) fn write(&mut self, group: u64) -> io::Result<()> {
        self.turn = 1 - self.turn;
        self.file.write_at(&encode(Marked { store: self.store, group }), SLOTS[self.turn])
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

fn encode(marked: Marked) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..8].copy_from_slice(&MAGIC);
    slot[8..24].copy_from_slice(&marked.store.to_le_bytes());
    slot[24..32].copy_from_slice(&marked.group.to_le_bytes());
    let check = xxh3_64_with_seed(&slot[..32], 0);
    slot[32..].copy_from_slice(&check.to_le_bytes());
    slot
}

fn decode(slot: &[u8]) -> Option<Marked> {
    let check = u64::from_le_bytes(slot.get(32..SLOT)?.try_into().ok()?);
    if slot[..8] != MAGIC || check != xxh3_64_with_seed(&slot[..32], 0) {
        return None;
    }
    Some(Marked {
        store: u128::from_le_bytes(slot[8..24].try_into().ok()?),
        group: u64::from_le_bytes(slot[24..32].try_into().ok()?),
    })
}
