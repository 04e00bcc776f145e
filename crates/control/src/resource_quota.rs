//! Quotas say what is used of what they bound. The server charges what is made, in the transaction that makes it, and
//! counts when it is asked to; here it is asked, whenever something may have come back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::{
    Action, Api, Change, Controller, Error, ObjectKey, Partial, Reconcile, Resource as _, ResourceKind, Store,
};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use parking_lot::Mutex;

use crate::{Context, pods};

/// How often it is counted anyway: a pod whose node is lost ends by the clock alone.
const PERIOD: Duration = Duration::from_secs(300);

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let quotas = context.informers.of::<ResourceQuota>();
    let all_pods = context.informers.of::<Pod>();
    let due = Arc::new(Due { quotas: quotas.store(), counted: Mutex::default() });
    let noticed = Arc::clone(&due);
    let of_pod = move |pod: &Pod| {
        let is_ending = pods::is_terminal(pod) || pod.metadata.deletion_timestamp.is_some();
        if is_ending { noticed.mark(pod.namespace()) } else { Vec::new() }
    };
    let controller = Controller::new("resourcequota", &quotas).watches(&all_pods, of_pod);
    let (queue, noticed) = (controller.queue(), Arc::clone(&due));
    context.objects.on_change(move |kind, change| {
        if gives_back(kind, change) {
            noticed.mark(change.object().namespace()).into_iter().for_each(|key| queue.add(key));
        }
    });
    controller.run_by(Reconciler { due, context: context.clone() }, context.stop).await;
}

/// Whether there may be more left after a change: something has gone, or asks for less.
fn gives_back(kind: &ResourceKind, change: &Change<Partial>) -> bool {
    let shrinks = kind.group.is_empty() && matches!(&*kind.plural, "services" | "persistentvolumeclaims");
    // Events are counted by nobody, and go by themselves all the time.
    let is_deletion = change.is_deletion() && kind.plural != "events";
    is_deletion || shrinks && change.old().is_some()
}

struct Reconciler {
    due: Arc<Due>,
    context: Context,
}

/// Which quotas have to be counted, and when each was last.
struct Due {
    quotas: Store<ResourceQuota>,
    /// Since the start; none where it has to be counted anew.
    counted: Mutex<HashMap<ObjectKey, Duration>>,
}

impl Due {
    /// The quotas of a namespace, of which each has to be counted.
    fn mark(&self, namespace: Option<&str>) -> Vec<ObjectKey> {
        let Some(namespace) = namespace else { return Vec::new() };
        let keys: Vec<ObjectKey> =
            self.quotas.list_namespace(namespace).iter().map(|quota| quota.key()).collect();
        if !keys.is_empty() {
            let mut counted = self.counted.lock();
            for key in &keys {
                counted.remove(key);
            }
        }
        keys
    }
}

impl Reconcile for Reconciler {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        let Some(quota) = self.due.quotas.get(key) else {
            self.due.counted.lock().remove(key);
            return Ok(Action::Done);
        };
        let now = self.context.clock.elapsed();
        let counted = self.due.counted.lock().get(key).copied();
        let left =
            counted.and_then(|counted| (counted + PERIOD).checked_sub(now)).filter(|left| !left.is_zero());
        if let Some(left) = left.filter(|_| is_told(&quota)) {
            return Ok(Action::After(left));
        }
        // Before it is asked for: what goes meanwhile is asked for again.
        self.due.counted.lock().insert(key.clone(), now);
        let api: Api<ResourceQuota> = Api::namespaced(&self.context.client, &key.namespace);
        let mut asks = ResourceQuota::clone(&quota);
        asks.status = None;
        match api.update_status(&asks).await {
            Ok(_) => Ok(Action::After(PERIOD)),
            Err(Error::NotFound(_)) => Ok(Action::Done),
            Err(error) => {
                self.due.counted.lock().remove(key);
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
