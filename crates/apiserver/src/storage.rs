//! Writing objects: from the store's point of view, and visible in memory before anyone is told.
//!
//! What an object takes that no other may have ([`Claim`]) is written and removed in the same transaction:
//! as long as an object is what it is, so is what it holds.

use std::sync::Arc;

use model::{Object, Status};
use store::{Compare, KeyRange, Op, Put, Range, Txn};

use crate::allocation::{Claim, Holder};
use crate::cache::{Stored, encode};
use crate::error::{Error, Result};
use crate::resource::Resource;
use crate::state::{State, object_name};

/// Someone else wrote in between: the object, or something that it was to take. Memory shows it.
pub(crate) struct Raced;

/// How a new form of an object is kept.
#[derive(Clone, Copy)]
enum Keep {
    /// On disk before it is acknowledged.
    Durably,
    /// As [`Keep::Durably`], on a full disk too: a step on the way to a deletion makes space.
    Urgently,
    /// Until the next restart.
    InMemory,
}

/// Stores a new object. Raced means that what it was to take is gone.
pub(crate) async fn create(
    state: &State,
    resource: &Resource,
    object: &Object,
) -> Result<Result<Arc<Stored>, Raced>> {
    let written = write(state, resource, object, None, 0, Keep::Durably).await?;
    if written.is_err() {
        let key = object_name(object.namespace().unwrap_or_default(), object.name());
        if state.cache.partition(&resource.storage.partition).get(&key).is_some() {
            return Err(Status::already_exists(&resource.group_resource(), object.name()).into());
        }
    }
    Ok(written)
}

/// Replaces the object `old` that was written at `revision`.
pub(crate) async fn replace(
    state: &State,
    resource: &Resource,
    object: &Object,
    old: &Object,
    revision: u64,
) -> Result<Result<Arc<Stored>, Raced>> {
    let keep = if (resource.storage.is_passing)(old, object) {
        Keep::InMemory
    } else if object.is_being_deleted() {
        Keep::Urgently
    } else {
        Keep::Durably
    };
    write(state, resource, object, Some(old), revision, keep).await
}

/// Deletes the object that was written at `revision`; gives the revision of the deletion.
pub(crate) async fn delete(
    state: &State,
    resource: &Resource,
    stored: &Stored,
    old: &Object,
) -> Result<Result<u64, Raced>> {
    let key = format!("{}{}/{}", crate::cache::ROOT, resource.storage.partition, stored.name);
    let mut txn = Txn::new()
        .when(Compare::mod_revision(key.clone(), stored.revision))
        .then(Op::Delete(KeyRange::key(key.clone())))
        .otherwise(Op::Get(Range::new(KeyRange::key(key))));
    own_claims_visible(state, resource, stored.revision).await;
    for claim in resource.strategy.claims(old) {
        txn = release(state, resource, txn, claim, old);
    }
    let done = state.store.txn(txn).await.map_err(|e| Error::store(&e))?;
    if !done.succeeded {
        catch_up(state, resource, &done).await;
        return Ok(Err(Raced));
    }
    wait_until_visible(state, resource, done.revision).await;
    Ok(Ok(done.revision))
}

async fn write(
    state: &State,
    resource: &Resource,
    object: &Object,
    old: Option<&Object>,
    revision: u64,
    keep: Keep,
) -> Result<Result<Arc<Stored>, Raced>> {
    let given = object;
    let mut converted;
    let mut object = object;
    if let Some(conversion) = resource.storage.conversion {
        converted = object.clone();
        (conversion.to_stored)(&mut converted);
        object = &converted;
    }
    let namespace = object.namespace().unwrap_or_default();
    let key = resource.key(namespace, object.name());
    let value = encode(object);
    let mut put = Put::new(key.clone(), value.clone());
    match keep {
        Keep::Durably => {}
        Keep::Urgently => put = put.urgent(),
        Keep::InMemory => put = put.ephemeral(),
    }
    if let Some(lifetime) = resource.storage.lifetime {
        put = put.lease(state.lease(lifetime).await?);
    }
    let mut txn = Txn::new()
        .when(Compare::mod_revision(key.clone(), revision))
        .then(Op::Put(put))
        .otherwise(Op::Get(Range::new(KeyRange::key(key))));
    own_claims_visible(state, resource, revision).await;
    if resource.strategy.has_claims() {
        txn = exchange(state, resource, txn, given, old);
    }
    let done = state.store.txn(txn).await.map_err(|e| Error::store(&e))?;
    if !done.succeeded {
        catch_up(state, resource, &done).await;
        return Ok(Err(Raced));
    }
    wait_until_visible(state, resource, done.revision).await;
    let name = object_name(namespace, object.name());
    let stored =
        state.cache.partition(&resource.storage.partition).get(&name).filter(|s| s.revision == done.revision);
    // Somebody may have written again already; the answer shows what this request wrote.
    Ok(Ok(stored.unwrap_or_else(|| Arc::new(Stored::new(name.into(), done.revision, &value)))))
}

/// Waits until memory shows what the object held when it was written at `revision`: its entries lie in
/// other partitions than it does. They change with the object only, so while it is at that revision, which
/// the transaction makes sure of, what memory shows of them holds.
async fn own_claims_visible(state: &State, resource: &Resource, revision: u64) {
    if resource.strategy.has_claims() {
        let _ = state.cache.wait_for(revision).await;
    }
}

/// Adds to a transaction that the object takes what it needs and lets go of what it had.
fn exchange(state: &State, resource: &Resource, mut txn: Txn, object: &Object, old: Option<&Object>) -> Txn {
    let needs = resource.strategy.claims(object);
    let had = old.map(|old| resource.strategy.claims(old)).unwrap_or_default();
    for claim in needs.iter().filter(|claim| !had.contains(claim)) {
        // One that is its own already was left over, and is as good as taken.
        if claim.holder(state).is_some_and(|holder| holder == Holder::of(resource, object)) {
            continue;
        }
        let entry = claim.entry(state, resource, object, state.clock.now());
        txn = txn.when(Compare::absent(claim.key())).then(Op::Put(Put::new(claim.key(), entry)));
    }
    for claim in had.into_iter().filter(|claim| !needs.contains(claim)) {
        txn = release(state, resource, txn, claim, object);
    }
    txn
}

/// Adds to a transaction that something is nobody's any more, if it is this object's.
fn release(state: &State, resource: &Resource, txn: Txn, claim: Claim, object: &Object) -> Txn {
    match claim.holder(state) {
        Some(holder) if holder == Holder::of(resource, object) => {
            txn.then(Op::Delete(KeyRange::key(claim.key())))
        }
        _ => txn,
    }
}

/// Waits until memory shows what happened at `revision`; not when it no longer follows the store.
async fn wait_until_visible(state: &State, resource: &Resource, revision: u64) {
    let partition = state.cache.partition(&resource.storage.partition);
    tokio::select! {
        () = partition.wait_for(revision) => {}
        () = state.closed.cancelled() => {}
    }
}

/// After a lost race, memory must show what the store has before anyone tries again.
async fn catch_up(state: &State, resource: &Resource, lost: &store::TxnResult) {
    if resource.strategy.has_claims() {
        // It may have been lost over something that another object took.
        let _ = state.cache.wait_for(lost.revision).await;
        return;
    }
    let current = lost.results.iter().find_map(|result| match result {
        store::OpResult::Range(range) => range.items.first(),
        _ => None,
    });
    match current {
        Some(kv) => wait_until_visible(state, resource, kv.mod_revision).await,
        // It was deleted, nobody says when exactly.
        None => drop(state.cache.wait_for(lost.revision).await),
    }
}
