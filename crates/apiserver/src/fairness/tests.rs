use std::sync::atomic::{AtomicUsize, Ordering};

use base::clock::ManualClock;

use super::*;
use crate::authorisation::ResourceAttributes;
use crate::request::Verb;

/// What a test says.
struct Said(Mutex<Configuration>, Notify);

impl FlowControl for Said {
    fn configuration(&self, _: base::Timestamp) -> Configuration {
        self.0.lock().clone()
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        self.1.notified().boxed()
    }
}

fn everything() -> (Vec<ResourceRule>, Vec<PathRule>) {
    let OneLevelRules { resources, paths } = OneLevelRules::new();
    (resources, paths)
}

struct OneLevelRules {
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

impl OneLevelRules {
    fn new() -> Self {
        let configuration = OneLevel.configuration(base::Timestamp::UNIX_EPOCH);
        let rule = configuration.schemas[0].rules[0].clone();
        Self { resources: rule.resources, paths: rule.paths }
    }
}

fn schema(name: &str, level: &str, subject: Subject) -> Arc<Schema> {
    let (resources, paths) = everything();
    Arc::new(Schema {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        level: level.to_owned(),
        distinguisher: Some(Distinguisher::User),
        rules: vec![Rule { subjects: vec![subject], resources, paths }],
    })
}

fn level(name: &str, shares: u32, response: Response) -> LevelConfiguration {
    let (name, uid) = (name.to_owned(), format!("uid-of-{name}"));
    LevelConfiguration { name, uid, shares, lends: 0, borrows: Some(0), response }
}

const QUEUES: Response = Response::Queue(Queuing { queues: 64, hand: 4, length: 5 });

/// Ten seats, half of them of a level with queues, half of one without.
fn halves() -> (Arc<Fairness>, Arc<Said>, Arc<ManualClock>) {
    let group = |name: &str| Subject::Group(name.to_owned());
    let configuration = Configuration {
        levels: vec![
            level("free", 0, Response::Serve),
            level("queued", 5, QUEUES),
            level("rest", 5, Response::Reject),
        ],
        schemas: vec![
            schema("free", "free", group(ADMINISTRATORS)),
            schema("staff", "queued", group("staff")),
            schema("rest", "rest", group("*")),
        ],
        amendments: Vec::new(),
    };
    let said = Arc::new(Said(Mutex::new(configuration), Notify::new()));
    let clock = Arc::new(ManualClock::new(base::Timestamp::UNIX_EPOCH));
    let limits = Limits { reading: 6, writing: 4, ..Limits::default() };
    (Arc::new(Fairness::new(limits, said.clone(), clock.clone())), said, clock)
}

fn identity(text: &str) -> Identity {
    let mut words = text.split_whitespace();
    Identity::new(words.next().expect("a user"), words)
}

async fn enter(fairness: &Fairness, who: &str) -> Result<Arc<Place>, u64> {
    let (mut admitted, outcome) =
        fairness.admit_path(&identity(who), Attributes::Path { verb: "get", path: "/x" }).await;
    let mut answer = Answer::new(());
    admitted.mark(&mut answer);
    assert!(answer.headers().contains_key("x-kubernetes-pf-flowschema-uid"));
    match outcome {
        Ok(()) => Ok(admitted.place.take().expect("a place")),
        Err(error) => {
            assert_eq!(error.code().as_u16(), 429);
            let seconds = error.status().details.as_ref().map_or(0, |details| details.retry_after_seconds);
            Err(u64::try_from(seconds).expect("not negative"))
        }
    }
}

fn report(fairness: &Fairness, schema: &str) -> FlowReport {
    fairness.report().1.into_iter().find(|flow| flow.schema == schema).expect("it is there")
}

#[tokio::test(start_paused = true)]
async fn each_level_has_its_own_seats_and_the_first_has_no_limit() {
    let (fairness, ..) = halves();
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(enter(&fairness, "root system:masters").await.expect("no limit"));
    }
    for _ in 0..5 {
        held.push(enter(&fairness, "john").await.expect("a seat"));
    }
    assert_eq!(enter(&fairness, "john").await.err(), Some(1));
    for _ in 0..5 {
        held.push(enter(&fairness, "jane staff").await.expect("a seat"));
    }
    // Beyond them one waits, as long as it may.
    let began = tokio::time::Instant::now();
    assert_eq!(enter(&fairness, "jane staff").await.err(), Some(1));
    assert_eq!(began.elapsed(), Duration::from_secs(15));
    let of_staff = report(&fairness, "staff");
    assert_eq!((of_staff.dispatched, of_staff.executing, of_staff.waiting), (5, 5, 0));
    assert_eq!(of_staff.refused[Refusal::TimeOut as usize], (Refusal::TimeOut, 1));
    assert_eq!(report(&fairness, "rest").refused[Refusal::ConcurrencyLimit as usize].1, 1);
    drop(held);
    let (levels, flows) = fairness.report();
    assert!(levels.iter().all(|level| level.seats_in_use == 0 && level.waiting == 0), "{levels:?}");
    assert!(flows.iter().all(|flow| flow.executing == 0), "{flows:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_when_a_seat_is_free_and_a_flood_is_refused() {
    let (fairness, ..) = halves();
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(enter(&fairness, "flood staff").await.expect("a seat"));
    }
    let served = Arc::new(AtomicUsize::new(0));
    let flood: Vec<_> = (0..100)
        .map(|_| {
            let (fairness, served) = (fairness.clone(), served.clone());
            tokio::spawn(async move {
                let place = enter(&fairness, "flood staff").await;
                served.fetch_add(usize::from(place.is_ok()), Ordering::SeqCst);
                place
            })
        })
        .collect();
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    // Its hand of four queues is full.
    let of_staff = report(&fairness, "staff");
    assert_eq!((of_staff.waiting, of_staff.refused[0]), (20, (Refusal::QueueFull, 80)));
    let other = {
        let fairness = fairness.clone();
        tokio::spawn(async move { enter(&fairness, "jane staff").await })
    };
    tokio::time::sleep(Duration::from_millis(1)).await;
    // Twenty wait before her; she goes when the first seat is free.
    held.pop();
    let place = tokio::time::timeout(Duration::from_millis(1), other).await;
    let place = place.expect("she is served").expect("no panic").expect("a seat");
    assert_eq!(served.load(Ordering::SeqCst), 0, "before all of the flood");
    drop((held, place));
    let mut places = 0;
    for one in flood {
        // Each leaves its seat to the next.
        places += usize::from(one.await.expect("no panic").is_ok());
    }
    assert_eq!((places, served.load(Ordering::SeqCst)), (20, 20));
    assert!(fairness.report().0.iter().all(|level| level.seats_in_use == 0));
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_while_he_waits_or_in_the_very_moment_leaves_nothing() {
    let (fairness, ..) = halves();
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(enter(&fairness, "a staff").await.expect("a seat"));
    }
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(enter(&fairness, "a staff"))).collect();
    assert!(waiting.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
    assert_eq!(report(&fairness, "staff").waiting, 3);
    waiting.pop();
    let of_staff = report(&fairness, "staff");
    assert_eq!((of_staff.waiting, of_staff.refused[3]), (2, (Refusal::Cancelled, 1)));
    // One is let in and does not come to hear it.
    held.pop();
    assert_eq!(report(&fairness, "staff").executing, 5);
    drop(waiting);
    let of_staff = report(&fairness, "staff");
    assert_eq!((of_staff.waiting, of_staff.executing), (0, 4));
    drop(held);
    assert!(fairness.report().0.iter().all(|level| level.seats_in_use == 0 && level.executing == 0));
}

#[tokio::test(start_paused = true)]
async fn a_level_that_is_taken_away_serves_those_who_wait_in_it() {
    let (fairness, said, _) = halves();
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(enter(&fairness, "a staff").await.expect("a seat"));
    }
    let mut waiting = Box::pin(enter(&fairness, "a staff"));
    assert!(waiting.as_mut().now_or_never().is_none());
    {
        let mut configuration = said.0.lock();
        configuration.levels.retain(|level| level.name != "queued");
        configuration.schemas.retain(|schema| schema.level != "queued");
    }
    fairness.read();
    // Others are of what is left, and it is as before for who was there.
    let place = enter(&fairness, "b staff").await.expect("of the rest");
    assert_eq!(report(&fairness, "rest").executing, 1);
    assert!(waiting.as_mut().now_or_never().is_none());
    held.pop();
    held.push(waiting.await.expect("a seat"));
    let names = |fairness: &Fairness| -> Vec<String> {
        fairness.report().0.into_iter().map(|level| level.name).collect()
    };
    assert_eq!(names(&fairness), ["free", "queued", "rest"]);
    drop((held, place));
    fairness.read();
    assert_eq!(names(&fairness), ["free", "rest"]);
}

#[tokio::test(start_paused = true)]
async fn seats_that_nobody_has_use_for_are_lent_and_come_back() {
    let (fairness, said, clock) = halves();
    for level in &mut said.0.lock().levels {
        (level.lends, level.borrows) = (80, None);
    }
    fairness.read();
    let now = |name: &str| {
        let levels = fairness.report().0;
        levels.into_iter().find(|level| level.name == name).expect("it is there").now
    };
    assert_eq!((now("queued"), now("rest")), (5, 5));
    let mut held: Vec<_> = Vec::new();
    for _ in 0..5 {
        held.push(enter(&fairness, "a staff").await.expect("a seat"));
    }
    let mut waiting: Vec<_> = (0..8).map(|_| Box::pin(enter(&fairness, "a staff"))).collect();
    assert!(waiting.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
    clock.advance(Duration::from_secs(10));
    fairness.read();
    assert_eq!((now("queued"), now("rest")), (9, 1));
    assert_eq!(report(&fairness, "staff").executing, 9, "they are let in at once");
    // The other needs its own again, and has it at the next look.
    let _one = enter(&fairness, "john").await.expect("a seat");
    assert!(enter(&fairness, "john").await.is_err());
    drop((held, waiting));
    clock.advance(Duration::from_secs(1000));
    fairness.read();
    clock.advance(Duration::from_secs(1000));
    fairness.read();
    assert!(now("rest") >= 1);
    assert_eq!(now("rest") + now("queued"), 10);
}

#[tokio::test(start_paused = true)]
async fn without_it_what_reads_and_what_writes_is_counted_and_administrators_are_not() {
    let limits = Limits { reading: 2, writing: 1, fair: false, ..Limits::default() };
    let clock = Arc::new(ManualClock::new(base::Timestamp::UNIX_EPOCH));
    let fairness = Fairness::new(limits, Arc::new(OneLevel), clock.clone());
    let admit = async |who: &str, verb: Verb| {
        let target = crate::request::ResourceTarget { verb, ..Default::default() };
        let asked = ResourceAttributes { verb: verb.as_str(), ..ResourceAttributes::default() };
        let (mut admitted, outcome) = fairness
            .admit_resource(
                &identity(who),
                Attributes::Resource(asked),
                &target,
                &Query::parse(""),
                Held::default,
            )
            .await;
        let mut answer = Answer::new(());
        admitted.mark(&mut answer);
        assert!(answer.headers().is_empty(), "no schema is told");
        outcome.map(|()| admitted.place.take())
    };
    let held = [admit("a", Verb::Get).await, admit("b", Verb::List).await, admit("a", Verb::Create).await];
    assert!(held.iter().all(Result::is_ok));
    assert!(admit("c", Verb::List).await.is_err());
    assert!(admit("c", Verb::Watch).await.is_ok_and(|place| place.is_none()), "it waits, instead of working");
    assert!(admit("c", Verb::Delete).await.is_err());
    assert!(admit("root system:masters", Verb::Delete).await.is_ok());
    drop(held);
    assert!(admit("c", Verb::Delete).await.is_ok());
    // None is no limit.
    let limits = Limits { reading: 0, ..limits };
    let fairness = Fairness::new(limits, Arc::new(OneLevel), clock);
    let mut held = Vec::new();
    for _ in 0..1000 {
        let asked = Attributes::Path { verb: "get", path: "/x" };
        let (admitted, outcome) = fairness.admit_path(&identity("a"), asked).await;
        assert!(outcome.is_ok());
        held.push(admitted);
    }
}

#[tokio::test(start_paused = true)]
async fn seats_linger_and_are_free_by_themselves() {
    let (fairness, _, clock) = halves();
    let watched = crate::request::ResourceTarget { verb: Verb::Create, ..Default::default() };
    let watches: Vec<_> = (0..50).map(|_| fairness.watches.enter(&watched, "")).collect();
    let admit = async || {
        let asked = Attributes::Resource(ResourceAttributes { verb: "create", ..Default::default() });
        let (who, query) = (identity("a staff"), Query::parse(""));
        let (mut admitted, outcome) =
            fairness.admit_resource(&who, asked, &watched, &query, Held::default).await;
        outcome.map(|()| admitted.place.take())
    };
    // A level of five seats in hands of four gives one to each request, so the work is long.
    let held = [admit().await, admit().await, admit().await, admit().await, admit().await];
    assert!(held.iter().all(Result::is_ok));
    drop(held);
    let mut waits = Box::pin(admit());
    let mut follows = Box::pin(fairness.look_after(|_| std::future::ready(()).boxed()));
    assert!(waits.as_mut().now_or_never().is_none());
    assert!(follows.as_mut().now_or_never().is_none());
    clock.advance(Duration::from_millis(25));
    tokio::select! {
        () = follows => panic!("it goes on"),
        served = tokio::time::timeout(Duration::from_secs(1), waits) => {
            assert!(served.expect("it is served").is_ok());
        }
    }
    drop(watches);
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_of_his_answer_leaves_his_seat_to_those_who_wait() {
    let (fairness, _, clock) = halves();
    let mut answers = Vec::new();
    for _ in 0..5 {
        let mut body = crate::body::Body::full("answer");
        body.hold(enter(&fairness, "slow staff").await.expect("a seat"));
        answers.push(body);
    }
    let mut follows = Box::pin(fairness.look_after(|_| std::future::ready(()).boxed()));
    let mut waits = Box::pin(enter(&fairness, "jane staff"));
    let mut passes = async |time: Duration| {
        clock.advance(time);
        drop(tokio::time::timeout(Duration::from_secs(1), &mut follows).await);
    };
    assert!(waits.as_mut().now_or_never().is_none());
    passes(Duration::from_millis(4900)).await;
    assert!(waits.as_mut().now_or_never().is_none());
    passes(Duration::from_millis(200)).await;
    assert!(waits.as_mut().now_or_never().is_some_and(|served| served.is_ok()));
    // Those who gave theirs are not counted any more, and give nothing twice.
    assert_eq!(report(&fairness, "staff").executing, 0);
    drop(answers);
    assert!(fairness.report().0.iter().all(|level| level.seats_in_use == 0 && level.executing == 0));
}
