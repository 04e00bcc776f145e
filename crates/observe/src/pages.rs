//! What programs tell of themselves, asked when somebody wants to know, and kept for as long as he goes on to.
//!
//! Whoever fills what is kept takes it from himself: each namespace has a share, in which what was asked longest ago
//! makes room for what is new, and where all is full the namespace that has the most gives.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::Timestamp;
use offload::Threads;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::text::TextError;
use history::History;

mod history;

/// A page so young is good enough: who asks within this time shares it, and so it is with a failure.
const FRESH: Duration = Duration::from_secs(5);
/// What nobody has asked for so long is forgotten, and how often that is looked for.
const FORGOTTEN: Duration = Duration::from_secs(300);
const SWEEP: Duration = Duration::from_secs(60);
/// So many programs are kept at a time, and so many of one namespace.
const TARGETS: usize = 4000;
const TARGETS_EACH: usize = 1000;
/// What is kept of all of them may cost so many bytes, and what is kept of those of one namespace.
const BYTES: usize = 64 << 20;
const BYTES_EACH: usize = 16 << 20;
/// So many pages are read at a time, each on a thread: a long one takes a while.
const READERS: usize = 2;

/// What programs told, by whatever tells one from another.
#[derive(Debug)]
pub struct Pages {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    readers: Threads,
    hasher: std::hash::RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    targets: HashMap<String, Kept>,
    shares: HashMap<String, Share>,
    /// Forgets by time, while there is something.
    sweeper: Option<JoinHandle<()>>,
}

/// What is kept of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Share {
    targets: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    namespace: String,
    asked: Instant,
    bytes: usize,
    history: Arc<tokio::sync::Mutex<History>>,
}

/// Who is asked.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// In whose share it is.
    pub namespace: &'a str,
    /// Tells it from all others.
    pub id: &'a str,
    /// Where it is asked. What it told elsewhere is not what it tells here.
    pub place: &'a str,
}

/// Why nothing is told.
#[derive(Debug, thiserror::Error)]
pub enum TellError<E> {
    /// It cannot be asked.
    #[error(transparent)]
    Ask(E),
    /// What it tells is not understood.
    #[error("its page is not understood")]
    Text(#[source] TextError),
    /// Nothing was told a moment ago, for this reason.
    #[error("{0}")]
    Before(String),
    /// Too much is wanted at a time.
    #[error("{0} are asked for at a time")]
    TooMuch(&'static str),
}

/// A number of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// What tells it from others of the same name.
    pub labels: Vec<(String, String)>,
    /// As it is, or so much a second where it counts.
    pub value: f64,
    /// When it was read.
    pub at: Timestamp,
    /// Over how long a time it was counted.
    pub window: Option<Duration>,
}

impl Default for Pages {
    fn default() -> Self {
        let (hasher, state) = (std::hash::RandomState::new(), Mutex::default());
        Self { inner: Arc::new(Inner { readers: Threads::new(READERS), hasher, state }) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let Some(sweeper) = self.inner.state.lock().sweeper.take() {
            sweeper.abort();
        }
    }
}

impl Pages {
    /// What a program tells by a name now; `ask` asks for its page, `now` is the time since some beginning and the
    /// time of day. What counts is told once it was looked at twice. It runs in tokio's runtime.
    pub async fn values<E: std::error::Error, F: Future<Output = Result<String, E>>>(
        &self,
        program: Program<'_>,
        name: &str,
        now: impl Fn() -> (Duration, Timestamp),
        ask: impl Fn() -> F,
    ) -> Result<Vec<Value>, TellError<E>> {
        let kept = self.of(program.namespace, program.id);
        // Whoever wants the same meanwhile waits for it.
        let mut history = Arc::clone(&kept).lock_owned().await;
        history.is_at(self.inner.hasher.hash_one(program.place));
        if let Some(why) = history.failed(now().0) {
            return Err(TellError::Before(why.to_owned()));
        }
        let has_it = history.want(name, now().0).map_err(TellError::TooMuch)?;
        if has_it && history.is_young(now().0) {
            return Ok(history.values(name));
        }
        let page = match ask().await {
            Ok(page) => page,
            Err(error) => {
                history.fail(now().0, base::error::chain(&error).to_string());
                self.inner.state.lock().count(program.id, &kept, history.bytes());
                return Err(TellError::Ask(error));
            }
        };
        let (now, inner, id, name) = (now(), Arc::clone(&self.inner), program.id.to_owned(), name.to_owned());
        // It is read to its end and counted, whether somebody still waits or not.
        let read = self.inner.readers.run(move || {
            let read = history.read(&page, now);
            if let Err(error) = &read {
                history.fail(now.0, base::error::chain(error).to_string());
            }
            inner.state.lock().count(&id, &kept, history.bytes());
            read.map(|()| history.values(&name))
        });
        read.await.map_err(TellError::Text)
    }

    fn of(&self, namespace: &str, id: &str) -> Arc<tokio::sync::Mutex<History>> {
        let state = &mut *self.inner.state.lock();
        let asked = Instant::now();
        if let Some(kept) = state.targets.get_mut(id) {
            kept.asked = asked;
            return Arc::clone(&kept.history);
        }
        state.make_room(namespace, Share { targets: 1, bytes: 0 });
        let history = Arc::<tokio::sync::Mutex<History>>::default();
        let kept = Kept { namespace: namespace.to_owned(), asked, bytes: 0, history: Arc::clone(&history) };
        state.targets.insert(id.to_owned(), kept);
        state.shares.entry(namespace.to_owned()).or_default().targets += 1;
        if state.sweeper.as_ref().is_none_or(JoinHandle::is_finished) {
            state.sweeper = Some(tokio::spawn(sweep(Arc::downgrade(&self.inner))));
        }
        history
    }
}

/// Forgets what nobody asks for any more, until there is nothing.
async fn sweep(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(inner) = inner.upgrade() else { return };
        let mut state = inner.state.lock();
        state.forget();
        if state.targets.is_empty() {
            // Whoever comes next begins another.
            state.sweeper = None;
            return;
        }
    }
}

impl State {
    fn forget(&mut self) {
        let old = |kept: &Kept| kept.asked.elapsed() >= FORGOTTEN;
        let ids: Vec<String> =
            self.targets.iter().filter(|(_, kept)| old(kept)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &str) {
        let Some(kept) = self.targets.remove(id) else { return };
        let Some(share) = self.shares.get_mut(&kept.namespace) else { return };
        share.targets = share.targets.saturating_sub(1);
        share.bytes = share.bytes.saturating_sub(kept.bytes);
        if share.targets == 0 {
            self.shares.remove(&kept.namespace);
        }
    }

    /// What is kept of a program costs so much now, if it is kept still.
    fn count(&mut self, id: &str, history: &Arc<tokio::sync::Mutex<History>>, bytes: usize) {
        let Some(kept) = self.targets.get_mut(id).filter(|kept| Arc::ptr_eq(&kept.history, history)) else {
            return;
        };
        let namespace = kept.namespace.clone();
        if let Some(share) = self.shares.get_mut(&namespace) {
            share.bytes = (share.bytes + bytes).saturating_sub(kept.bytes);
        }
        kept.bytes = bytes;
        // It was asked just now, so that others go before it.
        self.make_room(&namespace, Share::default());
    }

    /// Makes room for more of a namespace: first in its own share, then in the largest.
    fn make_room(&mut self, namespace: &str, more: Share) {
        loop {
            let own = self.shares.get(namespace).copied().unwrap_or_default();
            if own.targets + more.targets <= TARGETS_EACH && own.bytes + more.bytes <= BYTES_EACH {
                break;
            }
            if !self.drop_oldest(namespace) {
                break;
            }
        }
        loop {
            let (targets, bytes) = self
                .shares
                .values()
                .fold((more.targets, more.bytes), |sum, share| (sum.0 + share.targets, sum.1 + share.bytes));
            let by = |share: &Share| if bytes > BYTES { share.bytes } else { share.targets };
            if targets <= TARGETS && bytes <= BYTES {
                break;
            }
            let largest = self.shares.iter().max_by_key(|(_, share)| by(share)).map(|(name, _)| name.clone());
            if !largest.is_some_and(|largest| self.drop_oldest(&largest)) {
                break;
            }
        }
    }

    /// Forgets the one of a namespace that was asked longest ago.
    fn drop_oldest(&mut self, namespace: &str) -> bool {
        let of = self.targets.iter().filter(|(_, kept)| kept.namespace == namespace);
        let oldest = of.min_by_key(|(_, kept)| kept.asked).map(|(id, _)| id.clone());
        oldest.inspect(|id| self.remove(id)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_namespace_has_a_share_and_what_was_asked_longest_ago_goes() {
        let pages = Pages::default();
        let ids = |namespace: &str| {
            let state = pages.inner.state.lock();
            let of = state.targets.iter().filter(|(_, kept)| kept.namespace == namespace);
            let mut ids: Vec<String> = of.map(|(id, _)| id.clone()).collect();
            ids.sort();
            ids
        };
        let wait = || tokio::time::advance(Duration::from_millis(1));
        pages.of("small", "s");
        for target in 0..TARGETS_EACH {
            wait().await;
            pages.of("large", &format!("{target:04}"));
        }
        wait().await;
        // It is asked anew, so that the next is the oldest.
        pages.of("large", "0000");
        pages.of("large", "more");
        let large = ids("large");
        assert_eq!((large.len(), &*large[0], &*large[1]), (TARGETS_EACH, "0000", "0002"));
        assert_eq!(ids("small"), ["s"]);

        // What it costs: others of its namespace give, those of others do not.
        let cost = |id: &str, bytes: usize| {
            let mut state = pages.inner.state.lock();
            let history = Arc::clone(&state.targets[id].history);
            state.count(id, &history, bytes);
            state.count(id, &Arc::default(), 1);
        };
        cost("s", 100);
        for id in ["0002", "0003", "0004"] {
            cost(id, BYTES_EACH / 2);
        }
        let large = ids("large");
        assert_eq!((large.len(), &*large[0], &*large[1]), (TARGETS_EACH - 1, "0000", "0003"));
        let shares = pages.inner.state.lock().shares.clone();
        assert_eq!(shares["large"], Share { targets: TARGETS_EACH - 1, bytes: BYTES_EACH });
        assert_eq!(shares["small"], Share { targets: 1, bytes: 100 });

        // Where all is full the largest gives.
        for namespace in 0..TARGETS / 100 {
            for target in 0..100 {
                pages.of(&namespace.to_string(), &format!("{namespace}-{target}"));
            }
        }
        let state = pages.inner.state.lock();
        assert_eq!((state.targets.len(), state.shares["small"].targets), (TARGETS, 1));
        assert!(state.shares.values().all(|share| share.targets <= 100), "{:?}", state.shares);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_for_is_forgotten_by_time() {
        let pages = Pages::default();
        pages.of("a", "1");
        pages.of("a", "2");
        tokio::time::sleep(FORGOTTEN - SWEEP / 2).await;
        pages.of("a", "2");
        tokio::time::sleep(SWEEP).await;
        assert!(pages.inner.state.lock().targets.keys().eq(["2"]));
        tokio::time::sleep(FORGOTTEN).await;
        let state = pages.inner.state.lock();
        assert!(state.targets.is_empty() && state.shares.is_empty() && state.sweeper.is_none());
    }

    #[derive(Debug, thiserror::Error)]
    #[error("asked again")]
    struct Again;

    #[tokio::test(start_paused = true)]
    async fn a_program_is_asked_when_somebody_wants_to_know() {
        let pages = Pages::default();
        let began = Instant::now();
        let now = || (began.elapsed(), Timestamp::UNIX_EPOCH);
        let program = |id, place| Program { namespace: "n", id, place };
        let of = program("t", "/");
        let ask = || std::future::ready(Ok::<_, Again>("a 1\nb 2\n".to_owned()));
        let told = async |name: &str| pages.values(of, name, now, ask).await.expect("told").len();
        assert_eq!((told("a").await, told("b").await, told("c").await), (1, 1, 0));
        assert!(pages.inner.state.lock().targets["t"].bytes > 0, "what it costs is known");
        let never = || std::future::ready(Err::<String, _>(Again));
        assert!(pages.values(of, "a", now, never).await.is_ok(), "what is young is shared");
        // Elsewhere it may tell something else, and is no other program.
        let elsewhere = pages.values(program("t", "/x"), "a", now, never).await;
        assert!(matches!(elsewhere, Err(TellError::Ask(Again))));
        assert_eq!(pages.inner.state.lock().targets.len(), 1);
        // A failure is shared, too, by whatever name is asked for.
        for name in ["a", "other"] {
            let told = pages.values(program("t", "/x"), name, now, ask).await.expect_err("not asked again");
            assert!(matches!(&told, TellError::Before(why) if why == "asked again"), "{told}");
        }
        tokio::time::sleep(FRESH).await;
        assert!(pages.values(program("t", "/x"), "a", now, ask).await.is_ok());
        let bad = || std::future::ready(Ok::<_, Again>("?".to_owned()));
        assert!(matches!(pages.values(program("u", "/"), "a", now, bad).await, Err(TellError::Text(_))));
        assert!(matches!(pages.values(program("u", "/"), "a", now, ask).await, Err(TellError::Before(_))));
    }
}
