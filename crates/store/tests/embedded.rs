//! The embedded backend: the suite that any backend passes, and what is its own.
#![forbid(unsafe_code)]

mod suite;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::SystemClock;
use base::clock::ManualClock;
use store::{Embedded, KeyRange, Op, OpenError, Options, Put, Range, Store, StoreExt, Txn, Watch};
use testkit::wait_until_async;

suite::run_suite!(empty_store);

async fn empty_store() -> (tempfile::TempDir, suite::Subject) {
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
async fn a_watch_holds_no_more_of_the_past_than_its_buffer() {
    let (_dir, store) = empty_store().await;
    for round in 0..100 {
        for key in ["a", "b"] {
            store.put(key, round.to_string()).await.expect("put");
        }
    }
    let last = store.revision().await.expect("revision");
    for (keys, behind, expected) in [
        // As many as it may hold are no more than that.
        (KeyRange::prefix(""), 10, (10, None)),
        (KeyRange::prefix(""), 11, (10, Some(last - 1))),
        (KeyRange::prefix(""), 200, (10, Some(last - 190))),
        (KeyRange::key("a"), 20, (10, None)),
        (KeyRange::key("a"), 22, (10, Some(last - 3))),
    ] {
        let watch = Watch::new(keys.clone()).after(last - behind).buffer(10);
        let mut watcher = store.watch(watch).await.expect("watch");
        let (mut told, mut end) = (0, None);
        while let Some(message) = watcher.try_next() {
            match message {
                Ok(store::WatchMessage::Event(_)) => told += 1,
                Err(store::WatchError::Lagged { told }) => {
                    end = Some(told);
                    break;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!((told, end), expected, "{keys:?} {behind}");
    }
    // What is cut off already is not told of anything more.
    let behind = store.watch(Watch::new(KeyRange::prefix("")).after(last - 200).buffer(10)).await;
    let behind = behind.expect("watch");
    assert_eq!(store.status().await.expect("status").watchers, 0);
    drop(behind);
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
async fn keys_of_leases_that_ran_out_go_in_small_steps_with_room_for_others_in_between() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let clock = Arc::new(ManualClock::new(base::Timestamp::UNIX_EPOCH));
    let store = Embedded::open(dir.path(), Options::default(), clock.clone()).expect("open the store");
    let (ttl, mut keys) = (Duration::from_secs(10), 0);
    let mut leases = Vec::new();
    for many in [1050, 30, 30, 30, 30, 0, 200] {
        let lease = store.lease_grant(ttl).await.expect("grant");
        let put = |key: i32| Op::Put(Put::new(format!("k{key:05}"), "1").lease(lease));
        let all: Vec<i32> = (keys..keys + many).collect();
        for some in all.chunks(store::OPERATION_LIMIT) {
            let txn = some.iter().fold(Txn::new(), |txn, &key| txn.then(put(key)));
            store.txn(txn).await.expect("txn");
        }
        keys += many;
        leases.push(lease);
    }
    let mut watcher = store.watch(Watch::new(KeyRange::prefix(""))).await.expect("watch");
    clock.advance(Duration::from_secs(11));
    store.wake();
    let (mut gone, mut of_revision, mut revision, mut others) = (0, 0, 0, 0);
    while gone < keys {
        let message = match watcher.try_next() {
            Some(message) => message,
            None => {
                // Somebody else's write comes between any two steps.
                store.put("other", "1").await.expect("put");
                let renewed = store.lease_renew(leases[0]).await;
                let put = Txn::new().then(Op::Put(Put::new("late", "1").lease(leases[0])));
                if gone > 0 {
                    assert!(matches!(renewed, Err(store::Error::LeaseNotFound { .. })), "{renewed:?}");
                    assert!(store.txn(put).await.is_err());
                }
                clock.advance(Duration::from_millis(25));
                store.wake();
                watcher.next().await
            }
        };
        let store::WatchMessage::Event(event) = message.expect("the watch goes on") else { continue };
        if event.kind == store::EventKind::Put {
            others += 1;
            continue;
        }
        of_revision = if event.revision() == revision { of_revision + 1 } else { 1 };
        revision = event.revision();
        gone += 1;
        assert!(of_revision <= 100, "{of_revision} keys went at revision {revision}");
    }
    assert!(others > 5, "{others} writes of others came in between");
    for lease in leases {
        assert!(matches!(store.lease_revoke(lease).await, Err(store::Error::LeaseNotFound { .. })));
    }
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

/// What a store leaves that is killed now.
fn copy_of(store: &Path, dir: &Path, name: &str) -> PathBuf {
    let to = dir.join(name);
    // A file may go between the look and the copy: then once more, from the beginning.
    testkit::wait_until("a whole copy of the store", || {
        let copied = copy(store, &to);
        if copied.is_err() {
            std::fs::remove_dir_all(&to).expect("remove half a copy");
        }
        copied
    });
    to
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The newest segment of a store.
fn newest_segment(store: &Path) -> PathBuf {
    let files = std::fs::read_dir(store.join("journal")).expect("list");
    let names = files.map(|entry| entry.expect("list").path());
    names
        .filter(|path| path.to_string_lossy().ends_with(".log") && !path.ends_with("reserve.log"))
        .max()
        .expect("a segment")
}

async fn filled(path: &Path) -> Embedded {
    let store = open(path);
    for number in 0..50 {
        store.put(&format!("key/{number}"), "value").await.expect("put");
    }
    store
}

#[tokio::test]
async fn a_damaged_store_is_not_opened_and_says_where_it_is_damaged_and_what_to_do() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("store");
    drop(filled(&path).await);
    let segment = newest_segment(&path);
    let mut bytes = std::fs::read(&segment).expect("read");
    bytes[512 * 9 + 77] ^= 4;
    std::fs::write(&segment, &bytes).expect("write");
    let opened = Embedded::open(&path, Options::default(), Arc::new(SystemClock::new()));
    let error = opened.map(drop).expect_err("refused");
    let text = base::error::chain(&error).to_string();
    for part in
        [&*segment.to_string_lossy(), "at byte 4608", "gantry store check", "store restore", "--salvage"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(std::fs::read(&segment).expect("read"), bytes, "nothing was changed");
    let report = store::check(&path).expect("check");
    let damage = report.damage.expect("it is damaged");
    assert_eq!((damage.file.clone(), damage.offset, report.skipped, report.keys), (segment, 4608, 1, 49));
    // The way out without a backup: everything but the damaged transaction.
    let file = dir.path().join("saved");
    assert!(store::backup(&path, &file, false).is_err(), "not taken for a good one");
    assert_eq!(store::backup(&path, &file, true).expect("salvage").damage, Some(damage));
    store::restore(&path, &file).expect("restore");
    assert!(path.join("journal.replaced-1").exists(), "what was there is kept");
    let store = open(&path);
    assert_eq!(store.status().await.expect("status").keys, 49);
    assert!(store.put("more", "1").await.expect("put") > 1_000_000, "no revision is given again");
}

#[tokio::test]
async fn a_running_store_is_backed_up_and_a_stopped_one_restored() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (path, file) = (dir.path().join("store"), dir.path().join("backup"));
    let store = Arc::new(filled(&path).await);
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for number in 0..300 {
                store.put("busy", number.to_string()).await.expect("put");
            }
        }
    });
    let (path_too, file_too) = (path.clone(), file.clone());
    let backup = tokio::task::spawn_blocking(move || store::backup(&path_too, &file_too, false));
    let report = backup.await.expect("no panic").expect("backup");
    assert!(report.running && report.keys >= 50 && report.damage.is_none(), "{report:?}");
    writer.await.expect("no panic");
    assert!(matches!(store::backup(&path, &file, false), Err(store::CopyError::Exists { .. })));
    let refused = store::restore(&path, &file).map(drop).expect_err("it is running");
    assert!(refused.to_string().contains("in use"), "{refused}");
    let last = store.put("after", "the backup").await.expect("put");
    drop(store);
    store::restore(&path, &file).expect("restore");
    let store = open(&path);
    assert_eq!(store.get("after").await.expect("get"), None);
    assert_eq!(&store.get("key/7").await.expect("get").expect("it is there").value[..], b"value");
    let gone = store.watch(Watch::new(KeyRange::prefix("")).after(last)).await.map(drop);
    assert!(matches!(gone, Err(store::Error::Compacted { .. })), "who saw more has to read anew: {gone:?}");
    // On an empty machine too; and what is no backup is refused before anything is touched.
    let other = dir.path().join("other");
    std::fs::write(dir.path().join("junk"), vec![7; 5000]).expect("write");
    assert!(store::restore(&other, &dir.path().join("junk")).is_err() && !other.exists());
    store::restore(&other, &file).expect("restore");
    assert!(open(&other).get("key/7").await.expect("get").is_some());
}

/// The store of the root that version 0.1 left.
fn version_0_1(dir: &Path) -> PathBuf {
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/root-0.1.tar.xz");
    let status = std::process::Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(dir).status();
    assert!(status.expect("run tar").success(), "unpack {archive}");
    let found = |path: &Path| path.join("store/format").exists().then(|| path.join("store"));
    let below = std::fs::read_dir(dir).expect("list").map(|entry| entry.expect("list").path());
    found(dir).or_else(|| below.filter_map(|path| found(&path)).next()).expect("a store in the archive")
}

async fn check_version_0_1(path: &Path) {
    let store = open(path);
    for key in [
        "core/configmaps/kept/cm",
        "core/secrets/kept/s",
        "core/services/kept/np",
        "apps/deployments/kept/web",
    ] {
        assert!(store.get(&format!("/registry/{key}")).await.expect("get").is_some(), "{key}");
    }
    assert!(store.status().await.expect("status").revision >= 138);
    store.put("written", "since").await.expect("put");
}

#[tokio::test]
async fn a_store_of_version_0_1_is_taken_over_wherever_that_is_cut_off() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let old = version_0_1(dir.path());
    let path = copy_of(&old, dir.path(), "taken-over");
    check_version_0_1(&path).await;
    assert!(path.join("log.format-1").exists() && !path.join("log").exists(), "the old log is kept aside");
    let after = open(&path);
    assert!(after.get("written").await.expect("get").is_some(), "it is taken over once");
    drop(after);
    // Cut off while the new log was written.
    let path = copy_of(&old, dir.path(), "half");
    std::fs::create_dir(path.join("journal.new")).expect("make");
    std::fs::write(path.join("journal.new/0000000000000001.snapshot"), [1; 700]).expect("write");
    check_version_0_1(&path).await;
    // Cut off after it was put in its place: until `format` says so, the old log counts, to which an
    // older version may have written meanwhile.
    let path = copy_of(&old, dir.path(), "in-place");
    drop(filled(&dir.path().join("stale")).await);
    copy(&dir.path().join("stale/journal"), &path.join("journal")).expect("copy");
    check_version_0_1(&path).await;
    assert!(open(&path).get("key/7").await.expect("get").is_none());
    // Cut off before the old log was set aside.
    std::fs::rename(path.join("log.format-1"), path.join("log")).expect("rename");
    let store = open(&path);
    assert!(store.get("written").await.expect("get").is_some());
    assert!(path.join("log.format-1").exists() && !path.join("log").exists());
    drop(store);
    std::fs::rename(path.join("journal"), path.join("gone")).expect("rename");
    let refused = Embedded::open(&path, Options::default(), Arc::new(SystemClock::new())).map(drop);
    assert!(matches!(refused, Err(OpenError::Missing { .. })), "not begun anew in silence: {refused:?}");
}
