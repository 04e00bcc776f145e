//! Group versions that somebody else serves: who that is, and what is asked of them on the way.
//!
//! Which there are says [`Registrations`], which the kinds bring. Requests to them are answered by a server behind
//! a service ([`forward`](mod@forward)), which knows this one by its certificate ([`certificate`]) and is told whose the request
//! is. What such servers offer is asked of them now and then ([`upkeep`]), never while somebody waits for
//! discovery or for OpenAPI: of one that does not answer it is told what it said last.

mod certificate;
mod discovery;
mod forward;
mod openapi;
mod peer;
mod room;
mod trust;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use base::Timestamp;
use futures::future::BoxFuture;
use http::{Method, StatusCode};
use model::gvk::GroupVersion;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;

use crate::objects::Objects;
use crate::pki::PkiError;
use crate::state::State;

pub(crate) use certificate::FrontProxyClient;
pub(crate) use discovery::Offered;
pub(crate) use forward::{Remote, forward};
pub(crate) use openapi::Described;
pub(crate) use upkeep::{register, run};

use peer::Peer;

/// A group version that is registered, and who serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The object's name.
    pub name: String,
    /// The object's uid: one made again under the same name is another one.
    pub uid: String,
    /// The group version.
    pub version: GroupVersion,
    /// How much its group, and the version in it, are preferred.
    pub priority: Priority,
    /// Who serves it; this server, where it is nobody.
    pub remote: Option<Arc<RemoteServer>>,
    /// Whether it is said of it that it can be asked.
    pub available: bool,
}

/// How much a group, and a version in it, are preferred to others: higher numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority {
    /// Among groups.
    pub group: i64,
    /// Among the versions of the group.
    pub version: i64,
}

/// A server of somebody else's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RemoteServer {
    /// The service that it is behind.
    pub service: ServiceReference,
    /// Who vouches for it, PEM; those of the system where there is nobody.
    pub authorities: Vec<u8>,
    /// It may show any certificate.
    pub any_certificate: bool,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceReference {
    /// The service's namespace.
    pub namespace: String,
    /// The service's name.
    pub name: String,
    /// Its port.
    pub port: u16,
}

/// Where a service is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// At an address, which is reached from a node: any, where it is empty.
    Address {
        /// The node.
        node: String,
        /// The address.
        address: SocketAddr,
    },
    /// At a name outside of the cluster.
    Name(String, u16),
}

/// Why a service cannot be reached, as a condition says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// In one word.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

/// Whether a group version can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// This server has it.
    Local,
    /// It was asked, and answered.
    Passed,
    /// It cannot be.
    Absent(Absence),
}

/// A request that the server makes to itself to keep registrations true.
#[derive(Clone, Debug, PartialEq)]
pub struct Amend {
    /// How.
    pub method: Method,
    /// Where.
    pub path: String,
    /// The body; null where there is none.
    pub object: Value,
}

/// All registrations at one moment.
#[derive(Clone, Debug, Default)]
pub struct Registered {
    /// Another number where something differs.
    pub generation: u64,
    /// How far what they are read from was looked at, for [`Registrations::changed`].
    pub seen: [u64; 3],
    all: Arc<BTreeMap<GroupVersion, Arc<Registration>>>,
}

/// Says which group versions are registered, and where services are reached.
pub trait Registrations: Send + Sync {
    /// All that are registered now. Costs next to nothing where nothing has changed.
    fn registered(&self) -> Arc<Registered>;

    /// Waits until there may be something that is newer than what was seen: a registration, or where a service is
    /// reached that one names.
    fn changed(&self, seen: [u64; 3]) -> BoxFuture<'static, ()>;

    /// Where a service is reached that a registration names: at any of these.
    fn places(&self, service: &ServiceReference) -> Result<Vec<Place>, Absence>;

    /// What is to be done where this is found of a registration and is not what its object says.
    fn found(&self, name: &str, availability: &Availability, now: Timestamp) -> Option<Amend>;

    /// What is to be done for each group version that this server serves to be registered, and no other of those
    /// that were registered for it.
    fn register(&self, served: &BTreeSet<GroupVersion>) -> Vec<Amend>;
}

/// Makes what reads registrations out of the objects that are served.
pub type Source = Arc<dyn Fn(Arc<dyn Objects>) -> Arc<dyn Registrations> + Send + Sync>;

/// Nobody registers anything: for a server without, as many tests have.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Registrations for Nobody {
    fn registered(&self) -> Arc<Registered> {
        Arc::default()
    }

    fn changed(&self, _: [u64; 3]) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn places(&self, _: &ServiceReference) -> Result<Vec<Place>, Absence> {
        Err(Absence { reason: "ServiceNotFound", message: "there are no services".to_owned() })
    }

    fn found(&self, _: &str, _: &Availability, _: Timestamp) -> Option<Amend> {
        None
    }

    fn register(&self, _: &BTreeSet<GroupVersion>) -> Vec<Amend> {
        Vec::new()
    }
}

impl Registered {
    /// These.
    pub fn new(generation: u64, seen: [u64; 3], all: impl IntoIterator<Item = Arc<Registration>>) -> Self {
        let all: BTreeMap<_, _> = all.into_iter().map(|one| (one.version.clone(), one)).collect();
        Self { generation, seen, all: Arc::new(all) }
    }

    /// The same ones, looked at again.
    #[must_use]
    pub fn seen_again(&self, seen: [u64; 3]) -> Self {
        Self { seen, ..self.clone() }
    }

    /// The registration of a group version.
    pub fn get(&self, version: &GroupVersion) -> Option<&Arc<Registration>> {
        self.all.get(version)
    }

    /// All of them, by group version.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Registration>> {
        self.all.values()
    }

    /// Those that somebody else serves.
    pub fn remote(&self) -> impl Iterator<Item = (&Arc<Registration>, &Arc<RemoteServer>)> {
        self.all().filter_map(|one| Some((one, one.remote.as_ref()?)))
    }
}

impl RemoteServer {
    /// The name that its certificate is for.
    fn server_name(&self) -> String {
        format!("{}.{}.svc", self.service.name, self.service.namespace)
    }
}

type Peers = HashMap<Arc<RemoteServer>, Result<Arc<Peer>, String>>;

/// What a server knows of those behind it.
pub(crate) struct Aggregation {
    source: Arc<dyn Registrations>,
    client: Arc<FrontProxyClient>,
    /// Whom the system trusts, PEM, and that once somebody wanted to know.
    authorities: fn() -> String,
    of_system: OnceLock<String>,
    /// The ways to servers, or why there is none.
    peers: Mutex<Peers>,
    told: RwLock<Told>,
    /// How often it was found of a registration that it cannot be asked for any more, and why.
    lost: Mutex<BTreeMap<(String, &'static str), u64>>,
}

/// So many registrations are told apart in what is counted.
const COUNTED: usize = 1000;

/// What others have said of what they serve, by group version.
#[derive(Default)]
struct Told {
    /// Another number after each change.
    generation: u64,
    of: HashMap<GroupVersion, Said>,
}

/// What one has said.
#[derive(Clone, Default)]
struct Said {
    /// Whom it is of, and by which registration.
    server: Option<Arc<RemoteServer>>,
    uid: String,
    offered: Option<Arc<Offered>>,
    described: Option<Arc<Described>>,
}

impl Said {
    /// Whether it is of this one, as it is registered now.
    fn is_of(&self, registration: &Registration, server: &Arc<RemoteServer>) -> bool {
        self.server.as_ref() == Some(server) && self.uid == registration.uid
    }
}

/// What is known at one moment of the group versions that are registered.
pub(crate) struct View {
    pub(crate) registered: Arc<Registered>,
    /// Differs where something of it does.
    pub(crate) generation: [u64; 2],
    offered: HashMap<GroupVersion, Arc<Offered>>,
}

impl Aggregation {
    pub(crate) fn new(
        source: Arc<dyn Registrations>,
        client: FrontProxyClient,
        authorities: fn() -> String,
    ) -> Self {
        Self {
            source,
            client: Arc::new(client),
            authorities,
            of_system: OnceLock::new(),
            peers: Mutex::default(),
            told: RwLock::default(),
            lost: Mutex::default(),
        }
    }

    /// Counts that a registration cannot be asked for any more.
    fn lose(&self, name: &str, reason: &'static str) {
        let mut lost = self.lost.lock();
        let key = (name.to_owned(), reason);
        if lost.len() < COUNTED || lost.contains_key(&key) {
            *lost.entry(key).or_default() += 1;
        }
    }

    /// Writes which registrations cannot be asked for.
    pub(crate) fn write_numbers(&self, text: &mut metrics::Text) {
        let help =
            "[ALPHA] Gauge of APIServices which are marked as unavailable broken down by APIService name.";
        let block = text.block("aggregator_unavailable_apiservice", metrics::Kind::Gauge, help);
        for registration in self.source.registered().all().take(COUNTED) {
            block.value(&[("name", &registration.name)], u64::from(!registration.available));
        }
        let help = "[ALPHA] Counter of APIServices which are marked as unavailable broken down by APIService name and \
                    reason.";
        let block = text.block("aggregator_unavailable_apiservice_total", metrics::Kind::Counter, help);
        for ((name, reason), count) in &*self.lost.lock() {
            block.value(&[("name", name), ("reason", reason)], *count);
        }
    }

    /// Who serves a group version, if it is not this server.
    pub(crate) fn remote(&self, group: &str, version: &str) -> Option<Remote> {
        let registered = self.source.registered();
        if registered.all.is_empty() {
            return None;
        }
        let registration = registered.get(&GroupVersion::new(group, version))?;
        let server = registration.remote.clone()?;
        Some(Remote { registration: registration.clone(), server })
    }

    /// Who serves what a path is about that is no resource's: the list of what a group version has, or its
    /// description, where that is told by whoever serves it.
    pub(crate) fn remote_of_path(&self, path: &str) -> Option<Remote> {
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        let mut next = || segments.next();
        match (next()?, next()?) {
            ("api", version) => self.remote("", version).filter(|_| next().is_none()),
            ("apis", group) => {
                let version = next()?;
                self.remote(group, version).filter(|_| next().is_none())
            }
            ("openapi", "v3") => {
                let (root, group, version) = (next()?, next()?, next()?);
                let remote = self.remote(group, version).filter(|_| root == "apis" && next().is_none())?;
                let told = self.told.read();
                let said = told.of.get(&remote.registration.version);
                let said = said.filter(|said| said.is_of(&remote.registration, &remote.server))?;
                said.described.as_ref().filter(|described| described.is_told_by_itself())?;
                Some(remote)
            }
            _ => None,
        }
    }

    /// What is known now.
    pub(crate) fn view(&self) -> View {
        let registered = self.source.registered();
        let told = self.told.read();
        let mut offered = HashMap::new();
        for (registration, server) in registered.remote() {
            let said = told.of.get(&registration.version).filter(|said| said.is_of(registration, server));
            offered.insert(
                registration.version.clone(),
                said.and_then(|said| said.offered.clone()).unwrap_or_default(),
            );
        }
        View { generation: [registered.generation, told.generation], registered, offered }
    }

    /// Differs where [`Aggregation::view`] does.
    pub(crate) fn generation(&self) -> [u64; 2] {
        [self.source.registered().generation, self.told.read().generation]
    }

    /// The descriptions of what others serve, by group version.
    pub(crate) fn described(&self) -> BTreeMap<GroupVersion, Option<Arc<Described>>> {
        let registered = self.source.registered();
        let told = self.told.read();
        let one = |(registration, server): (&Arc<Registration>, &Arc<RemoteServer>)| {
            let said = told.of.get(&registration.version).filter(|said| said.is_of(registration, server));
            (registration.version.clone(), said.and_then(|said| said.described.clone()))
        };
        registered.remote().map(one).collect()
    }

    /// The way to a server, with the connections that are open.
    fn peer(&self, server: &Arc<RemoteServer>) -> Result<Arc<Peer>, String> {
        if let Some(known) = self.peers.lock().get(server) {
            return known.clone();
        }
        // Not while others are looked for: reading whom the system trusts takes a while.
        let of_system = || self.of_system.get_or_init(|| offload::in_place(self.authorities)).as_str();
        let of_system = if server.authorities.is_empty() { of_system() } else { "" };
        let made = Peer::new(server, &self.client, of_system).map(Arc::new);
        self.peers.lock().entry(server.clone()).or_insert(made).clone()
    }

    /// Forgets those whom no registration names any more.
    fn tidy(&self, registered: &Registered) {
        let servers: BTreeSet<&ServiceReference> =
            registered.remote().map(|(_, server)| &server.service).collect();
        let is_named = |server: &Arc<RemoteServer>| {
            servers.contains(&server.service) && registered.remote().any(|(_, known)| known == server)
        };
        self.peers.lock().retain(|server, _| is_named(server));
        let mut told = self.told.write();
        let before = told.of.len();
        told.of.retain(|version, _| registered.get(version).is_some_and(|known| known.remote.is_some()));
        if told.of.len() != before {
            told.generation += 1;
        }
    }

    /// Notes what a server has said.
    fn note(&self, remote: &Remote, change: impl FnOnce(&mut Said) -> bool) {
        let mut told = self.told.write();
        let said = told.of.entry(remote.registration.version.clone()).or_default();
        let mut changed = false;
        if !said.is_of(&remote.registration, &remote.server) {
            let uid = remote.registration.uid.clone();
            *said = Said { server: Some(remote.server.clone()), uid, ..Said::default() };
            changed = true;
        }
        if change(said) || changed {
            told.generation += 1;
        }
    }

    /// What a server has said last.
    fn said(&self, remote: &Remote) -> Said {
        let told = self.told.read();
        let said = told.of.get(&remote.registration.version);
        said.filter(|said| said.is_of(&remote.registration, &remote.server)).cloned().unwrap_or_default()
    }

    /// What tells those behind this server that it is this one.
    pub(crate) fn front_proxy(&self) -> Arc<FrontProxyClient> {
        self.client.clone()
    }

    /// Makes the certificate anew where that is due.
    pub(crate) fn renew(&self) -> Result<bool, PkiError> {
        self.client.renew()
    }
}

impl View {
    /// What a group version offers that somebody else serves.
    pub(crate) fn offered(&self, group: &str, version: &str) -> Option<&Arc<Offered>> {
        if self.offered.is_empty() {
            return None;
        }
        self.offered.get(&GroupVersion::new(group, version))
    }

    /// All that somebody else offers.
    pub(crate) fn all_offered(&self) -> impl Iterator<Item = (&GroupVersion, &Arc<Offered>)> {
        self.offered.iter()
    }
}

/// Makes a request to itself that keeps a registration true.
pub(crate) async fn amend(state: &Arc<State>, amend: Amend) -> Result<Amended, String> {
    let handle = crate::handle::Handle::new(state.clone());
    let Amend { method, path, object } = amend;
    let (code, answer) = match method {
        Method::PATCH => crate::bootstrap::merge(&handle, &path, &object).await,
        method => crate::bootstrap::call(&handle, method, &path, &object).await,
    };
    Amended::by(code).ok_or_else(|| format!("{path}: {answer}"))
}

/// What became of a request that keeps a registration true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amended {
    /// It is true now, or there is none any more.
    Done,
    /// Somebody was faster: what he wrote is to be looked at.
    Overtaken,
}

impl Amended {
    fn by(code: StatusCode) -> Option<Self> {
        match code.as_u16() {
            404 => Some(Self::Done),
            409 => Some(Self::Overtaken),
            _ => code.is_success().then_some(Self::Done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_overtaken_has_not_told_anything() {
        let by = |code: u16| Amended::by(StatusCode::from_u16(code).expect("a code"));
        assert_eq!(
            (by(200), by(201), by(404)),
            (Some(Amended::Done), Some(Amended::Done), Some(Amended::Done))
        );
        assert_eq!(by(409), Some(Amended::Overtaken));
        assert_eq!((by(403), by(422), by(500)), (None, None, None));
    }
}
