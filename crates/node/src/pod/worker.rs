//! The worker of one pod: one task that owns everything that is done for it.
//!
//! Whatever happens (the pod changed, a container ended, a probe decided, a back-off is over) only
//! wakes the worker. It then looks at what is there, asks the pure [`plan`] what to do, does it,
//! and publishes the status, until there is nothing left to do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use engine::ContainerId;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::admission::{self, Abilities, Rejection};
use super::back_off::BackOffs;
use super::observe::{Observation, attempt};
use super::plan::{self, ContainerView, Plan, RestartPolicy, Role, Step};
use super::status;
use super::volumes;
use crate::agent::Shared;
use crate::probe;
use probing::Probes;

mod facts;
mod probing;
mod publish;
mod sources;
mod start;
mod terminate;

/// What wakes a worker.
#[derive(Debug)]
pub(crate) enum Message {
    /// The pod changed in the API.
    Changed(Arc<Pod>),
    /// The pod is gone from the API.
    Gone,
    /// Something happened to one of its containers.
    Engine,
    /// A probe has decided.
    Verdict(Verdict),
}

/// What a probe decided.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) container: String,
    pub(crate) instance: ContainerId,
    pub(crate) kind: probe::Kind,
    pub(crate) good: bool,
}

/// The way to a worker.
pub(crate) struct Mailbox {
    messages: mpsc::UnboundedSender<Message>,
    interrupt: CancellationToken,
}

impl Mailbox {
    /// Wakes the worker. A pod that is to end interrupts what is done to start it.
    pub(crate) fn send(&self, message: Message) {
        let ends = match &message {
            Message::Gone => true,
            Message::Changed(pod) => pod.metadata.deletion_timestamp.is_some(),
            Message::Engine | Message::Verdict(_) => false,
        };
        if ends {
            self.interrupt.cancel();
        }
        // A worker that has ended needs no messages.
        let _ = self.messages.send(message);
    }
}

/// One pod's worker.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    uid: String,
    messages: mpsc::UnboundedReceiver<Message>,
    interrupt: CancellationToken,
    /// The status as last published, or as the API had it.
    published: PodStatus,
    /// When a status that the API did not take is due again.
    publish_again: Option<Timestamp>,
    back_offs: BackOffs,
    /// Why a container has not been started, and when that is tried again.
    waiting: BTreeMap<String, Waiting>,
    /// When the containers ended of whose back-off an event was made.
    announced: BTreeMap<String, Timestamp>,
    probes: Probes,
    volumes: BTreeMap<String, volumes::Prepared>,
    volumes_refresh: Option<Timestamp>,
    tokens: sources::TokenCache,
    /// Held by work on the pod's files, which may go on though the worker has turned to something else.
    files: Arc<tokio::sync::Mutex<()>>,
    ended: bool,
    /// The API no longer has the pod.
    gone: bool,
    /// Nothing is left of the pod.
    cleared: bool,
}

/// Why a container has not been started.
#[derive(Clone, Debug)]
struct Waiting {
    reason: &'static str,
    message: String,
    since: Timestamp,
    until: Timestamp,
}

/// How long `ErrImagePull` is shown before it becomes `ImagePullBackOff`.
const ERROR_SHOWN: Duration = Duration::from_secs(2);

impl Worker {
    /// A worker for `pod`, and the way to it.
    pub(crate) fn new(shared: Arc<Shared>, pod: Arc<Pod>) -> (Self, Mailbox) {
        let (sender, messages) = mpsc::unbounded_channel();
        let interrupt = CancellationToken::new();
        let mailbox = Mailbox { messages: sender.clone(), interrupt: interrupt.clone() };
        let worker = Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            published: pod.status.clone().unwrap_or_default(),
            publish_again: None,
            probes: Probes::new(&shared, sender),
            shared,
            pod,
            messages,
            interrupt,
            back_offs: BackOffs::default(),
            waiting: BTreeMap::new(),
            announced: BTreeMap::new(),
            volumes: BTreeMap::new(),
            volumes_refresh: None,
            tokens: sources::TokenCache::default(),
            files: Arc::default(),
            ended: false,
            gone: false,
            cleared: false,
        };
        (worker, mailbox)
    }

    /// Works until the pod is gone, or `stop` is cancelled; the latter leaves everything running.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let wake = tokio::select! {
                () = stop.cancelled() => return,
                wake = self.pass() => wake,
            };
            if self.cleared {
                return;
            }
            let pause = wake.map_or(Duration::from_secs(3600), |moment| self.until(moment));
            tokio::select! {
                () = stop.cancelled() => return,
                message = self.messages.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
                () = tokio::time::sleep(pause) => {}
            }
            while let Ok(message) = self.messages.try_recv() {
                self.take(message);
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Changed(pod) => self.pod = pod,
            Message::Gone => self.gone = true,
            Message::Engine => {}
            Message::Verdict(verdict) => self.probes.take(&verdict),
        }
    }

    /// Looks, thinks and acts until there is nothing left to do; gives when to look again.
    async fn pass(&mut self) -> Option<Timestamp> {
        if self.gone || self.pod.metadata.deletion_timestamp.is_some() {
            return self.terminate().await;
        }
        if let Some(rejection) = self.rejection() {
            self.reject(&rejection).await;
            return self.publish_again;
        }
        self.age_messages();
        self.refresh_volumes().await;
        // Each round either does something or is the last; the bound is for a defect's sake.
        for _ in 0..64 {
            let observation = match Observation::new(&self.shared.engine, &self.uid) {
                Ok(observation) => observation,
                Err(error) => {
                    warn!(pod = %self.name(), error = %error.full_message(), "cannot look at the pod's containers");
                    return self.shared.clock.now().checked_add(Duration::from_secs(1)).ok();
                }
            };
            self.probes.follow(&self.shared, &self.pod, &observation, &self.published);
            let plan = self.plan(&observation);
            self.ended = plan.ended;
            self.announce_back_offs(&observation);
            self.publish(&observation).await;
            if plan.steps.is_empty() || self.interrupt.is_cancelled() {
                return self.wake(&plan);
            }
            debug!(pod = %self.name(), steps = ?plan.steps, "next");
            for step in plan.steps {
                self.perform(step, &observation).await;
                if self.interrupt.is_cancelled() {
                    break;
                }
            }
        }
        self.shared.clock.now().checked_add(Duration::from_secs(1)).ok()
    }

    /// Why this node does not run the pod at all: its phase is `Failed` then.
    fn rejection(&self) -> Option<Rejection> {
        let node = Abilities {
            apparmor: engine::host::has_apparmor(),
            cluster_domain: &self.shared.config.cluster_domain,
        };
        let rejection = admission::check(&self.pod, node).err()?;
        // One that runs was let in by an earlier version, which asked nothing.
        let nothing = Observation::new(&self.shared.engine, &self.uid)
            .is_ok_and(|observation| observation.running().next().is_none());
        nothing.then_some(rejection)
    }

    fn plan(&self, observation: &Observation) -> Plan {
        let now = self.shared.clock.now();
        let containers = self.containers().map(|(container, role)| {
            let name = &container.name;
            let waits = self.waiting.get(name).map(|waiting| waiting.until);
            let failed_at = observation.latest(name).and_then(|latest| latest.state.finished_at);
            let backs_off = failed_at.and_then(|at| self.back_offs.not_before(name, at));
            ContainerView {
                name: name.clone(),
                role,
                latest: observation.instance(name),
                next_attempt: observation
                    .latest(name)
                    .map_or_else(|| self.known_restarts(name), |latest| attempt(latest) + 1),
                not_before: waits.max(backs_off),
                condemned: self.probes.is_condemned(name),
                started: self.probes.is_started(name),
            }
        });
        let spec = self.pod.spec.as_ref();
        plan::plan(&plan::View {
            now,
            restart: RestartPolicy::parse(spec.and_then(|spec| spec.restart_policy.as_deref())),
            sandbox: observation.sandbox_state(),
            containers: containers.collect(),
        })
    }

    async fn perform(&mut self, step: Step, observation: &Observation) {
        match step {
            Step::CreateSandbox => self.create_sandbox(observation).await,
            Step::Start { container, attempt } => {
                let Some(container) =
                    self.containers().nth(container).map(|(container, _)| container.clone())
                else {
                    return;
                };
                self.start(&container, attempt, observation).await;
            }
            Step::Kill { container, id } => {
                let Some(container) =
                    self.containers().nth(container).map(|(container, _)| container.clone())
                else {
                    return;
                };
                self.kill(&container, &id).await;
            }
            Step::StopSandbox => {
                if let Some(sandbox) = &observation.sandbox
                    && let Err(error) = self.shared.engine.sandbox_stop(&sandbox.id).await
                {
                    warn!(pod = %self.name(), error = %error.full_message(), "cannot stop the pod's sandbox");
                }
            }
        }
    }

    /// The pod's containers with their roles, init containers first.
    fn containers(&self) -> impl Iterator<Item = (&Container, Role)> {
        let spec = self.pod.spec.as_ref();
        let inits = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let mains = spec.into_iter().flat_map(|spec| &spec.containers);
        inits
            .map(|container| (container, status::role(container)))
            .chain(mains.map(|container| (container, Role::Main)))
    }

    /// The moment at which something is due: a back-off ends, a message changes, volumes are old.
    fn wake(&self, plan: &Plan) -> Option<Timestamp> {
        let errors = self.waiting.values().filter(|waiting| waiting.reason == "ErrImagePull");
        let shown = errors.filter_map(|waiting| waiting.since.checked_add(ERROR_SHOWN).ok());
        let refresh = self.volumes_refresh.filter(|_| !self.ended);
        plan.wake.into_iter().chain(shown).chain(refresh).chain(self.publish_again).min()
    }

    fn until(&self, moment: Timestamp) -> Duration {
        Duration::try_from(moment.duration_since(self.shared.clock.now())).unwrap_or(Duration::ZERO)
    }

    /// Restarts that the API knows of, for a container of which the engine has nothing left.
    fn known_restarts(&self, name: &str) -> u32 {
        let statuses = self.published.container_statuses.iter().flatten();
        let statuses = statuses.chain(self.published.init_container_statuses.iter().flatten());
        statuses
            .filter(|status| status.name == name && status.container_id.is_some())
            .map(|status| u32::try_from(status.restart_count).unwrap_or(0) + 1)
            .max()
            .unwrap_or(0)
    }

    /// `namespace/name`, for logs.
    fn name(&self) -> String {
        let metadata = &self.pod.metadata;
        format!(
            "{}/{}",
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default()
        )
    }

    fn directory(&self) -> PathBuf {
        self.shared.config.pod_directory(&self.uid)
    }
}
