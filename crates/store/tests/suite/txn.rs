//! Transactions: revisions, conditions, atomicity.

use store::{Compare, CompareTarget, Error, Expect, KeyRange, Op, OpResult, Put, Range, StoreExt, Txn};

use super::{Subject, list, show};

pub(crate) async fn every_writing_transaction_raises_the_revision_by_one(store: Subject) {
    let first = store.put("a", "1").await.expect("put");
    assert_eq!(store.put("b", "1").await.expect("put"), first + 1);
    assert_eq!(store.delete("a").await.expect("delete"), Some(first + 2));
    let status = store.status().await.expect("status");
    assert_eq!((status.revision, status.keys), (first + 2, 1));
}

pub(crate) async fn a_transaction_that_writes_nothing_keeps_the_revision(store: Subject) {
    let revision = store.put("a", "1").await.expect("put");
    assert_eq!(store.delete("absent").await.expect("delete"), None);
    let read = store.txn(Txn::new().then(Op::Get(Range::new(KeyRange::key("a"))))).await.expect("txn");
    assert_eq!((read.succeeded, read.revision), (true, revision));
    let conflict = store.put_if("a", "2", Expect::Absent).await.expect("txn").expect_err("it is there");
    assert_eq!(conflict.revision, revision);
}

pub(crate) async fn a_key_counts_its_versions_and_begins_anew_after_a_deletion(store: Subject) {
    let created = store.put("a", "1").await.expect("put");
    let changed = store.put("a", "2").await.expect("put");
    let kv = store.get("a").await.expect("get").expect("it is there");
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (created, changed, 2));
    store.delete("a").await.expect("delete");
    assert_eq!(store.get("a").await.expect("get"), None);
    let anew = store.put("a", "3").await.expect("put");
    let kv = store.get("a").await.expect("get").expect("it is there");
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (anew, anew, 1));
    let txn = |target| Txn::new().when(Compare { key: "a".into(), target });
    for (target, holds) in [
        (CompareTarget::Version(1), true),
        (CompareTarget::Version(2), false),
        (CompareTarget::CreateRevision(anew), true),
        (CompareTarget::CreateRevision(created), false),
        (CompareTarget::ModRevision(anew), true),
        (CompareTarget::ModRevision(0), false),
    ] {
        assert_eq!(store.txn(txn(target)).await.expect("txn").succeeded, holds, "{target:?}");
    }
}

pub(crate) async fn only_one_of_many_conditional_writers_wins_each_revision(store: Subject) {
    store.put("counter", "0").await.expect("put");
    let writers = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                loop {
                    let kv = store.get("counter").await.expect("get").expect("it is there");
                    let count: u32 = std::str::from_utf8(&kv.value).expect("text").parse().expect("a number");
                    let expect = Expect::Revision(kv.mod_revision);
                    if store.put_if("counter", (count + 1).to_string(), expect).await.expect("txn").is_ok() {
                        break;
                    }
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("the writer finishes");
    }
    let kv = store.get("counter").await.expect("get").expect("it is there");
    assert_eq!((&kv.value[..], kv.version), (&b"160"[..], 161));
}

pub(crate) async fn a_failed_condition_runs_the_other_operations_and_shows_what_is_there(store: Subject) {
    let revision = store.put("a", "1").await.expect("put");
    let conflict =
        store.put_if("a", "2", Expect::Revision(revision + 7)).await.expect("txn").expect_err("conflict");
    assert_eq!(conflict.current.expect("it is there").mod_revision, revision);
    let conflict =
        store.delete_if("b", Expect::Revision(revision)).await.expect("txn").expect_err("conflict");
    assert_eq!(conflict.current, None);
    let txn = Txn::new()
        .when(Compare::mod_revision("a", revision))
        .when(Compare::mod_revision("b", revision))
        .then(Op::Put(Put::new("a", "both")))
        .otherwise(Op::Put(Put::new("c", "other")));
    assert!(!store.txn(txn).await.expect("txn").succeeded);
    assert_eq!(
        list(&store, Range::new(KeyRange::prefix(""))).await,
        format!("a=1@{revision} c=other@{}", revision + 1)
    );
}

pub(crate) async fn a_transaction_sees_its_own_writes_and_is_one_revision(store: Subject) {
    let before = store.put("old", "1").await.expect("put");
    let txn = Txn::new()
        .then(Op::Put(Put::new("a", "1")))
        .then(Op::Delete(KeyRange::key("old")))
        .then(Op::Put(Put::new("b", "2")))
        .then(Op::Get(Range::new(KeyRange::prefix(""))));
    let result = store.txn(txn).await.expect("txn");
    let revision = before + 1;
    assert_eq!(result.revision, revision);
    let Some(OpResult::Range(seen)) = result.results.last() else {
        panic!("{:?} ends with a range", result.results)
    };
    assert_eq!(show(seen), format!("a=1@{revision} b=2@{revision}"));
    assert_eq!(list(&store, Range::new(KeyRange::prefix(""))).await, show(seen));
}

pub(crate) async fn a_transaction_that_writes_a_key_twice_is_refused_whole(store: Subject) {
    let revision = store.put("z", "1").await.expect("put");
    let put = |key: &'static str| Op::Put(Put::new(key, "1"));
    let overlapping = [
        vec![put("b"), put("a"), put("a")],
        vec![put("b"), put("a"), Op::Delete(KeyRange::key("a"))],
        vec![Op::Delete(KeyRange::prefix("")), put("a")],
    ];
    for ops in overlapping {
        let either = [
            Txn { success: ops.clone(), ..Txn::default() },
            // Also where it is not what would be done.
            Txn { success: vec![put("c")], failure: ops, ..Txn::default() },
        ];
        for txn in either {
            let error = store.txn(txn.clone()).await.expect_err("refused");
            assert!(matches!(&error, Error::DuplicateKey { key } if key == "a"), "{error}: {txn:?}");
        }
    }
    assert_eq!(list(&store, Range::new(KeyRange::prefix(""))).await, format!("z=1@{revision}"));
    assert_eq!(store.put("z", "2").await.expect("put"), revision + 1);
}

pub(crate) async fn deleting_a_range_deletes_each_of_its_keys(store: Subject) {
    for key in ["a", "b/1", "b/2", "c"] {
        store.put(key, key.to_owned()).await.expect("put");
    }
    let result = store.txn(Txn::new().then(Op::Delete(KeyRange::prefix("b/")))).await.expect("txn");
    let Some(OpResult::Deleted(deleted)) = result.results.first() else { panic!("{:?}", result.results) };
    assert_eq!(deleted.iter().map(|kv| kv.key_str()).collect::<Vec<_>>(), ["b/1", "b/2"]);
    let left = store.range(Range::new(KeyRange::prefix(""))).await.expect("range");
    assert_eq!(left.items.iter().map(|kv| kv.key_str()).collect::<Vec<_>>(), ["a", "c"]);
}

pub(crate) async fn a_transaction_of_too_many_operations_is_refused(store: Subject) {
    let puts = |count: usize| {
        (0..count).fold(Txn::new(), |txn, number| txn.then(Op::Put(Put::new(format!("k/{number}"), ""))))
    };
    let error = store.txn(puts(store::OPERATION_LIMIT + 1)).await.expect_err("refused");
    assert!(matches!(error, Error::TooManyOperations { count: 129 }), "{error}");
    store.txn(puts(store::OPERATION_LIMIT)).await.expect("txn");
    assert_eq!(store.status().await.expect("status").keys, store::OPERATION_LIMIT);
}

pub(crate) async fn a_value_of_one_and_a_half_mebibytes_is_kept(store: Subject) {
    // A little less: where the store is elsewhere, the request has to fit.
    let value: Vec<u8> = (0..store::VALUE_LIMIT - 4096).map(|at| (at % 251) as u8).collect();
    store.put("large", value.clone()).await.expect("put");
    let kv = store.get("large").await.expect("get").expect("it is there");
    assert!(kv.value == value);
}

pub(crate) async fn oversized_keys_and_values_are_refused(store: Subject) {
    for (key, value) in [("k".repeat(64 << 10), 1), ("k".to_owned(), store::VALUE_LIMIT + 1)] {
        let error = store.put(&key, vec![0u8; value]).await.expect_err("refused");
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
    assert_eq!(store.status().await.expect("status").keys, 0);
}
