//! Work that two may want done at the same time, and that one of them does.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use oci::Digest;
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// The layers that are being fetched, by chain id.
///
/// Whoever waits for a layer's turn may hold the turns of layers above it in the same chain, never
/// of one below: two pulls cannot wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    turns: Mutex<HashMap<Digest, Weak<Turn<()>>>>,
}

/// The right to fetch a layer; the next in line has it when this is dropped.
pub(crate) type Flight = OwnedMutexGuard<()>;

impl Flights {
    /// Waits until nobody else fetches the layer. It may be there then.
    pub(crate) async fn begin(&self, layer: &Digest) -> Flight {
        let turn = {
            let mut turns = self.turns.lock();
            turns.retain(|_, turn| turn.strong_count() > 0);
            let known = turns.get(layer).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let new = Arc::new(Turn::new(()));
                turns.insert(layer.clone(), Arc::downgrade(&new));
                new
            })
        };
        turn.lock_owned().await
    }
}
