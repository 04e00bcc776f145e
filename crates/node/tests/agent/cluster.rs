//! An API server, and agents of a node beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use apiserver::node::NoNodes;
use apiserver::{Config, Handle, Identity, Server};
use base::{SystemClock, SystemRandom};
use bytes::Bytes;
use client::transport::{Body, TransportError, body};
use client::{Api, Client, Transport};
use engine::Engine;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use k8s_openapi::api::core::v1::ServiceAccount;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// What the API answers to the first deletions by the node: a fault of its own, then that it is busy.
pub(crate) const REFUSALS: [StatusCode; 2] =
    [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE];

/// Runs a test on a thread with a network namespace of its own, where an engine may do as it likes.
pub(crate) fn on_a_network_of_its_own<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    testkit::require_root();
    let run = || {
        // SAFETY: nothing of this thread's file descriptors or memory is unshared.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
            .expect("a network namespace of one's own");
        let loopback = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(loopback.expect("run ip, of the package iproute2").success());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("start a runtime");
        runtime.block_on(test());
    };
    std::thread::scope(|scope| {
        if let Err(panic) = scope.spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// An API server and a directory for an engine; it stops when it is dropped.
pub(crate) struct Cluster {
    /// A client whose every word is heard.
    pub(crate) steady: Client,
    /// One whose first deletions of pods are refused.
    pub(crate) refused: Client,
    pub(crate) tries: Arc<AtomicU32>,
    instance: String,
    shutdown: CancellationToken,
    pub(crate) root: tempfile::TempDir,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let root = tempfile::tempdir().expect("temporary directory");
        let clock = Arc::new(SystemClock::new());
        let store = store::Embedded::open(&root.path().join("store"), store::Options::default(), clock)
            .expect("open the store");
        let mut config = Config::new(root.path().join("pki"), Arc::new(NoNodes));
        config.address = "127.0.0.1:0".parse().expect("an address");
        config.admission = kinds::admission();
        config.authorization = kinds::authorization();
        let server = Server::start(config, Arc::new(store), kinds::all()).await.expect("start the server");
        let handle = server.handle();
        let shutdown = CancellationToken::new();
        tokio::spawn(server.serve(shutdown.clone()));
        let tries = Arc::new(AtomicU32::new(0));
        let steady = Client::new(Direct { handle: handle.clone(), refusing: None });
        let refused = Client::new(Direct { handle, refusing: Some(Arc::clone(&tries)) });
        let account: ServiceAccount = object(json!({"metadata": {"name": "default"}}));
        Api::namespaced(&steady, "default").create(&account).await.expect("create the service account");
        let instance = format!("n{:x}", std::process::id() & 0xff_ffff);
        Self { steady, refused, tries, instance, shutdown, root }
    }

    /// Runs the agent of the node, which tells `pods` of its pods, until something has happened.
    pub(crate) async fn run_agent_until(&self, pods: &Client, happened: impl Future<Output = ()>) {
        let running = CancellationToken::new();
        let machine = node::Machine::of_engine(self.engine().await);
        let clock = Arc::new(SystemClock::new());
        let agent = node::Agent::new(self.node(), machine, pods, &self.steady, &self.steady, clock)
            .expect("nothing is kept from pods");
        let watching = async {
            happened.await;
            running.cancel();
        };
        tokio::join!(agent.run(running.clone()), watching);
    }

    fn node(&self) -> node::Config {
        node::Config {
            allowed_sysctls: node::AllowedSysctls::default(),
            name: "here".to_owned(),
            address: "127.0.0.1".parse().expect("an address"),
            root: self.root.path().join("pods"),
            volumes: self.root.path().join("local-path"),
            cluster_dns: "10.43.0.10".parse().expect("an address"),
            cluster_domain: "cluster.local".to_owned(),
            kubernetes_version: "v1.36.0".to_owned(),
            pods: 10,
            reserves: node::Reserves::default(),
        }
    }

    /// An engine that can start nothing: there is no program for it.
    async fn engine(&self) -> Engine {
        let clock = Arc::new(SystemClock::new());
        Engine::open(self.engine_config(), clock, Arc::new(SystemRandom)).await.expect("open the engine")
    }

    fn engine_config(&self) -> engine::Config {
        let root = self.root.path().join("engine");
        let resolv = self.root.path().join("resolv.conf");
        std::fs::write(&resolv, "nameserver 192.0.2.53\n").expect("write resolv.conf");
        engine::Config {
            run: self.root.path().join("run"),
            instance: self.instance.clone(),
            network: net::Config {
                host_resolv_conf: resolv,
                ..net::Config::new(&self.instance, root.join("network"))
            },
            binary: "/bin/false".into(),
            log: engine::container::LogOptions::default(),
            dns: Vec::new(),
            user_ids: None,
            insecure_registries: Vec::new(),
            image_blobs: engine::image::Blobs::default(),
            descriptors: None,
            root,
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("the value fits the type")
}

struct Direct {
    handle: Handle,
    /// Counts deletions of pods, of which it refuses the first.
    refusing: Option<Arc<AtomicU32>>,
}

impl Transport for Direct {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let deletion = request.method() == "DELETE" && request.uri().path().contains("/pods/");
            if let Some(tries) = self.refusing.as_ref().filter(|_| deletion) {
                let turn = tries.fetch_add(1, Ordering::SeqCst) as usize;
                if let Some(status) = REFUSALS.get(turn) {
                    let mut refusal = Response::new(body(Full::new(Bytes::new())));
                    *refusal.status_mut() = *status;
                    return Ok(refusal);
                }
            }
            let broken =
                |source| TransportError::Broken { server: "test".to_owned(), source: Box::new(source) };
            let identity = match self.refusing {
                Some(_) => Identity::node("here"),
                None => Identity::administrator(),
            };
            let answer = self.handle.call(request, identity).await;
            Ok(answer.map(|answer| body(http_body_util::BodyExt::map_err(answer, broken))))
        })
    }
}
