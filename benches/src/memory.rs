//! What a large cluster takes in memory: server, store and controllers in one process.
//!
//! `memory DIR` prints one JSON object for each row. A program of its own, since it counts what is allocated.
#![forbid(unsafe_code)]

mod direct;
#[allow(dead_code, reason = "the other program does the rest")]
mod load;

use std::alloc::System;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use apiserver::node::NoNodes;
use apiserver::{Identity, Server};
use base::SystemClock;
use bytes::Bytes;
use cap::Cap;
use client::Client;
use http::Request;
use http_body_util::BodyExt;
use model::{Encoded, Object};
use serde_json::{Value, json};
use store::{Op, Put, Store, Txn};
use tokio_util::sync::CancellationToken;

use direct::Direct;

const PODS: usize = 150_000;
const NODES: usize = 5_000;
const MEBIBYTE: f64 = 1_048_576.0;

/// Counts what is allocated.
#[global_allocator]
static ALLOCATED: Cap<System> = Cap::new(System, usize::MAX);

fn main() -> anyhow::Result<()> {
    let place = std::env::args().nth(1).context("usage: memory DIR")?;
    tokio::runtime::Runtime::new().context("start tokio")?.block_on(measure(place.as_ref()))
}

/// Measures what pods and nodes take once everybody has them, and what a list of them takes besides.
async fn measure(place: &Path) -> anyhow::Result<()> {
    let root = tempfile::tempdir_in(place).context("make a directory for the server")?;
    let clock = Arc::new(SystemClock::new());
    let before = ALLOCATED.allocated();
    let store = store::Embedded::open(&root.path().join("store"), store::Options::default(), clock.clone())?;
    fill(&store, "core/configmaps", std::iter::once(owner())).await?;
    let text = fill(&store, "core/pods", (0..PODS).map(pod)).await?
        + fill(&store, "core/nodes", (0..NODES).map(node)).await?;
    // As after a while: what was made is no news any more.
    store.compact(store.revision().await?).await?;
    let mut config = apiserver::Config::new(root.path().join("pki"), Arc::new(NoNodes));
    config.address = "127.0.0.1:0".parse().context("an address")?;
    config.admission = kinds::admission();
    config.authorization = kinds::authorization();
    let server = Server::start(config, Arc::new(store), kinds::all()).await?;
    let handle = server.handle();
    let authority = server.authority().certificate_pem().to_owned();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(stop.clone()));
    load::row("a large cluster, its texts", "MiB", &[text as f64 / MEBIBYTE]);
    load::row("the same, in the server", "MiB", &[least(before).await]);

    let direct = Direct::new(handle.clone());
    let watches = direct.watches();
    let client = Client::new(direct);
    let ended = stop.clone();
    let control = control::Config {
        authority,
        candidate: None,
        signer: None,
        scheduler: Arc::default(),
        migrates: false,
        pod_groups: control::PodGroups::default(),
    };
    let began = Instant::now();
    let controllers =
        tokio::spawn(
            async move { control::run(control, Arc::new(move |_| client.clone()), clock, ended).await },
        );
    // Each kind is followed by the garbage collector, and these by others, too.
    let all = ["/api/v1/pods", "/api/v1/nodes"];
    while !all.iter().all(|path| watches.lock().expect("nobody panics with it").get(*path) >= Some(&2)) {
        ensure!(began.elapsed() < Duration::from_secs(120), "the controllers do not begin");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    load::row("controllers' first lists", "ms", &[began.elapsed().as_secs_f64() * 1000.0]);
    load::row("a large cluster in server and controllers", "MiB", &[least(before).await]);

    let held = ALLOCATED.allocated();
    let (mut most, mut length, mut times) = (held, 0, Vec::new());
    for _ in 0..3 {
        let request = Request::get("/api/v1/pods").body(Bytes::new())?;
        let started = Instant::now();
        let mut body = handle.call(request, Identity::administrator()).await.into_body();
        length = 0;
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
            most = most.max(ALLOCATED.allocated());
        }
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    ensure!(length > text / NODES, "the list is empty");
    load::row("a list of all its pods", "ms", &times);
    load::row("what a list takes besides", "MiB", &[(most - held) as f64 / MEBIBYTE]);
    stop.cancel();
    controllers.await?;
    serving.await?;
    Ok(())
}

/// What is allocated since: the least of some looks, since what somebody needs for a moment comes and goes.
async fn least(before: usize) -> f64 {
    let mut least = usize::MAX;
    for _ in 0..50 {
        least = least.min(ALLOCATED.allocated().saturating_sub(before));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    least as f64 / MEBIBYTE
}

/// Puts objects where the server will find them; gives how long their texts are, all together.
async fn fill(
    store: &dyn Store,
    partition: &str,
    objects: impl Iterator<Item = Value>,
) -> anyhow::Result<usize> {
    let (mut bytes, mut txn) = (0, Txn::new());
    let all = kinds::all();
    let resource = all.iter().find(|kind| partition == format!("core/{}", kind.plural)).context("a kind")?;
    for value in objects {
        let mut object = Object::from_value(value).context("an object")?;
        // As a server of today would have stored it.
        resource.apply_defaults(&mut object)?;
        let text = Encoded::encode(&object);
        bytes += text.len();
        let namespace = object.namespace().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        let key = format!("/registry/{partition}/{namespace}{}", object.name());
        txn = txn.then(Op::Put(Put::new(key, text)));
        if txn.success.len() == store::OPERATION_LIMIT {
            store.txn(std::mem::take(&mut txn)).await?;
        }
    }
    store.txn(txn).await?;
    Ok(bytes)
}

fn owner() -> Value {
    json!({
        "kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"name": "owner", "namespace": "default", "uid": "owner-uid"},
    })
}

/// A pod as it is stored once it runs, of about 6.4 kB.
fn pod(number: usize) -> Value {
    let environment: Vec<Value> = (0..16)
        .map(|variable| json!({"name": format!("VARIABLE_{variable}"), "value": "x".repeat(40)}))
        .collect();
    let of = |name: &str| json!({(format!("f:{name}")): {".": {}, "f:name": {}, "f:value": {}}});
    let fields: Vec<Value> = (0..56).map(|field| of(&format!("field-{field}-of-{}", number % 7))).collect();
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": format!("web-{number:06}-abcde"), "namespace": "default",
            "uid": format!("{number:08x}-0000-4000-8000-000000000000"),
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "web", "pod-template-hash": "abcdef"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "owner-uid",
                "controller": true, "blockOwnerDeletion": true}],
            "managedFields": [{"manager": "load", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:spec": fields}}],
        },
        "spec": {
            "nodeName": format!("node-{}", number % NODES), "restartPolicy": "Always",
            "schedulerName": "default-scheduler", "serviceAccountName": "default",
            "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "containers": [{"name": "main", "image": "app", "env": environment, "imagePullPolicy": "Always",
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}],
        },
        "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    })
}

fn node(number: usize) -> Value {
    json!({
        "kind": "Node", "apiVersion": "v1",
        "metadata": {
            "name": format!("node-{number}"), "uid": format!("{number:08x}-node"),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"kubernetes.io/hostname": format!("node-{number}"), "kubernetes.io/os": "linux"},
        },
        "status": {
            "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "1000", "ephemeral-storage": "1Ti"},
            "images": (0..20).map(|image| json!({"names": [format!("registry.example/app-{image}")], "sizeBytes": 1}))
                .collect::<Vec<_>>(),
        },
    })
}
