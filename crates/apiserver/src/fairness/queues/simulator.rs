//! A level with made-up clients, in made-up time: what a flood by one of them does to the others.

use std::collections::BTreeMap;

use super::*;

/// A client that sends a request every so often, of which each takes so long.
#[derive(Clone, Copy)]
struct Client {
    every: Duration,
    takes: Duration,
    seats: u32,
    /// How many at a time.
    together: usize,
}

/// What came of a client's requests.
#[derive(Clone, Debug, Default)]
struct Outcome {
    served: usize,
    refused: usize,
    longest: Duration,
    /// The most requests of others that were let in while one of its own waited.
    passed: usize,
}

#[derive(Clone, Copy)]
struct Request {
    client: usize,
    came: Duration,
    /// How many of others had been let in by then.
    others: usize,
}

/// Lets them all run for `time`.
fn simulate(response: Response, limit: u32, clients: &[Client], time: Duration) -> Vec<Outcome> {
    let mut set: QueueSet<Request> = QueueSet::new(response, limit, Duration::ZERO);
    let mut outcomes = vec![Outcome::default(); clients.len()];
    let mut let_in = vec![0_usize; clients.len()];
    let mut executing: BTreeMap<(Duration, usize), Seats> = BTreeMap::new();
    let mut arrivals: Vec<Duration> = vec![Duration::ZERO; clients.len()];
    let mut number = 0;
    let mut now = Duration::ZERO;
    while now < time {
        let mut dispatched = Vec::new();
        let ends = executing.first_key_value().map(|(key, _)| *key);
        let (client, comes) =
            arrivals.iter().copied().enumerate().min_by_key(|(_, at)| *at).expect("a client");
        if let Some((at, which)) = ends.filter(|(at, _)| *at <= comes) {
            now = at;
            let seats = executing.remove(&(at, which)).expect("it executes");
            dispatched = set.finish(now, seats);
        } else {
            now = comes;
            let kind = clients[client];
            arrivals[client] += kind.every;
            for _ in 0..kind.together {
                let others = let_in.iter().sum::<usize>() - let_in[client];
                let request = Request { client, came: now, others };
                let hash = (client as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 3;
                let (begun, more) = set.begin(now, Work::of(kind.seats), hash, || request);
                dispatched.extend(more);
                match begun {
                    Begun::Executes(seats) => dispatched.push(Dispatched { told: request, seats }),
                    Begun::Waits(_) => {}
                    Begun::Refused(_) => outcomes[client].refused += 1,
                }
            }
        }
        for Dispatched { told, seats } in dispatched {
            let outcome = &mut outcomes[told.client];
            outcome.served += 1;
            outcome.longest = outcome.longest.max(now - told.came);
            let others = let_in.iter().sum::<usize>() - let_in[told.client];
            outcome.passed = outcome.passed.max(others - told.others);
            let_in[told.client] += 1;
            number += 1;
            executing.insert((now + clients[told.client].takes, number), seats);
        }
    }
    outcomes
}

const fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// A person at a terminal.
const PERSON: Client = Client { every: milliseconds(50), takes: milliseconds(4), seats: 1, together: 1 };
/// Far more than can be served: lists that take long and several seats each.
const FLOOD: Client = Client { every: milliseconds(10), takes: milliseconds(40), seats: 2, together: 100 };
const FAIR: Response = Response::Queue(Queuing { queues: 128, hand: 6, length: 50 });

#[test]
fn a_flood_by_one_leaves_the_waiting_of_others_as_it_was() {
    let persons = vec![PERSON; 20];
    let alone = simulate(FAIR, 10, &persons, milliseconds(20_000));
    let mut with_flood = persons.clone();
    with_flood.push(FLOOD);
    let outcomes = simulate(FAIR, 10, &with_flood, milliseconds(20_000));
    let (flood, others) = outcomes.split_last().expect("clients");
    assert!(flood.refused > 10_000 && flood.served > 1_000, "{flood:?}");
    for (outcome, before) in others.iter().zip(&alone) {
        assert_eq!(outcome.refused, 0);
        // As many as before, but for those on their way at the end.
        assert!(before.served.abs_diff(outcome.served) <= 2, "{before:?} {outcome:?}");
        // Only what executes already is waited for, and nobody of the flood goes before but in its turn: the flood
        // has no more than its six queues beside the twenty of the others.
        assert!(outcome.longest <= 2 * FLOOD.takes, "{outcome:?}");
        assert!(outcome.passed <= 26, "{outcome:?}");
    }
}

#[test]
fn without_queues_of_their_own_others_wait_behind_the_flood() {
    // The same as above where all stand in one line: what is claimed there is not true of just anything.
    let one_line = Response::Queue(Queuing { queues: 1, hand: 1, length: 300 });
    let mut clients = vec![PERSON; 20];
    clients.push(FLOOD);
    let outcomes = simulate(one_line, 10, &clients, milliseconds(20_000));
    let (_, others) = outcomes.split_last().expect("clients");
    assert!(others.iter().all(|outcome| outcome.refused > 0 || outcome.longest > 10 * FLOOD.takes));
}

#[test]
fn those_who_want_more_than_there_is_get_alike() {
    let greedy = Client { every: milliseconds(10), takes: milliseconds(10), seats: 1, together: 20 };
    let wide = Client { seats: 3, ..greedy };
    // Each has one queue, so that their shares are those of queues.
    let response = Response::Queue(Queuing { queues: 1 << 20, hand: 1, length: 50 });
    let outcomes = simulate(response, 12, &[greedy, greedy, wide, wide], milliseconds(10_000));
    let seats: Vec<f64> = outcomes
        .iter()
        .zip([1.0, 1.0, 3.0, 3.0])
        .map(|(outcome, seats)| outcome.served as f64 * seats)
        .collect();
    let even = seats.iter().sum::<f64>() / 4.0;
    assert!(seats.iter().all(|one| (one / even - 1.0).abs() < 0.05), "{seats:?}");
}
