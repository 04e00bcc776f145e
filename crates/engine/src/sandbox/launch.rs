//! Bringing a sandbox up: its network and its shim; and taking it down.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use runtime::shim::protocol::ExitStatus;
use runtime::shim::{LaunchSpec, Network};

use crate::container::{ContainerRecord, NetworkMode, PublishedPort};
use crate::engine::{Engine, blocking, in_place};
use crate::error::{Context, Error, Kind, Result};
use crate::id_blocks::IdBlock;
use crate::network::{Endpoint, EndpointSpec, ports};
use crate::registry::{AnySandbox, ContainerCell, Live, SandboxCell};
use crate::sandbox::files::{self, EtcFiles, Resolver};
use crate::shim::Shim;

/// What a shim is launched with, besides its network.
#[derive(Default)]
pub(crate) struct Shape {
    pub(crate) ipc: bool,
    pub(crate) hostname: Option<String>,
    pub(crate) pid: bool,
    /// The ids of its users, if it has users of its own.
    pub(crate) users: Option<IdBlock>,
}

/// What a sandbox's network is asked to be.
pub(crate) struct Wiring {
    /// Networks by name, the first of which has the default route and the ports.
    pub(crate) networks: Vec<(String, EndpointSpec)>,
    /// What it is called there.
    pub(crate) name: String,
    /// Whom names are asked of that the network does not know.
    pub(crate) name_servers: Vec<IpAddr>,
    pub(crate) ports: Vec<net::PortSpec>,
    /// Whether the first of them gives the default route.
    pub(crate) default_route: bool,
}

impl Engine {
    /// Brings up the sandbox of one container: network, files of `/etc`, shim.
    pub(crate) async fn bring_up(&self, cell: &Arc<ContainerCell>) -> Result<Arc<Shim>> {
        let record = cell.record();
        let shape = Shape { pid: record.spec.init, ..Shape::default() };
        let network = match &record.spec.namespaces.network {
            NetworkMode::Host => {
                self.write_files(cell, &record, &[])?;
                Network::Host
            }
            NetworkMode::Container(other) => Network::Fd(self.network_of(other)?),
            NetworkMode::None => {
                self.write_files(cell, &record, &[])?;
                Network::Fd(self.take_netns().await?)
            }
            NetworkMode::Bridge | NetworkMode::Network(_) => {
                let netns = self.take_netns().await?;
                let fd = netns.try_clone().context(|| "share a network namespace".to_owned())?;
                let ports = ports::wanted(&record.spec, &record.resolved);
                let wiring = Wiring {
                    networks: record.networks.clone(),
                    name: record.name.clone(),
                    name_servers: self.name_servers(&record),
                    ports,
                    default_route: true,
                };
                let (wired, shim) = tokio::join!(
                    self.wire(&cell.sandbox, &netns, &wiring),
                    self.launch(&cell.sandbox, Network::Fd(fd), shape)
                );
                // The shim is known to the cell already, so that it is taken down if the wiring failed.
                let (shim, ()) = (shim?, wired?);
                self.rewrite_files(cell, &record)?;
                return Ok(shim);
            }
        };
        self.launch(&cell.sandbox, network, shape).await
    }

    /// The shim of a sandbox that was made as such, which must be ready.
    pub(crate) fn sandbox_shim(&self, cell: &ContainerCell) -> Result<Arc<Shim>> {
        cell.sandbox
            .shim()
            .ok_or_else(|| Error::conflict(format!("sandbox {} is not ready", cell.sandbox.id)))
    }

    /// Starts a sandbox's shim and listens to it.
    pub(crate) async fn launch(
        &self,
        sandbox: &AnySandbox,
        network: Network,
        shape: Shape,
    ) -> Result<Arc<Shim>> {
        let layout = &self.inner.layout;
        let run = layout.sandbox_run(&sandbox.id);
        let spec = LaunchSpec {
            id: sandbox.id.to_string(),
            run_dir: layout.run().to_owned(),
            state_dir: layout.shim_state(&sandbox.id),
            network,
            ipc: shape.ipc,
            hostname: shape.hostname,
            pid: shape.pid,
            users: shape.users.map(IdBlock::map),
            cgroup: Some(self.shims_cgroup()),
            log: run.join("shim.log"),
            program: Some(self.inner.config.binary.clone()),
        };
        let engine = self.clone();
        let memory = layout.shared_memory(&sandbox.id);
        let handle = blocking(move || {
            // What an earlier life of the sandbox left would be taken for this one's.
            crate::sandbox::memory::unmount(&memory)?;
            engine.discard(&run, &engine.inner.layout.run_trash())?;
            crate::state::make_directory(&spec.state_dir, 0o700)?;
            // Before the shim is there: whoever finds it must know whose it is.
            let owner = run.join("owner");
            std::fs::write(&owner, &engine.inner.id).context(|| format!("write `{}`", owner.display()))?;
            runtime::shim::launch(&spec).map_err(|source| {
                Error::internal(format!("start the shim of sandbox {}", spec.id)).with_source(source)
            })
        })
        .await?;
        let shim = Arc::new(Shim::new(handle, runtime::shim::protocol::VERSION));
        sandbox.live.write().shim = Some(Arc::clone(&shim));
        self.listen(sandbox.clone(), Arc::clone(&shim)).await?;
        Ok(shim)
    }

    /// How a container ended that nobody saw ending: what its shim wrote down, or a violent death.
    /// The flag says that it is a guess.
    pub(crate) fn lost_exit(&self, cell: &ContainerCell) -> (ExitStatus, bool) {
        let layout = &self.inner.layout;
        // The shim's own place is gone after a reboot; told that the machine goes down it uses both.
        let places = [layout.shim_state(&cell.sandbox.id).join(cell.id.as_str()), layout.container(&cell.id)];
        let started = cell.record().life.started_at;
        let written = places.iter().find_map(|place| {
            let bytes = in_place(|| std::fs::read(place.join(runtime::shim::EXIT_FILE))).ok()?;
            let status: ExitStatus = serde_json::from_slice(&bytes).ok()?;
            started.is_none_or(|started| status.at >= started).then_some(status)
        });
        match written {
            Some(status) => (status, false),
            None => {
                let status = ExitStatus {
                    code: 137,
                    signal: Some(crate::signal::KILL),
                    at: self.inner.clock.now(),
                    oom_killed: false,
                };
                (status, true)
            }
        }
    }

    /// Takes down what served a container that does not run any more.
    pub(crate) async fn take_down(&self, cell: &Arc<ContainerCell>) {
        let sandbox = &cell.sandbox;
        if let Some(shim) = sandbox.shim() {
            if let Err(error) = shim.delete(cell.id.as_str(), None).await
                && error.kind() != Kind::NotFound
            {
                tracing::debug!(container = %cell.id, error = %base::error::chain(&error), "forget a container in its shim");
                self.kill_cgroup(cell).await;
            }
        } else {
            self.kill_cgroup(cell).await;
        }
        if sandbox.is_of_one() {
            self.tear_down(sandbox).await;
        }
    }

    /// Ends a sandbox's shim and gives its network back. Does nothing where that is done.
    pub(crate) async fn tear_down(&self, sandbox: &SandboxCell) {
        let live = std::mem::take(&mut *sandbox.live.write());
        let shim = async {
            if let Some(shim) = &live.shim
                && let Err(error) = shim.shut_down().await
            {
                tracing::debug!(sandbox = %sandbox.id, error = %base::error::chain(&error), "end a shim");
                shim.end_process().await;
            }
        };
        let network = async {
            // Whatever is known of them here: an engine that found no shim has learnt of none.
            if let Err(error) = self.inner.network.endpoint_detach_all(sandbox.id.as_str()).await {
                tracing::warn!(sandbox = %sandbox.id, error = %base::error::chain(&error), "give a network address back");
            }
        };
        tokio::join!(shim, network);
        self.drop_shared_memory(&sandbox.id);
    }

    /// Kills whatever is left in a container's cgroup, and removes it; whether that is done.
    pub(crate) async fn kill_cgroup(&self, cell: &ContainerCell) -> bool {
        let path = self.cgroup_of(&cell.record());
        let killed = blocking(move || crate::cgroup::kill(&path)).await;
        if let Err(error) = &killed {
            tracing::warn!(container = %cell.id, error = %base::error::chain(error), "clear a container's cgroup");
        }
        killed.is_ok()
    }

    /// Puts a network namespace into networks.
    pub(crate) async fn wire(&self, sandbox: &SandboxCell, netns: &OwnedFd, wiring: &Wiring) -> Result<()> {
        for (index, (name, asked)) in wiring.networks.iter().enumerate() {
            let network = self.inner.network.network_find(name).map_err(crate::network::error)?;
            let ports = if index == 0 { wiring.ports.clone() } else { Vec::new() };
            let endpoint = net::EndpointSpec {
                owner: sandbox.id.to_string(),
                name: wiring.name.clone(),
                aliases: aliases(asked, &sandbox.id.as_str()[..12]),
                links: links(asked),
                name_servers: wiring.name_servers.clone(),
                address: asked.ipv4,
                mac: asked.mac_address.as_deref().map(crate::network::parse_mac).transpose()?,
                interface: None,
                ports,
                default_route: wiring.default_route && index == 0,
            };
            let attach = || self.inner.network.endpoint_attach(netns.as_fd(), &network.id, endpoint.clone());
            let made = match attach().await {
                // Left by an earlier life that nobody took down: this is the only one that there is.
                Err(net::AttachError::Exists { .. }) => {
                    let left = self.inner.network.endpoint_detach(&network.id, sandbox.id.as_str()).await;
                    left.map_err(crate::network::attach_error)?;
                    attach().await
                }
                made => made,
            };
            let made = made.map_err(crate::network::attach_error)?;
            remember(&mut sandbox.live.write(), &network, asked.clone(), &made);
        }
        Ok(())
    }

    /// Whom a network's own resolver asks for a container; empty for the host's resolvers.
    pub(crate) fn name_servers(&self, record: &ContainerRecord) -> Vec<IpAddr> {
        match record.spec.dns.servers.as_slice() {
            [] => self.inner.config.dns.clone(),
            asked => asked.to_vec(),
        }
    }

    /// The network namespace of another container, which must run.
    fn network_of(&self, other: &crate::ContainerId) -> Result<OwnedFd> {
        let other = self.inner.registry.get(other)?;
        let not_running = || {
            Error::conflict(format!("cannot join network namespace of a non running container: {}", other.id))
        };
        let shim = other.shim().map_err(|_| not_running())?;
        shim.handle.network_namespace().map_err(|source| not_running().with_source(source))
    }

    /// Who is asked for names: the first network that knows its containers' names, else the first.
    fn resolver_of(&self, record: &ContainerRecord) -> Result<Resolver> {
        let network = &self.inner.network;
        let mut usual = None;
        for (name, _) in &record.networks {
            let id = network.network_find(name).map_err(crate::network::error)?.id;
            let resolver = Resolver { conf: network.resolv_conf(&id), knows_names: network.knows_names(&id) };
            if resolver.knows_names {
                return Ok(resolver);
            }
            usual.get_or_insert(resolver);
        }
        Ok(usual.unwrap_or_else(|| Resolver { conf: network.resolv_conf_outside(), knows_names: false }))
    }

    /// Writes the files of a container with the networks that it is in, and that `record` says it is to be in.
    pub(crate) fn rewrite_files(&self, cell: &ContainerCell, record: &ContainerRecord) -> Result<()> {
        let endpoints = cell.sandbox.live.read().endpoints.clone();
        let endpoints: Vec<(String, Endpoint)> = endpoints.into_iter().collect();
        self.write_files(cell, record, &endpoints)
    }

    /// Writes the files that a container of its own sandbox sees in `/etc`.
    fn write_files(
        &self,
        cell: &ContainerCell,
        record: &ContainerRecord,
        endpoints: &[(String, Endpoint)],
    ) -> Result<()> {
        let first = record.networks.first().map(|(name, _)| name.as_str());
        let of_host = self.is_in_host_network(cell);
        let gateway =
            endpoints.iter().find(|(name, _)| Some(name.as_str()) == first).and_then(|(_, at)| at.gateway);
        let mut names = Vec::new();
        if let Some(domain) = record.spec.domainname.as_ref().filter(|domain| !domain.is_empty()) {
            names.push(format!("{}.{domain}", record.resolved.hostname));
        }
        names.push(record.resolved.hostname.clone());
        let addresses = endpoints.iter().filter_map(|(_, at)| at.ipv4).map(|net| IpAddr::V4(net.addr()));
        let resolver = if of_host {
            Resolver { conf: self.inner.network.resolv_conf_host(), knows_names: false }
        } else {
            self.resolver_of(record)?
        };
        let etc = EtcFiles {
            hostname: record.resolved.hostname.clone(),
            own: addresses.map(|address| (address, names.clone())).collect(),
            hosts: &record.spec.extra_hosts,
            gateway: gateway.unwrap_or(Ipv4Addr::LOCALHOST),
            resolv: files::resolv(resolver, &record.spec.dns, &self.inner.config.dns),
            of_host,
        };
        in_place(|| etc.write(&self.inner.layout.container(&cell.id)))
    }

    /// A network namespace with nothing in it but its loopback.
    pub(crate) async fn take_netns(&self) -> Result<OwnedFd> {
        let taken = self.inner.network.netns_take().await;
        taken.map_err(|source| Error::internal("make a network namespace").with_source(source))
    }

    fn shims_cgroup(&self) -> PathBuf {
        PathBuf::from("/").join(&self.inner.config.instance).join("shims")
    }
}

fn aliases(asked: &EndpointSpec, short: &str) -> Vec<String> {
    let mut aliases = asked.aliases.clone();
    if !aliases.iter().any(|alias| alias == short) {
        aliases.push(short.to_owned());
    }
    aliases
}

/// Links as they are written, `container:alias` or a name that stays itself.
fn links(asked: &EndpointSpec) -> Vec<net::NameLink> {
    let parts = asked.links.iter().map(|link| link.split_once(':').unwrap_or((link, link)));
    let link = |(target, alias): (&str, &str)| net::NameLink {
        alias: alias.to_owned(),
        target: target.trim_start_matches('/').to_owned(),
    };
    parts.map(link).collect()
}

/// Keeps what the network made of an endpoint.
pub(crate) fn remember(
    live: &mut Live,
    network: &net::NetworkView,
    spec: EndpointSpec,
    made: &net::Endpoint,
) {
    live.endpoints.insert(network.name.clone(), crate::network::endpoint(network, spec, made));
    live.ports.extend(made.ports.iter().map(|port| PublishedPort {
        container: crate::container::Port {
            number: port.container_port,
            protocol: ports::protocol(port.protocol),
        },
        host: Some((port.host_address, port.host_port).into()),
    }));
}
