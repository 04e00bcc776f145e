//! What is on disk when a request has been answered, and what is told when nothing can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use store::{Embedded, Error, LeaseId, Range, RangeResult, Revision, Store, Txn, TxnResult, Watch, Watcher};

use crate::cluster::{Cluster, named};

fn leases(namespace: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
}

async fn lease(cluster: &Cluster, namespace: &str) -> Value {
    cluster.ok("GET", &format!("{}/a", leases(namespace)), &Value::Null).await
}

async fn cluster_with_leases() -> Cluster {
    let cluster = Cluster::start().await;
    make_leases(&cluster).await;
    cluster
}

async fn make_leases(cluster: &Cluster) {
    let made = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"},
        "spec": {
            "holderIdentity": "one", "leaseDurationSeconds": 40, "leaseTransitions": 0,
            "renewTime": "2026-01-01T00:00:00.000000Z",
        },
    });
    for namespace in ["kube-node-lease", "kube-system"] {
        cluster.ok("POST", &leases(namespace), &made).await;
    }
}

#[tokio::test]
async fn a_change_of_leadership_outlives_sigkill_and_a_restart_wherever_the_lease_is() {
    let cluster = cluster_with_leases().await;
    let changes = [
        json!({"spec": {"renewTime": "2026-01-01T00:00:10.000000Z", "holderIdentity": "two", "leaseTransitions": 1}}),
        json!({"spec": {"renewTime": "2026-01-01T00:00:20.000000Z", "acquireTime": "2026-01-01T00:00:20.000000Z"}}),
        json!({"spec": {"renewTime": "2026-01-01T00:00:30.000000Z"}, "metadata": {"labels": {"a": "b"}}}),
        json!({"metadata": {"annotations": {"a": "b"}}}),
        json!({"spec": {"holderIdentity": "three"}}),
    ];
    for change in &changes {
        for namespace in ["kube-node-lease", "kube-system"] {
            cluster.ok("PATCH", &format!("{}/a", leases(namespace)), change).await;
            let before = lease(&cluster, namespace).await;
            assert_eq!(lease(&cluster.killed().await, namespace).await, before, "{change} in {namespace}");
        }
    }
    let before = lease(&cluster, "kube-system").await;
    assert_eq!(lease(&cluster.restart().await, "kube-system").await, before);
}

#[tokio::test]
async fn a_renewal_is_lost_by_sigkill_for_nodes_only_and_by_a_restart_for_nobody() {
    let cluster = cluster_with_leases().await;
    let renewed = "2026-01-01T00:00:10.000000Z";
    for namespace in ["kube-node-lease", "kube-system"] {
        let change = json!({"spec": {"renewTime": renewed}});
        cluster.ok("PATCH", &format!("{}/a", leases(namespace)), &change).await;
        assert_eq!(lease(&cluster, namespace).await["spec"]["renewTime"], renewed);
    }
    let killed = cluster.killed().await;
    assert_eq!(lease(&killed, "kube-system").await["spec"]["renewTime"], renewed);
    // The heartbeat costs no flush; the lease is what it was made as, not gone.
    let heartbeat = lease(&killed, "kube-node-lease").await;
    assert_eq!(heartbeat["spec"]["renewTime"], "2026-01-01T00:00:00.000000Z");
    let restarted = cluster.restart().await;
    assert_eq!(lease(&restarted, "kube-node-lease").await["spec"]["renewTime"], renewed);
}

/// Renews the lease of the node; gives it as it was answered.
async fn renew(cluster: &Cluster, second: u64) -> Value {
    let renewed =
        format!("2026-01-01T{:02}:{:02}:{:02}.000000Z", second / 3600, second / 60 % 60, second % 60);
    let path = format!("{}/a", leases("kube-node-lease"));
    let answer = cluster.ok("PATCH", &path, &json!({"spec": {"renewTime": renewed}})).await;
    assert_eq!(answer["spec"]["renewTime"], renewed);
    answer
}

fn version(object: &Value) -> u64 {
    let version = object["metadata"]["resourceVersion"].as_str().expect("a version");
    version.parse().expect("a number")
}

/// A cluster over what another one left; counts the transactions.
async fn counted(root: tempfile::TempDir, store: Embedded) -> (Cluster, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counting = count.clone();
    let tap = move |_: &Txn| {
        counting.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    (Cluster::over(root, Arc::new(Tapped::new(store, tap))).await, count)
}

#[tokio::test]
async fn a_heartbeat_costs_no_write_and_has_a_version_of_its_own() {
    let (root, store) = cluster_with_leases().await.stop().await;
    let (cluster, written) = counted(root, store).await;
    let path = leases("kube-node-lease");
    let first = version(&renew(&cluster, 1).await);
    let before = written.load(Ordering::SeqCst);
    let mut watch = cluster.watch(&format!("{path}?watch=1&resourceVersion={first}")).await;
    let mut versions = vec![first];
    for second in 2..50 {
        versions.push(version(&renew(&cluster, second).await));
    }
    assert_eq!(written.load(Ordering::SeqCst), before, "nothing was written");
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    // Everybody sees it: watchers each of them, and where they left off.
    for expected in &versions[1..] {
        assert_eq!(version(&watch.next_event().await.expect("an event")["object"]), *expected);
    }
    let mut again = cluster.watch(&format!("{path}?watch=1&resourceVersion={}", versions[30])).await;
    assert_eq!(version(&again.next_event().await.expect("an event")["object"]), versions[31]);
    let list = cluster.get(&path).await.1;
    assert_eq!(version(&list["items"][0]), versions[48]);
    assert!(version(&list) >= versions[48]);
    // Who means another version than the newest is refused, though the store has seen neither.
    let mut stale = lease(&cluster, "kube-node-lease").await;
    stale["spec"]["holderIdentity"] = json!("thief");
    for old in [versions[0], versions[47]] {
        stale["metadata"]["resourceVersion"] = json!(old.to_string());
        assert_eq!(cluster.send("PUT", &format!("{path}/a"), &stale).await.0, 409);
    }
    stale["metadata"]["resourceVersion"] = json!(versions[48].to_string());
    let taken = cluster.ok("PUT", &format!("{path}/a"), &stale).await;
    assert_eq!(written.load(Ordering::SeqCst), before + 1, "that was no heartbeat");
    assert_eq!(taken["spec"]["renewTime"], stale["spec"]["renewTime"], "what was in memory is kept");
    let later =
        cluster.ok("POST", "/api/v1/namespaces/default/configmaps", &named("ConfigMap", "later")).await;
    assert!(versions[48] < version(&taken) && version(&taken) < version(&later));
}

#[tokio::test]
async fn a_list_shows_heartbeats_as_they_were_at_its_version() {
    let cluster = cluster_with_leases().await;
    let path = leases("kube-node-lease");
    for name in ["b", "c"] {
        let mut other = lease(&cluster, "kube-node-lease").await;
        other["metadata"] = json!({"name": name});
        cluster.ok("POST", &path, &other).await;
    }
    let beat = async |name: &str, second: u64| {
        let change = json!({"spec": {"renewTime": format!("2026-01-01T00:00:{second:02}.000000Z")}});
        cluster.ok("PATCH", &format!("{path}/{name}"), &change).await
    };
    let seconds = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().expect("items").iter();
        items.map(|item| item["spec"]["renewTime"].as_str().expect("a time")[17..19].to_owned()).collect()
    };
    for second in 1..=3 {
        for name in ["a", "b", "c"] {
            beat(name, second).await;
        }
    }
    let list = cluster.get(&path).await.1;
    assert_ne!(version(&list) % 4096, 0, "it was in memory only");
    let first = cluster.get(&format!("{path}?limit=1")).await.1;
    let at_three = version(&first);
    for name in ["a", "b", "c"] {
        beat(name, 4).await;
    }
    // Something is written in between, and the whole of the memory with it.
    cluster.ok("PATCH", &format!("{path}/b"), &json!({"metadata": {"labels": {"k": "v"}}})).await;
    cluster.ok("DELETE", &format!("{path}/c"), &json!({})).await;
    let exact = |version: u64| format!("{path}?resourceVersion={version}&resourceVersionMatch=Exact");
    let was = cluster.get(&exact(at_three)).await.1;
    assert_eq!((seconds(&was), version(&was)), (vec!["03".into(); 3], at_three), "{was}");
    assert_eq!(was["items"], list["items"]);
    let labelled = cluster.get(&format!("{}&labelSelector=k", exact(at_three))).await.1;
    assert_eq!(seconds(&labelled), Vec::<String>::new());
    // Page by page the same.
    let mut paged = vec![first["items"][0].clone()];
    let mut token = first["metadata"]["continue"].as_str().map(str::to_owned);
    while let Some(next) = token {
        let page = cluster.get(&format!("{path}?limit=1&continue={next}")).await.1;
        assert_eq!(version(&page), at_three);
        paged.extend(page["items"].as_array().expect("items").iter().cloned());
        token = page["metadata"]["continue"].as_str().map(str::to_owned);
    }
    assert_eq!(json!(paged), list["items"]);
    assert_eq!(seconds(&cluster.get(&path).await.1), ["04", "04"]);
    // Nobody gave the version after it to anything.
    let (code, status) = cluster.get(&exact(at_three - at_three % 4096 + 4000)).await;
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")), "{status}");
}

#[tokio::test]
async fn no_version_is_given_again_after_sigkill() {
    let cluster = cluster_with_leases().await;
    renew(&cluster, 1).await;
    let last = version(&renew(&cluster, 2).await);
    let killed = cluster.killed().await;
    assert!(version(&lease(&killed, "kube-node-lease").await) < last);
    let (first, second) = (version(&renew(&killed, 3).await), version(&renew(&killed, 4).await));
    assert!(last < first && first < second, "{last} {first} {second}");
    let third = version(&renew(&killed.killed().await, 5).await);
    assert!(second < third, "{second} {third}");
}

#[tokio::test]
async fn heartbeats_and_other_changes_at_the_same_time_lose_nothing() {
    let cluster = Arc::new(cluster_with_leases().await);
    let heart = tokio::spawn({
        let cluster = cluster.clone();
        async move {
            for second in 1..200 {
                renew(&cluster, second).await;
                tokio::task::yield_now().await;
            }
        }
    });
    let path = format!("{}/a", leases("kube-node-lease"));
    for number in 0..40 {
        let label = json!({"metadata": {"labels": {format!("l{number}"): "x"}}});
        // Heartbeats that cost nothing may be faster again and again.
        while cluster.send("PATCH", &path, &label).await.0 == 409 {
            tokio::task::yield_now().await;
        }
    }
    heart.await.expect("no panic");
    let lease = lease(&cluster, "kube-node-lease").await;
    assert_eq!(lease["metadata"]["labels"].as_object().map(serde_json::Map::len), Some(40));
    assert_eq!(lease["spec"]["renewTime"], "2026-01-01T00:03:19.000000Z");
}

#[tokio::test]
async fn an_object_larger_than_the_store_takes_is_refused_as_too_large() {
    let cluster = Cluster::start().await;
    let mut pod = crate::cluster::pod("large");
    pod["metadata"]["managedFields"] = json!([]);
    pod["spec"]["containers"][0]["args"] = json!(["x".repeat(1_600_000)]);
    let (code, status) = cluster.send("POST", "/api/v1/namespaces/default/pods", &pod).await;
    assert_eq!((code, &status["reason"]), (413, &json!("RequestEntityTooLarge")), "{status}");
    let message = status["message"].as_str().unwrap_or_default();
    assert!(message.contains("larger than the 1572864 bytes that the store takes"), "{message}");
}

/// A store that asks `tap` before each transaction, and counts the watches.
struct Tapped<F> {
    store: Embedded,
    tap: F,
    watches: AtomicUsize,
    /// Whether watches are not begun any more, as where a store elsewhere cannot be reached.
    away: AtomicBool,
    /// How often it was asked how it fares.
    asked: AtomicUsize,
}

impl<F> Tapped<F> {
    fn new(store: Embedded, tap: F) -> Self {
        let (watches, asked) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { store, tap, watches, away: AtomicBool::new(false), asked }
    }
}

impl<F: Fn(&Txn) -> Result<(), Error> + Send + Sync + 'static> Store for Tapped<F> {
    fn range(&self, request: Range) -> BoxFuture<'_, Result<RangeResult, Error>> {
        self.store.range(request)
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, Error>> {
        match (self.tap)(&txn) {
            Ok(()) => self.store.txn(txn),
            Err(error) => std::future::ready(Err(error)).boxed(),
        }
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, Error>> {
        self.store.revision()
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    fn watch(&self, request: Watch) -> BoxFuture<'_, Result<Watcher, Error>> {
        self.watches.fetch_add(1, Ordering::SeqCst);
        if self.away.load(Ordering::SeqCst) {
            std::future::pending().boxed()
        } else {
            self.store.watch(request)
        }
    }

    fn purge(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.store.purge()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        self.store.compact(revision)
    }

    fn lease_grant(&self, ttl: std::time::Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        self.store.lease_grant(ttl)
    }

    fn lease_renew(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        self.store.lease_renew(lease)
    }

    fn lease_revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        self.store.lease_revoke(lease)
    }

    fn status(&self) -> BoxFuture<'_, Result<store::Status, Error>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let probe = Txn::new().then(store::Op::Put(store::Put::new("probe", "")));
        let read_only = (self.tap)(&probe).err().map(|error| error.to_string());
        let status = self.store.status();
        async { Ok(store::Status { read_only, ..status.await? }) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.store.close()
    }
}

/// Refuses what is no deletion, nor on the way to one.
fn full(txn: &Txn) -> Result<(), Error> {
    let takes = txn.success.iter().all(|op| !matches!(op, store::Op::Put(put) if !put.urgent));
    let source = || Arc::new(std::io::ErrorKind::StorageFull.into());
    if takes { Ok(()) } else { Err(Error::DiskFull { source: source() }) }
}

#[tokio::test]
async fn on_a_full_disk_readiness_says_so_and_deletions_go_on() {
    let cluster = Cluster::start().await;
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "held", "finalizers": ["example.org/f"]},
    });
    let maps = "/api/v1/namespaces/default/configmaps";
    cluster.ok("POST", maps, &map).await;
    cluster.ok("POST", maps, &named("ConfigMap", "free")).await;
    assert_eq!(cluster.text("/readyz").await, (200, "ok".to_owned()));
    let (root, store) = cluster.stop().await;
    let store = Arc::new(Tapped::new(store, full));
    let cluster = Cluster::over(root, store.clone()).await;
    // It is asked where the answer depends on it, and nowhere else.
    let asked = async |path: &str| {
        store.asked.store(0, Ordering::SeqCst);
        (cluster.text(path).await.0, store.asked.load(Ordering::SeqCst))
    };
    for (path, expected) in [
        ("/readyz", (500, 1)),
        ("/healthz", (200, 1)),
        ("/readyz/etcd-readiness", (500, 1)),
        ("/readyz/etcd", (200, 1)),
        ("/readyz?exclude=ping", (500, 1)),
        ("/readyz?exclude=etcd-readiness", (200, 1)),
        ("/readyz?exclude=etcd&exclude=etcd-readiness", (200, 0)),
        ("/readyz/ping", (200, 0)),
        ("/readyz/nothing", (404, 0)),
        ("/livez", (200, 1)),
        ("/livez/etcd-readiness", (404, 0)),
    ] {
        assert_eq!(asked(path).await, expected, "{path}");
    }
    let (code, told) = cluster.text("/readyz").await;
    assert_eq!(code, 500, "{told}");
    assert!(told.contains("[-]etcd-readiness failed: reason withheld\n"), "{told}");
    let (_, told) = cluster.text("/readyz/etcd-readiness").await;
    let why = "internal server error: nothing can be written: the disk that holds the store is full";
    assert!(told.starts_with(why), "{told}");
    assert_eq!(cluster.text("/livez").await.0, 200, "a full disk is no reason to be started anew");
    assert_eq!(cluster.send("POST", maps, &named("ConfigMap", "new")).await.0, 503);
    cluster.ok("DELETE", &format!("{maps}/free"), &json!({})).await;
    // What is held is marked, then let go: both are writes on the way to a deletion.
    cluster.ok("DELETE", &format!("{maps}/held"), &json!({})).await;
    let free = json!({"metadata": {"finalizers": null}});
    cluster.ok("PATCH", &format!("{maps}/held"), &free).await;
    assert_eq!(cluster.get(&format!("{maps}/held")).await.0, 404);
}

type Free = fn(&Txn) -> Result<(), Error>;

fn takes_all(_: &Txn) -> Result<(), Error> {
    Ok(())
}

/// A server, its store, and a version that memory has gone past by 20 objects of half a megabyte.
async fn gone_past() -> (Cluster, Arc<Tapped<Free>>, String) {
    let root = tempfile::tempdir().expect("temporary directory");
    // However long this takes.
    let options = store::Options { history_age: None, ..store::Options::default() };
    let clock = Arc::new(base::SystemClock::new());
    let store = Embedded::open(&root.path().join("store"), options, clock).expect("open the store");
    let store = Arc::new(Tapped::new(store, takes_all as Free));
    let cluster = Cluster::over(root, store.clone()).await;
    let first = cluster.ok("POST", MAPS, &named("ConfigMap", "first")).await;
    for index in 0..20 {
        let mut map = named("ConfigMap", &format!("m{index:02}"));
        map["data"] = json!({"text": "x".repeat(512 << 10)});
        cluster.ok("POST", MAPS, &map).await;
    }
    let version = first["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    (cluster, store, version)
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_client_that_is_behind_keeps_its_place_in_the_history_of_the_store() {
    let (cluster, store, version) = gone_past().await;
    let path = format!("{MAPS}?watch=1&resourceVersion={version}");
    let begun = || store.watches.swap(0, Ordering::SeqCst);
    begun();
    let mut one = cluster.watch(&path).await;
    for index in 0..20 {
        assert_eq!(one.next().await, format!("ADDED m{index:02}"));
    }
    assert_eq!(begun(), 1);
    // There is room for some; the others are told the same.
    let mut many = Vec::new();
    for _ in 0..12 {
        many.push(cluster.watch(&path).await);
    }
    cluster.ok("PATCH", &format!("{MAPS}/first"), &json!({"data": {"k": "v"}})).await;
    for index in 0..20 {
        for watch in &mut many {
            assert_eq!(watch.next().await, format!("ADDED m{index:02}"));
        }
    }
    many.push(one);
    for watch in &mut many {
        assert_eq!(watch.next().await, "MODIFIED first");
    }
    let begun = begun();
    assert!((12..100).contains(&begun), "{begun} watches were begun");
    // What they had is free again.
    let mut last = cluster.watch(&path).await;
    store.watches.store(0, Ordering::SeqCst);
    for index in 0..20 {
        assert_eq!(last.next().await, format!("ADDED m{index:02}"));
    }
    assert!(store.watches.load(Ordering::SeqCst) <= 1);
}

#[tokio::test]
async fn a_client_that_is_behind_is_let_go_in_time_though_the_store_is_away() {
    let (cluster, store, version) = gone_past().await;
    store.away.store(true, Ordering::SeqCst);
    let path = format!("{MAPS}?watch=1&resourceVersion={version}");
    let mut short = cluster.watch(&format!("{path}&timeoutSeconds=1&allowWatchBookmarks=true")).await;
    let mark = short.next_event().await.expect("an event");
    assert_eq!(
        (mark["type"].as_str(), mark["object"]["metadata"]["resourceVersion"].as_str()),
        (Some("BOOKMARK"), Some(&*version))
    );
    assert_eq!(short.next().await, "end");
    let mut long = cluster.watch(&path).await;
    let next = tokio::spawn(async move { long.next().await });
    drop(cluster);
    assert_eq!(next.await.expect("no panic"), "end");
}

#[tokio::test]
async fn a_heartbeat_that_is_forgotten_is_passed_over_for_nobody() {
    let root = tempfile::tempdir().expect("temporary directory");
    let clock = Arc::new(base::clock::ManualClock::new(base::Clock::now(&base::SystemClock::new())));
    let options = store::Options { history_age: None, ..store::Options::default() };
    let store = Embedded::open(&root.path().join("store"), options, clock.clone()).expect("open the store");
    let (time, upkeep) = (clock.clone(), std::time::Duration::from_millis(10));
    let change = |config: &mut apiserver::Config| (config.clock, config.upkeep) = (time, upkeep);
    let cluster = Cluster::with(root, Arc::new(store), kinds::all(), change).await;
    make_leases(&cluster).await;
    let first = version(&renew(&cluster, 1).await);
    let in_memory = [version(&renew(&cluster, 2).await), version(&renew(&cluster, 3).await)];
    assert!(in_memory.iter().all(|version| version % 4096 > 0), "{in_memory:?}");
    // After four minutes memory knows no more how it was; it looks when there is something new.
    clock.advance(std::time::Duration::from_secs(240));
    let other = json!({"metadata": {"labels": {"k": "v"}}});
    let written = cluster.ok("PATCH", &format!("{}/a", leases("kube-system")), &other).await;
    let path = leases("kube-node-lease");
    let told = async |after: u64| {
        let query = "watch=1&timeoutSeconds=1&allowWatchBookmarks=true";
        let mut watch = cluster.watch(&format!("{path}?{query}&resourceVersion={after}")).await;
        watch.next_event().await.expect("an event")
    };
    for behind in [first - first % 4096, first, in_memory[0]] {
        let told = told(behind).await;
        assert_eq!(told["object"]["reason"], "Expired", "{behind}: {told}");
    }
    // Who has seen the last of them has missed nothing, nor has who begins with what there is.
    let list = version(&cluster.get(&path).await.1);
    for seen in [in_memory[1], version(&written), list] {
        let told = told(seen).await;
        assert_eq!(told["type"], "BOOKMARK", "{seen}: {told}");
    }
    // The same where nothing at all has come after it.
    let before = version(&renew(&cluster, 4).await);
    let last = version(&renew(&cluster, 5).await);
    clock.advance(std::time::Duration::from_secs(240));
    testkit::wait_until_async("the last one to be forgotten", || async {
        let told = told(before).await;
        if told["type"] == "ERROR" { Ok(()) } else { Err(told) }
    })
    .await;
    assert_eq!(version(&cluster.get(&path).await.1), last);
    assert_eq!(told(last).await["type"], "BOOKMARK");
}
