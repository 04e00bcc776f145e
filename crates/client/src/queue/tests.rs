use super::*;

fn ready(queue: &WorkQueue<&'static str>) -> Vec<&'static str> {
    queue.state.lock().ready.iter().copied().collect()
}

#[tokio::test]
async fn a_key_waits_once_and_keys_come_in_order() {
    let queue = WorkQueue::new();
    for key in ["a", "b", "a", "c", "b"] {
        queue.add(key);
    }
    for expected in ["a", "b", "c"] {
        assert_eq!(queue.next().await, Some(expected));
    }
    assert!(queue.is_empty());
}

#[tokio::test]
async fn a_key_that_is_worked_on_is_handed_out_again_only_when_it_is_done() {
    let queue = WorkQueue::new();
    queue.add("a");
    assert_eq!(queue.next().await, Some("a"));
    queue.add("a");
    queue.add("a");
    assert!(queue.is_empty(), "it is being worked on");
    queue.done(&"a");
    assert_eq!(ready(&queue), ["a"]);
    assert_eq!(queue.next().await, Some("a"));
    queue.done(&"a");
    assert!(queue.is_empty(), "it was added once more, not twice");
}

#[tokio::test(start_paused = true)]
async fn of_several_delays_the_shortest_counts() {
    let queue = WorkQueue::new();
    let start = Instant::now();
    queue.add_after("a", Duration::from_secs(9));
    queue.add_after("a", Duration::from_secs(3));
    queue.add_after("a", Duration::from_secs(6));
    queue.add_after("b", Duration::from_secs(4));
    assert_eq!(queue.next().await, Some("a"));
    assert_eq!(start.elapsed().as_secs(), 3);
    assert_eq!(queue.next().await, Some("b"));
    queue.done(&"a");
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.ok(), None);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_worker_learns_of_a_shorter_delay() {
    let queue = std::sync::Arc::new(WorkQueue::new());
    let start = Instant::now();
    queue.add_after("late", Duration::from_secs(60));
    let worker = tokio::spawn({
        let queue = queue.clone();
        async move { queue.next().await }
    });
    tokio::task::yield_now().await;
    queue.add_after("early", Duration::from_secs(1));
    assert_eq!(worker.await.expect("the worker ends"), Some("early"));
    assert_eq!(start.elapsed().as_secs(), 1);
}

#[test]
fn failures_delay_longer_and_longer_until_they_are_forgotten() {
    let queue = WorkQueue::new();
    let delays: Vec<u128> = (0..4).map(|_| queue.add_rate_limited("a").as_millis()).collect();
    assert_eq!(delays, [5, 10, 20, 40]);
    assert_eq!(queue.failures(&"a"), 4);
    assert_eq!((0..40).map(|_| queue.add_rate_limited("b")).last(), Some(MOST_DELAY));
    queue.forget(&"a");
    assert_eq!(queue.add_rate_limited("a"), FIRST_DELAY);
}

#[tokio::test]
async fn closing_lets_every_worker_end_after_what_waits() {
    let queue = std::sync::Arc::new(WorkQueue::new());
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let mut seen = 0;
                while let Some(key) = queue.next().await {
                    seen += 1;
                    queue.done(&key);
                }
                seen
            })
        })
        .collect();
    tokio::task::yield_now().await;
    for key in 0..10 {
        queue.add(key);
    }
    queue.add_after(99, Duration::from_secs(3600));
    queue.close();
    queue.add(100);
    let mut seen = 0;
    for worker in workers {
        seen += worker.await.expect("the worker ends");
    }
    assert_eq!(seen, 10);
}

#[tokio::test(start_paused = true)]
async fn a_queue_with_a_name_is_counted() {
    let queue = WorkQueue::named("counted-in-a-test");
    for key in ["a", "b", "a"] {
        queue.add(key);
    }
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(queue.next().await, Some("a"));
    tokio::time::advance(Duration::from_secs(3)).await;
    queue.done(&"a");
    queue.add_rate_limited("a");
    let mut text = metrics::Text::default();
    write_metrics(&mut text);
    let text = text.finish();
    for line in [
        "workqueue_adds_total{name=\"counted-in-a-test\"} 2",
        "workqueue_depth{name=\"counted-in-a-test\"} 1",
        "workqueue_retries_total{name=\"counted-in-a-test\"} 1",
        "workqueue_queue_duration_seconds_sum{name=\"counted-in-a-test\"} 2",
        "workqueue_work_duration_seconds_sum{name=\"counted-in-a-test\"} 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    queue.close_now();
    let mut text = metrics::Text::default();
    write_metrics(&mut text);
    assert!(text.finish().contains("workqueue_depth{name=\"counted-in-a-test\"} 0\n"));
}
