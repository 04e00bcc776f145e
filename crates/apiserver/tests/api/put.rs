//! PUT of what is not there: some kinds are made by it.

use std::future::ready;
use std::sync::Arc;

use apiserver::{Administrators, Attributes, Authorizer, Deciding, Decision, Identity, KnownRules};
use serde_json::{Value, json};

use crate::cluster::{Cluster, deployment, named};

fn kinds() -> [(&'static str, Value); 5] {
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "a", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "Started",
    });
    let other_event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "b", "namespace": "default"},
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "Started",
        "eventTime": "2026-11-29T10:00:00.000000Z", "type": "Normal", "action": "Starting",
        "reportingController": "example.com/agent", "reportingInstance": "agent-1",
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]},
    });
    [
        ("/api/v1/namespaces/default/endpoints/a", named("Endpoints", "a")),
        ("/api/v1/namespaces/default/events/a", event),
        ("/apis/events.k8s.io/v1/namespaces/default/events/b", other_event),
        ("/api/v1/namespaces/default/services/a", service),
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases/a",
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"}}),
        ),
    ]
}

#[tokio::test]
async fn a_put_makes_what_is_not_there_where_kubernetes_lets_it() {
    let cluster = Cluster::start().await;
    for (path, object) in kinds() {
        let (code, dry) = cluster.send("PUT", &format!("{path}?dryRun=All"), &object).await;
        assert_eq!((code, cluster.get(path).await.0), (201, 404), "{dry}");
        // It may mean one that was there once, but not any other than that.
        let mut other = object.clone();
        other["metadata"]["uid"] = json!("11111111-2222-3333-4444-555555555555");
        let (code, status) = cluster.send("PUT", path, &other).await;
        assert_eq!((code, &status["reason"]), (409, &json!("Conflict")), "{path}");
        let mut again = object.clone();
        again["metadata"]["resourceVersion"] = json!("4096");
        let (code, made) = cluster.send("PUT", path, &again).await;
        assert_eq!(code, 201, "{path}: {made}");
        assert!(made["metadata"]["uid"].is_string(), "{made}");
        let (code, same) = cluster.send("PUT", path, &object).await;
        assert_eq!((code, &same["metadata"]["uid"]), (200, &made["metadata"]["uid"]), "{path}");
    }
    let service = cluster.get("/api/v1/namespaces/default/services/a").await.1;
    assert!(service["spec"]["clusterIP"].is_string(), "it was admitted as any other: {service}");
    for (path, object) in [
        ("/api/v1/namespaces/default/configmaps/a", named("ConfigMap", "a")),
        ("/apis/apps/v1/namespaces/default/deployments/a", deployment("a", 1)),
    ] {
        assert_eq!(cluster.send("PUT", path, &object).await.0, 404, "{path}");
    }
    // Neither its status nor its namespace is made along with it.
    let (path, object) = kinds()[3].clone();
    let path = path.replace("services/a", "services/b/status");
    let mut other = object.clone();
    other["metadata"]["name"] = json!("b");
    assert_eq!(cluster.send("PUT", &path, &other).await.0, 404);
    assert_eq!(cluster.send("PUT", "/api/v1/namespaces/none/services/a", &object).await.0, 404);
}

/// Those of a group may change everything, and make nothing.
struct ChangesOnly;

impl Authorizer for ChangesOnly {
    fn decide<'a>(&'a self, identity: &'a Identity, attributes: Attributes<'a>) -> Deciding<'a> {
        match attributes {
            Attributes::Resource(asked) if identity.user == "editor" => {
                let makes = asked.verb == "create";
                let decision =
                    if makes { Decision::NoOpinion("".into()) } else { Decision::Allowed("".into()) };
                Deciding::Left(ready(decision))
            }
            attributes => Administrators.decide(identity, attributes),
        }
    }

    fn rules(&self, identity: &Identity, namespace: &str) -> KnownRules {
        Administrators.rules(identity, namespace)
    }
}

#[tokio::test]
async fn who_may_change_but_not_make_makes_nothing_by_a_put_nor_by_applying() {
    let cluster =
        Cluster::configured(|config| config.authorization = Arc::new(|_| Arc::new(ChangesOnly))).await;
    let editor = Identity::new("editor", ["x"]);
    let (path, lease) = kinds()[4].clone();
    let lease = lease.to_string();
    let applied = format!("{path}?fieldManager=x");
    let refused = "leases.coordination.k8s.io \"a\" is forbidden: User \"editor\" cannot create resource \"leases\" \
                   in API group \"coordination.k8s.io\" in the namespace \"default\"";
    let (code, status) = cluster.send_by(&editor, "PUT", path, &lease).await;
    assert_eq!((code, &status["message"]), (403, &json!(refused)));
    let apply = http::Request::patch(&applied)
        .header(http::header::CONTENT_TYPE, "application/apply-patch+yaml")
        .body(bytes::Bytes::from(lease.clone()))
        .expect("a well-formed request");
    assert_eq!(cluster.handle.call(apply, editor.clone()).await.status(), 403);
    cluster.ok("PUT", path, &serde_json::from_str(&lease).expect("JSON")).await;
    assert_eq!(cluster.send_by(&editor, "PUT", path, &lease).await.0, 200);
}
