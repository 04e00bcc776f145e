//! The Kubernetes API over one HTTP/2 connection: get, create, patch, list, watch, delete.
//!
//! The pods name a scheduler that does not exist, so that the API is measured and not containers.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use bytes::Bytes;
use client::Transport;
use client::remote::{Config, RemoteTransport};
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::json;

use crate::load::{self, milliseconds};

const OBJECTS: usize = 5_000;
const PODS: &str = "/api/v1/namespaces/default/pods";
const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

type Server = Arc<RemoteTransport>;

/// Measures the server that the kubeconfig at `path` names.
pub(crate) async fn measure(path: &Path) -> anyhow::Result<()> {
    let server = Arc::new(RemoteTransport::new(&Config::from_kubeconfig(path)?)?);
    let mut made = 0;
    for workers in [8, 16, 32] {
        let first = made;
        let count = if workers == 32 { OBJECTS - made } else { 1_000 };
        made += count;
        let create = |server: Server, number| async move {
            call(&server, "POST", PODS, JSON, pod(number)).await.map(drop)
        };
        rate(&server, "create, durable", workers, count, move |server, number| {
            create(server, first + number)
        })
        .await?;
    }
    for workers in [8, 16, 32] {
        rate(&server, "get", workers, OBJECTS * 4, |server, number| async move {
            call(&server, "GET", &one(number % OBJECTS), JSON, String::new()).await.map(drop)
        })
        .await?;
    }
    rate(&server, "patch of the status", 32, OBJECTS, |server, number| async move {
        let body = json!({"status": {"message": format!("seen {number}")}}).to_string();
        call(&server, "PATCH", &format!("{}/status", one(number)), MERGE_PATCH, body).await.map(drop)
    })
    .await?;
    list(&server).await?;
    for watchers in [1, 100] {
        watch(&server, watchers).await?;
    }
    rate(&server, "delete", 32, OBJECTS, |server, number| async move {
        let body = json!({"gracePeriodSeconds": 0}).to_string();
        call(&server, "DELETE", &one(number), JSON, body).await.map(drop)
    })
    .await
}

async fn rate<Job, Done>(
    server: &Server,
    what: &str,
    workers: usize,
    count: usize,
    job: Job,
) -> anyhow::Result<()>
where
    Job: Fn(Server, usize) -> Done + Clone + Send + 'static,
    Done: Future<Output = anyhow::Result<()>> + Send,
{
    let server = server.clone();
    let done = load::rate(workers, count, move |number| job(server.clone(), number)).await?;
    load::row(&format!("API {what}, {workers} workers"), "/s", &[done]);
    Ok(())
}

async fn list(server: &Server) -> anyhow::Result<()> {
    let mut samples = Vec::new();
    let mut bytes = 0;
    for _ in 0..12 {
        let started = Instant::now();
        bytes = call(server, "GET", PODS, JSON, String::new()).await?.len();
        samples.push(milliseconds(started.elapsed()));
    }
    load::row(&format!("API list of {OBJECTS} pods ({:.1} MB)", bytes as f64 / 1e6), "ms", &samples);
    Ok(())
}

/// From sending a change to its event, at the slowest of so many watchers.
async fn watch(server: &Server, watchers: usize) -> anyhow::Result<()> {
    let path = format!(
        "{PODS}?watch=1&fieldSelector=metadata.name%3Dp0&resourceVersion={}",
        revision(server).await?
    );
    let mut streams = Vec::new();
    for _ in 0..watchers {
        let body = send(server, "GET", &path, JSON, String::new()).await?.into_body();
        streams.push(Events { body, read: Vec::new() });
    }
    let mut samples = Vec::new();
    for number in 0..200 {
        let body = json!({"metadata": {"annotations": {"change": number.to_string()}}}).to_string();
        let started = Instant::now();
        let path = one(0);
        let change = call(server, "PATCH", &path, MERGE_PATCH, body);
        let events = futures::future::try_join_all(streams.iter_mut().map(Events::next));
        let (_, _) = futures::future::try_join(change, events).await?;
        samples.push(milliseconds(started.elapsed()));
    }
    load::row(&format!("API change to event, {watchers} watchers"), "ms", &samples);
    Ok(())
}

/// The events of a watch, a line each.
struct Events {
    body: client::transport::Body,
    read: Vec<u8>,
}

impl Events {
    /// Waits for the next one.
    async fn next(&mut self) -> anyhow::Result<()> {
        loop {
            if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                self.read.drain(..=end);
                return Ok(());
            }
            let frame = self.body.frame().await.context("the watch ended")?.context("read an event")?;
            self.read.extend_from_slice(frame.data_ref().context("a watch has no trailers")?);
        }
    }
}

async fn revision(server: &Server) -> anyhow::Result<String> {
    let answer = call(server, "GET", &format!("{PODS}?limit=1"), JSON, String::new()).await?;
    let list: serde_json::Value = serde_json::from_slice(&answer)?;
    Ok(list["metadata"]["resourceVersion"].as_str().context("a list without a resource version")?.to_owned())
}

async fn call(server: &Server, method: &str, path: &str, kind: &str, body: String) -> anyhow::Result<Bytes> {
    let answer = send(server, method, path, kind, body).await?;
    let status = answer.status();
    let bytes = answer.into_body().collect().await?.to_bytes();
    ensure!(status.is_success(), "{method} {path}: {status} {}", String::from_utf8_lossy(&bytes));
    Ok(bytes)
}

async fn send(
    server: &Server,
    method: &str,
    path: &str,
    kind: &str,
    body: String,
) -> anyhow::Result<Response<client::transport::Body>> {
    let request =
        Request::builder().method(method).uri(path).header(CONTENT_TYPE, kind).body(Bytes::from(body))?;
    Ok(server.send(request).await?)
}

fn one(number: usize) -> String {
    format!("{PODS}/p{number}")
}

/// A pod of about 2 KiB once it is stored, as they are in a cluster.
fn pod(number: usize) -> String {
    let environment: Vec<_> =
        (0..4).map(|i| json!({"name": format!("VARIABLE_{i}"), "value": "x".repeat(40)})).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("p{number}"), "labels": {"app": "load", "part": (number % 10).to_string()}},
        "spec": {"schedulerName": "none", "containers": [{
            "name": "main", "image": "app", "env": environment,
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        }]},
    })
    .to_string()
}
