//! The backend elsewhere: the suite that any backend passes, against a real etcd for each claim, and what
//! a network in between makes of it.
#![forbid(unsafe_code)]

#[path = "etcd/fake.rs"]
mod fake;
mod suite;

use std::sync::Arc;
use std::time::Duration;

use store::{
    ConnectError, Error, Etcd, EtcdOptions, KeyRange, Range, Store, StoreExt, Watch, WatchError, WatchMessage,
};
use testkit::{etcd, wait_until_async};

suite::run_suite!(empty_store);

async fn empty_store() -> (etcd::Server, suite::Subject) {
    let server = etcd::Server::start();
    let store = connect(&server, "").await;
    (server, Arc::new(store))
}

async fn connect(server: &etcd::Server, prefix: &str) -> Etcd {
    let options = EtcdOptions {
        endpoints: vec![server.endpoint().to_owned()],
        prefix: prefix.to_owned(),
        ..EtcdOptions::default()
    };
    Etcd::connect(options).await.expect("etcd answers")
}

async fn told(watcher: &mut store::Watcher) -> String {
    let message = tokio::time::timeout(Duration::from_secs(20), watcher.next()).await;
    match message.expect("a message in time").expect("the watch goes on") {
        WatchMessage::Event(event) => {
            format!("{}={}", event.kv.key_str(), String::from_utf8_lossy(&event.kv.value))
        }
        WatchMessage::Progress(revision) => format!("progress {revision}"),
    }
}

#[tokio::test]
async fn a_watch_goes_on_after_etcd_was_killed_and_misses_nothing() {
    let mut server = etcd::Server::start_durable();
    let store = Arc::new(connect(&server, "").await);
    let mut watcher = store.watch(Watch::new(KeyRange::prefix("k/"))).await.expect("watch");
    store.put("k/1", "a").await.expect("put");
    assert_eq!(told(&mut watcher).await, "k/1=a");
    server.kill();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.put("k/2", "b").await }
    });
    server.start_again();
    // What no connection was there for is sent when there is one; what was cut off may or may not be done.
    match waiting.await.expect("no panic") {
        Ok(_) => assert_eq!(told(&mut watcher).await, "k/2=b"),
        Err(error) => assert!(matches!(error, Error::Unknown { .. }), "{error}"),
    }
    // Another client writes before the watch is back.
    let other = connect(&server, "").await;
    let last = other.put("k/3", "c").await.expect("put");
    assert_eq!(told(&mut watcher).await, "k/3=c");
    wait_until_async("the first client to be back", || async {
        store.put("k/4", "d").await.map_err(|error| error.to_string())
    })
    .await;
    assert_eq!(told(&mut watcher).await, "k/4=d");
    assert!(watcher.told() >= last);
}

#[tokio::test]
async fn progress_that_was_asked_for_is_told_after_the_connection_broke() {
    let mut server = etcd::Server::start_durable();
    let store = connect(&server, "").await;
    let mut watcher = store.watch(Watch::new(KeyRange::prefix("k/"))).await.expect("watch");
    let revision = store.put("elsewhere", "").await.expect("put");
    server.kill();
    watcher.request_progress();
    server.start_again();
    assert_eq!(told(&mut watcher).await, format!("progress {revision}"));
}

#[tokio::test]
async fn a_watch_that_comes_back_too_late_is_told_what_is_compacted() {
    let mut server = etcd::Server::start_durable();
    let store = connect(&server, "").await;
    let first = store.put("k", "0").await.expect("put");
    let mut watcher = store.watch(Watch::new(KeyRange::prefix("k"))).await.expect("watch");
    watcher.request_progress();
    assert_eq!(told(&mut watcher).await, format!("progress {first}"));
    server.kill();
    // Nobody reconnects until the history is gone: it listens elsewhere meanwhile.
    server.start_elsewhere();
    let other = connect(&server, "").await;
    for value in 1..5 {
        other.put("k", value.to_string()).await.expect("put");
    }
    let now = other.revision().await.expect("revision");
    other.compact(now).await.expect("compact");
    server.kill();
    server.start_again();
    let end = tokio::time::timeout(Duration::from_secs(20), watcher.next()).await.expect("in time");
    assert_eq!(end, Err(WatchError::Compacted { requested: first + 1, oldest: now }));
}

#[tokio::test]
async fn the_history_is_kept_as_long_as_is_said_and_no_longer() {
    let server = etcd::Server::start();
    let history = Some(Duration::from_millis(50));
    let endpoints = vec![server.endpoint().to_owned()];
    let store = Etcd::connect(EtcdOptions { endpoints, history, ..EtcdOptions::default() }).await;
    let store = store.expect("etcd answers");
    let first = store.put("a", "1").await.expect("put");
    let last = store.put("a", "2").await.expect("put");
    let old = Range::new(KeyRange::key("a")).at(first);
    wait_until_async("the history to be compacted", || async {
        match store.range(old.clone()).await {
            Err(Error::Compacted { oldest, .. }) if oldest == last => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(&store.get("a").await.expect("get").expect("it is there").value[..], b"2");
}

#[tokio::test]
async fn what_etcd_is_still_asked_for_holds_up_no_close() {
    let mut server = etcd::Server::start_durable();
    let endpoints = vec![server.endpoint().to_owned()];
    let history = Some(Duration::from_millis(1));
    let store = Etcd::connect(EtcdOptions { endpoints, history, ..EtcdOptions::default() }).await;
    let store = store.expect("etcd answers");
    let mut watcher = store.watch(Watch::new(KeyRange::prefix(""))).await.expect("watch");
    // How far it has come is asked all the time, and nobody answers for as long as that may take.
    server.kill();
    tokio::time::timeout(Duration::from_secs(5), store.close()).await.expect("it ends at once");
    assert_eq!(watcher.try_next(), Some(Err(WatchError::Closed)));
}

#[tokio::test]
async fn stores_of_different_prefixes_do_not_see_each_other() {
    let server = etcd::Server::start();
    let (one, two) = (connect(&server, "/one/").await, connect(&server, "/two/").await);
    let mut watcher = one.watch(Watch::new(KeyRange::prefix(""))).await.expect("watch");
    two.put("a", "2").await.expect("put");
    one.put("a", "1").await.expect("put");
    assert_eq!(told(&mut watcher).await, "a=1");
    let all = one.range(Range::new(KeyRange::prefix(""))).await.expect("range");
    assert_eq!((all.count, all.items[0].key_str(), &all.items[0].value[..]), (1, "a", &b"1"[..]));
    assert_eq!(connect(&server, "").await.status().await.expect("status").keys, 2);
}

#[tokio::test]
async fn more_items_than_one_answer_has_are_read_as_of_one_revision() {
    let server = etcd::Server::start();
    let store = connect(&server, "").await;
    for batch in 0..40 {
        let txn = (0..128).fold(store::Txn::new(), |txn, number| {
            txn.then(store::Op::Put(store::Put::new(format!("k/{batch:02}/{number:03}"), "x")))
        });
        store.txn(txn).await.expect("txn");
    }
    let all = store.range(Range::new(KeyRange::prefix("k/"))).await.expect("range");
    assert_eq!((all.items.len(), all.count, all.more), (5120, 5120, false));
    assert!(all.items.is_sorted_by(|a, b| a.key < b.key));
    assert_eq!(all.revision, store.revision().await.expect("revision"));
}

#[tokio::test]
async fn only_who_has_a_certificate_is_let_in_and_only_to_who_has_one() {
    let server = etcd::Server::start_secured();
    let options = |authority: Option<&str>, identity: bool, arrival: Option<Duration>| EtcdOptions {
        endpoints: vec![server.endpoint().to_owned()],
        authority: authority.map(|authority| authority.as_bytes().to_vec()),
        identity: identity.then(|| server.identity()),
        arrival,
        ..EtcdOptions::default()
    };
    let store = Etcd::connect(options(Some(server.authority()), true, None)).await.expect("etcd answers");
    store.put("a", "1").await.expect("put");
    let stranger = etcd::authority();
    let soon = Some(Duration::from_secs(2));
    for wrong in [options(Some(&stranger), true, soon), options(Some(server.authority()), false, soon)] {
        let tried = tokio::time::timeout(Duration::from_secs(60), Etcd::connect(wrong)).await;
        let error = tried.expect("an answer in time").err().expect("refused");
        assert!(matches!(error, ConnectError::Silent { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_write_that_was_on_its_way_when_etcd_stopped_is_not_sent_again() {
    let fake = fake::Fake::start("3.5.30").await;
    let options = EtcdOptions { endpoints: vec![fake.endpoint.clone()], ..EtcdOptions::default() };
    let store = Etcd::connect(options).await.expect("etcd answers");
    let error = store.put("a", "1").await.expect_err("it has stopped");
    assert!(matches!(error, Error::Unknown { .. }), "{error}");
    assert_eq!(fake.asked.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn every_member_that_can_be_reached_is_of_a_version_that_can_be_trusted() {
    let (young, old) = (fake::Fake::start("3.5.13").await, fake::Fake::start("3.5.12").await);
    let nobody = "http://127.0.0.1:1".to_owned();
    let connect = async |endpoints: &[&String]| {
        let endpoints = endpoints.iter().map(|endpoint| (*endpoint).clone()).collect();
        Etcd::connect(EtcdOptions { endpoints, ..EtcdOptions::default() }).await
    };
    connect(&[&young.endpoint, &nobody]).await.expect("one that is down is no obstacle");
    for endpoints in [[&young.endpoint, &old.endpoint], [&old.endpoint, &young.endpoint]] {
        // Whichever answers first.
        for _ in 0..4 {
            let error = connect(&endpoints).await.err().expect("refused");
            let ConnectError::TooOld { endpoint, version } = &error else { panic!("{error}") };
            assert_eq!((endpoint, version.as_str()), (&old.endpoint, "3.5.12"));
        }
    }
}
