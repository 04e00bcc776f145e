//! A server on a temporary root, and ways to ask it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use apiserver::pki::Authority;
use apiserver::{Body, Config, Handle, Identity, Resource, Server};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::BodyExt;
use serde_json::Value;
use testkit::etcd;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::nodes;

/// A running server; stops when it is dropped.
pub struct Cluster {
    pub handle: Handle,
    pub kubeconfig: PathBuf,
    pub address: std::net::SocketAddr,
    pub authority: Arc<Authority>,
    pub leaving: CancellationToken,
    shutdown: CancellationToken,
    serving: Option<JoinHandle<()>>,
    root: Option<tempfile::TempDir>,
    /// Where there are two servers over one store: requests go to each in turn.
    other: Option<Box<Cluster>>,
    turn: AtomicUsize,
    etcd: Option<etcd::Server>,
}

impl Cluster {
    /// A server with what pods need in the default namespace, and nothing else.
    ///
    /// What it is on is a copy of what one server left that began with nothing: in a build for tests, making
    /// the roles and namespaces that are always there takes longer than most tests.
    pub async fn start() -> Self {
        static INSTALLED: OnceCell<tempfile::TempDir> = OnceCell::const_new();
        if crate::ON_ETCD {
            return Self::configured(|_| {}).await;
        }
        let installed = INSTALLED.get_or_init(async || Self::configured(|_| {}).await.stop().await.0).await;
        let root = tempfile::tempdir().expect("temporary directory");
        copy(installed.path(), root.path());
        Self::open(root).await
    }

    /// A server on an empty root, with something of its configuration changed.
    pub async fn configured(change: impl Fn(&mut Config)) -> Self {
        let root = || tempfile::tempdir().expect("temporary directory");
        let cluster = if crate::ON_ETCD {
            Self::pair(etcd::Server::start(), [root(), root()], change).await
        } else {
            let root = root();
            let store = Arc::new(open_store(&root).await);
            Self::with(root, store, kinds::all(), change).await
        };
        let account = named("ServiceAccount", "default");
        cluster.ok("POST", "/api/v1/namespaces/default/serviceaccounts", &account).await;
        cluster
    }

    /// Two servers of one installation over one etcd.
    async fn pair(server: etcd::Server, roots: [tempfile::TempDir; 2], change: impl Fn(&mut Config)) -> Self {
        let [root, other_root] = roots;
        let store = Arc::new(connect(&server).await);
        let mut cluster = Self::with(root, store, kinds::all(), &change).await;
        cluster.copy_keys(other_root.path());
        let store = Arc::new(connect(&server).await);
        let other = Self::with(other_root, store, kinds::all(), &change).await;
        cluster.other = Some(Box::new(other));
        cluster.etcd = Some(server);
        cluster
    }

    /// Stops the server as SIGTERM does, and starts another on what it left.
    pub async fn restart(self) -> Self {
        self.restart_after(async |_| {}).await
    }

    /// As [`Cluster::restart`], and does something to the store in between.
    pub async fn restart_after(mut self, change: impl AsyncFnOnce(&dyn store::Store)) -> Self {
        if let Some((etcd, mut other)) = self.etcd.take().zip(self.other.take()) {
            let roots = [self.end().await, other.end().await];
            change(&connect(&etcd).await).await;
            return Self::pair(etcd, roots, |_| {}).await;
        }
        let (root, store) = self.stop().await;
        change(&store).await;
        drop(store);
        Self::open(root).await
    }

    /// Stops the server as SIGTERM does; gives what it left.
    async fn end(&mut self) -> tempfile::TempDir {
        self.shutdown.cancel();
        let serving = self.serving.take().expect("it was running");
        serving.await.expect("serving ends without a panic");
        self.root.take().expect("it had a root")
    }

    /// Stops the server as SIGTERM does; gives what it left, and the store opened anew.
    pub async fn stop(mut self) -> (tempfile::TempDir, store::Embedded) {
        let root = self.end().await;
        // The store is closed with its last holder.
        drop(self);
        let store = open_store(&root).await;
        (root, store)
    }

    /// Gives the certificates and keys of the installation to a server that will have another root.
    pub fn copy_keys(&self, root: &Path) {
        let pki = root.join("pki");
        if pki.exists() {
            return;
        }
        std::fs::create_dir(&pki).expect("make a directory");
        copy(&self.root.as_ref().expect("it has a root").path().join("pki"), &pki);
    }

    /// Starts another server on what this one would leave if it were killed now.
    pub async fn killed(&self) -> Self {
        let root = tempfile::tempdir().expect("temporary directory");
        copy(self.root.as_ref().expect("it has a root").path(), root.path());
        Self::open(root).await
    }

    async fn open(root: tempfile::TempDir) -> Self {
        let store = open_store(&root).await;
        Self::over(root, Arc::new(store)).await
    }

    /// A server over a store that is open already.
    pub async fn over(root: tempfile::TempDir, store: Arc<dyn store::Store>) -> Self {
        Self::serving(root, store, kinds::all()).await
    }

    /// A server of other kinds on an empty root.
    pub async fn of(kinds: Vec<Resource>) -> Self {
        let root = tempfile::tempdir().expect("temporary directory");
        let store = Arc::new(open_store(&root).await);
        Self::serving(root, store, kinds).await
    }

    /// A server of other kinds over a store that is open already.
    pub async fn serving(
        root: tempfile::TempDir,
        store: Arc<dyn store::Store>,
        kinds: Vec<Resource>,
    ) -> Self {
        Self::with(root, store, kinds, |_| {}).await
    }

    /// A server of some kinds over a store that is open already, with something of its configuration changed.
    pub async fn with(
        root: tempfile::TempDir,
        store: Arc<dyn store::Store>,
        kinds: Vec<Resource>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::new(root.path().join("pki"), Arc::new(nodes::Echo));
        config.address = "127.0.0.1:0".parse().expect("an address");
        config.admission = kinds::admission();
        config.authorization = kinds::authorization();
        config.flow_control = kinds::flow_control();
        config.aggregation = kinds::aggregation();
        config.definitions = kinds::definitions();
        change(&mut config);
        let kubeconfig = root.path().join("kubeconfig");
        config.kubeconfig = Some(kubeconfig.clone());
        let server = Server::start(config, store, kinds).await.expect("start the server");
        let (handle, address, authority) = (server.handle(), server.address(), server.authority());
        let (leaving, shutdown) = (server.leaving(), CancellationToken::new());
        let serving = tokio::spawn(server.serve(shutdown.clone()));
        Self {
            handle,
            kubeconfig,
            address,
            authority,
            leaving,
            shutdown,
            serving: Some(serving),
            root: Some(root),
            other: None,
            turn: AtomicUsize::new(0),
            etcd: None,
        }
    }

    /// The way into the server whose turn it is.
    fn any(&self) -> &Handle {
        match &self.other {
            Some(other) if self.turn.fetch_add(1, Ordering::Relaxed) % 2 == 1 => &other.handle,
            _ => &self.handle,
        }
    }

    /// Sends a JSON request as the administrator; gives status code and answer.
    pub async fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        self.send_as(method, path, kind, body.to_string().into()).await
    }

    /// As [`Cluster::send`], for a body of another type.
    pub async fn send_as(&self, method: &str, path: &str, kind: &str, body: Bytes) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, kind)
            .header(header::USER_AGENT, "test/1")
            .body(body)
            .expect("a well-formed request");
        let response = self.any().call(request, Identity::administrator()).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("bodies never fail").to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Sends a request as somebody; gives status code and answer.
    pub async fn send_by(&self, who: &Identity, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).body(Bytes::from(body.to_owned()));
        let response = self.any().call(request.expect("a well-formed request"), who.clone()).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("bodies never fail").to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Reads a path that answers with text.
    pub async fn text(&self, path: &str) -> (u16, String) {
        let request = Request::builder().uri(path).body(Bytes::new()).expect("a well-formed request");
        let response = self.any().call(request, Identity::administrator()).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("bodies never fail").to_bytes();
        (code, String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Reads a path.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send_as("GET", path, "", Bytes::new()).await
    }

    /// Sends what must succeed.
    pub async fn ok(&self, method: &str, path: &str, body: &Value) -> Value {
        let (code, answer) = self.send(method, path, body).await;
        assert!((200..300).contains(&code), "{method} {path}: {code} {answer}");
        answer
    }

    /// Opens a watch.
    pub async fn watch(&self, path: &str) -> Watch {
        let request = Request::builder().uri(path).body(Bytes::new()).expect("a well-formed request");
        let response = self.any().call(request, Identity::administrator()).await;
        assert_eq!(response.status(), 200, "{path}");
        Watch { response, buffer: Vec::new() }
    }
}

/// A connection to an etcd of a test's own.
pub async fn connect(server: &etcd::Server) -> store::Etcd {
    let options = store::EtcdOptions {
        endpoints: vec![server.endpoint().to_owned()],
        prefix: "/test".to_owned(),
        ..store::EtcdOptions::default()
    };
    store::Etcd::connect(options).await.expect("etcd answers")
}

pub async fn open_store(root: &tempfile::TempDir) -> store::Embedded {
    let (path, clock) = (root.path().join("store"), Arc::new(base::SystemClock::new()));
    testkit::wait_until_async("the store to be free", || {
        let opened = store::Embedded::open(&path, store::Options::default(), clock.clone());
        async move { opened.map_err(|e| e.to_string()) }
    })
    .await
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("list") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            std::fs::create_dir(&to).expect("make a directory");
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copy");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// An open watch.
pub struct Watch {
    response: Response<Body>,
    buffer: Vec<u8>,
}

impl Watch {
    /// The next event as `TYPE NAME`, within half a minute; `end` at the end.
    pub async fn next(&mut self) -> String {
        match self.next_event().await {
            None => "end".to_owned(),
            Some(event) => {
                let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
                let reason = event["object"]["reason"].as_str().unwrap_or_default();
                format!("{} {name}{reason}", event["type"].as_str().unwrap_or_default()).trim_end().to_owned()
            }
        }
    }

    /// The next event.
    pub async fn next_event(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event is JSON"));
            }
            let waiting =
                tokio::time::timeout(std::time::Duration::from_secs(30), self.response.body_mut().frame());
            let frame = waiting.await.expect("an event within half a minute")?;
            let bytes = frame.expect("bodies never fail").into_data().expect("only data is sent");
            self.buffer.extend_from_slice(&bytes);
        }
    }
}

/// An object with a name and nothing else.
pub fn named(kind: &str, name: &str) -> Value {
    serde_json::json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}})
}

/// A pod with one container.
pub fn pod(name: &str) -> Value {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "app"}]},
    })
}

/// A deployment of one container.
pub fn deployment(name: &str, replicas: i64) -> Value {
    serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "app"}]},
            },
        },
    })
}
