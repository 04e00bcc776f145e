//! The parts of a running server, shared by all requests.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Random};
use parking_lot::Mutex;
use store::{LeaseId, Store};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::account::Noting;
use crate::admission::Admission;
use crate::aggregation::Aggregation;
use crate::allocation::Networks;
use crate::audit::Audit;
use crate::authentication::fixed::FixedTokens;
use crate::authentication::front_proxy::FrontProxy;
use crate::authentication::structured::Structured;
use crate::authentication::webhook::TokenWebhook;
use crate::authorisation::Authorizer;
use crate::cache::Cache;
use crate::callout::Callouts;
use crate::config::ServiceCidr;
use crate::consistency::Consistency;
use crate::definitions::Defined;
use crate::error::{Error, Result};
use crate::fairness::Fairness;
use crate::meters::Meters;
use crate::meters::admitting::Admitting;
use crate::node::NodeTransport;
use crate::openapi::Documents;
use crate::outside::Outside;
use crate::passing::Passing;
use crate::paths::{Discovery, Hooks, Readiness};
use crate::payload::Bodies;
use crate::pki::{Authority, TokenKeys};
use crate::resource::Table;
use crate::turns::Turns;
use crate::workers::Workers;

/// The parts of a running server.
pub(crate) struct State {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) table: Arc<Table>,
    /// What objects define.
    pub(crate) defined: Defined,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) admission: Vec<Arc<dyn Admission>>,
    pub(crate) admitting: Admitting,
    pub(crate) authority: Arc<Authority>,
    pub(crate) token_keys: Arc<TokenKeys>,
    pub(crate) fixed_tokens: FixedTokens,
    /// The commit that the program was built from; may be empty.
    pub(crate) commit: String,
    pub(crate) structured: Arc<Structured>,
    pub(crate) token_webhook: Option<Arc<TokenWebhook>>,
    pub(crate) front_proxy: Option<Arc<FrontProxy>>,
    /// Who else serves something, and what.
    pub(crate) aggregation: Aggregation,
    /// Who issues service-account tokens: the first those of today.
    pub(crate) issuers: Vec<String>,
    /// Whom they are for unless asked otherwise.
    pub(crate) audiences: Vec<String>,
    pub(crate) tokens: crate::config::ServiceAccountTokens,
    pub(crate) service_cidr: ServiceCidr,
    /// Of which services get addresses: the one above, and others that there are objects of.
    pub(crate) networks: Networks,
    pub(crate) node_ports: RangeInclusive<u16>,
    pub(crate) nodes: Arc<dyn NodeTransport>,
    pub(crate) outside: Arc<dyn Outside>,
    /// Whom the system trusts, PEM, once somebody wanted to know.
    pub(crate) of_system: std::sync::OnceLock<Vec<u8>>,
    /// Where names outside of the cluster lead.
    pub(crate) names: crate::names::Names,
    /// Those who are asked over TLS.
    pub(crate) callouts: Callouts,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) fairness: Fairness,
    pub(crate) bodies: Bodies,
    pub(crate) workers: Workers,
    pub(crate) consistency: Consistency,
    pub(crate) readiness: Readiness,
    pub(crate) hooks: Hooks,
    pub(crate) audit: Option<Arc<Audit>>,
    /// For answers that are noted.
    pub(crate) notes: Noting,
    pub(crate) meters: Arc<Meters>,
    pub(crate) metrics: metrics::Registry,
    /// For watches that are behind what memory holds.
    pub(crate) past: crate::verbs::Room,
    /// What has changed in memory only.
    pub(crate) passing: Passing,
    /// Cancelled when the server is to stop: it is not ready any more.
    pub(crate) stopping: CancellationToken,
    /// Cancelled when the server begins to stop: watches and streams end.
    pub(crate) stop: CancellationToken,
    /// Cancelled when it has stopped: memory no longer follows the store.
    pub(crate) closed: CancellationToken,
    /// Everything that runs beside the requests, streams mostly; waited for at the end.
    pub(crate) tasks: TaskTracker,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) documents: Documents,
    pub(crate) discovery: Discovery,
    /// Secrets on which it is being noted that their token is used.
    pub(crate) noting: Mutex<HashSet<String>>,
    /// Of writes that change something along with their object.
    pub(crate) turns: Turns,
}

/// The store's leases for objects that go by themselves, by how long they stay. Some objects share one.
#[derive(Default)]
pub(crate) struct Lifetimes {
    current: Mutex<HashMap<Duration, Lifetime>>,
}

struct Lifetime {
    lease: LeaseId,
    /// When it was granted, since the start.
    granted: Duration,
    /// So many objects may still have it.
    left: usize,
}

/// Objects made within this time share a lease, and so go at the same moment; so many at most, since they
/// may go in one transaction, which every watcher has to take as one.
const LEASE_SHARE: Duration = Duration::from_secs(60);
const LEASE_OBJECTS: usize = 100;

impl State {
    /// Whom the system trusts, PEM: read once, which takes a while.
    pub(crate) fn of_system(&self) -> &[u8] {
        self.of_system.get_or_init(|| offload::in_place(|| self.outside.authorities()))
    }

    /// A new random uid (RFC 9562, version 4).
    pub(crate) fn new_uid(&self) -> String {
        let mut b = [0u8; 16];
        self.random.fill(&mut b);
        b[6] = b[6] & 0x0f | 0x40;
        b[8] = b[8] & 0x3f | 0x80;
        let hex = hex::encode(b);
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// A lease for one object, which ends after about `lifetime`.
    pub(crate) async fn lease(&self, lifetime: Duration) -> Result<LeaseId> {
        let now = self.clock.elapsed();
        if let Some(current) = self.lifetimes.current.lock().get_mut(&lifetime)
            && now.saturating_sub(current.granted) < LEASE_SHARE
            && current.left > 0
        {
            current.left -= 1;
            return Ok(current.lease);
        }
        let lease = self.store.lease_grant(lifetime + LEASE_SHARE).await.map_err(|e| Error::store(&e))?;
        let current = Lifetime { lease, granted: now, left: LEASE_OBJECTS - 1 };
        self.lifetimes.current.lock().insert(lifetime, current);
        Ok(lease)
    }
}

/// The name of an object in its partition.
pub(crate) fn object_name(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}
