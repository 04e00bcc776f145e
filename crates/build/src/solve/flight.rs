//! Operations that are under way, by their keys: who asks for one that is waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use oci::Digest;
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// What is under way.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    under_way: Mutex<HashMap<Digest, Weak<Turn<()>>>>,
}

/// The right to do an operation; the next in line has it when this is dropped.
#[derive(Debug)]
pub(crate) struct Flight {
    _turn: OwnedMutexGuard<()>,
}

impl Flights {
    /// Waits until nobody else does the operation. It may be done then.
    pub(crate) async fn begin(&self, key: &Digest) -> Flight {
        let turn = {
            let mut under_way = self.under_way.lock();
            under_way.retain(|_, turn| turn.strong_count() > 0);
            let known = under_way.get(key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let new = Arc::new(Turn::new(()));
                under_way.insert(key.clone(), Arc::downgrade(&new));
                new
            })
        };
        Flight { _turn: turn.lock_owned().await }
    }
}
