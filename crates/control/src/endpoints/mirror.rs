//! Endpoints that somebody writes for a service without a selector, shown as slices too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::{Action, Api, Controller, Error, Freshness, ObjectKey, Reconcile, Resource as _, Store};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::carry_out;
use super::plan::{MANAGED_BY, SERVICE_NAME, service_of, shown_by};
use super::slices::{self, Member, Step};
use crate::Context;
use crate::ownership::{self, owned_by};

/// Who looks after slices that show what Endpoints say.
const MIRROR: &str = "endpointslicemirroring-controller.k8s.io";
/// The label of Endpoints that are not to be shown as slices.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// The annotation of those that are no endpoints at all, but somebody's leadership.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Notes of those who wrote the object, about that alone.
const OWN_NOTES: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time"];
/// The kinds of addresses, each in slices of its own.
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let services = context.informers.of::<Service>();
    let slices = context.informers.of::<EndpointSlice>();
    let endpoints = context.informers.of::<Endpoints>();
    let reconciler = Reconciler {
        services: services.store(),
        slices: slices.store(),
        endpoints: endpoints.store(),
        fresh: Freshness::new(slices.store()),
        context: context.clone(),
    };
    let of_slice = |slice: &EndpointSlice| -> Vec<ObjectKey> {
        let service = service_of(slice, MIRROR);
        service.map(|name| ObjectKey::new(slice.namespace().unwrap_or_default(), name)).into_iter().collect()
    };
    Controller::new("endpointslicemirroring", &endpoints)
        .watches(&services, |service: &Service| vec![service.key()])
        .watches(&slices, of_slice)
        .run_by(reconciler, context.stop)
        .await;
}

/// Whether Endpoints are no endpoints, but somebody's leadership.
pub(super) fn is_leadership(endpoints: &Endpoints) -> bool {
    endpoints.metadata.annotations.as_ref().is_some_and(|notes| notes.contains_key(LEADER))
}

struct Reconciler {
    context: Context,
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    endpoints: Store<Endpoints>,
    fresh: Freshness<EndpointSlice>,
}

impl Reconcile for Reconciler {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        if !self.fresh.ready(key).await {
            return Ok(Action::After(Duration::from_secs(1)));
        }
        let service = self.services.get(key);
        let endpoints = self.endpoints.get(key);
        let uid = endpoints.as_ref().map(|endpoints| endpoints.uid());
        let own = shown_by(MIRROR, &self.slices, ("Endpoints", key, uid));
        let shown = endpoints.clone().filter(|endpoints| {
            service.as_ref().is_some_and(|service| shows(service)) && is_shown(endpoints)
        });
        let steps = match &shown {
            Some(endpoints) => plan(endpoints, &own),
            None => own.iter().map(|slice| Step::Delete(Arc::clone(slice))).collect(),
        };
        if let Some(endpoints) = &shown
            && steps.iter().any(|step| matches!(step, Step::Create(_)))
        {
            // The cache may not show yet that they are gone: what is made for them now would stay behind.
            let api: Api<Endpoints> = Api::namespaced(&self.context.client, &key.namespace);
            if !ownership::stays(&api, &**endpoints).await? {
                return Ok(Action::Done);
            }
        }
        let api: Api<EndpointSlice> = Api::namespaced(&self.context.client, &key.namespace);
        let undone = carry_out(&api, &self.fresh, key, steps).await?;
        if shown.is_none() && undone.is_none() {
            self.fresh.forget(key);
        }
        Ok(undone.unwrap_or(Action::Done))
    }
}

/// Whether a service's endpoints are what somebody writes down.
fn shows(service: &Service) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    service.metadata.deletion_timestamp.is_none() && selector.is_none_or(BTreeMap::is_empty)
}

/// Whether Endpoints are to be shown as slices.
fn is_shown(endpoints: &Endpoints) -> bool {
    endpoints.metadata.deletion_timestamp.is_none()
        && endpoints.label(SKIP) != Some("true")
        && !is_leadership(endpoints)
}

/// What makes slices show exactly what `endpoints` say.
fn plan(endpoints: &Endpoints, own: &[Arc<EndpointSlice>]) -> Vec<Step> {
    let of_family = |family: &str| {
        let own: Vec<Arc<EndpointSlice>> =
            own.iter().filter(|slice| slice.address_type == family).cloned().collect();
        let members: Vec<Member> =
            endpoints.subsets.iter().flatten().flat_map(members).filter(|one| is_of(one, family)).collect();
        slices::plan(&template(endpoints, family), &members, &own)
    };
    FAMILIES.into_iter().flat_map(of_family).collect()
}

fn is_of(member: &Member, family: &str) -> bool {
    let is_v6 = member.endpoint.addresses.iter().any(|address| address.contains(':'));
    is_v6 == (family == "IPv6")
}

fn members(subset: &EndpointSubset) -> Vec<Member> {
    let ports: Vec<EndpointPort> = subset
        .ports
        .iter()
        .flatten()
        .map(|port| EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(port.port),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: port.app_protocol.clone(),
        })
        .collect();
    let member = |ready: bool| {
        let ports = ports.clone();
        move |address: &EndpointAddress| Member {
            endpoint: Endpoint {
                addresses: vec![address.ip.clone()],
                conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
                hostname: address.hostname.clone(),
                node_name: address.node_name.clone(),
                target_ref: address.target_ref.clone(),
                ..Endpoint::default()
            },
            ports: ports.clone(),
        }
    };
    let ready = subset.addresses.iter().flatten().map(member(true));
    ready.chain(subset.not_ready_addresses.iter().flatten().map(member(false))).collect()
}

fn template(endpoints: &Endpoints, family: &str) -> EndpointSlice {
    let name = endpoints.name();
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), name.to_owned());
    labels.insert(MANAGED_BY.to_owned(), MIRROR.to_owned());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !OWN_NOTES.contains(&&**key));
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: endpoints.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: owned_by(endpoints),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        ..EndpointSlice::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn endpoints(subsets: &Value) -> Endpoints {
        let object = json!({
            "metadata": {"name": "db", "namespace": "n", "uid": "e", "labels": {"a": "b"},
                "annotations": {"mine": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
            "subsets": subsets,
        });
        serde_json::from_value(object).expect("endpoints")
    }

    #[test]
    fn each_subset_and_family_is_a_slice_that_says_the_same() {
        let endpoints = endpoints(&json!([
            {"addresses": [{"ip": "192.0.2.1", "hostname": "one"}, {"ip": "2001:db8::1"}],
             "notReadyAddresses": [{"ip": "192.0.2.2"}], "ports": [{"name": "sql", "port": 5432}]},
            {"addresses": [{"ip": "192.0.2.3"}], "ports": [{"port": 80}]},
        ]));
        let steps = plan(&endpoints, &[]);
        let mut shown: Vec<String> = steps
            .iter()
            .map(|step| {
                let Step::Create(slice) = step else { panic!("only new slices") };
                assert_eq!(slice.label(SERVICE_NAME), Some("db"));
                assert_eq!((slice.label(MANAGED_BY), slice.label("a")), (Some(MIRROR), Some("b")));
                assert_eq!(slice.metadata.annotations, Some([("mine".to_owned(), "x".to_owned())].into()));
                let port = &slice.ports.as_ref().expect("ports")[0];
                let endpoints = slice.endpoints.iter().flatten().map(|endpoint| {
                    let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
                    format!("{}{}", if ready == Some(true) { "" } else { "!" }, endpoint.addresses[0])
                });
                let endpoints: Vec<String> = endpoints.collect();
                format!("{} {:?}:{:?} {}", slice.address_type, port.name, port.port, endpoints.join(" "))
            })
            .collect();
        shown.sort();
        assert_eq!(
            shown,
            [
                "IPv4 Some(\"\"):Some(80) 192.0.2.3",
                "IPv4 Some(\"sql\"):Some(5432) 192.0.2.1 !192.0.2.2",
                "IPv6 Some(\"sql\"):Some(5432) 2001:db8::1",
            ]
        );
    }

    #[test]
    fn what_is_nobodys_endpoints_is_not_shown() {
        let mut plain = endpoints(&json!([]));
        assert!(is_shown(&plain));
        plain.metadata.labels = Some([(SKIP.to_owned(), "true".to_owned())].into());
        assert!(!is_shown(&plain));
        let mut leader = endpoints(&json!([]));
        leader.metadata.annotations = Some([(LEADER.to_owned(), "{}".to_owned())].into());
        assert!(!is_shown(&leader) && is_leadership(&leader));
        let service = |spec: Value| -> Service {
            serde_json::from_value(json!({"metadata": {"name": "db"}, "spec": spec})).expect("a service")
        };
        assert!(shows(&service(json!({}))) && !shows(&service(json!({"selector": {"a": "b"}}))));
    }
}
