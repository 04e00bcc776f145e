//! Caches elsewhere: what operations came to is written to registries, to directories of clients and into images,
//! and read back by builds that stand on nothing yet.
//!
//! An operation is known by the same [key](super::key) everywhere, as that says nothing of the machine. A build
//! that is told of a cache looks there for what it has not done itself; what it finds it knows by its layers'
//! digests alone, and brings the layers when something needs their files. What is selected of a result is known
//! by the digest of its content, which a cache has too: so nothing is brought to find out what follows.

mod export;
mod import;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use image::{Layer, NewResult};
use oci::Digest;
use parking_lot::Mutex;

use super::job::Job;
use super::source::elsewhere::Elsewhere;
use super::source::image::BaseImage;
use super::value::{Chain, Value};
use super::{SolveError, Solver};

pub(super) use export::INLINE_CACHE;
pub(super) use import::{Imports, of_options};

/// A cache elsewhere, as clients say it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteCache {
    /// `registry`, `local`, `inline`.
    pub kind: String,
    /// How: `ref`, `src`, `dest`, `mode`, …
    pub attributes: BTreeMap<String, String>,
}

/// What an operation came to, as a cache elsewhere says.
pub(crate) struct CachedOperation {
    /// What it is known by.
    pub(crate) key: Digest,
    /// The layers of each output.
    pub(crate) outputs: Vec<Elsewhere>,
    pub(crate) description: String,
    pub(crate) kind: String,
    pub(crate) size: u64,
    pub(crate) created: base::Timestamp,
    /// It is remembered here too.
    is_here: AtomicBool,
}

/// What operations of a job came to, by their keys, and what was looked at for that: what its caches are made of.
#[derive(Default)]
pub(crate) struct Noted {
    pub(crate) operations: Mutex<BTreeMap<Digest, NotedOperation>>,
    /// The digests of what is selected of results, by what each is remembered as.
    pub(crate) selections: Mutex<BTreeMap<Digest, Digest>>,
}

/// What an operation of a job came to.
#[derive(Clone)]
pub(crate) struct NotedOperation {
    pub(crate) outputs: Vec<Value>,
    /// What its definition says of whether it is to be exported.
    pub(crate) exported: Option<bool>,
    /// The cache that has it, if it was not known here.
    pub(crate) found: Option<Arc<CachedOperation>>,
}

impl RemoteCache {
    /// What is said by an attribute, if it is there.
    fn is_on(&self, key: &str) -> Result<Option<bool>, SolveError> {
        let said = self.attributes.get(key).filter(|text| !text.is_empty());
        let invalid = |text| SolveError::Invalid(format!("failed to parse {key}: {text:?}"));
        said.map(|text| dockerfile::truth(text).ok_or_else(|| invalid(text))).transpose()
    }

    fn refuse_insecure(&self) -> Result<(), SolveError> {
        match self.is_on("registry.insecure")? {
            Some(true) => Err(SolveError::Unsupported(
                "registry.insecure of a cache is not supported: the daemon is told of such registries"
                    .to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

impl CachedOperation {
    /// What its outputs are, brought when they are needed.
    pub(crate) fn values(self: &Arc<Self>, solver: &Solver, vertex: &Digest) -> Vec<Value> {
        let value = |layers: &Elsewhere| {
            let Some(chain_id) = layers.chain_id() else { return Value::Chain(Chain::default()) };
            match solver.inner.store.layer_hold(&chain_id) {
                Some(layer) => Value::Chain(Chain::new(Some(layer))),
                None => Value::Image(Arc::new(BaseImage::cached(self, layers, vertex))),
            }
        };
        let values = self.outputs.iter().map(value).collect();
        self.remember(solver);
        values
    }

    /// Remembers it here too, as soon as all of its layers are here.
    pub(crate) fn remember(&self, solver: &Solver) {
        if self.is_here.load(Ordering::Relaxed) {
            return;
        }
        let store = &solver.inner.store;
        let hold = |layers: &Elsewhere| match layers.chain_id() {
            None => Some(None),
            Some(chain_id) => store.layer_hold(&chain_id).map(Some),
        };
        let Some(held) = self.outputs.iter().map(hold).collect::<Option<Vec<Option<Layer>>>>() else {
            return;
        };
        let outputs: Vec<Option<&Layer>> = held.iter().map(Option::as_ref).collect();
        let new = NewResult {
            key: self.key.clone(),
            outputs: &outputs,
            description: &self.description,
            kind: &self.kind,
            size: self.size,
            created: self.created,
            parents: Vec::new(),
        };
        offload::in_place(|| store.result_put(new));
        self.is_here.store(true, Ordering::Relaxed);
    }
}

impl Noted {
    /// Remembers what was found elsewhere and is here by now, as something was brought.
    pub(crate) fn remember(&self, solver: &Solver) {
        let found: Vec<Arc<CachedOperation>> =
            self.operations.lock().values().filter_map(|noted| noted.found.clone()).collect();
        found.iter().for_each(|operation| operation.remember(solver));
    }
}

impl Job {
    /// Looks for what is done in this cache too, from now on.
    pub fn import_cache(&self, cache: RemoteCache) -> Result<(), SolveError> {
        self.inner.imports.add(cache)
    }
}
