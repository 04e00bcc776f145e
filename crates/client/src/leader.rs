//! One at work of several that could be: whoever holds a Lease.
//!
//! The rules are those of Kubernetes' own components, so that ours and theirs could stand in line for
//! one Lease: its holder renews it every few seconds; who finds it unchanged for as long as it lasts, by
//! its own steady clock and from when it saw it first, takes it over. A holder that could not renew it for
//! a while less than that ends its work before anybody else begins. Source: Kubernetes, Lease,
//! `coordination.k8s.io/v1`, and the defaults of `kube-controller-manager --leader-elect`.

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
/// no longer, and it must end soon then.
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
        let term = stop.child_token();
        let mut work = pin!(begin(term.clone()));
        let ended = tokio::select! {
            () = &mut work => true,
            () = election.until_lost(asked) => false,
        };
        term.cancel();
        if !ended {
            tracing::error!(lease = election.candidate.name, "no longer leading: the lease was not renewed");
            work.await;
        }
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

/// The state of a candidate.
struct Election {
    api: Api<Lease>,
    candidate: Candidate,
    clock: Arc<dyn Clock>,
    /// The version of the Lease that was seen last, and when it was seen first, by the steady clock.
    seen: Option<(String, Duration)>,
}

impl Election {
    /// Gives when it asked for what it was given: by whatever others see, its term began no earlier.
    async fn until_elected(&mut self) -> Duration {
        loop {
            let asked = self.clock.elapsed();
            match self.try_hold().await {
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
    async fn until_lost(&mut self, mut renewed: Duration) {
        loop {
            let left = self.left(renewed);
            tokio::time::sleep(self.candidate.times.retry.min(left)).await;
            let asked = self.clock.elapsed();
            match tokio::time::timeout(self.left(renewed), self.try_hold()).await {
                Ok(Ok(true)) => renewed = asked,
                // Somebody else has it: there is nothing to wait for.
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    tracing::warn!(error = %base::error::chain(&error), "the lease is not renewed yet");
                }
                Err(_) => return,
            }
        }
    }

    /// How much longer its holder may go on that asked for it at `renewed`.
    fn left(&self, renewed: Duration) -> Duration {
        (renewed + self.candidate.times.deadline).saturating_sub(self.clock.elapsed())
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::future::BoxFuture;
    use http::{Method, Request, Response, StatusCode};
    use http_body_util::{BodyExt as _, Full};
    use parking_lot::Mutex;
    use tokio::time::Instant;

    use super::*;
    use crate::transport::{Body, Transport, TransportError, body};

    fn candidate(identity: &str) -> Candidate {
        Candidate {
            namespace: "kube-system".to_owned(),
            name: "a".to_owned(),
            identity: identity.to_owned(),
            times: Times::default(),
        }
    }

    #[test]
    fn a_lease_goes_to_whoever_holds_it_until_it_has_run_out() {
        let me = candidate("me");
        let spec = |holder: &str| LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        };
        let seconds = Duration::from_secs;
        assert!(may_hold(&spec("me"), &me, seconds(0)));
        assert!(may_hold(&spec("me"), &me, seconds(100)));
        assert!(!may_hold(&spec("other"), &me, seconds(14)));
        assert!(may_hold(&spec("other"), &me, seconds(15)));
        assert!(may_hold(&spec(""), &me, seconds(0)));
        assert!(may_hold(&LeaseSpec::default(), &me, seconds(0)));
    }

    #[test]
    fn a_change_of_the_holder_is_counted_a_renewal_is_not() {
        let at = |second| MicroTime(base::Timestamp::from_second(second).expect("a time"));
        let mut spec = LeaseSpec::default();
        hold(&mut spec, &candidate("a"), at(1));
        hold(&mut spec, &candidate("a"), at(2));
        assert_eq!(spec.lease_transitions, Some(1));
        assert_eq!((spec.acquire_time.clone(), spec.renew_time.clone()), (Some(at(1)), Some(at(2))));
        hold(&mut spec, &candidate("b"), at(3));
        assert_eq!((spec.lease_transitions, spec.acquire_time), (Some(2), Some(at(3))));
    }

    /// A steady clock that goes as the runtime's does.
    struct Paused(Instant);

    impl Clock for Paused {
        fn now(&self) -> base::Timestamp {
            base::Timestamp::UNIX_EPOCH
        }

        fn elapsed(&self) -> Duration {
            self.0.elapsed()
        }
    }

    /// A server that has a Lease and answers to a write late, and from the second on never.
    #[derive(Clone, Default)]
    struct Slow(Arc<Mutex<(Option<Bytes>, usize)>>);

    const LATE: Duration = Duration::from_secs(7);

    impl Transport for Slow {
        fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
            Box::pin(async move {
                let answer = |code, bytes: Bytes| {
                    let mut response = Response::new(body(
                        Full::new(bytes).map_err(|never| -> TransportError { match never {} }),
                    ));
                    *response.status_mut() = code;
                    Ok(response)
                };
                if request.method() == Method::GET {
                    return match self.0.lock().0.clone() {
                        Some(lease) => answer(StatusCode::OK, lease),
                        None => answer(StatusCode::NOT_FOUND, Bytes::new()),
                    };
                }
                let lease = request.into_body();
                let writes = {
                    let mut state = self.0.lock();
                    state.0 = Some(lease.clone());
                    state.1 += 1;
                    state.1
                };
                if writes > 1 {
                    return std::future::pending().await;
                }
                // It is written when it came; only its answer takes long.
                tokio::time::sleep(LATE).await;
                answer(StatusCode::CREATED, lease)
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_counts_from_when_it_was_asked_for() {
        let clock = Arc::new(Paused(Instant::now()));
        let (stop, ended) = (CancellationToken::new(), Arc::new(Mutex::new(None)));
        let (noted, steady) = (ended.clone(), clock.clone());
        let began = Instant::now();
        let client = Client::new(Slow::default());
        let leading = lead(&client, candidate("me"), clock, stop.clone(), move |term| {
            let (noted, steady, stop) = (noted.clone(), steady.clone(), stop.clone());
            async move {
                let begun = steady.elapsed();
                term.cancelled().await;
                *noted.lock() = Some((begun, steady.elapsed()));
                // The server never answers again.
                stop.cancel();
            }
        });
        // To let go of the lease it would wait for an answer.
        let _ = tokio::time::timeout(Duration::from_secs(60), leading).await;
        let (begun, lost) = ended.lock().expect("it has led");
        assert_eq!(begun, LATE);
        let deadline = Times::default().deadline;
        // Timers go by milliseconds.
        assert!(lost >= deadline && lost < deadline + Duration::from_millis(10), "{lost:?}");
        assert!(began.elapsed() > lost);
    }
}
