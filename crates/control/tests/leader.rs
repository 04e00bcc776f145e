//! Controllers of several servers: one runs them.
#![forbid(unsafe_code)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::Clock;
use base::clock::ManualClock;
use client::leader::{Candidate, Times, lead};
use client::{Api, Resource as _};
use k8s_openapi::api::coordination::v1::Lease;
use parking_lot::Mutex;
use support::Cluster;
use testkit::wait_until_async;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Who works at the moment.
type Working = Arc<Mutex<Vec<&'static str>>>;

/// Takes a name off the list, however the work ends.
struct At(Working, &'static str);

impl Drop for At {
    fn drop(&mut self) {
        self.0.lock().retain(|name| *name != self.1);
    }
}

/// A clock that is moved by hand, and counts how often it is looked at.
struct Watched {
    clock: ManualClock,
    looks: AtomicUsize,
}

impl Clock for Watched {
    fn now(&self) -> base::Timestamp {
        self.clock.now()
    }

    fn elapsed(&self) -> Duration {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.clock.elapsed()
    }
}

impl Watched {
    /// Waits until whoever stands in line has asked for the lease and decided, from now on: it looks at the
    /// clock when it asks, and when it has read the lease.
    async fn asked_again(&self) {
        let before = self.looks.load(Ordering::SeqCst);
        wait_until_async("it to ask for the lease", || {
            let looks = self.looks.load(Ordering::SeqCst) - before;
            // The first may be half over, and the last not decided yet.
            async move { if looks >= 6 { Ok(()) } else { Err(looks) } }
        })
        .await;
    }
}

struct Standing {
    clock: Arc<Watched>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn stand(cluster: &Cluster, working: &Working, name: &'static str) -> Standing {
    let clock = ManualClock::new(base::Timestamp::UNIX_EPOCH);
    let clock = Arc::new(Watched { clock, looks: AtomicUsize::new(0) });
    let stop = CancellationToken::new();
    let times = Times { retry: Duration::from_millis(20), ..Times::default() };
    let (namespace, lease) = ("kube-system".to_owned(), "test".to_owned());
    let candidate = Candidate { namespace, name: lease, identity: name.to_owned(), times };
    let (client, working) = (cluster.steady.clone(), working.clone());
    let (time, until) = (clock.clone(), stop.clone());
    let task = tokio::spawn(async move {
        let begin = |term: CancellationToken| {
            let working = working.clone();
            async move {
                working.lock().push(name);
                let _at = At(working, name);
                term.cancelled().await;
            }
        };
        lead(&client, candidate, time, until, begin).await;
    });
    Standing { clock, stop, task }
}

async fn until(working: &Working, expected: &[&'static str]) {
    wait_until_async("the right one to work", || {
        let now = working.lock().clone();
        async move { if now == expected { Ok(()) } else { Err(now) } }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_at_a_time_leads_and_another_takes_over_when_it_ends_or_dies_or_is_deposed() {
    let cluster = Cluster::start().await;
    let working = Working::default();
    let leases = Api::<Lease>::namespaced(&cluster.steady, "kube-system");
    let holder = async || {
        let spec = leases.get("test").await.expect("get").spec.unwrap_or_default();
        (spec.holder_identity.unwrap_or_default(), spec.lease_transitions.unwrap_or_default())
    };
    let one = stand(&cluster, &working, "one");
    until(&working, &["one"]).await;
    let two = stand(&cluster, &working, "two");
    // It renews, and the other waits.
    let version = leases.get("test").await.expect("get").resource_version().to_owned();
    wait_until_async("renewals", || async {
        one.clock.clock.advance(Duration::from_millis(1));
        let lease = leases.get("test").await.expect("get");
        if lease.resource_version() == version { Err(version.clone()) } else { Ok(()) }
    })
    .await;
    let held = holder().await;
    assert_eq!((working.lock().clone(), held), (vec!["one"], ("one".to_owned(), 0)));
    // Who stops lets go of it.
    one.stop.cancel();
    one.task.await.expect("no panic");
    until(&working, &["two"]).await;
    assert_eq!(holder().await, ("two".to_owned(), 1));
    // Who dies is waited for, as long as the lease lasts.
    two.task.abort();
    until(&working, &[]).await;
    let three = stand(&cluster, &working, "three");
    // From when it has seen it first.
    three.clock.asked_again().await;
    three.clock.clock.advance(Duration::from_secs(15) - Duration::from_millis(1));
    three.clock.asked_again().await;
    assert_eq!((holder().await.0, working.lock().clone()), ("two".to_owned(), vec![]));
    wait_until_async("the lease to run out", || async {
        // Time that passes once it leads would be time without a renewal.
        if holder().await.0 == "two" {
            three.clock.clock.advance(Duration::from_secs(1));
        }
        let now = working.lock().clone();
        if now == ["three"] { Ok(()) } else { Err(now) }
    })
    .await;
    // Who finds somebody else in its place ends its work.
    let mut lease = leases.get("test").await.expect("get");
    lease.metadata.resource_version = None;
    lease.spec.get_or_insert_default().holder_identity = Some("usurper".to_owned());
    leases.update(&lease).await.expect("update");
    until(&working, &[]).await;
    three.stop.cancel();
    three.task.await.expect("no panic");
    assert_eq!(holder().await.0, "usurper", "what it does not hold it does not let go of");
}
