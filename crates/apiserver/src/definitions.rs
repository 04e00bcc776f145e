//! Resources that objects define while the server runs.
//!
//! Which there are says whoever reads the objects ([`Definitions`]); their entries are in the same table as those
//! that are built in, and take the same path. Before each request that may be for one of them it is looked whether there
//! is news, so that no request is behind a write that this server has acknowledged: what is defined is served at once,
//! and what is stored is served before the server answers at all. What becomes of the objects (their conditions, the end of
//! what they define) is looked after beside the requests, by any server over the store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::Timestamp;
use base::backoff::Backoff;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use http::{Method, StatusCode};
use model::field::shortened;
use model::{Object, Status};
use parking_lot::Mutex;
use serde_json::json;

use crate::bootstrap::{self, call};
use crate::error::Result;
use crate::handle::Handle;
use crate::objects::Objects;
use crate::resource::{Resource, Table};
use crate::service::Entry;
use crate::state::State;

/// Makes whoever reads what objects define.
pub type DefinedBy = Arc<dyn Fn(Arc<dyn Objects>) -> Arc<dyn Definitions> + Send + Sync>;

/// Reads what objects define.
pub trait Definitions: Send + Sync {
    /// Another number after each change of an object that defines something. Costs next to nothing.
    fn version(&self) -> u64;

    /// What is to be served, and the version that it is of. An entry that means what it meant before is the same one.
    fn entries(&self) -> (Vec<Arc<Resource>>, u64);

    /// What is to be done to the objects, and to those of kinds that end.
    /// `built_in` says whether a resource is built in, by its group and plural name: such a one is nobody's to define.
    fn work(&self, built_in: &dyn Fn(&str, &str) -> bool, now: Timestamp) -> Work;

    /// What a definition is to be, where not all objects of its kind could be asked to go; and where it is written.
    fn not_emptied(&self, _definition: &str, _why: &str, _now: Timestamp) -> Option<(String, Object)> {
        None
    }

    /// Waits until there may be something to do that there was not when it was last asked.
    fn changed(&self) -> BoxFuture<'_, ()>;
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Work {
    /// Objects as they are to be, by the paths where each is written.
    pub amendments: Vec<(String, Object)>,
    /// Resources of which all objects are to go.
    pub emptied: Vec<Emptied>,
}

/// A resource of which all objects are to go.
#[derive(Clone, Debug)]
pub struct Emptied {
    /// The name of the object that defines it.
    pub definition: String,
    /// Its entry for the version that is stored, whether that is served or not: so nobody has to be asked what
    /// objects are in another version.
    pub entry: Arc<Resource>,
}

/// Reads nothing: no kind is defined.
pub fn none() -> DefinedBy {
    Arc::new(|_| Arc::new(NoDefinitions))
}

/// Nothing is defined.
#[derive(Debug)]
pub(crate) struct NoDefinitions;

impl Definitions for NoDefinitions {
    fn version(&self) -> u64 {
        0
    }

    fn entries(&self) -> (Vec<Arc<Resource>>, u64) {
        (Vec::new(), 0)
    }

    fn work(&self, _: &dyn Fn(&str, &str) -> bool, _: Timestamp) -> Work {
        Work::default()
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// What objects define, as far as the table has it.
pub(crate) struct Defined {
    source: Arc<dyn Definitions>,
    /// The version that the table has.
    seen: AtomicU64,
    one_at_a_time: Mutex<()>,
}

/// So many objects of a kind that ends are deleted at once.
const TOGETHER: usize = 32;
/// How soon what failed is tried again.
const SOON: Duration = Duration::from_millis(200);
const RARELY: Duration = Duration::from_secs(10);

impl Defined {
    pub(crate) fn new(source: Arc<dyn Definitions>) -> Self {
        Self { source, seen: AtomicU64::new(u64::MAX), one_at_a_time: Mutex::new(()) }
    }

    /// Brings the table up to what memory shows.
    pub(crate) fn catch_up(&self, table: &Table) {
        if self.seen.load(Ordering::Acquire) == self.source.version() {
            return;
        }
        offload::in_place(|| {
            let _one = self.one_at_a_time.lock();
            if self.seen.load(Ordering::Acquire) == self.source.version() {
                return;
            }
            let (entries, version) = self.source.entries();
            table.define(entries);
            self.seen.store(version, Ordering::Release);
        });
    }
}

/// Brings the table up to what all servers over the store have been told.
pub(crate) async fn catch_up_with_others(state: &State) -> Result<()> {
    crate::consistency::catch_up_with_store(state).await?;
    state.defined.catch_up(&state.table);
    Ok(())
}

/// Does what is to be done, for as long as the server runs. A panic may have left something undone: it is looked at
/// anew.
pub(crate) async fn look_after(state: &Arc<State>) {
    let handle = Handle::new(state.clone());
    let mut backoff = Backoff::new(SOON, RARELY);
    let mut asked = Asked::default();
    loop {
        let step = async {
            state.defined.catch_up(&state.table);
            do_once(state, &handle, &mut asked).await
        };
        let is_done = base::panics::catch_async(step).await.unwrap_or_else(|panic| {
            tracing::error!(%panic, "looking after definitions panicked; beginning anew");
            false
        });
        if is_done {
            backoff.reset();
            state.defined.source.changed().await;
        } else {
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}

/// Does what is to be done now; whether all of it could be.
async fn do_once(state: &Arc<State>, handle: &Handle, asked: &mut Asked) -> bool {
    let built_in = |group: &str, plural: &str| state.table.is_built_in(group, plural);
    let source = &state.defined.source;
    let Work { amendments, emptied } = offload::in_place(|| source.work(&built_in, state.clock.now()));
    let mut is_done = true;
    for (path, object) in amendments {
        is_done &= amend(handle, &path, &object).await;
    }
    asked.0.retain(|definition, _| emptied.iter().any(|resource| resource.definition == *definition));
    for resource in emptied {
        let known = asked.0.entry(resource.definition.clone()).or_default();
        if let Err(why) = empty(state, handle, &resource, known).await {
            is_done = false;
            if let Some((path, object)) = source.not_emptied(&resource.definition, &why, state.clock.now()) {
                amend(handle, &path, &object).await;
            }
        }
    }
    is_done
}

/// Writes what is to become of a definition; whether that is done, by this server or another.
async fn amend(handle: &Handle, path: &str, object: &Object) -> bool {
    let (code, answer) = call(handle, Method::PUT, path, object.value()).await;
    // Where somebody was faster, that is news.
    let is_done = code.is_success() || matches!(code, StatusCode::CONFLICT | StatusCode::NOT_FOUND);
    if !is_done {
        tracing::warn!(path, answer, "a definition is not told what has become of it");
    }
    is_done
}

/// The objects that have been asked to go, by the names of definitions: what each was called, and its version then.
#[derive(Default)]
struct Asked(HashMap<String, HashMap<String, u64>>);

/// Asks all objects of a resource to go that have not been asked yet; `asked` are those that need not be looked at.
/// Says why where some could not be.
async fn empty(
    state: &Arc<State>,
    handle: &Handle,
    resource: &Emptied,
    asked: &mut HashMap<String, u64>,
) -> Result<(), String> {
    let entry = &resource.entry;
    // What is built in goes with no definition.
    if state.table.is_built_in(&entry.group, &entry.plural) {
        return Ok(());
    }
    let partition = state.cache.partition(&entry.storage.partition);
    let (all, _) = partition.snapshot(state.cache.revision(), "");
    // Each object is read once, beside the threads that answer everybody.
    let left: Vec<(String, String)> = offload::in_place(|| {
        let names: HashSet<&str> = all.iter().map(|stored| &*stored.name).collect();
        asked.retain(|name, _| names.contains(&**name));
        let mut left = Vec::new();
        for stored in all.iter() {
            if asked.get(&*stored.name) == Some(&stored.revision()) {
                continue;
            }
            let object = stored.object();
            if object.is_being_deleted() {
                asked.insert(stored.name.to_string(), stored.revision());
            } else {
                left.push((stored.name.to_string(), object.uid().to_owned()));
            }
        }
        left
    });
    let each = left.into_iter().map(async |(name, uid)| {
        let path = path(entry, &name);
        let (code, answer) = delete(handle, &path, &uid, entry).await;
        let is_gone = match code {
            StatusCode::NOT_FOUND => names_object(&answer),
            // One of another uid was made by who defined the kind anew.
            StatusCode::CONFLICT => partition.get(&name).is_none_or(|stored| stored.object().uid() != uid),
            _ => false,
        };
        let is_done = code.is_success() || is_gone;
        if !is_done {
            tracing::warn!(path, answer, "an object is not deleted though its kind ends");
        }
        if is_done { None } else { Some(answer) }
    });
    let outcomes: Vec<Option<String>> =
        futures::stream::iter(each).buffer_unordered(TOGETHER).collect().await;
    match outcomes.into_iter().flatten().next() {
        Some(answer) => {
            let status: Option<Status> = serde_json::from_str(&answer).ok();
            Err(shortened(status.map_or(answer, |status| status.message)))
        }
        None => Ok(()),
    }
}

/// Whether an answer is about an object. That its resource is not there says nothing of it.
fn names_object(answer: &str) -> bool {
    let status: Option<Status> = serde_json::from_str(answer).ok();
    status.and_then(|status| status.details).is_some_and(|details| !details.name.is_empty())
}

fn path(entry: &Resource, name: &str) -> String {
    let Resource { group, version, plural, .. } = entry;
    match name.split_once('/') {
        Some((namespace, name)) => format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}/{name}"),
        None => format!("/apis/{group}/{version}/{plural}/{name}"),
    }
}

/// Deletes the object of a uid by an entry, whatever is served by its path.
async fn delete(handle: &Handle, path: &str, uid: &str, entry: &Arc<Resource>) -> (StatusCode, String) {
    let mut options = json!({"propagationPolicy": "Background"});
    if !uid.is_empty() {
        options["preconditions"] = json!({"uid": uid});
    }
    let mut request = bootstrap::request(&Method::DELETE, path, "application/json", &options);
    request.extensions_mut().insert(Entry(entry.clone()));
    bootstrap::answer(handle, request).await
}
