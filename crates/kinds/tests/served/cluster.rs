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
    _root: tempfile::TempDir,
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
        let root = tempfile::tempdir().expect("temporary directory");
        let clock = Arc::new(base::SystemClock::new());
        let store = store::Embedded::open(&root.path().join("store"), store::Options::default(), clock);
        let mut config = Config::new(root.path().join("pki"), Arc::new(NoNodes));
        config.address = "127.0.0.1:0".parse().expect("an address");
        config.admission = kinds::admission();
        let store = Arc::new(store.expect("open the store"));
        let server = Server::start(config, store, kinds::all()).await.expect("start the server");
        let cluster = Self { handle: server.handle(), _server: server, _root: root };
        let account = json!({"metadata": {"name": "default"}});
        cluster.made("/api/v1/namespaces/default/serviceaccounts", account).await;
        cluster
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
