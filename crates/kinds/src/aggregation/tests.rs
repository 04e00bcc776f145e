use serde_json::json;

use super::*;
use crate::access::testing::Given;

const SERVICES: &str = "services";
const SLICES: &str = "endpointslices";

fn api_service(group: &str, spec: Value) -> Value {
    let mut whole = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("v1.{group}"), "uid": format!("uid-{group}")},
        "spec": {"group": group, "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 15},
    });
    for (name, value) in spec.as_object().into_iter().flatten() {
        whole["spec"][name] = value.clone();
    }
    whole
}

fn behind(name: &str) -> Value {
    json!({"service": {"namespace": "n", "name": name, "port": 443}, "caBundle": "QUJD"})
}

fn reference(name: &str, port: u16) -> ServiceReference {
    ServiceReference { namespace: "n".to_owned(), name: name.to_owned(), port }
}

fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"namespace": "n", "name": name}, "spec": spec})
}

fn slice(name: &str, of: &str, endpoints: Value, ports: Value) -> Value {
    json!({
        "metadata": {"namespace": "n", "name": name, "labels": {"kubernetes.io/service-name": of}},
        "endpoints": endpoints, "ports": ports,
    })
}

fn told(places: Result<Vec<Place>, Absence>) -> String {
    match places {
        Ok(places) => {
            let one = |place: &Place| match place {
                Place::Address { node, address } => format!("{address} of {node:?}"),
                Place::Name(name, port) => format!("{name}:{port}"),
            };
            places.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        Err(Absence { reason, message }) => format!("{reason}: {message}"),
    }
}

#[test]
fn a_service_is_reached_at_what_is_ready_behind_it_or_it_is_said_why_not() {
    let given = Given::default();
    let services = ApiServices::new(&given);
    given.put(PLURAL, api_service("w.example.com", behind("s")));
    let at = |name: &str, port: u16| told(services.places(&reference(name, port)));
    assert_eq!(at("s", 443), r#"ServiceNotFound: service/s in "n" is not present"#);
    given.put(SERVICES, service("s", json!({"ports": [{"name": "api", "port": 443}, {"port": 80}]})));
    assert_eq!(at("s", 444), r#"ServicePortError: service/s in "n" is not listening on port 444"#);
    assert_eq!(at("s", 443), r#"EndpointsNotFound: cannot find endpointslices for service/s in "n""#);
    let unready = json!([{"addresses": ["10.1.0.1"], "conditions": {"ready": false}}]);
    given.put(SLICES, slice("s-1", "s", unready, json!([{"name": "api", "port": 8443}])));
    let missing =
        r#"MissingEndpoints: endpointslices for service/s in "n" have no addresses with port name "api""#;
    assert_eq!(at("s", 443), missing);
    let ready = json!([
        {"addresses": ["10.1.0.2"], "nodeName": "b"},
        {"addresses": ["10.1.0.1"], "conditions": {"ready": true}, "nodeName": "a"},
        {"addresses": ["127.0.0.1"]},
        {"addresses": ["169.254.169.254"]},
    ]);
    given.put(SLICES, slice("s-1", "s", ready, json!([{"name": "api", "port": 8443}])));
    given.put(
        SLICES,
        slice("t-1", "t", json!([{"addresses": ["10.1.0.9"]}]), json!([{"name": "api", "port": 1}])),
    );
    assert_eq!(at("s", 443), r#"10.1.0.1:8443 of "a", 10.1.0.2:8443 of "b""#);
    given.remove(SLICES, "n", "s-1");
    assert_eq!(at("s", 443), r#"EndpointsNotFound: cannot find endpointslices for service/s in "n""#);
    // Of a kind that is reached from elsewhere too it is not looked at beforehand.
    given.put(SERVICES, service("s", json!({"type": "NodePort", "ports": [{"port": 443}]})));
    assert_eq!(at("s", 443), r#"FailedDiscoveryCheck: no endpoints available for service "s""#);
    assert_eq!(at("s", 80), r#"FailedDiscoveryCheck: no service port 80 found for service "s""#);
    given.put(SERVICES, service("s", json!({"type": "ExternalName", "externalName": "api.example.org"})));
    assert_eq!(at("s", 443), "api.example.org:443");
}

#[test]
fn what_an_api_service_says_is_known_at_once_and_forgotten_with_it() {
    let given = Given::default();
    let services = ApiServices::new(&given);
    let before = services.registered();
    given.put(SERVICES, service("s", json!({"ports": [{"port": 443}]})));
    given.put(PLURAL, api_service("w.example.com", behind("s")));
    given.put(PLURAL, api_service("l.example.com", json!({})));
    let shown = services.registered();
    assert_ne!(shown.generation, before.generation);
    let all: Vec<String> = shown.all().map(|one| format!("{} {}", one.name, one.remote.is_some())).collect();
    assert_eq!(all, ["v1.l.example.com false", "v1.w.example.com true"]);
    let remote = shown.remote().next().expect("one").1;
    assert_eq!((remote.service.clone(), remote.authorities.as_slice()), (reference("s", 443), &b"ABC"[..]));
    assert!(!shown.get(&GroupVersion::new("w.example.com", "v1")).expect("it is there").available);
    // A change of no concern is none.
    given.put(SERVICES, service("other", json!({"ports": [{"port": 443}]})));
    assert_eq!(services.registered().generation, shown.generation);
    // Whoever registers the registrations does not take them away.
    given.put(PLURAL, api_service(GROUP, behind("s")));
    assert_eq!(services.registered().remote().count(), 1);
    given.remove(PLURAL, "", "v1.w.example.com");
    assert_eq!(services.registered().remote().count(), 0);
}

#[tokio::test]
async fn whoever_waits_is_told_of_what_concerns_him() {
    let given = Given::default();
    let services = ApiServices::new(&given);
    given.put(PLURAL, api_service("l.example.com", json!({})));
    let seen = services.registered().seen;
    let mut waiting = services.changed(seen);
    assert!(futures::FutureExt::now_or_never(&mut waiting).is_none());
    given.put(PLURAL, api_service("w.example.com", behind("s")));
    waiting.await;
    let mut waiting = services.changed(services.registered().seen);
    assert!(futures::FutureExt::now_or_never(&mut waiting).is_none());
    given.put(SLICES, slice("s-1", "s", json!([]), json!([])));
    waiting.await;
}

#[test]
fn a_condition_is_written_where_it_says_something_else_and_keeps_its_time() {
    let given = Given::default();
    let services = ApiServices::new(&given);
    let noon: Timestamp = "2026-01-01T12:00:00Z".parse().expect("a time");
    let found = |availability: &Availability| services.found("v1.w.example.com", availability, noon);
    let absent = |message: &str| {
        Availability::Absent(Absence { reason: "MissingEndpoints", message: message.to_owned() })
    };
    assert_eq!(found(&Availability::Passed), None, "there is no such object");
    given.put(PLURAL, api_service("w.example.com", behind("s")));
    let first = found(&absent("none")).expect("a change");
    assert_eq!(first.path, "/apis/apiregistration.k8s.io/v1/apiservices/v1.w.example.com/status");
    assert_eq!(first.object["metadata"], json!({"uid": "uid-w.example.com", "resourceVersion": "1"}));
    assert_eq!(
        first.object["status"]["conditions"],
        json!([{
            "type": "Available", "status": "False", "reason": "MissingEndpoints", "message": "none",
            "lastTransitionTime": "2026-01-01T12:00:00Z",
        }])
    );
    let mut changed = api_service("w.example.com", behind("s"));
    changed["status"] = json!({"conditions": [
        {"type": "Other", "status": "True"},
        {"type": "Available", "status": "False", "reason": "MissingEndpoints", "message": "none",
         "lastTransitionTime": "2025-01-01T00:00:00Z"},
    ]});
    given.put(PLURAL, changed);
    assert_eq!(found(&absent("none")), None, "it says so already");
    let conditions = |amend: Option<Amend>| amend.expect("a change").object["status"]["conditions"].clone();
    let other = conditions(found(&absent("others")));
    assert_eq!(other[0], json!({"type": "Other", "status": "True"}));
    assert_eq!(other[1]["lastTransitionTime"], "2025-01-01T00:00:00Z");
    let passed = conditions(found(&Availability::Passed));
    let texts = |name: &str| passed[1][name].as_str().unwrap_or_default().to_owned();
    assert_eq!((texts("status"), texts("reason")), ("True".to_owned(), "Passed".to_owned()));
    assert_eq!(texts("lastTransitionTime"), "2026-01-01T12:00:00Z");
}

#[test]
fn what_definitions_make_is_registered_and_nothing_else_is_touched() {
    let given = Given::default();
    let services = ApiServices::new(&given);
    let served = |groups: &[&str]| -> BTreeSet<GroupVersion> {
        groups.iter().map(|group| GroupVersion::new(*group, "v1")).collect()
    };
    let steps = |groups: &[&str]| -> Vec<String> {
        let all = services.register(&served(groups));
        all.into_iter()
            .map(|one| format!("{} {}", one.method, one.path.rsplit('/').next().unwrap_or_default()))
            .collect()
    };
    // Of what is there from the beginning, and of what others bring, there is nothing to do.
    assert_eq!(steps(&["", "apps", "metrics.k8s.io", "apiregistration.k8s.io"]), [""; 0]);
    let made = services.register(&served(&["c.example.com"]));
    assert_eq!((made.len(), &made[0].method), (1, &http::Method::POST));
    assert_eq!(
        made[0].object["spec"],
        json!({"group": "c.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 100})
    );
    assert_eq!(made[0].object["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "true");
    let mut own = made[0].object.clone();
    own["metadata"]["uid"] = json!("u");
    given.put(PLURAL, own.clone());
    assert_eq!(steps(&["c.example.com"]), [""; 0]);
    // Somebody else's of the same group stays his.
    given.put(PLURAL, api_service("d.example.com", behind("s")));
    assert_eq!(steps(&["c.example.com", "d.example.com"]), [""; 0]);
    own["spec"]["groupPriorityMinimum"] = json!(1);
    given.put(PLURAL, own);
    assert_eq!(steps(&["c.example.com"]), ["PATCH v1.c.example.com"]);
    assert_eq!(steps(&[]), ["DELETE v1.c.example.com"]);
    let removal = services.register(&served(&[]));
    assert_eq!(removal[0].object["preconditions"]["uid"], "u");
}

#[test]
fn what_is_served_from_the_beginning_is_registered_and_no_more() {
    let served: BTreeSet<(String, String)> =
        crate::all().into_iter().map(|resource| (resource.group, resource.version)).collect();
    let registered: BTreeSet<(String, String)> = local_services()
        .map(|one| {
            let text = |name: &str| one["spec"][name].as_str().unwrap_or_default().to_owned();
            (text("group"), text("version"))
        })
        .collect();
    for (group, version) in &served {
        let is_others = group.ends_with("metrics.k8s.io") || group == GROUP;
        let is_there = registered.contains(&(group.clone(), version.clone()));
        assert_ne!(is_there, is_others, "{group}/{version}");
    }
}
