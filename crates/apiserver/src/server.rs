//! The server: what it is made of, and its life from start to shutdown.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use offload::in_place;

use crate::aggregation::{self, Aggregation, FrontProxyClient};
use crate::allocation;
use crate::bootstrap::{self, Occasion};
use crate::cache::Cache;
use crate::config::{Config, ServiceAccountTokens};
use crate::definitions::Defined;
use crate::fairness::{Amendment, Fairness};
use crate::handle::Handle;
use crate::listener::Listener;
use crate::meters::Meters;
use crate::meters::admitting::Admitting;
use crate::objects::Served;
use crate::pki::{Authority, Issued, Names, OutOfTime, PkiError, Serving, TokenKeys, kubeconfig};
use crate::resource::{Installation, Resource, Table};
use crate::state::State;

/// A Kubernetes API server over a store.
pub struct Server {
    state: Arc<State>,
    serving: Arc<Serving>,
    listener: Listener,
    kubeconfig: Option<PathBuf>,
    upkeep: Duration,
    own_address: Option<fn() -> IpAddr>,
    /// Where pods were told at the start that it is.
    first_advertised: IpAddr,
    follower: JoinHandle<()>,
    /// Without it, a server that is dropped would go on following the store.
    closing: DropGuard,
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificates or keys are missing and could not be made.
    #[error("prepare certificates")]
    Pki(#[from] PkiError),
    /// The address could not be bound.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// What is stored could not be read.
    #[error("read what is stored")]
    Store(#[from] store::Error),
    /// The kubeconfig file could not be written.
    #[error("write the kubeconfig `{}`", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// As what the allocations of services are looked after when the server starts.
const REPAIR: &str = "start-service-ip-repair-controllers";
/// How long to wait before what panicked is begun anew.
const PAUSE: Duration = Duration::from_secs(1);
/// How long requests in flight may take to end at shutdown, and how long what was in memory only may take to
/// be written.
const GRACE: Duration = Duration::from_secs(10);
const SETTLING: Duration = Duration::from_secs(5);

impl Server {
    /// How long [`Server::serve`] may take to return when it is to stop: who drops it earlier loses the
    /// newest heartbeats of nodes, and cuts requests off that would have ended.
    pub const LONGEST_STOP: Duration = GRACE.saturating_add(SETTLING);

    /// Makes or opens the certificates, binds the address, reads what is stored, and makes the
    /// objects that must always be there. It serves `resources`. Requests by [`Server::handle`] work
    /// from here on.
    pub async fn start(
        config: Config,
        store: Arc<dyn store::Store>,
        resources: Vec<Resource>,
    ) -> Result<Self, StartError> {
        let directory = &config.pki_directory;
        let names = Names::new(&config.cluster_domain, config.service_cidr.api(), &config.extra_names);
        let (authority, token_keys, serving, to_others) = in_place(|| -> Result<_, StartError> {
            let authority =
                Arc::new(Authority::open(directory, config.clock.clone(), config.random.clone())?);
            let ServiceAccountTokens { keys, signing_key, .. } = &config.tokens;
            let token_keys = if keys.is_empty() && signing_key.is_none() {
                TokenKeys::open(directory)?
            } else {
                TokenKeys::given(keys, signing_key.as_ref())?
            };
            let serving = Serving::open(directory, authority.clone(), config.clock.clone(), names)?;
            let to_others = FrontProxyClient::open(directory, config.clock.clone(), config.random.clone())?;
            Ok((authority, token_keys, Arc::new(serving), to_others))
        })?;
        let issuers = match config.tokens.issuers.as_slice() {
            [] => vec![format!("https://kubernetes.default.svc.{}", config.cluster_domain)],
            issuers => issuers.to_vec(),
        };
        let socket = TcpListener::bind(config.address)
            .await
            .map_err(|source| StartError::Listen { address: config.address, source })?;
        let address =
            socket.local_addr().map_err(|source| StartError::Listen { address: config.address, source })?;
        let table = Arc::new(Table::new(resources));
        let (cache, watcher) = Cache::load(&*store, table.clone(), config.clock.clone()).await?;
        let cache = Arc::new(cache);
        let objects = Served { cache: cache.clone(), server: Arc::default() };
        let state = Arc::new(State {
            store,
            authorizer: (config.authorization)(Arc::new(objects.clone())),
            cache: cache.clone(),
            table,
            defined: Defined::new((config.definitions)(Arc::new(objects.clone()))),
            admission: config.admission.clone(),
            admitting: Admitting::new(config.admission.len()),
            authority,
            token_keys: Arc::new(token_keys),
            fixed_tokens: config.fixed_tokens.clone(),
            commit: config.commit.clone(),
            structured: config.structured.clone(),
            token_webhook: config.token_webhook.clone(),
            front_proxy: config.front_proxy.clone(),
            aggregation: Aggregation::new(
                (config.aggregation)(Arc::new(objects.clone())),
                to_others,
                config.authorities,
            ),
            audiences: if config.tokens.audiences.is_empty() {
                issuers.clone()
            } else {
                config.tokens.audiences.clone()
            },
            issuers,
            tokens: config.tokens.clone(),
            service_cidr: config.service_cidr,
            networks: allocation::Networks::default(),
            node_ports: config.node_ports.clone(),
            nodes: config.nodes.clone(),
            outside: config.outside.clone(),
            of_system: std::sync::OnceLock::new(),
            names: crate::names::Names::default(),
            callouts: crate::callout::Callouts::default(),
            clock: config.clock.clone(),
            random: config.random.clone(),
            fairness: Fairness::new(
                config.limits,
                (config.flow_control)(Arc::new(objects.clone())),
                config.clock.clone(),
            ),
            bodies: crate::payload::Bodies::new(),
            workers: crate::workers::Workers::new(),
            consistency: crate::consistency::Consistency::default(),
            readiness: crate::paths::Readiness::default(),
            hooks: crate::paths::Hooks::default(),
            audit: config.audit.clone(),
            notes: crate::account::Noting::default(),
            meters: Arc::new(Meters::new()),
            metrics: config.metrics.clone(),
            stopping: CancellationToken::new(),
            past: crate::verbs::Room::default(),
            passing: crate::passing::Passing::default(),
            stop: CancellationToken::new(),
            closed: CancellationToken::new(),
            tasks: TaskTracker::new(),
            lifetimes: crate::state::Lifetimes::default(),
            documents: crate::openapi::Documents::new(),
            discovery: crate::paths::Discovery::default(),
            noting: parking_lot::Mutex::default(),
            turns: crate::turns::Turns::default(),
        });
        objects.server.set(Arc::downgrade(&state)).expect("it is set here and nowhere else");
        state.defined.catch_up(&state.table);
        config.metrics.add(Arc::new(numbers(&state)));
        state.hooks.expect(REPAIR);
        state
            .table
            .all()
            .iter()
            .filter_map(|resource| resource.hook)
            .for_each(|hook| state.hooks.expect(hook));
        let follower = state.clone();
        let follower = tokio::spawn(async move { follow(&follower, watcher).await });
        let closing = state.closed.clone().drop_guard();
        allocation::repair(&state, &state.table.all()).await?;
        state.hooks.note(REPAIR, Ok(()));
        let listener =
            Listener::new(socket, address, state.clone(), serving.clone(), config.connections_of_user)?;
        let (kubeconfig, upkeep, own_address) = (config.kubeconfig, config.upkeep, config.own_address);
        let mut server = Self {
            state,
            serving,
            listener,
            kubeconfig,
            upkeep,
            own_address,
            first_advertised: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            follower,
            closing,
        };
        match write_kubeconfig(server.kubeconfig.as_ref(), &server.kubeconfig()) {
            // On a full disk this server is needed most: deletions free it. One that was written before is good still.
            Err(error) if error.is_for_want_of_space() => {
                tracing::error!(error = %base::error::chain(&error), "the kubeconfig is as it was");
            }
            written => written?,
        }
        server.first_advertised = server.advertised();
        server.install(server.first_advertised, Occasion::Begins).await;
        Ok(server)
    }

    /// Makes what must always be there, of a server that pods reach at `address`.
    async fn install(&self, address: IpAddr, occasion: Occasion) {
        let installation = Installation {
            address,
            port: self.address().port(),
            service_address: self.state.service_cidr.api(),
            service_network: self.state.service_cidr,
            certificate: self.state.authority.certificate_pem().to_owned(),
            front_proxy: Arc::new(
                self.state.aggregation.front_proxy().announced(self.state.front_proxy.as_deref()),
            ),
            today: model::time::format(self.state.clock.now())
                .split('T')
                .next()
                .unwrap_or_default()
                .to_owned(),
        };
        bootstrap::ensure(&self.state, &self.handle(), &installation, occasion).await;
    }

    /// The way in for callers that share the process.
    pub fn handle(&self) -> Handle {
        Handle::new(self.state.clone())
    }

    /// The address that is listened on.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// What tokens of service accounts are signed by.
    pub fn token_keys(&self) -> Arc<TokenKeys> {
        self.state.token_keys.clone()
    }

    /// The installation's certificate authority.
    pub fn authority(&self) -> Arc<Authority> {
        self.state.authority.clone()
    }

    /// The administrator's client certificate.
    pub fn administrator(&self) -> Issued {
        self.serving.administrator()
    }

    /// The administrator's kubeconfig, for the server at its own address on this host.
    pub fn kubeconfig(&self) -> String {
        kubeconfig(&self.state.authority, &self.serving.administrator(), &local_url(self.address()))
    }

    /// From when this is cancelled on the server says that it is not ready, and goes on as before: who balances
    /// load has time to send it no more.
    pub fn leaving(&self) -> CancellationToken {
        self.state.stopping.clone()
    }

    /// Serves until `shutdown` is cancelled, then lets requests in flight end: watches at once, the
    /// others within ten seconds. Returns within [`Server::LONGEST_STOP`] after that.
    pub async fn serve(self, shutdown: CancellationToken) {
        let upkeep = self.look_after();
        let fairness = look_after_fairness(&self.state);
        let handle = self.handle();
        tokio::select! {
            () = self.listener.accept(&self.state.tasks) => {}
            () = upkeep => {}
            () = fairness => {}
            () = look_after_others(&self.state) => {}
            () = crate::definitions::look_after(&self.state) => {}
            () = allocation::keep(&self.state, &handle) => {}
            () = shutdown.cancelled() => {}
        }
        self.state.stopping.cancel();
        self.state.stop.cancel();
        self.state.tasks.close();
        if tokio::time::timeout(GRACE, self.state.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.state.tasks.len(), "requests in flight did not end in time");
        }
        if tokio::time::timeout(SETTLING, crate::passing::settle(&self.state)).await.is_err() {
            tracing::warn!("the newest heartbeats of nodes were not written in time");
        }
        // Last, since a write is answered only when it is visible.
        drop(self.closing);
        if self.follower.await.is_err() {
            tracing::error!("following the store ended by a panic");
        }
    }

    /// Once in a while: certificates that have to be made anew, since the clock may be set at any time,
    /// changes that are to be forgotten, what is left over.
    async fn look_after(&self) {
        let mut told = None;
        let mut tidied = allocation::Tidied::default();
        let mut advertised = self.first_advertised;
        loop {
            // Told once, and again when it changes.
            let wrong = self.state.authority.out_of_time(self.state.clock.now());
            if let Some(why) = wrong.filter(|_| told.map(discriminant) != wrong.map(discriminant)) {
                tracing::error!(%why, "the certificate authority is out of its time");
            }
            told = wrong;
            tokio::time::sleep(self.upkeep).await;
            let now = self.advertised();
            let occasion = if now == advertised { Occasion::GoesOn } else { Occasion::Begins };
            if occasion == Occasion::Begins {
                tracing::info!(before = %advertised, %now, "pods reach the server at another address");
                advertised = now;
            }
            self.install(now, occasion).await;
            self.state.cache.trim();
            crate::passing::trim(&self.state);
            self.state.callouts.trim(self.state.clock.elapsed());
            crate::passing::show_others(&self.state).await;
            if let Err(error) = allocation::tidy(&self.state, &mut tidied).await {
                let error = base::error::chain(&error);
                tracing::warn!(%error, "what objects that are gone have held is not let go of yet");
            }
            if let Err(error) = in_place(|| self.state.aggregation.renew()) {
                tracing::error!(error = %base::error::chain(&error), "cannot renew the certificate for servers behind this one");
            }
            let renewed = in_place(|| base::panics::catch(|| self.serving.renew())).unwrap_or_else(|panic| {
                tracing::error!(%panic, "looking at the certificates panicked");
                Ok(false)
            });
            match renewed {
                Ok(false) => {}
                Ok(true) => {
                    if let Err(error) = write_kubeconfig(self.kubeconfig.as_ref(), &self.kubeconfig()) {
                        tracing::error!(error = %base::error::chain(&error), "kubeconfig is out of date");
                    }
                }
                // Tried again in a minute, for months before anything expires.
                Err(error) => {
                    tracing::error!(error = %base::error::chain(&error), "cannot renew certificates")
                }
            }
        }
    }

    /// The address by which pods reach the server.
    fn advertised(&self) -> IpAddr {
        match self.address().ip() {
            ip if !ip.is_unspecified() => ip,
            // What the machine is reached at, which none of its bridges is.
            _ => match self.own_address {
                Some(own_address) => in_place(own_address),
                None => self.serving.host_address().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            },
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address()).finish_non_exhaustive()
    }
}

/// What the server counts, as long as it is there.
fn numbers(state: &Arc<State>) -> impl Fn(&mut metrics::Text) + Send + Sync + 'static {
    let state = Arc::downgrade(state);
    move |text| {
        let Some(state) = state.upgrade() else { return };
        state.meters.write(text, state.clock.elapsed());
        crate::paths::write_build(text, &state.commit);
        state.cache.write_numbers(text);
        state.aggregation.write_numbers(text);
        let (levels, flows) = state.fairness.report();
        crate::meters::flow_control::write(text, &levels, &flows);
    }
}

/// Keeps memory true until the server has stopped. A panic may have left it half changed: all is read anew.
async fn follow(state: &State, watcher: store::Watcher) {
    let mut watcher = Some(watcher);
    loop {
        let following = async {
            let watcher = match watcher.take() {
                Some(watcher) => watcher,
                None => match state.closed.run_until_cancelled(state.cache.renew(&*state.store)).await {
                    Some(watcher) => watcher,
                    None => return,
                },
            };
            state.cache.follow(&*state.store, watcher, state.closed.clone()).await;
        };
        let Err(panic) = base::panics::catch_async(following).await else { return };
        tracing::error!(%panic, "following the store panicked; reading all of it anew");
        if state.closed.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
            return;
        }
    }
}

/// Keeps who is served first as objects say it. A panic may have left something undone: all is read anew.
async fn look_after_fairness(state: &Arc<State>) {
    loop {
        let handle = Handle::new(state.clone());
        let amend = move |amendment: Amendment| amend(handle.clone(), amendment).boxed();
        let Err(panic) = base::panics::catch_async(state.fairness.look_after(amend)).await else { return };
        tracing::error!(%panic, "looking after priority and fairness panicked; beginning anew");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks after those who serve what this server does not, and registers what it serves itself. A panic may have left
/// something undone: all is looked at anew.
async fn look_after_others(state: &Arc<State>) {
    loop {
        let looking = async {
            tokio::join!(aggregation::run(state), aggregation::register(state));
        };
        let Err(panic) = base::panics::catch_async(looking).await else { return };
        tracing::error!(%panic, "looking after those who serve other APIs panicked; beginning anew");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Tells an object what has become of it.
async fn amend(handle: Handle, amendment: Amendment) {
    if let Err((code, answer)) = bootstrap::apply(&handle, &amendment.path, &amendment.object).await
        && code != StatusCode::NOT_FOUND
    {
        tracing::warn!(path = amendment.path, answer, "an object is not told what has become of it");
    }
}

/// What kind of wrong, whatever the times are.
fn discriminant(why: OutOfTime) -> std::mem::Discriminant<OutOfTime> {
    std::mem::discriminant(&why)
}

impl StartError {
    fn is_for_want_of_space(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Kubeconfig { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

fn write_kubeconfig(path: Option<&PathBuf>, text: &str) -> Result<(), StartError> {
    let Some(path) = path else { return Ok(()) };
    in_place(|| base::fs::write_atomic(path, text.as_bytes(), 0o600))
        .map_err(|source| StartError::Kubeconfig { path: path.clone(), source })
}

/// Where clients on this host find a server that listens on `address`.
fn local_url(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("https://127.0.0.1:{}", address.port())
    } else {
        format!("https://{address}")
    }
}
