//! Waiting for an end that may be wanted sooner.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

/// Waits until `ending` is over, or until the time is that a message leaves for it. `left` says of each
/// message how long the end may take from now on, if it says so at all; an earlier moment is never
/// taken back. Gives whether it is over; where it is not, `ending` has been dropped.
pub(super) async fn until_over<M>(
    ending: impl Future<Output = ()>,
    messages: &mut mpsc::UnboundedReceiver<M>,
    mut left: impl FnMut(M) -> Option<Duration>,
) -> bool {
    tokio::pin!(ending);
    let mut deadline: Option<Instant> = None;
    loop {
        let reached = async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = &mut ending => return true,
            () = reached => return false,
            Some(message) = messages.recv() => {
                // What lies beyond all clocks is never reached.
                let moment = left(message).and_then(|left| Instant::now().checked_add(left));
                deadline = deadline.into_iter().chain(moment).min();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays an end that takes `takes` seconds while messages come: after so many seconds one that leaves so
    /// many. Gives whether it came to its end, and after how long.
    async fn play(takes: u64, messages: &[(u64, Option<u64>)]) -> (bool, u64) {
        let began = Instant::now();
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let messages = messages.to_vec();
        let sending = tokio::spawn(async move {
            for (at, left) in messages {
                tokio::time::sleep_until(began + Duration::from_secs(at)).await;
                if sender.send(left).is_err() {
                    return;
                }
            }
        });
        let ending = tokio::time::sleep(Duration::from_secs(takes));
        let over = until_over(ending, &mut receiver, |left: Option<u64>| left.map(Duration::from_secs)).await;
        let took = began.elapsed().as_secs();
        drop(receiver);
        sending.await.expect("it sends");
        (over, took)
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_takes_its_time_unless_a_message_leaves_less() {
        assert_eq!(play(600, &[]).await, (true, 600));
        assert_eq!(play(600, &[(5, None)]).await, (true, 600), "nobody is left to send any more");
        assert_eq!(play(600, &[(5, Some(10))]).await, (false, 15));
        assert_eq!(play(600, &[(5, Some(u64::MAX))]).await, (true, 600));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_comes_within_the_time_that_is_left_is_over() {
        assert_eq!(play(8, &[(5, Some(10))]).await, (true, 8));
        assert_eq!(play(8, &[(5, Some(10)), (6, Some(10)), (7, Some(20))]).await, (true, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_message_is_heard_and_moves_the_moment_earlier_only() {
        assert_eq!(play(600, &[(5, Some(100)), (6, Some(0))]).await, (false, 6));
        assert_eq!(play(600, &[(5, Some(100)), (6, Some(20)), (7, Some(300))]).await, (false, 26));
    }
}
