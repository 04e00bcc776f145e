//! Two servers over one etcd: what one has acknowledged, the other shows and respects.

use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use base::clock::ManualClock;
use serde_json::{Value, json};
use testkit::etcd;

use crate::cluster::{Cluster, Watch, connect, named};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Two servers of one installation, with the certificates and keys of one, over one etcd.
struct Pair {
    one: Cluster,
    two: Cluster,
    clock: Arc<ManualClock>,
    etcd: etcd::Server,
}

impl Pair {
    async fn start() -> Self {
        let server = etcd::Server::start();
        let root = tempfile::tempdir().expect("temporary directory");
        let other_root = tempfile::tempdir().expect("temporary directory");
        let clock = Arc::new(ManualClock::new(base::SystemClock::new().now()));
        let one = Self::serve(root, &server, clock.clone()).await;
        one.copy_keys(other_root.path());
        let two = Self::serve(other_root, &server, clock.clone()).await;
        let account = named("ServiceAccount", "default");
        one.ok("POST", "/api/v1/namespaces/default/serviceaccounts", &account).await;
        Self { one, two, clock, etcd: server }
    }

    async fn serve(root: tempfile::TempDir, server: &etcd::Server, clock: Arc<ManualClock>) -> Cluster {
        let store = Arc::new(connect(server).await);
        let change = |config: &mut apiserver::Config| {
            config.clock = clock;
            config.upkeep = Duration::from_millis(50);
        };
        Cluster::with(root, store, kinds::all(), change).await
    }

    /// Each of them, and the other.
    fn both_ways(&self) -> [(&Cluster, &Cluster); 2] {
        [(&self.one, &self.two), (&self.two, &self.one)]
    }
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().expect("a version")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_shows_what_was_acknowledged_by_the_other_server() {
    let pair = Pair::start().await;
    for round in 0..20 {
        for (number, (writer, reader)) in pair.both_ways().into_iter().enumerate() {
            let name = format!("m-{round}-{number}");
            let path = format!("{MAPS}/{name}");
            let made = writer.ok("POST", MAPS, &named("ConfigMap", &name)).await;
            assert_eq!(reader.get(&path).await, (200, made.clone()));
            assert_eq!(reader.send("POST", MAPS, &named("ConfigMap", &name)).await.0, 409);
            let changed = writer.ok("PATCH", &path, &json!({"data": {"a": "b"}})).await;
            let (_, list) = reader.get(MAPS).await;
            let items = list["items"].as_array().expect("items");
            assert!(items.iter().any(|item| version(item) == version(&changed)), "{list}");
            writer.ok("POST", "/api/v1/namespaces", &named("Namespace", &format!("n-{name}"))).await;
            assert_eq!(reader.get(&format!("/api/v1/namespaces/n-{name}")).await.0, 200);
            writer.ok("DELETE", &path, &json!({})).await;
            assert_eq!(reader.get(&path).await.0, 404);
            assert_eq!(reader.send("DELETE", &path, &json!({})).await.0, 404);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_write_the_same_at_once_one_is_told_so() {
    let pair = Pair::start().await;
    for round in 0..20 {
        let map = named("ConfigMap", &format!("m-{round}"));
        let (a, b) = tokio::join!(pair.one.send("POST", MAPS, &map), pair.two.send("POST", MAPS, &map));
        let mut codes = [a.0, b.0];
        codes.sort();
        assert_eq!(codes, [201, 409], "{} {}", a.1, b.1);
        // The same for who changes what they have both read.
        let path = format!("{MAPS}/m-{round}");
        let read = pair.one.get(&path).await.1;
        let change = |who: &str| {
            let mut map = read.clone();
            map["data"] = json!({"who": who});
            map
        };
        let (first, second) = (change("one"), change("two"));
        let (a, b) = tokio::join!(pair.one.send("PUT", &path, &first), pair.two.send("PUT", &path, &second));
        let mut codes = [a.0, b.0];
        codes.sort();
        assert_eq!(codes, [200, 409], "{} {}", a.1, b.1);
    }
    // Ports of nodes are given once.
    let service = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]},
        })
    };
    let services = "/api/v1/namespaces/default/services";
    let (a, b) = (service("a"), service("b"));
    let (a, b) = tokio::join!(pair.one.send("POST", services, &a), pair.two.send("POST", services, &b));
    let mut codes = [a.0, b.0];
    codes.sort();
    assert_eq!(codes, [201, 422], "{} {}", a.1, b.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_through_both_at_once_lose_nothing() {
    let pair = Pair::start().await;
    pair.one.ok("POST", MAPS, &named("ConfigMap", "m")).await;
    let path = format!("{MAPS}/m");
    let work = |cluster, side: &'static str| {
        let path = &path;
        async move {
            for number in 0..20 {
                let change = json!({"data": {format!("{side}-{number}"): "x"}});
                Cluster::ok(cluster, "PATCH", path, &change).await;
            }
        }
    };
    tokio::join!(work(&pair.one, "one"), work(&pair.two, "two"));
    for (cluster, _) in pair.both_ways() {
        let data = cluster.get(&path).await.1["data"].clone();
        assert_eq!(data.as_object().map(serde_json::Map::len), Some(40), "{data}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_of_both_tell_the_same_from_any_version_of_either() {
    let pair = Pair::start().await;
    let begin = pair.one.get(MAPS).await.1;
    let path = format!("{MAPS}?watch=1&resourceVersion={}", version(&begin));
    let mut watches = [pair.one.watch(&path).await, pair.two.watch(&path).await];
    for number in 0..10 {
        let (writer, other) = pair.both_ways()[number % 2];
        let name = format!("m-{number}");
        writer.ok("POST", MAPS, &named("ConfigMap", &name)).await;
        other.ok("PATCH", &format!("{MAPS}/{name}"), &json!({"data": {"a": "b"}})).await;
        other.ok("DELETE", &format!("{MAPS}/{name}"), &json!({})).await;
    }
    let told = async |watch: &mut Watch, count: usize| {
        let mut told = Vec::new();
        for _ in 0..count {
            told.push(watch.next_event().await.expect("an event"));
        }
        told
    };
    let [first, second] = &mut watches;
    let events = told(first, 30).await;
    assert_eq!(told(second, 30).await, events);
    let kinds: Vec<_> = events[..3].iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["ADDED", "MODIFIED", "DELETED"]);
    // From the version of any event at either.
    for (cluster, _) in pair.both_ways() {
        let path = format!("{MAPS}?watch=1&resourceVersion={}", version(&events[12]["object"]));
        assert_eq!(told(&mut cluster.watch(&path).await, 17).await, events[13..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_in_a_namespace_that_the_other_server_ends() {
    let pair = Pair::start().await;
    for (number, (writer, other)) in pair.both_ways().into_iter().enumerate() {
        let name = format!("n-{number}");
        writer.ok("POST", "/api/v1/namespaces", &named("Namespace", &name)).await;
        let maps = format!("/api/v1/namespaces/{name}/configmaps");
        other.ok("POST", &maps, &named("ConfigMap", "before")).await;
        writer.ok("DELETE", &format!("/api/v1/namespaces/{name}"), &json!({})).await;
        let (code, status) = other.send("POST", &maps, &named("ConfigMap", "after")).await;
        assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_server_is_good_at_the_other() {
    let pair = Pair::start().await;
    for (issuer, other) in pair.both_ways() {
        let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let token = issuer.ok("POST", path, &request).await["status"]["token"].clone();
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
        });
        let reviewed = other.ok("POST", "/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
        assert_eq!(reviewed["status"]["authenticated"], true, "{reviewed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_reach_the_other_server_in_time_and_are_never_overwritten_unseen() {
    let pair = Pair::start().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let path = format!("{leases}/a");
    let made = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"},
        "spec": {
            "holderIdentity": "a", "leaseDurationSeconds": 40,
            "renewTime": "2026-01-01T00:00:00.000000Z",
        },
    });
    pair.one.ok("POST", leases, &made).await;
    let renew = async |second: u64| {
        let change = json!({"spec": {"renewTime": format!("2026-01-01T00:00:{second:02}.000000Z")}});
        pair.one.ok("PATCH", &path, &change).await
    };
    // Ten seconds apart, as nodes have it: the other server never shows one older than two of them.
    for round in 1..6 {
        let renewed = renew(round * 10 % 60).await;
        let seen = pair.two.get(&path).await.1;
        let shown = |lease: &Value| lease["spec"]["renewTime"].as_str().expect("a time").to_owned();
        let least = format!("2026-01-01T00:00:{:02}.000000Z", round.saturating_sub(1) * 10);
        assert!(shown(&seen) >= least, "{} after {}", shown(&seen), shown(&renewed));
        pair.clock.advance(Duration::from_secs(10));
    }
    // What is in the memory of one alone is no version that the other could mistake for its own.
    let before = renew(51).await;
    let ahead = renew(52).await;
    assert!(version(&before) < version(&ahead));
    let mut change = ahead.clone();
    change["spec"]["holderIdentity"] = json!("b");
    assert_eq!(pair.two.send("PUT", &path, &change).await.0, 409);
    assert_eq!(pair.one.send("PUT", &path, &change).await.0, 200);
    assert_eq!(pair.two.get(&path).await, pair.one.get(&path).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_of_one_server_is_found_by_the_other_though_nothing_of_theirs_was_written() {
    let pair = Pair::start().await;
    // Others use the same etcd.
    let options = store::EtcdOptions {
        endpoints: vec![pair.etcd.endpoint().to_owned()],
        ..store::EtcdOptions::default()
    };
    let stranger = store::Etcd::connect(options).await.expect("etcd answers");
    for (number, (one, other)) in pair.both_ways().into_iter().enumerate() {
        store::StoreExt::put(&stranger, &format!("stranger/{number}"), "x").await.expect("put");
        let version = version(&one.get(MAPS).await.1).to_owned();
        for query in ["", "&resourceVersionMatch=Exact", "&watch=1&timeoutSeconds=1"] {
            let (code, answer) = other.get(&format!("{MAPS}?resourceVersion={version}{query}")).await;
            assert_eq!(code, 200, "{query}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_goes_on_at_the_other_server_misses_no_heartbeat_of_its_memory() {
    let pair = Pair::start().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    for name in ["one", "two"] {
        let made = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": "2026-01-01T00:00:00.000000Z"},
        });
        pair.one.ok("POST", leases, &made).await;
    }
    let beat = async |cluster: &Cluster, name: &str, second: u64| {
        let change = json!({"spec": {"renewTime": format!("2026-01-01T00:00:{second:02}.000000Z")}});
        cluster.ok("PATCH", &format!("{leases}/{name}"), &change).await
    };
    // Both have some in memory, under the same versions.
    beat(&pair.one, "one", 1).await;
    beat(&pair.two, "two", 1).await;
    let two = beat(&pair.two, "two", 2).await;
    for second in 2..6 {
        beat(&pair.one, "one", second).await;
    }
    let list = pair.one.get(leases).await.1;
    let number = |object: &Value| version(object).parse::<u64>().expect("a number");
    assert_eq!(number(&list) / 4096, number(&two) / 4096, "nothing was written in between");
    assert!(number(&list) > number(&two) && number(&two) % 4096 > 0, "{list} {two}");
    let path = format!("{leases}?watch=1&resourceVersion={}", version(&list));
    let mut watch = pair.two.watch(&path).await;
    while watch.next_event().await.expect("an event")["object"] != two {}
    // What the other has never seen it does not show as if it had.
    let exact = format!("{leases}?resourceVersion={}&resourceVersionMatch=Exact", version(&list));
    assert_eq!(pair.two.get(&exact).await.0, 410);
    assert_eq!(pair.one.get(&exact).await, (200, list));
}

/// Makes leases of nodes.
async fn make_leases(cluster: &Cluster, names: &[&str]) {
    for name in names {
        let made = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": "2026-01-01T00:00:00.000000Z"},
        });
        cluster.ok("POST", LEASES, &made).await;
    }
}

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

async fn beat(cluster: &Cluster, name: &str, second: u64) -> Value {
    let change = json!({"spec": {"renewTime": format!("2026-01-01T00:00:{second:02}.000000Z")}});
    cluster.ok("PATCH", &format!("{LEASES}/{name}"), &change).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_both_have_given_hides_no_heartbeat_from_whoever_goes_on_at_the_other() {
    let pair = Pair::start().await;
    make_leases(&pair.one, &["a", "b", "c"]).await;
    // Each has some in memory, the other server as many as this one and more.
    beat(&pair.one, "a", 1).await;
    let seen = beat(&pair.one, "a", 2).await;
    let hidden = [beat(&pair.two, "b", 1).await, beat(&pair.two, "c", 1).await];
    let later = beat(&pair.two, "b", 2).await;
    let list = pair.one.get(LEASES).await.1;
    assert_eq!(version(&list), version(&seen));
    assert_eq!(version(&hidden[1]), version(&seen), "both have given it");
    let path = format!("{LEASES}?watch=1&resourceVersion={}", version(&list));
    let mut watch = pair.two.watch(&path).await;
    for expected in hidden.iter().chain([&later]) {
        let event = watch.next_event().await.expect("an event");
        assert_eq!(event["object"], *expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_heartbeat_reaches_the_other_server_though_none_comes_after_it() {
    let pair = Pair::start().await;
    make_leases(&pair.one, &["a", "b"]).await;
    beat(&pair.one, "a", 1).await;
    let last = beat(&pair.one, "a", 2).await;
    let renewed = |lease: &Value| lease["spec"]["renewTime"].clone();
    assert_ne!(renewed(&pair.two.get(&format!("{LEASES}/a")).await.1), renewed(&last), "it is in memory");
    pair.clock.advance(Duration::from_secs(10));
    testkit::wait_until_async("the heartbeat to be seen", || async {
        let seen = pair.two.get(&format!("{LEASES}/a")).await.1;
        if renewed(&seen) == renewed(&last) { Ok(seen) } else { Err(seen) }
    })
    .await;
    // It is the same for both from then on, and none is lost that comes later.
    assert_eq!(pair.one.get(&format!("{LEASES}/a")).await, pair.two.get(&format!("{LEASES}/a")).await);
    let later = beat(&pair.one, "a", 3).await;
    assert_eq!(pair.one.get(&format!("{LEASES}/a")).await.1, later);
}
