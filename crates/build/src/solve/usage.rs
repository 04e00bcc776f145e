//! What operations came to before: finding it again, listing it, taking it away.

mod filter;
mod policy;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use futures::FutureExt;
use futures::future::BoxFuture;
use image::{Layer, NewResult, StepResult};
use llb::pb::op::Op;
use oci::Digest;
use parking_lot::Mutex;

use super::remote::{NotedOperation, Promise, row_of};
use super::schedule::{Done, Step};
use super::value::{Chain, Value};
use super::{SolveError, Solver, blocking, now};

/// So many digests of parts of trees are remembered.
const HASHES_MAX: usize = 10_000;

/// A part of the cache.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageRecord {
    /// Its name.
    pub id: String,
    /// Those that it was made from.
    pub parents: Vec<String>,
    /// What it is of.
    pub description: String,
    /// What sort of thing it is.
    pub kind: UsageKind,
    /// Bytes.
    pub size: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When it was used last.
    pub last_used: Option<Timestamp>,
    /// How often it was used.
    pub uses: u64,
    /// Whether somebody uses it now.
    pub in_use: bool,
    /// Whether an image has it too, so that taking it away gives nothing back.
    pub shared: bool,
    /// Whether it changes.
    pub mutable: bool,
}

/// Sorts of parts of the cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UsageKind {
    /// What an operation came to.
    Regular,
    /// A client's files.
    Local,
    /// A checkout of a repository.
    Git,
    /// What is mounted as a cache.
    CacheMount,
}

/// What a prune takes away.
#[derive(Clone, Debug, Default)]
pub struct PruneOptions {
    /// Which parts, as clients say it; those that all filters are of.
    pub filter: Vec<String>,
    /// Also what else is needed, or was used lately.
    pub all: bool,
    /// Only what was not used for so long.
    pub keep_for: Duration,
    /// So many bytes may stay, at least.
    pub reserved: u64,
    /// So many bytes may stay, at most; 0 is no limit.
    pub max_used: u64,
    /// So many bytes of the disk are to be free; 0 is none.
    pub min_free: u64,
}

/// What an operation made.
pub(crate) struct Made {
    /// Its outputs.
    pub(crate) outputs: Vec<Chain>,
}

/// What is known of the cache besides.
#[derive(Default)]
pub(crate) struct Usage {
    /// Results that jobs have.
    pub(crate) used: Arc<Mutex<HashMap<Digest, usize>>>,
    pub(crate) hashes: Arc<Hashes>,
    pub(crate) files: Arc<FileDigests>,
    /// One prune at a time.
    pruning: tokio::sync::Mutex<()>,
    /// When the cache was last kept within its limits.
    kept: Mutex<Option<std::time::Instant>>,
}

/// After builds the cache is kept within its limits, so often at most.
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// Digests of parts of trees that never change.
#[derive(Default)]
pub(crate) struct Hashes(Mutex<HashMap<Digest, Digest>>);

/// So many digests of files are remembered.
const FILES_MAX: usize = 100_000;

/// Digests of clients' files that are here: each is read once, as long as it is the same. Only the solver writes
/// them, into new files, and no two files are the same at the same time to the kernel's clock.
#[derive(Default)]
pub(crate) struct FileDigests(Mutex<HashMap<FileState, Digest>>);

/// What tells a file from what it was before: device, number, length, times of content and of attributes.
type FileState = (u64, u64, i64, [(i64, u64); 2]);

impl FileDigests {
    /// The digest of what is in a file, which `read` reads if it is not known.
    pub(crate) fn of(
        &self,
        stat: &rustix::fs::Stat,
        read: impl FnOnce() -> Result<Digest, crate::files::FileError>,
    ) -> Result<Digest, crate::files::FileError> {
        let times = [(stat.st_mtime, stat.st_mtime_nsec), (stat.st_ctime, stat.st_ctime_nsec)];
        let state = (stat.st_dev, stat.st_ino, stat.st_size, times);
        if let Some(known) = self.0.lock().get(&state) {
            return Ok(known.clone());
        }
        let digest = read()?;
        let mut known = self.0.lock();
        if known.len() >= FILES_MAX {
            known.clear();
        }
        known.insert(state, digest.clone());
        Ok(digest)
    }
}

/// Keeps a result from being taken away.
pub(crate) struct InUse {
    used: Arc<Mutex<HashMap<Digest, usize>>>,
    key: Digest,
}

impl Hashes {
    pub(crate) fn get(&self, key: &Digest) -> Option<Digest> {
        self.0.lock().get(key).cloned()
    }

    pub(crate) fn put(&self, key: Digest, digest: Digest) {
        let mut known = self.0.lock();
        if known.len() >= HASHES_MAX {
            known.clear();
        }
        known.insert(key, digest);
    }
}

impl InUse {
    pub(crate) fn new(solver: &Solver, key: &Digest) -> Self {
        let used = Arc::clone(&solver.inner.usage.used);
        *used.lock().entry(key.clone()).or_default() += 1;
        Self { used, key: key.clone() }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut used = self.used.lock();
        if let Some(count) = used.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                used.remove(&self.key);
            }
        }
    }
}

/// What an operation came to, if it was done before with the same key, and what was done before is wanted.
pub(crate) async fn done_before(step: &Step<'_>, key: &Digest) -> Option<Done> {
    if step.vertex.metadata.ignore_cache {
        return None;
    }
    let solver = &step.job.inner.solver;
    let in_use = InUse::new(solver, key);
    let outputs = known(step, key).await?;
    step.job.inner.uses.lock().push(in_use);
    Some(Done { outputs, cached: true })
}

/// What an operation came to that was done before, here or where the job may look besides.
async fn known(step: &Step<'_>, key: &Digest) -> Option<Vec<Value>> {
    let job = &step.job.inner;
    let store = &job.solver.inner.store;
    if let Some(outputs) = store.result_use(key, now()) {
        let outputs = values(outputs);
        note(step, key, key, &outputs, None);
        return Some(outputs);
    }
    // What a source comes to is asked of nobody else.
    if let Some(Op::Source(_)) = &step.vertex.op.op {
        return None;
    }
    let count = step.vertex.output_count();
    let row = row_of(step.job, key);
    if let Some(row) = &row {
        let in_use = InUse::new(&job.solver, row);
        if let Some(outputs) = store.result_use(row, now()).filter(|outputs| outputs.len() == count) {
            job.uses.lock().push(in_use);
            let outputs = values(outputs);
            note(step, key, row, &outputs, None);
            return Some(outputs);
        }
    }
    let said = job.imports.find(step.job, key, count).await?;
    if let Some(row) = &row {
        job.uses.lock().push(InUse::new(&job.solver, row));
    }
    let promise = Promise::new(said, step);
    job.noted.promises.lock().push(Arc::clone(&promise));
    let outputs = promise.values(step.job);
    note(step, key, row.as_ref().unwrap_or(key), &outputs, Some(promise));
    Some(outputs)
}

/// Brings what caches elsewhere only promise of the inputs, or makes it.
async fn settle(step: &Step<'_>) -> Result<(), SolveError> {
    for input in &step.inputs {
        super::value::settle(step.job, input).await?;
    }
    Ok(())
}

/// Does it from the beginning, with what its inputs turned out to be.
fn again<'a>(step: &'a Step<'a>) -> BoxFuture<'a, Result<Done, SolveError>> {
    super::schedule::perform(step).boxed()
}

/// Notes what an operation came to, for who exports caches.
fn note(step: &Step<'_>, key: &Digest, row: &Digest, outputs: &[Value], found: Option<Arc<Promise>>) {
    let exported = step.vertex.metadata.export_cache.as_ref().map(|export| export.value);
    let noted = NotedOperation { outputs: outputs.to_vec(), exported, row: row.clone(), found };
    step.job.inner.noted.operations.lock().insert(key.clone(), noted);
}

fn values(outputs: Vec<Option<Layer>>) -> Vec<Value> {
    outputs.into_iter().map(|layer| Value::Chain(Chain::new(layer))).collect()
}

/// Does an operation unless it was done before, with the same key, or is being done.
pub(crate) async fn once(
    step: &Step<'_>,
    key: Digest,
    kind: &str,
    run: impl AsyncFnOnce() -> Result<Made, SolveError>,
) -> Result<Done, SolveError> {
    let solver = &step.job.inner.solver;
    let store = &solver.inner.store;
    // The key may rest on what a cache said of inputs that are not here. What is known by it is taken; what is done
    // is known by what they are.
    if step.job.inner.imports.are_any() && !step.inputs.iter().all(Value::is_here) {
        if let Some(done) = done_before(step, &key).await {
            return Ok(done);
        }
        settle(step).await?;
        return again(step).await;
    }
    step.job.inner.uses.lock().push(InUse::new(solver, &key));
    let flight = solver.inner.flights.begin(&key, |event| step.hear(event)).await;
    let has_waited = flight.has_waited;
    // What was done while this one waited was done for it, but for who follows it closely and wants it done anew: he
    // has a container of his own.
    let is_shared = has_waited && step.followed.is_none();
    if (is_shared || !step.vertex.metadata.ignore_cache)
        && let Some(outputs) = known(step, &key).await
    {
        return Ok(Done { outputs, cached: !has_waited });
    }
    let _flight = step.flight.set(flight);
    let created = now();
    let made = run().await?;
    let below: HashSet<Digest> = step.inputs.iter().flat_map(|input| layers_of(step, input)).collect();
    let own = made.outputs.iter().filter_map(Chain::top).flat_map(|top| store.layer_chain(top));
    let size = own.filter(|layer| !below.contains(layer.chain_id())).map(|layer| layer.size());
    let size = size.fold(0, u64::saturating_add);
    let outputs: Vec<Option<&Layer>> = made.outputs.iter().map(Chain::top).collect();
    let parents = step.inputs.iter().filter_map(|input| parent(step, input)).collect();
    let description = &step.vertex.name;
    let new = NewResult { key: key.clone(), outputs: &outputs, description, kind, size, created, parents };
    offload::in_place(|| store.result_put(new));
    let outputs: Vec<Value> = made.outputs.into_iter().map(Value::Chain).collect();
    note(step, &key, &key, &outputs, None);
    Ok(Done { outputs, cached: false })
}

fn layers_of(step: &Step<'_>, value: &Value) -> Vec<Digest> {
    let store = &step.job.inner.solver.inner.store;
    let top = match value {
        Value::Chain(chain) => chain.chain_id().cloned(),
        Value::Image(image) => image.chain_id().cloned(),
        Value::Local(_) | Value::Files(_) => None,
    };
    let held = top.and_then(|top| store.layer_hold(&top));
    held.map(|top| store.layer_chain(&top).iter().map(|layer| layer.chain_id().clone()).collect())
        .unwrap_or_default()
}

fn parent(step: &Step<'_>, value: &Value) -> Option<Digest> {
    let top = match value {
        Value::Chain(chain) => chain.chain_id(),
        Value::Image(image) => image.chain_id(),
        Value::Local(_) | Value::Files(_) => None,
    }?;
    let store = &step.job.inner.solver.inner.store;
    store.result_of_layer(top)
}

/// All parts of the cache that the filters let through, oldest first.
pub(super) async fn list(solver: &Solver, filter: &[String]) -> Result<Vec<UsageRecord>, SolveError> {
    let filter = filter::Filter::parse(filter)?;
    let solver = solver.clone();
    let (records, _) = blocking(move || all(&solver)).await;
    Ok(records.into_iter().filter(|record| filter.admits(record, now())).collect())
}

/// Takes away what nobody uses and the options let go; gives what went.
pub(super) async fn prune(solver: &Solver, options: PruneOptions) -> Result<Vec<UsageRecord>, SolveError> {
    let _turn = solver.inner.usage.pruning.lock().await;
    let filter = filter::Filter::parse(&options.filter)?;
    let solver = solver.clone();
    blocking(move || {
        let (records, stands_on) = all(&solver);
        let total = records.iter().filter(|record| !record.shared).map(|record| record.size);
        let total = total.fold(0, u64::saturating_add);
        let sizes = policy::Sizes { total, free: free(&solver).0 };
        let chosen = policy::choose(records, &stands_on, sizes, &options, &filter, now());
        remove(&solver, chosen)
    })
    .await
}

/// Keeps the cache within its limits, as a build has ended.
pub(super) fn after_build(solver: &Solver) {
    {
        let mut kept = solver.inner.usage.kept.lock();
        if kept.is_some_and(|at| at.elapsed() < KEEP_EVERY) {
            return;
        }
        *kept = Some(std::time::Instant::now());
    }
    // Without a runtime the engine is going.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        let solver = solver.clone();
        runtime.spawn(async move { policy::keep_within(&solver).await });
    }
}

/// Bytes of the disk: free, and all.
fn free(solver: &Solver) -> (u64, u64) {
    match rustix::fs::statvfs(&solver.inner.root) {
        Ok(found) => (found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize),
        Err(_) => (u64::MAX, u64::MAX),
    }
}

/// All parts of the cache, oldest first, and on which others each stands.
fn all(solver: &Solver) -> (Vec<UsageRecord>, HashMap<String, Vec<String>>) {
    let used: HashSet<Digest> = solver.inner.usage.used.lock().keys().cloned().collect();
    let results = solver.inner.store.result_list();
    let of = |result: &StepResult| (id(&result.key), result.stands_on.iter().map(id).collect());
    let stands_on = results.iter().map(of).collect();
    let mut records: Vec<UsageRecord> = results.into_iter().map(|result| view(result, &used)).collect();
    for (name, record, size, in_use) in solver.inner.locals.list() {
        records.push(UsageRecord {
            id: name,
            parents: Vec::new(),
            description: record.description,
            kind: UsageKind::Local,
            size,
            created: record.created,
            last_used: record.last_used,
            uses: record.uses,
            in_use,
            shared: false,
            mutable: true,
        });
    }
    records.extend(solver.inner.caches.list());
    records.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    (records, stands_on)
}

/// What a result is called for clients: as long as BuildKit's names are.
fn id(key: &Digest) -> String {
    key.hex()[..25].to_owned()
}

fn view(result: StepResult, used: &HashSet<Digest>) -> UsageRecord {
    UsageRecord {
        in_use: used.contains(&result.key),
        id: id(&result.key),
        parents: result.parents.iter().map(id).collect(),
        description: result.description,
        kind: if result.kind == "source.git.checkout" { UsageKind::Git } else { UsageKind::Regular },
        size: result.size,
        created: result.created,
        last_used: result.last_used,
        uses: result.uses,
        shared: result.shared,
        mutable: false,
    }
}

/// Removes parts of the cache; gives those that went: somebody may have begun to use one.
fn remove(solver: &Solver, chosen: Vec<UsageRecord>) -> Result<Vec<UsageRecord>, SolveError> {
    let names: HashSet<&str> = chosen.iter().map(|record| record.id.as_str()).collect();
    let store = &solver.inner.store;
    let keys: Vec<Digest> = {
        let used = solver.inner.usage.used.lock();
        let results = store.result_list().into_iter();
        let results = results.filter(|result| names.contains(&result.key.hex()[..25]));
        results.map(|result| result.key).filter(|key| !used.contains_key(key)).collect()
    };
    store.result_remove(&keys).map_err(|error| SolveError::Failed(base::error::chain(&error).to_string()))?;
    let gone: HashSet<String> = keys.iter().map(id).collect();
    let mut removed = Vec::new();
    for record in chosen {
        let went = match record.kind {
            UsageKind::Regular | UsageKind::Git => Ok(gone.contains(&record.id)),
            UsageKind::Local => solver.inner.locals.remove(&record.id),
            UsageKind::CacheMount => solver.inner.caches.remove(&record.id),
        };
        match went {
            Ok(true) => removed.push(record),
            Ok(false) => {}
            Err(error) => tracing::warn!(id = record.id, %error, "a part of the build cache stays"),
        }
    }
    Ok(removed)
}

impl UsageKind {
    /// As clients name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Local => "source.local",
            Self::Git => "source.git.checkout",
            Self::CacheMount => "exec.cachemount",
        }
    }
}
