//! Putting the rules back when somebody takes them away.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::time::MissedTickBehavior;

use super::Inner;
use crate::nft::TableEvents;

/// How often the table is looked for, in case a notification was lost.
const INTERVAL: Duration = Duration::from_secs(30);

/// Watches the table until the instance closes. A firewall that is reloaded flushes every table.
pub(super) async fn watch(inner: Arc<Inner>, mut events: AsyncFd<TableEvents>) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let damaged = tokio::select! {
            () = inner.stop.cancelled() => return,
            damaged = next(&mut events) => damaged,
            _ = interval.tick() => missing(&inner).await,
        };
        match damaged {
            Ok(false) => {}
            Ok(true) => assert(&inner).await,
            Err(error) => tracing::warn!(%error, "rules cannot be watched; looking again later"),
        }
    }
}

async fn next(events: &mut AsyncFd<TableEvents>) -> io::Result<bool> {
    let mut ready = events.readable_mut().await?;
    let damaged = ready.get_inner_mut().read();
    ready.clear_ready();
    damaged
}

async fn missing(inner: &Arc<Inner>) -> io::Result<bool> {
    let inner = inner.clone();
    let exists = tokio::task::spawn_blocking(move || inner.table.lock().exists()).await;
    exists.map_err(io::Error::other)?.map(|exists| !exists)
}

async fn assert(inner: &Arc<Inner>) {
    let table = inner.config.instance.clone();
    let inner = inner.clone();
    let done = tokio::task::spawn_blocking(move || inner.table.lock().assert()).await;
    match done.map_err(io::Error::other).and_then(|result| result) {
        Ok(()) => tracing::info!(table, "somebody took rules away; they are back"),
        Err(error) => tracing::warn!(table, %error, "rules were taken away and could not be put back"),
    }
}
