//! A server with all kinds, that is asked in the same process.

use std::sync::Arc;

use apiserver::node::NoNodes;
use apiserver::{Config, Handle, Identity, Server};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};

/// A running server; stops when it is dropped.
pub(crate) struct Cluster {
    handle: Handle,
    _server: Server,
    store: Arc<store::Embedded>,
    root: Arc<tempfile::TempDir>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    /// What the server says of it.
    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(&kinds::Features::default()).await
    }

    /// As [`Cluster::start`], where these features are on.
    pub(crate) async fn start_with(features: &kinds::Features) -> Self {
        let root = tempfile::tempdir().expect("temporary directory");
        let clock = Arc::new(base::SystemClock::new());
        let store = store::Embedded::open(&root.path().join("store"), store::Options::default(), clock);
        let store = Arc::new(store.expect("open the store"));
        let cluster = Self::start_on(Arc::new(root), store, features).await;
        let account = json!({"metadata": {"name": "default"}});
        cluster.made("/api/v1/namespaces/default/serviceaccounts", account).await;
        cluster
    }

    /// Another server of the same objects, where these features are on.
    pub(crate) async fn beside(&self, features: &kinds::Features) -> Self {
        Self::start_on(Arc::clone(&self.root), Arc::clone(&self.store), features).await
    }

    async fn start_on(
        root: Arc<tempfile::TempDir>,
        store: Arc<store::Embedded>,
        features: &kinds::Features,
    ) -> Self {
        let mut config = Config::new(root.path().join("pki"), Arc::new(NoNodes));
        config.address = "127.0.0.1:0".parse().expect("an address");
        config.admission = kinds::admission();
        let kinds = kinds::served(features);
        let server = Server::start(config, Arc::clone(&store) as _, kinds).await.expect("start the server");
        Self { handle: server.handle(), _server: server, store, root }
    }

    /// Sends and asks for protobuf; it must succeed.
    pub(crate) async fn bytes(&self, method: &str, path: &str, body: Bytes) -> Bytes {
        const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
        let request = Request::builder().method(method).uri(path).header(header::ACCEPT, PROTOBUF);
        let request = request.header(header::CONTENT_TYPE, PROTOBUF).body(body);
        let request = request.expect("a well-formed request");
        let response = self.handle.call(request, Identity::administrator()).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("bodies never fail").to_bytes();
        assert_eq!(code, 200, "{path}: {}", String::from_utf8_lossy(&bytes));
        bytes
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        let kind = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        self.send_as(method, path, kind, body).await
    }

    /// The same with a body of any form.
    pub(crate) async fn send_as(&self, method: &str, path: &str, kind: &str, body: Bytes) -> Answer {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
        let request = request.body(body).expect("a well-formed request");
        let response = self.handle.call(request, Identity::administrator()).await;
        let warnings = response.headers().get_all(header::WARNING).iter();
        let warnings = warnings.filter_map(|text| text.to_str().ok().map(str::to_owned)).collect();
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("bodies never fail").to_bytes();
        Answer { code, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null), warnings }
    }

    /// Makes an object, which must succeed.
    pub(crate) async fn made(&self, path: &str, body: Value) -> Value {
        let answer = self.send("POST", path, body).await;
        assert_eq!(answer.code, 201, "{path}: {answer:?}");
        answer.body
    }

    /// An object as it is.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.send("GET", path, Value::Null).await;
        assert_eq!(answer.code, 200, "{path}: {answer:?}");
        answer.body
    }
}
