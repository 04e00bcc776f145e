//! What steps of builds came to: the layers of their outputs, by what the steps are known by.
//!
//! As crash-safe as names are, and no more waited for than images of steps: a result counts when the file
//! system was flushed after it, by a build's end or by the janitor. What only a result keeps goes with it.

use base::Timestamp;
use oci::Digest;

use crate::layer::Layer;
use crate::remove::RemoveError;
use crate::state::ResultRecord;
use crate::store::Store;

/// What a step came to.
#[derive(Clone, PartialEq, Debug)]
pub struct StepResult {
    /// What the step is known by.
    pub key: Digest,
    /// The topmost layer of each of its outputs; none of one that is empty.
    pub outputs: Vec<Option<Digest>>,
    /// What it was.
    pub description: String,
    /// What sort of thing it was, in the words of whoever made it.
    pub kind: String,
    /// Bytes that it added.
    pub size: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When it was used last, if it was.
    pub last_used: Option<Timestamp>,
    /// How often it was used.
    pub uses: u64,
    /// What it stood on.
    pub parents: Vec<Digest>,
    /// The results whose layers lie below its own: they are not free before it is gone.
    pub stands_on: Vec<Digest>,
    /// Whether an image has one of its layers too, so that they stay without it.
    pub shared: bool,
}

/// What a step came to, to be remembered.
#[derive(Debug)]
pub struct NewResult<'a> {
    /// What the step is known by.
    pub key: Digest,
    /// Its outputs.
    pub outputs: &'a [Option<&'a Layer>],
    /// What it was.
    pub description: &'a str,
    /// What sort of thing it was.
    pub kind: &'a str,
    /// Bytes that it added.
    pub size: u64,
    /// When.
    pub created: Timestamp,
    /// What it stood on.
    pub parents: Vec<Digest>,
}

impl Store {
    /// Remembers what a step came to, in place of what it came to before. A crash of the machine may take it.
    pub fn result_put(&self, new: NewResult<'_>) {
        let record = ResultRecord {
            outputs: new.outputs.iter().map(|layer| layer.map(|layer| layer.chain_id().clone())).collect(),
            description: new.description.to_owned(),
            kind: new.kind.to_owned(),
            size: new.size,
            created: new.created,
            last_used: None,
            uses: 0,
            parents: new.parents,
            held: Vec::new(),
        };
        {
            let mut tables = self.inner.tables();
            let before = tables.result_take(&new.key);
            // The caller holds the layers: they are there.
            tables.result_insert(new.key.clone(), record);
            tables.result_pending(&new.key);
            for chain_id in before.map(|record| record.held).unwrap_or_default() {
                self.inner.layer_release(&mut tables, Some(&chain_id));
            }
        }
        self.inner.janitor.keep_later();
    }

    /// What a step came to before, held; counts as a use at `now`.
    pub fn result_use(&self, key: &Digest, now: Timestamp) -> Option<Vec<Option<Layer>>> {
        let mut tables = self.inner.tables();
        let record = tables.results.get_mut(key)?;
        record.last_used = Some(now);
        record.uses += 1;
        let outputs = record.outputs.clone();
        let hold = |chain_id: Option<Digest>| match chain_id {
            None => Some(None),
            Some(chain_id) => Layer::hold_in(&self.inner, &mut tables, &chain_id).map(Some),
        };
        // What was held before one that is missing is let go of without the tables.
        let held: Vec<Option<Option<Layer>>> = outputs.into_iter().map(hold).collect();
        drop(tables);
        held.into_iter().collect()
    }

    /// What came to the layer `chain_id`, if that is remembered.
    pub fn result_of_layer(&self, chain_id: &Digest) -> Option<Digest> {
        let tables = self.inner.tables();
        let has = |record: &ResultRecord| record.outputs.iter().flatten().any(|output| output == chain_id);
        tables.results.iter().find(|(_, record)| has(record)).map(|(key, _)| key.clone())
    }

    /// All that is remembered, oldest first.
    pub fn result_list(&self) -> Vec<StepResult> {
        let tables = self.inner.tables();
        let of_images: std::collections::HashSet<&Digest> =
            tables.images.values().flat_map(|image| &image.layers).collect();
        let mut tops: std::collections::HashMap<&Digest, Vec<&Digest>> = std::collections::HashMap::new();
        for (key, record) in &tables.results {
            for top in record.outputs.iter().flatten() {
                tops.entry(top).or_default().push(key);
            }
        }
        let below = |record: &ResultRecord| {
            let mut found = std::collections::BTreeSet::new();
            for top in record.outputs.iter().flatten() {
                let stack = tables.layer_stack(Some(top)).unwrap_or_default();
                let below = stack.iter().skip(1).filter_map(|layer| tops.get(&layer.chain_id));
                found.extend(below.flatten().map(|key| (*key).clone()));
            }
            found.into_iter().collect()
        };
        let view = |(key, record): (&Digest, &ResultRecord)| StepResult {
            stands_on: below(record),
            key: key.clone(),
            outputs: record.outputs.clone(),
            description: record.description.clone(),
            kind: record.kind.clone(),
            size: record.size,
            created: record.created,
            last_used: record.last_used,
            uses: record.uses,
            parents: record.parents.clone(),
            shared: record.outputs.iter().flatten().any(|chain_id| of_images.contains(chain_id)),
        };
        let mut results: Vec<StepResult> = tables.results.iter().map(view).collect();
        results.sort_by(|a, b| (a.created, &a.key).cmp(&(b.created, &b.key)));
        results
    }

    /// Forgets what steps came to; layers that nothing else needs go. On disk when this returns.
    pub fn result_remove(&self, keys: &[Digest]) -> Result<(), RemoveError> {
        let mut tables = self.inner.tables();
        let mut taken = Vec::new();
        for key in keys {
            let is_pending = tables.is_result_pending(key);
            if let Some(record) = tables.result_take(key) {
                taken.push((key.clone(), record, is_pending));
            }
        }
        if let Err(error) = self.inner.persist_removal(&mut tables) {
            for (key, record, is_pending) in taken {
                tables.results.insert(key.clone(), record);
                if is_pending {
                    tables.result_pending(&key);
                }
            }
            return Err(error.into());
        }
        for (_, record, _) in taken {
            for chain_id in record.held {
                self.inner.layer_release(&mut tables, Some(&chain_id));
            }
        }
        Ok(())
    }

    /// Brings what is remembered to disk, with all that it needs.
    pub fn result_keep(&self) -> Result<(), crate::WriteError> {
        let keys: Vec<Digest> = self.inner.tables().results.keys().cloned().collect();
        let mut tables = self.inner.flushed_results(&keys)?;
        self.inner.persist(&mut tables)
    }
}
