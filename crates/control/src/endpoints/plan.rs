//! The thinking half of the endpoints controller: pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::{ObjectKey, Resource as _, Store};
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort as OlderPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
    ServicePort,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use model::select::LabelSelector;

use super::slices::{self, Member, Step};
use crate::ownership::owned_by;
use crate::pods::{OutlinedPod, PodOutline, Port};

/// The label by which a slice belongs to its service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label that says who looks after an object.
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Who looks after our slices.
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Who looks after our Endpoints.
pub(super) const OLDER_MANAGER: &str = "endpoint-controller";
/// The label of what belongs to a service without an address of its own.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// The service whose endpoints a slice shows that `manager` looks after, by its labels.
pub(super) fn service_of<'a>(slice: &'a EndpointSlice, manager: &str) -> Option<&'a str> {
    slice.label(SERVICE_NAME).filter(|_| slice.label(MANAGED_BY) == Some(manager))
}

/// The slices in which `manager` shows the `kind` that `key` names and `uid` identifies, or showed it if it is
/// gone. Anybody can write labels: what has owners and not this one is somebody else's, and is neither
/// changed nor removed.
pub(super) fn shown_by(
    manager: &str,
    slices: &Store<EndpointSlice>,
    (kind, key, uid): (&str, &ObjectKey, Option<&str>),
) -> Vec<Arc<EndpointSlice>> {
    let labels = LabelSelector::from_labels([(SERVICE_NAME, &*key.name), (MANAGED_BY, manager)]);
    let mut shown = slices.select(&key.namespace, &labels);
    shown.retain(|slice| is_owned(slice, kind, &key.name, uid));
    shown
}

/// Whether nobody else owns a slice.
fn is_owned(slice: &EndpointSlice, kind: &str, name: &str, uid: Option<&str>) -> bool {
    let owners = slice.metadata.owner_references.as_deref().unwrap_or_default();
    owners.is_empty()
        || owners
            .iter()
            .any(|one| one.kind == kind && one.name == name && uid.is_none_or(|uid| uid == one.uid))
}

/// Whether the service finds its pods by labels.
pub(super) fn has_selector(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_some_and(|selector| !selector.is_empty())
        && service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) != Some("ExternalName")
}

/// Whether the service's selector fits the pod.
pub(super) fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(key, value)| pod.label(key) == Some(value))
    })
}

/// What the service selects its pods by.
pub(super) fn selector(service: &Service) -> LabelSelector {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    match selector.filter(|selector| !selector.is_empty()) {
        Some(selector) => LabelSelector::from_labels(selector.iter().map(|(key, value)| (&**key, &**value))),
        None => LabelSelector::nothing(),
    }
}

/// The pods behind a service: those that have an address and have not ended, in a stable order.
pub(super) fn members(service: &Service, pods: &[OutlinedPod]) -> Vec<Member> {
    let mut members: Vec<Member> = pods.iter().filter_map(|pod| member(service, pod)).collect();
    members.sort_by(|one, other| one.endpoint.addresses.cmp(&other.endpoint.addresses));
    members
}

fn member(service: &Service, OutlinedPod { key, outline: pod, .. }: &OutlinedPod) -> Option<Member> {
    let text = |text: &str| Some(text.to_owned());
    let address = pod.address.as_deref()?.to_owned();
    if pod.is_terminal() {
        return None;
    }
    let spec = service.spec.as_ref()?;
    let (serving, terminating) = (pod.is_ready, pod.is_ending);
    let ready = (serving && !terminating) || spec.publish_not_ready_addresses.unwrap_or(false);
    // A pod whose subdomain is the service is known by its host name there.
    let names = pod.names.as_ref().filter(|names| Some(&names.subdomain) == service.metadata.name.as_ref());
    Some(Member {
        endpoint: Endpoint {
            addresses: vec![address],
            conditions: Some(EndpointConditions {
                ready: Some(ready),
                serving: Some(serving),
                terminating: Some(terminating),
            }),
            hostname: names.map(|names| names.hostname.clone()),
            node_name: pod.node.as_deref().and_then(text),
            target_ref: Some(ObjectReference {
                kind: text("Pod"),
                name: text(&key.name),
                namespace: text(&key.namespace),
                uid: text(&pod.uid),
                ..ObjectReference::default()
            }),
            ..Endpoint::default()
        },
        ports: spec.ports.iter().flatten().filter_map(|port| port_at(port, pod)).collect(),
    })
}

/// A service's port as it is at one pod; a name is looked up among the pod's ports.
fn port_at(port: &ServicePort, pod: &PodOutline) -> Option<EndpointPort> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => {
            let is_it = |known: &&Port| *known.name == **name && *known.protocol == *protocol;
            pod.ports.iter().find(is_it)?.number
        }
    };
    Some(EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(number),
        protocol: Some(protocol),
        app_protocol: port.app_protocol.clone(),
    })
}

/// What makes the service's slices show exactly `members`.
pub(super) fn plan(service: &Service, members: &[Member], slices: &[Arc<EndpointSlice>]) -> Vec<Step> {
    slices::plan(&template(service), members, slices)
}

/// What the service's slices have in common: what is said of it is said of them, so that whoever leaves it
/// alone leaves them alone.
fn template(service: &Service) -> EndpointSlice {
    let name = service.name();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), name.to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    } else {
        // Whoever says so of a service that is not makes its slices no others.
        labels.remove(HEADLESS);
    }
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: owned_by(service),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".to_owned(),
        ..EndpointSlice::default()
    }
}

/// The same as one Endpoints object, for clients that know no slices.
pub(super) fn older(service: &Service, members: &[Member]) -> Endpoints {
    let mut groups: BTreeMap<String, EndpointSubset> = BTreeMap::new();
    for member in members {
        let Some(ip) = member.endpoint.addresses.first() else { continue };
        let conditions = member.endpoint.conditions.clone().unwrap_or_default();
        if conditions.terminating == Some(true) && conditions.ready != Some(true) {
            continue;
        }
        let key = serde_json::to_string(&member.ports).expect("ports are plain data");
        let subset = groups.entry(key).or_insert_with(|| EndpointSubset {
            ports: Some(member.ports.iter().map(older_port).collect()),
            ..EndpointSubset::default()
        });
        let address = EndpointAddress {
            ip: ip.clone(),
            hostname: member.endpoint.hostname.clone(),
            node_name: member.endpoint.node_name.clone(),
            target_ref: member.endpoint.target_ref.clone(),
        };
        let list = if conditions.ready == Some(true) {
            &mut subset.addresses
        } else {
            &mut subset.not_ready_addresses
        };
        list.get_or_insert_default().push(address);
    }
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), OLDER_MANAGER.to_owned());
    Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        subsets: (!groups.is_empty()).then(|| groups.into_values().collect()),
    }
}

/// Whether two Endpoints say the same.
pub(super) fn same_older(one: &Endpoints, other: &Endpoints) -> bool {
    one.subsets.clone().unwrap_or_default() == other.subsets.clone().unwrap_or_default()
        && one.metadata.labels == other.metadata.labels
}

fn older_port(port: &EndpointPort) -> OlderPort {
    OlderPort {
        name: port.name.clone().filter(|name| !name.is_empty()),
        port: port.port.unwrap_or(0),
        protocol: port.protocol.clone(),
        app_protocol: port.app_protocol.clone(),
    }
}

#[cfg(test)]
mod tests {
    use client::{Outline as _, Outlined};
    use serde_json::{Value, json};

    use super::*;

    fn service(ports: &Value) -> Service {
        let object = json!({"metadata": {"name": "web", "namespace": "n", "uid": "s"},
                            "spec": {"selector": {"app": "web"}, "clusterIP": "10.43.0.5", "ports": ports}});
        serde_json::from_value(object).expect("a service")
    }

    /// `address:state`, where the state is `ready`, `unready`, `ending` or `done`.
    fn pod(text: &str) -> Pod {
        let (address, state) = text.split_once(':').expect("address:state");
        let object = json!({
            "metadata": {"name": format!("p{address}"), "namespace": "n", "labels": {"app": "web"},
                         "deletionTimestamp": (state == "ending").then_some("2026-01-01T00:00:00Z")},
            "spec": {"nodeName": "here", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"podIP": address, "phase": if state == "done" { "Succeeded" } else { "Running" },
                       "conditions": [{"type": "Ready", "status": if state == "unready" { "False" } else { "True" }}]},
        });
        serde_json::from_value(object).expect("a pod")
    }

    fn outlined<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Vec<OutlinedPod> {
        let of = |pod: &Pod| Outlined {
            key: pod.key(),
            labels: Arc::default(),
            outline: Arc::new(PodOutline::of(pod)),
        };
        pods.into_iter().map(of).collect()
    }

    #[track_caller]
    fn check(ports: Value, pods: &str, expected: &str) {
        let service = service(&ports);
        let pods: Vec<_> = pods.split_whitespace().map(pod).collect();
        assert!(pods.iter().all(|pod| selects(&service, pod)));
        let steps = plan(&service, &members(&service, &outlined(&pods)), &[]);
        let words: Vec<String> = steps
            .iter()
            .map(|step| {
                let Step::Create(slice) = step else { panic!("only new slices") };
                let ports: Vec<_> =
                    slice.ports.iter().flatten().map(|port| port.port.unwrap_or(0).to_string()).collect();
                let endpoints: Vec<_> = slice
                    .endpoints
                    .iter()
                    .flatten()
                    .map(|endpoint| {
                        let conditions = endpoint.conditions.clone().unwrap_or_default();
                        let ready = if conditions.ready == Some(true) { "" } else { "!" };
                        format!("{ready}{}", endpoint.addresses[0])
                    })
                    .collect();
                format!("{} -> {}", ports.join(","), endpoints.join(" "))
            })
            .collect();
        assert_eq!(words.join("; "), expected);
    }

    #[test]
    fn a_slice_has_every_pod_with_an_address_that_has_not_ended() {
        check(
            json!([{"port": 80, "targetPort": "http"}]),
            "10.42.0.3:ready 10.42.0.2:unready 10.42.0.4:ending 10.42.0.5:done",
            "8080 -> !10.42.0.2 10.42.0.3 !10.42.0.4",
        );
        check(json!([{"port": 80}]), "10.42.0.3:ready", "80 -> 10.42.0.3");
        check(json!([{"port": 80, "targetPort": 9000}]), "10.42.0.3:ready", "9000 -> 10.42.0.3");
    }

    #[test]
    fn a_slice_of_another_owner_is_somebody_elses() {
        let check = |owners: Value, uid: Option<&str>, expected: bool| {
            let slice =
                json!({"metadata": {"name": "web-a", "ownerReferences": owners}, "addressType": "IPv4"});
            let slice: EndpointSlice = serde_json::from_value(slice).expect("a slice");
            assert_eq!(is_owned(&slice, "Service", "web", uid), expected, "{owners} {uid:?}");
        };
        let owner = |kind: &str, name: &str, uid: &str| json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": uid});
        check(json!([]), Some("s"), true);
        check(json!([owner("Service", "web", "s")]), Some("s"), true);
        check(json!([owner("ConfigMap", "c", "c"), owner("Service", "web", "s")]), Some("s"), true);
        check(json!([owner("Service", "web", "before")]), Some("s"), false);
        check(json!([owner("ConfigMap", "web", "c")]), Some("s"), false);
        // Of one that is gone nobody knows the uid any more.
        check(json!([owner("Service", "web", "s")]), None, true);
        check(json!([owner("Service", "other", "s")]), None, false);
        let labelled = |manager: Option<&str>| -> EndpointSlice {
            let labels = json!({SERVICE_NAME: "web", MANAGED_BY: manager});
            serde_json::from_value(json!({"metadata": {"labels": labels}, "addressType": "IPv4"}))
                .expect("a slice")
        };
        assert_eq!(service_of(&labelled(Some(MANAGER)), MANAGER), Some("web"));
        assert_eq!(service_of(&labelled(Some("somebody")), MANAGER), None);
    }

    #[test]
    fn a_slice_that_is_right_is_left_alone_and_one_too_many_is_removed() {
        let service = service(&json!([{"port": 80}]));
        let members = members(&service, &outlined([&pod("10.42.0.3:ready")]));
        let first = plan(&service, &members, &[]);
        let [Step::Create(slice)] = first.as_slice() else { panic!("one new slice, not {first:?}") };
        let mut named = EndpointSlice::clone(slice);
        named.metadata.name = Some("web-a".to_owned());
        let mut second = named.clone();
        second.metadata.name = Some("web-b".to_owned());
        let steps = plan(&service, &members, &[Arc::new(second), Arc::new(named.clone())]);
        assert!(matches!(steps.as_slice(), [Step::Delete(slice)] if slice.name() == "web-b"), "{steps:?}");
        // What is said of the service now is said of its slices.
        let mut labelled = service.clone();
        let label = "service.kubernetes.io/service-proxy-name";
        labelled.metadata.labels = Some([(label.to_owned(), "mine".to_owned())].into());
        let steps = plan(&labelled, &members, &[Arc::new(named)]);
        let [Step::Update(slice)] = steps.as_slice() else { panic!("one change, not {steps:?}") };
        assert_eq!((slice.name(), slice.label(label)), ("web-a", Some("mine")));
    }

    #[test]
    fn more_pods_than_a_slice_holds_make_more_slices() {
        let service = service(&json!([{"port": 80}]));
        let pods: Vec<_> = (0..250).map(|n| pod(&format!("10.42.{}.{}:ready", n / 200, n % 200))).collect();
        assert_eq!(plan(&service, &members(&service, &outlined(&pods)), &[]).len(), 3);
    }

    #[test]
    fn the_older_object_keeps_those_that_are_not_ready_apart() {
        let service = service(&json!([{"port": 80}]));
        let pods = [pod("10.42.0.3:ready"), pod("10.42.0.4:unready")];
        let subsets = older(&service, &members(&service, &outlined(&pods))).subsets.expect("subsets");
        assert_eq!(subsets.len(), 1);
        assert_eq!(subsets[0].addresses.as_ref().map(Vec::len), Some(1));
        assert_eq!(subsets[0].not_ready_addresses.as_ref().map(Vec::len), Some(1));
    }
}
