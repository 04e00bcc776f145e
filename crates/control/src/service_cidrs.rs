//! Networks of services stay as long as they have addresses that no other network has.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use client::recorder::{EventType, Recorder};
use client::{
    Action, Api, Client, Controller, Error, ListOptions, ObjectKey, Reconcile, Resource as _, Store,
};
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::Context;

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// Who has the addresses of services.
const MANAGED_BY: (&str, &str) = ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");
const READY: &str = "Kubernetes Service CIDR is ready";
const TERMINATING: &str =
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
const AGAIN: Action = Action::After(Duration::from_millis(20));

/// Runs the controller.
pub(crate) async fn run(context: Context, events: Recorder) {
    let cidrs = context.informers.of::<ServiceCIDR>();
    let addresses = context.informers.of::<IPAddress>();
    let (by_address, by_network) = (cidrs.store(), cidrs.store());
    let reconciler = Reconciler {
        store: cidrs.store(),
        client: context.client.clone(),
        events,
        clock: Arc::clone(&context.clock),
    };
    Controller::new("service-cidrs", &cidrs)
        .watches(&addresses, move |_: &IPAddress| going(&by_address))
        .watches(&cidrs, move |_: &ServiceCIDR| going(&by_network))
        .run_by(reconciler, context.stop)
        .await;
}

/// Those that are to go: an address that goes, or a network that comes, may let them.
fn going(store: &Store<ServiceCIDR>) -> Vec<ObjectKey> {
    store.list().iter().filter(|cidr| cidr.is_being_deleted()).map(|cidr| cidr.key()).collect()
}

struct Reconciler {
    store: Store<ServiceCIDR>,
    client: Client,
    events: Recorder,
    clock: Arc<dyn Clock>,
}

impl Reconcile for Reconciler {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        let Some(cidr) = self.store.get(key) else { return Ok(Action::Done) };
        let api: Api<ServiceCIDR> = Api::all(&self.client);
        let is_held = cidr.metadata.finalizers.iter().flatten().any(|known| known == FINALIZER);
        if cidr.is_being_deleted() {
            if !is_held {
                return Ok(Action::Done);
            }
            // Nothing was given an address of it since its deletion began. What was before is in a list that is made
            // now, whatever the copies show.
            let addresses =
                Api::<IPAddress>::all(&self.client).list_all(&ListOptions::default()).await?.items;
            let others = api.list_all(&ListOptions::default()).await?.items;
            if is_needed(&cidr, &others, &addresses) {
                return self.say(&api, &cidr, "False", "Terminating", TERMINATING).await;
            }
            let mut changed = ServiceCIDR::clone(&cidr);
            changed.metadata.finalizers.get_or_insert_default().retain(|known| known != FINALIZER);
            return settled(api.update(&changed).await);
        }
        if !is_held {
            let mut changed = ServiceCIDR::clone(&cidr);
            changed.metadata.finalizers.get_or_insert_default().push(FINALIZER.to_owned());
            // That it is so comes back, and the rest follows.
            return settled(api.update(&changed).await);
        }
        let said = self.say(&api, &cidr, "True", "", READY).await;
        if said.is_err() {
            let note = "The ServiceCIDR Status can not be set to Ready=True";
            self.events.event(&*cidr, EventType::Warning, "KubernetesServiceCIDRError", note);
        }
        said
    }
}

impl Reconciler {
    /// Says whether addresses of the network are given, where that is not said already.
    async fn say(
        &self,
        api: &Api<ServiceCIDR>,
        cidr: &ServiceCIDR,
        status: &str,
        reason: &str,
        message: &str,
    ) -> Result<Action, Error> {
        let mut changed = cidr.clone();
        let conditions = changed.status.get_or_insert_default().conditions.get_or_insert_default();
        let known = conditions.iter().find(|known| known.type_ == "Ready");
        if known
            .is_some_and(|known| known.status == status && known.reason == reason && known.message == message)
        {
            return Ok(Action::Done);
        }
        let condition = Condition {
            type_: "Ready".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: Time(self.clock.now()),
            observed_generation: None,
        };
        crate::conditions::set(conditions, condition);
        settled(api.update_status(&changed).await)
    }
}

fn settled<T>(outcome: Result<T, Error>) -> Result<Action, Error> {
    match outcome {
        Ok(_) | Err(Error::NotFound(_)) => Ok(Action::Done),
        Err(Error::Conflict(_)) => Ok(AGAIN),
        Err(error) => Err(error),
    }
}

fn networks(cidr: &ServiceCIDR) -> impl Iterator<Item = IpNet> {
    let all = cidr.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    all.filter_map(|text| text.parse().ok())
}

/// Whether a network that is to go has addresses of services that no network has that stays.
fn is_needed(cidr: &ServiceCIDR, all: &[ServiceCIDR], addresses: &[IPAddress]) -> bool {
    let stays = |other: &&ServiceCIDR| other.name() != cidr.name() && !other.is_being_deleted();
    let others: Vec<IpNet> = all.iter().filter(stays).flat_map(networks).collect();
    let own: Vec<IpNet> =
        networks(cidr).filter(|own| !others.iter().any(|other| other.contains(own))).collect();
    addresses.iter().filter(|address| is_managed(address)).any(|address| {
        let Ok(ip) = address.name().parse::<IpAddr>() else { return false };
        own.iter().any(|own| has(own, ip)) && !others.iter().any(|other| has(other, ip))
    })
}

/// Whether services may have an address of a network: the first and, of IPv4, the last are nobody's.
fn has(network: &IpNet, address: IpAddr) -> bool {
    let is_last = matches!(network, IpNet::V4(network) if IpAddr::V4(network.broadcast()) == address);
    network.contains(&address) && network.network() != address && !is_last
}

fn is_managed(address: &IPAddress) -> bool {
    let (label, value) = MANAGED_BY;
    address.metadata.labels.as_ref().and_then(|labels| labels.get(label)).is_some_and(|by| by == value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cidr(name: &str, cidrs: &[&str]) -> ServiceCIDR {
        let mut metadata = json!({"name": name});
        if name.starts_with("going") {
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        serde_json::from_value(json!({"metadata": metadata, "spec": {"cidrs": cidrs}})).expect("a network")
    }

    fn address(name: &str, by: &str) -> IPAddress {
        let labels = json!({"ipaddress.kubernetes.io/managed-by": by});
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).expect("an address")
    }

    #[test]
    fn a_network_goes_when_no_address_is_left_alone() {
        let check = |cidrs: &[&str], others: &[ServiceCIDR], addresses: &[(&str, &str)], expected: bool| {
            let own = cidr("going", cidrs);
            let all: Vec<ServiceCIDR> = [own.clone()].into_iter().chain(others.iter().cloned()).collect();
            let addresses: Vec<IPAddress> = addresses.iter().map(|(name, by)| address(name, by)).collect();
            assert_eq!(is_needed(&own, &all, &addresses), expected, "{cidrs:?} {others:?} {addresses:?}");
        };
        let (own, foreign) = (MANAGED_BY.1, "gateway");
        check(&["10.0.0.0/24"], &[], &[], false);
        check(&["10.0.0.0/24"], &[], &[("10.0.0.1", own)], true);
        check(&["10.0.0.0/24"], &[], &[("10.0.0.1", foreign), ("10.0.1.1", own)], false);
        // The whole of it is in another one, or all addresses that are taken.
        check(&["10.0.0.0/24"], &[cidr("other", &["10.0.0.0/16"])], &[("10.0.0.1", own)], false);
        check(&["10.0.0.0/24"], &[cidr("other", &["10.0.0.0/25"])], &[("10.0.0.1", own)], false);
        check(&["10.0.0.0/24"], &[cidr("other", &["10.0.0.0/25"])], &[("10.0.0.200", own)], true);
        // Nobody has the last address of the smaller one.
        check(&["10.0.0.0/24"], &[cidr("other", &["10.0.0.0/25"])], &[("10.0.0.127", own)], true);
        // One that goes too gives nothing a place.
        check(&["10.0.0.0/24"], &[cidr("going too", &["10.0.0.0/16"])], &[("10.0.0.1", own)], true);
        check(&["10.0.0.0/24", "fd00::/112"], &[], &[("fd00::5", own)], true);
    }
}
