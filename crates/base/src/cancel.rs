//! Telling long work on a thread of its own that nobody wants it any more.
//!
//! A future ends when it is dropped, a thread does not. Work that reads or writes as much as others like
//! looks at a [`Cancel`] for each piece.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody still waits. Cheap to clone: all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

/// Cancels when it is dropped.
#[derive(Debug)]
pub struct CancelOnDrop(Cancel);

impl Cancel {
    /// Says that nobody waits any more.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Says so when what comes back is dropped, as it is with the future that holds it.
    pub fn on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }

    /// Fails with [`io::ErrorKind::ConnectionAborted`] if nobody waits any more.
    pub fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "nobody waits for it any more")),
        }
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_the_guard_is_waited_for() {
        let cancel = Cancel::default();
        let guard = cancel.clone().on_drop();
        cancel.check().expect("somebody waits");
        drop(guard);
        assert_eq!(cancel.check().expect_err("nobody").kind(), io::ErrorKind::ConnectionAborted);
    }
}
