//! The handle on an instance's networks.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use offload::Threads;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::driver::Driver;
use crate::link::Links;
use crate::namespace::{self, Pins};
use crate::nft::Table;
use crate::state::StateDir;
use crate::{
    AttachError, Config, DnsChanges, DnsTable, Endpoint, EndpointSpec, Finding, KernelError, NetworkError,
    OpenError, ResolvConf, ServiceTable, dns,
};

mod attach;
mod create;
mod detach;
mod doctor;
mod find;
mod firewalld;
mod gate;
mod names;
mod open;
mod reap;
mod remove;
mod resolver;
mod rules;
mod spec;
mod tables;
mod teardown;
mod watch;

pub use doctor::examine;
pub(crate) use resolver::upstream;
pub use spec::{NetworkId, NetworkKind, NetworkSpec, NetworkView, Pool, PoolSpec};
use tables::State;

/// How many operations may have a thread at a time; most wait for one lock of the kernel anyway.
const THREADS: usize = 32;

/// An instance's networks; cheap to clone.
///
/// Needs a tokio runtime. Dropping it changes nothing in the kernel: see [`Network::close`] and
/// [`Network::teardown`].
#[derive(Clone)]
pub struct Network {
    inner: Arc<Inner>,
}

/// What all clones share. Locks are taken in the order of the fields, and never over an `.await`.
pub(crate) struct Inner {
    config: Config,
    disk: StateDir,
    pool: Arc<namespace::Pool>,
    pins: Pins,
    table: Mutex<Table>,
    services: Mutex<rules::KeptServices>,
    links: Mutex<Links>,
    driver: Box<dyn Driver>,
    state: Mutex<State>,
    /// What names are answered from, without a lock.
    directory: Arc<dns::SharedDirectory>,
    zone: dns::SharedZone,
    firewalld: firewalld::Firewalld,
    /// Wakes the task that removes links of ended sandboxes.
    reap: Notify,
    stop: CancellationToken,
    tasks: TaskTracker,
    threads: Threads,
}

/// The links that there were before this instance had the host pass packets on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strangers {
    /// All of them.
    pub(crate) all: Vec<String>,
    /// Those from which the host passed nothing on, wherever to: the kernel asks where a packet comes in.
    pub(crate) barred: Vec<String>,
    /// Whether they are those of now, since what was written down of them cannot be read.
    pub(crate) guessed: bool,
}

impl Network {
    /// Opens the instance's networks: brings up what the state directory tells of, forgets endpoints
    /// that no longer live, puts the rules in place and begins to answer names.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        open::open(config).await
    }

    /// What is kept on disk and could not be understood; it was left alone.
    pub fn troubles(&self) -> Vec<base::Trouble> {
        self.inner.disk.troubles()
    }

    /// Stops answering names and watching the rules; traffic goes on.
    pub async fn close(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.pool.drain();
    }

    /// Takes everything of this instance out of the kernel and forgets it. The handle is of no use afterwards.
    pub async fn teardown(&self) -> Result<(), KernelError> {
        self.close().await;
        self.blocking(teardown::teardown).await
    }

    /// A fresh network namespace with its loopback up.
    pub async fn netns_take(&self) -> Result<OwnedFd, KernelError> {
        let taken = self.blocking(|inner| inner.pool.take()).await;
        self.inner.tasks.spawn(fill_pool(self.inner.clone()));
        taken.map_err(|source| KernelError::new("make a network namespace", source))
    }

    /// As [`Network::netns_take`], pinned for `owner`.
    pub async fn netns_take_pinned(&self, owner: &str) -> Result<OwnedFd, KernelError> {
        let owner = owner.to_owned();
        let taken = self.blocking(move |inner| {
            let netns = inner.pool.take()?;
            inner.pins.pin(&owner, netns.as_fd()).map(|()| netns)
        });
        let taken = taken.await;
        self.inner.tasks.spawn(fill_pool(self.inner.clone()));
        taken.map_err(|source| KernelError::new("make a network namespace and pin it", source))
    }

    /// Pins the namespace of `owner`, so that it is there whether a process is in it or not.
    pub async fn netns_pin(&self, owner: &str, netns: BorrowedFd<'_>) -> Result<(), KernelError> {
        let failed = |source| KernelError::new("pin a network namespace", source);
        let (name, netns) = (owner.to_owned(), netns.try_clone_to_owned().map_err(failed)?);
        let pinned = self.blocking(move |inner| {
            inner.pins.pin(&name, netns.as_fd())?;
            inner.guard_sandbox(&name, netns.as_fd());
            Ok(())
        });
        pinned.await.map_err(failed)
    }

    /// The namespace that is pinned for `owner`, if one is.
    pub fn netns_pinned(&self, owner: &str) -> Option<OwnedFd> {
        offload::in_place(|| self.inner.pins.get(owner)).unwrap_or_else(|error| {
            tracing::warn!(owner, %error, "a pinned network namespace cannot be opened");
            None
        })
    }

    /// Gives up the namespace of `owner`: it goes with the last process in it. Nothing happens if none is
    /// pinned.
    pub async fn netns_give_up(&self, owner: &str) -> Result<(), KernelError> {
        let name = owner.to_owned();
        let given_up = self.blocking(move |inner| inner.pins.give_up(&name)).await;
        given_up
            .map_err(|source| KernelError::new(format!("give up the network namespace of {owner}"), source))
    }

    /// For whom namespaces are pinned.
    pub async fn netns_owners(&self) -> Result<Vec<String>, KernelError> {
        let owners = self.blocking(|inner| inner.pins.owners()).await;
        owners.map_err(|source| KernelError::new("list pinned network namespaces", source))
    }

    /// Creates a user-defined network.
    pub async fn network_create(&self, spec: NetworkSpec) -> Result<NetworkView, NetworkError> {
        let created = self.blocking(move |inner| create::create(inner, spec)).await;
        if created.is_ok() {
            self.inner.firewalld.register(&self.inner).await;
        }
        created
    }

    /// Removes a user-defined network that has no endpoints.
    pub async fn network_remove(&self, id: &NetworkId) -> Result<(), NetworkError> {
        let id = id.clone();
        let removed = self.blocking(move |inner| remove::remove(inner, &id)).await?;
        self.inner.firewalld.forget(&removed.bridge).await;
        Ok(())
    }

    /// All networks: the default one and the pods' first, then by name.
    pub fn network_list(&self) -> Vec<NetworkView> {
        find::list(&self.inner.state.lock())
    }

    /// The network with this name, id or unambiguous beginning of an id.
    pub fn network_find(&self, name: &str) -> Result<NetworkView, NetworkError> {
        find::find(&self.inner.state.lock(), name)
    }

    /// Docker's default network.
    pub fn network_default(&self) -> NetworkView {
        find::of_kind(&self.inner.state.lock(), NetworkKind::Default)
    }

    /// The pods' network; its subnet tells what addresses pods get.
    pub fn network_pods(&self) -> NetworkView {
        find::of_kind(&self.inner.state.lock(), NetworkKind::Pods)
    }

    /// Puts the namespace `netns` into a network: link, address, routes, names, published ports.
    ///
    /// Nothing is left behind when it fails.
    pub async fn endpoint_attach(
        &self,
        netns: BorrowedFd<'_>,
        network: &NetworkId,
        spec: EndpointSpec,
    ) -> Result<Endpoint, AttachError> {
        let netns = netns
            .try_clone_to_owned()
            .map_err(|source| KernelError::new("keep the network namespace open", source))?;
        let network = network.clone();
        self.blocking(move |inner| attach::attach(inner, &netns, &network, spec)).await
    }

    /// Takes `owner` out of a network; nothing happens if it is not in it. The namespace may be gone.
    ///
    /// Ports that it has published there lead to another of its networks from now on that is not internal,
    /// the first by name, and so does its default route; without one the ports are given up.
    pub async fn endpoint_detach(&self, network: &NetworkId, owner: &str) -> Result<(), AttachError> {
        let (network, owner) = (network.clone(), owner.to_owned());
        self.blocking(move |inner| detach::leave(inner, &owner, &network, detach::Published::Moves)).await
    }

    /// As [`Network::endpoint_detach`], of an endpoint that an earlier life of the sandbox left: its ports
    /// are given up.
    pub async fn endpoint_discard(&self, network: &NetworkId, owner: &str) -> Result<(), AttachError> {
        let (network, owner) = (network.clone(), owner.to_owned());
        self.blocking(move |inner| detach::leave(inner, &owner, &network, detach::Published::Goes)).await
    }

    /// Takes `owner`, whose sandbox ends, out of all networks; nothing happens if it is in none.
    ///
    /// Names, ports and addresses are given up at once; should the namespace live on, its links are
    /// removed a second later.
    pub async fn endpoint_detach_all(&self, owner: &str) -> Result<(), AttachError> {
        let owner = owner.to_owned();
        self.blocking(move |inner| detach::end(inner, &owner)).await
    }

    /// All endpoints.
    pub fn endpoint_list(&self) -> Vec<Endpoint> {
        self.inner.state.lock().endpoints().values().cloned().collect()
    }

    /// Changes the name of an owner's endpoints, as renaming the container does.
    pub async fn endpoint_rename(&self, owner: &str, name: &str) -> Result<(), AttachError> {
        let (owner, name) = (owner.to_owned(), name.to_owned());
        self.blocking(move |inner| attach::rename(inner, &owner, &name)).await
    }

    /// The resolver configuration for a container in `network`; explicit settings go over it.
    pub fn resolv_conf(&self, network: &NetworkId) -> ResolvConf {
        resolver::container(&self.inner, network)
    }

    /// Whether containers in `network` find each other by name: then [`Self::resolv_conf`] names us, and
    /// nobody else may be named in our place.
    pub fn knows_names(&self, network: &NetworkId) -> bool {
        resolver::knows_names(&self.inner, network)
    }

    /// The resolver configuration for a pod with `dnsPolicy: ClusterFirst` in `namespace`.
    pub fn resolv_conf_pod(&self, namespace: &str) -> ResolvConf {
        resolver::pod(&self.inner, namespace)
    }

    /// The host's own resolver configuration (`--network host`); may name a loopback address.
    pub fn resolv_conf_host(&self) -> ResolvConf {
        resolver::host(&self.inner)
    }

    /// The host's resolver configuration as it serves outside of the host's own network
    /// (`dnsPolicy: Default`).
    pub fn resolv_conf_outside(&self) -> ResolvConf {
        resolver::outside(&self.inner)
    }

    /// Makes the services be exactly those of `table`; the kernel sees one transaction with the differences.
    pub async fn services_replace(&self, table: ServiceTable) -> Result<(), KernelError> {
        self.blocking(move |inner| rules::services(inner, table, true)).await
    }

    /// Makes the services that `changes` names be what it says; one without ports is gone, all others stay.
    /// Costs what is changed, however many services there are. Nothing has changed when it fails.
    pub async fn services_change(&self, changes: ServiceTable) -> Result<(), KernelError> {
        self.blocking(move |inner| rules::services(inner, changes, false)).await
    }

    /// Makes the cluster's DNS answer for exactly `table`. Until then it says of no name that there is none.
    pub fn dns_replace(&self, table: DnsTable) {
        offload::in_place(|| self.inner.zone.replace(table));
    }

    /// Makes the cluster's DNS answer for the services that `changes` names as it says; all others stay.
    pub fn dns_change(&self, changes: DnsChanges) {
        // Of a service with very many endpoints that is a while.
        offload::in_place(|| self.inner.zone.change(changes));
    }

    /// What on this host stands in the way of the networks.
    pub async fn doctor(&self) -> Vec<Finding> {
        doctor::examine(self.inner.config.clone()).await
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> T + Send + 'static) -> T {
        blocking(&self.inner, work).await
    }
}

/// Netlink and files are quick but block; they get a thread where that hurts nobody, a few at a time.
async fn blocking<T: Send + 'static>(
    inner: &Arc<Inner>,
    work: impl FnOnce(&Inner) -> T + Send + 'static,
) -> T {
    let shared = Arc::clone(inner);
    inner.threads.run(move || work(&shared)).await
}

/// Makes namespaces in advance.
async fn fill_pool(inner: Arc<Inner>) {
    let fill = |inner: &Inner| if inner.stop.is_cancelled() { Ok(()) } else { inner.pool.fill() };
    if let Err(error) = blocking(&inner, fill).await {
        tracing::warn!(%error, "no namespace could be made in advance");
    }
}

/// What the names of an instance's links begin with: at most six bytes, different for every instance.
pub(crate) fn tag(instance: &str) -> String {
    if instance.len() <= 6 {
        return instance.to_owned();
    }
    let hash = base::hash::fnv1a_32(instance.as_bytes());
    let start: String = instance.chars().filter(char::is_ascii).take(2).collect();
    format!("{start}{:04x}", (hash >> 16) ^ (hash & 0xffff))
}
