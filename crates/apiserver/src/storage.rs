//! Writing objects: from the store's point of view, and visible in memory before anyone is told.

use std::sync::Arc;

use model::{Object, Status};
use store::{Compare, KeyRange, Op, Put, Range, Txn};

use crate::cache::{Stored, encode};
use crate::error::{Error, Result};
use crate::resource::Resource;
use crate::state::{State, object_name};

/// Someone else wrote in between.
pub(crate) struct Raced;

/// Stores a new object.
pub(crate) async fn create(state: &State, resource: &Resource, object: &Object) -> Result<Arc<Stored>> {
    let written = write(state, resource, object, 0, false).await?;
    written.map_err(|Raced| Status::already_exists(&resource.group_resource(), object.name()).into())
}

/// Replaces the object that was written at `revision`.
pub(crate) async fn replace(
    state: &State,
    resource: &Resource,
    object: &Object,
    revision: u64,
) -> Result<Result<Arc<Stored>, Raced>> {
    write(state, resource, object, revision, resource.storage.ephemeral).await
}

/// Deletes the object that was written at `revision`; gives the revision of the deletion.
pub(crate) async fn delete(
    state: &State,
    resource: &Resource,
    stored: &Stored,
) -> Result<Result<u64, Raced>> {
    let key = format!("{}{}/{}", crate::cache::ROOT, resource.storage.partition, stored.name);
    let txn = Txn::new()
        .when(Compare::mod_revision(key.clone(), stored.revision))
        .then(Op::Delete(KeyRange::key(key.clone())))
        .otherwise(Op::Get(Range::new(KeyRange::key(key))));
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
    revision: u64,
    ephemeral: bool,
) -> Result<Result<Arc<Stored>, Raced>> {
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
    if ephemeral {
        put = put.ephemeral();
    }
    if let Some(lifetime) = resource.storage.lifetime {
        put = put.lease(state.lease(lifetime).await?);
    }
    let txn = Txn::new()
        .when(Compare::mod_revision(key.clone(), revision))
        .then(Op::Put(put))
        .otherwise(Op::Get(Range::new(KeyRange::key(key))));
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
