//! What the program went through, where it was built to count it (`-C instrument-coverage`).
//!
//! The compiler's counters lie in a section of the program. They are read and cleared as a file, the memory
//! of this process, so that nothing here has to be unsafe.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::Context;
use object::{Object, ObjectKind, ObjectSection};

const SECTION: &str = "__llvm_prf_cnts";
const COUNTER: usize = 8;

/// The counters, and which of them were seen how high.
pub(crate) struct Coverage {
    memory: File,
    address: u64,
    /// The counters as they were read last.
    counters: Vec<u8>,
    zeroes: Vec<u8>,
    /// For each counter a bit for each class that it was seen in.
    seen: Vec<u8>,
}

impl Coverage {
    /// The counters of this program; none if it was built without.
    pub(crate) fn open() -> anyhow::Result<Option<Self>> {
        let program = std::fs::read("/proc/self/exe").context("read this program")?;
        let program = object::File::parse(&*program).context("read this program's sections")?;
        let Some(section) = program.section_by_name(SECTION) else { return Ok(None) };
        let length = usize::try_from(section.size()).context("a program fits into memory")?;
        let base = if program.kind() == ObjectKind::Dynamic { base()? } else { 0 };
        let memory = File::options()
            .read(true)
            .write(true)
            .open("/proc/self/mem")
            .context("open this process's memory")?;
        Ok(Some(Self {
            memory,
            address: base + section.address(),
            counters: vec![0; length],
            zeroes: vec![0; length],
            seen: vec![0; length / COUNTER],
        }))
    }

    /// Begins to count anew.
    pub(crate) fn clear(&self) -> anyhow::Result<()> {
        self.memory.write_all_at(&self.zeroes, self.address).context("clear the counters")
    }

    /// Whether something was reached since [`Coverage::clear`] that never was before, or so often.
    pub(crate) fn is_new(&mut self) -> anyhow::Result<bool> {
        self.memory.read_exact_at(&mut self.counters, self.address).context("read the counters")?;
        let mut is_new = false;
        let counters = self.counters.chunks_exact(COUNTER);
        for (seen, counter) in self.seen.iter_mut().zip(counters) {
            if counter == [0; COUNTER] {
                continue;
            }
            let count = u64::from_le_bytes(counter.try_into().expect("chunks of eight"));
            let class = class(count);
            is_new |= *seen & class == 0;
            *seen |= class;
        }
        Ok(is_new)
    }

    /// How many places were reached at all.
    pub(crate) fn reached(&self) -> usize {
        self.seen.iter().filter(|seen| **seen != 0).count()
    }
}

/// A bit for how often something happened, roughly.
fn class(count: u64) -> u8 {
    match count {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 4,
        4..=7 => 8,
        8..=15 => 16,
        16..=31 => 32,
        32..=127 => 64,
        _ => 128,
    }
}

/// Where this program was loaded.
fn base() -> anyhow::Result<u64> {
    let maps = std::fs::read_to_string("/proc/self/maps").context("read where this program is")?;
    let program = std::fs::read_link("/proc/self/exe").context("find this program")?;
    let program = program.to_str().context("its path is text")?;
    let line = maps.lines().find(|line| line.ends_with(program)).context("it is not in memory")?;
    let start = line.split('-').next().context("a mapping has a start")?;
    u64::from_str_radix(start, 16).context("a mapping's start is a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_fall_into_classes_that_a_byte_holds() {
        let classes: Vec<u8> = [0, 1, 2, 3, 4, 7, 8, 16, 32, 127, 128, u64::MAX].map(class).to_vec();
        assert_eq!(classes, [0, 1, 2, 4, 8, 8, 16, 32, 64, 64, 128, 128]);
    }
}
