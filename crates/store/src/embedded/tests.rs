//! The store on a disk that fails, fills up and loses power, under random work.
//!
//! After each crash: what was acknowledged is there, what was refused is not, what was under way is
//! there wholly or not at all, and no revision that anybody has seen is given again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::clock::ManualClock;
use futures::executor::block_on;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::disk::Disk;
use super::faulty::{Dice, DiceRandom, FaultyDisk};
use super::log::{Limits, Log};
use super::*;
use crate::{EventKind, Op, Put, StoreExt, WatchError, WatchMessage};

/// Small, so that a few writes fill segments and make snapshots due.
const SMALL: Limits = Limits {
    segment: 12 << 10,
    first_growth: 4 << 10,
    growth: 4 << 10,
    tail: 4 << 10,
    log: 24 << 10,
    segments: 6,
};
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

type State = BTreeMap<String, String>;

/// One step of the work.
#[derive(Clone, Debug)]
enum Step {
    Set {
        key: usize,
        size: usize,
    },
    SetTwo {
        first: usize,
        second: usize,
        size: usize,
    },
    Delete {
        key: usize,
    },
    Compact,
    /// The disk fails at the operation that is so many away.
    Fail {
        after: u64,
    },
    Broken(bool),
    Free(Option<u64>),
    /// Time passes.
    Wait,
    Restart,
    Kill,
    /// The power is cut so many operations later, while the work goes on.
    PowerCut {
        after: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS.len();
    let size = prop_oneof![1..600usize, 1500..5000usize];
    prop_oneof![
        12 => (key.clone(), size.clone()).prop_map(|(key, size)| Step::Set { key, size }),
        4 => (key.clone(), key.clone(), size)
            .prop_map(|(first, second, size)| Step::SetTwo { first, second, size }),
        4 => key.prop_map(|key| Step::Delete { key }),
        1 => Just(Step::Compact),
        2 => (0..8u64).prop_map(|after| Step::Fail { after }),
        1 => any::<bool>().prop_map(Step::Broken),
        2 => prop_oneof![Just(None), (0..6000u64).prop_map(Some)].prop_map(Step::Free),
        3 => Just(Step::Wait),
        1 => Just(Step::Restart),
        2 => Just(Step::Kill),
        4 => (0..30u64).prop_map(|after| Step::PowerCut { after }),
    ]
}

/// A transaction that was asked for.
#[derive(Clone, Debug)]
struct Attempt {
    /// How many were acknowledged before, and what the keys would be after it.
    base: usize,
    state: State,
    refused: bool,
    /// The error, if there was one.
    told: String,
}

/// What the client knows. Shared with the disk, which looks at it when the power is cut.
#[derive(Default)]
struct Known {
    /// The keys after each acknowledged transaction.
    states: Vec<State>,
    attempts: Vec<Attempt>,
    /// The largest revision that was seen.
    revision: u64,
}

/// How much of it there was at one moment.
#[derive(Clone, Copy)]
struct Moment {
    acknowledged: usize,
    attempts: usize,
    revision: u64,
}

struct World {
    disk: FaultyDisk,
    clock: Arc<ManualClock>,
    store: Option<Embedded>,
    known: Arc<Mutex<Known>>,
    seed: u64,
    /// Filled in when the power has been cut.
    cut: Option<Arc<Mutex<Option<Moment>>>>,
}

impl Known {
    fn moment(&self) -> Moment {
        Moment { acknowledged: self.states.len() - 1, attempts: self.attempts.len(), revision: self.revision }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = FaultyDisk::new(seed);
        Log::create(&disk, &random(seed), SMALL, None).expect("create");
        let known = Known { states: vec![State::new()], ..Known::default() };
        let mut world = Self {
            disk,
            clock: Arc::new(ManualClock::new(base::Timestamp::UNIX_EPOCH)),
            store: None,
            known: Arc::new(Mutex::new(known)),
            seed,
            cut: None,
        };
        world.open();
        world
    }

    fn open(&mut self) {
        self.seed += 1;
        let opened = Disk::over(Arc::new(self.disk.clone()), Arc::new(random(self.seed)), SMALL);
        let (disk, loaded) = opened.unwrap_or_else(|error| {
            panic!("no crash is damage: {}\n{:?}", base::error::chain(&error), self.disk.contents().keys())
        });
        let options = Options { history_age: None, history_events: 40, history_bytes: 20_000 };
        self.store =
            Some(Embedded::over(disk, loaded, options, self.clock.clone()).expect("start the writer"));
    }

    fn store(&self) -> &Embedded {
        self.store.as_ref().expect("it is open")
    }

    fn run(&mut self, step: &Step) {
        let value = |size: usize, number: usize| format!("{number}:{}", "x".repeat(size));
        let number = self.known.lock().attempts.len();
        match *step {
            Step::Set { key, size } => {
                self.attempt(vec![Op::Put(Put::new(KEYS[key], value(size, number)))]);
            }
            Step::SetTwo { first, second, size } if first != second => {
                let put = |key: usize| Op::Put(Put::new(KEYS[key], value(size, number)));
                self.attempt(vec![put(first), put(second)]);
            }
            Step::SetTwo { .. } => {}
            Step::Delete { key } => self.attempt(vec![Op::Delete(KeyRange::key(KEYS[key]))]),
            Step::Compact => {
                let revision = self.known.lock().revision;
                let _ = block_on(self.store().compact(revision.saturating_sub(5)));
            }
            Step::Fail { after } => self.disk.fail_after(after),
            Step::Broken(broken) if self.cut.is_none() => self.disk.set_broken(broken),
            Step::Broken(_) => {}
            Step::Free(free) => self.disk.set_free(free),
            Step::Wait => {
                self.clock.advance(Duration::from_secs(90));
                self.store().wake();
            }
            Step::Restart => {
                self.store = None;
                self.crash();
            }
            Step::Kill => self.crash(),
            Step::PowerCut { after } if self.cut.is_none() => {
                let moment = Arc::new(Mutex::new(None));
                let (known, noted) = (self.known.clone(), moment.clone());
                self.disk.cut_after(after, Arc::new(move || *noted.lock() = Some(known.lock().moment())));
                self.cut = Some(moment);
            }
            Step::PowerCut { .. } => {}
        }
        self.crash_if_cut();
    }

    /// Asks for a transaction and notes what became of it.
    fn attempt(&mut self, ops: Vec<Op>) {
        let mut state = self.known.lock().states.last().expect("there is a first").clone();
        for op in &ops {
            match op {
                Op::Put(put) => drop(state.insert(text(&put.key), text(&put.value))),
                Op::Delete(keys) => state.retain(|key, _| !keys.contains(key.as_bytes())),
                Op::Get(_) => {}
            }
        }
        let attempt = {
            let mut known = self.known.lock();
            let base = known.states.len() - 1;
            known.attempts.push(Attempt { base, state: state.clone(), refused: false, told: String::new() });
            known.attempts.len() - 1
        };
        let result = block_on(self.store().txn(Txn { success: ops, ..Txn::default() }));
        let mut known = self.known.lock();
        if let Err(error) = &result {
            known.attempts[attempt].told = base::error::chain(error).to_string();
        }
        match result {
            Ok(done) => {
                // What changes nothing says nothing of what was under way before it.
                if known.states.last() != Some(&state) {
                    known.states.push(state);
                }
                known.revision = known.revision.max(done.revision);
            }
            Err(Error::Unsettled { .. }) => {}
            Err(Error::DiskFull { .. } | Error::Disk { .. }) => known.attempts[attempt].refused = true,
            Err(error) => panic!("unexpected: {error}"),
        }
    }

    /// The process dies and another one opens what it left, without the faults of the disk.
    fn crash(&mut self) {
        self.crash_if_cut();
        let (disk, moment) = (self.disk.copy(), self.known.lock().moment());
        self.take_up(disk, moment);
    }

    fn crash_if_cut(&mut self) {
        let Some(disk) = self.cut.as_ref().and_then(|_| self.disk.after_cut()) else { return };
        let moment = self.cut.as_ref().and_then(|cut| *cut.lock()).expect("it was noted");
        self.take_up(disk, moment);
    }

    fn take_up(&mut self, disk: FaultyDisk, moment: Moment) {
        self.store = None;
        self.cut = None;
        self.disk = disk;
        self.disk.heal();
        self.open();
        self.verify(moment);
    }

    fn verify(&mut self, moment: Moment) {
        let result = block_on(self.store().range(Range::new(KeyRange::prefix("")))).expect("range");
        let found: State = result.items.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect();
        let known = self.known.clone();
        let mut known = known.lock();
        let acknowledged = &known.states[moment.acknowledged];
        let under_way = known.attempts[..moment.attempts]
            .iter()
            .filter(|attempt| attempt.base == moment.acknowledged && !attempt.refused)
            .map(|attempt| &attempt.state);
        assert!(
            std::iter::once(acknowledged).chain(under_way).any(|state| *state == found),
            "found {:?}\nafter {:?}\nattempts {:?}",
            short(&found),
            short(acknowledged),
            known.attempts.iter().map(|one| (one.base, &one.told, short(&one.state))).collect::<Vec<_>>()
        );
        known.states = vec![found];
        known.attempts.clear();
        drop(known);
        self.check_history(&result);
        let before = moment.revision;
        self.attempt(vec![Op::Put(Put::new("after", "1"))]);
        let known = self.known.lock();
        let told = known.attempts.last().map(|attempt| attempt.told.as_str());
        assert_eq!(told, Some(""), "it can be written again");
        assert!(known.revision > before && known.revision > result.revision, "a revision is given again");
    }

    /// What is left of the history is in order and leads to what is there.
    fn check_history(&self, result: &RangeResult) {
        let mut watcher = loop {
            let compacted = block_on(self.store().status()).expect("status").compacted;
            let request = Watch::new(KeyRange::prefix("")).after(compacted.max(1) - 1);
            match block_on(self.store().watch(request)) {
                // More was forgotten between the two.
                Err(Error::Compacted { .. }) => {}
                opened => break opened.expect("watch"),
            }
        };
        let (mut last, mut values) = (0, BTreeMap::new());
        while let Some(Ok(WatchMessage::Event(event))) = watcher.try_next() {
            assert!(event.revision() >= last, "the history is in order");
            last = event.revision();
            match event.kind {
                EventKind::Put => drop(values.insert(event.kv.key.clone(), Some(event.kv.value.clone()))),
                EventKind::Delete => drop(values.insert(event.kv.key.clone(), None)),
            }
        }
        for (key, value) in values {
            let now = result.items.iter().find(|kv| kv.key == key).map(|kv| kv.value.clone());
            assert_eq!(now, value, "the history of {key:?} leads to what is there");
        }
    }
}

fn random(seed: u64) -> DiceRandom {
    DiceRandom(Mutex::new(Dice::new(seed)))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn short(state: &State) -> BTreeMap<&str, &str> {
    let brief = |value: &'_ str| value.find(':').unwrap_or(value.len());
    state.iter().map(|(key, value)| (key.as_str(), &value[..brief(value)])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn whatever_happens_to_the_disk_the_acknowledged_is_kept(
        seed in any::<u32>(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(u64::from(seed));
        for step in &steps {
            world.run(step);
        }
        world.crash();
        let moment = world.known.lock().moment();
        let disk = world.disk.cut_now();
        world.take_up(disk, moment);
    }
}

/// Many writers at once, and power cuts while snapshots are taken: each writer finds a prefix of what
/// it wrote, at least what was acknowledged to it, and its two keys always together.
#[test]
fn a_power_cut_under_many_writers_keeps_a_prefix_of_each() {
    const WRITERS: usize = 6;
    for seed in 0..24 {
        let disk = FaultyDisk::new(seed);
        Log::create(&disk, &random(seed), SMALL, None).expect("create");
        let (log, loaded) =
            Disk::over(Arc::new(disk.clone()), Arc::new(random(seed + 100)), SMALL).expect("open");
        let clock = Arc::new(ManualClock::new(base::Timestamp::UNIX_EPOCH));
        let options = Options { history_events: 50, ..Options::default() };
        let store = Embedded::over(log, loaded, options.clone(), clock.clone()).expect("start");
        let acknowledged: Arc<[AtomicU64; WRITERS]> = Arc::default();
        let then: Arc<Mutex<Option<Vec<u64>>>> = Arc::default();
        let note = {
            let (acknowledged, then) = (acknowledged.clone(), then.clone());
            move || {
                *then.lock() = Some(acknowledged.iter().map(|one| one.load(Ordering::SeqCst)).collect());
            }
        };
        disk.cut_after(60 + seed * 23, Arc::new(note));
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (store, acknowledged) = (&store, &acknowledged);
                scope.spawn(move || {
                    for number in 1.. {
                        let put = |key: &str| {
                            let value = format!("{number} {}", "x".repeat((number as usize * 97) % 900));
                            Op::Put(Put::new(format!("{writer}/{key}"), value))
                        };
                        let txn = Txn::new().then(put("a")).then(put("b"));
                        if block_on(store.txn(txn)).is_err() {
                            break;
                        }
                        acknowledged[writer].store(number, Ordering::SeqCst);
                    }
                });
            }
        });
        drop(store);
        let after = disk.after_cut().expect("the power was cut");
        let then = then.lock().take().expect("it was noted");
        let (log, loaded) = Disk::over(Arc::new(after), Arc::new(random(seed + 200)), SMALL)
            .unwrap_or_else(|error| panic!("seed {seed}: no power cut is damage: {error}"));
        let store = Embedded::over(log, loaded, options, clock).expect("start");
        for writer in 0..WRITERS {
            let number = |key: &str| {
                let kv = block_on(store.get(&format!("{writer}/{key}"))).expect("get");
                kv.map_or(0, |kv| {
                    text(&kv.value).split(' ').next().and_then(|n| n.parse().ok()).expect("a number")
                })
            };
            let (a, b): (u64, u64) = (number("a"), number("b"));
            assert_eq!(a, b, "seed {seed}: transactions are there wholly or not at all");
            let last = acknowledged[writer].load(Ordering::SeqCst) + 1;
            assert!(
                (then[writer]..=last).contains(&a),
                "seed {seed}: writer {writer} finds {a}, {} were acknowledged",
                then[writer]
            );
        }
    }
}

#[test]
fn on_a_full_disk_deletions_go_on_until_there_is_space() {
    for early in [0, 20, 60, 100, 140, 180] {
        deletions_go_on(early);
    }
}

/// Deletes everything on a full disk, where a snapshot was taken of the first `early` keys.
fn deletions_go_on(early: usize) {
    let disk = FaultyDisk::new(5);
    Log::create(&disk, &random(5), SMALL, None).expect("create");
    let clock = Arc::new(ManualClock::new(base::Timestamp::UNIX_EPOCH));
    let open = |disk: &FaultyDisk| {
        let (log, loaded) = Disk::over(Arc::new(disk.clone()), Arc::new(random(6)), SMALL).expect("open");
        Embedded::over(log, loaded, Options::default(), clock.clone()).expect("start")
    };
    let store = open(&disk);
    let put = |number: usize| {
        block_on(store.put(&format!("key/{number}"), vec![b'x'; 100])).expect("put");
    };
    (0..early).for_each(put);
    let has_snapshot =
        || disk.contents().keys().any(|name| name.ends_with(".snapshot") && !name.starts_with("reserve"));
    (0..10_000).take_while(|_| early > 0 && !has_snapshot()).for_each(|number| put(number % early));
    (early..200).for_each(put);
    // The writing thread has seen to what the last one called for, and so has the keeper.
    let comes_to_rest = |store: &Embedded| {
        block_on(store.delete("nothing")).expect("delete");
        wait_for_reserves(&disk);
    };
    comes_to_rest(&store);
    disk.set_free(Some(0));
    let mut taken = 0;
    let refused = (0..1000).find_map(|_| {
        let put = block_on(store.put("more", vec![b'x'; 500]));
        taken += usize::from(put.is_ok());
        put.err()
    });
    assert!(matches!(refused, Some(Error::DiskFull { .. })), "{refused:?}");
    let urgent = |key: &str| Txn::new().then(Op::Put(Put::new(key.to_owned(), "going").urgent()));
    for number in 0..200 {
        let key = format!("key/{number}");
        let files = || {
            let sizes = disk.contents().into_iter().map(|(name, bytes)| format!("{name} {}", bytes.len()));
            sizes.collect::<Vec<_>>()
        };
        if let Err(error) = block_on(store.txn(urgent(&key))) {
            panic!("{early}: a step on the way to deletion {number}: {error}, {:?}", files());
        }
        if let Err(error) = block_on(store.delete(&key)) {
            panic!("{early}: deletion {number}: {error}, {:?}", files());
        }
        assert!(block_on(store.put("more", vec![b'x'; 5000])).is_err(), "nothing else is taken");
    }
    let status = block_on(store.status()).expect("status");
    assert!(status.read_only.expect("it is read-only").contains("only deletions"), "it says so");
    // A restart on the full disk: reads go on, and deletions.
    comes_to_rest(&store);
    drop(store);
    let store = open(&disk);
    // How much of `more` found room depends on when the reserves were made.
    let left = usize::from(taken > 0);
    assert_eq!(block_on(store.status()).expect("status").keys, left, "`more`, if it was taken");
    block_on(store.txn(urgent("last"))).expect("a step");
    block_on(store.delete("last")).expect("delete");
    disk.set_free(None);
    clock.advance(Duration::from_secs(2));
    block_on(store.put("after", "1")).expect("put");
    assert_eq!(block_on(store.status()).expect("status").read_only, None);
}

#[test]
fn a_disk_that_fills_up_leaves_space_to_delete_all_that_was_taken() {
    // A log that grows for long before a snapshot is taken, which is large then.
    let limits = Limits { log: 16 << 20, segments: 10_000, ..SMALL };
    for free in [4 << 20, 6 << 20, 9 << 20] {
        let disk = FaultyDisk::new(5);
        Log::create(&disk, &random(5), limits, None).expect("create");
        let clock = Arc::new(ManualClock::new(base::Timestamp::UNIX_EPOCH));
        let (log, loaded) = Disk::over(Arc::new(disk.clone()), Arc::new(random(6)), limits).expect("open");
        let store = Embedded::over(log, loaded, Options::default(), clock.clone()).expect("start");
        wait_for_reserves(&disk);
        disk.set_free(Some(free));
        // The time at which the disk is looked at again comes more than once.
        let taken = (0..100_000).take_while(|number| {
            clock.advance(Duration::from_millis(20));
            block_on(store.put(&format!("key/{number}"), vec![b'x'; 2000])).is_ok()
        });
        let taken = taken.count();
        assert!(taken * 2000 > free as usize / 5, "{free}: {taken} were taken");
        for number in 0..taken {
            if let Err(error) = block_on(store.delete(&format!("key/{number}"))) {
                panic!("{free}: deletion {number} of {taken}: {error}");
            }
        }
        disk.set_free(None);
        clock.advance(Duration::from_secs(60));
        testkit::wait_until("what is written to be taken", || {
            clock.advance(Duration::from_secs(20));
            block_on(store.put("after", "1"))
        });
    }
}

#[test]
fn a_panic_of_the_writing_thread_is_told_and_leaves_nobody_waiting() {
    let disk = FaultyDisk::new(7);
    Log::create(&disk, &random(7), SMALL, None).expect("create");
    let clock = Arc::new(ManualClock::new(base::Timestamp::UNIX_EPOCH));
    let open = |disk: &FaultyDisk| {
        let (log, loaded) = Disk::over(Arc::new(disk.clone()), Arc::new(random(8)), SMALL).expect("open");
        Embedded::over(log, loaded, Options::default(), clock.clone()).expect("start")
    };
    let store = open(&disk);
    block_on(store.put("kept", "1")).expect("put");
    let mut watcher = block_on(store.watch(Watch::new(KeyRange::prefix("")))).expect("watch");
    // Whoever makes them must not be the first to meet the fault.
    wait_for_reserves(&disk);
    disk.cut_after(0, Arc::new(|| panic!("a fault of the writing thread")));
    // Those whose request it had, and those that wait behind it.
    let keys: Vec<String> = (0..50).map(|number| format!("lost/{number}")).collect();
    let waiting: Vec<_> = keys.iter().map(|key| store.put(key, "1")).collect();
    let answers = block_on(futures::future::join_all(waiting));
    assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Closed))), "{answers:?}");
    assert!(matches!(block_on(watcher.next()), Err(WatchError::Closed)));
    // Those who come later.
    assert!(matches!(block_on(store.put("late", "1")), Err(Error::Closed)));
    assert!(matches!(block_on(store.watch(Watch::new(KeyRange::prefix("")))), Err(Error::Closed)));
    assert!(block_on(store.get("kept")).expect("reads go on").is_some());
    let told = block_on(store.status()).expect("status").read_only.expect("it cannot be written");
    assert!(told.contains("panicked") && told.contains("restart"), "{told}");
    drop(store);
    let store = open(&disk.after_cut().expect("the power was cut"));
    assert!(block_on(store.get("kept")).expect("get").is_some(), "what was acknowledged is there");
}

fn wait_for_reserves(disk: &FaultyDisk) {
    testkit::wait_until("the reserves", || {
        let names = disk.contents();
        let made = names.contains_key("reserve.log") && names.contains_key("reserve.snapshot");
        if made && !names.keys().any(|name| name.ends_with(".new")) {
            Ok(())
        } else {
            Err(format!("{:?}", names.keys()))
        }
    });
}
