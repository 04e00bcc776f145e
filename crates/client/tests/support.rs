//! An API server on a temporary root, and ways to disturb the connection to it.
#![allow(dead_code, unreachable_pub, reason = "each test target uses its part of what they share")]

mod faulty;

use std::net::SocketAddr;
use std::sync::Arc;

use apiserver::{Config, Handle, Identity, Server};
use bytes::Bytes;
use client::transport::{Body, TransportError, body};
use client::{Api, Client, Informers, Resource, Transport};
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use faulty::Faults;

/// A running server and a client of it inside the process; stops when it is dropped.
pub struct Cluster {
    pub client: Client,
    /// What disturbs the requests of `client`.
    pub faults: Faults,
    /// A client that nothing disturbs.
    pub steady: Client,
    pub address: SocketAddr,
    pub authority: String,
    pub administrator: apiserver::pki::Issued,
    shutdown: CancellationToken,
    serving: Vec<JoinHandle<()>>,
    _root: tempfile::TempDir,
}

impl Cluster {
    pub async fn start() -> Self {
        let root = tempfile::tempdir().expect("temporary directory");
        let clock = Arc::new(base::SystemClock::new());
        let store = store::Embedded::open(&root.path().join("store"), store::Options::default(), clock)
            .expect("open the store");
        let mut config = Config::new(root.path().join("pki"), Arc::new(apiserver::node::NoNodes));
        config.address = "127.0.0.1:0".parse().expect("an address");
        let server = Server::start(config, Arc::new(store), kinds::all()).await.expect("start the server");
        let (handle, address) = (server.handle(), server.address());
        let (authority, administrator) =
            (server.authority().certificate_pem().to_owned(), server.administrator());
        let shutdown = CancellationToken::new();
        let serving = vec![tokio::spawn(server.serve(shutdown.clone()))];
        let faults = Faults::default();
        let client = Client::new(faulty::Faulty::new(InProcess(handle.clone()), faults.clone()));
        let steady = Client::new(InProcess(handle));
        let account: ServiceAccount = object(json!({ "metadata": { "name": "default" } }));
        Api::namespaced(&steady, "default").create(&account).await.expect("create the service account");
        Self { client, faults, steady, address, authority, administrator, shutdown, serving, _root: root }
    }

    /// Informers that run until the cluster is dropped.
    pub fn informers(&mut self) -> Informers {
        let informers = Informers::new(&self.client);
        let (run, shutdown) = (informers.clone(), self.shutdown.clone());
        self.serving.push(tokio::spawn(async move { run.run(shutdown).await }));
        informers
    }

    pub fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(&self.client, "default")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The server's own service, called as its administrator.
#[derive(Clone)]
struct InProcess(Handle);

impl Transport for InProcess {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        let broken = |source| TransportError::Broken { server: "test".to_owned(), source: Box::new(source) };
        Box::pin(async move {
            let answer = self.0.call(request, Identity::administrator()).await;
            Ok(answer.map(|answer| body(answer.map_err(broken))))
        })
    }
}

/// A typed object from JSON.
pub fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("the value fits the type")
}

pub fn config_map(name: &str, value: &str) -> ConfigMap {
    object(json!({ "metadata": { "name": name, "namespace": "default" }, "data": { "key": value } }))
}

pub fn value_of(map: &ConfigMap) -> &str {
    map.data.as_ref().and_then(|data| data.get("key")).map_or("", String::as_str)
}

pub fn replica_set(name: &str, replicas: i32) -> ReplicaSet {
    object(json!({
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "main", "image": "app" }] },
            },
        },
    }))
}

/// A pod with one container that `owner` manages.
pub fn pod_of(owner: &impl Resource, name: &str) -> Pod {
    object(json!({
        "metadata": {
            "name": name, "namespace": "default", "labels": { "app": owner.name() },
            "ownerReferences": [owner.as_controller_reference()],
        },
        "spec": { "containers": [{ "name": "main", "image": "app" }] },
    }))
}
