//! How long a request may take.
//!
//! What lasts (watches, streams, what is passed on to a pod) may go on. Everything else ends within what the server
//! allows, or what the client asks for where that is less, counted from when it has come: the wait for a seat and for a
//! body that arrives slowly included. A write besides has to come to its end within half a minute, as with Kubernetes.
//!
//! Source: Kubernetes API reference, `timeout`; `--request-timeout` of kube-apiserver.

use std::time::Duration;

use model::Status;

use crate::error::{Error, Result};
use crate::request::{Query, Verb};

/// How long a write may take from when its body is there.
const WRITE: Duration = Duration::from_secs(34);

/// How long a request may take that says so in its query.
pub(crate) fn of(query: &Query, most: Duration) -> Result<Duration> {
    let Some(asked) = query.filled("timeout") else { return Ok(most) };
    let asked = base::duration::parse(asked)
        .map_err(|why| Error::bad_request(format!("invalid timeout specified in the request URL - {why}")))?;
    // Nothing, and less than that, is as much as there is.
    let asked = u64::try_from(asked).map_or(Duration::ZERO, Duration::from_nanos);
    Ok(if asked.is_zero() { most } else { asked.min(most) })
}

/// Does `work` within `limit`. It is large, and put where it stays: each hand that it went through would have it on the
/// stack.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, Box::pin(work)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(over("request did not complete within the allotted timeout")),
    }
}

/// Does what a verb asks for, which has a limit of its own if it writes.
pub(crate) async fn doing<T>(verb: Verb, work: impl Future<Output = Result<T>>) -> Result<T> {
    if verb.is_read() {
        return work.await;
    }
    match tokio::time::timeout(WRITE, Box::pin(work)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(over("request did not complete within requested timeout - context deadline exceeded")),
    }
}

fn over(why: &str) -> Error {
    Status::timeout(why, 0).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_have_less_time_than_there_is_and_never_more() {
        let check = |query: &str, expected: Result<u64, &str>| {
            let found = of(&Query::parse(query), Duration::from_secs(60));
            let found = found.map(|limit| limit.as_secs()).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{query}");
        };
        for (query, seconds) in [
            ("", 60),
            ("timeout=", 60),
            ("timeout=34s", 34),
            ("timeout=1m30s", 60),
            ("timeout=0s", 60),
            ("timeout=0", 60),
            ("timeout=-5s", 60),
            ("timeout=3s&timeout=4s", 3),
        ] {
            check(query, Ok(seconds));
        }
        let wrong = "invalid timeout specified in the request URL - time: ";
        for (text, why) in [
            ("10", "missing unit in duration \"10\""),
            ("fast", "invalid duration \"fast\""),
            ("1y", "unknown unit \"y\" in duration \"1y\""),
        ] {
            check(&format!("timeout={text}"), Err(&format!("{wrong}{why}")));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_is_told_so_and_writes_sooner() {
        let never = || std::future::pending::<Result<()>>();
        let began = tokio::time::Instant::now();
        let told = |outcome: Result<()>| {
            let error = outcome.expect_err("it never ends");
            (error.code().as_u16(), error.to_string(), began.elapsed().as_secs())
        };
        let limit = Duration::from_secs(5);
        let why = "Timeout: request did not complete within the allotted timeout";
        assert_eq!(told(within(limit, doing(Verb::Create, never())).await), (504, why.to_owned(), 5));
        let limit = Duration::from_secs(60);
        let why = "Timeout: request did not complete within requested timeout - context deadline exceeded";
        assert_eq!(told(within(limit, doing(Verb::Patch, never())).await), (504, why.to_owned(), 39));
        let why = "Timeout: request did not complete within the allotted timeout";
        assert_eq!(told(within(limit, doing(Verb::List, never())).await), (504, why.to_owned(), 99));
    }
}
