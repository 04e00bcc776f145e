//! One level while the server runs: its queues, and those who wait in them.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::{Clock, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::allotment::Bounds;
use super::demand::Smoothed;
use super::flow::Flow;
use super::queues::{Begun, Dispatched, QueueSet, Refusal, Response, Seats, Ticket, Work};
use super::refusals::Refusals;

/// A level.
pub(super) struct Level {
    pub(super) name: String,
    set: Mutex<QueueSet<Waiter>>,
    /// The most seats of one request; none where nothing says so.
    most_seats: AtomicU32,
    refusals: Mutex<Refusals>,
    /// What it is to have, and has use for. Looked at where seats are divided.
    pub(super) share: Mutex<Share>,
    clock: Arc<dyn Clock>,
    /// Told where seats that linger may let somebody in.
    lingers: Arc<Notify>,
    /// It is there until it is empty.
    leaves: AtomicBool,
    /// The places of answers that clients take, or do not.
    offers: Mutex<Vec<Weak<Place>>>,
}

/// A level's part of all seats.
#[derive(Clone, Debug, Default)]
pub(super) struct Share {
    pub(super) bounds: Bounds,
    pub(super) demand: Smoothed,
    pub(super) target: f64,
}

/// Whoever waits.
pub(super) struct Waiter {
    pub(super) flow: Arc<Flow>,
    /// Who it is, and by what his requests are told from others of the schema.
    pub(super) user: String,
    pub(super) distinguisher: String,
    pub(super) at: Timestamp,
    arrived: Duration,
    sender: oneshot::Sender<Arc<Place>>,
}

/// The right to be served, until it is released or dropped.
#[must_use]
pub(crate) struct Place {
    flow: Arc<Flow>,
    /// None any more once it is released.
    seats: Mutex<Option<Seats>>,
    began: Duration,
    /// Since when, in milliseconds, the client has something of the answer to take, or of the request to send;
    /// nothing while it is worked on.
    offered: AtomicU64,
}

/// Who takes nothing of his answer for so long, or sends for so long, gives his seats to those who wait.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often that is looked at while somebody waits.
const LOOKING: Duration = Duration::from_millis(500);

/// Waits in a queue, until it is dropped.
struct Waiting {
    flow: Arc<Flow>,
    arrived: Duration,
    ticket: Option<Ticket>,
    place: oneshot::Receiver<Arc<Place>>,
}

impl Level {
    pub(super) fn new(
        name: String,
        response: Response,
        limit: u32,
        clock: Arc<dyn Clock>,
        lingers: Arc<Notify>,
    ) -> Self {
        let set = Mutex::new(QueueSet::new(response, limit, clock.elapsed()));
        Self {
            name,
            set,
            most_seats: AtomicU32::new(0),
            refusals: Mutex::default(),
            share: Mutex::default(),
            clock,
            lingers,
            leaves: AtomicBool::new(false),
            offers: Mutex::default(),
        }
    }

    /// Whether it is there only until it is empty.
    pub(super) fn leaves(&self) -> bool {
        self.leaves.load(Ordering::Relaxed)
    }

    pub(super) fn set_leaves(&self, leaves: bool) {
        self.leaves.store(leaves, Ordering::Relaxed);
    }

    /// Waits until a request of `flow` may be served, as long as `patience`. `by` is what flows of one schema are told
    /// apart by, and `hash` a hash of both. Whoever does not wait to the end has no place.
    pub(super) async fn enter(
        self: &Arc<Self>,
        flow: &Arc<Flow>,
        user: &str,
        (by, hash): (&str, u64),
        work: Work,
        patience: Duration,
    ) -> Result<Arc<Place>, Refusal> {
        let now = self.clock.elapsed();
        // Where nobody waits, nobody looks for seats that are made no use of.
        if self.look(|set| set.response() == Response::Reject && !set.has_room(work.most_seats())) {
            self.reclaim(now);
        }
        let mut waits = None;
        let (begun, dispatched) = {
            let mut set = self.set.lock();
            set.begin(now, work, hash, || {
                let (sender, place) = oneshot::channel();
                waits = Some(place);
                flow.counts.queued();
                Waiter {
                    flow: flow.clone(),
                    user: user.to_owned(),
                    distinguisher: by.to_owned(),
                    at: self.clock.now(),
                    arrived: now,
                    sender,
                }
            })
        };
        self.serve(dispatched, now);
        let (ticket, place) = match (begun, waits) {
            (Begun::Executes(seats), _) => {
                flow.counts.dispatched(None, seats.most());
                return Ok(Place::new(flow.clone(), seats, now));
            }
            (Begun::Waits(ticket), Some(place)) => (ticket, place),
            (Begun::Refused(why), _) => return Err(why),
            // There is somebody to tell wherever somebody waits.
            (Begun::Waits(_), None) => return Err(Refusal::QueueFull),
        };
        // Seats that linger, or that nobody makes use of, are looked for while somebody waits.
        self.lingers.notify_one();
        let mut waiting = Waiting { flow: flow.clone(), arrived: now, ticket: Some(ticket), place };
        let served = match tokio::time::timeout(patience, &mut waiting.place).await {
            Ok(place) => place,
            Err(_) if waiting.withdraw() => return Err(Refusal::TimeOut),
            // It was let in at this very moment.
            Err(_) => (&mut waiting.place).await,
        };
        waiting.ticket = None;
        served.map_err(|_| Refusal::TimeOut)
    }

    /// Another limit, or another way of keeping to it.
    pub(super) fn configure(self: &Arc<Self>, response: Response, limit: u32) {
        let now = self.clock.elapsed();
        let dispatched = self.set.lock().configure(now, response, limit);
        self.serve(dispatched, now);
    }

    /// Another limit.
    pub(super) fn limit(self: &Arc<Self>, limit: u32) {
        let response = self.response();
        self.configure(response, limit);
    }

    pub(super) fn response(&self) -> Response {
        self.set.lock().response()
    }

    /// Lets those in for whom there are seats by now that lingered, or of whose answers nothing is taken; when to
    /// come again.
    pub(super) fn tick(self: &Arc<Self>) -> Option<Duration> {
        let now = self.clock.elapsed();
        if self.look(|set| set.waiting() > 0) {
            self.reclaim(now);
        }
        let (dispatched, next) = {
            let mut set = self.set.lock();
            let dispatched = set.tick(now);
            let looking = (set.waiting() > 0).then_some(now + LOOKING);
            (dispatched, set.next_tick().into_iter().chain(looking).min())
        };
        self.serve(dispatched, now);
        next.map(|next| next.saturating_sub(now))
    }

    /// Takes the seats of those who take nothing of their answers.
    fn reclaim(&self, now: Duration) {
        let offers: Vec<Arc<Place>> = {
            let mut offers = self.offers.lock();
            offers.retain(|place| place.strong_count() > 0);
            offers.iter().filter_map(Weak::upgrade).collect()
        };
        offers.iter().filter(|place| place.is_left(now)).for_each(|place| place.release());
    }

    /// Looks at the demand since the last time.
    pub(super) fn learn_demand(&self, share: &mut Share) {
        let observed = self.set.lock().take_demand(self.clock.elapsed());
        share.demand.learn(observed);
    }

    /// One more was refused: how many seconds it is to stay away.
    pub(super) fn refuse(&self) -> u64 {
        self.refusals.lock().add(self.clock.elapsed().as_secs())
    }

    /// The most seats of one request, where something says so.
    pub(super) fn most_seats(&self) -> Option<u32> {
        Some(self.most_seats.load(Ordering::Relaxed)).filter(|most| *most > 0)
    }

    pub(super) fn set_most_seats(&self, most: Option<u32>) {
        self.most_seats.store(most.unwrap_or_default(), Ordering::Relaxed);
    }

    fn is_limited(&self) -> bool {
        self.look(|set| set.response() != Response::Serve)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.set.lock().is_idle()
    }

    /// Looks at the queues.
    pub(super) fn look<T>(&self, look: impl FnOnce(&QueueSet<Waiter>) -> T) -> T {
        look(&self.set.lock())
    }

    fn serve(&self, dispatched: Vec<Dispatched<Waiter>>, now: Duration) {
        for Dispatched { told, seats } in dispatched {
            let Waiter { flow, arrived, sender, .. } = told;
            flow.counts.dispatched(Some(now.saturating_sub(arrived)), seats.most());
            // Who has gone meanwhile gives it back.
            drop(sender.send(Place::new(flow, seats, now)));
        }
    }

    fn finish(&self, seats: Seats) {
        let now = self.clock.elapsed();
        let (dispatched, next_tick) = {
            let mut set = self.set.lock();
            (set.finish(now, seats), set.next_tick())
        };
        self.serve(dispatched, now);
        if next_tick.is_some() {
            self.lingers.notify_one();
        }
    }

    fn withdraw(&self, ticket: Ticket) -> bool {
        let now = self.clock.elapsed();
        let (waited, dispatched) = self.set.lock().withdraw(now, ticket);
        self.serve(dispatched, now);
        waited
    }
}

impl Waiting {
    /// False where it is let in already.
    fn withdraw(&mut self) -> bool {
        let level = &self.flow.level;
        let waited = self.ticket.take().is_some_and(|ticket| level.withdraw(ticket));
        if waited {
            self.flow.counts.gave_up(level.clock.elapsed().saturating_sub(self.arrived));
        }
        waited
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.withdraw() {
            self.flow.counts.refused(Refusal::Cancelled);
        }
    }
}

impl Place {
    fn new(flow: Arc<Flow>, seats: Seats, began: Duration) -> Arc<Self> {
        Arc::new(Self { flow, seats: Mutex::new(Some(seats)), began, offered: AtomicU64::new(0) })
    }

    /// It is the client's turn from now on: to take something of the answer, or to send the request.
    pub(crate) fn offer(self: &Arc<Self>) {
        let level = &self.flow.level;
        let now = u64::try_from(level.clock.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        if self.offered.swap(now, Ordering::Relaxed) == 0 && level.is_limited() {
            let mut offers = level.offers.lock();
            // Gone through when there are twice as many as were left the last time.
            if offers.len() == offers.capacity() {
                offers.retain(|place| place.strong_count() > 0);
                let room = offers.len() + 32;
                offers.reserve(room);
            }
            offers.push(Arc::downgrade(self));
        }
    }

    /// It is worked on: the client has taken all that there is, or sent it.
    pub(crate) fn work(&self) {
        self.offered.store(0, Ordering::Relaxed);
    }

    /// Gives the seats back.
    pub(crate) fn release(&self) {
        let Some(seats) = self.seats.lock().take() else { return };
        let level = &self.flow.level;
        self.flow.counts.finished(level.clock.elapsed().saturating_sub(self.began), seats.most());
        level.finish(seats);
    }

    /// Whether nothing of the answer has been taken for too long.
    fn is_left(&self, now: Duration) -> bool {
        match self.offered.load(Ordering::Relaxed) {
            0 => false,
            since => now.saturating_sub(Duration::from_millis(since)) >= PATIENCE,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.release();
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("flow", &self.flow.name).finish_non_exhaustive()
    }
}
