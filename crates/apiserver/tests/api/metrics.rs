//! What the server counts of itself, and how it says that it is well.

use apiserver::Identity;
use bytes::Bytes;
use http::Request;
use serde_json::json;

use crate::access::{ask, connect, exchange};
use crate::cluster::{Cluster, named};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn metrics(cluster: &Cluster) -> String {
    let (code, text) = cluster.text("/metrics").await;
    assert_eq!(code, 200, "{text}");
    text
}

/// The value of a number with exactly these labels.
fn value(text: &str, line: &str) -> Option<f64> {
    text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn requests_are_counted_by_what_they_ask_for() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster.ok("POST", SECRETS, &named("Secret", name)).await;
    }
    cluster.ok("POST", &format!("{SECRETS}?dryRun=All"), &named("Secret", "c")).await;
    cluster.get(&format!("{SECRETS}/none")).await;
    cluster.get(SECRETS).await;
    let watch = cluster.watch(&format!("{SECRETS}?watch=1")).await;
    let text = metrics(&cluster).await;
    let total = |code: u16, dry: &str, scope: &str, verb: &str| {
        let line = format!(
            "apiserver_request_total{{code=\"{code}\",component=\"apiserver\",dry_run=\"{dry}\",group=\"\",\
             resource=\"secrets\",scope=\"{scope}\",subresource=\"\",verb=\"{verb}\",version=\"v1\"}}"
        );
        value(&text, &line)
    };
    assert_eq!(total(201, "", "resource", "POST"), Some(2.0), "{text}");
    assert_eq!(total(201, "All", "resource", "POST"), Some(1.0));
    assert_eq!(total(404, "", "resource", "GET"), Some(1.0));
    assert_eq!(total(200, "", "namespace", "LIST"), Some(1.0));
    let labels =
        "component=\"apiserver\",group=\"\",resource=\"secrets\",scope=\"namespace\",subresource=\"\"";
    let list = format!("{labels},verb=\"LIST\",version=\"v1\"");
    assert_eq!(value(&text, &format!("apiserver_response_sizes_count{{{list}}}")), Some(1.0));
    assert!(value(&text, &format!("apiserver_response_sizes_sum{{{list}}}")).is_some_and(|sum| sum > 300.0));
    let long = format!("apiserver_longrunning_requests{{{labels},verb=\"WATCH\",version=\"v1\"}}");
    assert_eq!(value(&text, &long), Some(1.0));
    assert_eq!(value(&text, "apiserver_storage_objects{resource=\"secrets\"}"), Some(2.0));
    assert_eq!(
        value(&text, "apiserver_resource_objects{group=\"apps\",resource=\"deployments\"}"),
        Some(0.0)
    );
    let step = "apiserver_admission_step_admission_duration_seconds_count{operation=\"CREATE\",rejected=\"false\",type=\"validate\"}";
    assert!(value(&text, step).is_some_and(|count| count >= 3.0));
    let quota = "apiserver_admission_controller_admission_duration_seconds_count{name=\"ResourceQuota\",operation=\"CREATE\",rejected=\"false\",type=\"admit\"}";
    assert!(value(&text, quota).is_some_and(|count| count >= 3.0));
    assert!(
        value(&text, "authorization_attempts_total{result=\"allowed\"}").is_some_and(|count| count >= 6.0)
    );
    assert!(text.contains("kubernetes_build_info{build_date="), "{text}");
    assert!(text.contains("# TYPE apiserver_request_duration_seconds histogram\n"));
    drop(watch);
    testkit::wait_until_async("the watch to be over", || async {
        let now = value(&metrics(&cluster).await, &long);
        if now == Some(0.0) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
}

#[tokio::test]
async fn what_is_made_up_makes_no_numbers_of_its_own() {
    let cluster = Cluster::start().await;
    let admin = Identity::administrator();
    let series = async || metrics(&cluster).await.lines().count();
    let send = async |method: &str, path: String| {
        let request = Request::builder().method(method).uri(path).body(Bytes::new()).expect("a request");
        drop(cluster.handle.call(request, admin.clone()).await);
    };
    let all = async |number: usize| {
        send("GET", format!("/apis/made{number}.up/v1/things{number}")).await;
        send("GET", format!("/api/v1/things{number}/{number}")).await;
        send("GET", format!("{MAPS}/{number}/sub{number}")).await;
        send("GET", format!("/odd{number}/path")).await;
        send(&format!("BREW{number}"), MAPS.to_owned()).await;
        send("DELETE", format!("{MAPS}/{number}?dryRun=odd{number}")).await;
        send("GET", format!("/readyz/odd{number}")).await;
        send("GET", format!("/readyz?exclude=odd{number}")).await;
    };
    all(0).await;
    series().await;
    let before = series().await;
    for number in 1..300 {
        all(number).await;
    }
    assert_eq!(series().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_for_those_who_may_read_them() {
    let cluster = Cluster::start().await;
    assert_eq!(ask(&cluster, None, None, "/metrics").await.0, 403);
    let jane = Identity::new("jane", ["developers"]);
    assert_eq!(ask(&cluster, Some(&jane), None, "/metrics").await.0, 403);
    let monitor = Identity::new("prometheus", ["system:monitoring"]);
    let mut stream = connect(&cluster, Some(&monitor), "http/1.1").await;
    let (code, text) =
        exchange(&mut stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(code, 200);
    assert!(
        value(&text, "authentication_attempts{result=\"success\"}").is_some_and(|count| count >= 3.0),
        "{text}"
    );
    assert_eq!(ask(&cluster, None, None, "/debug/pprof/").await.0, 403);
    let admin = Identity::administrator();
    for path in ["/debug/pprof/", "/logs/", "/statusz", "/flagz"] {
        assert_eq!(ask(&cluster, Some(&admin), None, path).await.0, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_as_kubernetes_tells_it() {
    let cluster = Cluster::start().await;
    let hooks = "\
[+]poststarthook/start-system-namespaces-controller ok
[+]poststarthook/start-service-ip-repair-controllers ok
[+]poststarthook/rbac/bootstrap-roles ok
[+]poststarthook/scheduling/bootstrap-system-priority-classes ok
[+]poststarthook/priority-and-fairness-config-producer ok
[+]poststarthook/bootstrap-controller ok
[+]poststarthook/start-kubernetes-service-cidr-controller ok
[+]poststarthook/kube-apiserver-autoregistration ok
";
    let (code, text) = cluster.text("/livez?verbose").await;
    assert_eq!((code, text), (200, format!("[+]ping ok\n[+]etcd ok\n{hooks}livez check passed\n")));
    let (_, text) = cluster.text("/readyz?verbose&exclude=etcd&exclude=odd&exclude=b").await;
    let expected = format!(
        "[+]ping ok\n[+]etcd excluded: ok\n[+]etcd-readiness ok\n[+]informer-sync ok\n{hooks}[+]shutdown ok\n\
         warn: some health checks cannot be excluded: no matches for \"b\",\"odd\"\nreadyz check passed\n"
    );
    assert_eq!(text, expected);
    for path in ["/healthz", "/livez/ping", "/readyz/poststarthook/rbac/bootstrap-roles", "/readyz/shutdown"]
    {
        assert_eq!(cluster.text(path).await, (200, "ok".to_owned()), "{path}");
    }
    for path in ["/livez/shutdown", "/healthz/informer-sync", "/readyz/nothing", "/readyz/poststarthook"] {
        assert_eq!(cluster.text(path).await, (404, "404 page not found\n".to_owned()), "{path}");
    }
    let (code, text) = cluster.text("/metrics/slis").await;
    assert_eq!(code, 200);
    assert_eq!(value(&text, "kubernetes_healthcheck{name=\"ping\",type=\"livez\"}"), Some(1.0), "{text}");
    assert_eq!(
        value(&text, "kubernetes_healthchecks_total{name=\"etcd\",status=\"success\",type=\"healthz\"}"),
        Some(1.0)
    );
    // A server that is to stop goes on, and says that nobody should rely on it.
    cluster.leaving.cancel();
    let (code, text) = cluster.text("/readyz").await;
    assert_eq!(code, 500);
    assert!(text.ends_with("[-]shutdown failed: reason withheld\nreadyz check failed\n"), "{text}");
    assert_eq!(
        cluster.text("/readyz/shutdown").await,
        (500, "internal server error: process is shutting down\n".to_owned())
    );
    assert_eq!(cluster.text("/livez").await.0, 200);
    cluster
        .ok("POST", MAPS, &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}}))
        .await;
}

#[tokio::test]
async fn what_is_about_to_go_and_lists_that_are_watched_are_counted_when_they_are_asked_for() {
    let cluster = Cluster::start().await;
    let version = |name: &str, deprecated: bool| {
        json!({"name": name, "served": true, "storage": !deprecated, "deprecated": deprecated,
               "schema": {"openAPIV3Schema": {"type": "object"}}})
    };
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "olds.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "olds", "kind": "Old"},
            "versions": [version("v1", true), version("v2", false)],
        },
    });
    crate::definitions::define(&cluster, &definition).await;
    let olds = |version: &str| format!("/apis/example.com/{version}/namespaces/default/olds");
    let asked = "apiserver_requested_deprecated_apis";
    cluster.get(&olds("v2")).await;
    assert!(!metrics(&cluster).await.contains(asked));
    cluster.get(&olds("v1")).await;
    let line = format!(
        "{asked}{{group=\"example.com\",removed_release=\"\",resource=\"olds\",subresource=\"\",version=\"v1\"}}"
    );
    assert_eq!(value(&metrics(&cluster).await, &line), Some(1.0));

    let list = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let counted = "apiserver_watch_list_duration_seconds_count{group=\"\",resource=\"configmaps\"";
    cluster.ok("POST", MAPS, &named("ConfigMap", "m")).await;
    cluster.watch(&format!("{MAPS}?watch=1")).await.next().await;
    assert!(!metrics(&cluster).await.contains(counted));
    let mut watch = cluster.watch(&format!("{MAPS}?watch=1&{list}")).await;
    while !watch.next().await.starts_with("BOOKMARK") {}
    let line = format!("{counted},scope=\"namespace\",version=\"v1\"}}");
    assert_eq!(value(&metrics(&cluster).await, &line), Some(1.0));
}
