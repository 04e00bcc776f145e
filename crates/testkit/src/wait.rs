//! Waiting for a condition instead of sleeping, with the last state in the failure.

use std::fmt::Debug;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(10);

/// Calls `probe` until it gives `Ok`, for half a minute at most; returns what it gave.
///
/// `probe` says with `Err` what it saw instead, and the failure shows the last of these.
#[track_caller]
pub fn wait_until<T, E: Debug>(what: &str, mut probe: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        match probe() {
            Ok(value) => return value,
            Err(last) => assert!(Instant::now() < deadline, "waited in vain for {what}; last seen: {last:?}"),
        }
        std::thread::sleep(STEP);
    }
}

/// As [`wait_until`], for a probe that is a future.
pub async fn wait_until_async<T, E: Debug, F>(what: &str, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + LIMIT;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(last) => assert!(Instant::now() < deadline, "waited in vain for {what}; last seen: {last:?}"),
        }
        tokio::time::sleep(STEP).await;
    }
}
