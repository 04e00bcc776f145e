//! Compaction on request.

use store::{Error, KeyRange, Range, StoreExt, Watch};

use super::{Subject, is_compacted, list, next};

pub(crate) async fn what_is_compacted_cannot_be_read_or_watched_but_the_rest_can(store: Subject) {
    let first = store.put("a", "0").await.expect("put");
    for value in 1..6 {
        store.put("a", value.to_string()).await.expect("put");
    }
    let compacted = first + 3;
    store.compact(compacted).await.expect("compact");
    assert_eq!(store.status().await.expect("status").compacted, compacted);
    let all = || Range::new(KeyRange::prefix(""));
    assert!(is_compacted(store.range(all().at(compacted - 1)).await));
    assert_eq!(list(&store, all().at(compacted)).await, format!("a=3@{compacted}"));
    assert_eq!(list(&store, all()).await, format!("a=5@{}", first + 5));
    let watch = || Watch::new(KeyRange::prefix(""));
    assert!(is_compacted(store.watch(watch().after(compacted - 2)).await));
    let mut watcher = store.watch(watch().after(compacted)).await.expect("watch");
    assert_eq!(next(&mut watcher).await, format!("put a=4@{}", compacted + 1));
}

pub(crate) async fn compaction_keeps_current_values_and_forgets_deleted_keys(store: Subject) {
    store.put("kept", "1").await.expect("put");
    store.put("gone", "1").await.expect("put");
    store.delete("gone").await.expect("delete");
    let last = store.put("other", "1").await.expect("put");
    store.compact(last).await.expect("compact");
    assert_eq!(
        list(&store, Range::new(KeyRange::prefix(""))).await,
        format!("kept=1@{} other=1@{last}", last - 3)
    );
    let anew = store.put("gone", "2").await.expect("put");
    let kv = store.get("gone").await.expect("get").expect("it is there");
    assert_eq!((kv.create_revision, kv.version), (anew, 1));
}

pub(crate) async fn compacting_twice_or_beyond_the_present_is_refused(store: Subject) {
    let revision = store.put("a", "1").await.expect("put");
    store.compact(revision).await.expect("compact");
    assert!(is_compacted(store.compact(revision).await));
    let error = store.compact(revision + 1).await.expect_err("refused");
    assert!(matches!(error, Error::Future { .. }), "{error}");
}
