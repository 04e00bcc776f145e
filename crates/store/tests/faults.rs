//! What a killed process and a full disk do to a store.
//!
//! Both need another process: this target has no test harness of its own but runs itself again in
//! the role of that process. `writer DIR` writes until it is killed, and prints the number of each
//! write once it is acknowledged; `full DIR` fills a file system of a few megabytes.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base::{Random, SystemClock, SystemRandom};
use store::{Embedded, Error, KeyRange, Op, Options, Put, Range, Store, StoreExt, Txn};
use testkit::wait_until_async;

type Test = (&'static str, fn());

const TESTS: [Test; 2] = [
    ("a_store_killed_under_load_has_every_acknowledged_write", a_store_killed_under_load),
    ("a_store_on_a_full_disk_is_read_only_until_there_is_space", a_store_on_a_full_disk),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["writer", dir] => block_on(write_until_killed(Path::new(dir))),
        ["full", dir] => block_on(fill_the_disk(Path::new(dir))),
        _ if args.iter().any(|arg| arg == "--list") => {
            // The protocol of test runners; there are no ignored tests.
            if !args.iter().any(|arg| arg == "--ignored") {
                TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
            }
        }
        _ => {
            let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
            for (name, test) in TESTS {
                if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
                    test();
                    println!("test {name} ... ok");
                }
            }
        }
    }
    ExitCode::SUCCESS
}

fn a_store_killed_under_load() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut acknowledged = Vec::new();
    for round in 0..8 {
        let mut child =
            own_role("writer", dir.path()).stdout(Stdio::piped()).spawn().expect("start the writer");
        let output = BufReader::new(child.stdout.take().expect("its output is piped"));
        let kill_after = Duration::from_micros(100_000 + SystemRandom.next_u64() % 400_000);
        let reader = std::thread::spawn(move || {
            output.lines().map_while(Result::ok).filter(|line| line.ends_with('.')).collect::<Vec<String>>()
        });
        std::thread::sleep(kill_after);
        child.kill().expect("kill the writer");
        child.wait().expect("wait for the writer");
        acknowledged.extend(reader.join().expect("the reader finishes"));
        block_on(check_acknowledged(dir.path(), &acknowledged, round));
    }
    assert!(acknowledged.len() > 1000, "the writers got something done: {}", acknowledged.len());
}

async fn check_acknowledged(dir: &Path, acknowledged: &[String], round: u32) {
    let store = open(dir);
    for line in acknowledged {
        let mut words = line.trim_end_matches('.').split(' ');
        let (key, revision) = (words.next().expect("a key"), words.next().expect("a revision"));
        let kv = store.get(key).await.expect("get");
        let found = kv.map(|kv| (kv.mod_revision.to_string(), kv.value.len()));
        assert_eq!(
            found,
            Some((revision.to_owned(), key.len() * 100)),
            "round {round}: {key} was acknowledged"
        );
    }
    // Revisions go on where they were, and the store can be written.
    let status = store.status().await.expect("status");
    assert_eq!(store.put("round", round.to_string()).await.expect("put"), status.revision + 1);
}

async fn write_until_killed(dir: &Path) {
    let store = Arc::new(open(dir));
    let round = store.status().await.expect("status").revision;
    let writers = (0..16).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0.. {
                // Each key once, so that what is acknowledged stays true; and one that is superseded
                // all the time, so that compaction runs too.
                let key = format!("{round}/{writer}/{number}");
                let txn = Txn::new()
                    .then(Op::Put(Put::new(key.clone(), key.repeat(100))))
                    .then(Op::Put(Put::new(format!("hot/{writer}"), vec![0; 4096])));
                let revision = store.txn(txn).await.expect("write").revision;
                // One write, so that no line is mixed with another; the dot shows that it is whole.
                std::io::stdout().write_all(format!("{key} {revision}.\n").as_bytes()).expect("print");
                if number % 50 == 0 {
                    let _ = store.compact(revision.saturating_sub(100)).await;
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("the writer goes on until it is killed");
    }
}

fn a_store_on_a_full_disk() {
    testkit::require_root();
    let dir = tempfile::tempdir().expect("temporary directory");
    let me = std::env::current_exe().expect("own path");
    // The mount lives in a mount namespace of its own and goes away with the process.
    let script = r#"mount -t tmpfs -o size=24m tmpfs "$1" && exec "$0" full "$1""#;
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(me)
        .arg(dir.path())
        .status()
        .expect("run unshare, of the package util-linux");
    assert!(status.success(), "the store on a full disk: {status}");
}

async fn fill_the_disk(dir: &Path) {
    let root = dir.join("store");
    let store = open(&root);
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![1; 8 << 20]).expect("write the ballast");
    let mut acknowledged = 0;
    let error = loop {
        match store.put(&format!("key/{acknowledged}"), vec![0x61; 64 << 10]).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 1000, "64 MB do not fit into 24");
    };
    assert!(matches!(error, Error::DiskFull { .. }), "the error names the cause: {error:?}");
    assert!(acknowledged > 20, "{acknowledged} writes before the disk was full");
    // Reads go on, writes say what is the matter.
    let keys = Range::new(KeyRange::prefix("key/")).count_only();
    assert_eq!(store.range(keys.clone()).await.expect("range").count, acknowledged);
    assert!(store.status().await.expect("status").read_only.expect("it is read-only").contains("full"));
    assert!(matches!(store.put("more", vec![0; 64 << 10]).await, Err(Error::DiskFull { .. })));
    // Deletions go on.
    store.delete("key/0").await.expect("delete").expect("it was there");
    acknowledged -= 1;
    // Nothing that was refused shows after there is space again, nor after a restart.
    std::fs::remove_file(&ballast).expect("remove the ballast");
    wait_until_async("the store to be writable", || async {
        store.status().await.expect("status").read_only.map_or(Ok(()), Err)
    })
    .await;
    store.put("after", "1").await.expect("put");
    let before = store.range(Range::new(KeyRange::prefix(""))).await.expect("range");
    assert_eq!(before.count, acknowledged + 1);
    drop(store);
    assert_eq!(open(&root).range(Range::new(KeyRange::prefix(""))).await.expect("range"), before);
}

fn own_role(role: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.arg(role).arg(dir);
    command
}

fn open(path: &Path) -> Embedded {
    Embedded::open(path, Options::default(), Arc::new(SystemClock::new())).expect("open the store")
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().expect("start tokio").block_on(future);
}
