//! One at work of several that could be: whoever holds a Lease.
//!
//! The rules are those of Kubernetes' own components, so that ours and theirs could stand in line for
//! one Lease: its holder renews it every few seconds; who finds it unchanged for as long as it lasts, by
//! its own steady clock and from when it saw it first, takes it over. A holder that could not renew it for
//! a while less than that ends its work before anybody else begins; what has not ended by then is dropped.
//! Source: Kubernetes, Lease, `coordination.k8s.io/v1`, and the defaults of
//! `kube-controller-manager --leader-elect`.

#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use tokio_util::sync::CancellationToken;

use crate::{Api, Client, Error, Resource as _};

/// The times of an election.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long a lease lasts that nobody renews.
    pub duration: Duration,
    /// How long its holder goes on without having renewed it.
    pub deadline: Duration,
    /// The time between two tries, to take it or to renew it.
    pub retry: Duration,
}

impl Default for Times {
    /// Those of Kubernetes' own components.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// Somebody who stands in line for a Lease.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who this is; no two candidates have the same.
    pub identity: String,
    /// How often it asks, and how long a lease lasts.
    pub times: Times,
}

/// Runs what `begin` gives whenever this is the leader, until `stop`: its token is cancelled when it is
/// no longer, and it must end then, for which it has until others may lead. It is dropped after that.
pub async fn lead<F: Future<Output = ()>>(
    client: &Client,
    candidate: Candidate,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    mut begin: impl FnMut(CancellationToken) -> F,
) {
    let api = Api::namespaced(client, &candidate.namespace);
    let mut election = Election { api, candidate, clock, seen: None };
    loop {
        let Some(asked) = stop.run_until_cancelled(election.until_elected()).await else { return };
        tracing::info!(lease = election.candidate.name, "leading");
        let ended = election.serve(asked, stop.child_token(), &mut begin).await;
        if !ended && !stop.is_cancelled() {
            continue;
        }
        // Others need not wait for what nobody holds any more.
        if let Err(error) = election.release().await {
            tracing::debug!(error = %base::error::chain(&error), "the lease is left to run out");
        }
        return;
    }
}

/// How a term ended before its work.
enum Lost {
    /// The Lease could not be renewed. It was asked for last, of the times that it was given, at this time.
    Late(Duration),
    /// Somebody else has it.
    Taken,
}

/// The state of a candidate.
struct Election {
    api: Api<Lease>,
    candidate: Candidate,
    clock: Arc<dyn Clock>,
    /// The version of the Lease that was seen last, and when it was seen first, by the steady clock.
    seen: Option<(String, Duration)>,
}

impl Election {
    /// Works for a term that was asked for at `asked`; false if that was over before the work was.
    async fn serve<F: Future<Output = ()>>(
        &mut self,
        asked: Duration,
        term: CancellationToken,
        begin: &mut impl FnMut(CancellationToken) -> F,
    ) -> bool {
        let mut work = pin!(begin(term.clone()));
        let lost = tokio::select! {
            () = &mut work => return true,
            lost = self.until_lost(asked) => lost,
        };
        term.cancel();
        let name = &self.candidate.name;
        let left = match lost {
            Lost::Late(renewed) => {
                tracing::error!(lease = name, "no longer leading: the lease was not renewed");
                let Times { duration, retry, .. } = self.candidate.times;
                self.left(renewed, duration.saturating_sub(retry))
            }
            Lost::Taken => {
                tracing::error!(lease = name, "no longer leading: somebody else holds the lease");
                Duration::ZERO
            }
        };
        if tokio::time::timeout(left, work).await.is_err() {
            tracing::error!(lease = name, "the work did not end before others may lead, and was dropped");
        }
        false
    }

    /// Gives when it asked for what it was given: by whatever others see, its term began no earlier. A term
    /// that was over before there was an answer is none.
    async fn until_elected(&mut self) -> Duration {
        loop {
            let asked = self.clock.elapsed();
            match self.try_hold().await {
                Ok(true) if self.left(asked, self.candidate.times.deadline).is_zero() => {}
                Ok(true) => return asked,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(error = %base::error::chain(&error), "cannot ask for the lease")
                }
            }
            tokio::time::sleep(self.candidate.times.retry).await;
        }
    }

    /// The Lease was asked for last, of the times that it was given, at `renewed`.
    async fn until_lost(&mut self, mut renewed: Duration) -> Lost {
        let Times { deadline, retry, .. } = self.candidate.times;
        loop {
            tokio::time::sleep(retry.min(self.left(renewed, deadline))).await;
            let asked = self.clock.elapsed();
            match tokio::time::timeout(self.left(renewed, deadline), self.try_hold()).await {
                Ok(Ok(true)) => renewed = asked,
                // There is nothing to wait for.
                Ok(Ok(false)) => return Lost::Taken,
                Ok(Err(error)) => {
                    tracing::warn!(error = %base::error::chain(&error), "the lease is not renewed yet");
                }
                Err(_) => return Lost::Late(renewed),
            }
        }
    }

    /// How much is left of a while that began at `since`.
    fn left(&self, since: Duration, lasts: Duration) -> Duration {
        (since + lasts).saturating_sub(self.clock.elapsed())
    }

    /// Takes the Lease or renews it; false if it is somebody else's.
    async fn try_hold(&mut self) -> Result<bool, Error> {
        let Some(mut lease) = self.api.find(&self.candidate.name).await? else {
            return match self.api.create(&self.fresh()).await {
                Ok(_) => Ok(true),
                Err(Error::AlreadyExists(_)) => Ok(false),
                Err(error) => Err(error),
            };
        };
        let now = self.clock.elapsed();
        let version = lease.resource_version().to_owned();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => now,
        };
        self.seen = Some((version, since));
        let spec = lease.spec.get_or_insert_default();
        if !may_hold(spec, &self.candidate, now.saturating_sub(since)) {
            return Ok(false);
        }
        hold(spec, &self.candidate, MicroTime(self.clock.now()));
        // A conflict says that somebody has changed it, not that somebody else has it.
        self.api.update(&lease).await.map(|_| true)
    }

    async fn release(&self) -> Result<(), Error> {
        loop {
            let Some(mut lease) = self.api.find(&self.candidate.name).await? else { return Ok(()) };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() != Some(&self.candidate.identity) {
                return Ok(());
            }
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(MicroTime(self.clock.now()));
            match self.api.update(&lease).await {
                // A renewal that was on its way when this was to end.
                Err(error) if error.is_conflict() => {}
                released => return released.map(drop),
            }
        }
    }

    fn fresh(&self) -> Lease {
        let mut spec = LeaseSpec::default();
        hold(&mut spec, &self.candidate, MicroTime(self.clock.now()));
        spec.lease_transitions = Some(0);
        let metadata = ObjectMeta {
            name: Some(self.candidate.name.clone()),
            namespace: Some(self.candidate.namespace.clone()),
            ..ObjectMeta::default()
        };
        Lease { metadata, spec: Some(spec) }
    }
}

/// Whether the candidate may take a Lease, or has it, that has not changed for `unchanged`.
fn may_hold(spec: &LeaseSpec, candidate: &Candidate, unchanged: Duration) -> bool {
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let lasts = seconds.map_or(candidate.times.duration, Duration::from_secs);
    holder.is_empty() || holder == candidate.identity || unchanged >= lasts
}

/// Makes the candidate its holder, anew or still.
fn hold(spec: &mut LeaseSpec, candidate: &Candidate, now: MicroTime) {
    if spec.holder_identity.as_ref() != Some(&candidate.identity) {
        spec.holder_identity = Some(candidate.identity.clone());
        spec.acquire_time = Some(now.clone());
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default() + 1);
    }
    spec.lease_duration_seconds = i32::try_from(candidate.times.duration.as_secs()).ok();
    spec.renew_time = Some(now);
}
