//! Keeps what runs for as long as the program running, whatever happens in it.

use std::time::Duration;

use base::backoff::Backoff;
use tokio_util::sync::CancellationToken;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MOST_DELAY: Duration = Duration::from_secs(60);

/// Runs what `begin` gives until it ends by itself; after a panic, which is logged, begins it anew, later
/// and later. What it has taken in hand is dropped, so that it must be able to begin anew from what it
/// finds, as after a restart of the program.
pub async fn supervise<F: Future<Output = ()>>(
    name: &'static str,
    stop: &CancellationToken,
    mut begin: impl FnMut() -> F,
) {
    let mut backoff = Backoff::new(FIRST_DELAY, MOST_DELAY);
    loop {
        // Beginning may panic too, not only what was begun. It lies apart, or what waits for many that are supervised
        // would be too large for a stack.
        let work = Box::pin(async { begin().await });
        let Err(panic) = base::panics::catch_async(work).await else { return };
        let delay = backoff.next_delay();
        tracing::error!(name, %panic, ?delay, "it panicked; beginning it anew");
        if stop.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_panics_is_begun_anew_until_it_ends_by_itself() {
        let stop = CancellationToken::new();
        let mut begun = 0;
        let work = || {
            begun += 1;
            let turn = begun;
            async move {
                tokio::task::yield_now().await;
                assert!(turn == 3, "turn {turn}");
            }
        };
        supervise("test", &stop, work).await;
        assert_eq!(begun, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn it_stops_trying_when_it_is_told_to() {
        let stop = CancellationToken::new();
        stop.cancel();
        supervise("test", &stop, || async { panic!("always") }).await;
    }
}
