//! Elections against a server that is slow, and a clock that goes as the runtime's does.

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

/// A server that has a Lease and answers to writes so late, and to further ones never.
#[derive(Clone)]
struct Slow(Arc<Mutex<(Option<Bytes>, std::vec::IntoIter<Duration>)>>);

const LATE: Duration = Duration::from_secs(7);

impl Slow {
    fn client(late: &[Duration]) -> Client {
        Client::new(Self(Arc::new(Mutex::new((None, Vec::from(late).into_iter())))))
    }
}

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
            let late = {
                let mut state = self.0.lock();
                state.0 = Some(lease.clone());
                state.1.next()
            };
            let Some(late) = late else { return std::future::pending().await };
            // It is written when it came; only its answer takes long.
            tokio::time::sleep(late).await;
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
    let client = Slow::client(&[LATE]);
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

/// Tells when it is dropped.
struct Dropped(Arc<Mutex<Option<Duration>>>, Arc<Paused>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.lock().get_or_insert(self.1.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_does_not_end_with_its_term_is_dropped_before_others_may_begin() {
    let clock = Arc::new(Paused(Instant::now()));
    let (stop, dropped) = (CancellationToken::new(), Arc::new(Mutex::new(None)));
    let (noted, steady) = (dropped.clone(), clock.clone());
    let client = Slow::client(&[LATE]);
    let leading = lead(&client, candidate("me"), clock, stop, move |_term| {
        let noted = Dropped(noted.clone(), steady.clone());
        async move {
            let _noted = noted;
            std::future::pending().await
        }
    });
    let _ = tokio::time::timeout(Duration::from_secs(60), leading).await;
    let dropped = dropped.lock().expect("it has led");
    let Times { duration, deadline, .. } = Times::default();
    // The lease was written when it was asked for, at the beginning: from then on it lasts for others.
    assert!(dropped > deadline && dropped < duration, "{dropped:?}");
}

#[tokio::test(start_paused = true)]
async fn work_goes_on_no_longer_once_somebody_else_leads() {
    let clock = Arc::new(Paused(Instant::now()));
    let (stop, dropped) = (CancellationToken::new(), Arc::new(Mutex::new(None)));
    let (noted, steady) = (dropped.clone(), clock.clone());
    let server = Slow(Arc::new(Mutex::new((None, vec![Duration::ZERO; 2].into_iter()))));
    let (client, begun) = (Client::new(server.clone()), Duration::from_secs(3));
    let leading = lead(&client, candidate("me"), clock, stop, move |_term| {
        let noted = Dropped(noted.clone(), steady.clone());
        async move {
            let _noted = noted;
            std::future::pending().await
        }
    });
    let taken = async {
        tokio::time::sleep(begun).await;
        let mut lease: Lease =
            serde_json::from_slice(server.0.lock().0.as_ref().expect("a lease")).expect("it is one");
        lease.metadata.resource_version = Some("another".to_owned());
        lease.spec.get_or_insert_default().holder_identity = Some("other".to_owned());
        server.0.lock().0 = Some(serde_json::to_vec(&lease).expect("it has a text").into());
    };
    let both = async { tokio::join!(leading, taken) };
    let _ = tokio::time::timeout(Duration::from_secs(10), both).await;
    let dropped = dropped.lock().expect("it has led");
    let retry = Times::default().retry;
    assert!(dropped >= begun && dropped <= begun + retry, "{dropped:?}");
}

#[tokio::test(start_paused = true)]
async fn a_term_that_is_over_before_there_is_an_answer_is_asked_for_again() {
    let clock = Arc::new(Paused(Instant::now()));
    let (stop, begun) = (CancellationToken::new(), Arc::new(Mutex::new(Vec::new())));
    let (noted, steady, until) = (begun.clone(), clock.clone(), stop.clone());
    let late = Times::default().deadline;
    // The third is to let go of the lease.
    let client = Slow::client(&[late, Duration::ZERO, Duration::ZERO]);
    let leading = lead(&client, candidate("me"), clock, stop, move |term| {
        noted.lock().push((steady.elapsed(), term.is_cancelled()));
        until.cancel();
        async move { term.cancelled().await }
    });
    tokio::time::timeout(Duration::from_secs(60), leading).await.expect("it ends");
    let begun = begun.lock().clone();
    let [(begun, false)] = begun[..] else { panic!("one term: {begun:?}") };
    let again = late + Times::default().retry;
    assert!(begun >= again && begun < again + Duration::from_millis(10), "{begun:?}");
}
