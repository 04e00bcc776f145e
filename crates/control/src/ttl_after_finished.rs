//! Jobs that are over go after the time that they ask for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use base::clock::Ages;
use client::api::{DeleteOptions, Propagation};
use client::{Action, Api, Controller, Error, ObjectKey, Resource as _};
use k8s_openapi::api::batch::v1::Job;
use parking_lot::Mutex;

use crate::Context;
use crate::job::finished;

/// The clock may be set: it is looked at it this often at least.
const LOOK: Duration = Duration::from_secs(60);

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let jobs = context.informers.of::<Job>();
    let (store, client, ends) = (jobs.store(), context.client.clone(), Arc::new(Ends::new(context.clock)));
    let reconcile = move |key: ObjectKey| {
        let (store, client, ends) = (store.clone(), client.clone(), ends.clone());
        async move {
            let Some(rest) = store.get(&key).and_then(|job| ends.rest(&key, &job)) else {
                ends.forget(&key);
                return Ok(Action::Done);
            };
            if !rest.is_zero() {
                return Ok(Action::After(rest.min(LOOK)));
            }
            // The cache may be behind: somebody may have given it more time.
            let api = Api::<Job>::namespaced(&client, &key.namespace);
            let Some(live) = api.find(&key.name).await? else { return Ok(Action::Done) };
            match ends.rest(&key, &live) {
                None => Ok(Action::Done),
                Some(rest) if !rest.is_zero() => Ok(Action::After(rest.min(LOOK))),
                Some(_) => {
                    let options =
                        DeleteOptions::default().propagation(Propagation::Foreground).uid(live.uid());
                    match api.delete(&key.name, &options).await {
                        Ok(()) | Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(Action::Done),
                        Err(error) => Err(error),
                    }
                }
            }
        }
    };
    Controller::new("ttl-after-finished", &jobs).run(reconcile, context.stop).await;
}

/// When jobs ended, by the steady clock: where that of the day was set back, none stays until it is there again.
struct Ends {
    clock: Arc<dyn Clock>,
    ages: Mutex<HashMap<ObjectKey, Ages<()>>>,
}

impl Ends {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, ages: Mutex::default() }
    }

    /// How long a job may still stay; none where it stays, or goes already.
    fn rest(&self, key: &ObjectKey, job: &Job) -> Option<Duration> {
        let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
        let end = finished(job).filter(|_| !job.is_being_deleted())?.last_transition_time.as_ref()?.0;
        let stay = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        let mut ages = self.ages.lock();
        let passed = ages.entry(key.clone()).or_default().look(self.clock.as_ref(), [((), end)])[&()];
        drop(ages);
        // Where it was set forward, by that one.
        let told = Duration::try_from(self.clock.now().duration_since(end)).unwrap_or_default();
        Some(stay.saturating_sub(passed.max(told)))
    }

    fn forget(&self, key: &ObjectKey) {
        self.ages.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use base::clock::ManualClock;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_job_stays_for_as_long_as_it_asks_for() {
        let check = |seconds: Value, condition: &str, deleted: bool, expected: Option<u64>| {
            let job = json!({
                "metadata": {"deletionTimestamp": deleted.then_some("2026-01-01T00:00:30Z")},
                "spec": {"ttlSecondsAfterFinished": seconds, "template": {}},
                "status": {"conditions": [{
                    "type": condition, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
            });
            let job: Job = serde_json::from_value(job).expect("a job");
            let clock = Arc::new(ManualClock::new("2026-01-01T00:01:00Z".parse().expect("a time")));
            let (ends, key) = (Ends::new(clock.clone()), ObjectKey::new("n", "j"));
            let rest = || ends.rest(&key, &job).map(|rest| rest.as_secs());
            assert_eq!(rest(), expected, "{job:?}");
            clock.set("2025-12-31T00:00:00Z".parse().expect("a time"));
            clock.advance(Duration::from_secs(7));
            assert_eq!(
                rest(),
                expected.map(|rest| rest.saturating_sub(7)),
                "the clock was set back: {job:?}"
            );
        };
        check(json!(100), "Complete", false, Some(40));
        check(json!(100), "Failed", false, Some(40));
        check(json!(60), "Complete", false, Some(0));
        check(json!(0), "Failed", false, Some(0));
        check(json!(100), "Suspended", false, None);
        check(json!(100), "SuccessCriteriaMet", false, None);
        check(Value::Null, "Complete", false, None);
        check(json!(0), "Complete", true, None);
    }
}
