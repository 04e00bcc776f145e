//! What the store knows without looking at the disk: images, names, layers and who uses them.

use std::collections::{BTreeMap, HashMap};

use oci::{Digest, Reference};

use crate::image::ImageId;
use crate::state::{self, ImageRecord, LayerRecord, SnapshotRecord, State};

/// The store's tables. A layer's uses are counted: images whose topmost layer it is, layers on top
/// of it, snapshots on it, and work in progress that holds it.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) images: BTreeMap<ImageId, ImageRecord>,
    pub(crate) names: BTreeMap<Reference, ImageId>,
    pub(crate) snapshots: BTreeMap<String, SnapshotRecord>,
    layers: HashMap<Digest, LayerEntry>,
    next_key: u64,
}

#[derive(Debug)]
struct LayerEntry {
    record: LayerRecord,
    uses: usize,
}

impl Tables {
    pub(crate) fn to_state(&self) -> State {
        State { version: state::VERSION, images: self.images.clone(), names: self.names.clone() }
    }

    pub(crate) fn layer(&self, chain_id: &Digest) -> Option<&LayerRecord> {
        self.layers.get(chain_id).map(|entry| &entry.record)
    }

    pub(crate) fn layer_mut(&mut self, chain_id: &Digest) -> Option<&mut LayerRecord> {
        self.layers.get_mut(chain_id).map(|entry| &mut entry.record)
    }

    pub(crate) fn layers(&self) -> impl Iterator<Item = &LayerRecord> {
        self.layers.values().map(|entry| &entry.record)
    }

    /// Adds a layer that has no use yet; it uses its parent.
    pub(crate) fn layer_insert(&mut self, record: LayerRecord) {
        if let Some(parent) = &record.parent {
            self.acquire(parent);
        }
        let key = u64::from_str_radix(&record.key, 36).unwrap_or(0);
        self.next_key = self.next_key.max(key + 1);
        self.layers.insert(record.chain_id.clone(), LayerEntry { record, uses: 0 });
    }

    /// Counts one more use of a layer; false if it is not there.
    pub(crate) fn acquire(&mut self, chain_id: &Digest) -> bool {
        match self.layers.get_mut(chain_id) {
            Some(entry) => {
                entry.uses += 1;
                true
            }
            None => false,
        }
    }

    /// Counts one use less. Gives the layer, taken out of the table, if that was the last.
    pub(crate) fn release(&mut self, chain_id: &Digest) -> Option<LayerRecord> {
        let entry = self.layers.get_mut(chain_id)?;
        entry.uses = entry.uses.saturating_sub(1);
        if entry.uses > 0 {
            return None;
        }
        self.layers.remove(chain_id).map(|entry| entry.record)
    }

    /// Layers that nothing uses.
    pub(crate) fn unused_layers(&self) -> Vec<Digest> {
        self.layers.iter().filter(|(_, entry)| entry.uses == 0).map(|(chain, _)| chain.clone()).collect()
    }

    /// A short name for the next layer.
    pub(crate) fn take_key(&mut self) -> String {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut number = self.next_key;
        self.next_key += 1;
        let mut key = Vec::new();
        loop {
            key.push(DIGITS[(number % 36) as usize]);
            number /= 36;
            if number == 0 {
                break;
            }
        }
        key.reverse();
        String::from_utf8(key).expect("made of ASCII digits")
    }

    /// The layer `chain_id` and those below it, topmost first; `Err` with the one that is missing.
    pub(crate) fn layer_stack(&self, chain_id: Option<&Digest>) -> Result<Vec<&LayerRecord>, Digest> {
        let mut stack = Vec::new();
        let mut next = chain_id;
        while let Some(chain_id) = next {
            let record = self.layer(chain_id).ok_or_else(|| chain_id.clone())?;
            stack.push(record);
            next = record.parent.as_ref();
        }
        Ok(stack)
    }

    /// The sum of an image's layers.
    pub(crate) fn image_size(&self, record: &ImageRecord) -> u64 {
        record.layers.iter().filter_map(|chain| self.layer(chain)).map(|layer| layer.size).sum()
    }

    pub(crate) fn names_of<'a>(&'a self, id: &'a ImageId) -> impl Iterator<Item = &'a Reference> {
        self.names.iter().filter(move |(_, named)| *named == id).map(|(name, _)| name)
    }

    pub(crate) fn children_of<'a>(&'a self, id: &'a ImageId) -> impl Iterator<Item = &'a ImageId> {
        self.images.iter().filter(move |(_, record)| record.parent.as_ref() == Some(id)).map(|(id, _)| id)
    }
}
