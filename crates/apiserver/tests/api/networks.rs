//! The networks that services get addresses of, and the objects that tell of the addresses.

use serde_json::{Value, json};

use crate::cluster::Cluster;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

fn service(name: &str, address: &str) -> Value {
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]},
    });
    if !address.is_empty() {
        service["spec"]["clusterIP"] = address.into();
    }
    service
}

fn cidr(name: &str, cidrs: &[&str]) -> Value {
    let metadata = json!({"name": name, "finalizers": ["networking.k8s.io/service-cidr-finalizer"]});
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": metadata, "spec": {"cidrs": cidrs}})
}

/// Waits until an address is an object, and gives it.
async fn address(cluster: &Cluster, name: &str) -> Value {
    testkit::wait_until_async("the address to be told of", || async {
        match cluster.get(&format!("{ADDRESSES}/{name}")).await {
            (200, found) => Ok(found),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

#[tokio::test]
async fn a_further_network_is_used_at_once_and_one_that_goes_no_more() {
    let cluster = Cluster::start().await;
    let (code, answer) = cluster.send("POST", SERVICES, &service("a", "10.99.0.5")).await;
    let why = "Service \"a\" is invalid: spec.clusterIPs: Invalid value: [\"10.99.0.5\"]: failed to allocate IP \
               10.99.0.5: the provided network does not match the current range";
    assert_eq!((code, answer["message"].as_str()), (422, Some(why)));
    cluster.ok("POST", CIDRS, &cidr("more", &["10.99.0.0/24"])).await;
    cluster.ok("POST", SERVICES, &service("a", "10.99.0.5")).await;
    let told = address(&cluster, "10.99.0.5").await;
    assert_eq!(
        told["spec"]["parentRef"],
        json!({"group": "", "resource": "services", "namespace": "default", "name": "a"})
    );
    assert_eq!(told["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"], "ipallocator.k8s.io");
    // Neither end of it is anybody's.
    for end in ["10.99.0.0", "10.99.0.255"] {
        assert_eq!(cluster.send("POST", SERVICES, &service("b", end)).await.0, 422, "{end}");
    }
    cluster.ok("DELETE", &format!("{CIDRS}/more"), &json!({})).await;
    let (code, answer) = cluster.send("POST", SERVICES, &service("b", "10.99.0.6")).await;
    assert_eq!(code, 422, "{answer}");
    // What was given stays.
    let kept =
        cluster.ok("PATCH", &format!("{SERVICES}/a"), &json!({"metadata": {"labels": {"x": "y"}}})).await;
    assert_eq!(kept["spec"]["clusterIP"], "10.99.0.5");
    cluster.ok("DELETE", &format!("{SERVICES}/a"), &json!({})).await;
    assert_eq!(cluster.get(&format!("{ADDRESSES}/10.99.0.5")).await.0, 404);
}

#[tokio::test]
async fn addresses_come_from_any_network_that_has_some_left() {
    let cluster = Cluster::configured(|config| {
        config.service_cidr = "10.43.0.0/28".parse().expect("a network");
    })
    .await;
    let mut count = 0;
    let full = loop {
        let (code, answer) = cluster.send("POST", SERVICES, &service(&format!("s{count}"), "")).await;
        if code != 201 {
            break answer;
        }
        count += 1;
    };
    // The server's own and the name server's are not given to others.
    assert_eq!(count, 12, "{full}");
    assert_eq!(full["message"], "Internal error occurred: failed to allocate a serviceIP: range is full");
    cluster.ok("POST", CIDRS, &cidr("more", &["10.99.0.0/24"])).await;
    let made = cluster.ok("POST", SERVICES, &service("more", "")).await;
    assert!(
        made["spec"]["clusterIP"].as_str().is_some_and(|address| address.starts_with("10.99.0.")),
        "{made}"
    );
}

#[tokio::test]
async fn an_address_in_use_is_told_of_again_when_somebody_removes_that() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", SERVICES, &service("a", "10.43.7.7")).await;
    let before = address(&cluster, "10.43.7.7").await;
    cluster.ok("DELETE", &format!("{ADDRESSES}/10.43.7.7"), &json!({})).await;
    let after = address(&cluster, "10.43.7.7").await;
    assert_eq!(after["spec"], before["spec"]);
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(cluster.send("POST", SERVICES, &service("b", "10.43.7.7")).await.0, 422);
    let event = testkit::wait_until_async("the service to be told of it", || async {
        let (_, all) = cluster.get("/apis/events.k8s.io/v1/namespaces/default/events").await;
        let found = all["items"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|event| event["reason"] == "ClusterIPNotAllocated");
        found.cloned().ok_or_else(|| all.to_string())
    })
    .await;
    assert_eq!(event["note"], "Cluster IP [IPv4]: 10.43.7.7 is not allocated; repairing");
    assert_eq!((&event["regarding"]["name"], &event["type"]), (&json!("a"), &json!("Warning")));
    // Its labels are its own affair no more than it is.
    let labels = json!({"metadata": {"labels": {"ipaddress.kubernetes.io/managed-by": null}}});
    cluster.ok("PATCH", &format!("{ADDRESSES}/10.43.7.7"), &labels).await;
    testkit::wait_until_async("the label to be there again", || async {
        let (_, found) = cluster.get(&format!("{ADDRESSES}/10.43.7.7")).await;
        let by = found["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"].clone();
        if by == "ipallocator.k8s.io" { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn an_address_that_somebody_else_has_set_aside_is_not_given_and_stays() {
    let cluster = Cluster::configured(|config| config.upkeep = std::time::Duration::from_millis(50)).await;
    let own = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": "10.43.9.9"},
        "spec": {"parentRef": {"group": "example.com", "resource": "gateways", "name": "g", "namespace": "default"}},
    });
    cluster.ok("POST", ADDRESSES, &own).await;
    let (code, answer) = cluster.send("POST", SERVICES, &service("a", "10.43.9.9")).await;
    assert!(
        code == 422
            && answer["message"]
                .as_str()
                .is_some_and(|why| why.ends_with("provided IP is already allocated")),
        "{code} {answer}"
    );
    // A stray of the server's own is removed in the time in which this one would have been.
    let mut stray = own.clone();
    stray["metadata"] = json!({"name": "10.43.9.10", "labels": {
        "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }});
    cluster.ok("POST", ADDRESSES, &stray).await;
    testkit::wait_until_async("the stray to go", || async {
        match cluster.get(&format!("{ADDRESSES}/10.43.9.10")).await.0 {
            404 => Ok(()),
            code => Err(code.to_string()),
        }
    })
    .await;
    assert_eq!(cluster.get(&format!("{ADDRESSES}/10.43.9.9")).await.0, 200);
}
