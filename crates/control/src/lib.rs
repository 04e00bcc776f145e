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
use tokio_util::sync::CancellationToken;

use objects::Objects;

mod aggregation;
mod certificates;
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
mod namespace;
mod node_lifecycle;
mod objects;
mod ownership;
mod persistent_volumes;
mod pod_autoscaler;
mod pod_garbage;
mod pods;
mod protection;
mod ready;
mod replica_set;
mod resource_claim;
mod resource_quota;
mod restart_on_change;
mod root_ca;
pub mod scheduler;
mod service_account;
mod service_cidrs;
mod stateful_set;
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

/// Writes what is counted of scheduling.
pub fn write_metrics(text: &mut metrics::Text) {
    scheduler::write_metrics(text);
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
    let client = &clients(Actor::Component(CONTROLLERS)).named(CONTROLLERS);
    let scheduler = clients(Actor::Component(SCHEDULER)).named(SCHEDULER);
    let informers = Informers::new(client);
    let context = Context {
        clients,
        client: client.clone(),
        informers: informers.clone(),
        objects: Objects::new(client),
        clock: Arc::clone(&clock),
        stop: stop.clone(),
    };
    let schedules = |context: Context| Context { client: scheduler.clone(), ..context };
    let recorder = |component: &str| Recorder::new(client, component, None, Arc::clone(&clock));
    let (deployment_events, deployment_writer) = recorder("deployment-controller");
    let (replica_set_events, replica_set_writer) = recorder("replicaset-controller");
    let (replication_events, replication_writer) = recorder("replication-controller");
    let (disruption_events, disruption_writer) = recorder("controllermanager");
    let (garbage_events, garbage_writer) = recorder("garbage-collector-controller");
    let (cidr_events, cidr_writer) = recorder("service-cidr-controller");
    let (volume_events, volume_writer) = recorder("persistentvolume-controller");
    let (ephemeral_events, ephemeral_writer) = recorder("ephemeral_volume");
    let (expansion_events, expansion_writer) = recorder("volume_expand");
    let (autoscaler_events, autoscaler_writer) = recorder("horizontal-pod-autoscaler");
    let (node_events, node_writer) = recorder("node-controller");
    let (claim_events, claim_writer) = recorder("resource_claim");
    let (eviction_events, eviction_writer) = recorder("taint-eviction-controller");
    let (job_events, job_writer) = recorder("job-controller");
    let (cron_events, cron_writer) = recorder("cronjob-controller");
    let (restart_events, restart_writer) = recorder("restart-on-change-controller");
    let (stateful_set_events, stateful_set_writer) = recorder("statefulset-controller");
    let (daemon_set_events, daemon_set_writer) = recorder("daemonset-controller");
    tokio::join!(
        informers.run(stop.clone()),
        deployment_writer.run(stop.clone()),
        replica_set_writer.run(stop.clone()),
        replication_writer.run(stop.clone()),
        garbage_writer.run(stop.clone()),
        disruption_writer.run(stop.clone()),
        cidr_writer.run(stop.clone()),
        volume_writer.run(stop.clone()),
        ephemeral_writer.run(stop.clone()),
        expansion_writer.run(stop.clone()),
        autoscaler_writer.run(stop.clone()),
        node_writer.run(stop.clone()),
        eviction_writer.run(stop.clone()),
        claim_writer.run(stop.clone()),
        job_writer.run(stop.clone()),
        cron_writer.run(stop.clone()),
        restart_writer.run(stop.clone()),
        stateful_set_writer.run(stop.clone()),
        daemon_set_writer.run(stop.clone()),
        kept(&context, "objects", |context| async move { context.objects.run(context.stop.clone()).await }),
        acts(&context, "deployment-controller", |context| deployment::run(
            context,
            deployment_events.clone()
        )),
        acts(&context, "replicaset-controller", |context| {
            replica_set::run::<ReplicaSet>(context, replica_set_events.clone())
        }),
        acts(&context, "replication-controller", |context| {
            replica_set::run::<ReplicationController>(context, replication_events.clone())
        }),
        acts(&context, "statefulset-controller", |context| {
            stateful_set::run(context, stateful_set_events.clone())
        }),
        acts(&context, "daemon-set-controller", |context| daemon_set::run(
            context,
            daemon_set_events.clone()
        )),
        acts(&context, "clusterrole-aggregation-controller", aggregation::run),
        kept(&context, "scheduler", |context| scheduler::run(schedules(context), config.scheduler.clone())),
        acts(&context, "endpointslice-controller", endpoints::run),
        acts(&context, "endpointslicemirroring-controller", endpoints::mirror),
        acts(&context, "namespace-controller", namespace::run),
        acts(&context, "generic-garbage-collector", |context| garbage::run(context, garbage_events.clone())),
        acts(&context, "service-account-controller", service_account::run),
        acts(&context, "service-cidrs-controller", |context| service_cidrs::run(
            context,
            cidr_events.clone()
        )),
        acts(&context, "node-controller", |context| node_lifecycle::run(context, node_events.clone())),
        // Kubernetes' own has the rights of the one above, too.
        acts(&context, "node-controller", |context| taint_eviction::run(context, eviction_events.clone())),
        acts(&context, "resourcequota-controller", resource_quota::run),
        acts(&context, "disruption-controller", |context| disruption::run(
            context,
            disruption_events.clone()
        )),
        acts(&context, "persistent-volume-binder", |context| {
            persistent_volumes::run(context, volume_events.clone())
        }),
        acts(&context, "expand-controller", |context| {
            persistent_volumes::expansion(context, expansion_events.clone())
        }),
        acts(&context, "ephemeral-volume-controller", |context| {
            ephemeral_volumes::run(context, ephemeral_events.clone())
        }),
        acts(&context, "horizontal-pod-autoscaler", |context| {
            pod_autoscaler::run(context, autoscaler_events.clone())
        }),
        acts(&context, "resource-claim-controller", |context| {
            resource_claim::run(context, claim_events.clone())
        }),
        acts(&context, "job-controller", |context| job::run(context, job_events.clone())),
        acts(&context, "cronjob-controller", |context| cron_job::run(context, cron_events.clone())),
        acts(&context, "ttl-after-finished-controller", ttl_after_finished::run),
        acts(&context, "pod-garbage-collector", pod_garbage::run),
        acts(&context, "restart-on-change-controller", |context| {
            restart_on_change::run(context, restart_events.clone())
        }),
        acts(&context, "pvc-protection-controller", protection::claims),
        acts(&context, "pv-protection-controller", protection::volumes),
        acts(&context, "root-ca-cert-publisher", |context| root_ca::run(context, config.authority.clone())),
        certificates::run(&context, config.signer.as_ref()),
        acts(&context, "token-cleaner", token_secrets::bootstrap),
        async {
            let Some(signer) = &config.signer else { return };
            kept(&context, "serviceaccount-token-controller", |context| {
                token_secrets::accounts(context, config.authority.clone(), signer.clone())
            })
            .await;
        },
    );
}

/// Runs one controller as itself.
async fn acts<F: Future<Output = ()>>(context: &Context, name: &'static str, run: impl Fn(Context) -> F) {
    kept(&Context { client: context.client_of(name), ..context.clone() }, name, run).await;
}

impl Context {
    /// The client of a controller, by the name that Kubernetes' own has.
    pub(crate) fn client_of(&self, controller: &'static str) -> Client {
        (self.clients)(Actor::Controller(controller)).named(CONTROLLERS)
    }
}

/// Runs one controller; a panic outside of its reconciler begins it anew and ends no other.
async fn kept<F: Future<Output = ()>>(context: &Context, name: &'static str, run: impl Fn(Context) -> F) {
    // Each apart, or what waits for all of them would be too large for a stack.
    client::supervise(name, &context.stop, || Box::pin(run(context.clone()))).await;
}

/// A selector as objects have it; `None` where it is no valid one, which the API does not let in.
pub(crate) fn selector(
    selector: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
) -> Option<model::select::LabelSelector> {
    let value = serde_json::to_value(selector).ok()?;
    model::select::LabelSelector::from_json(Some(&value)).ok()
}
