//! Scheduler and controllers: from what is wanted to what is done about it, through the API alone.
//!
//! Each controller is a reconciler that gets a key, looks at the informers' caches, thinks in a
//! pure `plan`, and acts through the [`client`]. None knows of containers, of the store or of HTTP
//! servers; all of them may be stopped at any moment and started again.
#![forbid(unsafe_code)]

use std::sync::Arc;

use base::Clock;
use client::leader::{self, Candidate, Times};
use client::recorder::Recorder;
use client::{Client, Informers};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use objects::Objects;

mod aggregation;
mod certificates;
mod conditions;
mod cron_job;
mod daemon_set;
mod deployment;
mod disruption;
mod endpoints;
mod ephemeral_volumes;
mod garbage;
mod history;
mod job;
mod kinds;
mod making;
mod meters;
mod namespace;
mod node_lifecycle;
mod objects;
mod ownership;
mod persistent_volumes;
mod pod_autoscaler;
mod pod_garbage;
mod pods;
mod policy_status;
mod protection;
mod ready;
mod replica_set;
mod resource_claim;
mod resource_quota;
mod restart_on_change;
mod root_ca;
pub mod scheduler;
mod selecting;
mod service_account;
mod service_cidrs;
mod stateful_set;
mod storage_migration;
mod taint_eviction;
mod token_secrets;
mod ttl_after_finished;

pub use certificates::{Asked, Signer};

/// What the controllers are told from outside.
#[derive(Clone, Debug)]
pub struct Config {
    /// The certificate of the API's authority, PEM: published to every namespace as `kube-root-ca.crt`.
    pub authority: String,
    /// Who signs the certificates that were approved; none where nobody does.
    pub signer: Option<Arc<dyn Signer>>,
    /// Who this is among several that could run the controllers, of which one does; none where there are no
    /// others.
    pub candidate: Option<String>,
    /// How the scheduler is set up.
    pub scheduler: Arc<scheduler::Configuration>,
    /// Whether the API has StorageVersionMigrations, and what they ask for is done.
    pub migrates: bool,
    /// What becomes of PodGroups.
    pub pod_groups: PodGroups,
}

/// What becomes of groups of pods that are objects of the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodGroups {
    /// There are none.
    #[default]
    Absent,
    /// They stay as long as their pods need them.
    Kept,
    /// And the scheduler places their pods as they say.
    Heeded,
}

/// As whom the controllers, and the scheduler, manage fields: by the names that Kubernetes' own have, which
/// tools know.
const CONTROLLERS: &str = "kube-controller-manager";
const SCHEDULER: &str = "kube-scheduler";

/// The Lease that whoever runs the controllers holds, as Kubernetes' own would.
const LEASE: (&str, &str) = ("kube-system", CONTROLLERS);

/// Who makes the requests of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// What runs the controllers, or the scheduler, by the name that Kubernetes' own has: a user.
    Component(&'static str),
    /// One controller, by the name that Kubernetes' own has: a service account.
    Controller(&'static str),
}

/// Makes the client of each of them: none may more than it needs.
pub type Clients = Arc<dyn Fn(Actor) -> Client + Send + Sync>;

/// What all controllers use.
#[derive(Clone)]
pub(crate) struct Context {
    clients: Clients,
    /// The controller's own; what is followed is followed once for all.
    pub(crate) client: Client,
    pub(crate) informers: Informers,
    pub(crate) objects: Objects,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stop: CancellationToken,
}

/// Writes what is counted of scheduling and controllers.
pub fn write_metrics(text: &mut metrics::Text) {
    scheduler::write_metrics(text);
    meters::write(text);
}

/// Runs the scheduler and all controllers until `stop` is cancelled; where others could, while this is the
/// one that leads.
pub async fn run(config: Config, clients: Clients, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let Some(identity) = config.candidate.clone() else { return work(config, clients, clock, stop).await };
    let client = clients(Actor::Component(CONTROLLERS)).named(CONTROLLERS);
    let (namespace, name) = LEASE;
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    let candidate = Candidate { namespace, name, identity, times: Times::default() };
    let begin = |term| work(config.clone(), clients.clone(), Arc::clone(&clock), term);
    leader::lead(&client, candidate, Arc::clone(&clock), stop, begin).await;
}

async fn work(config: Config, clients: Clients, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let client = clients(Actor::Component(CONTROLLERS)).named(CONTROLLERS);
    let scheduler = clients(Actor::Component(SCHEDULER)).named(SCHEDULER);
    let informers = Informers::new(&client);
    let objects = Objects::new(&client);
    let mut crew = Crew {
        context: Context { clients, client, informers, objects, clock, stop },
        running: JoinSet::new(),
    };
    let Config { authority, signer, scheduler: profiles, migrates, pod_groups, .. } = config;
    crew.spawn(|context| async move { context.informers.run(context.stop).await });
    crew.keeps("objects", |context| async move { context.objects.run(context.stop).await });
    crew.keeps("scheduler", move |context| {
        let heeds_groups = pod_groups == PodGroups::Heeded;
        scheduler::run(Context { client: scheduler.clone(), ..context }, profiles.clone(), heeds_groups)
    });

    crew.tells("deployment-controller", "deployment-controller", deployment::run);
    crew.tells("replicaset-controller", "replicaset-controller", replica_set::run::<ReplicaSet>);
    crew.tells("replication-controller", "replication-controller", replica_set::run::<ReplicationController>);
    crew.tells("statefulset-controller", "statefulset-controller", stateful_set::run);
    crew.tells("daemon-set-controller", "daemonset-controller", daemon_set::run);
    crew.tells("job-controller", "job-controller", job::run);
    crew.tells("cronjob-controller", "cronjob-controller", cron_job::run);
    crew.tells("restart-on-change-controller", "restart-on-change-controller", restart_on_change::run);
    crew.tells("horizontal-pod-autoscaler", "horizontal-pod-autoscaler", pod_autoscaler::run);
    crew.tells("disruption-controller", "controllermanager", disruption::run);
    crew.acts("ttl-after-finished-controller", ttl_after_finished::run);
    crew.acts("pod-garbage-collector", pod_garbage::run);

    crew.tells("node-controller", "node-controller", node_lifecycle::run);
    // Kubernetes' own has the rights of the one above, too.
    crew.tells("node-controller", "taint-eviction-controller", taint_eviction::run);

    crew.tells("persistent-volume-binder", "persistentvolume-controller", persistent_volumes::run);
    crew.tells("expand-controller", "volume_expand", persistent_volumes::expansion);
    crew.tells("ephemeral-volume-controller", "ephemeral_volume", ephemeral_volumes::run);
    crew.tells("resource-claim-controller", "resource_claim", resource_claim::run);
    crew.acts("pvc-protection-controller", protection::claims);
    crew.acts("pv-protection-controller", protection::volumes);

    crew.acts("endpointslice-controller", endpoints::run);
    crew.acts("endpointslicemirroring-controller", endpoints::mirror);
    crew.tells("service-cidrs-controller", "service-cidr-controller", service_cidrs::run);

    crew.acts("namespace-controller", namespace::run);
    crew.tells("generic-garbage-collector", "garbage-collector-controller", garbage::run);
    crew.acts("resourcequota-controller", resource_quota::run);
    crew.acts("service-account-controller", service_account::run);
    crew.acts("clusterrole-aggregation-controller", aggregation::run);
    crew.acts("validatingadmissionpolicy-status-controller", policy_status::run);
    crew.acts("token-cleaner", token_secrets::bootstrap);
    if pod_groups != PodGroups::Absent {
        crew.acts("podgroup-protection-controller", protection::pod_groups);
    }
    if migrates {
        crew.acts("storage-version-migrator-controller", storage_migration::run);
    }
    if let Some(signer) = signer {
        crew.signs("certificate-controller", &signer, certificates::approve);
        crew.signs("certificate-controller", &signer, certificates::sign);
        crew.signs("certificate-controller", &signer, certificates::clean);
        let authority = authority.clone();
        // It gives out what others show: Kubernetes' own acts as what runs them all, too.
        crew.keeps("serviceaccount-token-controller", move |context| {
            token_secrets::accounts(context, authority.clone(), signer.clone())
        });
    }
    crew.acts("root-ca-cert-publisher", move |context| root_ca::run(context, authority.clone()));

    // They end when they are told to; and with whoever runs this.
    while let Some(ended) = crew.running.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a part of the controllers ended");
        }
    }
}

/// The controllers at work, each a task: what wakes one of them is no matter of the others.
struct Crew {
    context: Context,
    running: JoinSet<()>,
}

impl Crew {
    fn spawn<F>(&mut self, run: impl FnOnce(Context) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.running.spawn(run(self.context.clone()));
    }

    /// Runs one controller; a panic outside of its reconciler begins it anew and ends no other.
    fn keeps<F>(&mut self, name: &'static str, run: impl Fn(Context) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn(|context| kept(context, name, run));
    }

    /// Runs one controller as itself, by the name that the account of Kubernetes' own has.
    fn acts<F>(&mut self, account: &'static str, run: impl Fn(Context) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn(|context| kept(context.acting_as(account), account, run));
    }

    /// Runs one that acts as itself and has something signed.
    fn signs<F>(
        &mut self,
        account: &'static str,
        signer: &Arc<dyn Signer>,
        run: impl Fn(Context, Arc<dyn Signer>) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let signer = Arc::clone(signer);
        self.acts(account, move |context| run(context, signer.clone()));
    }

    /// Runs one that acts as itself and tells of it in events, whose source is `component`.
    fn tells<F>(
        &mut self,
        account: &'static str,
        component: &'static str,
        run: impl Fn(Context, Recorder) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let Context { client, clock, .. } = &self.context;
        let (recorder, writer) = Recorder::new(client, component, None, Arc::clone(clock));
        self.spawn(|context| writer.run(context.stop));
        self.acts(account, move |context| run(context, recorder.clone()));
    }
}

impl Context {
    /// The client of a controller, by the name that Kubernetes' own has.
    pub(crate) fn client_of(&self, controller: &'static str) -> Client {
        (self.clients)(Actor::Controller(controller)).named(CONTROLLERS)
    }

    fn acting_as(self, controller: &'static str) -> Self {
        Self { client: self.client_of(controller), ..self }
    }
}

async fn kept<F>(context: Context, name: &'static str, run: impl Fn(Context) -> F)
where
    F: Future<Output = ()>,
{
    client::supervise(name, &context.stop, || Box::pin(run(context.clone()))).await;
}

/// A selector as objects have it; `None` where it is no valid one, which the API does not let in.
pub(crate) fn selector(
    selector: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
) -> Option<model::select::LabelSelector> {
    let value = serde_json::to_value(selector).ok()?;
    model::select::LabelSelector::from_json(Some(&value)).ok()
}
