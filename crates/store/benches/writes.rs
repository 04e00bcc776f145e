//! Durable writes per second at 1, 8 and 64 writers, and reads beside them.
//!
//! `cargo bench -p store [-- DIR]`: prints a table; DIR (default: a temporary directory) decides
//! which disk is measured.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::SystemClock;
use store::{Embedded, KeyRange, Options, Range, Store, StoreExt, Watch};

const VALUE_BYTES: usize = 1024;
const RUN: Duration = Duration::from_secs(3);

fn main() {
    // `cargo bench` and `cargo test --benches` pass flags of their own.
    let place = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).map(PathBuf::from);
    let dir = tempfile::tempdir_in(place.unwrap_or_else(std::env::temp_dir)).expect("temporary directory");
    let runtime = tokio::runtime::Runtime::new().expect("start tokio");
    println!("{:>8} {:>12} {:>12} {:>12}", "writers", "writes/s", "p50 ms", "p99 ms");
    for writers in [1, 8, 64] {
        let store = Embedded::open(
            &dir.path().join(writers.to_string()),
            Options::default(),
            Arc::new(SystemClock::new()),
        )
        .expect("open the store");
        let mut latencies = runtime.block_on(write(Arc::new(store), writers));
        latencies.sort();
        let at = |part: f64| latencies[(latencies.len() as f64 * part) as usize].as_secs_f64() * 1e3;
        let rate = latencies.len() as f64 / RUN.as_secs_f64();
        println!("{writers:>8} {rate:>12.0} {:>12.2} {:>12.2}", at(0.5), at(0.99));
    }
    let start = Instant::now();
    let store = Embedded::open(&dir.path().join("64"), Options::default(), Arc::new(SystemClock::new()))
        .expect("open the store again");
    println!("open again: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    runtime.block_on(read(store));
}

async fn write(store: Arc<Embedded>, writers: usize) -> Vec<Duration> {
    let end = Instant::now() + RUN;
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while Instant::now() < end {
                    let start = Instant::now();
                    let key = format!("pods/{writer}/{}", latencies.len() % 500);
                    store.put(&key, vec![0x61; VALUE_BYTES]).await.expect("put");
                    latencies.push(start.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("the writer finishes"));
    }
    all
}

async fn read(store: Embedded) {
    let keys = store.range(Range::new(KeyRange::prefix(""))).await.expect("range").count;
    let start = Instant::now();
    let reads = 200_000;
    for number in 0..reads {
        store.get(&format!("pods/{}/{}", number % 64, number % 500)).await.expect("get");
    }
    println!("{keys} keys: {:.0} ns per get", start.elapsed().as_nanos() as f64 / f64::from(reads));
    let start = Instant::now();
    let listed =
        store.range(Range::new(KeyRange::prefix("pods/")).limit(5000)).await.expect("range").items.len();
    println!("list of {listed}: {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    let mut watcher = store.watch(Watch::new(KeyRange::prefix("pods/"))).await.expect("watch");
    let start = Instant::now();
    store.put("pods/0/0", "changed").await.expect("put");
    watcher.next().await.expect("the change");
    println!("write to event: {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
}
