use store::{Embedded, Op, Options, Put, Txn};

use super::*;

const KEYS: usize = 100;
const ROUNDS: u64 = 100;

/// Lists and watches in turn, as fast as it can, until `last`. Each revision from `first` on sets all keys.
fn list_and_watch(partition: &Arc<Partition>, first: u64, last: u64) {
    let follower = partition.follow(Interest::All);
    let mut position = 0;
    while position < last {
        let (objects, at) = partition.snapshot(0, "");
        let of_it = objects.iter().filter(|stored| stored.revision() == at).count();
        position = revision_of(at);
        assert_eq!(of_it, if position < first { 0 } else { KEYS }, "a list at {position} shows all of it");
        // Then it follows for a while.
        let mut told: BTreeMap<u64, usize> = BTreeMap::new();
        let begin = position.max(first - 1) + 1;
        while position < last && told.len() < 5 {
            for change in follower.changes(version_at(position), 7).expect("the history reaches so far") {
                position = revision_of(change.revision);
                *told.entry(position).or_default() += 1;
            }
        }
        let expected: BTreeMap<u64, usize> =
            (begin..begin + told.len() as u64).map(|revision| (revision, KEYS)).collect();
        assert_eq!(told, expected, "some are lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_takes_a_part_of_a_revision_for_all_of_it() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let clock: Arc<dyn Clock> = Arc::new(base::SystemClock::new());
    let store = Embedded::open(directory.path(), Options::default(), clock.clone()).expect("open the store");
    let (cache, watcher) = Cache::load(&store, Arc::new(Table::new(Vec::new())), clock).await.expect("load");
    let partition = cache.partition("core/configmaps");
    let first = store.revision().await.expect("revision") + 1;
    let last = first + ROUNDS - 1;
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let partition = partition.clone();
            std::thread::spawn(move || list_and_watch(&partition, first, last))
        })
        .collect();
    let stop = CancellationToken::new();
    let write = async {
        for round in 0..ROUNDS {
            let txn = (0..KEYS).fold(Txn::new(), |txn, number| {
                let object = format!(r#"{{"kind":"ConfigMap","metadata":{{}},"data":{{"x":"{round}"}}}}"#);
                let key = key("core/configmaps", "default", &format!("m{number}"));
                txn.then(Op::Put(Put::new(key, object.into_bytes())))
            });
            assert_eq!(store.txn(txn).await.expect("txn").revision, first + round);
        }
        partition.wait_for(version_at(last)).await;
        stop.cancel();
    };
    tokio::join!(cache.follow(&store, watcher, stop.clone()), write);
    for reader in readers {
        reader.join().expect("a reader loses nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_sees_a_revision_in_one_partition_finds_it_in_the_others() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let clock: Arc<dyn Clock> = Arc::new(base::SystemClock::new());
    let store = Embedded::open(directory.path(), Options::default(), clock.clone()).expect("open the store");
    let (cache, watcher) = Cache::load(&store, Arc::new(Table::new(Vec::new())), clock).await.expect("load");
    let services = cache.partition("core/services");
    let ports = cache.partition("nodeports.gantry.dev/nodeports");
    let stop = CancellationToken::new();
    let write = async {
        for round in 0..ROUNDS {
            let object = format!(r#"{{"kind":"A","metadata":{{}},"x":"{round}"}}"#);
            let put = |key: String| Op::Put(Put::new(key, object.clone().into_bytes()));
            let txn = Txn::new().then(put(key("core/services", "default", "s")));
            let txn = (0..KEYS).fold(txn, |txn, number| {
                txn.then(put(key("nodeports.gantry.dev/nodeports", "", &number.to_string())))
            });
            let version = version_at(store.txn(txn).await.expect("txn").revision);
            let services = services.clone();
            let ports = ports.clone();
            let see = tokio::spawn(async move {
                services.wait_for(version).await;
                ports.snapshot(0, "").0.iter().filter(|port| port.revision() == version).count()
            });
            assert_eq!(see.await.expect("it looks"), KEYS, "of revision {version}");
        }
        stop.cancel();
    };
    tokio::join!(cache.follow(&store, watcher, stop.clone()), write);
}
