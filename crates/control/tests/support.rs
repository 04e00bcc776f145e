//! An API server with the controllers at work, and a way to keep news from them.
#![allow(dead_code, unreachable_pub, reason = "each test target uses its part of what they share")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apiserver::node::{NoNodes, NodeTransport};
use apiserver::pki::{Authority, CertificateRequest, TokenKeys, certificate_ends};
use apiserver::{Config, Handle, Identity, Server};
use bytes::Bytes;
use client::transport::{Body, TransportError, body};
use client::{Api, Client, ResourceKind, Transport};
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use model::shared::Objects;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A running server with controllers; stops when it is dropped.
pub struct Cluster {
    /// A client that sees everything at once.
    pub steady: Client,
    stalled: watch::Sender<&'static str>,
    unlisted: watch::Sender<&'static str>,
    read: Arc<Mutex<Vec<String>>>,
    shutdown: CancellationToken,
    authority: String,
    signs: Arc<Authority>,
    token_keys: Arc<TokenKeys>,
    late: Late,
    clock: Arc<dyn base::Clock>,
    controllers: Option<(CancellationToken, tokio::task::JoinHandle<()>)>,
    _root: tempfile::TempDir,
}

impl Cluster {
    /// A server on an empty root, without a way to any node.
    pub async fn start() -> Self {
        Self::start_of(Arc::new(NoNodes), Arc::new(base::SystemClock::new())).await
    }

    /// A server on an empty root, with this way to nodes.
    pub async fn start_with(nodes: Arc<dyn NodeTransport>) -> Self {
        Self::start_of(nodes, Arc::new(base::SystemClock::new())).await
    }

    /// As [`Self::start`], where the controllers look at this clock.
    pub async fn start_at(looked_at: Arc<dyn base::Clock>) -> Self {
        Self::start_of(Arc::new(NoNodes), looked_at).await
    }

    async fn start_of(nodes: Arc<dyn NodeTransport>, looked_at: Arc<dyn base::Clock>) -> Self {
        let root = tempfile::tempdir().expect("temporary directory");
        let clock = Arc::new(base::SystemClock::new());
        let store =
            store::Embedded::open(&root.path().join("store"), store::Options::default(), clock.clone())
                .expect("open the store");
        let mut config = Config::new(root.path().join("pki"), nodes);
        config.address = "127.0.0.1:0".parse().expect("an address");
        config.admission = kinds::admission();
        config.authorization = kinds::authorization();
        config.aggregation = kinds::aggregation();
        config.definitions = kinds::definitions();
        let features = kinds::Features {
            gates: "StorageVersionMigrator=true,GenericWorkload=true,GangScheduling=true"
                .parse()
                .expect("gates"),
            versions: "storagemigration.k8s.io/v1beta1,scheduling.k8s.io/v1alpha2".parse().expect("versions"),
        };
        let server =
            Server::start(config, Arc::new(store), kinds::served(&features)).await.expect("start the server");
        let handle = server.handle();
        let (signs, token_keys) = (server.authority(), server.token_keys());
        let authority = signs.certificate_pem().to_owned();
        let shutdown = CancellationToken::new();
        tokio::spawn(server.serve(shutdown.clone()));
        let (stalled, unlisted) = (watch::Sender::new(""), watch::Sender::new(""));
        let read = Arc::new(Mutex::new(Vec::new()));
        let late = Late {
            handle: handle.clone(),
            identity: Identity::administrator(),
            actor: "",
            stalled: stalled.clone(),
            unlisted: unlisted.clone(),
            read: Arc::clone(&read),
            writes: Arc::new(AtomicI64::new(i64::MAX)),
            cut: watch::Sender::new(HashMap::new()),
        };
        let steady = Client::new(Direct(handle));
        let account: ServiceAccount = object(json!({ "metadata": { "name": "default" } }));
        // The controller may have made it already.
        let _ = Api::namespaced(&steady, "default").create(&account).await;
        let mut cluster = Self {
            steady,
            stalled,
            unlisted,
            read,
            shutdown,
            authority,
            signs,
            token_keys,
            late,
            clock: looked_at,
            controllers: None,
            _root: root,
        };
        cluster.start_controllers();
        cluster
    }

    /// A client of somebody else.
    pub fn of(&self, user: &str) -> Client {
        let identity = Identity::new(user, [apiserver::AUTHENTICATED]);
        Client::new(Late { identity, ..self.late.clone() })
    }

    /// Starts controllers that know nothing yet.
    pub fn start_controllers(&mut self) {
        let (late, stop) = (self.late.clone(), self.shutdown.child_token());
        let clients: control::Clients = Arc::new(move |actor| {
            let (actor, identity) = match actor {
                control::Actor::Component(name) => (name, Identity::component(name)),
                control::Actor::Controller(name) => (name, Identity::controller(name)),
            };
            Client::new(Late { identity, actor, ..late.clone() })
        });
        let signer: Arc<dyn control::Signer> =
            Arc::new(Signer(Arc::clone(&self.signs), Arc::clone(&self.token_keys)));
        let config = control::Config {
            authority: self.authority.clone(),
            candidate: None,
            signer: Some(signer),
            scheduler: Arc::default(),
            migrates: true,
            pod_groups: control::PodGroups::Heeded,
        };
        let clock = Arc::clone(&self.clock);
        let stopping = stop.clone();
        let running = tokio::spawn(async move { control::run(config, clients, clock, stopping).await });
        self.controllers = Some((stop, running));
    }

    /// Stops the controllers, and waits until nothing is left of them.
    pub async fn stop_controllers(&mut self) {
        if let Some((stop, running)) = self.controllers.take() {
            stop.cancel();
            running.await.expect("the controllers end");
        }
    }

    /// Lets the controllers write so often and no more. Of the last write they do not hear what became of it.
    pub fn end_writes_after(&self, writes: i64) {
        self.late.writes.store(writes, Ordering::SeqCst);
    }

    /// Whether they have written as often as they may.
    pub fn have_writes_ended(&self) -> bool {
        self.late.writes.load(Ordering::SeqCst) <= 0
    }

    /// How often the controllers have read something below a path so far.
    pub fn times_read(&self, below: &str) -> usize {
        let read = self.read.lock().expect("nobody panics with it");
        read.iter().filter(|path| path.starts_with(below)).count()
    }

    /// From now on each of these controllers is cut off with its next write, which is done though it is not told so.
    pub fn cut_at_writes(&self, controllers: &[&'static str]) {
        self.late.cut.send_replace(controllers.iter().map(|name| (*name, false)).collect());
    }

    /// How many of them have been.
    pub fn count_cut(&self) -> usize {
        self.late.cut.borrow().values().filter(|cut| **cut).count()
    }

    /// Waits until one of them has been.
    pub async fn until_cut(&self) {
        let mut cut = self.late.cut.subscribe();
        let _ = cut.wait_for(|cut| cut.values().any(|cut| *cut)).await;
    }

    /// From now on the controllers are told nothing of this resource by their watches.
    pub fn stall_watches(&self, resource: &'static str) {
        self.stalled.send_replace(resource);
    }
}

impl Cluster {
    /// From now on nobody tells the controllers what there is of this resource.
    pub fn end_lists(&self, resource: &'static str) {
        self.unlisted.send_replace(resource);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Defines a kind of one's own, `Thing` of `example.com/v1`.
pub async fn define_things(cluster: &Cluster) -> ResourceKind {
    let definition: CustomResourceDefinition = object(json!({
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}},
            }],
        },
    }));
    let definitions = Api::<CustomResourceDefinition>::all(&cluster.steady);
    definitions.create(&definition).await.expect("create");
    ResourceKind::dynamic("example.com", "v1", "Thing", "things", true)
}

/// A typed object from JSON.
pub fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("the value fits the type")
}

/// Signs as the binary's own does.
struct Signer(Arc<Authority>, Arc<TokenKeys>);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl control::Signer for Signer {
    fn read(&self, request: &[u8]) -> Result<control::Asked, String> {
        let asked = CertificateRequest::parse(request).map_err(|error| error.to_string())?;
        Ok(control::Asked {
            common_name: asked.common_name,
            organizations: asked.organizations,
            dns_names: asked.dns_names,
            addresses: asked.addresses,
            emails: asked.emails,
            uris: asked.uris,
        })
    }

    fn sign(&self, request: &[u8], usages: &[String], lifetime: Duration) -> Result<String, String> {
        let request = CertificateRequest::parse(request).map_err(|error| error.to_string())?;
        self.0.sign(&request, usages, lifetime).map_err(|error| error.to_string())
    }

    fn sign_token(&self, claims: &Value) -> Result<String, String> {
        self.1.sign(claims).map_err(|error| error.to_string())
    }

    fn ends(&self, certificate: &[u8]) -> Option<i64> {
        certificate_ends(certificate)
    }
}

struct Direct(Handle);

impl Transport for Direct {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(call(&self.0, request, Identity::administrator()))
    }
}

#[derive(Clone)]
struct Late {
    handle: Handle,
    identity: Identity,
    actor: &'static str,
    stalled: watch::Sender<&'static str>,
    unlisted: watch::Sender<&'static str>,
    read: Arc<Mutex<Vec<String>>>,
    /// How often may be written still.
    writes: Arc<AtomicI64>,
    /// Who is cut off at a write, and whether that has been.
    cut: watch::Sender<HashMap<&'static str, bool>>,
}

impl Late {
    /// Whether nothing of this is answered: done it is if it is the write at which its sender is cut off.
    async fn is_cut(&self, request: &Request<Bytes>) -> bool {
        let mut was = false;
        let writes = request.method() != "GET";
        let is_last = self.cut.send_if_modified(|cut| match cut.get_mut(self.actor) {
            Some(cut) if *cut => {
                was = true;
                false
            }
            Some(cut) => {
                *cut = writes;
                writes
            }
            None => false,
        });
        if is_last {
            let _ = call(&self.handle, request.clone(), self.identity.clone()).await;
        }
        was || is_last
    }
}

impl Transport for Late {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let resource = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            if request.method() == "GET" && !watches {
                self.read.lock().expect("nobody panics with it").push(request.uri().path().to_owned());
            }
            let left = match *request.method() == http::Method::GET {
                true => i64::MAX,
                false => self.writes.fetch_sub(1, Ordering::SeqCst),
            };
            let lost = || TransportError::Broken { server: "test".to_owned(), source: "it is over".into() };
            if request.method() == "GET" && *self.unlisted.borrow() == resource {
                return Err(lost());
            }
            if left <= 0 || self.is_cut(&request).await {
                return Err(lost());
            }
            let mut response = call(&self.handle, request, self.identity.clone()).await?;
            if left == 1 {
                return Err(lost());
            }
            if !watches {
                return Ok(response);
            }
            let stalled = self.stalled.subscribe();
            // What the server shares with this process goes past the body.
            if let Some(told) = response.extensions_mut().remove::<Objects>().and_then(|shared| shared.take())
            {
                response.extensions_mut().insert(Objects::new(held(told, stalled.clone(), resource.clone())));
            }
            Ok(response
                .map(|inner| StreamBody::new(held(BodyStream::new(inner), stalled, resource)).boxed_unsync()))
        })
    }
}

/// What a watch tells, kept back as long as its resource is stalled.
fn held<S: futures::Stream>(
    told: S,
    stalled: watch::Receiver<&'static str>,
    resource: String,
) -> impl futures::Stream<Item = S::Item> {
    told.then(move |told| {
        let (mut stalled, resource) = (stalled.clone(), resource.clone());
        async move {
            let _ = stalled.wait_for(|stalled| *stalled != resource).await;
            told
        }
    })
}

async fn call(
    handle: &Handle,
    request: Request<Bytes>,
    identity: Identity,
) -> Result<Response<Body>, TransportError> {
    let broken = |source| TransportError::Broken { server: "test".to_owned(), source: Box::new(source) };
    Ok(handle.call(request, identity).await.map(|answer| body(answer.map_err(broken))))
}
