//! How many connections there may be, of whom, and for how long they may do nothing.
//!
//! A connection begins as a stranger's: through the TLS handshake, and until a certificate or a token
//! says whose it is. Strangers have a small place together. When it is full the one who has been there
//! longest has to go, so that a crowd that only sits there shuts nobody out: to be known takes a few
//! milliseconds. Who is known may have many connections, but not all of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::identity::Identity;

/// Connections of strangers.
const STRANGERS: usize = 256;
/// Connections of everybody who is known.
const KNOWN: usize = 8192;
/// Connections of one user, where nothing else is asked for.
pub(crate) const ONE_USER: usize = 2048;
/// How long a stranger may do nothing.
const STRANGER_IDLE: Duration = Duration::from_secs(15);
/// How long others may; as in Kubernetes.
const KNOWN_IDLE: Duration = Duration::from_secs(90);
/// How long a client may take nothing of an answer that is there for it.
pub(crate) const STALLED: Duration = Duration::from_secs(60);

/// All connections. One that has become a stream (exec, attach, a forwarded port) is one of them
/// until the stream ends.
pub(crate) struct Connections {
    of_user: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    arrived: u64,
    /// In the order of their arrival.
    strangers: BTreeMap<u64, CancellationToken>,
    known: usize,
    by_user: HashMap<String, usize>,
}

/// One connection's place, until it is dropped.
pub(crate) struct Seat {
    connections: Arc<Connections>,
    number: u64,
    /// Whose it is, once that is known.
    user: Mutex<Option<String>>,
    /// It must end at once: others came, and this one was the longest without a name.
    pub(crate) evicted: CancellationToken,
    /// It must end after what is being answered.
    pub(crate) unwelcome: Notify,
    activity: Mutex<Activity>,
    /// It has become a stream of its own.
    taken_over: AtomicBool,
}

struct Activity {
    /// Requests that are being answered, by number.
    busy: HashMap<u64, Answer>,
    requests: u64,
    /// When the last one began or ended.
    last: Instant,
}

/// How an answer fares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It is being made, or its body waits for more: the client has nothing to take.
    Working,
    /// The client has something to take; when it last took something.
    Offered(Instant),
    /// The client may take as long as it likes.
    Patient,
}

/// A request that is being answered, until it is dropped.
pub(crate) struct Busy {
    seat: Arc<Seat>,
    number: u64,
}

impl Connections {
    /// At most `of_user` of one user.
    pub(crate) fn new(of_user: usize) -> Self {
        Self { of_user, open: Mutex::default() }
    }

    /// A place for a new connection.
    pub(crate) fn enter(self: &Arc<Self>) -> Arc<Seat> {
        let evicted = CancellationToken::new();
        let mut open = self.open.lock();
        open.arrived += 1;
        let number = open.arrived;
        open.strangers.insert(number, evicted.clone());
        if open.strangers.len() > STRANGERS
            && let Some((_, oldest)) = open.strangers.pop_first()
        {
            oldest.cancel();
        }
        drop(open);
        Arc::new(Seat {
            connections: self.clone(),
            number,
            user: Mutex::new(None),
            evicted,
            unwelcome: Notify::new(),
            activity: Mutex::new(Activity { busy: HashMap::new(), requests: 0, last: Instant::now() }),
            taken_over: AtomicBool::new(false),
        })
    }
}

impl Seat {
    /// Whoever has the connection is known from now on. False where there are too many of theirs.
    pub(crate) fn introduce(&self, identity: &Identity) -> bool {
        let mut user = self.user.lock();
        if user.is_some() {
            return true;
        }
        let mut open = self.connections.open.lock();
        let of_user = open.by_user.get(&identity.user).copied().unwrap_or_default();
        if open.known >= KNOWN || (of_user >= self.connections.of_user && !identity.is_component()) {
            return false;
        }
        // One that was evicted in this very moment is not taken in again.
        if open.strangers.remove(&self.number).is_none() {
            return false;
        }
        open.known += 1;
        open.by_user.insert(identity.user.clone(), of_user + 1);
        *user = Some(identity.user.clone());
        true
    }

    /// Notes that a request is being answered.
    pub(crate) fn work(self: &Arc<Self>) -> Busy {
        let mut activity = self.activity.lock();
        activity.requests += 1;
        let number = activity.requests;
        activity.busy.insert(number, Answer::Working);
        activity.last = Instant::now();
        Busy { seat: self.clone(), number }
    }

    /// From now on the connection is a stream, whose two sides have nothing to do with each other.
    pub(crate) fn take_over(&self) {
        self.taken_over.store(true, Ordering::Relaxed);
    }

    /// Whether the client may leave what is sent to it for as long as it likes.
    pub(crate) fn is_patient(&self) -> bool {
        self.taken_over.load(Ordering::Relaxed)
            || self.activity.lock().busy.values().any(|answer| *answer == Answer::Patient)
    }

    /// Waits until some answer has been there for too long without its client taking any of it.
    pub(crate) async fn stalled(&self) {
        loop {
            let now = Instant::now();
            let since = |answer: &Answer| match answer {
                Answer::Offered(since) => Some(*since),
                Answer::Working | Answer::Patient => None,
            };
            let longest = self.activity.lock().busy.values().filter_map(since).min();
            let end = longest.unwrap_or(now) + STALLED;
            if end <= now {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }

    /// Waits until nothing has happened for too long.
    pub(crate) async fn idle(&self) {
        loop {
            let limit = if self.user.lock().is_some() { KNOWN_IDLE } else { STRANGER_IDLE };
            let (busy, last) = {
                let activity = self.activity.lock();
                (!activity.busy.is_empty(), activity.last)
            };
            let now = Instant::now();
            let end = if busy { now + limit } else { last + limit };
            if end <= now {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        let Some(user) = self.user.get_mut().take() else {
            open.strangers.remove(&self.number);
            return;
        };
        open.known -= 1;
        if let Some(of_user) = open.by_user.get_mut(&user) {
            *of_user -= 1;
            if *of_user == 0 {
                open.by_user.remove(&user);
            }
        }
    }
}

impl Busy {
    /// The client has something to take, from now on.
    pub(crate) fn offer(&self) {
        self.note(Answer::Offered(Instant::now()));
    }

    /// The client has taken all that there is.
    pub(crate) fn wait(&self) {
        self.note(Answer::Working);
    }

    /// The client may take as long as it likes.
    pub(crate) fn be_patient(&self) {
        self.note(Answer::Patient);
    }

    fn note(&self, now: Answer) {
        if let Some(answer) = self.seat.activity.lock().busy.get_mut(&self.number) {
            *answer = now;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut activity = self.seat.activity.lock();
        activity.busy.remove(&self.number);
        activity.last = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_strangers_the_one_who_came_first_goes() {
        let connections = Arc::new(Connections::new(ONE_USER));
        let mut seats: Vec<_> = (0..STRANGERS).map(|_| connections.enter()).collect();
        assert!(seats.iter().all(|seat| !seat.evicted.is_cancelled()));
        let known = seats.remove(0);
        assert!(known.introduce(&Identity::administrator()));
        let _another = connections.enter();
        assert!(seats.iter().all(|seat| !seat.evicted.is_cancelled()), "who is known makes room");
        let _one_too_many = connections.enter();
        assert!(seats[0].evicted.is_cancelled());
        assert!(!seats[0].introduce(&Identity::administrator()), "too late");
        assert!(seats[1..].iter().chain([&known]).all(|seat| !seat.evicted.is_cancelled()));
        drop((seats, known));
        assert!(connections.open.lock().by_user.is_empty());
    }

    #[test]
    fn one_user_cannot_have_all_connections() {
        let connections = Arc::new(Connections::new(ONE_USER));
        let jane = Identity::new("jane", ["developers"]);
        let taken: Vec<_> =
            std::iter::repeat_with(|| connections.enter()).take_while(|seat| seat.introduce(&jane)).collect();
        assert_eq!(taken.len(), ONE_USER);
        assert!(connections.enter().introduce(&Identity::administrator()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_when_nothing_happens_but_not_while_it_answers() {
        let connections = Arc::new(Connections::new(ONE_USER));
        let seat = connections.enter();
        let began = Instant::now();
        seat.idle().await;
        assert_eq!(began.elapsed(), STRANGER_IDLE);
        assert!(seat.introduce(&Identity::administrator()));
        let busy = seat.work();
        assert!(tokio::time::timeout(KNOWN_IDLE * 10, seat.idle()).await.is_err(), "it is busy");
        drop(busy);
        let began = Instant::now();
        seat.idle().await;
        assert_eq!(began.elapsed(), KNOWN_IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_when_its_client_takes_nothing_of_what_is_there() {
        let connections = Arc::new(Connections::new(ONE_USER));
        let seat = connections.enter();
        let stalls = async |within: u32| tokio::time::timeout(STALLED * within, seat.stalled()).await.is_ok();
        assert!(!stalls(10).await, "nothing is asked");
        let (watch, list) = (seat.work(), seat.work());
        watch.wait();
        assert!(!stalls(10).await, "there is nothing to take");
        for _ in 0..10 {
            list.offer();
            tokio::time::sleep(STALLED / 2).await;
            assert!(!stalls(0).await, "it takes a piece now and then");
        }
        assert!(stalls(2).await);
        drop(list);
        assert!(!stalls(10).await, "the others go on");
    }
}
