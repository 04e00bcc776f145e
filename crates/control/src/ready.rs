//! For how long pods have been ready, where they have to be for a while until they count as available.

use std::collections::HashMap;
use std::time::Duration;

use base::clock::Ages;
use base::{Clock, Timestamp};
use client::ObjectKey;
use parking_lot::Mutex;

use crate::pods::PodOutline;

/// What is remembered of the pods of each object, by uid.
#[derive(Default)]
pub(crate) struct ReadyAges(Mutex<HashMap<ObjectKey, Ages<String>>>);

/// Which pods of an object are available at this moment.
#[derive(Debug, Default)]
pub(crate) struct Available {
    least: Duration,
    ages: HashMap<String, Duration>,
}

/// For how long pods have to be ready, as specs say it.
pub(crate) fn seconds(seconds: Option<i32>) -> Duration {
    Duration::from_secs(seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0))
}

impl ReadyAges {
    /// What holds now for pods that have to be ready for so long. Each is given by its uid, with the moment since
    /// when it is ready.
    pub(crate) fn look(
        &self,
        key: &ObjectKey,
        clock: &dyn Clock,
        least: Duration,
        ready: impl IntoIterator<Item = (String, Timestamp)>,
    ) -> Available {
        let mut known = self.0.lock();
        if least.is_zero() {
            known.remove(key);
            return Available::default();
        }
        Available { least, ages: known.entry(key.clone()).or_default().look(clock, ready) }
    }

    /// Forgets an object that is gone.
    pub(crate) fn forget(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }
}

impl Available {
    /// Of pods that have been ready for so long, by uid.
    #[cfg(test)]
    pub(crate) fn of(least: u64, ages: &[(&str, u64)]) -> Self {
        let ages = ages.iter().map(|(uid, age)| ((*uid).to_owned(), Duration::from_secs(*age)));
        Self { least: Duration::from_secs(least), ages: ages.collect() }
    }

    /// Whether a pod has been ready for long enough.
    pub(crate) fn holds(&self, pod: &PodOutline) -> bool {
        pod.is_ready && self.lacks(pod).is_zero()
    }

    /// After how long the first of these pods becomes available that is ready already.
    pub(crate) fn wait<'a>(&self, pods: impl IntoIterator<Item = &'a PodOutline>) -> Option<Duration> {
        let waiting = pods.into_iter().filter(|pod| pod.is_ready && !self.holds(pod));
        waiting.map(|pod| self.lacks(pod)).min()
    }

    fn lacks(&self, pod: &PodOutline) -> Duration {
        self.least.saturating_sub(self.ages.get(&*pod.uid).copied().unwrap_or_default())
    }
}
