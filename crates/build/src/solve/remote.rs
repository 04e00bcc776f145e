//! Caches elsewhere: what operations came to is written to registries, to directories of clients and into images,
//! and read back by builds that stand on nothing yet.
//!
//! An operation is known by the same [key](super::key) everywhere, as that says nothing of the machine. A build
//! that is told of a cache looks there for what it has not done itself; what it finds it knows by its layers'
//! digests alone, and brings the layers when something needs their files. What is selected of a result is known
//! by the digest of its content, which a cache has too: so nothing is brought to find out what follows.
//!
//! Whoever writes a cache says what he likes. That an operation came to something is believed by the builds of the
//! client that was told of the cache, and by nobody else; what is done here on top of it has a key that was worked
//! out of what was brought.

mod export;
mod import;
mod promise;

use std::collections::BTreeMap;
use std::sync::Arc;

use oci::Digest;
use parking_lot::Mutex;

use super::SolveError;
use super::event::WarningEvent;
use super::job::Job;
use super::value::Value;

pub(super) use export::INLINE_CACHE;
pub(super) use import::{Imports, of_options};
pub(crate) use promise::{IMPORTED, Promise, row_of};

/// So many keys without effect are told of, with so many bytes of each.
const TOLD_MAX: usize = 16;
const KEY_MAX: usize = 256;

/// A cache elsewhere, as clients say it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteCache {
    /// `registry`, `local`, `inline`.
    pub kind: String,
    /// How: `ref`, `src`, `dest`, `mode`, …
    pub attributes: BTreeMap<String, String>,
}

/// What operations of a job came to, by their keys, and what was looked at for that: what its caches are made of.
#[derive(Default)]
pub(crate) struct Noted {
    pub(crate) operations: Mutex<BTreeMap<Digest, NotedOperation>>,
    /// The digests of what is selected of results, by what each is remembered as.
    pub(crate) selections: Mutex<BTreeMap<Digest, Digest>>,
    /// What caches said, each of one operation.
    pub(crate) promises: Mutex<Vec<Arc<Promise>>>,
}

/// What an operation of a job came to.
#[derive(Clone)]
pub(crate) struct NotedOperation {
    pub(crate) outputs: Vec<Value>,
    /// What its definition says of whether it is to be exported.
    pub(crate) exported: Option<bool>,
    /// What it is remembered under here, if it is.
    pub(crate) row: Digest,
    /// What a cache says of it, if it was not known here.
    pub(crate) found: Option<Arc<Promise>>,
}

/// The beginning of a text, of so many bytes at most.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or_default()]
}

impl RemoteCache {
    /// What is said by an attribute, if it is there.
    fn is_on(&self, key: &str) -> Result<Option<bool>, SolveError> {
        let said = self.attributes.get(key).filter(|text| !text.is_empty());
        let invalid = |text| SolveError::Invalid(format!("failed to parse {key}: {text:?}"));
        said.map(|text| base::truth::parse(text).ok_or_else(|| invalid(text))).transpose()
    }

    /// What is said of it beside these.
    fn beside(&self, known: &[&str]) -> Vec<String> {
        let keys = self.attributes.keys().filter(|key| !known.contains(&key.as_str()));
        keys.take(TOLD_MAX).map(|key| cut(key, KEY_MAX).to_owned()).collect()
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

impl Noted {
    /// Remembers what was found elsewhere and is here by now, as something was brought.
    pub(crate) fn remember(&self, job: &Job) {
        let found: Vec<Arc<Promise>> =
            self.operations.lock().values().filter_map(|noted| noted.found.clone()).collect();
        found.iter().for_each(|promise| promise.remember(job));
    }
}

impl Noted {
    /// Lets go of everything, one after the other: what stands on something else holds that, and so on.
    pub(crate) fn let_go(&self) {
        let promises = std::mem::take(&mut *self.promises.lock());
        let inputs: Vec<Vec<Value>> = promises.iter().map(|promise| promise.let_go()).collect();
        drop(inputs);
    }
}

impl Job {
    /// Looks for what is done in this cache too, from now on.
    pub fn import_cache(&self, cache: RemoteCache) -> Result<(), SolveError> {
        let told = import::without_effect(&cache);
        if self.inner.imports.add(cache)? {
            self.warn_of("import", told);
        }
        Ok(())
    }

    /// Tells of what a client says of a cache that is written, and that means nothing here.
    pub fn warn_of_cache_export(&self, cache: &RemoteCache) {
        self.warn_of("export", export::without_effect(cache));
    }

    fn warn_of(&self, what: &str, keys: Vec<String>) {
        for key in keys {
            let short = format!("cache {what} option without effect: {key}: not known");
            self.warn(WarningEvent { level: 1, short, ..WarningEvent::default() });
        }
    }
}
