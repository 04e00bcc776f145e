//! BuildKit's services before an engine of their own, and callers of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base::{SystemClock, SystemRandom};
use build::solve::{Entitlement, Solver};
use buildkit::{About, BuildKit, Owner};
use engine::container::LogOptions;
use engine::image::ImportSpec;
use engine::{Config, Engine};
use futures::future::BoxFuture;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::thread::UnshareFlags;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::body::Body;
use tonic::client::Grpc;

/// The messages and services as they are on the wire.
#[allow(missing_docs, unreachable_pub, dead_code, unused_qualifications, clippy::all)]
pub(crate) mod wire {
    include!(concat!(env!("OUT_DIR"), "/wire.rs"));
}

use wire::containerd::services::content::v1::content_client::ContentClient;
use wire::moby::buildkit::v1::control_client::ControlClient;
use wire::moby::buildkit::v1::frontend::llb_bridge_client::LlbBridgeClient;

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// What the services say of themselves here.
pub(crate) fn about() -> About {
    About {
        id: "here".to_owned(),
        version: "1.2.3".to_owned(),
        host_gateway: "172.17.0.1".to_owned(),
        allowed: vec![Entitlement::NetworkHost],
        ..About::default()
    }
}

/// Runs `test` with services before an engine that has nothing.
pub(crate) fn with_services<F: Future<Output = ()>>(test: impl FnOnce(BuildKit) -> F + Send) {
    testkit::require_root();
    let run = || {
        // SAFETY: nothing of this thread's file descriptors or memory is unshared.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
            .expect("a network namespace of one's own");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let directory = tempfile::tempdir().expect("temporary directory");
        let instance =
            format!("k{:x}n{}", std::process::id() & 0xffff, COUNTER.fetch_add(1, Ordering::Relaxed));
        runtime.expect("start a runtime").block_on(async {
            let opened = Engine::open(
                config(directory.path(), &instance),
                Arc::new(SystemClock::new()),
                Arc::new(SystemRandom),
            );
            let engine = opened.await.expect("open the engine");
            test(BuildKit::new(Solver::new(engine.clone()), about())).await;
            engine.close().await;
        });
    };
    std::thread::scope(|scope| {
        if let Err(panic) = scope.spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// The program that holds containers: the example `buildkit_roles`, which `cargo test` builds beside the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the running test has a path");
    let profile = test.parent().and_then(Path::parent).expect("tests lie in <profile>/deps");
    profile.join("examples/buildkit_roles")
}

/// Gives the engine behind the services the image `busybox`.
pub(crate) async fn import_busybox(services: &BuildKit) {
    let program = program();
    let missing = || format!("{} is missing: run the tests with `cargo test -p buildkit`", program.display());
    assert!(program.exists(), "{}", missing());
    let archive = tokio::task::spawn_blocking(testkit::rootfs::busybox_tar).await.expect("make an archive");
    let archive = futures::stream::iter([Ok(bytes::Bytes::from(archive))]);
    let mut spec = ImportSpec { reference: Some("busybox".to_owned()), ..ImportSpec::default() };
    spec.config.env = vec!["PATH=/bin".to_owned()];
    services.solver().engine().image_import(Box::pin(archive), spec).await.expect("import the image");
}

fn config(directory: &Path, instance: &str) -> Config {
    let root = directory.join("root");
    Config {
        run: directory.join("run"),
        instance: instance.to_owned(),
        network: net::Config::new(instance, root.join("network")),
        binary: program(),
        log: LogOptions::default(),
        dns: Vec::new(),
        insecure_registries: Vec::new(),
        image_blobs: engine::image::Blobs::default(),
        descriptors: None,
        user_ids: None,
        root,
    }
}

/// One end of a connection to the services.
pub(crate) struct Caller {
    channel: Channel,
    _driven: AbortOnDropHandle<()>,
}

#[derive(Clone)]
pub(crate) struct Channel(SendRequest<Body>);

impl tower::Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, hyper::Result<Response<Incoming>>>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

impl Caller {
    /// Connects to the services as `owner`.
    pub(crate) async fn connect(services: &BuildKit, owner: Owner) -> Self {
        let (near, far) = tokio::io::duplex(64 << 10);
        let services = services.clone();
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let serving = async move { services.serve(owner, far).await };
        let (handshake, serving) = {
            let serving = AbortOnDropHandle::new(tokio::spawn(serving));
            (builder.handshake(TokioIo::new(near)).await, serving)
        };
        let (sender, connection) = handshake.expect("a connection");
        let driven = AbortOnDropHandle::new(tokio::spawn(async move {
            let _serving = serving;
            let _ = connection.await;
        }));
        Caller { channel: Channel(sender), _driven: driven }
    }

    pub(crate) fn control(&self) -> ControlClient<Channel> {
        ControlClient::with_origin(self.channel.clone(), Uri::from_static("http://here"))
    }

    pub(crate) fn content(&self) -> ContentClient<Channel> {
        ContentClient::with_origin(self.channel.clone(), Uri::from_static("http://here"))
    }

    pub(crate) fn bridge(&self) -> LlbBridgeClient<Channel> {
        LlbBridgeClient::with_origin(self.channel.clone(), Uri::from_static("http://here"))
    }

    /// What a call of nothing that there is comes to.
    pub(crate) async fn call_unknown(&self) -> Status {
        let mut grpc = Grpc::with_origin(self.channel.clone(), Uri::from_static("http://here"));
        grpc.ready().await.expect("ready");
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let answer = grpc.unary(tonic::Request::new(()), PathAndQuery::from_static("/no.Such/Call"), codec);
        answer.await.expect_err("there is none")
    }
}
