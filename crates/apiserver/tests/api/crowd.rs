//! Ten thousand objects: what is asked of all of them costs others nothing, and little memory.

use std::time::{Duration, Instant};

use apiserver::{Body, Identity};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::cluster::{Cluster, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";
const MANY: usize = 3000;
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";

/// A server with many pods, of the usual size.
async fn crowded() -> Cluster {
    let cluster = Cluster::start().await;
    let make = |index: usize| {
        let cluster = &cluster;
        async move {
            let mut pod = pod(&format!("p{index:05}"));
            pod["metadata"]["labels"] = json!({"app": "web", "index": index.to_string()});
            pod["metadata"]["annotations"] = json!({"text": "x".repeat(1500)});
            cluster.ok("POST", PODS, &pod).await;
        }
    };
    for batch in (0..MANY).collect::<Vec<_>>().chunks(100) {
        futures::future::join_all(batch.iter().map(|index| make(*index))).await;
    }
    cluster
}

async fn call(cluster: &Cluster, path: &str, accept: &str, who: Identity) -> Response<Body> {
    let request = Request::builder()
        .uri(path)
        .header(http::header::ACCEPT, accept)
        .body(Bytes::new())
        .expect("a well-formed request");
    cluster.handle.call(request, who).await
}

async fn whole(response: Response<Body>) -> Value {
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    serde_json::from_slice(&bytes).expect("JSON")
}

/// How much memory the process has in use, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_objects_are_told_piece_by_piece_and_correctly() {
    let cluster = crowded().await;
    let administrator = Identity::administrator;

    // In every form, whole.
    let response = call(&cluster, PODS, "application/json", administrator()).await;
    let told = http_body::Body::size_hint(response.body()).exact().expect("a known length");
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(bytes.len() as u64, told);
    let list: Value = serde_json::from_slice(&bytes).expect("JSON");
    let names: Vec<&str> = list["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|i| &i["metadata"]["name"])
        .filter_map(Value::as_str)
        .collect();
    assert_eq!((names.len(), names[0], names[MANY - 1]), (MANY, "p00000", &*format!("p{:05}", MANY - 1)));
    let table = whole(call(&cluster, PODS, TABLE, administrator()).await).await;
    assert_eq!(table["rows"].as_array().map(Vec::len), Some(MANY));
    assert_eq!(table["rows"][7]["cells"][0], "p00007");
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    let partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let partial = whole(call(&cluster, PODS, partial, administrator()).await).await;
    assert_eq!(partial["items"][9]["kind"], "PartialObjectMetadata");
    assert_eq!(partial["items"].as_array().map(Vec::len), Some(MANY));

    // Page by page, with selectors too.
    for (selector, step, expected) in [("", 1000, MANY), ("labelSelector=index%20in%20(5,2999)&", 1, 2)] {
        let (mut seen, mut token, mut pages) = (0, String::new(), 0);
        loop {
            let path = format!("{PODS}?{selector}limit={step}&continue={token}");
            let page = whole(call(&cluster, &path, "application/json", administrator()).await).await;
            seen += page["items"].as_array().map_or(0, Vec::len);
            pages += 1;
            match page["metadata"]["continue"].as_str() {
                Some(next) if !next.is_empty() => token = next.to_owned(),
                _ => break,
            }
        }
        assert_eq!(seen, expected, "{selector}");
        assert!(pages <= expected.div_ceil(step) + 1, "{selector} took {pages} pages");
    }

    // A watch tells all that there is, and then what happens.
    let path = format!(
        "{PODS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut watch = cluster.watch(&path).await;
    for index in 0..MANY {
        assert_eq!(watch.next().await, format!("ADDED p{index:05}"));
    }
    let end = watch.next_event().await.expect("a bookmark");
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    cluster.ok("DELETE", &format!("{PODS}/p00003?gracePeriodSeconds=0"), &json!({})).await;
    assert_eq!(watch.next().await, "DELETED p00003");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_requests_do_not_wait_for_large_ones() {
    let cluster = crowded().await;
    let many = |who: Identity, path: String| {
        let handle = cluster.handle.clone();
        tokio::spawn(async move {
            loop {
                let request = Request::builder().uri(&path).header(http::header::ACCEPT, TABLE);
                let request = request.body(Bytes::new()).expect("a request");
                let _ = handle.call(request, who.clone()).await.into_body().collect().await;
            }
        })
    };
    let user = Identity::new("jane", ["system:masters"]);
    let mut busy: Vec<_> = (0..8).map(|_| many(user.clone(), PODS.to_owned())).collect();
    busy.extend(
        (0..8).map(|index| many(user.clone(), format!("{PODS}?limit=1&labelSelector=no{index}%3Dx"))),
    );
    let mut slowest = Duration::ZERO;
    for _ in 0..200 {
        let began = Instant::now();
        let response = call(
            &cluster,
            &format!("{PODS}/p00001"),
            "application/json",
            Identity::component("kube-scheduler"),
        )
        .await;
        assert_eq!(response.status(), 200);
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    busy.iter().for_each(tokio::task::JoinHandle::abort);
    // One of the large ones alone takes a second and more in an unoptimised build.
    assert!(slowest < Duration::from_millis(1500), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_slowly_holds_little() {
    let cluster = crowded().await;
    let administrator = Identity::administrator;
    let one =
        whole(call(&cluster, PODS, "application/json", administrator()).await).await.to_string().len() / 1024;
    let before = resident();
    // Forty of each are asked for and nothing, or a little, is read of them.
    let mut open = Vec::new();
    for _ in 0..40 {
        for (path, accept) in [
            (PODS.to_owned(), "application/json"),
            (PODS.to_owned(), TABLE),
            (format!("{PODS}?watch=1&resourceVersion=0"), "application/json"),
        ] {
            let mut response = call(&cluster, &path, accept, administrator()).await;
            assert_eq!(response.status(), 200);
            drop(response.body_mut().frame().await);
            open.push(response);
        }
    }
    let held = resident().saturating_sub(before);
    // Copies would be 120 times the list.
    assert!(held < 10 * one, "{held} KiB are held, a list has {one} KiB");
}
