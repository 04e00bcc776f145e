//! Who is served first: floods, objects that say nothing good, and what becomes of those who go away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use apiserver::fairness::Limits;
use apiserver::{Admission, Admitting, Body, Identity, Write, at_once};
use base::Clock;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use model::Object;
use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::cluster::{Cluster, named};

const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SCHEMA_UID: &str = "x-kubernetes-pf-flowschema-uid";
const LEVEL_UID: &str = "x-kubernetes-pf-prioritylevel-uid";

/// Somebody who may read config maps, and write them.
fn user(name: &str) -> Identity {
    Identity::new(name, ["staff"])
}

/// Lets the group of the users here do what they do.
async fn allow(cluster: &Cluster) {
    let role = json!({
        "metadata": {"name": "staff"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}],
    });
    cluster.ok("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await;
    let binding = json!({
        "metadata": {"name": "staff"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "staff"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "staff"}],
    });
    cluster.ok("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
}

async fn call(cluster: &Cluster, method: &str, path: &str, who: &Identity, body: &str) -> Response<Body> {
    let request = Request::builder().method(method).uri(path).body(Bytes::from(body.to_owned()));
    cluster.handle.call(request.expect("a well-formed request"), who.clone()).await
}

async fn read(cluster: &Cluster, path: &str, who: &Identity) -> Response<Body> {
    call(cluster, "GET", path, who, "").await
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The columns of the levels' table, by name.
async fn levels(cluster: &Cluster) -> BTreeMap<String, Vec<String>> {
    let path = "/debug/api_priority_and_fairness/dump_priority_levels";
    let response = read(cluster, path, &Identity::administrator()).await;
    assert_eq!(response.status(), 200);
    let text = response.into_body().collect().await.expect("a body").to_bytes();
    let text = String::from_utf8_lossy(&text).into_owned();
    let rows = text.lines().skip(1).map(|line| {
        let mut cells = line.split(',').map(|cell| cell.trim().to_owned());
        (cells.next().expect("a name"), cells.collect())
    });
    rows.collect()
}

/// Waiting and executing requests of a level.
async fn busy(cluster: &Cluster, level: &str) -> (usize, usize) {
    let row = levels(cluster).await.remove(level).expect("it is there");
    (row[3].parse().expect("a number"), row[4].parse().expect("a number"))
}

/// How much memory the process has in use, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    for _ in 0..3000 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within half a minute: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_tell_by_what_they_were_let_in() {
    let cluster = Cluster::start().await;
    allow(&cluster).await;
    for (who, path, schema, level) in [
        (user("jane"), MAPS, "global-default", "global-default"),
        (Identity::administrator(), MAPS, "exempt", "exempt"),
        (user("jane"), "/livez", "probes", "exempt"),
        (
            Identity::controller("job-controller"),
            "/api/v1/pods",
            "kube-system-service-accounts",
            "workload-high",
        ),
        (Identity::service_account("default", "x"), "/api", "service-accounts", "workload-low"),
        (Identity::component("kube-scheduler"), "/api/v1/pods", "kube-scheduler", "workload-high"),
        (Identity::component("kube-proxy"), "/api/v1/services", "gantry", "workload-high"),
        (Identity::node("n"), "/api/v1/nodes/n", "system-node-high", "node-high"),
    ] {
        let response = read(&cluster, path, &who).await;
        let told = (header(&response, SCHEMA_UID).to_owned(), header(&response, LEVEL_UID).to_owned());
        let uid = async |path: String| {
            let (_, object) = cluster.get(&path).await;
            object["metadata"]["uid"].as_str().expect("a uid").to_owned()
        };
        let expected = (uid(format!("{SCHEMAS}/{schema}")).await, uid(format!("{LEVELS}/{level}")).await);
        assert_eq!(told, expected, "{} {path} {}", who.user, response.status());
    }
    // What nobody may is not let in by anything.
    let refused = read(&cluster, "/api/v1/secrets", &user("jane")).await;
    assert_eq!((refused.status().as_u16(), header(&refused, SCHEMA_UID)), (403, ""));
    // What waits instead of working has no seat once it waits.
    cluster.ok("POST", MAPS, &named("ConfigMap", "one")).await;
    let watch = read(&cluster, &format!("{MAPS}?watch=1&resourceVersion=0"), &user("jane")).await;
    assert_eq!(watch.status(), 200);
    assert_eq!(busy(&cluster, "global-default").await.1, 1, "it has not told what there is");
    let mut body = watch.into_body();
    while busy(&cluster, "global-default").await.1 > 0 {
        let next = tokio::time::timeout(Duration::from_secs(1), body.frame()).await;
        assert!(next.is_err() || busy(&cluster, "global-default").await.1 == 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_by_one_user_is_refused_and_others_are_served() {
    const MANY: usize = 2000;
    let cluster = Arc::new(Cluster::start().await);
    allow(&cluster).await;
    // As much as ten thousand small ones: what is held for a list counts.
    let make = |index: usize| {
        let cluster = &cluster;
        async move {
            let mut map = named("ConfigMap", &format!("m{index:03}"));
            map["data"] = json!({"text": "x".repeat(20_000)});
            cluster.ok("POST", MAPS, &map).await;
        }
    };
    futures::future::join_all((0..100).map(make)).await;
    let before = resident();
    let (refused, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Semaphore::new(0)));
    let flood: Vec<_> = (0..MANY)
        .map(|_| {
            let (cluster, refused, go) = (cluster.clone(), refused.clone(), go.clone());
            tokio::spawn(async move {
                let response = read(&cluster, MAPS, &user("flood")).await;
                if response.status() == 429 {
                    let after: u64 = header(&response, "retry-after").parse().expect("a number");
                    assert!((1..=32).contains(&after), "{after}");
                    refused.fetch_add(1, Ordering::SeqCst);
                    return false;
                }
                assert_eq!(response.status(), 200);
                // Nothing is taken before all have come.
                drop(go.acquire().await);
                let (mut body, mut length) = (response.into_body(), 0);
                while let Some(frame) = body.frame().await {
                    length += frame.expect("a piece").data_ref().map_or(0, Bytes::len);
                }
                assert!(length > 2_000_000, "whole");
                true
            })
        })
        .collect();
    let most_busy = std::cell::Cell::new((0, 0));
    until("most are refused", async || {
        let (waiting, executing) = busy(&cluster, "global-default").await;
        let (most_waiting, most_executing) = most_busy.get();
        most_busy.set((waiting.max(most_waiting), executing.max(most_executing)));
        refused.load(Ordering::SeqCst) >= MANY - 400
    })
    .await;
    // Six queues of fifty, and the seats of the level by eight each, with all that it may borrow.
    let (waiting, executing) = most_busy.get();
    assert!((1..=300).contains(&waiting) && (1..=80).contains(&executing), "{waiting} {executing}");
    go.add_permits(MANY);
    let mut most = before;
    for number in 0..100 {
        let response = read(&cluster, &format!("{MAPS}/m{number:03}"), &user("jane")).await;
        assert_eq!(response.status(), 200, "{number}");
        most = most.max(resident());
    }
    let mut served = 0;
    for one in flood {
        served += usize::from(one.await.expect("no panic"));
    }
    assert_eq!(served + refused.load(Ordering::SeqCst), MANY);
    // Those who waited are served, as long as they may wait.
    assert!(served >= 20, "{served}");
    assert!(most < before + 200_000, "{before} KiB before, {most} KiB with it");
    assert_eq!(busy(&cluster, "global-default").await, (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_level_without_seats_stops_whoever_it_is_for_and_no_administrator() {
    let timeout = Duration::from_secs(2);
    let cluster = Cluster::configured(|config| config.limits = Limits { timeout, ..Limits::default() }).await;
    allow(&cluster).await;
    let queuing = json!({"queues": 10_000_000, "handSize": 2, "queueLengthLimit": 2_000_000_000});
    let limited = json!({
        "nominalConcurrencyShares": 0, "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Queue", "queuing": queuing},
    });
    let level = json!({"metadata": {"name": "none"}, "spec": {"type": "Limited", "limited": limited}});
    cluster.ok("POST", LEVELS, &level).await;
    let everything = json!([{
        "subjects": [{"kind": "Group", "group": {"name": "*"}}],
        "resourceRules": [{
            "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true,
        }],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }]);
    let schema = |name: &str, level: &str, rules: &Value| {
        json!({"metadata": {"name": name}, "spec": {
            "matchingPrecedence": 2, "priorityLevelConfiguration": {"name": level}, "rules": rules,
        }})
    };
    cluster.ok("POST", SCHEMAS, &schema("all", "none", &everything)).await;
    until("the schema counts", async || read(&cluster, MAPS, &user("jane")).await.status() == 429).await;
    let status = read(&cluster, MAPS, &user("jane")).await.into_body().collect().await.expect("a body");
    let status: Value = serde_json::from_slice(&status.to_bytes()).expect("a status");
    assert_eq!(
        (&status["message"], &status["reason"], &status["details"]["retryAfterSeconds"]),
        (&json!("Too many requests, please try again later."), &json!("TooManyRequests"), &json!(1))
    );
    // A schema of a level that is not there says so, and counts for nothing.
    cluster.ok("POST", SCHEMAS, &schema("lost", "nowhere", &everything)).await;
    let condition = async |name: &str| {
        let (_, object) = cluster.get(&format!("{SCHEMAS}/{name}")).await;
        let condition = object["status"]["conditions"][0].clone();
        (condition["type"].clone(), condition["status"].clone())
    };
    until("it says that it dangles", async || condition("lost").await == (json!("Dangling"), json!("True")))
        .await;
    assert_eq!(condition("all").await.1, "False");
    cluster.ok("DELETE", &format!("{SCHEMAS}/all"), &json!({})).await;
    until("others are served again", async || read(&cluster, MAPS, &user("jane")).await.status() == 200)
        .await;
    until("the level is empty", async || busy(&cluster, "none").await == (0, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_his_time_to_send_keeps_nobody_from_a_seat() {
    let clock = Arc::new(base::clock::ManualClock::new(base::SystemClock::new().now()));
    let own = clock.clone();
    let cluster = Cluster::configured(move |config| {
        config.limits = Limits { writing: 1, fair: false, ..Limits::default() };
        config.clock = own.clone();
    })
    .await;
    allow(&cluster).await;
    let number = AtomicUsize::new(0);
    let write = async || {
        let name = format!("m{}", number.fetch_add(1, Ordering::Relaxed));
        let body = named("ConfigMap", &name).to_string();
        call(&cluster, "POST", MAPS, &user("jane"), &body).await.status().as_u16()
    };
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
    );
    // One who comes while another writes is refused, and comes again.
    let mut slow = Vec::new();
    until("he has the only seat", async || {
        let mut stream = crate::access::connect(&cluster, Some(&user("slow")), "http/1.1").await;
        stream.write_all(head.as_bytes()).await.expect("write");
        stream.flush().await.expect("flush");
        slow.push(stream);
        tokio::time::sleep(Duration::from_millis(50)).await;
        write().await == 429
    })
    .await;
    assert_eq!(write().await, 429);
    clock.advance(Duration::from_secs(6));
    assert_eq!(write().await, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_be_there_comes_back_and_counts_meanwhile() {
    let cluster = Cluster::configured(|config| config.upkeep = Duration::from_millis(300)).await;
    allow(&cluster).await;
    let uid = async |path: &str| cluster.get(path).await.1["metadata"]["uid"].clone();
    let paths = [
        format!("{SCHEMAS}/exempt"),
        format!("{SCHEMAS}/catch-all"),
        format!("{LEVELS}/exempt"),
        format!("{LEVELS}/catch-all"),
        format!("{SCHEMAS}/global-default"),
        format!("{LEVELS}/workload-low"),
    ];
    for path in &paths {
        let before = uid(path).await;
        cluster.ok("DELETE", path, &json!({})).await;
        assert_eq!(read(&cluster, MAPS, &user("jane")).await.status(), 200);
        until(path, async || {
            let now = uid(path).await;
            now.is_string() && now != before
        })
        .await;
    }
    // What somebody changed comes back, unless he says that he means it.
    let path = format!("{LEVELS}/workload-low");
    let shares = async || cluster.get(&path).await.1["spec"]["limited"]["nominalConcurrencyShares"].clone();
    let change = json!({"spec": {"limited": {"nominalConcurrencyShares": 7}}});
    cluster.ok("PATCH", &path, &change).await;
    until("it is as it was", async || shares().await == 100).await;
    let mut meant = change;
    meant["metadata"] = json!({"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}});
    cluster.ok("PATCH", &path, &meant).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(shares().await, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_schemas_are_gone_through_and_forgotten() {
    let cluster = Cluster::start().await;
    allow(&cluster).await;
    let make = |index: usize| {
        let cluster = &cluster;
        async move {
            let rules = json!([{
                "subjects": [{"kind": "User", "user": {"name": format!("user-{index}")}}],
                "resourceRules": [{
                    "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"],
                }],
            }]);
            let schema = json!({"metadata": {"name": format!("s{index}")}, "spec": {
                "matchingPrecedence": 1000, "priorityLevelConfiguration": {"name": "workload-low"}, "rules": rules,
            }});
            cluster.ok("POST", SCHEMAS, &schema).await;
        }
    };
    for batch in (0..1000).collect::<Vec<_>>().chunks(100) {
        futures::future::join_all(batch.iter().map(|index| make(*index))).await;
    }
    let (_, last) = cluster.get(&format!("{SCHEMAS}/s999")).await;
    until("the last one counts", async || {
        let response = read(&cluster, MAPS, &user("user-999")).await;
        header(&response, SCHEMA_UID) == last["metadata"]["uid"]
    })
    .await;
    assert_eq!(read(&cluster, MAPS, &user("jane")).await.status(), 200);
    let selected = format!("{SCHEMAS}?fieldSelector=metadata.name%3Ds999");
    cluster.ok("DELETE", &selected, &json!({})).await;
    until("it is forgotten", async || {
        let response = read(&cluster, MAPS, &user("user-999")).await;
        header(&response, SCHEMA_UID) != last["metadata"]["uid"]
    })
    .await;
}

/// Writes of the config map `slow` take as long as a test says.
#[derive(Default)]
struct Slow {
    begun: AtomicBool,
    ended: AtomicBool,
    go: (Mutex<bool>, Condvar),
}

impl Admission for Slow {
    fn mutate<'a>(&'a self, _: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        if object.name() == "slow" {
            self.begun.store(true, Ordering::SeqCst);
            self.go.1.wait_while(&mut self.go.0.lock(), |go| !*go);
            self.ended.store(true, Ordering::SeqCst);
        }
        at_once(Ok(()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_away_gives_his_seat_back_when_his_work_has_ended() {
    let slow = Arc::new(Slow::default());
    let admission = slow.clone();
    let cluster = Cluster::configured(move |config| {
        config.limits = Limits { reading: 10, writing: 10, ..Limits::default() };
        config.admission.push(admission.clone());
    })
    .await;
    let cluster = Arc::new(cluster);
    allow(&cluster).await;
    // More than what is done where everybody is answered.
    let mut map = named("ConfigMap", "slow");
    map["data"] = json!({"text": "x".repeat(100_000)});
    let writing = {
        let (cluster, map) = (cluster.clone(), map.to_string());
        tokio::spawn(async move { call(&cluster, "POST", MAPS, &user("jane"), &map).await.status() })
    };
    until("the write is under way", async || slow.begun.load(Ordering::SeqCst)).await;
    assert_eq!(busy(&cluster, "global-default").await, (0, 1));
    writing.abort();
    assert!(writing.await.is_err_and(|error| error.is_cancelled()));
    assert_eq!(busy(&cluster, "global-default").await, (0, 1), "it is still being done");
    *slow.go.0.lock() = true;
    slow.go.1.notify_all();
    until("its seat is free", async || busy(&cluster, "global-default").await == (0, 0)).await;
    assert!(slow.ended.load(Ordering::SeqCst));

    // Those whose clients go while they wait are gone.
    let own = json!({"lendablePercent": 0, "borrowingLimitPercent": 0});
    let change = json!({
        "metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}}, "spec": {"limited": own},
    });
    cluster.ok("PATCH", &format!("{LEVELS}/global-default"), &change).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut held = Vec::new();
    loop {
        let one = tokio::time::timeout(Duration::from_millis(500), read(&cluster, MAPS, &user("jane"))).await;
        let Ok(response) = one else { break };
        assert_eq!(response.status(), 200);
        held.push(response);
        assert!(held.len() < 50, "there is a limit");
    }
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let cluster = cluster.clone();
            tokio::spawn(async move { read(&cluster, MAPS, &user("jane")).await.status() })
        })
        .collect();
    until("they wait", async || busy(&cluster, "global-default").await.0 == 20).await;
    waiting.iter().for_each(|one| one.abort());
    until("none waits", async || busy(&cluster, "global-default").await == (0, held.len())).await;
    drop(held);
    assert_eq!(busy(&cluster, "global-default").await, (0, 0));
}
