//! The short forms that callers use most, for every store.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Compare, Conflict, Error, Expect, KeyRange, KeyValue, Op, OpResult, Put, Range, Revision, Store, Txn,
    TxnResult,
};

/// Short forms of [`Store`]'s operations, `dyn Store` included.
pub trait StoreExt: Store {
    /// The current value of one key.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Arc<KeyValue>>, Error>> + Send {
        let read = self.range(Range::new(KeyRange::key(key)));
        async move { Ok(read.await?.items.pop()) }
    }

    /// Sets a key whatever it was; returns the new revision.
    fn put(
        &self,
        key: &str,
        value: impl Into<Bytes>,
    ) -> impl Future<Output = Result<Revision, Error>> + Send {
        let write = self.txn(Txn::new().then(Op::Put(Put::new(key.to_owned(), value))));
        async move { Ok(write.await?.revision) }
    }

    /// Sets a key if it is as expected; gives the new revision, or what was there instead.
    fn put_if(
        &self,
        key: &str,
        value: impl Into<Bytes>,
        expect: Expect,
    ) -> impl Future<Output = Result<Result<Revision, Conflict>, Error>> + Send {
        let write = self.txn(conditional(key, Op::Put(Put::new(key.to_owned(), value)), expect));
        async move { Ok(outcome(write.await?)) }
    }

    /// Deletes a key whatever it was; `None` if it was not there.
    fn delete(&self, key: &str) -> impl Future<Output = Result<Option<Revision>, Error>> + Send {
        let write = self.txn(Txn::new().then(Op::Delete(KeyRange::key(key))));
        async move {
            let result = write.await?;
            let deleted = result
                .results
                .iter()
                .any(|result| matches!(result, OpResult::Deleted(old) if !old.is_empty()));
            Ok(deleted.then_some(result.revision))
        }
    }

    /// Deletes a key if it is as expected; gives the revision, or what was there instead.
    fn delete_if(
        &self,
        key: &str,
        expect: Expect,
    ) -> impl Future<Output = Result<Result<Revision, Conflict>, Error>> + Send {
        let write = self.txn(conditional(key, Op::Delete(KeyRange::key(key)), expect));
        async move { Ok(outcome(write.await?)) }
    }
}

impl<S: Store + ?Sized> StoreExt for S {}

fn conditional(key: &str, op: Op, expect: Expect) -> Txn {
    let revision = match expect {
        Expect::Absent => 0,
        Expect::Revision(revision) => revision,
    };
    Txn::new()
        .when(Compare::mod_revision(key.to_owned(), revision))
        .then(op)
        .otherwise(Op::Get(Range::new(KeyRange::key(key))))
}

fn outcome(result: TxnResult) -> Result<Revision, Conflict> {
    if result.succeeded {
        return Ok(result.revision);
    }
    let current = result.results.into_iter().find_map(|result| match result {
        OpResult::Range(mut range) => range.items.pop(),
        _ => None,
    });
    Err(Conflict { current, revision: result.revision })
}
