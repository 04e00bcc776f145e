//! A store that keeps some values in a form which only those can read who have the key.
//!
//! [`Sealed`] stands in front of any other store: what passes through it to be kept is sealed, what comes
//! back, be it read, told by a watch or as the value before, is opened. What is to be kept so, and how, a
//! [`Seal`] says. What was kept before in another way is read as well, and [`Sealed::renew`] brings it into
//! today's form, so that nothing is left on disk of how it was.
//!
//! Where others write into the same store there may be values that cannot be read here: their key is another's. Whoever
//! asks for one of them alone is told so. One among many fails none of the others: it has an empty value, in reads of
//! more than one key as in watches and in what a transaction came to, and the log says why.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};

use crate::{
    Compare, Error, Event, EventKind, KeyRange, KeyValue, LeaseId, Op, OpResult, Put, Range, RangeResult,
    Revision, Status, Store, StoreExt, Txn, TxnResult, Watch, Watcher,
};

/// The form that all values are kept in: where it is another than today's, there may be some on disk in that.
const FORM: &str = "sealed/form";
/// How many values are written anew at once.
const AT_ONCE: usize = 64;

/// How values are kept so that others cannot read them.
pub trait Seal: std::fmt::Debug + Send + Sync + 'static {
    /// The keys whose values it is for.
    fn keys(&self) -> Vec<KeyRange>;

    /// Names the form that values are written in today, and which values those are.
    fn form(&self) -> Bytes;

    /// Whether it is for the value of this key.
    fn covers(&self, key: &[u8]) -> bool;

    /// The value as it is kept.
    fn seal(&self, key: &[u8], value: &[u8]) -> Bytes;

    /// The value that is kept as `kept`.
    fn open(&self, key: &[u8], kept: &Bytes) -> Result<Opened, SealError>;
}

/// A value that was kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The value.
    pub value: Bytes,
    /// Whether it would be kept in the same form today.
    pub is_current: bool,
}

/// Why a value that is kept cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct SealError(pub String);

/// A store in front of another, in which some values are sealed.
pub struct Sealed {
    inner: Arc<dyn Store>,
    seal: Arc<dyn Seal>,
}

impl Sealed {
    /// Seals what passes through to `inner`.
    pub fn new(inner: Arc<dyn Store>, seal: Arc<dyn Seal>) -> Self {
        Self { inner, seal }
    }

    /// Brings what is kept into today's form, and sees to it that nothing is left on disk of how values were kept
    /// in any other, be it of what has been deleted since; gives how many values there were. A crash in between is
    /// made up for by the next call. What would be too large in today's form stays as it is.
    pub async fn renew(&self) -> Result<usize, Error> {
        let form = self.seal.form();
        let known = self.inner.get(FORM).await?.is_some_and(|known| known.value == form);
        let mut stale = Vec::new();
        for keys in self.seal.keys() {
            for kv in self.inner.range(Range::new(keys)).await?.items {
                let opened = self.opened(&kv)?;
                if !opened.is_current {
                    stale.push((kv, opened.value));
                }
            }
        }
        let renewed = stale.len();
        let writes = stale.into_iter().map(|(kv, value)| self.renew_one(kv, value));
        futures::stream::iter(writes).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        if renewed > 0 || !known {
            self.inner.purge().await?;
            self.inner.put(FORM, form).await?;
        }
        Ok(renewed)
    }

    async fn renew_one(&self, kv: Arc<KeyValue>, value: Bytes) -> Result<(), Error> {
        let mut put = Put::new(kv.key.clone(), self.seal.seal(&kv.key, &value));
        put.lease = kv.lease;
        // Whoever was faster has written it in today's form.
        let unchanged = Compare::mod_revision(kv.key.clone(), kv.mod_revision);
        match self.inner.txn(Txn::new().when(unchanged).then(Op::Put(put))).await {
            Err(error @ Error::TooLarge { .. }) => {
                tracing::warn!(key = kv.key_str(), %error, "a value stays in the form that it is kept in");
                Ok(())
            }
            done => done.map(drop),
        }
    }

    fn opened(&self, kv: &KeyValue) -> Result<Opened, Error> {
        let fail = |source| Error::Sealed { key: kv.key_str().to_owned(), source };
        self.seal.open(&kv.key, &kv.value).map_err(fail)
    }

    fn open(&self, kv: &mut Arc<KeyValue>) -> Result<(), Error> {
        if self.seal.covers(&kv.key) {
            let value = self.opened(kv)?.value;
            *kv = Arc::new(KeyValue { value, ..KeyValue::clone(kv) });
        }
        Ok(())
    }

    /// What a transaction came to: it is done, so that nothing of it is an error any more.
    fn open_result(&self, result: &mut OpResult) {
        let open = |kv: &mut Arc<KeyValue>| open_if_possible(&*self.seal, kv);
        match result {
            OpResult::Put { kv, previous } => {
                open(kv);
                previous.iter_mut().for_each(open);
            }
            OpResult::Deleted(all) => all.iter_mut().for_each(open),
            OpResult::Range(range) => range.items.iter_mut().for_each(open),
        }
    }
}

/// Opens what a watch tells.
pub(crate) fn open_event(seal: &dyn Seal, mut event: Event) -> Event {
    if event.kind == EventKind::Put {
        open_if_possible(seal, &mut event.kv);
    }
    event.previous.iter_mut().for_each(|previous| open_if_possible(seal, previous));
    event
}

/// Opens a value; leaves it empty where it cannot be read, and nobody is there who could be told, or others were held
/// up.
fn open_if_possible(seal: &dyn Seal, kv: &mut Arc<KeyValue>) {
    if !seal.covers(&kv.key) {
        return;
    }
    let value = match seal.open(&kv.key, &kv.value) {
        Ok(Opened { value, .. }) => value,
        Err(error) => {
            tracing::error!(key = kv.key_str(), %error, "a value in the store cannot be read");
            Bytes::new()
        }
    };
    *kv = Arc::new(KeyValue { value, ..KeyValue::clone(kv) });
}

impl Store for Sealed {
    fn range(&self, request: Range) -> BoxFuture<'_, Result<RangeResult, Error>> {
        async move {
            let is_one = request.keys.single().is_some();
            let mut found = self.inner.range(request).await?;
            if is_one {
                found.items.iter_mut().try_for_each(|kv| self.open(kv))?;
            } else {
                found.items.iter_mut().for_each(|kv| open_if_possible(&*self.seal, kv));
            }
            Ok(found)
        }
        .boxed()
    }

    fn txn(&self, mut txn: Txn) -> BoxFuture<'_, Result<TxnResult, Error>> {
        for op in txn.success.iter_mut().chain(&mut txn.failure) {
            if let Op::Put(put) = op
                && self.seal.covers(&put.key)
            {
                put.value = self.seal.seal(&put.key, &put.value);
            }
        }
        async move {
            let mut done = self.inner.txn(txn).await?;
            done.results.iter_mut().for_each(|result| self.open_result(result));
            Ok(done)
        }
        .boxed()
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, Error>> {
        self.inner.revision()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn watch(&self, request: Watch) -> BoxFuture<'_, Result<Watcher, Error>> {
        async move { Ok(self.inner.watch(request).await?.opening(self.seal.clone())) }.boxed()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.compact(revision)
    }

    fn purge(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.purge()
    }

    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        self.inner.lease_grant(ttl)
    }

    fn lease_renew(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.lease_renew(lease)
    }

    fn lease_revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.lease_revoke(lease)
    }

    fn status(&self) -> BoxFuture<'_, Result<Status, Error>> {
        self.inner.status()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
