//! Whether the server is alive and ready, as a whole and check by check.

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
    match state.store.status().await {
        Ok(status) => status.read_only.map_or(Ok(()), |why| Err(format!("nothing can be written: {why}"))),
        Err(error) => Err(base::error::chain(&error).to_string()),
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
