//! What an object takes that no other may have, in the transaction that it is stored in.
//!
//! A transaction has so many steps only. What an object takes has to fit ([`Allocation::at_once`]); what it
//! lets go of beyond that follows in transactions of its own, before the write is answered. What a crash
//! leaves of that is removed in time (`crate::allocation::tidy`).
//!
//! [`Allocation::at_once`]: crate::resource::Allocation::at_once

use model::Object;
use store::{Compare, KeyRange, OPERATION_LIMIT, Op, Put, Txn};

use super::all_visible;
use crate::allocation::{Claim, Holder};
use crate::resource::Resource;
use crate::state::{State, object_name};
use crate::version::{revision_of, version_at};

/// How often what is left is let go of anew after the object, or an entry, was changed in between.
const TRIES: usize = 4;

/// Waits until memory shows what the object held at `version`: its entries lie in other partitions than it
/// does. They change with the object only, so while it is at that version, which the transaction makes sure
/// of, what memory shows of them holds.
pub(super) async fn own_visible(state: &State, resource: &Resource, version: u64) {
    if resource.strategy.has_claims() {
        let _ = state.cache.wait_for(version).await;
    }
}

/// Adds to a transaction that the object takes what it needs and lets go of what it had; gives what it has
/// to let go of afterwards.
pub(super) fn exchange(
    state: &State,
    resource: &Resource,
    txn: &mut Txn,
    object: &Object,
    old: Option<&Object>,
) -> Vec<Claim> {
    if !resource.strategy.has_claims() {
        return Vec::new();
    }
    let needs = resource.strategy.claims(object);
    let had = old.map(|old| resource.strategy.claims(old)).unwrap_or_default();
    let holder = Holder::of(resource, object);
    for claim in needs.iter().filter(|claim| !had.contains(claim)) {
        // One that is its own already was left over, and is as good as taken as long as it is there.
        let entry = state.cache.find(&claim.key());
        if let Some(entry) = entry.filter(|entry| Holder::in_entry(&entry.object()) == holder) {
            txn.compare.push(Compare::mod_revision(claim.key(), revision_of(entry.revision())));
            continue;
        }
        let entry = claim.entry(state, resource, object, state.clock.now());
        txn.compare.extend(claim.condition(state));
        txn.compare.push(Compare::absent(claim.key()));
        txn.success.push(Op::Put(Put::new(claim.key(), entry)));
    }
    release(state, &holder, txn, had.into_iter().filter(|claim| !needs.contains(claim)))
}

/// Adds to a transaction that the object lets go of all that it has; gives what is too much.
pub(super) fn release_all(state: &State, resource: &Resource, txn: &mut Txn, object: &Object) -> Vec<Claim> {
    release(state, &Holder::of(resource, object), txn, resource.strategy.claims(object))
}

/// Adds to a transaction that things are nobody's any more, those that are this holder's; gives those for
/// which there is no room.
fn release(
    state: &State,
    holder: &Holder,
    txn: &mut Txn,
    claims: impl IntoIterator<Item = Claim>,
) -> Vec<Claim> {
    let mut own = claims.into_iter().filter(|claim| claim.holder(state).as_ref() == Some(holder));
    let room = OPERATION_LIMIT.saturating_sub(txn.success.len());
    txn.success.extend(own.by_ref().take(room).map(|claim| Op::Delete(KeyRange::key(claim.key()))));
    own.collect()
}

/// Lets go of what was too much for the transaction that `object` was stored or deleted in.
///
/// Whoever changes the object meanwhile, or makes one of its name, may take some of it: that stays, which
/// each transaction makes sure of.
pub(super) async fn release_later(state: &State, resource: &Resource, object: &Object, mut left: Vec<Claim>) {
    let namespace = object.namespace().unwrap_or_default();
    let (key, name) = (resource.key(namespace, object.name()), object_name(namespace, object.name()));
    let holder = Holder::of(resource, object);
    let mut tries = 0;
    while !left.is_empty() && tries < TRIES {
        let partition = state.cache.partition(&resource.storage.partition);
        let now = partition.get(&name);
        let needs = match now.clone() {
            None => Vec::new(),
            Some(now) => match partition.served_one(resource, now).await {
                Ok(now) => resource.strategy.claims(&now.object()),
                Err(error) => {
                    tracing::warn!(%error, object = %holder, left = left.len(), "what it held is let go of later");
                    return;
                }
            },
        };
        left.retain(|claim| !needs.contains(claim) && claim.holder(state).as_ref() == Some(&holder));
        let revision = now.map_or(0, |now| revision_of(now.revision()));
        let mut txn = Txn::new().when(Compare::mod_revision(key.clone(), revision));
        for claim in left.iter().take(OPERATION_LIMIT - 1) {
            let Some(entry) = state.cache.find(&claim.key()) else { continue };
            txn = txn
                .when(Compare::mod_revision(claim.key(), revision_of(entry.revision())))
                .then(Op::Delete(KeyRange::key(claim.key())));
        }
        if txn.success.is_empty() {
            continue;
        }
        match state.store.txn(txn).await {
            Ok(done) => {
                tries += usize::from(!done.succeeded);
                all_visible(state, version_at(done.revision)).await;
            }
            Err(error) => {
                let error = base::error::chain(&error);
                tracing::warn!(%error, object = %holder, left = left.len(), "what it held is let go of later");
                return;
            }
        }
    }
    if !left.is_empty() {
        tracing::warn!(object = %holder, left = left.len(), "what it held is let go of later");
    }
}
