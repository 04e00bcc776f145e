//! Whether the server is alive and ready, as a whole and check by check.

use std::time::Duration;

use base::Clock;
use http::{HeaderValue, Response, StatusCode, header};

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
/// as often as he likes: the store is asked once for all that want to know at the same time, and no more
/// than once a second.
#[derive(Default)]
pub(crate) struct Readiness(tokio::sync::Mutex<Option<(Duration, Writable)>>);

/// How long it is remembered.
const REMEMBERED: Duration = Duration::from_secs(1);

const CHECKS: [Check; 4] = [
    Check { name: "ping", vital: true, passes: |_, _| Ok(()) },
    Check { name: "cache", vital: false, passes: |state, _| loaded(state) },
    Check { name: "store", vital: false, passes: |_, writable| writable.clone() },
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
    // A store that does not answer is no reason to be started anew.
    let writable = if endpoint == "livez" { Ok(()) } else { writable(state).await };
    let single = segments.get(1).copied();
    let excluded: Vec<&str> = query.all("exclude").collect();
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

async fn writable(state: &State) -> Writable {
    let ask = async {
        match state.store.status().await {
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
    async fn known(&self, clock: &dyn Clock, ask: impl Future<Output = Writable>) -> Writable {
        let mut known = self.0.lock().await;
        if let Some((when, writable)) = &*known
            && clock.elapsed().saturating_sub(*when) < REMEMBERED
        {
            return writable.clone();
        }
        let writable = ask.await;
        *known = Some((clock.elapsed(), writable.clone()));
        writable
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use base::clock::ManualClock;

    use super::*;

    #[tokio::test]
    async fn a_store_elsewhere_is_asked_once_for_all_and_once_a_second() {
        let clock = ManualClock::new("2026-01-01T00:00:00Z".parse().expect("a time"));
        let (readiness, asked) = (Readiness::default(), AtomicUsize::new(0));
        let ask = || async {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Err(number.to_string())
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
}
