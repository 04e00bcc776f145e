//! Leases, as far as no clock is needed.

use std::time::Duration;

use store::{Error, KeyRange, LeaseId, Op, Put, Range, StoreExt, Txn};

use super::{Subject, list};

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) async fn revoking_a_lease_deletes_its_keys(store: Subject) {
    let lease = store.lease_grant(HOUR).await.expect("grant");
    let put = |key: &'static str| Op::Put(Put::new(key, "1").lease(lease));
    store.txn(Txn::new().then(put("a")).then(put("b"))).await.expect("txn");
    let last = store.put("c", "1").await.expect("put");
    store.lease_renew(lease).await.expect("renew");
    store.lease_revoke(lease).await.expect("revoke");
    assert_eq!(list(&store, Range::new(KeyRange::prefix(""))).await, format!("c=1@{last}"));
    assert!(matches!(store.lease_renew(lease).await, Err(Error::LeaseNotFound { .. })));
}

pub(crate) async fn a_key_leaves_its_lease_when_it_is_set_without(store: Subject) {
    let lease = store.lease_grant(HOUR).await.expect("grant");
    store.txn(Txn::new().then(Op::Put(Put::new("a", "1").lease(lease)))).await.expect("txn");
    let last = store.put("a", "2").await.expect("put");
    store.lease_revoke(lease).await.expect("revoke");
    assert_eq!(list(&store, Range::new(KeyRange::prefix(""))).await, format!("a=2@{last}"));
}

pub(crate) async fn an_unknown_lease_is_refused(store: Subject) {
    let unknown = LeaseId(4711);
    let put = store.txn(Txn::new().then(Op::Put(Put::new("a", "1").lease(unknown)))).await.map(drop);
    for result in [put, store.lease_renew(unknown).await, store.lease_revoke(unknown).await] {
        assert!(matches!(result, Err(Error::LeaseNotFound { lease }) if lease == unknown), "{result:?}");
    }
    assert_eq!(store.get("a").await.expect("get"), None);
}
