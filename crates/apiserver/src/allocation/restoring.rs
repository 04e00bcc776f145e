//! Addresses of services are told of, whoever removes what tells of them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use http::Method;
use model::Object;
use serde_json::json;
use store::{Compare, Op, Put, Revision, Txn};

use super::{ADDRESSES, Claim, FAMILY, Holder, MANAGED_BY, repair};
use crate::bootstrap;
use crate::cache::Stored;
use crate::handle::Handle;
use crate::resource::Resource;
use crate::state::State;
use crate::version::{revision_of, version_at};

/// As whom it tells of what it does.
const REPORTER: &str = "ipallocator-repair-controller";

/// Makes entries of addresses anew that somebody has removed or changed, as long as the services that have the
/// addresses are there. Ends with the memory that shows them.
pub(crate) async fn keep(state: &Arc<State>, handle: &Handle) {
    let partition = state.cache.partition(ADDRESSES);
    let mut reached = partition.subscribe();
    let mut last = partition.last();
    loop {
        if reached.changed().await.is_err() {
            return;
        }
        let Some((changes, now)) = partition.changes_after(last) else {
            last = partition.last();
            if let Err(error) = repair(state, &state.table.all()).await {
                tracing::warn!(error = %base::error::chain(&error), "addresses are not looked at anew yet");
            }
            continue;
        };
        last = now;
        for change in changes {
            // What is made is right: it came with its service, or is none of ours.
            if change.deleted || change.previous.is_some() {
                // Whether the service goes in the same transaction is shown when all of that is.
                let _ = state.cache.wait_for(change.revision).await;
                restore(state, handle, &change.stored).await;
            }
        }
    }
}

/// Makes the entry anew that `was`, if its holder has the address.
async fn restore(state: &Arc<State>, handle: &Handle, was: &Stored) {
    let holder = Holder::in_entry(&was.object());
    let Some(found) =
        was.name.parse::<Ipv4Addr>().ok().and_then(|address| Entry::of(state, &holder, address))
    else {
        return;
    };
    let Entry { claim, service, revision, resource, shown } = found;
    let entry = claim.entry(state, &resource, &service, state.clock.now());
    let txn = Txn::new()
        .when(Compare::mod_revision(claim.key(), shown))
        .when(Compare::mod_revision(holder.key(), revision))
        .then(Op::Put(Put::new(claim.key(), entry)));
    match state.store.txn(txn).await {
        Ok(done) if done.succeeded => {
            let _ = state.cache.wait_for(version_at(done.revision)).await;
            tell(state, handle, &resource, &service, &was.name).await;
        }
        // Somebody was faster: that is a change of its own, or the service has the address no more.
        Ok(_) => {}
        Err(error) => {
            let error = base::error::chain(&error);
            tracing::warn!(address = %was.name, %error, "an address that was let go of by others is not set aside yet");
        }
    }
}

/// An address whose entry is missing or wrong, with the service that has it.
struct Entry {
    claim: Claim,
    service: Object,
    revision: Revision,
    resource: Arc<Resource>,
    /// The revision of what is there instead.
    shown: Revision,
}

impl Entry {
    fn of(state: &State, holder: &Holder, address: Ipv4Addr) -> Option<Self> {
        let claim = Claim::Address(address);
        let resource = state.table.find(&holder.group, "", &holder.resource)?;
        let service = state.cache.find(&holder.key())?;
        if !super::may_hold(&resource) || !resource.strategy.claims(&service.object()).contains(&claim) {
            return None;
        }
        let shown = state.cache.find(&claim.key());
        let is_right = shown.as_ref().is_some_and(|entry| {
            let entry = entry.object();
            let is_labelled =
                [FAMILY, MANAGED_BY].iter().all(|(label, value)| entry.label(label) == Some(value));
            Holder::in_entry(&entry) != *holder || is_labelled
        });
        (!is_right).then(|| Self {
            claim,
            service: service.object(),
            revision: revision_of(service.revision()),
            resource,
            shown: shown.map_or(0, |entry| revision_of(entry.revision())),
        })
    }
}

/// Says of a service that its address was set aside anew.
async fn tell(state: &State, handle: &Handle, resource: &Resource, service: &Object, address: &str) {
    let namespace = service.namespace().unwrap_or("default");
    let now = state.clock.now();
    let event = json!({
        "metadata": {"name": format!("{}.{:x}", service.name(), now.as_nanosecond()), "namespace": namespace},
        "eventTime": model::time::format_micro(now),
        "reportingController": REPORTER, "reportingInstance": REPORTER,
        "action": "ClusterIPAllocation", "reason": "ClusterIPNotAllocated", "type": "Warning",
        "note": format!("Cluster IP [IPv4]: {address} is not allocated; repairing"),
        "regarding": {
            "apiVersion": resource.gvk().api_version(), "kind": resource.kind,
            "namespace": namespace, "name": service.name(), "uid": service.uid(),
        },
    });
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let (code, answer) = bootstrap::call(handle, Method::POST, &path, &event).await;
    if !code.is_success() {
        tracing::debug!(%code, answer, "an event is not told");
    }
}
