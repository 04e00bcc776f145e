//! Pods end though the API does not take it at first that they have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use apiserver::node::NoNodes;
use apiserver::{Config, Handle, Identity, Server};
use base::{SystemClock, SystemRandom};
use bytes::Bytes;
use client::transport::{Body, TransportError, body};
use client::{Api, Client, DeleteOptions, Transport};
use engine::Engine;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testkit::wait_until_async;
use tokio_util::sync::CancellationToken;

/// What the API answers to the first deletions by the node: a fault of its own, then that it is busy.
const REFUSALS: [StatusCode; 2] = [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE];

#[test]
fn a_deletion_that_the_api_does_not_take_is_confirmed_again() {
    on_a_network_of_its_own(|| async {
        let cluster = Cluster::start().await;
        let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
        let pod: Pod = object(json!({
            "metadata": {"name": "going"},
            "spec": {"nodeName": "here", "automountServiceAccountToken": false,
                     "containers": [{"name": "main", "image": "app"}]},
        }));
        pods.create(&pod).await.expect("create");
        pods.delete("going", &DeleteOptions::default()).await.expect("delete");
        assert!(pods.find("going").await.expect("find").is_some(), "it waits for its node");
        let running = CancellationToken::new();
        let agent = node::Agent::new(
            cluster.node(),
            node::Machine::of_engine(cluster.engine().await),
            &cluster.refused,
            &cluster.steady,
            &cluster.steady,
            Arc::new(SystemClock::new()),
        )
        .expect("nothing is kept from pods");
        let working = agent.run(running.clone());
        let watching = async {
            wait_until_async("the pod to go", || async {
                match pods.find("going").await.expect("find") {
                    None => Ok(()),
                    Some(_) => Err(cluster.tries.load(Ordering::SeqCst)),
                }
            })
            .await;
            running.cancel();
        };
        tokio::join!(working, watching);
        assert_eq!(cluster.tries.load(Ordering::SeqCst) as usize, REFUSALS.len() + 1);
    });
}

#[test]
fn what_is_left_of_pods_that_the_api_does_not_know_is_taken_away() {
    on_a_network_of_its_own(|| async {
        let cluster = Cluster::start().await;
        let pods = cluster.root.path().join("pods");
        let uid =
            |digit: char| format!("{0}-{1}-{1}-{1}-{2}", digit.to_string().repeat(8), "4abc", "0".repeat(12));
        let place = |name: &str, volume: &str| pods.join(name).join("volumes").join(volume);
        // As a crash left it before there was a sandbox, and as an earlier version did, without a record.
        let (recorded, older, later) = (uid('a'), uid('b'), uid('c'));
        let record = |name: &str, text: &str| {
            std::fs::create_dir_all(place(name, "scratch")).expect("make a directory");
            std::fs::write(pods.join(name).join("volumes.json"), text).expect("write a record");
        };
        record(&recorded, r#"{"version":1,"volumes":{"scratch":{"kind":"directory","phase":"published"}}}"#);
        std::fs::create_dir_all(place(&older, "scratch/deep")).expect("make a directory");
        record(&later, r#"{"version":7,"volumes":{}}"#);
        std::fs::create_dir_all(pods.join("seccomp")).expect("make a directory");
        let running = CancellationToken::new();
        let agent = node::Agent::new(
            cluster.node(),
            node::Machine::of_engine(cluster.engine().await),
            &cluster.steady,
            &cluster.steady,
            &cluster.steady,
            Arc::new(SystemClock::new()),
        )
        .expect("nothing is kept from pods");
        let working = agent.run(running.clone());
        let watching = async {
            wait_until_async("what nobody knows to go", || async {
                let mut left: Vec<_> = std::fs::read_dir(&pods)
                    .expect("list")
                    .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
                    .collect();
                left.sort();
                if left == [later.as_str(), "seccomp"] { Ok(()) } else { Err(left) }
            })
            .await;
            running.cancel();
        };
        tokio::join!(working, watching);
        assert!(place(&later, "scratch").is_dir(), "what is not understood is left alone");
    });
}

/// Runs a test on a thread with a network namespace of its own, where an engine may do as it likes.
fn on_a_network_of_its_own<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
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
struct Cluster {
    /// A client whose every word is heard.
    steady: Client,
    /// One whose first deletions of pods are refused.
    refused: Client,
    tries: Arc<AtomicU32>,
    instance: String,
    shutdown: CancellationToken,
    root: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
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

fn object<K: DeserializeOwned>(value: Value) -> K {
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
