//! Keeps the network's tables in step with the API's services and endpoints.
//!
//! In the beginning the network is told everything. From then on only of services that changed, or whose
//! slices did: what that costs does not depend on how many others there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use client::{Informer, ObjectKey};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use net::ServiceName;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Backed, dns_table, is_usable, join, name, name_of_slice, service_table};
use crate::agent::Shared;

/// Changes that come close together become one transaction.
const GATHER: Duration = Duration::from_millis(5);
/// Before a transaction that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// The index of slices by the service that they belong to.
const BY_SERVICE: &str = "service";

/// Services that changed and that the network was not told of yet.
#[derive(Default)]
struct Pending {
    names: Mutex<BTreeSet<ServiceName>>,
    some: Notify,
}

/// Programs services and names until `stop` is cancelled. What is programmed stays.
pub(crate) async fn program(
    shared: &Shared,
    services: &Informer<Service>,
    slices: &Informer<EndpointSlice>,
    stop: CancellationToken,
) {
    let pending = Arc::new(Pending::default());
    slices.index(BY_SERVICE, |slice| name_of_slice(slice).map(|name| name.to_string()).into_iter().collect());
    let to = Arc::clone(&pending);
    services.on_change(move |change| to.add(name(change.object())));
    let to = Arc::clone(&pending);
    slices.on_change(move |change| {
        // It may have belonged to another before.
        to.add(change.old().and_then(|old| name_of_slice(old)));
        to.add(name_of_slice(change.object()));
    });
    let lasting = async {
        services.store().synced().await;
        slices.store().synced().await;
        // Whatever the network knows of from before.
        pending.take();
        while !all(shared, services, slices).await {
            tokio::time::sleep(AGAIN).await;
        }
        loop {
            pending.some.notified().await;
            tokio::time::sleep(GATHER).await;
            let names = pending.take();
            if !some(shared, services, slices, &names).await {
                names.into_iter().for_each(|name| pending.add(Some(name)));
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = lasting => {}
    }
}

impl Pending {
    fn add(&self, name: Option<ServiceName>) {
        if let Some(name) = name {
            self.names.lock().insert(name);
            self.some.notify_one();
        }
    }

    fn take(&self) -> BTreeSet<ServiceName> {
        std::mem::take(&mut self.names.lock())
    }
}

/// Tells the network of everything; whether the kernel took it.
async fn all(shared: &Shared, services: &Informer<Service>, slices: &Informer<EndpointSlice>) -> bool {
    let (services, slices) = (services.store().list(), slices.store().list());
    let backed = join(services.iter().map(AsRef::as_ref), slices.iter().map(AsRef::as_ref));
    let network = &shared.machine.network;
    network.dns_replace(dns_table(&backed));
    let table = service_table(&backed, &shared.config.name);
    debug!(services = table.len(), "programming all services");
    told(network.services_replace(table).await)
}

/// Tells the network what the services called `names` are now; whether the kernel took it.
async fn some(
    shared: &Shared,
    services: &Informer<Service>,
    slices: &Informer<EndpointSlice>,
    names: &BTreeSet<ServiceName>,
) -> bool {
    let (services, slices) = (services.store(), slices.store());
    // Who is not there any more, or has nothing to be programmed, has none of it from now on.
    let mut table: net::ServiceTable = names.iter().map(|name| (name.clone(), BTreeMap::new())).collect();
    let mut dns: net::DnsChanges = names.iter().map(|name| (name.clone(), None)).collect();
    for name in names {
        let Some(service) = services.get(&ObjectKey::new(&name.namespace, &name.name)) else { continue };
        let slices = slices.by_index(BY_SERVICE, &name.to_string());
        let slices = slices.iter().map(AsRef::as_ref).filter(|slice| is_usable(slice)).collect();
        let backed = [Backed { service: &service, slices }];
        table.extend(service_table(&backed, &shared.config.name));
        dns.extend(dns_table(&backed).into_iter().map(|(name, service)| (name, Some(service))));
    }
    debug!(services = table.len(), "programming services");
    let network = &shared.machine.network;
    network.dns_change(dns);
    told(network.services_change(table).await)
}

fn told(result: Result<(), net::KernelError>) -> bool {
    if let Err(error) = &result {
        warn!(error = %base::error::chain(error), "cannot program services; trying again");
    }
    result.is_ok()
}
