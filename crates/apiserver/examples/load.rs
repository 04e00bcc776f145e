//! Measures the API in process, without TLS: what a GET, a create, a patch, a list and a watch cost.
//!
//! `cargo run --release -p apiserver --example load -- 32 20000`: workers, objects.
#![allow(unreachable_pub, reason = "the node is shared with the tests")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use apiserver::{Config, Handle, Identity, Server};
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use serde_json::json;

#[path = "../tests/api/nodes.rs"]
mod nodes;

const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<usize>());
    let workers = arguments.next().transpose()?.unwrap_or(32);
    let objects = arguments.next().transpose()?.unwrap_or(5000);
    let root = tempfile::tempdir()?;
    let clock = Arc::new(base::SystemClock::new());
    let store = store::Embedded::open(&root.path().join("store"), store::Options::default(), clock)?;
    let mut config = Config::new(root.path().join("pki"), Arc::new(nodes::Echo));
    config.address = "127.0.0.1:0".parse()?;
    let server = Server::start(config, Arc::new(store)).await?;
    let handle = server.handle();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    send(&handle, "POST", "/api/v1/namespaces/default/serviceaccounts", account.to_string()).await;

    let one = |i: usize| format!("{PODS}/p{i}");
    rate("create", &handle, workers, objects, |i| ("POST", PODS.to_owned(), pod(i))).await;
    rate("get", &handle, workers, objects * 4, move |i| ("GET", one(i % objects), String::new())).await;
    let patch = json!({"status": {"phase": "Running"}}).to_string();
    rate("patch status", &handle, workers, objects, move |i| {
        ("PATCH", format!("{PODS}/p{i}/status"), patch.clone())
    })
    .await;
    for what in ["", "?labelSelector=app%3Dx", "?fieldSelector=spec.nodeName%3Dn1"] {
        let started = Instant::now();
        let bytes = send(&handle, "GET", &format!("{PODS}{what}"), String::new()).await;
        println!("list{what} {objects}: {:?}, {bytes} bytes", started.elapsed());
    }
    rate("delete", &handle, workers, objects, move |i| ("DELETE", one(i), String::new())).await;
    Ok(())
}

/// Sends `count` requests from so many workers at once and prints how many a second were answered.
async fn rate<F>(what: &str, handle: &Handle, workers: usize, count: usize, request: F)
where
    F: Fn(usize) -> (&'static str, String, String) + Send + Sync + 'static,
{
    let (next, request) = (Arc::new(AtomicUsize::new(0)), Arc::new(request));
    let started = Instant::now();
    let tasks = (0..workers).map(|_| {
        let (handle, next, request) = (handle.clone(), next.clone(), request.clone());
        tokio::spawn(async move {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= count {
                    return;
                }
                let (method, path, body) = request(i);
                send(&handle, method, &path, body).await;
            }
        })
    });
    futures::future::join_all(tasks).await;
    let took = started.elapsed();
    println!("{what}: {:.0}/s", count as f64 / took.as_secs_f64());
}

async fn send(handle: &Handle, method: &str, path: &str, body: String) -> usize {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, kind)
        .body(Bytes::from(body))
        .expect("a well-formed request");
    let response = handle.call(request, Identity::administrator()).await;
    let code = response.status();
    let bytes = response.into_body().collect().await.expect("bodies never fail").to_bytes();
    assert!(code.is_success(), "{method} {path}: {}", String::from_utf8_lossy(&bytes));
    bytes.len()
}

fn pod(i: usize) -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("p{i}"), "labels": {"app": "x"}},
        "spec": {"containers": [{"name": "main", "image": "app", "resources": {"requests": {"cpu": "10m"}}}]},
    })
    .to_string()
}
