//! How much of what clients send may be remembered, by all who receive together.

use std::sync::Arc;

use parking_lot::Mutex;

/// Bytes for all.
const ALL: usize = 512 << 20;
/// Bytes for one of them: who takes them leaves room for others.
const ONE: usize = 256 << 20;

/// What there is for all. Cheap to clone: all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    free: Arc<Mutex<usize>>,
}

/// What one of them holds of it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    of: Memory,
    bytes: usize,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Memory::of(ALL)
    }

    /// So many bytes for all.
    pub(crate) fn of(bytes: usize) -> Self {
        Memory { free: Arc::new(Mutex::new(bytes)) }
    }

    /// Nothing yet.
    pub(crate) fn hold(&self) -> Held {
        Held { of: self.clone(), bytes: 0 }
    }
}

impl Held {
    /// Takes `bytes` more; false if there are not as many.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let mut free = self.of.free.lock();
        let Some(left) = free.checked_sub(bytes).filter(|_| self.bytes.saturating_add(bytes) <= ONE) else {
            return false;
        };
        (*free, self.bytes) = (left, self.bytes + bytes);
        true
    }

    /// Gives back what was taken.
    pub(crate) fn give(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        *self.of.free.lock() += bytes;
    }

    /// How much is held.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give(self.bytes);
    }
}
