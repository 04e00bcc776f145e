//! Keeps the network's tables in step with the API's services and endpoints.

use std::time::Duration;

use client::Informer;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{dns_table, join, service_table};
use crate::agent::Shared;

/// Changes that come close together become one transaction.
const GATHER: Duration = Duration::from_millis(5);
/// Before a transaction that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Programs services and names until `stop` is cancelled. What is programmed stays.
pub(crate) async fn program(
    shared: &Shared,
    services: &Informer<Service>,
    slices: &Informer<EndpointSlice>,
    stop: CancellationToken,
) {
    let changed = std::sync::Arc::new(Notify::new());
    for_changes(services, &changed);
    for_changes(slices, &changed);
    let lasting = async {
        services.store().synced().await;
        slices.store().synced().await;
        loop {
            let pause = if apply(shared, services, slices).await { Duration::MAX } else { AGAIN };
            tokio::select! {
                () = changed.notified() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep(pause) => {}
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = lasting => {}
    }
}

fn for_changes<K: client::Resource>(informer: &Informer<K>, changed: &std::sync::Arc<Notify>) {
    let changed = std::sync::Arc::clone(changed);
    informer.on_change(move |_| changed.notify_one());
}

/// Whether the kernel took it.
async fn apply(shared: &Shared, services: &Informer<Service>, slices: &Informer<EndpointSlice>) -> bool {
    let (services, slices) = (services.store().list(), slices.store().list());
    let backed = join(services.iter().map(AsRef::as_ref), slices.iter().map(AsRef::as_ref));
    let network = shared.engine.network();
    network.dns_apply(dns_table(&backed));
    let table = service_table(&backed, &shared.config.name);
    debug!(ports = table.ports.len(), "programming services");
    match network.services_apply(table).await {
        Ok(()) => true,
        Err(error) => {
            warn!(error = %base::error::chain(&error), "cannot program services; trying again");
            false
        }
    }
}
