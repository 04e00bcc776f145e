//! Whether the server is alive and ready, as a whole and check by check.

use std::time::Duration;

use base::Clock;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use http::{HeaderValue, Response, StatusCode, header};
use parking_lot::Mutex;

use crate::body::Body;
use crate::request::Query;
use crate::state::State;

/// One thing that is looked at.
struct Check {
    name: &'static str,
    /// Whether a process that fails it is to be started anew, not just left alone for a while.
    vital: bool,
    passes: fn(&State, &Writable) -> Result<(), String>,
}

/// Whether the store takes writes, or why not.
type Writable = Result<(), String>;

/// What a store elsewhere has said last of whether it takes writes, and when. Anybody may ask for that, and
/// as often as he likes, and go away again: the store is asked once for all that want to know at the same
/// time, as long as one of them waits, and no more than once a second.
#[derive(Default)]
pub(crate) struct Readiness(Mutex<Known>);

#[derive(Default)]
struct Known {
    said: Option<(Duration, Writable)>,
    /// When it is asked, or was, whether or not somebody waited for the answer.
    asked: Option<Duration>,
    /// What those who wait hold: it ends with the last of them.
    question: Option<WeakShared<BoxFuture<'static, Writable>>>,
}

/// How long it is remembered.
const REMEMBERED: Duration = Duration::from_secs(1);

/// The check that the store is asked for.
const STORE: &str = "store";

const CHECKS: [Check; 4] = [
    Check { name: "ping", vital: true, passes: |_, _| Ok(()) },
    Check { name: "cache", vital: false, passes: |state, _| loaded(state) },
    Check { name: STORE, vital: false, passes: |_, writable| writable.clone() },
    Check {
        name: "shutdown",
        vital: false,
        passes: |state, _| {
            if state.stop.is_cancelled() { Err("the server is shutting down".to_owned()) } else { Ok(()) }
        },
    },
];

/// Answers `/livez`, `/readyz`, `/healthz` and a single check below them.
pub(super) async fn answer(state: &State, segments: &[&str], query: &Query) -> Response<Body> {
    let endpoint = segments[0];
    let single = segments.get(1).copied();
    let excluded: Vec<&str> = query.all("exclude").collect();
    // A store that does not answer is no reason to be started anew.
    let asks = endpoint != "livez" && single.is_none_or(|name| name == STORE) && !excluded.contains(&STORE);
    let writable = if asks { writable(state).await } else { Ok(()) };
    let mut report = String::new();
    let mut failed = false;
    let mut found = false;
    for check in CHECKS.iter().filter(|c| c.vital || endpoint != "livez") {
        if single.is_some_and(|name| name != check.name) {
            continue;
        }
        found = true;
        if excluded.contains(&check.name) {
            report.push_str(&format!("[+]{} excluded: ok\n", check.name));
            continue;
        }
        match (check.passes)(state, &writable) {
            Ok(()) => report.push_str(&format!("[+]{} ok\n", check.name)),
            Err(why) => {
                failed = true;
                report.push_str(&format!("[-]{} failed: {why}\n", check.name));
            }
        }
    }
    if !found {
        return text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned());
    }
    if failed {
        report.push_str(&format!("{endpoint} check failed\n"));
        return text(StatusCode::INTERNAL_SERVER_ERROR, report);
    }
    if query.flag("verbose") && single.is_none() {
        report.push_str(&format!("{endpoint} check passed\n"));
        return text(StatusCode::OK, report);
    }
    text(StatusCode::OK, "ok".to_owned())
}

/// Whether the store takes writes.
pub(crate) async fn writable(state: &State) -> Writable {
    let store = state.store.clone();
    let ask = async move {
        match store.status().await {
            Ok(status) => {
                status.read_only.map_or(Ok(()), |why| Err(format!("nothing can be written: {why}")))
            }
            Err(error) => Err(base::error::chain(&error).to_string()),
        }
    };
    // The one in this process knows it.
    if state.store.is_shared() { state.readiness.known(&*state.clock, ask).await } else { ask.await }
}

impl Readiness {
    /// What is known; what `ask` gives where that is too old.
    async fn known(
        &self,
        clock: &dyn Clock,
        ask: impl Future<Output = Writable> + Send + 'static,
    ) -> Writable {
        let question = match self.0.lock().known_or_asked(clock.elapsed(), ask) {
            Ok(writable) => return writable,
            Err(question) => question,
        };
        let writable = question.clone().await;
        let mut known = self.0.lock();
        // The first of them notes it.
        if known.question().is_some_and(|last| last.ptr_eq(&question)) {
            known.said = Some((clock.elapsed(), writable.clone()));
            known.question = None;
        }
        writable
    }
}

impl Known {
    fn known_or_asked(
        &mut self,
        now: Duration,
        ask: impl Future<Output = Writable> + Send + 'static,
    ) -> Result<Writable, Shared<BoxFuture<'static, Writable>>> {
        if let Some((when, writable)) = &self.said
            && now.saturating_sub(*when) < REMEMBERED
        {
            return Ok(writable.clone());
        }
        if let Some(question) = self.question() {
            return Err(question);
        }
        // Whoever asked last may have gone away again.
        let early =
            self.asked.map_or(Duration::ZERO, |asked| REMEMBERED.saturating_sub(now.saturating_sub(asked)));
        self.asked = Some(now + early);
        let later = async move {
            if !early.is_zero() {
                tokio::time::sleep(early).await;
            }
            ask.await
        };
        let question = later.boxed().shared();
        self.question = question.downgrade();
        Err(question)
    }

    /// The question for whose answer somebody waits.
    fn question(&self) -> Option<Shared<BoxFuture<'static, Writable>>> {
        self.question.as_ref()?.upgrade()
    }
}

fn loaded(state: &State) -> Result<(), String> {
    if state.cache.revision() > 0 {
        Ok(())
    } else {
        Err("nothing has been read from the store yet".to_owned())
    }
}

fn text(code: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use base::clock::ManualClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_elsewhere_is_asked_once_for_all_and_once_a_second() {
        let clock = ManualClock::new("2026-01-01T00:00:00Z".parse().expect("a time"));
        let (readiness, asked) = (Readiness::default(), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            let asked = asked.clone();
            async move {
                let number = asked.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Err(number.to_string())
            }
        };
        let all = futures::future::join_all((0..100).map(|_| readiness.known(&clock, ask()))).await;
        assert!(all.iter().all(|answer| *answer == Err("0".to_owned())), "{all:?}");
        clock.advance(Duration::from_millis(999));
        assert_eq!(readiness.known(&clock, ask()).await, Err("0".to_owned()));
        clock.advance(Duration::from_millis(1));
        // Who goes away before there is an answer leaves the question to the next.
        assert!(futures::FutureExt::now_or_never(readiness.known(&clock, ask())).is_none());
        assert_eq!(readiness.known(&clock, ask()).await, Err("2".to_owned()));
        assert_eq!(readiness.known(&clock, ask()).await, Err("2".to_owned()));
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }

    /// A store that answers when it is told to.
    #[derive(Clone, Default)]
    struct Asked {
        times: Arc<AtomicUsize>,
        gone: Arc<AtomicUsize>,
        answer: Arc<tokio::sync::Notify>,
    }

    struct Gone(Arc<AtomicUsize>);

    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Asked {
        async fn ask(self) -> Writable {
            let _gone = Gone(self.gone);
            self.times.fetch_add(1, Ordering::SeqCst);
            self.answer.notified().await;
            Ok(())
        }

        fn counts(&self) -> (usize, usize) {
            (self.times.load(Ordering::SeqCst), self.gone.load(Ordering::SeqCst))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_leaves_the_question_to_those_who_wait_and_nothing_behind_him() {
        let clock = ManualClock::new("2026-01-01T00:00:00Z".parse().expect("a time"));
        let (readiness, asked) = (Readiness::default(), Asked::default());
        let mut first = Box::pin(readiness.known(&clock, asked.clone().ask()));
        assert!((&mut first).now_or_never().is_none());
        let mut second = Box::pin(readiness.known(&clock, asked.clone().ask()));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        assert!((&mut second).now_or_never().is_none());
        // It is the same one still, which has lost nothing.
        assert_eq!(asked.counts(), (1, 0));
        asked.answer.notify_one();
        assert_eq!(second.await, Ok(()));
        assert_eq!(asked.counts(), (1, 1));
        clock.advance(REMEMBERED);
        // With the last one the question goes.
        let mut alone = Box::pin(readiness.known(&clock, asked.clone().ask()));
        assert!((&mut alone).now_or_never().is_none());
        assert_eq!(asked.counts(), (2, 1));
        drop(alone);
        assert_eq!(asked.counts(), (2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_and_goes_away_does_not_make_the_store_be_asked_more_often() {
        let clock = ManualClock::new("2026-01-01T00:00:00Z".parse().expect("a time"));
        let (readiness, asked) = (Readiness::default(), Asked::default());
        for _ in 0..1000 {
            assert!(readiness.known(&clock, asked.clone().ask()).now_or_never().is_none());
        }
        assert_eq!(asked.counts().0, 1);
        // Who stays is answered all the same.
        asked.answer.notify_one();
        let answer = tokio::time::timeout(2 * REMEMBERED, readiness.known(&clock, asked.clone().ask()));
        assert_eq!(answer.await.expect("an answer in time"), Ok(()));
        assert_eq!(asked.counts().0, 2);
    }
}
