//! Putting the rules back when somebody takes them away.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::time::MissedTickBehavior;

use super::{Inner, blocking, rules};
use crate::nft::{Disturbance, TableEvents};

/// How often the table is looked for, in case a notification was lost.
const INTERVAL: Duration = Duration::from_secs(30);

/// Watches the table until the instance closes. A firewall that is reloaded flushes every table.
pub(super) async fn watch(inner: Arc<Inner>, mut events: AsyncFd<TableEvents>) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let seen = tokio::select! {
            () = inner.stop.cancelled() => return,
            seen = next(&mut events) => seen,
            _ = interval.tick() => missing(&inner).await.map(|damaged| Disturbance { damaged, others: true }),
        };
        match seen {
            Ok(Disturbance { damaged: true, .. }) => assert(&inner).await,
            Ok(Disturbance { others: true, .. }) => admit(&inner).await,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "rules cannot be watched; looking again later"),
        }
    }
}

async fn next(events: &mut AsyncFd<TableEvents>) -> io::Result<Disturbance> {
    let mut ready = events.readable_mut().await?;
    let seen = ready.get_inner_mut().read();
    ready.clear_ready();
    seen
}

async fn missing(inner: &Arc<Inner>) -> io::Result<bool> {
    blocking(inner, |inner| inner.table.lock().exists()).await.map(|exists| !exists)
}

async fn assert(inner: &Arc<Inner>) {
    let table = inner.config.instance.clone();
    match blocking(inner, rules::replace).await {
        Ok(()) => tracing::info!(table, "somebody took rules away; they are back"),
        Err(error) => {
            let error = base::error::chain(&error);
            tracing::warn!(table, %error, "rules were taken away and could not be put back");
        }
    }
}

async fn admit(inner: &Arc<Inner>) {
    blocking(inner, |inner| inner.table.lock().admit()).await;
}
