use futures::future::join_all;
use serde_json::{Value, json};

use crate::cluster::Cluster;

const PODS: &str = "/api/v1/namespaces/default/pods";
const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

fn pod(name: &str, resources: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "i", "resources": resources}]}})
}

/// Makes a quota, and has counted what it bounds.
async fn quota(cluster: &Cluster, name: &str, spec: Value) {
    cluster.made(QUOTAS, json!({"metadata": {"name": name}, "spec": spec})).await;
    count(cluster, name).await;
}

/// Asks for a quota's count, as the controller does.
async fn count(cluster: &Cluster, name: &str) -> Value {
    let path = format!("{QUOTAS}/{name}");
    let mut quota = cluster.get(&path).await;
    quota["status"] = json!({});
    let answer = cluster.send("PUT", &format!("{path}/status"), quota).await;
    assert_eq!(answer.code, 200, "{answer:?}");
    answer.body["status"]["used"].clone()
}

async fn used(cluster: &Cluster, name: &str) -> Value {
    cluster.get(&format!("{QUOTAS}/{name}")).await["status"]["used"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_and_claims_are_held_to_limit_ranges() {
    let cluster = Cluster::start().await;
    let limits = json!([
        {"type": "Container", "default": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}, "max": {"cpu": "4"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "5Gi"}},
    ]);
    let range = json!({"metadata": {"name": "r"}, "spec": {"limits": limits}});
    cluster.made("/api/v1/namespaces/default/limitranges", range).await;
    let made = cluster.made(PODS, pod("p", json!({}))).await;
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(resources, &json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}));
    let annotation = &made["metadata"]["annotations"]["kubernetes.io/limit-ranger"];
    assert_eq!(annotation, "LimitRanger plugin set: cpu request for container a; cpu limit for container a");
    assert_eq!(made["status"]["qosClass"], "Burstable", "the class follows from what was filled in");
    let refused = cluster.send("POST", PODS, pod("q", json!({"limits": {"cpu": "5"}}))).await;
    assert_eq!(refused.code, 403, "{refused:?}");
    assert_eq!(
        refused.message(),
        "pods \"q\" is forbidden: maximum cpu usage per Container is 4, but limit is 5"
    );
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let claim = |size: &str| {
        let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}});
        json!({"metadata": {"name": "c"}, "spec": spec})
    };
    let refused = cluster.send("POST", claims, claim("6Gi")).await;
    assert_eq!(
        refused.message(),
        "persistentvolumeclaims \"c\" is forbidden: maximum storage usage per PersistentVolumeClaim is 5Gi, but \
         request is 6Gi"
    );
    let answer = cluster.send("POST", claims, claim("5Gi")).await;
    assert_eq!(answer.code, 201, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_is_bounded_there_is_never_more_however_many_ask_at_once() {
    let cluster = Cluster::start().await;
    quota(&cluster, "q", json!({"hard": {"pods": "7", "count/configmaps": "5"}})).await;
    quota(&cluster, "cpu", json!({"hard": {"requests.cpu": "500m"}})).await;
    let asks = json!({"requests": {"cpu": "100m"}});
    let all = join_all((0..20).map(|n| {
        let pod = pod(&format!("p{n}"), asks.clone());
        cluster.send("POST", PODS, pod)
    }))
    .await;
    let made = all.iter().filter(|answer| answer.code == 201).count();
    assert_eq!(made, 5, "five times 100m is all there is: {:?}", all.last());
    assert!(all.iter().all(|answer| matches!(answer.code, 201 | 403)), "{all:?}");
    assert_eq!(used(&cluster, "q").await["pods"], "5");
    assert_eq!(used(&cluster, "cpu").await["requests.cpu"], "500m");
    let refused = all.iter().find(|answer| answer.code == 403).expect("some are refused");
    assert!(
        refused.message().contains(
            "is forbidden: exceeded quota: cpu, requested: requests.cpu=100m, used: requests.cpu=500m, limited: requests.cpu=500m"
        ),
        "{refused:?}"
    );
    // What goes comes back when it is counted, and what is there is counted as it was charged.
    let name = all.iter().position(|answer| answer.code == 201).expect("some were made");
    cluster.send("DELETE", &format!("{PODS}/p{name}"), Value::Null).await;
    assert_eq!(count(&cluster, "q").await["pods"], "4");
    assert_eq!(count(&cluster, "cpu").await["requests.cpu"], "400m");
    cluster.made(PODS, pod("again", asks)).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let all =
        join_all((0..9).map(|n| cluster.send("POST", maps, json!({"metadata": {"name": format!("m{n}")}}))))
            .await;
    assert_eq!(all.iter().filter(|answer| answer.code == 201).count(), 5);
    assert_eq!(count(&cluster, "q").await["count/configmaps"], "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_is_right_whatever_is_made_meanwhile() {
    let cluster = Cluster::start().await;
    let (path, maps) = (format!("{QUOTAS}/new"), "/api/v1/namespaces/default/configmaps");
    let status = format!("{path}/status");
    let mut seen =
        cluster.made(QUOTAS, json!({"metadata": {"name": "new"}, "spec": {"hard": {"pods": "90"}}})).await;
    // Whoever counts of the quota as it was then may not have seen the pod, though the quota charges nobody yet.
    cluster.made(PODS, pod("first", json!({}))).await;
    seen["status"] = json!({});
    assert_eq!(cluster.send("PUT", &status, seen).await.code, 409);
    assert_eq!(count(&cluster, "new").await, json!({"pods": "1"}));
    // The same of a name that it bounds anew.
    let more = json!({"spec": {"hard": {"count/configmaps": "90"}}});
    let mut seen = cluster.send("PATCH", &path, more).await.body;
    cluster.made(maps, json!({"metadata": {"name": "first"}})).await;
    seen["status"] = json!({});
    assert_eq!(cluster.send("PUT", &status, seen).await.code, 409);
    // What it does not count is nothing to it.
    let mut seen = cluster.get(&path).await;
    cluster.made("/api/v1/namespaces/default/secrets", json!({"metadata": {"name": "s"}})).await;
    seen["status"] = json!({});
    assert_eq!(cluster.send("PUT", &status, seen.clone()).await.code, 200);

    // Whoever has it counted of whatever revision comes to an end, however many make something.
    seen["metadata"]["resourceVersion"] = Value::Null;
    let made = join_all((0..40).map(|n| cluster.send("POST", PODS, pod(&format!("p{n}"), json!({})))));
    let counted = join_all((0..20).map(|_| cluster.send("PUT", &status, seen.clone())));
    let (made, counted) = tokio::join!(made, counted);
    assert!(made.iter().all(|answer| answer.code == 201), "{made:?}");
    assert!(counted.iter().all(|answer| answer.code == 200), "{counted:?}");
    assert_eq!(used(&cluster, "new").await, json!({"pods": "41", "count/configmaps": "1"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_says_what_it_asks_for_and_counts_what_is_in_its_scopes() {
    let cluster = Cluster::start().await;
    cluster.made(QUOTAS, json!({"metadata": {"name": "new"}, "spec": {"hard": {"pods": "1"}}})).await;
    cluster.made(PODS, pod("before", json!({}))).await;
    assert_eq!(count(&cluster, "new").await, json!({"pods": "1"}), "what was there is counted");
    let refused = cluster.send("POST", PODS, pod("after", json!({}))).await;
    assert_eq!(
        refused.message(),
        "pods \"after\" is forbidden: exceeded quota: new, requested: pods=1, used: pods=1, limited: pods=1"
    );
    let dry = cluster.send("POST", &format!("{PODS}?dryRun=All"), pod("after", json!({}))).await;
    assert_eq!(dry.code, 403, "{dry:?}");
    cluster.send("DELETE", &format!("{QUOTAS}/new"), Value::Null).await;

    quota(&cluster, "memory", json!({"hard": {"limits.memory": "1Gi"}})).await;
    let refused = cluster.send("POST", PODS, pod("after", json!({}))).await;
    assert_eq!(
        refused.message(),
        "pods \"after\" is forbidden: failed quota: memory: must specify limits.memory for: a"
    );
    cluster.send("DELETE", &format!("{QUOTAS}/memory"), Value::Null).await;

    quota(&cluster, "best", json!({"hard": {"pods": "2"}, "scopes": ["BestEffort"]})).await;
    assert_eq!(used(&cluster, "best").await["pods"], "1");
    cluster.made(PODS, pod("asks", json!({"requests": {"cpu": "1"}}))).await;
    assert_eq!(used(&cluster, "best").await["pods"], "1", "one that asks for something is none of these");
    cluster.made(PODS, pod("asks-nothing", json!({}))).await;
    assert_eq!(used(&cluster, "best").await["pods"], "2");

    let services = "/api/v1/namespaces/default/services";
    quota(&cluster, "ports", json!({"hard": {"services.nodeports": "1", "services": "4"}})).await;
    let service =
        |kind: &str| json!({"metadata": {"name": "s"}, "spec": {"type": kind, "ports": [{"port": 80}]}});
    cluster.made(services, service("ClusterIP")).await;
    assert_eq!(used(&cluster, "ports").await, json!({"services": "2", "services.nodeports": "0"}));
    let patch = json!({"spec": {"type": "NodePort"}});
    assert_eq!(cluster.send("PATCH", &format!("{services}/s"), patch).await.code, 200);
    assert_eq!(used(&cluster, "ports").await, json!({"services": "2", "services.nodeports": "1"}));
    let mut other = service("NodePort");
    other["metadata"]["name"] = json!("t");
    let refused = cluster.send("POST", services, other).await;
    assert!(
        refused.message().contains("exceeded quota: ports, requested: services.nodeports=1"),
        "{refused:?}"
    );
    let patch = json!({"spec": {"type": "ClusterIP"}});
    assert_eq!(cluster.send("PATCH", &format!("{services}/s"), patch).await.code, 200);
    assert_eq!(count(&cluster, "ports").await, json!({"services": "2", "services.nodeports": "0"}));
}
