//! The daemon: one function that lists every service in order. Read it first.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use apiserver::Identity;
use base::{Clock, Random, SystemClock, SystemRandom};
use client::Client;
use engine::Engine;
use k8s_openapi::api::core::v1::Node;
use offload::in_place;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::Config;
use crate::docker_listeners::DockerListeners;
use crate::init_system;
use crate::plugs::{InProcess, LocalNode, Signer, authorities_of_system};
use crate::services::Services;

/// The commit that the program was built from, where whoever built it said so.
const COMMIT: Option<&str> = option_env!("GANTRY_COMMIT");

/// When all that is done at the beginning has been done, and its code is not needed any more.
const BEGUN: Duration = Duration::from_secs(2);
/// How often free memory and code that was not needed lately are given back to the system.
const GIVE_BACK: Duration = Duration::from_secs(30);

/// What the control plane's nodes are marked with, and how long to wait before that is tried again.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
const MARKING: Duration = Duration::from_millis(20);

/// How long each service may take to stop.
const GRACE: Duration = Duration::from_secs(10);

/// The same of the API: longer than its server takes itself, so that it is never cut off.
const API_GRACE: Duration = apiserver::Server::LONGEST_STOP.saturating_add(Duration::from_secs(5));

/// How long containers and pods may take to end when the host goes down, whatever they ask for: as long
/// as systemd gives a service of its own.
const LONGEST_END: Duration = Duration::from_secs(90);

/// Runs the control plane on `api_runtime` and the node on this one until `signal`, or until the
/// first service fails.
///
/// `reload` waits for those who want the configuration read anew, and never returns.
pub(crate) async fn serve<F: Future<Output = &'static str>>(
    config: &Config,
    api_runtime: &Handle,
    signal: impl Future<Output = &'static str>,
    reload: impl FnOnce(Engine) -> F,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    // Before anything is begun: what is wrong with it is told at once.
    let access = crate::access::open(config, &clock)?;
    let scheduler = crate::scheduler::open(config)?;

    // 1. Containers, images, networks: what ran goes on running. The engine holds the root's lock.
    let engine_config =
        engine::Config { descriptors: Some(crate::descriptors::raise()), ..engine_config(config)? };
    let engine =
        Engine::open(engine_config, Arc::clone(&clock), Arc::clone(&random)).await.map_err(into_anyhow)?;
    let mut docker = DockerListeners::bind(config, &clock, &random).await?;

    // 2. The store, and the API over it.
    let store = crate::cluster_state::open(config, Arc::clone(&clock), Arc::clone(&random)).await?;
    // Only where others stand on the same store is there anything to agree on.
    let candidate = store.is_shared().then(|| format!("{}_{:016x}", config.node_name, random.next_u64()));
    let nodes = LocalNode::new(Handle::current());
    let metrics = metrics::Registry::default();
    metrics.add(Arc::new(crate::process_metrics::write));
    metrics.add(Arc::new(client::write_metrics));
    metrics.add(Arc::new(control::write_metrics));
    metrics.add(Arc::new(crate::own_metrics::features(&config.features)));
    let (audit, audit_keeping) = match crate::audit::open(config, &clock, &random, &metrics).await? {
        None => (None, None),
        // Before the API starts, which asks itself for what must be there, and waits until that is noted.
        Some(opened) => (Some(opened.audit), Some((api_runtime.spawn(opened.keeping), opened.stop))),
    };
    let api_config = apiserver::Config {
        audit,
        metrics: metrics.clone(),
        ..api_config(config, &access, &nodes, &clock, &random)?
    };
    let migrates = config.features.migrates();
    let pod_groups = match (config.features.groups_pods(), config.features.schedules_groups()) {
        (_, true) => control::PodGroups::Heeded,
        (true, false) => control::PodGroups::Kept,
        (false, false) => control::PodGroups::Absent,
    };
    for missing in config.features.lacks() {
        tracing::warn!("{missing}");
    }
    let starting = apiserver::Server::start(api_config, Arc::clone(&store), kinds::served(&config.features));
    let server =
        api_runtime.spawn(starting).await.context("start the Kubernetes API")?.with_context(|| {
            format!("start the Kubernetes API at {}; --api-address names another", config.api_address)
        })?;
    let api = server.handle();
    let api_address = server.address();
    let (authority, token_keys, leaving) = (server.authority(), server.token_keys(), server.leaving());
    let client = move |identity: Identity| Client::new(InProcess::new(api.clone(), identity));

    // 3. Everything that acts.
    let mut services = Services::default();
    services.start("engine", GRACE, {
        let engine = engine.clone();
        async move |stop| {
            stop.cancelled().await;
            engine.close().await;
            Ok(())
        }
    });
    services.start_on(api_runtime, "store", GRACE, async move |stop| {
        stop.cancelled().await;
        store.close().await;
        Ok(())
    });
    if let Some((keeping, end)) = audit_keeping {
        services.start_on(api_runtime, "audit", GRACE, async move |stop| {
            stop.cancelled().await;
            end.cancel();
            keeping.await.context("keep what is audited")
        });
    }
    services.start_on(api_runtime, "api", API_GRACE, async move |stop| {
        server.serve(stop).await;
        Ok(())
    });
    services.start_on(api_runtime, "authentication", GRACE, access.follow(config, &clock, &metrics));
    services.start_on(api_runtime, "control", GRACE, {
        let signer: Option<Arc<dyn control::Signer>> = Some(Arc::new(Signer(authority, token_keys)));
        let config = control::Config {
            authority: authority_certificate(config)?,
            signer,
            candidate,
            scheduler,
            migrates,
            pod_groups,
        };
        let client = client.clone();
        let clients: control::Clients = Arc::new(move |actor| {
            client(match actor {
                control::Actor::Component(name) => Identity::component(name),
                control::Actor::Controller(name) => Identity::controller(name),
            })
        });
        let clock = Arc::clone(&clock);
        async move |stop| {
            control::run(config, clients, clock, stop).await;
            Ok(())
        }
    });
    let agent = node::Agent::new(
        node_config(config),
        node::Machine::of_engine(engine.clone()),
        &client(Identity::node(&config.node_name)),
        &client(Identity::component("kube-proxy")),
        &client(Identity::component("gantry:local-path")),
        Arc::clone(&clock),
    );
    let agent = Arc::new(agent.context("keep a part of the node for other things than pods")?);
    nodes.set(Arc::clone(&agent));
    let host_goes_down = CancellationToken::new();
    services.start("node", LONGEST_END + 2 * GRACE, {
        let (engine, host_goes_down) = (engine.clone(), host_goes_down.clone());
        async move |stop| {
            agent.run(stop).await;
            if host_goes_down.is_cancelled() {
                tokio::join!(agent.end_containers(LONGEST_END), engine.containers_end(LONGEST_END));
            }
            Ok(())
        }
    });
    services.start("docker", GRACE, {
        let about = docker::About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: COMMIT.unwrap_or_default().to_owned(),
            built: String::new(),
        };
        let (listeners, solver) = (docker.take(), build::solve::Solver::new(engine.clone()));
        async move |stop| {
            docker::serve(listeners, docker::Service::new(solver, about), stop)
                .await
                .context("serve the Docker API")
        }
    });
    if let Some(certificates) = docker.certificates {
        services.start("docker-tls", GRACE, async move |stop| {
            certificates.keep_fresh(stop).await;
            Ok(())
        });
    }
    services.start("memory", GRACE, async move |stop| {
        let thread = offload::Threads::new(1);
        let mut wait = BEGUN;
        while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
            thread.run(runtime::memory::give_back).await;
            wait = GIVE_BACK;
        }
        Ok(())
    });
    services.start("readiness", GRACE, {
        let client = client(Identity::component("gantry:control-plane"));
        let name = config.node_name.clone();
        async move |stop| {
            let ready = async {
                mark_control_plane(&client, &name).await;
                announce_ready(&client, &name, began).await;
            };
            tokio::select! {
                () = ready => {}
                () = stop.cancelled() => {}
            }
            stop.cancelled().await;
            Ok(())
        }
    });

    info!(root = %config.root.display(), api = %api_address, docker = %config.docker_socket.display(), "serving");
    say(&format!("export DOCKER_HOST=unix://{}", config.docker_socket.display()));
    say(&format!("export KUBECONFIG={}", config.kubeconfig.display()));
    init_system::ready();
    let reload = reload(engine.clone());
    let signal = async {
        let name = tokio::select! {
            name = signal => name,
            name = reload => name,
        };
        leaving.cancel();
        if !config.shutdown_delay.is_zero() {
            init_system::stopping(config.shutdown_delay + API_GRACE + 5 * GRACE);
            tokio::time::sleep(config.shutdown_delay).await;
        }
        if init_system::host_goes_down().await {
            info!("the host goes down: containers and pods end");
            init_system::stopping(LONGEST_END + API_GRACE + 5 * GRACE);
            host_goes_down.cancel();
        } else {
            info!("containers keep running");
            init_system::stopping(API_GRACE + 5 * GRACE);
        }
        name
    };
    services.run_until(signal).await
}

/// Prints a line for whoever started the daemon, which goes on if he does not read it.
fn say(line: &str) {
    if let Err(error) = crate::cli::output::write(&format!("{line}\n")) {
        tracing::warn!(error = %format!("{error:#}"), "nothing can be said on standard output");
    }
}

/// Says of the node, once it is there, that the control plane is on it: a node cannot say that of itself.
async fn mark_control_plane(client: &Client, name: &str) {
    let api: client::Api<Node> = client::Api::all(client);
    let mark = client::api::Patch::Merge(serde_json::json!({"metadata": {"labels": {CONTROL_PLANE: ""}}}));
    loop {
        match api.patch(name, &mark, &client::api::PatchOptions::default()).await {
            Ok(_) => return,
            Err(client::Error::NotFound(_)) => {}
            Err(error) => {
                tracing::warn!(error = %base::error::chain(&error), "the node is not marked yet; trying again");
            }
        }
        tokio::time::sleep(MARKING).await;
    }
}

/// Prints one more line when the node is Ready; a comment, so that the output can be evaluated.
async fn announce_ready(client: &Client, name: &str, began: Instant) {
    let api: client::Api<Node> = client::Api::all(client);
    loop {
        if let Ok(Some(node)) = api.find(name).await {
            let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            if conditions
                .into_iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
            {
                say(&format!("# node {name} is Ready after {} ms", began.elapsed().as_millis()));
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn engine_config(config: &Config) -> anyhow::Result<engine::Config> {
    let cluster_dns = cluster_dns(config);
    let network = net::Config {
        bridge: config.bridge.clone(),
        bip: if config.bip_is_default {
            net::Subnet::Preferably(config.bip.into())
        } else {
            net::Subnet::Exactly(config.bip.into())
        },
        pod_cidr: net::Subnet::Exactly(config.pod_cidr.into()),
        service_cidrs: vec![config.service_cidr.into()],
        loopback_targets: loopback_targets(config.api_address),
        cluster_dns: vec![cluster_dns.into()],
        cluster_domain: config.cluster_domain.clone(),
        ..net::Config::new(config.instance.clone(), config.root.join("network"))
    };
    Ok(engine::Config {
        root: config.root.clone(),
        run: config.run.clone(),
        instance: config.instance.clone(),
        network,
        binary: std::env::current_exe().context("find this program's own file")?,
        log: engine::container::LogOptions::default(),
        dns: Vec::new(),
        user_ids: None,
        insecure_registries: config.insecure_registries.clone(),
        image_blobs: config.image_blobs,
        descriptors: None,
    })
}

/// Where pods are led to for the API, if it is at this host's own loopback: where it listens there, and
/// where nothing else of the host is known.
fn loopback_targets(api: SocketAddr) -> Vec<SocketAddr> {
    let at = if api.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { api.ip() };
    if at.is_loopback() { vec![SocketAddr::new(at, api.port())] } else { Vec::new() }
}

fn api_config(
    config: &Config,
    access: &crate::access::Opened,
    nodes: &LocalNode,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Random>,
) -> anyhow::Result<apiserver::Config> {
    Ok(apiserver::Config {
        address: config.api_address,
        kubeconfig: Some(config.kubeconfig.clone()),
        service_cidr: config.service_cidr.to_string().parse().context("use the service network")?,
        cluster_domain: config.cluster_domain.clone(),
        commit: COMMIT.unwrap_or_default().to_owned(),
        extra_names: vec![node_address(config).to_string(), config.node_name.clone()],
        own_address: Some(routed_address),
        fixed_tokens: fixed_tokens(config)?,
        limits: config.limits,
        flow_control: kinds::flow_control(),
        definitions: kinds::definitions(),
        tokens: access.tokens.clone(),
        structured: access.structured.clone(),
        token_webhook: access.token_webhook.clone(),
        front_proxy: access.front_proxy.clone(),
        aggregation: kinds::aggregation(),
        authorities: authorities_of_system,
        authorization: kinds::authorization_of(access.deciders.clone()),
        admission: crate::admission::of(&config.admission)?,
        outside: Arc::new(crate::plugs::OverHttps),
        clock: Arc::clone(clock),
        random: Arc::clone(random),
        ..apiserver::Config::new(config.root.join("pki"), Arc::new(nodes.clone()))
    })
}

/// The tokens of users that a file names.
fn fixed_tokens(config: &Config) -> anyhow::Result<apiserver::FixedTokens> {
    let Some(path) = &config.token_file else { return Ok(apiserver::FixedTokens::default()) };
    let text = in_place(|| std::fs::read_to_string(path));
    let text = text.with_context(|| format!("read the tokens in {}", path.display()))?;
    apiserver::FixedTokens::parse(&text).with_context(|| format!("read the tokens in {}", path.display()))
}

fn node_config(config: &Config) -> node::Config {
    node::Config {
        name: config.node_name.clone(),
        address: node_address(config),
        root: config.root.join("pods"),
        volumes: config.root.join("local-path"),
        cluster_dns: IpAddr::V4(cluster_dns(config)),
        cluster_domain: config.cluster_domain.clone(),
        kubernetes_version: model::release::VERSION.to_owned(),
        pods: 110,
        reserves: config.reserves,
        allowed_sysctls: config.allowed_sysctls.clone(),
    }
}

/// The tenth address of the service network.
fn cluster_dns(config: &Config) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from(u32::from(config.service_cidr.network()) + 10)
}

/// The address at which others reach this machine: the one that the API listens on, or the one
/// that leads out.
fn node_address(config: &Config) -> IpAddr {
    let listens = config.api_address.ip();
    if !listens.is_unspecified() && !listens.is_loopback() {
        return listens;
    }
    routed_address()
}

/// The address of the link that leads out.
fn routed_address() -> IpAddr {
    // Connecting a datagram socket sends nothing: it only asks the kernel for a route.
    let route = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(SocketAddr::from(([192, 0, 2, 1], 9)))?;
        Ok(socket.local_addr()?.ip())
    };
    route().unwrap_or(IpAddr::from([127, 0, 0, 1]))
}

fn authority_certificate(config: &Config) -> anyhow::Result<String> {
    let path = config.root.join("pki/ca.crt");
    in_place(|| std::fs::read_to_string(&path)).with_context(|| format!("read {}", path.display()))
}

fn into_anyhow(error: engine::Error) -> anyhow::Error {
    anyhow::Error::msg(error.full_message())
}
