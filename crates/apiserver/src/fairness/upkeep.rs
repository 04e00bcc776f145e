//! What levels there are and how many seats each has, as time goes by.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use http::HeaderValue;
use tokio::time::Instant;

use super::allotment::{Claim, divide};
use super::level::Share;
use super::{
    Amendment, Bounds, Configuration, Counts, Fairness, Flow, Index, Level, LevelConfiguration, Plan,
    Queuing, Response,
};

/// How often seats are divided anew.
const DIVIDED: Duration = Duration::from_secs(10);
/// Changes that come within this time are read together.
const TOGETHER: Duration = Duration::from_millis(50);
/// How long what is told to objects waits for more of it, and how much is told at once.
const TELLING: Duration = Duration::from_secs(1);
const AT_ONCE: usize = 8;
/// One request has no more than this part of a level's seats.
const ONE_REQUEST: f64 = 0.15;

impl Fairness {
    /// Follows the objects and the demand until it is dropped. `amend` tells an object something, and logs what
    /// fails.
    pub(crate) async fn look_after(&self, amend: impl Fn(Amendment) -> BoxFuture<'static, ()>) {
        tokio::join!(self.follow(amend), self.divide_now_and_then(), self.linger());
    }

    async fn follow(&self, amend: impl Fn(Amendment) -> BoxFuture<'static, ()>) {
        let mut telling = Instant::now();
        loop {
            let amendments = self.read();
            let more = !amendments.is_empty();
            if more && Instant::now() >= telling {
                let all = futures::stream::iter(amendments).map(&amend);
                all.buffer_unordered(AT_ONCE).collect::<()>().await;
                telling = Instant::now() + TELLING;
            }
            tokio::select! {
                () = self.source.changed() => tokio::time::sleep(TOGETHER).await,
                () = tokio::time::sleep_until(telling), if more => {}
            }
        }
    }

    async fn divide_now_and_then(&self) {
        loop {
            tokio::time::sleep(DIVIDED).await;
            let leaving = self.plan.read().leaving;
            if leaving {
                // Some may be empty by now.
                drop(self.read());
            } else {
                self.divide_anew();
            }
        }
    }

    /// Lets those in whose seats lingered, whenever some are free; never returns.
    async fn linger(&self) {
        loop {
            let plan = self.plan.read().clone();
            let next = plan.levels.values().filter_map(|level| level.tick()).min();
            match next {
                Some(next) => drop(tokio::time::timeout(next, self.lingers.notified()).await),
                None => self.lingers.notified().await,
            }
        }
    }

    /// Takes the configuration as it is now; what objects are to be told of it.
    pub(super) fn read(&self) -> Vec<Amendment> {
        let changing = self.changing.lock();
        let mut configuration =
            if self.limits.fair { self.source.configuration(self.clock.now()) } else { self.two_levels() };
        let before = self.plan.read().clone();
        let levels = self.levels(&before, &configuration.levels);
        let seats = levels.values().map(|level| u64::from(level.share.lock().bounds.nominal)).sum();
        let leaving = levels.len() > configuration.levels.len();
        configuration.schemas.retain(|schema| levels.contains_key(&schema.level));
        let flows = flows(&before, &configuration, &levels, self.limits.fair);
        let index = Index::new(configuration.schemas.iter().map(AsRef::as_ref));
        *self.plan.write() = Arc::new(Plan { index, flows, levels, seats, leaving });
        drop(changing);
        self.divide_anew();
        configuration.amendments
    }

    /// What there is where all are treated alike.
    fn two_levels(&self) -> Configuration {
        let of = |name: &str, limit: u32| {
            let schema =
                super::Schema { name: name.to_owned(), level: name.to_owned(), ..super::Schema::default() };
            let response = if limit == 0 { Response::Serve } else { Response::Reject };
            let level = LevelConfiguration {
                name: name.to_owned(),
                uid: String::new(),
                shares: limit,
                lends: 0,
                borrows: Some(0),
                response,
            };
            (Arc::new(schema), level)
        };
        let (schemas, levels) =
            [of("readOnly", self.limits.reading), of("mutating", self.limits.writing)].into_iter().unzip();
        Configuration { levels, schemas, amendments: Vec::new() }
    }

    /// The levels of a configuration, and those that others left and that are not empty yet.
    fn levels(&self, before: &Plan, wanted: &[LevelConfiguration]) -> BTreeMap<String, Arc<Level>> {
        let left = before
            .levels
            .iter()
            .filter(|(name, level)| !level.is_idle() && !wanted.iter().any(|wanted| wanted.name == **name));
        let mut levels: BTreeMap<String, Arc<Level>> =
            left.map(|(name, level)| (name.clone(), level.clone())).collect();
        levels.values().for_each(|level| level.set_leaves(true));
        // What is left keeps its seats until it is empty.
        let total =
            if self.limits.fair { self.limits.reading.saturating_add(self.limits.writing) } else { 0 };
        let all: u64 = wanted.iter().map(|level| u64::from(level.shares)).sum();
        for level in wanted {
            let bounds = if self.limits.fair {
                Bounds::of(total, level.shares, all, level.lends, level.borrows)
            } else {
                Bounds { nominal: level.shares, least: level.shares, most: level.shares }
            };
            let (response, first) = (level.response, bounds.first());
            let known = before.levels.get(&level.name).cloned();
            let known = match known {
                Some(known) => {
                    known.set_leaves(false);
                    let limit = known.look(|set| set.limit());
                    known.configure(response, limit);
                    known
                }
                None => {
                    let (clock, lingers) = (self.clock.clone(), self.lingers.clone());
                    Arc::new(Level::new(level.name.clone(), response, first, clock, lingers))
                }
            };
            known.set_most_seats(most_seats(bounds.nominal, response));
            known.share.lock().bounds = bounds;
            levels.insert(level.name.clone(), known);
        }
        levels
    }

    /// Divides the seats by what the levels had use for.
    fn divide_anew(&self) {
        if !self.limits.fair {
            return;
        }
        let changing = self.changing.lock();
        let plan = self.plan.read().clone();
        let levels: Vec<&Arc<Level>> = plan.levels.values().collect();
        let claims: Vec<Claim> = levels.iter().map(|level| claim(level)).collect();
        // Where no division is right each keeps what it has.
        let Some(divided) = divide(plan.seats, &claims) else { return };
        for (level, seats) in levels.into_iter().zip(divided) {
            level.limit(seats.round() as u32);
        }
        drop(changing);
    }
}

fn claim(level: &Level) -> Claim {
    let mut share = level.share.lock();
    level.learn_demand(&mut share);
    let Share { bounds, demand, target } = &mut *share;
    let [nominal, least, most] = [bounds.nominal, bounds.least, bounds.most].map(f64::from);
    // What it had use for and is its own, it has.
    let least = least.max(nominal.min(demand.last.most));
    *target = least.max(demand.value);
    Claim { target: *target, least, most }
}

/// The most seats of one request.
fn most_seats(nominal: u32, response: Response) -> Option<u32> {
    let Response::Queue(Queuing { hand, .. }) = response else { return None };
    let part = (f64::from(nominal) * ONE_REQUEST).ceil() as u32;
    Some(part.min(nominal / hand.max(1)).max(1))
}

/// The schemas of a configuration whose levels are there, each with what was counted of it before. `told` says
/// whether answers tell of them.
fn flows(
    before: &Plan,
    configuration: &Configuration,
    levels: &BTreeMap<String, Arc<Level>>,
    told: bool,
) -> Vec<Arc<Flow>> {
    let known: std::collections::HashMap<&str, &Arc<Flow>> =
        before.flows.iter().map(|flow| (flow.name.as_str(), flow)).collect();
    let uids: BTreeMap<&str, &str> =
        configuration.levels.iter().map(|level| (level.name.as_str(), level.uid.as_str())).collect();
    let flow = |schema: &Arc<super::Schema>| {
        let level = levels.get(&schema.level)?.clone();
        let counts = known.get(schema.name.as_str()).filter(|flow| flow.level.name == level.name);
        let counts = counts.map(|flow| flow.counts.clone()).unwrap_or_else(|| Arc::new(Counts::default()));
        let uid = uids.get(schema.level.as_str()).copied().unwrap_or_default();
        let marks = [schema.uid.as_str(), uid].map(HeaderValue::from_str);
        let marks = match marks {
            [Ok(schema), Ok(level)] if told => Some([schema, level]),
            _ => None,
        };
        let (name, distinguisher) = (schema.name.clone(), schema.distinguisher);
        Some(Arc::new(Flow { name, level, distinguisher, marks, counts }))
    };
    configuration.schemas.iter().filter_map(flow).collect()
}
