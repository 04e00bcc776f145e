//! Whether the server is alive and ready, as a whole and check by check.

use std::collections::BTreeSet;
use std::time::Duration;

use base::Clock;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use http::{HeaderValue, Response, StatusCode, header};
use parking_lot::Mutex;

use crate::body::Body;
use crate::request::Query;
use crate::state::State;

/// What has to be done once at the start, such as making what must always be there, by name, and how it went;
/// none where it has not been done yet.
#[derive(Default)]
pub(crate) struct Hooks(Mutex<Vec<(&'static str, Option<Outcome>)>>);

/// How it went, or why not.
type Outcome = Result<(), String>;

/// The order in which they are told; others come behind.
const HOOKS: [&str; 8] = [
    "start-system-namespaces-controller",
    "start-cluster-authentication-info-controller",
    "start-service-ip-repair-controllers",
    "rbac/bootstrap-roles",
    "scheduling/bootstrap-system-priority-classes",
    "priority-and-fairness-config-producer",
    "bootstrap-controller",
    "start-kubernetes-service-cidr-controller",
];

impl Hooks {
    /// Something of this name is to be done.
    pub(crate) fn expect(&self, name: &'static str) {
        let mut hooks = self.0.lock();
        if hooks.iter().all(|(known, _)| *known != name) {
            hooks.push((name, None));
            hooks
                .sort_by_key(|(name, _)| HOOKS.iter().position(|known| known == name).unwrap_or(HOOKS.len()));
        }
    }

    /// How it went. What was done once is done.
    pub(crate) fn note(&self, name: &'static str, outcome: Result<(), String>) {
        for (_, known) in self.0.lock().iter_mut().filter(|(known, _)| *known == name) {
            if !matches!(known, Some(Ok(()))) {
                *known = Some(outcome.clone());
            }
        }
    }
}

/// Whether the store takes writes, or why not.
type Writable = Result<(), Unwell>;

/// Why the store takes no writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unwell {
    /// It says so itself.
    #[error("nothing can be written: {0}")]
    ReadOnly(String),
    /// It does not answer.
    #[error("{0}")]
    Silent(String),
}

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

/// The checks that the store is asked for: whether it answers, and whether it takes writes.
const STORE: &str = "etcd";
const WRITES: &str = "etcd-readiness";

/// Names and outcomes of all that an endpoint looks at, in their order. `asked` says of which the outcome is
/// wanted; the store is not asked for nothing.
async fn look(
    state: &State,
    endpoint: &str,
    asked: impl Fn(&str) -> bool,
) -> Vec<(String, Result<(), String>)> {
    let ready = endpoint == "readyz";
    let status = match asked(STORE) || (ready && asked(WRITES)) {
        true => writable(state).await,
        false => Ok(()),
    };
    // A disk that is full is no reason to be started anew, and no store that does not answer.
    let answers = match &status {
        Err(Unwell::Silent(why)) => Err(why.clone()),
        _ => Ok(()),
    };
    let mut checks = vec![("ping".to_owned(), Ok(())), (STORE.to_owned(), answers)];
    if ready {
        checks.push((WRITES.to_owned(), status.map_err(|unwell| unwell.to_string())));
        checks.push(("informer-sync".to_owned(), loaded(state)));
    }
    for (name, outcome) in &*state.hooks.0.lock() {
        let outcome = match outcome {
            None => Err("not finished".to_owned()),
            // It is tried again, and no start anew would help: on a disk that is full for example.
            Some(Err(_)) if !ready => Ok(()),
            Some(outcome) => outcome.clone(),
        };
        checks.push((format!("poststarthook/{name}"), outcome));
    }
    if ready {
        let stops = state.stopping.is_cancelled();
        let outcome = if stops { Err("process is shutting down".to_owned()) } else { Ok(()) };
        checks.push(("shutdown".to_owned(), outcome));
    }
    checks
}

/// Answers `/livez`, `/readyz`, `/healthz` and a single check below them.
pub(super) async fn answer(state: &State, segments: &[&str], query: &Query) -> Response<Body> {
    let endpoint = segments[0];
    let single = segments[1..].join("/");
    if !single.is_empty() {
        let checks = look(state, endpoint, |name| name == single).await;
        return match checks.into_iter().find(|(name, _)| *name == single) {
            None => text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
            Some((_, Ok(()))) => text(StatusCode::OK, "ok".to_owned()),
            Some((_, Err(why))) => {
                text(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {why}\n"))
            }
        };
    }
    let mut excluded: BTreeSet<&str> = query.all("exclude").collect();
    let mut report = String::new();
    let mut failed = Vec::new();
    for (name, outcome) in look(state, endpoint, |name| !excluded.contains(name)).await {
        if excluded.remove(name.as_str()) {
            report.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        state.meters.checked(endpoint, &name, outcome.is_ok());
        match outcome {
            Ok(()) => report.push_str(&format!("[+]{name} ok\n")),
            // Anybody may ask here; who may ask for the one check is told.
            Err(why) => {
                report.push_str(&format!("[-]{name} failed: reason withheld\n"));
                failed.push(format!("{name}: {why}"));
            }
        }
    }
    if !excluded.is_empty() {
        let names: Vec<String> = excluded.iter().map(|name| model::field::quote(name)).collect();
        let names = names.join(",");
        report.push_str(&format!("warn: some health checks cannot be excluded: no matches for {names}\n"));
    }
    if !failed.is_empty() {
        tracing::debug!(endpoint, failed = failed.join("; "), "a check of health failed");
        report.push_str(&format!("{endpoint} check failed\n"));
        return text(StatusCode::INTERNAL_SERVER_ERROR, report);
    }
    if query.get("verbose").is_some() {
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
            Ok(status) => status.read_only.map_or(Ok(()), |why| Err(Unwell::ReadOnly(why.to_string()))),
            Err(error) => Err(Unwell::Silent(base::error::chain(&error).to_string())),
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
                Err(Unwell::Silent(number.to_string()))
            }
        };
        let all = futures::future::join_all((0..100).map(|_| readiness.known(&clock, ask()))).await;
        assert!(all.iter().all(|answer| *answer == Err(Unwell::Silent("0".to_owned()))), "{all:?}");
        clock.advance(Duration::from_millis(999));
        assert_eq!(readiness.known(&clock, ask()).await, Err(Unwell::Silent("0".to_owned())));
        clock.advance(Duration::from_millis(1));
        // Who goes away before there is an answer leaves the question to the next.
        assert!(futures::FutureExt::now_or_never(readiness.known(&clock, ask())).is_none());
        assert_eq!(readiness.known(&clock, ask()).await, Err(Unwell::Silent("2".to_owned())));
        assert_eq!(readiness.known(&clock, ask()).await, Err(Unwell::Silent("2".to_owned())));
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
