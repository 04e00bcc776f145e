//! Watches: order, completeness, progress, slow consumers.

use std::time::Duration;

use store::{EventKind, KeyRange, Op, Put, StoreExt, Txn, Watch, WatchError, WatchMessage};

use super::{Subject, next};

pub(crate) async fn a_watch_tells_every_change_after_its_start_in_order(store: Subject) {
    let first = store.put("a", "1").await.expect("put");
    store.put("a", "2").await.expect("put");
    let mut past = store.watch(Watch::new(KeyRange::prefix("")).after(first)).await.expect("watch");
    let mut now = store.watch(Watch::new(KeyRange::prefix(""))).await.expect("watch");
    let txn = Txn::new().then(Op::Put(Put::new("c", "1"))).then(Op::Put(Put::new("b", "1")));
    store.txn(txn).await.expect("txn");
    store.delete("a").await.expect("delete");
    assert_eq!(next(&mut past).await, format!("put a=2@{}", first + 1));
    for watcher in [&mut past, &mut now] {
        assert_eq!(next(watcher).await, format!("put c=1@{}", first + 2));
        assert_eq!(next(watcher).await, format!("put b=1@{}", first + 2));
        assert_eq!(next(watcher).await, format!("delete a=@{}", first + 3));
        assert_eq!(watcher.try_next(), None);
    }
}

pub(crate) async fn all_changes_of_a_revision_are_there_where_one_of_them_is(store: Subject) {
    let first = store.put("a", "1").await.expect("put");
    let mut watchers = Vec::new();
    for _ in 0..2 {
        watchers.push(store.watch(Watch::new(KeyRange::prefix("k/")).after(first)).await.expect("watch"));
    }
    let writes = async {
        for round in 0..20 {
            let txn = (0..100).fold(Txn::new(), |txn, number| {
                txn.then(Op::Put(Put::new(format!("k/{number}"), format!("{round}").repeat(1000))))
            });
            store.txn(txn).await.expect("txn");
        }
    };
    let reads = async |watcher: &mut store::Watcher| {
        let mut revisions = std::collections::BTreeMap::new();
        while revisions.values().sum::<usize>() < 20 * 100 {
            let mut message = Some(watcher.next().await);
            while let Some(next) = message {
                let Ok(WatchMessage::Event(event)) = next else { panic!("unexpected {next:?}") };
                *revisions.entry(event.revision()).or_insert(0) += 1;
                message = watcher.try_next();
            }
            assert!(revisions.values().all(|told| *told == 100), "a revision is cut: {revisions:?}");
        }
    };
    let [mut one, mut two] = <[_; 2]>::try_from(watchers).expect("two of them");
    tokio::join!(writes, reads(&mut one), reads(&mut two));
    // And of what is past.
    let mut late = store.watch(Watch::new(KeyRange::prefix("k/")).after(first)).await.expect("watch");
    reads(&mut late).await;
}

pub(crate) async fn a_watch_tells_what_was_there_before_and_of_the_deleted_the_key_alone(store: Subject) {
    let mut watcher = store.watch(Watch::new(KeyRange::key("a"))).await.expect("watch");
    store.put("a", "1").await.expect("put");
    store.put("a", "2").await.expect("put");
    store.delete("a").await.expect("delete");
    let mut told = Vec::new();
    for _ in 0..3 {
        let Ok(WatchMessage::Event(event)) = watcher.next().await else { panic!("an event") };
        let previous = event.previous.map(|kv| kv.value.clone());
        told.push((event.kind, event.kv.value.clone(), previous));
    }
    let expected = [
        (EventKind::Put, "1".into(), None),
        (EventKind::Put, "2".into(), Some("1".into())),
        (EventKind::Delete, "".into(), Some("2".into())),
    ];
    assert_eq!(told, expected);
}

pub(crate) async fn a_watch_from_a_future_revision_waits(store: Subject) {
    let first = store.put("a", "0").await.expect("put");
    let mut future = store.watch(Watch::new(KeyRange::prefix("")).after(first + 2)).await.expect("watch");
    for value in 1..=3 {
        store.put("a", value.to_string()).await.expect("put");
    }
    assert_eq!(next(&mut future).await, format!("put a=3@{}", first + 3));
}

pub(crate) async fn what_was_acknowledged_is_told_up_to_the_revision_that_is_asked_for(store: Subject) {
    let mut watcher = store.watch(Watch::new(KeyRange::prefix("pods/"))).await.expect("watch");
    for number in 0..20 {
        let written = store.put(&format!("pods/{number}"), "").await.expect("put");
        let elsewhere = store.put("nodes/a", "").await.expect("put");
        let revision = store.revision().await.expect("revision");
        assert_eq!(revision, elsewhere);
        watcher.request_progress();
        let mut told = Vec::new();
        while watcher.told() < revision {
            told.push(next(&mut watcher).await);
        }
        let events: Vec<&String> = told.iter().filter(|message| message.starts_with("put")).collect();
        assert_eq!(events, [&format!("put pods/{number}=@{written}")]);
        assert_eq!(told.last(), Some(&format!("progress {elsewhere}")));
    }
}

pub(crate) async fn a_watch_tells_only_its_range(store: Subject) {
    let mut watcher = store.watch(Watch::new(KeyRange::prefix("pods/"))).await.expect("watch");
    store.put("nodes/a", "1").await.expect("put");
    store.put("pods/a", "1").await.expect("put");
    store.put("podsx", "1").await.expect("put");
    let last = store.put("pods/b", "1").await.expect("put");
    assert_eq!(next(&mut watcher).await, format!("put pods/a=1@{}", last - 2));
    assert_eq!(next(&mut watcher).await, format!("put pods/b=1@{last}"));
    assert_eq!(watcher.try_next(), None);
}

pub(crate) async fn a_watch_reports_progress_past_changes_elsewhere(store: Subject) {
    let every = Duration::from_millis(1);
    let mut watcher =
        store.watch(Watch::new(KeyRange::prefix("pods/")).progress(every)).await.expect("watch");
    let mut asked = store.watch(Watch::new(KeyRange::prefix("pods/"))).await.expect("watch");
    let pod = store.put("pods/a", "1").await.expect("put");
    let node = store.put("nodes/a", "1").await.expect("put");
    asked.request_progress();
    for watcher in [&mut watcher, &mut asked] {
        assert_eq!(next(watcher).await, format!("put pods/a=1@{pod}"));
        assert_eq!(next(watcher).await, format!("progress {node}"));
        assert_eq!(watcher.told(), node);
    }
}

pub(crate) async fn a_slow_watch_is_cut_off_and_holds_up_nobody(store: Subject) {
    let mut slow = store.watch(Watch::new(KeyRange::prefix("")).buffer(3)).await.expect("watch");
    let mut quick = store.watch(Watch::new(KeyRange::prefix(""))).await.expect("watch");
    let first = store.put("a", "0").await.expect("put");
    for value in 1..10 {
        store.put("a", value.to_string()).await.expect("put");
    }
    for value in 0..10 {
        assert_eq!(next(&mut quick).await, format!("put a={value}@{}", first + value));
    }
    let mut last = first - 1;
    let error = loop {
        match slow.next().await {
            Ok(WatchMessage::Event(event)) => {
                assert_eq!(event.revision(), last + 1, "no change is left out before the cut");
                last = event.revision();
            }
            Ok(message) => panic!("unexpected {message:?}"),
            Err(error) => break error,
        }
    };
    let WatchError::Lagged { told } = error else { panic!("unexpected {error:?}") };
    assert!(told <= last && last < first + 9, "told {told}, last {last}");
    // It goes on where it was cut.
    let mut resumed = store.watch(Watch::new(KeyRange::prefix("")).after(last)).await.expect("watch");
    assert_eq!(next(&mut resumed).await, format!("put a={}@{}", last + 1 - first, last + 1));
}

pub(crate) async fn who_is_further_behind_than_a_watch_may_hold_is_told_all_in_steps(store: Subject) {
    let first = store.put("a", "0").await.expect("put");
    for round in 1..=30 {
        // One of them is more than the buffer.
        let keys = if round == 7 { 40 } else { 1 + round % 3 };
        let txn = (0..keys).fold(Txn::new(), |txn, number| {
            txn.then(Op::Put(Put::new(format!("k/{number}"), round.to_string())))
        });
        store.txn(txn).await.expect("txn");
        store.put("elsewhere", "").await.expect("put");
    }
    let last = store.revision().await.expect("revision");
    let (mut told, mut revisions) = (first, std::collections::BTreeMap::new());
    loop {
        let watch = Watch::new(KeyRange::prefix("k/")).after(told).buffer(5);
        let mut watcher = store.watch(watch).await.expect("watch");
        watcher.request_progress();
        let before = told;
        let end = loop {
            match watcher.next().await {
                Ok(WatchMessage::Event(event)) => {
                    assert!(event.revision() > before, "it is told again");
                    *revisions.entry(event.revision()).or_insert(0) += 1;
                }
                Ok(WatchMessage::Progress(revision)) if revision >= last => break None,
                Ok(WatchMessage::Progress(_)) => watcher.request_progress(),
                Err(error) => break Some(error),
            }
        };
        let Some(end) = end else { break };
        let reached = *revisions.keys().last().expect("something is told");
        assert_eq!(end, WatchError::Lagged { told: reached });
        assert!(reached > before, "nothing was told");
        assert_eq!(watcher.next().await, Err(end));
        told = reached;
    }
    let expected: Vec<_> = (1..=30).map(|round| if round == 7 { 40 } else { 1 + round % 3 }).collect();
    assert_eq!(revisions.into_values().collect::<Vec<_>>(), expected);
}

pub(crate) async fn a_store_that_is_closed_has_ended_its_watches_and_takes_nothing_more(store: Subject) {
    let mut watchers = Vec::new();
    for _ in 0..20 {
        watchers.push(store.watch(Watch::new(KeyRange::prefix(""))).await.expect("watch"));
    }
    let first = store.put("a", "1").await.expect("put");
    let several = async { tokio::join!(store.close(), store.close()) };
    tokio::time::timeout(Duration::from_secs(10), several).await.expect("it ends");
    // Not soon, but by now.
    for watcher in &mut watchers {
        let mut told = watcher.try_next();
        if matches!(told, Some(Ok(WatchMessage::Event(_)))) {
            told = watcher.try_next();
        }
        assert_eq!(told, Some(Err(WatchError::Closed)));
    }
    assert!(matches!(store.put("a", "2").await, Err(store::Error::Closed)));
    match store.watch(Watch::new(KeyRange::prefix("")).after(first)).await {
        Err(store::Error::Closed) => {}
        Ok(mut watcher) => assert_eq!(watcher.next().await, Err(WatchError::Closed)),
        Err(error) => panic!("unexpected {error}"),
    }
    store.close().await;
}

pub(crate) async fn a_dropped_watch_is_forgotten(store: Subject) {
    let watcher = store.watch(Watch::new(KeyRange::prefix(""))).await.expect("watch");
    assert_eq!(store.status().await.expect("status").watchers, 1);
    drop(watcher);
    store.put("a", "1").await.expect("put");
    assert_eq!(store.status().await.expect("status").watchers, 0);
}
