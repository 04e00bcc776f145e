//! Sends work from many workers at once, and prints what it came to.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

/// Does jobs `0..count` on so many workers at once; returns how many a second were done.
pub(crate) async fn rate<Job, Done>(workers: usize, count: usize, job: Job) -> anyhow::Result<f64>
where
    Job: Fn(usize) -> Done + Clone + Send + 'static,
    Done: Future<Output = anyhow::Result<()>> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = (0..workers)
        .map(|_| {
            let (next, job) = (next.clone(), job.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return anyhow::Ok(());
                    }
                    job(number).await?;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// How many durable writes of 1 KiB a second `put` does at 1, 8 and 64 writers: one row each.
pub(crate) async fn writes<Put, Done>(put: Put) -> anyhow::Result<()>
where
    Put: Fn(String) -> Done + Clone + Send + 'static,
    Done: Future<Output = anyhow::Result<()>> + Send,
{
    for (writers, count) in [(1, 2_000), (8, 8_000), (64, 40_000)] {
        let put = put.clone();
        let done = rate(writers, count, move |number| put(format!("pods/{}", number % 2_000))).await?;
        row(&format!("durable writes of 1 KiB, {writers} writers"), "/s", &[done]);
    }
    Ok(())
}

/// Prints one row.
pub(crate) fn row(title: &str, unit: &str, samples: &[f64]) {
    println!("{}", json!({"row": title, "unit": unit, "samples": samples}));
}

/// In milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
