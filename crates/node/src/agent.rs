//! The node agent: one worker per pod of this node, the node's own object, services and names.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::backoff::Backoff;
use base::{Clock, RecordError};
use client::api::ListOptions;
use client::recorder::{EventType, EventWriter, Recorder};
use client::{Api, Change, Client, Informer, Store, supervise};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::allocations::Allocations;
use crate::answers::{Beat, Probed, Samples};
use crate::config::Config;
use crate::eviction::{Eviction, Pressures};
use crate::files::FileWork;
use crate::local_volumes::Claims;
use crate::local_volumes::holds::Holds;
use crate::pod::admission::Rejection;
use crate::pod::admission::place::{self, Offer};
use crate::pod::allocation::{Capacity, Room};
use crate::pod::downward::NodeCapacity;
use crate::pod::groups;
use crate::pod::volumes::{VolumeError, Volumes};
use crate::pod::worker::{Mailbox, Message, Worker};
use crate::registration::Registration;
use crate::reserves::{self, Amounts, ReservesError};
use crate::runtime::{ContainerEvent, ContainerId, Dns, Kind, Machine, PodSandboxId, Runtime};

/// What all parts of the agent use.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) machine: Machine,
    pub(crate) client: Client,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) recorder: Recorder,
    pub(crate) capacity: NodeCapacity,
    pub(crate) files: FileWork,
    /// What all pods were granted.
    pub(crate) allocations: Allocations,
    /// Who has volumes of this node.
    pub(crate) holds: Holds,
    /// When the loop that looks after pods turned last.
    pub(crate) beat: Beat,
    /// What was used when that was asked last.
    pub(crate) samples: Samples,
    /// Which volumes claims have.
    pub(crate) claims: Claims,
    /// How probes went.
    pub(crate) probed: Probed,
    /// What the node runs short of.
    pub(crate) pressures: Pressures,
    /// Tells a pod to end.
    pub(crate) evictions: UnboundedSender<Eviction>,
    services: Store<Service>,
    pods: Store<Pod>,
    /// The node itself, as the API has it.
    nodes: Store<Node>,
    /// Held while the limits of the pods' groups are worked out and set.
    weighing: tokio::sync::Mutex<()>,
}

impl Shared {
    /// Gives the groups of pods what follows from what pods may take and from all pods of this node.
    pub(crate) async fn weigh_groups(&self) {
        let _weighing = self.weighing.lock().await;
        let pods = self.allocations.applied(&self.pods.list());
        let together = self.config.reserves.for_pods(self.amounts());
        for (group, resources) in groups::limits(pods.iter().map(AsRef::as_ref), together) {
            if let Err(error) = self.machine.host.limit_group(group, resources).await {
                warn!(group, error = %error.full_message(), "cannot limit a group of pods");
            }
        }
    }

    /// Lets a pod in that was never let in before, if it has a place beside the others.
    pub(crate) async fn admit(&self, uid: &str, pod: &Arc<Pod>) -> Result<(), Rejection> {
        // Without an answer what the node is like is not looked at.
        let _ = tokio::time::timeout(NODE_KNOWN, self.nodes.synced()).await;
        let key = client::ObjectKey::new("", self.config.name.as_str());
        let node = self.nodes.get(&key);
        let amounts = self.config.reserves.allocatable(self.amounts());
        let offer = Offer { pods: i64::from(self.config.pods), amounts };
        let admitted = |node: Option<&Node>| {
            self.allocations.admit_beside(uid, pod, &self.pods.list(), |others| {
                self.pressures.check(pod)?;
                place::check(pod, others, node, offer)
            })
        };
        let outcome = admitted(node.as_deref());
        let of_node =
            |rejection: &Rejection| ["NodeAffinity", "TaintToleration"].contains(&&*rejection.reason);
        if !outcome.as_ref().is_err_and(of_node) {
            return outcome;
        }
        // It may have changed, and the news of that be on its way.
        match Api::<Node>::all(&self.client).get(&self.config.name).await {
            Ok(node) => admitted(Some(&node)),
            Err(_) => outcome,
        }
    }

    /// Grants pods what they ask for, as far as there is room.
    pub(crate) fn settle_resizes(&self) {
        self.allocations.settle(&self.pods.list(), || {
            let amounts = self.amounts();
            let room = |amounts: Amounts| Room { cpu: amounts.cpu, memory: amounts.memory };
            let reserves = &self.config.reserves;
            Capacity {
                all: room(reserves.for_pods(amounts)),
                allocatable: room(reserves.allocatable(amounts)),
            }
        });
    }

    /// What the node has, as far as some of it can be reserved.
    pub(crate) fn amounts(&self) -> Amounts {
        // Before the first pod its directory need not be there.
        let look = || self.config.root.ancestors().find_map(|place| rustix::fs::statvfs(place).ok());
        let disk = offload::in_place(look);
        let storage = disk.map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
        Amounts {
            cpu: self.capacity.cpu_millis,
            memory: self.capacity.memory,
            storage: i64::try_from(storage).unwrap_or(i64::MAX),
            pids: reserves::host_pids().unwrap_or(0),
        }
    }

    /// All services, for environments.
    pub(crate) fn services(&self) -> Vec<Arc<Service>> {
        self.services.list()
    }

    /// All pods of this node.
    pub(crate) fn pods_of_node(&self) -> Vec<Arc<Pod>> {
        self.pods.list()
    }

    /// How the host resolves names, as it serves in a pod; it changes with the host's links.
    pub(crate) fn host_dns(&self) -> Dns {
        let conf = self.machine.network.resolv_conf_outside();
        Dns { servers: conf.nameservers, searches: conf.search, options: conf.options }
    }

    pub(crate) fn runtime(&self) -> &dyn Runtime {
        &*self.machine.runtime
    }

    /// A container as statuses name it, with its runtime (`gantry://…`).
    pub(crate) fn container_uri(&self, id: &ContainerId) -> String {
        format!("{}://{id}", self.runtime().version().name)
    }

    /// Tells what happened to a pod.
    pub(crate) fn pod_event(&self, pod: &Pod, warning: bool, reason: &str, message: String) {
        let kind = if warning { EventType::Warning } else { EventType::Normal };
        self.recorder.event(pod, kind, reason, message);
    }

    /// Tells what happened to a container of a pod.
    pub(crate) fn container_event(
        &self,
        pod: &Pod,
        container: &str,
        warning: bool,
        reason: &str,
        message: String,
    ) {
        let kind = if warning { EventType::Warning } else { EventType::Normal };
        let metadata = &pod.metadata;
        let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let added = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
        let list = if inits.into_iter().any(|init| init.name == container) {
            "initContainers"
        } else if added.into_iter().any(|added| added.name == container) {
            "ephemeralContainers"
        } else {
            "containers"
        };
        let object = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            field_path: Some(format!("spec.{list}{{{container}}}")),
        };
        self.recorder.event_on(object, kind, reason, message);
    }
}

/// The agent of one node. [`Agent::run`] does everything; the streams of pods
/// ([`Agent::pod_logs`](crate::streams) and its neighbours) work whether it runs or not.
pub struct Agent {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pods: Informer<Pod>,
    nodes: Informer<Node>,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    /// As whom volumes of this node are made.
    provisioner: Client,
    /// The uids of pods of whose resources something was decided.
    resized: tokio::sync::Mutex<UnboundedReceiver<String>>,
    /// Pods that are to end.
    evicted: tokio::sync::Mutex<UnboundedReceiver<Eviction>>,
    events: Mutex<Option<EventWriter>>,
}

impl Agent {
    /// An agent that runs pods on `machine` and talks to the API by `client`. Refuses to keep more of the
    /// node than it has.
    pub fn new(
        config: Config,
        machine: Machine,
        client: &Client,
        proxy: &Client,
        provisioner: &Client,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ReservesError> {
        // As Kubernetes' own agent is known to tools.
        let client = &client.clone().named("kubelet");
        let of_node = format!("spec.nodeName={}", config.name)
            .parse()
            .expect("a node's name is a value of a field selector");
        let pods = Informer::new(Api::all(client), ListOptions::default().fields(of_node));
        // As what programs services is known.
        let proxy = &proxy.clone().named("kube-proxy");
        let services: Informer<Service> = Informer::new(Api::all(proxy), ListOptions::default());
        let slices = Informer::new(Api::all(proxy), ListOptions::default());
        let itself = format!("metadata.name={}", config.name);
        let itself = itself.parse().expect("a node's name is a value of a field selector");
        let nodes = Informer::new(Api::all(client), ListOptions::default().fields(itself));
        let (recorder, writer) = Recorder::new(client, "kubelet", Some(&config.name), Arc::clone(&clock));
        let facts = machine.host.facts();
        let capacity = NodeCapacity {
            cpu_millis: i64::from(facts.cpus) * 1000,
            memory: i64::try_from(facts.memory).unwrap_or(i64::MAX),
        };
        let (wake, resized) = tokio::sync::mpsc::unbounded_channel();
        let (evictions, evicted) = tokio::sync::mpsc::unbounded_channel();
        let shared = Shared {
            holds: Holds::new(config.volumes.clone()),
            config,
            allocations: Allocations::new(wake),
            beat: Beat::default(),
            samples: Samples::default(),
            claims: Claims::default(),
            probed: Probed::default(),
            pressures: Pressures::default(),
            evictions,
            machine,
            client: client.clone(),
            clock,
            recorder,
            capacity,
            files: FileWork::new(),
            services: services.store(),
            pods: pods.store(),
            nodes: nodes.store(),
            weighing: tokio::sync::Mutex::default(),
        };
        shared.config.reserves.check(shared.amounts())?;
        let events = Mutex::new(Some(writer));
        let provisioner = provisioner.clone().named(crate::local_volumes::PROVISIONER);
        let shared = Arc::new(shared);
        let (resized, evicted) = (resized.into(), evicted.into());
        Ok(Self { shared, pods, nodes, services, slices, provisioner, resized, evicted, events })
    }

    /// The name of the node.
    pub fn name(&self) -> &str {
        &self.shared.config.name
    }

    /// The time of day, as the node's clock tells it.
    pub fn now(&self) -> base::Timestamp {
        self.shared.clock.now()
    }

    /// Registers the node and runs its pods until `stop` is cancelled; pods go on running then.
    /// May be called once.
    pub async fn run(&self, stop: CancellationToken) {
        let Some(events) = self.events.lock().take() else { return };
        let registration = Registration::new(Arc::clone(&self.shared));
        let parts = async {
            // Each begins anew after a panic: one's fault leaves the others at work.
            tokio::join!(
                events.run(stop.clone()),
                supervise("pods", &stop, || self.pods.run(stop.clone())),
                supervise("node", &stop, || self.nodes.run(stop.clone())),
                supervise("services", &stop, || self.services.run(stop.clone())),
                supervise("endpoint slices", &stop, || self.slices.run(stop.clone())),
                supervise("registration", &stop, || registration.run(stop.clone())),
                supervise("service rules", &stop, || {
                    crate::services::program(&self.shared, &self.services, &self.slices, stop.clone())
                }),
                supervise("pod workers", &stop, || self.run_pods(stop.clone())),
                supervise("eviction", &stop, || self.evict(stop.clone())),
                supervise("local volumes", &stop, || {
                    crate::local_volumes::run(&self.shared, &self.provisioner, stop.clone())
                }),
            )
        };
        parts.await;
    }

    /// Ends the containers of all pods, as the host goes down: with hooks, signals and grace as when a pod
    /// is deleted, `longest` at most. The pods stay, and their containers are started again when the host
    /// is back. Call it after [`Self::run`] has returned.
    pub async fn end_containers(&self, longest: Duration) {
        let pods = self.pods.store().list();
        let ends = pods.into_iter().map(|pod| async {
            let (worker, _mailbox) = Worker::new(Arc::clone(&self.shared), pod);
            worker.end_for_host(longest).await;
        });
        futures::future::join_all(ends).await;
    }

    /// Starts a worker for each pod, hands on what concerns it, and waits for all in the end.
    async fn run_pods(&self, stop: CancellationToken) {
        let (sender, mut changes) = tokio::sync::mpsc::unbounded_channel();
        self.pods.on_change(move |change| {
            let _ = sender.send(change.clone());
        });
        let pods = self.pods.store();
        tokio::select! {
            () = pods.synced() => {}
            () = stop.cancelled() => return,
        }
        let unknown = self.unknown().await;
        let mut workers = Workers {
            shared: Arc::clone(&self.shared),
            stop: stop.clone(),
            pods,
            mailboxes: HashMap::new(),
            tasks: JoinSet::new(),
        };
        for (uid, sandboxes) in unknown {
            // Beside the workers: what the API knows is to be started meanwhile.
            let (shared, stop) = (Arc::clone(&self.shared), stop.clone());
            workers.tasks.spawn(async move {
                stop.run_until_cancelled(clear(&shared, &uid, &sandboxes)).await;
                Ended { uid: String::new(), panicked: false }
            });
        }
        let mut events = self.shared.runtime().container_events();
        let mut resized = self.resized.lock().await;
        let mut evicted = self.evicted.lock().await;
        let mut turns = tokio::time::interval(crate::answers::TURN);
        loop {
            self.shared.beat.turned(self.shared.clock.elapsed());
            tokio::select! {
                () = stop.cancelled() => break,
                change = changes.recv() => match change {
                    Some(change) => workers.change(&change),
                    None => break,
                },
                event = events.next() => match event {
                    Some(Ok(ContainerEvent { pod })) => workers.wake(&pod),
                    // Too slow, or the runtime is closing: begin anew and let every worker look.
                    Some(Err(_)) | None => {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        events = self.shared.runtime().container_events();
                        workers.wake_all();
                    }
                },
                Some(uid) = resized.recv() => workers.wake(&uid),
                Some(eviction) = evicted.recv() => workers.evict(eviction),
                _ = turns.tick() => {}
                Some(ended) = workers.tasks.join_next() => workers.reap(ended),
            }
        }
        self.shared.beat.ended();
        while let Some(ended) = workers.tasks.join_next().await {
            workers.reap(ended);
        }
    }

    /// What there still is of pods that the API no longer knows, by uid: their sandboxes in the runtime, and
    /// their directories, of which one may be left where no sandbox is.
    async fn unknown(&self) -> HashMap<String, Vec<PodSandboxId>> {
        let known: std::collections::HashSet<String> =
            self.pods.store().list().iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
        let sandboxes = match self.shared.runtime().list_pod_sandbox(None).await {
            Ok(sandboxes) => sandboxes,
            Err(error) => {
                warn!(error = %error.full_message(), "cannot look for pods that the API does not know");
                Vec::new()
            }
        };
        let mut unknown: HashMap<String, Vec<PodSandboxId>> = HashMap::new();
        let root = self.shared.config.root.clone();
        match self.shared.files.quick(move || crate::pod::directories(&root)).await {
            Ok(uids) => {
                let left = uids.into_iter().filter(|uid| !known.contains(uid));
                unknown.extend(left.map(|uid| (uid, Vec::new())));
            }
            Err(error) => warn!(%error, "cannot look for what is left of pods"),
        }
        for sandbox in sandboxes.into_iter().filter(|sandbox| !known.contains(&sandbox.pod)) {
            unknown.entry(sandbox.pod).or_default().push(sandbox.id);
        }
        unknown
    }
}

/// Removes what is left of a pod that the API does not know; tries until nothing is.
async fn clear(shared: &Shared, uid: &str, sandboxes: &[PodSandboxId]) {
    info!(uid, "removing a pod that the API does not know");
    let mut again = Backoff::new(CLEAR_AGAIN, CLEAR_AGAIN_AT_LAST);
    while let Err(error) = try_clear(shared, uid, sandboxes).await {
        let delay = again.next_delay();
        warn!(uid, error, ?delay, "cannot remove a pod that the API does not know; trying again");
        tokio::time::sleep(delay).await;
    }
}

async fn try_clear(shared: &Shared, uid: &str, sandboxes: &[PodSandboxId]) -> Result<(), String> {
    for sandbox in sandboxes {
        match shared.runtime().remove_pod_sandbox(sandbox).await {
            Err(error) if error.kind() != Kind::NotFound => return Err(error.full_message()),
            _ => {}
        }
    }
    match Volumes::new(shared.config.pod_directory(uid)).remove(&shared.files).await {
        Ok(()) => Ok(()),
        // A later version knows what there is.
        Err(error @ VolumeError::Record { source: RecordError::Newer { .. }, .. }) => {
            warn!(uid, error = %base::error::chain(&error), "a pod that the API does not know is left alone");
            Ok(())
        }
        Err(error) => Err(base::error::chain(&error).to_string()),
    }
}

/// The workers of all pods, by uid.
struct Workers {
    shared: Arc<Shared>,
    stop: CancellationToken,
    pods: Store<Pod>,
    mailboxes: HashMap<String, Mailbox>,
    tasks: JoinSet<Ended>,
}

/// How a worker ended, or the removal of a directory.
struct Ended {
    /// Empty where it was no pod's worker.
    uid: String,
    panicked: bool,
}

/// Before something that is left of a pod is removed once more: at first, and at most.
const CLEAR_AGAIN: Duration = Duration::from_secs(1);
const CLEAR_AGAIN_AT_LAST: Duration = Duration::from_secs(60);

/// For so long a pod waits until it is known what the node is like.
const NODE_KNOWN: Duration = Duration::from_secs(2);

/// How long a pod whose worker panicked is left alone.
const AFTER_PANIC: Duration = Duration::from_secs(10);

impl Workers {
    fn change(&mut self, change: &Change<Pod>) {
        let pod = change.object();
        let Some(uid) = pod.metadata.uid.clone() else { return };
        // Deleted and made again under the same name between two looks: the old one is gone.
        if let Some(old) = change.old().and_then(|old| old.metadata.uid.as_ref()).filter(|old| **old != uid)
            && let Some(mailbox) = self.mailboxes.get(old)
        {
            mailbox.send(Message::Gone);
        }
        if change.is_deletion() {
            if let Some(mailbox) = self.mailboxes.get(&uid) {
                mailbox.send(Message::Gone);
            }
            return;
        }
        match self.mailboxes.get(&uid) {
            Some(mailbox) => mailbox.send(Message::Changed(Arc::clone(pod))),
            None => self.start(uid, pod, Duration::ZERO),
        }
    }

    /// Gives a pod a worker, which begins after `delay`.
    fn start(&mut self, uid: String, pod: &Arc<Pod>, delay: Duration) {
        let (worker, mailbox) = Worker::new(Arc::clone(&self.shared), Arc::clone(pod));
        if pod.metadata.deletion_timestamp.is_some() {
            mailbox.send(Message::Changed(Arc::clone(pod)));
        }
        let stop = self.stop.clone();
        let name = uid.clone();
        self.tasks.spawn(async move {
            if !delay.is_zero() && stop.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
                return Ended { uid: name, panicked: false };
            }
            let ended = base::panics::catch_async(worker.run(stop)).await;
            if let Err(panic) = &ended {
                error!(uid = name, %panic, after = ?AFTER_PANIC, "a pod's worker panicked; starting another");
            }
            Ended { uid: name, panicked: ended.is_err() }
        });
        self.mailboxes.insert(uid, mailbox);
    }

    /// Wakes the worker of one pod.
    fn wake(&self, uid: &str) {
        if let Some(mailbox) = self.mailboxes.get(uid) {
            mailbox.send(Message::Runtime);
        }
    }

    /// Tells one pod to end.
    fn evict(&self, eviction: Eviction) {
        if let Some(mailbox) = self.mailboxes.get(&eviction.uid) {
            mailbox.send(Message::Evict(eviction));
        }
    }

    fn wake_all(&self) {
        self.mailboxes.values().for_each(|mailbox| mailbox.send(Message::Runtime));
    }

    fn reap(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let Ok(Ended { uid, panicked }) = ended else { return };
        self.mailboxes.remove(&uid);
        if !panicked || self.stop.is_cancelled() {
            return;
        }
        // It looks anew at what the runtime has of its pod, as after a restart of the daemon.
        let pod = self.pods.list().into_iter().find(|pod| pod.metadata.uid.as_deref() == Some(&*uid));
        if let Some(pod) = pod {
            self.start(uid, &pod, AFTER_PANIC);
        }
    }
}
