//! Who is served first, and who waits or is refused: API priority and fairness.
//!
//! Each request is of the first *schema* that is for it, and by that of a *level*, which has a share of all seats.
//! A request has seats as long as it is served; beyond its level's share it waits in one of the level's queues
//! (`queues`), of which the flows of a schema (users, or namespaces) have a few each (`deal`), or is refused.
//! Seats that a level has no use for others borrow (`allotment`). What levels and schemas there are, objects say,
//! which whoever knows them reads ([`FlowControl`]).
//!
//! Where that is switched off there are two levels: what reads, and what writes.
//!
//! Source: Kubernetes' documentation "API Priority and Fairness", and KEP-1040.

mod allotment;
mod deal;
mod demand;
mod estimate;
mod flow;
mod level;
mod queues;
mod refusals;
mod report;
mod schema;
mod upkeep;
mod watches;

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Response as Answer;
use model::Status;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::sync::Notify;

use crate::authorisation::Attributes;
use crate::error::Error;
use crate::identity::{ADMINISTRATORS, Identity};
use crate::objects::Objects;
use crate::request::{Query, ResourceTarget};

use allotment::Bounds;
use flow::{Counts, Flow};
use level::Level;
use queues::Work;
use schema::Index;

pub use flow::{BUCKETS, Durations};
pub use queues::{Queuing, Refusal, Response};
pub use report::{FlowReport, LevelReport};
pub use schema::{Distinguisher, PathRule, ResourceRule, Rule, Schema, Subject};

pub(crate) use estimate::Held;
pub(crate) use level::Place;
pub(crate) use watches::{Watches, Watching};

/// How much is served at once, and how long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that read.
    pub reading: u32,
    /// Requests that write. With [`Limits::fair`] both together are the seats that levels share; without, none of
    /// the one or the other is no limit.
    pub writing: u32,
    /// Whether levels and flows share them.
    pub fair: bool,
    /// How long a request may take; a quarter of it, it may wait.
    pub timeout: Duration,
}

/// A level, as an object describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelConfiguration {
    /// Its name.
    pub name: String,
    /// Its uid, empty while there is no such object.
    pub uid: String,
    /// Its share of all seats.
    pub shares: u32,
    /// How much of that others may borrow, in percent.
    pub lends: u32,
    /// How much it may borrow, in percent of its share; no limit but what there is, where nothing is said.
    pub borrows: Option<u32>,
    /// What it does with more requests than it has seats for.
    pub response: Response,
}

/// All levels, and all schemas in the order in which they are asked.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// The levels, each with a name of its own.
    pub levels: Vec<LevelConfiguration>,
    /// The schemas of these levels; those of others are left out. The last one is for all that is for none.
    pub schemas: Vec<Arc<Schema>>,
    /// What objects are to be told of that, a number at a time.
    pub amendments: Vec<Amendment>,
}

/// Something that is to be applied to an object, by a manager of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Amendment {
    /// The path of the request, with its parameters.
    pub path: String,
    /// What is applied.
    pub object: Value,
}

/// Reads what levels and schemas there are.
pub trait FlowControl: Send + Sync + 'static {
    /// As they are now.
    fn configuration(&self, now: base::Timestamp) -> Configuration;

    /// Waits until they are others than when [`FlowControl::configuration`] was called last.
    fn changed(&self) -> BoxFuture<'_, ()>;
}

/// Makes what reads them in a server that has these objects.
pub type FlowControls = Arc<dyn Fn(Arc<dyn Objects>) -> Arc<dyn FlowControl> + Send + Sync>;

/// Administrators are served, all others share one level.
#[derive(Clone, Copy, Debug)]
pub struct OneLevel;

/// What is counted and bounded, and by what.
pub(crate) struct Fairness {
    limits: Limits,
    plan: RwLock<Arc<Plan>>,
    source: Arc<dyn FlowControl>,
    keys: RandomState,
    pub(crate) watches: Arc<Watches>,
    clock: Arc<dyn Clock>,
    lingers: Arc<Notify>,
    /// Held where levels are changed.
    changing: Mutex<()>,
}

/// Schemas and levels as they were read last.
struct Plan {
    index: Index,
    flows: Vec<Arc<Flow>>,
    levels: BTreeMap<String, Arc<Level>>,
    /// All seats that the levels have together.
    seats: u64,
    /// Some levels are there only until they are empty.
    leaving: bool,
}

/// The longest that a request waits.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl Default for Limits {
    fn default() -> Self {
        Self { reading: 400, writing: 200, fair: true, timeout: Duration::from_secs(60) }
    }
}

impl FlowControl for OneLevel {
    fn configuration(&self, _: base::Timestamp) -> Configuration {
        let all = || vec!["*".to_owned()];
        let schema = |name: &str, group: &str| {
            let everything = Rule {
                subjects: vec![Subject::Group(group.to_owned())],
                resources: vec![ResourceRule {
                    verbs: all(),
                    groups: all(),
                    resources: all(),
                    namespaces: all(),
                    cluster: true,
                }],
                paths: vec![PathRule { verbs: all(), paths: all() }],
            };
            let (name, level) = (name.to_owned(), name.to_owned());
            Arc::new(Schema { name, level, rules: vec![everything], ..Schema::default() })
        };
        let level = |name: &str, shares, response| LevelConfiguration {
            name: name.to_owned(),
            uid: String::new(),
            shares,
            lends: 0,
            borrows: None,
            response,
        };
        Configuration {
            levels: vec![level("exempt", 0, Response::Serve), level("catch-all", 5, Response::Reject)],
            schemas: vec![schema("exempt", ADMINISTRATORS), schema("catch-all", "*")],
            amendments: Vec::new(),
        }
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }
}

impl Fairness {
    pub(crate) fn new(limits: Limits, source: Arc<dyn FlowControl>, clock: Arc<dyn Clock>) -> Self {
        let empty = Plan {
            index: Index::default(),
            flows: Vec::new(),
            levels: BTreeMap::new(),
            seats: 0,
            leaving: false,
        };
        let fairness = Self {
            limits,
            plan: RwLock::new(Arc::new(empty)),
            source,
            keys: RandomState::new(),
            watches: Arc::default(),
            clock,
            lingers: Arc::default(),
            changing: Mutex::new(()),
        };
        // Nothing can be told yet; it is read again when it is looked after.
        drop(fairness.read());
        fairness
    }

    /// How long a request may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.limits.timeout
    }

    /// Of which flow a request is; none where it has no limit.
    fn flow(&self, identity: &Identity, asked: &Attributes<'_>) -> Option<Arc<Flow>> {
        let plan = self.plan.read();
        let place = if self.limits.fair {
            let last = plan.flows.len().checked_sub(1)?;
            plan.index.first(identity, asked).unwrap_or(last)
        } else if identity.is_administrator() || verb(asked) == "watch" {
            return None;
        } else {
            usize::from(!reads(asked))
        };
        plan.flows.get(place).cloned()
    }

    /// What a request for a resource is reckoned to cost.
    fn reckon(
        &self,
        flow: &Flow,
        target: &ResourceTarget,
        query: &Query,
        named: bool,
        held: impl FnOnce() -> Held,
    ) -> Work {
        if !self.limits.fair {
            return Work::of(1);
        }
        let most = flow.level.most_seats();
        estimate::of_resource(target, query, named, most, held, || self.watches.of(target))
    }

    /// Waits until a request of a flow may be served. Refused with 429 where that takes too long, or too many wait
    /// already.
    async fn enter(
        &self,
        flow: &Arc<Flow>,
        identity: &Identity,
        asked: &Attributes<'_>,
        work: Work,
    ) -> Result<Arc<Place>, Error> {
        let by = match (flow.distinguisher, asked) {
            (Some(Distinguisher::User), _) => identity.user.as_str(),
            (Some(Distinguisher::Namespace), Attributes::Resource(asked)) => asked.namespace,
            _ => "",
        };
        let hash = self.keys.hash_one((&flow.name, by));
        let patience = (self.limits.timeout / 4).min(LONGEST_WAIT);
        match flow.level.enter(flow, &identity.user, (by, hash), work, patience).await {
            Ok(place) => Ok(place),
            Err(why) => {
                flow.counts.refused(why);
                Err(refused(flow.level.refuse()))
            }
        }
    }
}

/// What is told to those who are not served.
fn refused(seconds: u64) -> Error {
    let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
    Status::too_many_requests("Too many requests, please try again later.", seconds).into()
}

fn verb<'a>(asked: &Attributes<'a>) -> &'a str {
    match asked {
        Attributes::Resource(asked) => asked.verb,
        Attributes::Path { verb, .. } => verb,
    }
}

fn reads(asked: &Attributes<'_>) -> bool {
    matches!(verb(asked), "get" | "list" | "watch" | "head" | "options" | "proxy")
}

/// A request on its way: of which flow it is, and its place.
pub(crate) struct Admitted {
    flow: Option<Arc<Flow>>,
    pub(crate) place: Option<Arc<Place>>,
}

impl Admitted {
    /// A request that has no limit.
    pub(crate) fn free() -> Self {
        Self { flow: None, place: None }
    }

    /// Of what flow it is, and no place.
    fn of(flow: &Arc<Flow>) -> Self {
        Self { flow: Some(flow.clone()), place: None }
    }

    /// Tells in the answer by what it was let in.
    pub(crate) fn mark<B>(&self, answer: &mut Answer<B>) {
        if let Some(flow) = &self.flow {
            flow.mark(answer);
        }
    }
}

impl Fairness {
    /// Lets a request for a path in.
    pub(crate) async fn admit_path(
        &self,
        identity: &Identity,
        asked: Attributes<'_>,
    ) -> (Admitted, Result<(), Error>) {
        let Some(flow) = self.flow(identity, &asked) else { return (Admitted::free(), Ok(())) };
        self.admit(flow, identity, asked, Work::of(1)).await
    }

    /// Lets a request for a resource in; `held` says what there is of it.
    pub(crate) async fn admit_resource(
        &self,
        identity: &Identity,
        asked: Attributes<'_>,
        target: &ResourceTarget,
        query: &Query,
        held: impl FnOnce() -> Held,
    ) -> (Admitted, Result<(), Error>) {
        let Some(flow) = self.flow(identity, &asked) else { return (Admitted::free(), Ok(())) };
        let named = matches!(asked, Attributes::Resource(asked) if !asked.name.is_empty());
        let work = self.reckon(&flow, target, query, named, held);
        self.admit(flow, identity, asked, work).await
    }

    async fn admit(
        &self,
        flow: Arc<Flow>,
        identity: &Identity,
        asked: Attributes<'_>,
        work: Work,
    ) -> (Admitted, Result<(), Error>) {
        let mut admitted = Admitted::of(&flow);
        match self.enter(&flow, identity, &asked, work).await {
            Ok(place) => {
                admitted.place = Some(place);
                (admitted, Ok(()))
            }
            Err(error) => (admitted, Err(error)),
        }
    }
}

#[cfg(test)]
mod tests;
