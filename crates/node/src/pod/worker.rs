//! The worker of one pod: one task that owns everything that is done for it.
//!
//! Whatever happens (the pod changed, a container ended, a probe decided, a back-off is over) only
//! wakes the worker. It then looks at what is there, asks the pure [`plan`] what to do, does it,
//! and publishes the status, until there is nothing left to do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::backoff::Backoff;
use base::clock::Ages;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::admission::{self, Abilities, Rejection};
use super::back_off::{Announced, BackOffs, TOLD_AGAIN};
use super::ephemeral;
use super::observe::Observation;
use super::plan::{self, ContainerView, Plan, RestartPolicy, Role, Step};
use super::status;
use super::volumes::{self, Volumes};
use super::waiting::Reason;
use crate::agent::Shared;
use crate::eviction::Eviction;
use crate::probe;
use crate::runtime::{self, ContainerId};
use probing::Probes;
use resize::Resizing;

mod deadline;
mod facts;
mod limits;
mod probing;
mod publish;
mod resize;
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
    Runtime,
    /// A probe has decided.
    Verdict(Verdict),
    /// It was looked how large its volumes are.
    Measured(limits::Measured),
    /// It is to end, since the node runs short of what it uses.
    Evict(Eviction),
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
            Message::Gone | Message::Evict(_) => true,
            Message::Changed(pod) => pod.metadata.deletion_timestamp.is_some(),
            Message::Runtime | Message::Verdict(_) | Message::Measured(_) => false,
        };
        if ends {
            self.interrupt.cancel();
        }
        // A worker that has ended needs no messages.
        let _ = self.messages.send(message);
    }
}

/// One pod's worker. All its moments are those of the steady clock, in which whoever sets the time of day
/// changes nothing.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    /// Those of the pod's containers that somebody has added, as containers like the others.
    ephemeral: Vec<Container>,
    uid: String,
    messages: mpsc::UnboundedReceiver<Message>,
    /// The way to itself, for what is done meanwhile.
    mail: mpsc::UnboundedSender<Message>,
    interrupt: CancellationToken,
    /// The status as last published, or as the API had it.
    published: PodStatus,
    /// The revision of the pod that this was written with.
    written: u64,
    /// Why it has no place on this node, once that was found.
    refused: Option<Rejection>,
    /// A status that the API did not take.
    unsent: Option<PodStatus>,
    /// When it is due again.
    publish_again: Option<Duration>,
    back_offs: BackOffs,
    /// Why a container has not been started, and when that is tried again.
    waiting: BTreeMap<String, Waiting>,
    /// When the newest instance of each container ended that has, as the runtime's records say.
    ends: Ages<String>,
    ended_at: BTreeMap<String, Duration>,
    /// When the pod became active.
    active_since: Ages<()>,
    /// It has been active for longer than it may be.
    overdue: bool,
    /// Why it is ended for what it uses, and when that is looked at.
    evicted: Option<String>,
    /// It was told to end so, which has interrupted what was done.
    told_to_end: bool,
    /// It has ended so, and what it takes is being cleared away.
    clearing: bool,
    /// Who waits until it has.
    wait_for_end: Vec<oneshot::Sender<()>>,
    limits_next: Option<Duration>,
    /// What looks at that meanwhile: one at a time.
    measuring: JoinSet<()>,
    /// Containers whose instance was killed since they are of another image now.
    replaced: BTreeSet<String>,
    /// The instances of whose back-off events are made.
    announced: Announced,
    probes: Probes,
    volumes: Volumes,
    /// Those that the pod has, as they are mounted.
    prepared: BTreeMap<String, volumes::Prepared>,
    volumes_refresh: Option<Duration>,
    tokens: sources::TokenCache,
    ended: bool,
    /// The API no longer has the pod.
    gone: bool,
    /// Nothing is left of the pod on this node.
    cleared: bool,
    /// The API knows it, or need not.
    confirmed: bool,
    /// How long to wait before an end that failed is tried again.
    end_again: Backoff,
    resizing: Resizing,
    /// How long to wait before containers are given once more what they could not be given, and until when.
    resize_again: Backoff,
    resize_at: Option<Duration>,
}

/// Why a pod had no place on this node, as it was told before the daemon began.
fn refused_before(pod: &Pod) -> Option<Rejection> {
    let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Failed"))?;
    let reason = status.reason.clone().filter(|reason| admission::place::is_told(reason))?;
    let started = status.container_statuses.as_ref().is_some_and(|statuses| !statuses.is_empty());
    (!started)
        .then(|| Rejection { reason: reason.into(), message: status.message.clone().unwrap_or_default() })
}

/// Why a container has not been started.
#[derive(Clone, Debug)]
struct Waiting {
    reason: Reason,
    message: String,
    /// When that reason was told of last.
    said: Duration,
    until: Duration,
}

impl Waiting {
    /// When it is to be told of again, if it still waits then.
    fn says_next(&self) -> Option<Duration> {
        match self.reason {
            Reason::Pull => Some(self.said + ERROR_SHOWN),
            Reason::PullBackOff => Some(self.said + TOLD_AGAIN),
            _ => None,
        }
    }
}

/// How long `ErrImagePull` is shown before it becomes `ImagePullBackOff`.
const ERROR_SHOWN: Duration = Duration::from_secs(2);

/// Before something that failed is tried again: at first, and at most.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_AT_LAST: Duration = Duration::from_secs(60);

/// The reason and message of a pod that was active for longer than it may be: the kubelet's.
const DEADLINE_EXCEEDED: (&str, &str) =
    ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline");

impl Worker {
    /// A worker for `pod`, and the way to it.
    pub(crate) fn new(shared: Arc<Shared>, pod: Arc<Pod>) -> (Self, Mailbox) {
        let (sender, messages) = mpsc::unbounded_channel();
        let interrupt = CancellationToken::new();
        let mailbox = Mailbox { messages: sender.clone(), interrupt: interrupt.clone() };
        let reason = pod.status.as_ref().and_then(|status| status.reason.as_deref());
        let overdue = reason == Some(DEADLINE_EXCEEDED.0);
        let evicted = limits::evicted_before(&pod);
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let worker = Self {
            volumes: Volumes::new(shared.config.pod_directory(&uid)),
            prepared: BTreeMap::new(),
            uid,
            published: pod.status.clone().unwrap_or_default(),
            written: 0,
            refused: refused_before(&pod),
            unsent: None,
            publish_again: None,
            probes: Probes::new(&shared, sender.clone()),
            mail: sender,
            shared,
            ephemeral: ephemeral::containers(&pod),
            resizing: Resizing::new(&pod),
            pod,
            messages,
            interrupt,
            back_offs: BackOffs::default(),
            waiting: BTreeMap::new(),
            ends: Ages::default(),
            ended_at: BTreeMap::new(),
            active_since: Ages::default(),
            overdue,
            evicted,
            told_to_end: false,
            clearing: false,
            wait_for_end: Vec::new(),
            limits_next: Some(Duration::ZERO),
            measuring: JoinSet::new(),
            replaced: BTreeSet::new(),
            announced: Announced::default(),
            volumes_refresh: Some(Duration::ZERO),
            tokens: sources::TokenCache::default(),
            ended: false,
            gone: false,
            cleared: false,
            confirmed: false,
            end_again: Backoff::new(AGAIN, AGAIN_AT_LAST),
            resize_again: Backoff::new(resize::AGAIN, resize::AGAIN_AT_LAST),
            resize_at: None,
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
            if self.confirmed {
                return;
            }
            let now = self.now();
            let pause = wake.map_or(Duration::from_secs(3600), |moment| moment.saturating_sub(now));
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
            Message::Changed(pod) => {
                self.ephemeral = ephemeral::containers(&pod);
                self.take_pod(pod);
            }
            Message::Gone => self.gone = true,
            Message::Runtime => {}
            Message::Measured(measured) => self.take_measured(measured),
            Message::Evict(eviction) => self.take_eviction(eviction),
            Message::Verdict(verdict) => self.probes.take(&verdict),
        }
    }

    /// Looks, thinks and acts until there is nothing left to do; gives when to look again.
    async fn pass(&mut self) -> Option<Duration> {
        if self.gone || self.pod.metadata.deletion_timestamp.is_some() {
            return self.terminate().await;
        }
        if let Some(rejection) = self.rejection().await {
            self.reject(&rejection).await;
            return self.publish_again;
        }
        match self.was_evicted().await {
            Some(true) => return self.clear_evicted().await,
            Some(false) => {}
            None => return self.after(AGAIN),
        }
        if !self.ended {
            self.age_messages();
            if !self.follow_grants().await {
                return self.after(AGAIN);
            }
            if let Some(rejection) = self.refused.clone() {
                self.reject(&rejection).await;
                return self.publish_again;
            }
        }
        self.refresh_volumes().await;
        self.check_limits();
        // Each round either does something or is the last; the bound is for a defect's sake.
        for _ in 0..64 {
            let observation = match self.observe().await {
                Ok(observation) => observation,
                Err(error) => {
                    warn!(pod = %self.name(), error = %error.full_message(), "cannot look at the pod's containers");
                    return self.after(AGAIN);
                }
            };
            self.look(&observation);
            let due = self.resize_at.is_none_or(|at| at <= self.now());
            if !self.ended && due && !self.is_interrupted() && self.resize(&observation).await {
                continue;
            }
            self.probes.follow(&self.shared, &self.pod, &observation, &self.published);
            let plan = self.plan(&observation);
            self.ended = plan.ended;
            self.take_overdue(plan.overdue && self.evicted.is_none());
            if self.ended && observation.running().next().is_none() {
                self.give_back();
            }
            self.announce_back_offs(&observation);
            self.publish(&observation).await;
            // The message that says why may have been taken already.
            if self.is_interrupted() || self.gone || self.pod.metadata.deletion_timestamp.is_some() {
                return self.after(Duration::ZERO);
            }
            if plan.steps.is_empty() && plan.ended && self.evicted.is_some() {
                // A sandbox may be down before it is known of its containers that they are.
                let runs = observation.running().next().is_some();
                return if runs { self.after(AGAIN) } else { self.clear_evicted().await };
            }
            if plan.steps.is_empty() {
                return self.wake(&plan);
            }
            debug!(pod = %self.name(), steps = ?plan.steps, "next");
            for step in plan.steps {
                self.perform(step, &observation).await;
                if self.is_interrupted() {
                    break;
                }
            }
        }
        self.after(AGAIN)
    }

    /// Whether what is done is to be left, for a message that is still to be taken. One that was told to end so goes on
    /// to end; nothing that it does then is to be interrupted.
    fn is_interrupted(&self) -> bool {
        self.interrupt.is_cancelled() && !self.told_to_end
    }

    /// What the runtime has of the pod.
    async fn observe(&self) -> Result<Observation, runtime::Error> {
        Observation::new(self.shared.runtime(), &self.uid).await
    }

    /// The moment on the steady clock. What happened before the daemon began has one too.
    fn now(&self) -> Duration {
        const BEFORE: Duration = Duration::from_secs(1 << 36);
        self.shared.clock.elapsed() + BEFORE
    }

    /// The moment after `delay`.
    fn after(&self, delay: Duration) -> Option<Duration> {
        self.now().checked_add(delay)
    }

    /// Works out when things happened that records name by the time of day.
    fn look(&mut self, observation: &Observation) {
        let clock = Arc::clone(&self.shared.clock);
        let ends: Vec<_> = self
            .containers()
            .filter_map(|(container, _)| {
                let latest = observation.latest(&container.name)?;
                Some((container.name.clone(), latest.finished_at?))
            })
            .collect();
        let ages = self.ends.look(&*clock, ends);
        let now = self.now();
        self.ended_at = ages.into_iter().map(|(name, age)| (name, now.saturating_sub(age))).collect();
    }

    /// When the pod will have been active for as long as its `activeDeadlineSeconds`.
    fn deadline(&mut self) -> Option<Duration> {
        let seconds = self.pod.spec.as_ref()?.active_deadline_seconds?;
        let since = self.published.start_time.as_ref()?.0;
        let clock = Arc::clone(&self.shared.clock);
        let age = self.active_since.look(&*clock, [((), since)]).remove(&())?;
        let allowed = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Some(self.now().saturating_add(allowed).saturating_sub(age))
    }

    fn take_overdue(&mut self, overdue: bool) {
        if overdue && !std::mem::replace(&mut self.overdue, true) {
            let (reason, message) = DEADLINE_EXCEEDED;
            self.event(false, reason, message.to_owned());
        }
    }

    /// Why this node does not run the pod at all: its phase is `Failed` then.
    async fn rejection(&self) -> Option<Rejection> {
        if self.refused.is_some() {
            return self.refused.clone();
        }
        let rejection = admission::check(&self.pod, self.abilities()).err()?;
        // One that runs was let in by an earlier version, which asked nothing.
        let nothing = self.observe().await.is_ok_and(|observation| observation.running().next().is_none());
        nothing.then_some(rejection)
    }

    /// Whether the pod was let in before, whether or not anybody wrote down what it was granted.
    async fn has_begun(&self) -> bool {
        self.published.start_time.is_some()
            || self.observe().await.is_ok_and(|observation| observation.sandbox.is_some())
    }

    /// What this node does, as pods may ask for it.
    fn abilities(&self) -> Abilities<'_> {
        let features = self.shared.runtime().features();
        Abilities {
            apparmor: features.apparmor,
            selinux: features.selinux,
            cluster_domain: &self.shared.config.cluster_domain,
            allowed_sysctls: &self.shared.config.allowed_sysctls,
        }
    }

    fn plan(&mut self, observation: &Observation) -> Plan {
        let (now, deadline) = (self.now(), self.deadline());
        let containers = self.containers().map(|(container, role)| {
            let name = &container.name;
            let waits = self.waiting.get(name).map(|waiting| waiting.until);
            let failed_at = self.ended_at.get(name);
            let backs_off = failed_at.and_then(|&at| self.back_offs.not_before(name, at));
            ContainerView {
                name: name.clone(),
                role,
                latest: observation.instance(name),
                next_attempt: facts::instances(
                    observation.latest(name).map(|latest| latest.attempt),
                    self.known_restarts(name),
                ),
                not_before: waits.max(backs_off),
                condemned: self.why_kill(container, role, observation).is_some(),
                replaced: self.replaced.contains(name),
                started: self.probes.is_started(name),
            }
        });
        let spec = self.pod.spec.as_ref();
        // One that has ended so stays as it was told, and one that ended by itself does too.
        let has_ended = self.published.phase.as_deref().is_some_and(status::is_last);
        let told = has_ended
            && !matches!(
                self.published.reason.as_deref(),
                Some(crate::eviction::EVICTED) | Some("DeadlineExceeded")
            );
        // It may have been ended for its deadline by a daemon that could not tell any more.
        let late = deadline.is_some_and(|deadline| {
            let mains = self.pod.spec.iter().flat_map(|spec| &spec.containers);
            mains.into_iter().any(|main| self.ended_at.get(&main.name).is_some_and(|&at| at >= deadline))
        });
        plan::plan(&plan::View {
            now,
            deadline: deadline.filter(|_| !told),
            overdue: (self.overdue || late || self.evicted.is_some()) && !told,
            told: has_ended,
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
                let found = self.containers().nth(container);
                let Some((container, role)) = found.map(|(container, role)| (container.clone(), role)) else {
                    return;
                };
                self.kill(&container, role, &id, observation).await;
            }
            Step::StopContainers => self.stop_containers(observation).await,
            Step::StopSandbox => {
                if let Some(sandbox) = &observation.sandbox
                    && let Err(error) = self.shared.runtime().stop_pod_sandbox(&sandbox.id).await
                {
                    warn!(pod = %self.name(), error = %error.full_message(), "cannot stop the pod's sandbox");
                }
            }
        }
    }

    /// The pod's containers with their roles, in the order in which the plan has them: those that somebody has
    /// added first, since nothing else is to keep them from being started.
    fn containers(&self) -> impl Iterator<Item = (&Container, Role)> {
        let spec = self.pod.spec.as_ref();
        let inits = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let mains = spec.into_iter().flat_map(|spec| &spec.containers);
        let ephemeral = self.ephemeral.iter().map(|container| (container, Role::Ephemeral));
        ephemeral
            .chain(inits.map(|container| (container, status::role(container))))
            .chain(mains.map(|container| (container, Role::Main)))
    }

    /// The moment at which something is due: a back-off ends or is told of again, a message changes, volumes
    /// are old.
    fn wake(&self, plan: &Plan) -> Option<Duration> {
        let shown = self.waiting.values().filter(|_| !self.ended).filter_map(Waiting::says_next);
        let refresh = self.volumes_refresh.filter(|_| !self.ended);
        let again = self.announced.next();
        plan.wake
            .into_iter()
            .chain(shown)
            .chain(refresh)
            .chain(again)
            .chain(self.publish_again)
            .chain(self.resize_at)
            .chain(self.limits_next.filter(|_| !self.ended))
            .min()
    }

    /// How many instances of a container the API was told of.
    fn known_restarts(&self, name: &str) -> u32 {
        let statuses = self.published.container_statuses.iter().flatten();
        let statuses = statuses.chain(self.published.init_container_statuses.iter().flatten());
        let statuses = statuses.chain(self.published.ephemeral_container_statuses.iter().flatten());
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
