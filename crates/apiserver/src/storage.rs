//! Writing objects: from the store's point of view, and visible in memory before anyone is told.
//!
//! What an object takes that no other may have ([`Claim`](crate::Claim)) is written and removed in the same transaction:
//! as long as an object is what it is, so is what it holds. What is too much for that is let go of afterwards.

mod claims;

use std::borrow::Cow;
use std::sync::Arc;

use model::{Encoded, Object, Status};
use store::{Compare, KeyRange, Op, Put, Range, Txn};

use crate::admission::Along;
use crate::cache::Stored;
use crate::error::{Error, Result};
use crate::passing;
use crate::request::NAMESPACES;
use crate::resource::{Resource, partition};
use crate::state::{State, object_name};
use crate::version::{revision_of, version_at};

/// Someone else wrote in between: the object, or something that it was to take. Memory shows it.
pub(crate) struct Raced;

/// How often an object is stored anew in a namespace that others change.
const NAMESPACE_TRIES: usize = 64;

/// How a new form of an object is kept.
#[derive(Clone, Copy)]
enum Keep {
    /// On disk before it is acknowledged.
    Durably,
    /// As [`Keep::Durably`], on a full disk too: a step on the way to a deletion makes space.
    Urgently,
}

/// Stores a new object, if it is new and `namespace`, which is to hold it, is still there to stay. Raced
/// means that it is not, or that what the object was to take is gone.
pub(crate) async fn create(
    state: &State,
    resource: &Resource,
    object: &Object,
    mut namespace: Option<Arc<Stored>>,
    along: &[Along],
) -> Result<Result<Arc<Stored>, Raced>> {
    for _ in 0..NAMESPACE_TRIES {
        // Whoever ends a namespace changes it first, and looks for what is in it then.
        let within = namespace.as_ref().map(|namespace| {
            let key = crate::cache::key(&partition("", NAMESPACES), "", &namespace.name);
            Compare::mod_revision(key, revision_of(namespace.revision()))
        });
        let conditions = Conditions { within, along };
        let written = write(state, resource, object, None, 0, Keep::Durably, conditions).await?;
        if written.is_ok() {
            return Ok(written);
        }
        let key = object_name(object.namespace().unwrap_or_default(), object.name());
        let partition = state.cache.partition(&resource.storage.partition);
        if partition.get(&key).is_some() || partition.is_unreadable(&key) {
            return Err(Status::already_exists(&resource.group_resource(), object.name()).into());
        }
        match namespace.as_deref().and_then(|before| changed_only(state, before)) {
            Some(now) => namespace = Some(now),
            None => break,
        }
    }
    Ok(Err(Raced))
}

/// The namespace that was `before`, if it has changed since and is still the same, there to stay.
fn changed_only(state: &State, before: &Stored) -> Option<Arc<Stored>> {
    let now = state.cache.partition(&partition("", NAMESPACES)).get(&before.name)?;
    let (is, was) = (now.object(), before.object());
    (now.revision() != before.revision() && is.uid() == was.uid() && !is.is_being_deleted()).then_some(now)
}

/// Replaces the object `old` that memory shows at `version`.
pub(crate) async fn replace(
    state: &State,
    resource: &Resource,
    object: &Object,
    old: &Object,
    version: u64,
    along: &[Along],
) -> Result<Result<Arc<Stored>, Raced>> {
    if resource.storage.is_passing.is_some_and(|is_passing| is_passing(old, object))
        && let Some(stored) = passing::keep(state, resource, object, version)
    {
        return Ok(Ok(stored));
    }
    let keep = if object.is_being_deleted() { Keep::Urgently } else { Keep::Durably };
    write(state, resource, object, Some(old), version, keep, Conditions { within: None, along }).await
}

/// Deletes the object that memory shows as `stored`; gives the version of the deletion.
pub(crate) async fn delete(
    state: &State,
    resource: &Resource,
    stored: &Stored,
    old: &Object,
    along: &[Along],
) -> Result<Result<u64, Raced>> {
    let key = format!("{}{}/{}", crate::cache::ROOT, resource.storage.partition, stored.name);
    let writing = match passing::write(state, resource, &key, &stored.name, stored.revision()) {
        Ok(writing) => writing,
        Err(Raced) => return Ok(Err(Raced)),
    };
    let mut txn = Txn::new()
        .when(Compare::mod_revision(key.clone(), writing.revision))
        .then(Op::Delete(KeyRange::key(key.clone())))
        .otherwise(Op::Get(Range::new(KeyRange::key(key.clone()))));
    claims::own_visible(state, resource, stored.revision()).await;
    take_along(&mut txn, along);
    let left = claims::release_all(state, resource, &mut txn, old);
    let done = state.store.txn(txn).await.map_err(|e| Error::store(&e))?;
    if !done.succeeded {
        catch_up(state, resource, along, &done).await;
        return Ok(Err(Raced));
    }
    wait_until_visible(state, resource, along, version_at(done.revision)).await;
    writing.done();
    claims::release_later(state, resource, old, left).await;
    Ok(Ok(version_at(done.revision)))
}

async fn write(
    state: &State,
    resource: &Resource,
    object: &Object,
    old: Option<&Object>,
    version: u64,
    keep: Keep,
    conditions: Conditions<'_>,
) -> Result<Result<Arc<Stored>, Raced>> {
    let given = object;
    let object = &*to_stored(resource, object).await?;
    let namespace = object.namespace().unwrap_or_default();
    let key = resource.key(namespace, object.name());
    let value = Encoded::encode(object);
    let mut put = Put::new(key.clone(), value.clone());
    match keep {
        Keep::Durably => {}
        Keep::Urgently => put = put.urgent(),
    }
    if let Some(lifetime) = resource.storage.lifetime {
        put = put.lease(state.lease(lifetime).await?);
    }
    let name = object_name(namespace, object.name());
    let writing = match passing::write(state, resource, &key, &name, version) {
        Ok(writing) => writing,
        Err(Raced) => return Ok(Err(Raced)),
    };
    let mut txn = Txn::new()
        .when(Compare::mod_revision(key.clone(), writing.revision))
        .then(Op::Put(put))
        .otherwise(Op::Get(Range::new(KeyRange::key(key.clone()))));
    let Conditions { within, along } = conditions;
    if let Some(within) = within {
        txn = txn.when(within);
    }
    if let Some(definition) = &resource.definition {
        definition.require(&mut txn);
    }
    take_along(&mut txn, along);
    claims::own_visible(state, resource, version).await;
    let left = claims::exchange(state, resource, &mut txn, given, old);
    let done = state.store.txn(txn).await.map_err(|e| Error::store(&e))?;
    if !done.succeeded {
        resource.check_definition(state, &done).await?;
        catch_up(state, resource, along, &done).await;
        return Ok(Err(Raced));
    }
    let version = version_at(done.revision);
    wait_until_visible(state, resource, along, version).await;
    writing.done();
    claims::release_later(state, resource, given, left).await;
    let partition = state.cache.partition(&resource.storage.partition);
    let stored = partition.get(&name);
    // Somebody may have written again already; the answer shows what this request wrote.
    let stored = stored.filter(|stored| stored.revision() == version);
    Ok(Ok(stored.unwrap_or_else(|| Arc::new(partition.stored(name, value, version)))))
}

/// The object as it is stored.
async fn to_stored<'o>(resource: &Resource, object: &'o Object) -> Result<Cow<'o, Object>> {
    match &resource.storage.served {
        Some(served) if !served.is_stored() => Ok(Cow::Owned(served.to_stored(object.clone()).await?)),
        _ => Ok(Cow::Borrowed(object)),
    }
}

/// Whether `stored` is what `object`, which says the same, would be stored as today.
pub(crate) async fn is_as_today(resource: &Resource, object: &Object, stored: &Stored) -> Result<bool> {
    let Some(served) = &resource.storage.served else { return Ok(true) };
    if !served.is_of_stored(stored) {
        return Ok(false);
    }
    if !served.is_before(stored.revision()) {
        return Ok(true);
    }
    Ok(Encoded::encode(&*to_stored(resource, object).await?) == *stored.encoded().text())
}

/// What has to be so for an object to be stored, and changes with it.
struct Conditions<'a> {
    /// The namespace that is to hold it is what it was.
    within: Option<Compare>,
    along: &'a [Along],
}

/// Adds to a transaction what changes along, on condition that it is what it was.
fn take_along(txn: &mut Txn, along: &[Along]) {
    for Along { resource, old, new } in along {
        let partition = partition(&resource.group, &resource.resource);
        let key = crate::cache::key(&partition, new.namespace().unwrap_or_default(), new.name());
        let revision = old.revision().map_or(0, revision_of);
        txn.compare.push(Compare::mod_revision(key.clone(), revision));
        txn.success.push(Op::Put(Put::new(key, Encoded::encode(new))));
    }
}

/// Waits until memory shows what has `version`, and what changed along; not when it no longer follows the store.
async fn wait_until_visible(state: &State, resource: &Resource, along: &[Along], version: u64) {
    partition_visible(state, &resource.storage.partition, version).await;
    for Along { resource, .. } in along {
        partition_visible(state, &partition(&resource.group, &resource.resource), version).await;
    }
}

async fn partition_visible(state: &State, partition: &str, version: u64) {
    let partition = state.cache.partition(partition);
    tokio::select! {
        () = partition.wait_for(version) => {}
        () = state.closed.cancelled() => {}
    }
}

/// Waits a little until memory shows all up to `version`, which may be none of its own.
async fn all_visible(state: &State, version: u64) {
    if state.cache.revision() < version {
        state.cache.ask_for_progress();
        let _ = state.cache.wait_for(version).await;
    }
}

/// After a lost race, memory must show what the store has before anyone tries again.
async fn catch_up(state: &State, resource: &Resource, along: &[Along], lost: &store::TxnResult) {
    if resource.strategy.has_claims() || !along.is_empty() {
        // It may have been lost over something that another object took, or changed.
        all_visible(state, version_at(lost.revision)).await;
        return;
    }
    // What is looked at first is the object.
    let current = lost.results.first().and_then(|result| match result {
        store::OpResult::Range(range) => range.items.first(),
        _ => None,
    });
    match current {
        Some(kv) => wait_until_visible(state, resource, &[], version_at(kv.mod_revision)).await,
        // It was deleted, nobody says when exactly.
        None => all_visible(state, version_at(lost.revision)).await,
    }
}
