//! What the server adds to objects, and what it does not let in.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, named, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn a_pod_runs_as_an_account_whose_token_is_mounted() {
    let cluster = Cluster::start().await;
    let made = cluster.ok("POST", PODS, &pod("p")).await;
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    assert_eq!(
        (&made["status"]["phase"], &made["status"]["qosClass"]),
        (&json!("Pending"), &json!("BestEffort"))
    );
    assert_eq!(made["spec"]["tolerations"].as_array().map(Vec::len), Some(2));
    assert_eq!(made["spec"]["priority"], 0);
    let mount = &made["spec"]["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    assert_eq!(mount["name"], made["spec"]["volumes"][0]["name"]);
    assert_eq!(made["spec"]["volumes"][0]["projected"]["sources"].as_array().map(Vec::len), Some(3));

    let mut other = pod("q");
    other["spec"]["automountServiceAccountToken"] = json!(false);
    let made = cluster.ok("POST", PODS, &other).await;
    assert!(made["spec"]["volumes"].is_null(), "{made}");

    other["metadata"]["name"] = json!("r");
    other["spec"]["serviceAccountName"] = json!("nobody");
    let (code, status) = cluster.send("POST", PODS, &other).await;
    assert_eq!(code, 403);
    assert_eq!(
        status["message"],
        "pods \"r\" is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found"
    );
}

#[tokio::test]
async fn a_pod_waits_a_moment_for_the_account_of_a_new_namespace() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", "/api/v1/namespaces", &named("Namespace", "new")).await;
    let object = pod("p");
    let making = cluster.ok("POST", "/api/v1/namespaces/new/pods", &object);
    let account = named("ServiceAccount", "default");
    let (made, _) =
        tokio::join!(making, cluster.ok("POST", "/api/v1/namespaces/new/serviceaccounts", &account));
    assert_eq!(made["spec"]["serviceAccountName"], "default");
}

#[tokio::test]
async fn a_pod_on_a_node_is_deleted_in_two_steps_any_other_at_once() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", PODS, &pod("idle")).await;
    cluster.ok("DELETE", &format!("{PODS}/idle"), &json!({})).await;
    assert_eq!(cluster.get(&format!("{PODS}/idle")).await.0, 404);

    cluster.ok("POST", PODS, &pod("busy")).await;
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "busy"}, "target": {"kind": "Node", "name": "n1"},
    });
    cluster.ok("POST", &format!("{PODS}/busy/binding"), &binding).await;
    let bound = cluster.get(&format!("{PODS}/busy")).await.1;
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    assert_eq!(cluster.send("POST", &format!("{PODS}/busy/binding"), &binding).await.0, 409);

    let one = format!("{PODS}/busy");
    let ending = cluster.ok("DELETE", &one, &json!({})).await;
    assert_eq!(ending["metadata"]["deletionGracePeriodSeconds"], 30);
    let sooner = cluster.ok("DELETE", &one, &json!({"gracePeriodSeconds": 5})).await;
    assert_eq!(sooner["metadata"]["deletionGracePeriodSeconds"], 5);
    let moment = |pod: &Value| {
        pod["metadata"]["deletionTimestamp"]
            .as_str()
            .and_then(|t| t.parse::<base::Timestamp>().ok())
            .expect("a time")
    };
    assert_eq!(moment(&ending).duration_since(moment(&sooner)).unsigned_abs(), Duration::from_secs(25));
    // The node has stopped it.
    cluster.ok("DELETE", &one, &json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(cluster.get(&one).await.0, 404);
}

#[tokio::test]
async fn services_get_addresses_and_ports_that_nobody_else_has() {
    let cluster = Cluster::start().await;
    let api = cluster.get(&format!("{SERVICES}/kubernetes")).await.1;
    assert_eq!(api["spec"]["clusterIP"], "10.43.0.1");
    let ports = json!([{"port": 80}]);
    let a = cluster.ok("POST", SERVICES, &service("a", json!({"ports": ports, "type": "NodePort"}))).await;
    let (address, port) = (a["spec"]["clusterIP"].clone(), a["spec"]["ports"][0]["nodePort"].clone());
    assert!(address.as_str().is_some_and(|a| a.starts_with("10.43.")), "{address}");
    assert!(port.as_u64().is_some_and(|p| (30000..=32767).contains(&p)), "{port}");

    let same = service("b", json!({"ports": ports, "clusterIP": address}));
    let (code, status) = cluster.send("POST", SERVICES, &same).await;
    assert_eq!((code, status["details"]["causes"][0]["field"].as_str()), (422, Some("spec.clusterIPs")));
    let same = json!({"ports": [{"port": 80, "nodePort": port}], "type": "NodePort"});
    let (code, status) = cluster.send("POST", SERVICES, &service("b", same)).await;
    assert_eq!(
        (code, status["details"]["causes"][0]["field"].as_str()),
        (422, Some("spec.ports[0].nodePort"))
    );

    // An update that does not mention them keeps them.
    let mut plain = service("a", json!({"ports": ports, "type": "NodePort", "selector": {"x": "y"}}));
    plain["metadata"]["resourceVersion"] = a["metadata"]["resourceVersion"].clone();
    let kept = cluster.ok("PUT", &format!("{SERVICES}/a"), &plain).await;
    assert_eq!((&kept["spec"]["clusterIP"], &kept["spec"]["ports"][0]["nodePort"]), (&address, &port));

    // What is deleted is free again, also after a restart in between.
    let cluster = cluster.restart().await;
    assert_eq!(
        cluster.send("POST", SERVICES, &service("b", json!({"ports": ports, "clusterIP": address}))).await.0,
        422
    );
    cluster.ok("DELETE", &format!("{SERVICES}/a"), &json!({})).await;
    cluster.ok("POST", SERVICES, &service("b", json!({"ports": ports, "clusterIP": address}))).await;

    let headless =
        cluster.ok("POST", SERVICES, &service("h", json!({"ports": ports, "clusterIP": "None"}))).await;
    assert_eq!(headless["spec"]["clusterIP"], "None");
}

#[tokio::test]
async fn a_namespace_goes_after_what_is_in_it_and_takes_nothing_new_meanwhile() {
    let cluster = Cluster::start().await;
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        assert_eq!(cluster.get(&format!("/api/v1/namespaces/{name}")).await.1["status"]["phase"], "Active");
    }
    assert_eq!(cluster.send("DELETE", "/api/v1/namespaces/default", &json!({})).await.0, 403);

    cluster.ok("POST", "/api/v1/namespaces", &named("Namespace", "a")).await;
    let mut ending = cluster.ok("DELETE", "/api/v1/namespaces/a", &json!({})).await;
    assert_eq!(ending["status"]["phase"], "Terminating");
    let (code, status) =
        cluster.send("POST", "/api/v1/namespaces/a/configmaps", &named("ConfigMap", "c")).await;
    assert_eq!(code, 403);
    assert_eq!(status["details"]["causes"][0]["reason"], "NamespaceTerminating");
    ending["spec"]["finalizers"] = json!([]);
    cluster.ok("PUT", "/api/v1/namespaces/a/finalize", &ending).await;
    assert_eq!(cluster.get("/api/v1/namespaces/a").await.0, 404);
}

#[tokio::test]
async fn an_evicted_pod_is_deleted() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", PODS, &pod("p")).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    cluster.ok("POST", &format!("{PODS}/p/eviction"), &eviction).await;
    assert_eq!(cluster.get(&format!("{PODS}/p")).await.0, 404);
}

#[tokio::test]
async fn text_in_a_secret_becomes_data() {
    let cluster = Cluster::start().await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
        "data": {"a": "b2xk"}, "stringData": {"a": "new"},
    });
    let made = cluster.ok("POST", "/api/v1/namespaces/default/secrets", &secret).await;
    assert_eq!((&made["data"]["a"], &made["stringData"]), (&json!("bmV3"), &Value::Null));
}
