//! Today's defaults for what was stored by an earlier version of the program.
//!
//! Every write fills in the defaults before it stores, so what is stored has those of its day. What is read
//! back gets those of today: else the first change of an object, of an annotation even, would add a field
//! that nobody asked for, count a generation, and roll a Deployment out anew.
//!
//! Reading all objects to find that nothing is missing would make a start long. A record for each resource
//! says since which revision all of its objects were written with the defaults of which version
//! ([`Resource::defaults_version`]); only older ones are looked at. That holds as long as nobody writes with
//! the defaults of another version: servers of different versions must not stand on one store at a time.

use std::sync::Arc;

use bytes::Bytes;
use model::{Encoded, GroupVersionKind, Object};
use serde_json::{Value, json};
use store::{KeyRange, KeyValue, OPERATION_LIMIT, Op, Put, Range, Store, Txn};

use super::{Cache, Partition, Stored, key};
use crate::resource::Resource;
use crate::version::version_at;

/// Where the records are.
const RECORDS: &str = "defaults.gantry.dev/defaults";

/// Whose objects may lack something, and up to which revision they were written.
#[derive(Clone, Debug)]
pub(super) struct Filling {
    resource: Arc<Resource>,
    until: u64,
}

impl Cache {
    /// Finds out which objects may lack something. Only before anybody else writes.
    pub(super) async fn learn(&self, store: &dyn Store) -> Result<(), store::Error> {
        let known = store.range(Range::new(KeyRange::prefix(key(RECORDS, "", "")))).await?;
        let mut records = Vec::new();
        for resource in self.table.all() {
            if resource.defaults.is_none() || !resource.is_stored_version() {
                continue;
            }
            let partition = &resource.storage.partition;
            let record = key(RECORDS, "", &partition.replace('/', "."));
            let last =
                known.items.iter().find(|kv| kv.key_str() == record).and_then(|kv| since(&resource, kv));
            let until = last.unwrap_or(known.revision);
            if last.is_none() && !resource.defaults_version.is_empty() {
                records.push(Op::Put(Put::new(record, text(&resource, until))));
            }
            let filling = Filling { resource: resource.clone(), until };
            self.fillings.write().insert(partition.clone(), filling);
        }
        for some in records.chunks(OPERATION_LIMIT) {
            store.txn(Txn { success: some.to_vec(), ..Txn::default() }).await?;
        }
        Ok(())
    }

    /// An object of the partition `of` as it is stored, with what an earlier version left out.
    pub(crate) fn read(&self, partition: &Partition, of: &str, name: &str, kv: &KeyValue) -> Stored {
        let fillings = self.fillings.read();
        let filling = fillings.get(of).filter(|filling| kv.mod_revision <= filling.until);
        let filled = filling.and_then(|filling| fill(&filling.resource, &kv.value));
        partition.stored(name, filled.unwrap_or_else(|| kv.value.clone()), version_at(kv.mod_revision))
    }
}

/// The text with what is missing; none where nothing is.
fn fill(resource: &Resource, value: &[u8]) -> Option<Bytes> {
    // What cannot be read is told when it is asked for.
    let mut object = Object::from_slice(value).ok()?;
    if object.api_version() != resource.api_version() {
        // Stored when another version was: it gets the defaults of the version that it is read in.
        return None;
    }
    resource.apply_defaults(&mut object).ok()?;
    let text = Encoded::encode(&object);
    (text != value).then_some(text)
}

/// Since which revision objects have today's defaults, if the record is of today's.
fn since(resource: &Resource, record: &KeyValue) -> Option<u64> {
    let record: Value = serde_json::from_slice(&record.value).ok()?;
    let spec = record.get("spec")?;
    let same = spec.get("version")? == &*resource.defaults_version;
    same.then(|| spec.get("since").and_then(Value::as_u64)).flatten()
}

fn text(resource: &Resource, since: u64) -> Bytes {
    let kind = GroupVersionKind::new("defaults.gantry.dev", "v1", "Defaults");
    let mut record = Object::new(&kind, &resource.storage.partition.replace('/', "."));
    record.set(&["spec"], json!({"version": resource.defaults_version, "since": since}));
    Encoded::encode(&record)
}
