//! The embedded backend: the suite that any backend passes, and what is its own.
#![forbid(unsafe_code)]

mod suite;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::SystemClock;
use base::clock::ManualClock;
use store::{Embedded, KeyRange, Op, OpenError, Options, Put, Range, Store, StoreExt, Txn, Watch};
use testkit::wait_until_async;

suite::run_suite!(empty_store);

fn empty_store() -> (tempfile::TempDir, suite::Subject) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = open(dir.path());
    (dir, Arc::new(store))
}

fn open(path: &Path) -> Embedded {
    Embedded::open(path, Options::default(), Arc::new(SystemClock::new())).expect("open the store")
}

fn all() -> Range {
    Range::new(KeyRange::prefix(""))
}

#[tokio::test]
async fn a_store_opens_again_with_all_its_keys_history_and_revisions() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = open(dir.path());
    let first = store.put("a", "1").await.expect("put");
    store.put("gone", "1").await.expect("put");
    store.put("a", "2").await.expect("put");
    store.delete("gone").await.expect("delete");
    let before = store.range(all()).await.expect("range");
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.range(all()).await.expect("range"), before);
    let then = store.range(all().at(first + 1)).await.expect("range");
    assert_eq!(then.items.iter().map(|kv| kv.key_str()).collect::<Vec<_>>(), ["a", "gone"]);
    let mut watcher = store.watch(Watch::new(KeyRange::prefix("")).after(first)).await.expect("watch");
    let told: Vec<_> = std::iter::from_fn(|| watcher.try_next()).collect();
    assert_eq!(told.len(), 3);
    assert_eq!(store.put("b", "1").await.expect("put"), first + 4);
}

#[tokio::test]
async fn a_compacted_store_opens_again_without_what_was_compacted() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = open(dir.path());
    for value in 0..50 {
        store.put("a", value.to_string()).await.expect("put");
        store.put("gone", value.to_string()).await.expect("put");
        store.delete("gone").await.expect("delete");
    }
    let last = store.put("b", "1").await.expect("put");
    store.compact(last).await.expect("compact");
    let before = store.range(all()).await.expect("range");
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.range(all()).await.expect("range"), before);
    let status = store.status().await.expect("status");
    assert_eq!((status.compacted, status.revision, status.keys), (last, last, 2));
    assert!(status.memory_bytes < 20, "nothing of the history is left: {status:?}");
}

#[tokio::test]
async fn ephemeral_values_are_gone_after_a_restart_and_their_revisions_are_not_given_again() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = open(dir.path());
    store.put("lease", "made").await.expect("put");
    let beat = |key: &str| Txn::new().then(Op::Put(Put::new(key.to_owned(), "beat").ephemeral()));
    store.txn(beat("lease")).await.expect("txn");
    let last = store.txn(beat("other")).await.expect("txn").revision;
    drop(store);
    let store = open(dir.path());
    let kv = store.get("lease").await.expect("get").expect("it is there");
    assert_eq!(&kv.value[..], b"made");
    assert_eq!(store.get("other").await.expect("get"), None);
    assert_eq!(store.put("a", "1").await.expect("put"), last + 1);
    // A key that was durable once is deleted durably, whatever it was set to since.
    store.txn(beat("lease")).await.expect("txn");
    store.delete("lease").await.expect("delete");
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.get("lease").await.expect("get"), None);
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_deletes_its_keys_and_one_that_is_does_not() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let clock = Arc::new(ManualClock::new(base::Timestamp::UNIX_EPOCH));
    let store = Embedded::open(dir.path(), Options::default(), clock.clone()).expect("open the store");
    let ttl = Duration::from_secs(10);
    let (dead, alive) =
        (store.lease_grant(ttl).await.expect("grant"), store.lease_grant(ttl).await.expect("grant"));
    store.txn(Txn::new().then(Op::Put(Put::new("dead", "1").lease(dead)))).await.expect("txn");
    store.txn(Txn::new().then(Op::Put(Put::new("alive", "1").lease(alive)))).await.expect("txn");
    let mut watcher = store.watch(Watch::new(KeyRange::prefix(""))).await.expect("watch");
    clock.advance(Duration::from_secs(6));
    store.lease_renew(alive).await.expect("renew");
    clock.advance(Duration::from_secs(6));
    store.wake();
    let message = watcher.next().await.expect("the watch goes on");
    assert!(
        matches!(&message, store::WatchMessage::Event(event) if event.kv.key_str() == "dead"),
        "{message:?}"
    );
    assert!(store.get("alive").await.expect("get").is_some());
    // A restart counts as a renewal.
    drop(store);
    let store = Embedded::open(dir.path(), Options::default(), clock.clone()).expect("open the store");
    clock.advance(Duration::from_secs(11));
    store.wake();
    wait_until_async("the lease to run out", || async {
        store.get("alive").await.expect("get").map_or(Ok(()), Err)
    })
    .await;
}

#[tokio::test]
async fn history_is_bounded_by_age_number_and_bytes() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let clock = Arc::new(ManualClock::new(base::Timestamp::UNIX_EPOCH));
    let options =
        Options { history_age: Some(Duration::from_secs(60)), history_events: 100, history_bytes: 10_000 };
    let store = Embedded::open(dir.path(), options, clock.clone()).expect("open the store");
    let mut last = 0;
    for _ in 0..500 {
        last = store.put("a", "x").await.expect("put");
    }
    let compacted = store.status().await.expect("status").compacted;
    assert!((last - 110..=last - 80).contains(&compacted), "by number: {compacted} of {last}");
    for _ in 0..50 {
        last = store.put("a", vec![0; 1000]).await.expect("put");
    }
    let status = store.status().await.expect("status");
    assert!(status.memory_bytes <= 13_000, "by bytes: {status:?}");
    wait_until_async("compaction by age", || async {
        clock.advance(Duration::from_secs(61));
        store.wake();
        let status = store.status().await.expect("status");
        if status.compacted == last { Ok(()) } else { Err(status) }
    })
    .await;
    assert_eq!(store.range(all()).await.expect("range").items.len(), 1);
}

#[tokio::test]
async fn a_directory_in_use_or_of_another_format_is_refused() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = open(dir.path());
    let again =
        |path: &Path| Embedded::open(path, Options::default(), Arc::new(SystemClock::new())).map(drop);
    assert!(matches!(again(dir.path()), Err(OpenError::Locked { .. })));
    drop(store);
    std::fs::write(dir.path().join("format"), "gantry-store 99\n").expect("write the format");
    let error = again(dir.path()).expect_err("refused");
    assert!(matches!(&error, OpenError::Format { found, .. } if found == "gantry-store 99"), "{error}");
    let file = dir.path().join("lock");
    assert!(matches!(again(&file), Err(OpenError::Prepare { .. })), "a file is no directory");
}

/// A crash leaves the log cut at any byte, with or without the zeros that it was made with behind.
#[tokio::test]
async fn a_log_that_is_cut_anywhere_opens_with_the_writes_before_the_cut() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = open(&dir.path().join("store"));
    let first = store.put("key/0", "value").await.expect("put");
    let mut ends = vec![journal_end(&dir.path().join("store"))];
    for number in 1..6 {
        store.put(&format!("key/{number}"), "value").await.expect("put");
        ends.push(journal_end(&dir.path().join("store")));
    }
    let whole = *ends.last().expect("several writes");
    for (round, cut) in (ends[1]..=whole).step_by(5).chain([whole]).enumerate() {
        let copy = dir.path().join("copy");
        copy_store(&dir.path().join("store"), &copy);
        let journal = std::fs::File::options().write(true).open(journal(&copy)).expect("open the journal");
        let length = journal.metadata().expect("stat").len();
        journal.set_len(cut).expect("cut the journal");
        if round % 2 == 0 {
            journal.set_len(length).expect("put zeros behind");
        }
        let reopened = open(&copy);
        let kept = ends.iter().filter(|&&end| end <= cut).count() as u64;
        let status = reopened.status().await.expect("status");
        assert_eq!(
            (status.keys as u64, status.revision),
            (kept, first + kept - 1),
            "cut at {cut} of {whole}"
        );
        assert_eq!(reopened.put("more", "1").await.expect("put"), first + kept);
        drop(reopened);
        assert_eq!(
            open(&copy).status().await.expect("status").keys as u64,
            kept + 1,
            "cut at {cut} of {whole}"
        );
        std::fs::remove_dir_all(&copy).expect("remove the copy");
    }
}

fn journal(store: &Path) -> std::path::PathBuf {
    store.join("log/0.jnl")
}

/// Where the journal's data ends: what follows is the zeros that it was made with.
fn journal_end(store: &Path) -> u64 {
    use std::io::Read;
    // All that these tests write lies within the first part.
    let mut start = Vec::new();
    let file = std::fs::File::open(journal(store)).expect("open the journal");
    file.take(64 << 10).read_to_end(&mut start).expect("read the journal");
    start.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1)
}

fn copy_store(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("create the copy");
    for entry in std::fs::read_dir(from).expect("list") {
        let entry = entry.expect("list");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("stat").is_dir() {
            copy_store(&entry.path(), &target);
        } else {
            // Keeps the journal's holes: it is mostly holes.
            std::io::copy(
                &mut std::fs::File::open(entry.path()).expect("open"),
                &mut std::fs::File::create(&target).expect("create"),
            )
            .expect("copy");
        }
    }
}
