//! Removing the links of sandboxes that end.
//!
//! The kernel removes a link together with its namespace, for many namespaces at once; told to remove
//! one link, it makes everybody else who changes links wait until all processors have let go of it
//! (ten milliseconds and more). So the link of a sandbox that ends is left to the kernel at first, and
//! removed only if the namespace lives on. Until the link is gone nobody else gets its address.

use std::sync::Arc;
use std::time::Duration;

use super::{Inner, NetworkId, blocking};
use crate::{Endpoint, KernelError};

/// How long a namespace may take to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// Removes the links of `network` that are still to go; true if there were any.
pub(super) fn now(inner: &Inner, network: &NetworkId) -> Result<bool, KernelError> {
    let of_network = |endpoint: &Endpoint| endpoint.network == *network;
    remove(inner, of_network)
}

/// Removes links whose time is over, until the instance closes.
pub(super) async fn run(inner: Arc<Inner>) {
    loop {
        inner.reap.notified().await;
        let due: Vec<String> =
            inner.state.lock().leaving.iter().map(|endpoint| endpoint.id.clone()).collect();
        tokio::time::sleep(GRACE).await;
        let done = blocking(&inner, move |inner| {
            let result = remove(inner, |endpoint| due.contains(&endpoint.id));
            if !inner.state.lock().leaving.is_empty() {
                inner.reap.notify_one();
            }
            result
        });
        if let Err(error) = done.await {
            let error = base::error::chain(&error);
            tracing::warn!(%error, "a link of a sandbox that ended could not be removed");
        }
    }
}

fn remove(inner: &Inner, which: impl Fn(&Endpoint) -> bool) -> Result<bool, KernelError> {
    let due: Vec<Endpoint> =
        inner.state.lock().leaving.iter().filter(|endpoint| which(endpoint)).cloned().collect();
    let mut result = Ok(!due.is_empty());
    for endpoint in &due {
        let removed = inner.driver.detach(endpoint);
        // Given up after one failure: opening the next time removes links that nobody remembers.
        inner.state.lock().leaving.retain(|other| other.id != endpoint.id);
        if let Err(error) = removed {
            result = Err(error);
        }
    }
    result
}
