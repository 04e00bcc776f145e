//! What the store knows without looking at the disk: images, names, layers and who uses them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;

use oci::{Digest, Reference};

use super::journal::Journal;
use crate::image::ImageId;
use crate::state::{ImageRecord, LayerRecord, LeaseRecord, Named, ResultRecord, SnapshotRecord, State};

/// The store's tables. A layer's uses are counted: images whose topmost layer it is, layers on top
/// of it, snapshots on it, and work in progress that holds it.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) images: BTreeMap<ImageId, ImageRecord>,
    pub(crate) names: BTreeMap<Reference, Named>,
    /// What steps of builds came to.
    pub(crate) results: BTreeMap<Digest, ResultRecord>,
    /// What a process before this one left unfinished, by the names of its files.
    pub(crate) leases: BTreeMap<String, LeaseRecord>,
    pub(crate) snapshots: BTreeMap<String, SnapshotRecord>,
    /// Snapshots whose record could not be read, and whether it is merely empty.
    pub(crate) unread_snapshots: BTreeMap<String, bool>,
    layers: HashMap<Digest, LayerEntry>,
    /// Directories of files, and how many layers have theirs there.
    files: HashMap<String, usize>,
    /// Directories of files that layers may have besides, whose records could not be read.
    spared: Spared,
    /// Images that running work needs, and how much of it.
    in_work: HashMap<ImageId, usize>,
    /// What manifests and indexes lead to that something needs.
    documents: HashMap<Digest, Vec<Digest>>,
    /// Content that running work needs, and how much of it.
    pinned: HashMap<Digest, usize>,
    /// Layers, blobs and images that may not be on disk yet, with the number of the change that brought
    /// them; a layer and a blob may have the same name, and both stay until the flush, though one has gone.
    /// Images among them are not in the state on disk.
    unflushed: HashMap<Digest, u64>,
    pending: HashMap<ImageId, u64>,
    /// The same of what steps came to.
    pending_results: HashMap<Digest, u64>,
    written: u64,
    next_key: u64,
    journal: Journal,
}

/// Directories of files that are not taken away, though no known layer has its files there.
#[derive(Debug)]
pub(super) enum Spared {
    These(BTreeSet<String>),
    /// It is not known which.
    All,
}

#[derive(Debug)]
struct LayerEntry {
    record: LayerRecord,
    uses: usize,
}

impl Default for Spared {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Tables {
    /// Tables of which `written` is on disk.
    pub(super) fn new(written: State) -> Self {
        Self { journal: Journal::new(written), ..Self::default() }
    }

    /// Brings images and names to disk.
    pub(super) fn persist(&mut self, root: &Path) -> io::Result<()> {
        let pending = &self.pending;
        let images = self.images.iter().filter(|(id, _)| !pending.contains_key(*id));
        let later = &self.pending_results;
        let results = self.results.iter().filter(|(key, _)| !later.contains_key(*key));
        self.journal.write(root, images, &self.names, results)
    }

    /// Bytes that the list of images takes on disk, at most.
    pub(super) fn list_bytes(&self) -> u64 {
        self.journal.bytes()
    }

    /// Adds an image, and counts its use of its layers: of the topmost one, which uses the others.
    /// Where that is missing, of each that is there, so that the missing can be brought again.
    pub(crate) fn image_insert(&mut self, id: ImageId, mut record: ImageRecord) {
        let before = self.images.remove(&id).map(|old| old.held).unwrap_or_default();
        let is_whole = self.layer_stack(record.layers.last()).is_ok();
        let wanted: Vec<Digest> = match is_whole {
            true => record.layers.last().cloned().into_iter().collect(),
            false => record.layers.clone(),
        };
        record.held = wanted.into_iter().filter(|chain_id| self.acquire(chain_id)).collect();
        self.images.insert(id, record);
        for chain_id in before {
            // Never the last use: whatever was held is needed by the same image still.
            self.release(&chain_id);
        }
    }

    /// Adds a snapshot, and counts its use of the layer that it lies on.
    pub(crate) fn snapshot_insert(&mut self, id: String, record: SnapshotRecord) {
        if let Some(chain_id) = &record.chain_id {
            self.acquire(chain_id);
        }
        self.unread_snapshots.remove(&id);
        self.snapshots.insert(id, record);
    }

    /// How many changes there were that a flush has to follow.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// All changes up to this one are on disk.
    pub(crate) fn flushed_up_to(&mut self, change: u64) {
        self.unflushed.retain(|_, at| *at > change);
        self.pending.retain(|_, at| *at > change);
        self.pending_results.retain(|_, at| *at > change);
    }

    /// Whether a layer, named by its chain id, or a blob may not be on disk yet.
    pub(crate) fn is_unflushed(&self, digest: &Digest) -> bool {
        self.unflushed.contains_key(digest)
    }

    /// A layer, named by its chain id, or a blob waits for the next flush.
    pub(crate) fn set_unflushed(&mut self, digest: &Digest) {
        self.written += 1;
        self.unflushed.insert(digest.clone(), self.written);
    }

    /// Remembers what a document leads to.
    pub(crate) fn document_insert(&mut self, digest: &Digest, links: Vec<Digest>) {
        if !links.is_empty() {
            self.documents.insert(digest.clone(), links);
        }
    }

    /// Whether a blob is a configuration, a manifest or an index.
    pub(crate) fn is_document(&self, digest: &Digest) -> bool {
        self.documents.contains_key(digest) || self.images.contains_key(&ImageId(digest.clone()))
    }

    /// A blob is here no more.
    pub(crate) fn document_forget(&mut self, digest: &Digest) {
        self.documents.remove(digest);
    }

    /// `from`, and what they lead to.
    pub(crate) fn reach(&self, from: impl IntoIterator<Item = Digest>) -> BTreeSet<Digest> {
        let mut next: Vec<Digest> = from.into_iter().collect();
        let mut reached = BTreeSet::new();
        while let Some(digest) = next.pop() {
            if reached.contains(&digest) {
                continue;
            }
            next.extend(self.documents.get(&digest).into_iter().flatten().cloned());
            reached.insert(digest);
        }
        reached
    }

    /// Content that running work needs.
    pub(crate) fn pinned(&self) -> impl Iterator<Item = &Digest> {
        self.pinned.keys()
    }

    /// Running work needs content.
    pub(crate) fn pin(&mut self, digests: &BTreeSet<Digest>) {
        for digest in digests {
            *self.pinned.entry(digest.clone()).or_default() += 1;
        }
    }

    /// Running work needs content no more.
    pub(crate) fn unpin(&mut self, digests: &BTreeSet<Digest>) {
        for digest in digests {
            if let Some(count) = self.pinned.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    self.pinned.remove(digest);
                }
            }
        }
    }

    /// Whether a document leads to `wanted`, itself or through the one in between.
    pub(crate) fn leads_to(&self, document: &Digest, wanted: &Digest) -> bool {
        let links = |digest: &Digest| self.documents.get(digest).into_iter().flatten();
        links(document).any(|link| link == wanted || links(link).any(|link| link == wanted))
    }

    /// Whether the image is left out of the state on disk until there was a flush.
    pub(crate) fn is_pending(&self, id: &ImageId) -> bool {
        self.pending.contains_key(id)
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty() || !self.pending_results.is_empty()
    }

    /// Adds what a step came to, and counts its use of its layers; false if one of them is not there, and
    /// nothing was added.
    pub(crate) fn result_insert(&mut self, key: Digest, mut record: ResultRecord) -> bool {
        let tops: BTreeSet<Digest> = record.outputs.iter().flatten().cloned().collect();
        if tops.iter().any(|top| self.layer_stack(Some(top)).is_err()) {
            return false;
        }
        record.held = tops.into_iter().filter(|chain_id| self.acquire(chain_id)).collect();
        self.results.insert(key, record);
        true
    }

    /// What a step came to waits for the next flush.
    pub(crate) fn result_pending(&mut self, key: &Digest) {
        self.written += 1;
        self.pending_results.insert(key.clone(), self.written);
    }

    pub(crate) fn is_result_pending(&self, key: &Digest) -> bool {
        self.pending_results.contains_key(key)
    }

    /// Takes out what a step came to. The caller gives its layers up.
    pub(crate) fn result_take(&mut self, key: &Digest) -> Option<ResultRecord> {
        self.pending_results.remove(key);
        self.results.remove(key)
    }

    pub(crate) fn set_pending(&mut self, id: &ImageId) {
        self.written += 1;
        self.pending.insert(id.clone(), self.written);
    }

    /// An image need not be flushed any more.
    pub(crate) fn flushed_image(&mut self, id: &ImageId) {
        self.pending.remove(id);
    }

    /// Takes an image out, with its names. The caller gives its layers up.
    pub(crate) fn image_take(&mut self, id: &ImageId) -> Option<ImageRecord> {
        let record = self.images.remove(id)?;
        self.names.retain(|_, named| named.image != *id);
        Some(record)
    }

    /// Running work needs an image.
    pub(crate) fn work_begin(&mut self, id: &ImageId) {
        *self.in_work.entry(id.clone()).or_default() += 1;
    }

    /// Running work needs an image no more.
    pub(crate) fn work_end(&mut self, id: &ImageId) {
        if let Some(count) = self.in_work.get_mut(id) {
            *count -= 1;
            if *count == 0 {
                self.in_work.remove(id);
            }
        }
    }

    pub(crate) fn is_in_work(&self, id: &ImageId) -> bool {
        self.in_work.contains_key(id)
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
        self.key_taken(&record.key);
        if let Some(files) = &record.files {
            *self.files.entry(files.clone()).or_default() += 1;
        }
        self.layers.insert(record.chain_id.clone(), LayerEntry { record, uses: 0 });
    }

    /// As [`Tables::layer_insert`], for one that was made just now. What was waiting for it, as its
    /// layer was lost, uses it from now on.
    pub(crate) fn layer_insert_new(&mut self, record: LayerRecord) {
        let chain_id = record.chain_id.clone();
        let above = self.layers.values().filter(|entry| entry.record.parent.as_ref() == Some(&chain_id));
        let on_it = self.snapshots.values().filter(|snapshot| snapshot.chain_id.as_ref() == Some(&chain_id));
        let uses = above.count() + on_it.count();
        self.layer_insert(record);
        if let Some(entry) = self.layers.get_mut(&chain_id) {
            entry.uses = uses;
        }
        self.set_unflushed(&chain_id);
    }

    /// Gives `key` to no other layer.
    pub(crate) fn key_taken(&mut self, key: &str) {
        if let Ok(number) = u64::from_str_radix(key, 36) {
            self.next_key = self.next_key.max(number.saturating_add(1));
        }
    }

    /// The layer whose short name is `key`.
    pub(crate) fn layer_of_key(&self, key: &str) -> Option<&Digest> {
        self.layers.iter().find(|(_, entry)| entry.record.key == key).map(|(chain_id, _)| chain_id)
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

    /// Counts one use less. Gives the layer, taken out of the table, if that was the last; not while a container
    /// may stand on it of which nobody knows: then it is collected when the store opens and all is understood.
    pub(crate) fn release(&mut self, chain_id: &Digest) -> Option<LayerRecord> {
        let entry = self.layers.get_mut(chain_id)?;
        entry.uses = entry.uses.saturating_sub(1);
        if entry.uses > 0 || self.has_lost_containers() {
            return None;
        }
        let record = self.layers.remove(chain_id)?.record;
        if let Some(files) = &record.files
            && let Some(count) = self.files.get_mut(files)
        {
            *count -= 1;
            if *count == 0 {
                self.files.remove(files);
            }
        }
        Some(record)
    }

    /// Whether there is a container's snapshot of which it is not known on which layers it lies: its record
    /// cannot be read, or that of the topmost, and no image has that one.
    fn has_lost_containers(&self) -> bool {
        let is_lost = |snapshot: &SnapshotRecord| {
            let Some(top) = &snapshot.chain_id else { return false };
            self.layer_stack(Some(top)).is_err()
                && !self.images.values().any(|image| image.layers.contains(top))
        };
        !self.unread_snapshots.is_empty() || self.snapshots.values().any(is_lost)
    }

    /// Whether a layer has its files in this directory.
    pub(crate) fn has_files(&self, files: &str) -> bool {
        self.files.contains_key(files)
    }

    /// Whether nobody needs this directory of files.
    pub(crate) fn is_free(&self, files: &str) -> bool {
        let is_spared = match &self.spared {
            Spared::These(these) => these.contains(files),
            Spared::All => true,
        };
        !is_spared && !self.has_files(files)
    }

    /// Spares directories of files, as long as the store is open.
    pub(super) fn spare(&mut self, files: Spared) {
        self.spared = files;
    }

    /// What no image needs that is on disk was left by work that was killed: nobody need have flushed it.
    pub(super) fn distrust_leftovers(&mut self) {
        let needed: BTreeSet<&Digest> = self.images.values().flat_map(|image| &image.layers).collect();
        let layers = self.layers.keys().filter(|chain_id| !needed.contains(chain_id));
        let content = self.leases.values().flat_map(|lease| &lease.content);
        let left: Vec<Digest> = layers.chain(content).cloned().collect();
        for digest in left {
            self.set_unflushed(&digest);
        }
    }

    /// A layer with this diff id whose files fit on any other.
    pub(crate) fn loose(&self, diff_id: &Digest) -> Option<&LayerRecord> {
        let files = LayerRecord::loose(diff_id);
        if !self.has_files(&files) {
            return None;
        }
        self.layers().find(|record| record.files.as_ref() == Some(&files))
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

    /// Layers that what builds came to stands on, and no image.
    pub(crate) fn layers_of_results(&self) -> HashSet<Digest> {
        let of_images: HashSet<&Digest> = self.images.values().flat_map(|image| &image.layers).collect();
        let mut found = HashSet::new();
        for top in self.results.values().flat_map(|record| record.outputs.iter().flatten()) {
            let mut next = Some(top);
            while let Some(chain_id) = next {
                if of_images.contains(chain_id) || !found.insert(chain_id.clone()) {
                    break;
                }
                next = self.layer(chain_id).and_then(|layer| layer.parent.as_ref());
            }
        }
        found
    }

    /// The sum of an image's layers.
    pub(crate) fn image_size(&self, record: &ImageRecord) -> u64 {
        record.layers.iter().filter_map(|chain| self.layer(chain)).map(|layer| layer.size).sum()
    }

    pub(crate) fn names_of<'a>(&'a self, id: &'a ImageId) -> impl Iterator<Item = &'a Reference> {
        self.names.iter().filter(move |(_, named)| named.image == *id).map(|(name, _)| name)
    }

    pub(crate) fn children_of<'a>(&'a self, id: &'a ImageId) -> impl Iterator<Item = &'a ImageId> {
        self.images.iter().filter(move |(_, record)| record.parent.as_ref() == Some(id)).map(|(id, _)| id)
    }
}
