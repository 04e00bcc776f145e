//! The queues of one level, and who is served next: a state machine that is told the time.
//!
//! ```text
//!            begin                      dispatch              finish
//! arrives ──────────► waits in a queue ──────────► executes ──────────► lingers ──► gone
//!    │                   │ withdraw                    ▲
//!    │ no queue has room └──► gone                     │ a seat is free and nobody waits
//!    └──► refused            arrives ──────────────────┘
//! ```
//!
//! Source: Kubernetes' KEP-1040, "Fair Queuing for Server Requests". All queues that are not empty get the same
//! share of the seats. How far that has come is told by a meter, in seat-seconds for each of them ([`QueueSet`]'s
//! `progress`, there called R): in the virtual world each queue serves its requests one after another by that
//! meter, and in the real one the queue goes first whose oldest request would be done first. A request is
//! reckoned with [`SERVICE`] beforehand, and by what it took afterwards.
//!
//! Only queues that hold something are kept, so that their number costs nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use super::deal::deal;
use super::demand::Demand;

/// How long a request is reckoned to take before it is known.
pub(super) const SERVICE: Duration = Duration::from_millis(3);
/// So many wait in one level, however many queues it has: each holds a connection's stream.
const MOST_WAITING: usize = 16_384;

/// Seats that are held for a time, in nanoseconds.
type SeatTime = i128;

/// What a level does with requests beyond its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// It has no limit.
    Serve,
    /// They are refused.
    Reject,
    /// They wait.
    Queue(Queuing),
}

/// Where requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queuing {
    /// How many queues there are.
    pub queues: u32,
    /// Of how many of them a flow chooses.
    pub hand: u32,
    /// How many requests wait in each.
    pub length: u32,
}

/// What a request is reckoned to cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// The seats that it has while it is served.
    pub(crate) seats: u32,
    /// The seats that it has afterwards, and how long: for what others are told of it.
    pub(crate) last_seats: u32,
    pub(crate) lingers: Duration,
}

/// The right to execute: given back by [`QueueSet::finish`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) struct Seats {
    queue: Option<u32>,
    work: Work,
    began: Duration,
}

/// A request that waits: taken back by [`QueueSet::withdraw`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    queue: u32,
    number: u64,
}

/// What becomes of a request that has arrived.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Begun {
    Executes(Seats),
    Waits(Ticket),
    Refused(Refusal),
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Its queue is full.
    QueueFull,
    /// The level has no queues, and no seat is free.
    ConcurrencyLimit,
    /// It has waited for too long.
    TimeOut,
    /// Whoever sent it has gone.
    Cancelled,
}

/// A request that waited and executes now.
#[derive(Debug)]
pub(super) struct Dispatched<T> {
    pub(super) told: T,
    pub(super) seats: Seats,
}

/// The queues of one level. `T` is what waits: whom to tell.
#[derive(Debug)]
pub(super) struct QueueSet<T> {
    response: Response,
    /// So many seats there are now.
    limit: u32,
    queues: BTreeMap<u32, Queue<T>>,
    /// How many of them wait or execute.
    active: usize,
    /// The seats that those in queues have or want, lingering ones included.
    queued_seats: u64,
    /// The seat-time that each active queue has been given since the start.
    progress: SeatTime,
    /// When that was.
    at: Duration,
    /// The queue that was served last.
    robin: u32,
    enqueued: usize,
    next_number: u64,
    waiting: usize,
    seats_waiting: u64,
    executing: usize,
    seats_in_use: u64,
    lingering: BinaryHeap<Reverse<Lingering>>,
    demand: Demand,
}

#[derive(Debug)]
struct Queue<T> {
    /// When, by the meter, its oldest request begins.
    next: SeatTime,
    waiting: VecDeque<Waiter<T>>,
    waiting_work: SeatTime,
    executing: usize,
    seats: u64,
}

#[derive(Debug)]
struct Waiter<T> {
    number: u64,
    work: Work,
    /// What the meter showed when it came.
    arrived: SeatTime,
    told: T,
}

/// Seats that are held after their request has ended.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lingering {
    until: Duration,
    queue: Option<u32>,
    seats: u32,
}

/// How one queue fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueState {
    pub(super) index: u32,
    pub(super) waiting: usize,
    pub(super) executing: usize,
    pub(super) seats: u64,
    pub(super) next: SeatTime,
    /// Of those that wait: their seats at the beginning, the most that each has, and all that they are to cost.
    pub(super) initial_seats: u64,
    pub(super) most_seats: u64,
    pub(super) work: SeatTime,
}

impl Work {
    /// So many seats while it is served.
    pub(crate) fn of(seats: u32) -> Self {
        Self { seats, last_seats: 0, lingers: Duration::ZERO }
    }

    /// The most seats that it has at any time.
    pub(crate) fn most_seats(&self) -> u32 {
        self.seats.max(self.last_seats)
    }

    fn total(&self) -> SeatTime {
        seat_time(self.seats, SERVICE) + seat_time(self.last_seats, self.lingers)
    }
}

impl Seats {
    /// How many there are at most.
    pub(super) fn most(&self) -> u32 {
        self.work.most_seats()
    }
}

fn seat_time(seats: u32, time: Duration) -> SeatTime {
    SeatTime::from(seats) * nanoseconds(time)
}

fn nanoseconds(time: Duration) -> SeatTime {
    SeatTime::try_from(time.as_nanos()).unwrap_or(SeatTime::MAX)
}

impl<T> Queue<T> {
    fn is_active(&self) -> bool {
        !self.waiting.is_empty() || self.executing > 0
    }

    /// Nothing begins before it has come: a queue that did not use its share has no claim to it later.
    fn bound(&mut self) {
        if let Some(oldest) = self.waiting.front() {
            self.next = self.next.max(oldest.arrived);
        }
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { next: 0, waiting: VecDeque::new(), waiting_work: 0, executing: 0, seats: 0 }
    }
}

impl<T> QueueSet<T> {
    pub(super) fn new(response: Response, limit: u32, now: Duration) -> Self {
        Self {
            response,
            limit,
            queues: BTreeMap::new(),
            active: 0,
            queued_seats: 0,
            progress: 0,
            at: now,
            robin: 0,
            enqueued: 0,
            next_number: 0,
            waiting: 0,
            seats_waiting: 0,
            executing: 0,
            seats_in_use: 0,
            lingering: BinaryHeap::new(),
            demand: Demand::new(now),
        }
    }

    /// Another limit, or another way of keeping to it. Those that wait where there are no queues any more are
    /// served as before.
    pub(super) fn configure(&mut self, now: Duration, response: Response, limit: u32) -> Vec<Dispatched<T>> {
        self.pass(now);
        (self.response, self.limit) = (response, limit);
        self.dispatch()
    }

    /// A request arrives. `hash` says of which flow it is; `told` is asked for if it has to wait.
    pub(super) fn begin(
        &mut self,
        now: Duration,
        work: Work,
        hash: u64,
        told: impl FnOnce() -> T,
    ) -> (Begun, Vec<Dispatched<T>>) {
        self.pass(now);
        // Those who came before have what has lingered until now.
        let mut dispatched = if self.waiting > 0 { self.dispatch() } else { Vec::new() };
        let begun = match self.response {
            Response::Serve => Begun::Executes(self.execute(None, work)),
            Response::Reject if self.has_room(work.most_seats()) => Begun::Executes(self.execute(None, work)),
            Response::Reject => Begun::Refused(Refusal::ConcurrencyLimit),
            Response::Queue(queuing) => {
                let index = self.choose(hash, queuing);
                let length = self.queues.get(&index).map_or(0, |queue| queue.waiting.len());
                // Whether seats are free makes no difference: whoever is first may wait for more than there are, and
                // where he does not, nobody waits.
                if length >= queuing.length as usize || self.waiting >= MOST_WAITING {
                    Begun::Refused(Refusal::QueueFull)
                } else if self.waiting == 0
                    && self.seats_in_use < u64::from(self.limit)
                    && self.has_room(work.most_seats())
                {
                    self.robin = index;
                    Begun::Executes(self.execute(Some(index), work))
                } else {
                    let ticket = self.enqueue(index, work, told());
                    dispatched.extend(self.dispatch());
                    return (Begun::Waits(ticket), dispatched);
                }
            }
        };
        self.note_demand();
        (begun, dispatched)
    }

    /// A request has ended.
    pub(super) fn finish(&mut self, now: Duration, seats: Seats) -> Vec<Dispatched<T>> {
        self.pass(now);
        let Seats { queue, work, began } = seats;
        self.executing -= 1;
        if let Some(queue) = queue.and_then(|index| self.queues.get_mut(&index)) {
            let took = nanoseconds(self.at.saturating_sub(began));
            queue.executing -= 1;
            queue.next += SeatTime::from(work.seats) * (took - nanoseconds(SERVICE));
            queue.bound();
            self.active -= usize::from(!queue.is_active());
        }
        if work.lingers.is_zero() {
            self.release(queue, work.most_seats());
        } else {
            let until = self.at + work.lingers;
            self.lingering.push(Reverse(Lingering { until, queue, seats: work.most_seats() }));
        }
        self.dispatch()
    }

    /// Somebody does not wait any more. False where the request executes already.
    pub(super) fn withdraw(&mut self, now: Duration, ticket: Ticket) -> (bool, Vec<Dispatched<T>>) {
        self.pass(now);
        let Some(queue) = self.queues.get_mut(&ticket.queue) else { return (false, Vec::new()) };
        let Some(at) = queue.waiting.iter().position(|waiter| waiter.number == ticket.number) else {
            return (false, Vec::new());
        };
        let Some(waiter) = queue.waiting.remove(at) else { return (false, Vec::new()) };
        queue.waiting_work -= waiter.work.total();
        queue.bound();
        self.active -= usize::from(!queue.is_active());
        let seats = u64::from(waiter.work.most_seats());
        self.waiting -= 1;
        self.seats_waiting -= seats;
        self.queued_seats -= seats;
        self.forget_if_empty(ticket.queue);
        // Who stood behind one that needs many seats may need few.
        (true, self.dispatch())
    }

    /// Time has passed: seats that lingered may be free.
    pub(super) fn tick(&mut self, now: Duration) -> Vec<Dispatched<T>> {
        self.pass(now);
        self.dispatch()
    }

    /// When [`QueueSet::tick`] may change something for those who wait.
    pub(super) fn next_tick(&self) -> Option<Duration> {
        let next = self.lingering.peek().map(|Reverse(lingering)| lingering.until);
        next.filter(|_| self.waiting > 0)
    }

    /// The seats in use and asked for since this was asked last, and begins to count anew.
    pub(super) fn take_demand(&mut self, now: Duration) -> super::demand::Observed {
        self.pass(now);
        self.note_demand();
        self.demand.take(self.at)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting == 0 && self.executing == 0 && self.lingering.is_empty()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn executing(&self) -> usize {
        self.executing
    }

    pub(super) fn seats_in_use(&self) -> u64 {
        self.seats_in_use
    }

    pub(super) fn seats_waiting(&self) -> u64 {
        self.seats_waiting
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn response(&self) -> Response {
        self.response
    }

    /// How many queues wait or execute.
    pub(super) fn active(&self) -> usize {
        self.active
    }

    /// What the meter shows, in seat-seconds.
    pub(super) fn progress(&self) -> f64 {
        seconds(self.progress)
    }

    /// The queues that are not empty.
    pub(super) fn queues(&self) -> impl Iterator<Item = QueueState> {
        self.queues.iter().map(|(index, queue)| QueueState {
            index: *index,
            waiting: queue.waiting.len(),
            executing: queue.executing,
            seats: queue.seats,
            next: queue.next,
            initial_seats: queue.waiting.iter().map(|waiter| u64::from(waiter.work.seats)).sum(),
            most_seats: queue.waiting.iter().map(|waiter| u64::from(waiter.work.most_seats())).sum(),
            work: queue.waiting_work,
        })
    }

    /// Those that wait, with their queues and places in them.
    pub(super) fn waiters(&self) -> impl Iterator<Item = (u32, usize, &Work, &T)> {
        self.queues.iter().flat_map(|(index, queue)| {
            let waiting = queue.waiting.iter().enumerate();
            waiting.map(|(place, waiter)| (*index, place, &waiter.work, &waiter.told))
        })
    }

    /// Brings the meter to `now`, and lets go what has lingered long enough.
    fn pass(&mut self, now: Duration) {
        while let Some(Reverse(first)) = self.lingering.peek()
            && first.until <= now
        {
            let (until, queue, seats) = (first.until, first.queue, first.seats);
            self.lingering.pop();
            self.advance(until);
            self.release(queue, seats);
            self.note_demand();
        }
        self.advance(now);
    }

    fn advance(&mut self, now: Duration) {
        let passed = nanoseconds(now.saturating_sub(self.at));
        if self.active > 0 {
            let seats = self.queued_seats.min(u64::from(self.limit));
            let active = SeatTime::try_from(self.active).unwrap_or(SeatTime::MAX);
            self.progress += passed * SeatTime::from(seats) / active;
        }
        self.at = self.at.max(now);
    }

    /// The queue of the flow's hand that holds least, by turns where several do.
    fn choose(&mut self, hash: u64, queuing: Queuing) -> u32 {
        let hand = deal(hash, queuing.queues, queuing.hand);
        let hand = hand.cards();
        let offset = self.enqueued % hand.len();
        self.enqueued = self.enqueued.wrapping_add(1);
        let (before, after) = hand.split_at(offset);
        let work = |index: &&u32| self.queues.get(index).map_or(0, |queue| queue.waiting_work);
        after.iter().chain(before).min_by_key(work).copied().unwrap_or_default()
    }

    fn enqueue(&mut self, index: u32, work: Work, told: T) -> Ticket {
        let queue = self.queues.entry(index).or_default();
        if !queue.is_active() {
            queue.next = self.progress;
            self.active += 1;
        }
        let number = self.next_number;
        self.next_number += 1;
        queue.waiting.push_back(Waiter { number, work, arrived: self.progress, told });
        queue.waiting_work += work.total();
        queue.bound();
        let seats = u64::from(work.most_seats());
        self.waiting += 1;
        self.seats_waiting += seats;
        self.queued_seats += seats;
        Ticket { queue: index, number }
    }

    /// A request that did not wait executes.
    fn execute(&mut self, queue: Option<u32>, work: Work) -> Seats {
        let (total, work) = (work.total(), self.narrowed(work));
        let seats = u64::from(work.most_seats());
        self.executing += 1;
        self.seats_in_use += seats;
        if let Some(index) = queue {
            let queue = self.queues.entry(index).or_default();
            if queue.is_active() {
                queue.next = queue.next.max(self.progress);
            } else {
                queue.next = self.progress;
                self.active += 1;
            }
            queue.next += total;
            queue.executing += 1;
            queue.seats += seats;
            self.queued_seats += seats;
        }
        Seats { queue, work, began: self.at }
    }

    /// Serves those that wait, as long as there are seats for the next.
    fn dispatch(&mut self) -> Vec<Dispatched<T>> {
        let mut dispatched = Vec::new();
        while self.waiting > 0
            && self.seats_in_use < u64::from(self.limit)
            && let Some(one) = self.dispatch_one()
        {
            dispatched.push(one);
        }
        self.note_demand();
        dispatched
    }

    fn dispatch_one(&mut self) -> Option<Dispatched<T>> {
        let index = self.first_to_finish()?;
        let seats = self.queues.get(&index)?.waiting.front()?.work.most_seats();
        if !self.has_room(seats) {
            return None;
        }
        let limit = self.limit;
        let queue = self.queues.get_mut(&index)?;
        let waiter = queue.waiting.pop_front()?;
        let (total, work) = (waiter.work.total(), narrowed(waiter.work, limit));
        let (wanted, seats) = (u64::from(waiter.work.most_seats()), u64::from(work.most_seats()));
        queue.waiting_work -= total;
        queue.next += total;
        queue.executing += 1;
        queue.seats += seats;
        queue.bound();
        self.waiting -= 1;
        self.seats_waiting -= wanted;
        self.queued_seats = self.queued_seats - wanted + seats;
        self.executing += 1;
        self.seats_in_use += seats;
        // The others come first where several would be done at the same time.
        self.robin = index;
        Some(Dispatched { told: waiter.told, seats: Seats { queue: Some(index), work, began: self.at } })
    }

    /// The queue whose oldest request would be done first by the meter, beginning after the one that was
    /// served last.
    fn first_to_finish(&self) -> Option<u32> {
        let after = self.queues.range((Bound::Excluded(self.robin), Bound::Unbounded));
        let all = after.chain(self.queues.range(..=self.robin));
        let finish = |(index, queue): (&u32, &Queue<T>)| {
            queue.waiting.front().map(|oldest| (queue.next + oldest.work.total(), *index))
        };
        all.filter_map(finish).min_by_key(|(finish, _)| *finish).map(|(_, index)| index)
    }

    /// Whether there are so many seats at this moment.
    pub(super) fn has_room(&self, seats: u32) -> bool {
        if seats > self.limit {
            // It is served alone: otherwise never.
            return self.executing == 0;
        }
        self.seats_in_use + u64::from(seats) <= u64::from(self.limit)
    }

    fn narrowed(&self, work: Work) -> Work {
        narrowed(work, self.limit)
    }

    fn release(&mut self, queue: Option<u32>, seats: u32) {
        let seats = u64::from(seats);
        self.seats_in_use -= seats;
        let Some(index) = queue else { return };
        if let Some(queue) = self.queues.get_mut(&index) {
            queue.seats -= seats;
            self.queued_seats -= seats;
            self.forget_if_empty(index);
        }
    }

    fn forget_if_empty(&mut self, index: u32) {
        let is_empty = self.queues.get(&index).is_some_and(|queue| !queue.is_active() && queue.seats == 0);
        if is_empty {
            self.queues.remove(&index);
        }
    }

    fn note_demand(&mut self) {
        self.demand.set(self.at, self.seats_in_use + self.seats_waiting);
    }
}

/// Work whose last seats are more than there are takes so many, for longer.
fn narrowed(work: Work, limit: u32) -> Work {
    if work.last_seats <= limit || limit == 0 {
        return work;
    }
    Work { last_seats: limit, lingers: work.lingers * work.last_seats / limit, ..work }
}

/// Seat-time in seat-seconds.
pub(super) fn seconds(time: SeatTime) -> f64 {
    time as f64 / 1e9
}

#[cfg(test)]
mod simulator;
#[cfg(test)]
mod tests;
