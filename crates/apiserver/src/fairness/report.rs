//! How levels and flows fare: as numbers, and as Kubernetes' debugging paths tell it.

use std::sync::atomic::Ordering;

use super::flow::{Durations, Flow};
use super::level::Level;
use super::queues::{Refusal, Response, seconds};
use super::{Fairness, Queuing};

/// How a level fares.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelReport {
    /// Its name.
    pub name: String,
    /// The seats that it has by its share.
    pub nominal: u32,
    /// Those of them that others may not borrow.
    pub least: u32,
    /// Those that it has with all that it may borrow.
    pub most: u32,
    /// Those that it has now.
    pub now: u32,
    /// How many requests may wait.
    pub room: u64,
    /// Requests that wait.
    pub waiting: usize,
    /// The seats that they want.
    pub seats_waiting: u64,
    /// Requests that are served.
    pub executing: usize,
    /// The seats that they have, lingering ones included.
    pub seats_in_use: u64,
    /// What the meter of its queues shows, in seat-seconds.
    pub progress: f64,
    /// The seats that it had use for, of the last period the most.
    pub demand_most: f64,
    /// Of the last period the average.
    pub demand_average: f64,
    /// Of the last period the standard deviation.
    pub demand_deviation: f64,
    /// The same as it is reckoned with.
    pub demand_smoothed: f64,
    /// What it was to get when seats were divided last, within its bounds.
    pub target: f64,
}

/// How the requests of a schema fare.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowReport {
    /// The schema.
    pub schema: String,
    /// Its level.
    pub level: String,
    /// Requests that were let in since the start.
    pub dispatched: u64,
    /// And those that were not.
    pub refused: Vec<(Refusal, u64)>,
    /// Requests that wait.
    pub waiting: u64,
    /// Requests that are served.
    pub executing: u64,
    /// How long those waited that were let in.
    pub waited: Durations,
    /// And those that were not.
    pub waited_in_vain: Durations,
    /// How long they took.
    pub took: Durations,
    /// The seats of all that were let in.
    pub seats: u64,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::QueueFull, Self::ConcurrencyLimit, Self::TimeOut, Self::Cancelled];

    /// Its name in Kubernetes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::ConcurrencyLimit => "concurrency-limit",
            Self::TimeOut => "time-out",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Fairness {
    /// How all fare.
    pub(crate) fn report(&self) -> (Vec<LevelReport>, Vec<FlowReport>) {
        let plan = self.plan.read().clone();
        let levels = plan.levels.values().map(|level| level.report());
        (levels.collect(), plan.flows.iter().map(|flow| flow.report()).collect())
    }

    /// One of Kubernetes' debugging tables, by its name.
    pub(crate) fn table(&self, name: &str, details: bool) -> Option<String> {
        let plan = self.plan.read().clone();
        let levels = plan.levels.values();
        let row = |level: &std::sync::Arc<Level>| {
            let mut counts = [0; 4];
            for flow in plan.flows.iter().filter(|flow| flow.level.name == level.name) {
                flow.count(&mut counts);
            }
            let mut row = level.row();
            row.extend(counts.map(|count| count.to_string()));
            row
        };
        Some(match name {
            "dump_priority_levels" => table(&LEVELS, levels.map(row)),
            "dump_queues" => table(&QUEUES, levels.flat_map(|level| level.queue_rows())),
            "dump_requests" => {
                let head: Vec<&str> = REQUESTS.into_iter().chain(details.then_some("UserName")).collect();
                table(&head, levels.flat_map(|level| level.request_rows(details)))
            }
            _ => return None,
        })
    }
}

const LEVELS: [&str; 10] = [
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
];
const QUEUES: [&str; 9] = [
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
    "InitialSeatsSum",
    "MaxSeatsSum",
    "TotalWorkSum",
];
const REQUESTS: [&str; 9] = [
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "FlowDistingsher",
    "ArriveTime",
    "InitialSeats",
    "FinalSeats",
    "AdditionalLatency",
];

/// Columns of equal width in each row, with commas between them.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(|title| (*title).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let last = column + 1 == row.len();
            let pad = widths[column] - cell.len();
            text.push_str(cell);
            if !last {
                text.push(',');
                text.push_str(&" ".repeat(pad + 1));
            }
        }
        text.push('\n');
    }
    text
}

impl Level {
    fn report(&self) -> LevelReport {
        let share = self.share.lock().clone();
        self.look(|set| LevelReport {
            name: self.name.clone(),
            nominal: share.bounds.nominal,
            least: share.bounds.least,
            most: share.bounds.most,
            now: set.limit(),
            room: match set.response() {
                Response::Queue(Queuing { queues, length, .. }) => u64::from(queues) * u64::from(length),
                Response::Serve | Response::Reject => 0,
            },
            waiting: set.waiting(),
            seats_waiting: set.seats_waiting(),
            executing: set.executing(),
            seats_in_use: set.seats_in_use(),
            progress: set.progress(),
            demand_most: share.demand.last.most,
            demand_average: share.demand.last.average,
            demand_deviation: share.demand.last.deviation,
            demand_smoothed: share.demand.value,
            target: share.target,
        })
    }

    fn row(&self) -> Vec<String> {
        self.look(|set| {
            vec![
                self.name.clone(),
                set.active().to_string(),
                set.is_idle().to_string(),
                self.leaves().to_string(),
                set.waiting().to_string(),
                set.executing().to_string(),
            ]
        })
    }

    fn queue_rows(&self) -> Vec<Vec<String>> {
        self.look(|set| {
            let row = |queue: super::queues::QueueState| {
                vec![
                    self.name.clone(),
                    queue.index.to_string(),
                    queue.waiting.to_string(),
                    queue.executing.to_string(),
                    queue.seats.to_string(),
                    format!("{:.8}ss", seconds(queue.next)),
                    queue.initial_seats.to_string(),
                    queue.most_seats.to_string(),
                    format!("{:.8}ss", seconds(queue.work)),
                ]
            };
            set.queues().map(row).collect()
        })
    }

    fn request_rows(&self, details: bool) -> Vec<Vec<String>> {
        self.look(|set| {
            let row = |(queue, place, work, waiter): (u32, usize, &super::Work, &super::level::Waiter)| {
                let mut row = vec![
                    self.name.clone(),
                    waiter.flow.name.clone(),
                    queue.to_string(),
                    place.to_string(),
                    waiter.distinguisher.clone(),
                    waiter.at.to_string(),
                    work.seats.to_string(),
                    work.last_seats.to_string(),
                    format!("{:?}", work.lingers),
                ];
                row.extend(details.then(|| waiter.user.clone()));
                row
            };
            set.waiters().map(row).collect()
        })
    }
}

impl Flow {
    /// Adds what was let in, refused, let wait in vain and left by its sender.
    fn count(&self, all: &mut [u64; 4]) {
        let refused = Refusal::ALL.map(|why| self.counts.refused[why as usize].load(Ordering::Relaxed));
        all[0] += self.counts.dispatched.load(Ordering::Relaxed);
        all[1] += refused.iter().sum::<u64>();
        all[2] += refused[Refusal::TimeOut as usize];
        all[3] += refused[Refusal::Cancelled as usize];
    }

    fn report(&self) -> FlowReport {
        let counts = &self.counts;
        let positive = |count: i64| u64::try_from(count).unwrap_or_default();
        FlowReport {
            schema: self.name.clone(),
            level: self.level.name.clone(),
            dispatched: counts.dispatched.load(Ordering::Relaxed),
            refused: Refusal::ALL
                .map(|why| (why, counts.refused[why as usize].load(Ordering::Relaxed)))
                .to_vec(),
            waiting: positive(counts.waiting.load(Ordering::Relaxed)),
            executing: positive(counts.executing.load(Ordering::Relaxed)),
            waited: counts.waited[0].counted(),
            waited_in_vain: counts.waited[1].counted(),
            took: counts.took.counted(),
            seats: counts.seats.load(Ordering::Relaxed),
        }
    }
}
