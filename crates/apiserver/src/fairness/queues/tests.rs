use super::*;

/// A level under test: requests have names, and what happens is told in words.
struct Level {
    set: QueueSet<&'static str>,
    now: Duration,
    executing: Vec<(&'static str, Seats)>,
    waiting: Vec<(&'static str, Ticket)>,
}

fn queues(queues: u32, length: u32) -> Response {
    Response::Queue(Queuing { queues, hand: 1, length })
}

impl Level {
    fn new(response: Response, limit: u32) -> Self {
        let now = Duration::ZERO;
        Self { set: QueueSet::new(response, limit, now), now, executing: Vec::new(), waiting: Vec::new() }
    }

    /// Does what each word says: `NAME@QUEUE` arrives, with `*SEATS`, or `+SEATS` afterwards for a tenth of a
    /// second; `/NAME` ends, `-NAME` goes away, `limit=N` changes the limit, `N` is a wait of milliseconds. Gives
    /// who executes and who does not, in order.
    fn run(&mut self, script: &'static str) -> String {
        let mut told = Vec::new();
        for word in script.split_whitespace() {
            let dispatched = if let Some(name) = word.strip_prefix('/') {
                let at = self.executing.iter().position(|(known, _)| *known == name).expect(name);
                let (_, seats) = self.executing.remove(at);
                self.set.finish(self.now, seats)
            } else if let Some(name) = word.strip_prefix('-') {
                let (_, ticket) = *self.waiting.iter().find(|(known, _)| *known == name).expect(name);
                let (waited, dispatched) = self.set.withdraw(self.now, ticket);
                told.push(format!("{name}:{}", if waited { "gone" } else { "served" }));
                dispatched
            } else if let Some(limit) = word.strip_prefix("limit=") {
                let response = self.set.response();
                self.set.configure(self.now, response, limit.parse().expect("a number"))
            } else if let Ok(wait) = word.parse() {
                self.now += Duration::from_millis(wait);
                self.set.tick(self.now)
            } else {
                let (name, at) = word.split_once('@').expect("a queue");
                let (at, work) = match (at.split_once('*'), at.split_once('+')) {
                    (Some((at, seats)), _) => (at, Work::of(seats.parse().expect("a number"))),
                    (_, Some((at, last))) => {
                        let (last_seats, lingers) =
                            (last.parse().expect("a number"), Duration::from_millis(100));
                        (at, Work { seats: 1, last_seats, lingers })
                    }
                    _ => (at, Work::of(1)),
                };
                let (begun, dispatched) =
                    self.set.begin(self.now, work, at.parse().expect("a number"), || name);
                match begun {
                    Begun::Executes(seats) => {
                        told.push(name.to_owned());
                        self.executing.push((name, seats));
                    }
                    Begun::Waits(ticket) => self.waiting.push((name, ticket)),
                    Begun::Refused(why) => told.push(format!("{name}:{why:?}")),
                }
                dispatched
            };
            for one in dispatched {
                told.push(one.told.to_owned());
                self.executing.push((one.told, one.seats));
            }
            self.check();
        }
        told.join(" ")
    }

    /// What the set reckons is what there is.
    fn check(&self) {
        let set = &self.set;
        let held: u64 = self.executing.iter().map(|(_, seats)| u64::from(seats.work.most_seats())).sum();
        let lingering: u64 = set.lingering.iter().map(|Reverse(one)| u64::from(one.seats)).sum();
        assert_eq!(set.seats_in_use, held + lingering);
        assert_eq!(set.executing, self.executing.len());
        assert_eq!(set.waiting, set.queues.values().map(|queue| queue.waiting.len()).sum::<usize>());
        assert_eq!(set.active, set.queues.values().filter(|queue| queue.is_active()).count());
        let wanted: u64 = set.waiters().map(|(_, _, work, _)| u64::from(work.most_seats())).sum();
        assert_eq!(set.seats_waiting, wanted);
        let in_queues: u64 = set.queues.values().map(|queue| queue.seats).sum();
        assert_eq!(set.queued_seats, in_queues + wanted);
        assert!(set.queues.values().all(|queue| queue.is_active() || queue.seats > 0), "none is kept empty");
    }
}

fn check(response: Response, limit: u32, steps: &[(&'static str, &str)]) {
    let mut level = Level::new(response, limit);
    for (script, expected) in steps {
        assert_eq!(level.run(script), *expected, "{script}");
    }
}

#[test]
fn without_a_limit_all_are_served() {
    check(Response::Serve, 0, &[("a@0 b@0*100 c@7", "a b c"), ("/a /b /c", "")]);
}

#[test]
fn without_queues_what_finds_no_seat_is_refused() {
    check(
        Response::Reject,
        2,
        &[
            ("a@0 b@0 c@0", "a b c:ConcurrencyLimit"),
            ("/a d@0 e@0", "d e:ConcurrencyLimit"),
            // What needs more seats than there are is served alone.
            ("f@0*3 /b /d f@0*3 g@0", "f:ConcurrencyLimit f g:ConcurrencyLimit"),
        ],
    );
    check(Response::Reject, 0, &[("a@0 b@0 /a c@0", "a b:ConcurrencyLimit c")]);
}

#[test]
fn a_queue_serves_in_the_order_of_arrival_and_takes_so_many() {
    check(
        queues(1, 2),
        1,
        &[("a@0 b@0 c@0 d@0", "a d:QueueFull"), ("/a", "b"), ("d@0 /b", "c"), ("/c", "d"), ("/d", "")],
    );
}

#[test]
fn queues_are_served_alike_however_long_they_are() {
    check(
        queues(4, 50),
        1,
        &[
            ("a1@0 a2@0 a3@0 a4@0 a5@0 b1@1 b2@1 c1@2", "a1"),
            ("3 /a1", "b1"),
            ("3 /b1", "c1"),
            ("3 /c1", "a2"),
            ("3 /a2", "b2"),
            ("3 /b2", "a3"),
            ("3 /a3 3 /a4 3 /a5", "a4 a5"),
        ],
    );
}

#[test]
fn who_took_longer_than_was_reckoned_waits_for_longer() {
    check(
        queues(4, 50),
        1,
        &[
            ("a1@0 a2@0 a3@0 b1@1 b2@1 b3@1 b4@1", "a1"),
            // Thirty milliseconds, not three: the other queue has made up for it after as many.
            ("30 /a1 3 /b1 3 /b2 3 /b3", "b1 b2 b3 b4"),
            ("3 /b4", "a2"),
        ],
    );
}

#[test]
fn a_queue_that_comes_late_has_no_claim_to_what_was_before() {
    check(
        queues(4, 50),
        1,
        &[
            ("a1@0 a2@0 a3@0 a4@0 3 /a1 3 /a2 3", "a1 a2 a3"),
            ("b1@1 b2@1 b3@1", ""),
            ("/a3", "b1"),
            ("3 /b1", "a4"),
            ("3 /a4", "b2"),
        ],
    );
}

#[test]
fn wide_requests_have_several_seats_and_are_not_passed() {
    check(
        queues(4, 50),
        4,
        &[
            ("a@0*3 b@1*3 20 c@2", "a"),
            // The one that is next needs more than is free: nobody takes it from him.
            ("d@3", ""),
            ("3 /a", "b c"),
            ("3 /b", "d"),
        ],
    );
    // More than there are: alone.
    check(queues(4, 50), 2, &[("a@0 b@1*5", "a"), ("/a", "b"), ("c@2", ""), ("/b", "c")]);
}

#[test]
fn a_queue_takes_no_more_for_seats_that_are_free_and_too_few() {
    check(
        queues(1, 2),
        4,
        &[
            ("a@0*3 b@0*3 c@0", "a"),
            ("d@0*3 e@0", "d:QueueFull e:QueueFull"),
            ("/a", "b c"),
            ("f@0*3 g@0 h@0", "h:QueueFull"),
        ],
    );
}

#[test]
fn who_goes_away_leaves_no_trace_and_lets_others_pass() {
    check(queues(4, 50), 2, &[("a@0 b@1*2 20 c@2", "a"), ("-b", "b:gone c"), ("/a /c", ""), ("d@0 /d", "d")]);
    let mut level = Level::new(queues(4, 50), 1);
    assert_eq!(level.run("a@0 b@1 /a -b /b"), "a b b:served");
    assert!(level.set.is_idle() && level.set.queues.is_empty());
}

#[test]
fn seats_linger_for_what_is_told_of_a_change() {
    check(
        queues(4, 50),
        3,
        &[
            ("a@0+3 b@1", "a"),
            ("5 /a", ""),
            // It has ended, its seats are not free yet.
            ("50 c@2", ""),
            ("49", ""),
            ("1", "b c"),
        ],
    );
    // As much work on fewer seats takes longer.
    check(queues(4, 50), 2, &[("a@0+4 b@1", "a"), ("/a 199", ""), ("1", "b")]);
}

#[test]
fn another_limit_counts_at_once() {
    check(
        queues(4, 50),
        0,
        &[("a@0 b@1 c@2", ""), ("limit=2", "b c"), ("limit=1 /b", ""), ("/c", "a"), ("limit=0 d@0 /a", "")],
    );
}

#[test]
fn however_many_queues_there_may_be_only_those_in_use_are_kept() {
    let queuing = Queuing { queues: 10_000_000, hand: 2, length: 50 };
    let mut set = QueueSet::new(Response::Queue(queuing), 1, Duration::ZERO);
    let tickets: Vec<Ticket> = (0..2 * MOST_WAITING as u64)
        .filter_map(|number| {
            let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            match set.begin(Duration::ZERO, Work::of(1), hash, || ()).0 {
                Begun::Waits(ticket) => Some(ticket),
                _ => None,
            }
        })
        .collect();
    assert_eq!(tickets.len(), MOST_WAITING);
    tickets.into_iter().for_each(|ticket| assert!(set.withdraw(Duration::ZERO, ticket).0));
    assert_eq!(set.queues.len(), 1);
}
