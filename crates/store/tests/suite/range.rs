//! Reads of ranges of keys, now and at earlier revisions.

use store::{Error, KeyRange, Range, StoreExt};

use super::{Subject, list};

pub(crate) async fn a_range_lists_its_keys_in_order_and_no_others(store: Subject) {
    for key in ["b/2", "a", "b/1", "b0", "b/"] {
        store.put(key, "").await.expect("put");
    }
    for (range, expected) in [
        (KeyRange::prefix("b/"), &["b/", "b/1", "b/2"][..]),
        (KeyRange::key("b/"), &["b/"]),
        (KeyRange::key("b"), &[]),
        (KeyRange::between("a", "b/1"), &["a", "b/"]),
        (KeyRange::between("b", "a"), &[]),
        (KeyRange::prefix(""), &["a", "b/", "b/1", "b/2", "b0"]),
    ] {
        let result = store.range(Range::new(range.clone())).await.expect("range");
        let keys: Vec<&str> = result.items.iter().map(|kv| kv.key_str()).collect();
        assert_eq!(keys, expected, "{range:?}");
        assert_eq!((result.count, result.more), (expected.len(), false), "{range:?}");
        let count = store.range(Range::new(range).count_only()).await.expect("range");
        assert_eq!((count.count, count.items.len(), count.more), (expected.len(), 0, false));
    }
}

pub(crate) async fn a_limited_range_goes_on_where_it_stopped_at_the_same_revision(store: Subject) {
    for number in 0..7 {
        store.put(&format!("k/{number}"), "old").await.expect("put");
    }
    let mut seen = Vec::new();
    let mut request = Range::new(KeyRange::prefix("k/")).limit(3);
    loop {
        let result = store.range(request).await.expect("range");
        assert_eq!(result.count, 7 - seen.len());
        seen.extend(
            result.items.iter().map(|kv| format!("{}={}", kv.key_str(), String::from_utf8_lossy(&kv.value))),
        );
        let Some(last) = result.items.last().filter(|_| result.more) else { break };
        // What changes between the pages does not show in the later ones.
        store.put("k/5", "new").await.expect("put");
        store.delete("k/6").await.expect("delete");
        request = Range::new(KeyRange::prefix("k/").after(last.key.clone())).at(result.revision).limit(3);
    }
    assert_eq!(seen, (0..7).map(|number| format!("k/{number}=old")).collect::<Vec<_>>());
}

pub(crate) async fn a_range_that_is_not_counted_gives_the_same_pages(store: Subject) {
    for number in 0..7 {
        store.put(&format!("k/{number}"), "").await.expect("put");
    }
    for limit in [1, 3, 6, 7, 8] {
        let request = Range::new(KeyRange::prefix("k/")).limit(limit);
        let counted = store.range(request.clone()).await.expect("range");
        let uncounted = store.range(request.uncounted()).await.expect("range");
        assert_eq!((&uncounted.items, uncounted.more), (&counted.items, counted.more), "{limit}");
        assert_eq!((counted.count, uncounted.count), (7, limit.min(7)));
    }
}

pub(crate) async fn a_range_at_a_revision_shows_what_was_then(store: Subject) {
    let first = store.put("a", "1").await.expect("put");
    store.put("b", "1").await.expect("put");
    store.put("a", "2").await.expect("put");
    store.delete("b").await.expect("delete");
    let last = store.put("b", "2").await.expect("put");
    let expected = ["a=1@0", "a=1@0 b=1@1", "b=1@1 a=2@2", "a=2@2", "a=2@2 b=2@4"];
    for (after, expected) in (0..).zip(expected) {
        let mut items: Vec<String> = expected
            .split(' ')
            .map(|item| {
                let (kv, offset) = item.split_once('@').expect("an @");
                format!("{kv}@{}", first + offset.parse::<u64>().expect("a number"))
            })
            .collect();
        items.sort();
        assert_eq!(list(&store, Range::new(KeyRange::prefix("")).at(first + after)).await, items.join(" "));
    }
    assert_eq!(last, first + 4);
}

pub(crate) async fn a_future_revision_is_refused(store: Subject) {
    let revision = store.put("a", "1").await.expect("put");
    let error = store.range(Range::new(KeyRange::key("a")).at(revision + 1)).await.expect_err("refused");
    assert!(matches!(error, Error::Future { requested, current } if requested == current + 1), "{error}");
}
