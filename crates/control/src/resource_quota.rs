//! Quotas say what is used of what they bound. The server charges what is made, in the transaction that makes it, and
//! counts when it is asked to; here it is asked, whenever something may have come back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::{
    Action, Api, Change, Controller, Error, ObjectKey, Partial, Reconcile, Resource as _, ResourceKind, Store,
};
use k8s_openapi::api::core::v1::{Pod, PodStatus, ResourceQuota};
use parking_lot::Mutex;

use crate::{Context, pods};

/// How often it is counted anyway: a pod whose node is lost ends by the clock alone.
const PERIOD: Duration = Duration::from_secs(300);

/// When what is bounded anew is counted once more: whoever began to make something before they could know of it has
/// made it by then, or given up.
const SETTLED: Duration = Duration::from_secs(75);

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let quotas = context.informers.of::<ResourceQuota>();
    let all_pods = context.informers.of::<Pod>();
    let due = Arc::new(Due { quotas: quotas.store(), times: Mutex::default() });
    let noticed = Arc::clone(&due);
    let of_pod = move |pod: &Pod| {
        let is_ending = pods::is_terminal(pod) || pod.metadata.deletion_timestamp.is_some();
        if is_ending { noticed.mark(pod.namespace()) } else { Vec::new() }
    };
    let controller = Controller::new("resourcequota", &quotas).watches(&all_pods, of_pod);
    let (queue, noticed) = (controller.queue(), Arc::clone(&due));
    all_pods.on_change(move |change: &Change<Pod>| {
        if change.old().is_some_and(|old| has_other_resources(old, change.object())) {
            noticed.mark(change.object().namespace()).into_iter().for_each(|key| queue.add(key));
        }
    });
    let (queue, noticed) = (controller.queue(), Arc::clone(&due));
    context.objects.on_change(move |kind, change| {
        if gives_back(kind, change) {
            noticed.mark(change.object().namespace()).into_iter().for_each(|key| queue.add(key));
        }
    });
    let (queue, noticed) = (controller.queue(), Arc::clone(&due));
    context
        .objects
        .on_kind(move |kind| noticed.mark_counting(kind).into_iter().for_each(|key| queue.add(key)));
    controller.run_by(Reconciler { due, context: context.clone() }, context.stop).await;
}

/// Whether there may be more left after a change: something has gone, or asks for less.
fn gives_back(kind: &ResourceKind, change: &Change<Partial>) -> bool {
    let shrinks = kind.group.is_empty() && matches!(&*kind.plural, "services" | "persistentvolumeclaims");
    // Events are counted by nobody, and go by themselves all the time.
    let is_deletion = change.is_deletion() && kind.plural != "events";
    is_deletion || shrinks && change.old().is_some()
}

/// Whether what a pod's containers were given changed, which may leave more to others.
fn has_other_resources(old: &Pod, new: &Pod) -> bool {
    let (Some(old), Some(new)) = (&old.status, &new.status) else { return false };
    let given = |status: &PodStatus| {
        let statuses = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let given = statuses.map(|status| (status.resources.clone(), status.allocated_resources.clone()));
        given.collect::<Vec<_>>()
    };
    old.resources != new.resources || given(old) != given(new)
}

struct Reconciler {
    due: Arc<Due>,
    context: Context,
}

/// Which quotas have to be counted, and when.
struct Due {
    quotas: Store<ResourceQuota>,
    times: Mutex<HashMap<ObjectKey, Times>>,
}

/// When a quota is to be counted, since the start.
#[derive(Clone, Copy, Default)]
struct Times {
    /// The next time; zero where that is now.
    next: Duration,
    /// Once more after it bounds what it did not before.
    settled: Duration,
}

impl Due {
    /// The quotas of a namespace, of which each has to be counted.
    fn mark(&self, namespace: Option<&str>) -> Vec<ObjectKey> {
        let Some(namespace) = namespace else { return Vec::new() };
        self.mark_all(self.quotas.list_namespace(namespace).iter().map(|quota| quota.key()).collect())
    }

    /// The quotas that count objects of a kind by its name, of which each has to be counted: what went before the kind's
    /// changes were heard of nobody has told of.
    fn mark_counting(&self, kind: &ResourceKind) -> Vec<ObjectKey> {
        let name = match &*kind.group {
            "" => format!("count/{}", kind.plural),
            group => format!("count/{}.{group}", kind.plural),
        };
        let counts = |quota: &ResourceQuota| {
            let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
            hard.is_some_and(|hard| hard.contains_key(&name))
        };
        self.mark_all(
            self.quotas.list().iter().filter(|quota| counts(quota)).map(|quota| quota.key()).collect(),
        )
    }

    fn mark_all(&self, keys: Vec<ObjectKey>) -> Vec<ObjectKey> {
        if !keys.is_empty() {
            let mut times = self.times.lock();
            for key in &keys {
                times.entry(key.clone()).or_default().next = Duration::ZERO;
            }
        }
        keys
    }
}

impl Reconcile for Reconciler {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        let Some(quota) = self.due.quotas.get(key) else {
            self.due.times.lock().remove(key);
            return Ok(Action::Done);
        };
        let (now, is_told) = (self.context.clock.elapsed(), is_told(&quota));
        let known = self.due.times.lock().get(key).copied().unwrap_or_default();
        let left = known.next.checked_sub(now).filter(|left| !left.is_zero());
        if let Some(left) = left.filter(|_| is_told) {
            return Ok(Action::After(left));
        }
        let settled = if is_told { known.settled } else { now + SETTLED };
        let next = if settled > now { settled } else { now + PERIOD };
        // Before it is asked for: what goes meanwhile is asked for again.
        self.due.times.lock().insert(key.clone(), Times { next, settled });
        let api: Api<ResourceQuota> = Api::namespaced(&self.context.client, &key.namespace);
        // Whatever its revision: the server counts in a turn of its own, of the quota as it is then.
        let mut asks = ResourceQuota::clone(&quota);
        asks.metadata.resource_version = None;
        asks.status = None;
        match api.update_status(&asks).await {
            Ok(_) => Ok(Action::After(next - now)),
            Err(Error::NotFound(_)) => Ok(Action::Done),
            Err(error) => {
                self.due.times.lock().entry(key.clone()).or_default().next = Duration::ZERO;
                match error {
                    Error::Conflict(_) => Ok(Action::After(Duration::from_millis(20))),
                    other => Err(other),
                }
            }
        }
    }
}

/// Whether the status is of what the quota bounds now.
fn is_told(quota: &ResourceQuota) -> bool {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    let status = quota.status.as_ref();
    let told = status.and_then(|status| status.hard.as_ref());
    let used = status.and_then(|status| status.used.as_ref());
    let is_used = |name: &String| used.is_some_and(|used| used.contains_key(name));
    match (hard, told) {
        (None, None) => true,
        (hard, told) => {
            hard.is_none_or(|hard| hard.is_empty()) && told.is_none_or(|told| told.is_empty())
                || hard == told && hard.is_some_and(|hard| hard.keys().all(is_used))
        }
    }
}
