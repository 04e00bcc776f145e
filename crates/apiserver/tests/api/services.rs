//! Addresses and ports of services: no two have the same, whatever happens at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use store::StoreExt;

use crate::cluster::Cluster;

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, node_port: Option<u16>) -> Value {
    let mut port = json!({"port": 80});
    if let Some(number) = node_port {
        port["nodePort"] = json!(number);
    }
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "NodePort", "selector": {"app": name}, "ports": [port]},
    })
}

/// Who has which port and address; fails where two have the same.
async fn check_unique(cluster: &Cluster, when: &str) {
    let (_, list) = cluster.get("/api/v1/services").await;
    let mut holders: HashMap<String, String> = HashMap::new();
    for service in list["items"].as_array().expect("a list") {
        let name = service["metadata"]["name"].as_str().unwrap_or_default();
        let ports = service["spec"]["ports"].as_array().into_iter().flatten().map(|port| &port["nodePort"]);
        let mut all: Vec<String> = ports.filter(|port| !port.is_null()).map(Value::to_string).collect();
        all.push(service["spec"]["clusterIP"].to_string());
        all.push(service["spec"]["healthCheckNodePort"].to_string());
        all.retain(|held| held != "null" && held != "\"None\"");
        all.sort();
        all.dedup();
        for held in all {
            if let Some(other) = holders.insert(held.clone(), name.to_owned()) {
                panic!("{when}: {name} and {other} both have {held}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_never_get_one_port_however_they_change_at_once() {
    let cluster = Cluster::start().await;
    let names = ["a", "b", "c", "d"];
    for (index, name) in names.iter().enumerate() {
        cluster.ok("POST", SERVICES, &service(name, Some(31000 + index as u16))).await;
    }
    for round in 0..150u16 {
        // All want the same port, some twice at once; some go back to another; some come anew.
        let wanted = 31010 + round % 7;
        let moves = names.iter().flat_map(|name| {
            let path = format!("{SERVICES}/{name}");
            [wanted, 31010 + (wanted + 1) % 7].map(|number| {
                let (cluster, path) = (&cluster, path.clone());
                async move {
                    let patch =
                        json!({"spec": {"ports": [{"port": 80, "protocol": "TCP", "nodePort": number}]}});
                    let (code, answer) = cluster.send("PATCH", &path, &patch).await;
                    assert!(matches!(code, 200 | 409 | 422), "{code} {answer}");
                }
            })
        });
        let comes = (0..3).map(|index| {
            let (cluster, name) = (&cluster, format!("new{index}"));
            async move {
                let wanted = (index > 0).then_some(wanted);
                let (code, answer) = cluster.send("POST", SERVICES, &service(&name, wanted)).await;
                assert!(matches!(code, 201 | 409 | 422), "{code} {answer}");
            }
        });
        tokio::join!(join_all(moves), join_all(comes));
        check_unique(&cluster, &format!("round {round}")).await;
        for index in 0..3 {
            cluster.send("DELETE", &format!("{SERVICES}/new{index}"), &json!({})).await;
        }
    }
    // What was let go of can be had again, and what is held cannot.
    let (_, list) = cluster.get(SERVICES).await;
    let held: Vec<u16> = list["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|service| service["spec"]["ports"][0]["nodePort"].as_u64()?.try_into().ok())
        .collect();
    for number in 31000..31020 {
        let (code, answer) = cluster.send("POST", SERVICES, &service("probe", Some(number))).await;
        let expected = if held.contains(&number) { 422 } else { 201 };
        assert_eq!(code, expected, "{number}: {answer}");
        if code == 201 {
            cluster.ok("DELETE", &format!("{SERVICES}/probe"), &json!({})).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_outlives_a_restart_and_is_made_whole_from_the_services() {
    let cluster = Cluster::start().await;
    let mut balanced = service("balanced", Some(31001));
    balanced["spec"]["type"] = json!("LoadBalancer");
    balanced["spec"]["externalTrafficPolicy"] = json!("Local");
    let made = cluster.ok("POST", SERVICES, &balanced).await;
    let health = made["spec"]["healthCheckNodePort"].as_u64().expect("a port for health checks");
    let address = made["spec"]["clusterIP"].clone();
    let cluster = cluster.restart().await;
    for number in [31001, health] {
        let wanted = u16::try_from(number).expect("a port");
        let (code, answer) = cluster.send("POST", SERVICES, &service("other", Some(wanted))).await;
        assert_eq!(code, 422, "{answer}");
        assert!(answer["message"].as_str().is_some_and(|why| why.contains("already allocated")), "{answer}");
    }
    let mut same_address = service("other", None);
    same_address["spec"]["clusterIP"] = address.clone();
    assert_eq!(cluster.send("POST", SERVICES, &same_address).await.0, 422);

    // As an earlier version left it: services without entries, and entries without services.
    let cluster = cluster
        .restart_after(async |store| {
            let all =
                store.range(store::Range::new(store::KeyRange::prefix("/registry/"))).await.expect("range");
            let entries: Vec<String> = all
                .items
                .iter()
                .map(|kv| kv.key_str().to_owned())
                .filter(|key| key.contains("/ipaddresses/") || key.contains("/nodeports/"))
                .collect();
            assert!(entries.len() >= 4, "{entries:?}");
            for key in entries {
                let stray = key.replace("/31001", "/31777");
                let txn = store::Txn::new().then(store::Op::Delete(store::KeyRange::key(key)));
                store.txn(txn).await.expect("delete");
                if stray.ends_with("/31777") {
                    let value = r#"{"kind":"NodePort","apiVersion":"x/v1","metadata":{"name":"31777"}}"#;
                    let put = store::Put::new(stray, value.as_bytes().to_vec());
                    store.txn(store::Txn::new().then(store::Op::Put(put))).await.expect("put");
                }
            }
        })
        .await;
    assert_eq!(cluster.send("POST", SERVICES, &service("other", Some(31001))).await.0, 422);
    assert_eq!(cluster.send("POST", SERVICES, &same_address).await.0, 422);
    cluster.ok("POST", SERVICES, &service("stray", Some(31777))).await;
    // Its name is free again with it.
    cluster.ok("DELETE", &format!("{SERVICES}/balanced"), &json!({})).await;
    same_address["metadata"]["name"] = json!("heir");
    cluster.ok("POST", SERVICES, &same_address).await;
    cluster.ok("POST", SERVICES, &service("other", Some(31001))).await;
    check_unique(&cluster, "at the end").await;
}

/// Ports of one service: those with a number on nodes keep it.
fn ports(numbers: impl IntoIterator<Item = Option<u64>>) -> Value {
    let ports = numbers.into_iter().zip(1..).map(|(node_port, port)| {
        let mut port = json!({"name": format!("p{port}"), "port": port});
        if let Some(number) = node_port {
            port["nodePort"] = json!(number);
        }
        port
    });
    Value::Array(ports.collect())
}

fn with_ports(name: &str, ports: Value) -> Value {
    let mut service = service(name, None);
    service["spec"]["ports"] = ports;
    service
}

fn node_ports(service: &Value) -> Vec<u64> {
    let ports = service["spec"]["ports"].as_array().expect("ports");
    ports.iter().map(|port| port["nodePort"].as_u64().expect("a port on nodes")).collect()
}

/// Makes a service with more ports than one write can take.
async fn grown(cluster: &Cluster, name: &str) -> Vec<u64> {
    let most = cluster.ok("POST", SERVICES, &with_ports(name, ports([None; 123]))).await;
    let kept = node_ports(&most).into_iter().map(Some);
    let more = json!({"spec": {"ports": ports(kept.chain([None; 116]))}});
    node_ports(&cluster.ok("PATCH", &format!("{SERVICES}/{name}"), &more).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_takes_so_many_ports_at_once_and_lets_go_of_as_many_as_it_has() {
    let cluster = Cluster::start().await;
    let (code, refused) = cluster.send("POST", SERVICES, &with_ports("many", ports([None; 200]))).await;
    assert_eq!(code, 422, "{refused}");
    assert_eq!(
        refused["message"],
        "Service \"many\" is invalid: spec.ports: Too many: 200: must have at most 123 items"
    );
    assert_eq!(refused["details"]["causes"][0]["reason"], "FieldValueTooMany", "{refused}");
    for change in ["PATCH", "DELETE"] {
        let held = grown(&cluster, "grown").await;
        assert_eq!(held.len(), 239);
        let (code, refused) = cluster
            .send(
                "PATCH",
                &format!("{SERVICES}/grown"),
                &json!({"spec": {"ports": ports(held.iter().copied().map(Some).chain([None; 124]))}}),
            )
            .await;
        assert_eq!(code, 422, "{refused}");
        assert!(
            refused["message"].as_str().is_some_and(|why| why.contains("363: must have at most 362 items"))
        );
        let one = json!({"spec": {"ports": ports([Some(held[0])])}});
        cluster.ok(change, &format!("{SERVICES}/grown"), &one).await;
        // All of it can be had again, but for what is kept.
        let free = &held[usize::from(change == "PATCH")..];
        for (index, numbers) in free.chunks(120).enumerate() {
            let heir = with_ports(&format!("heir-{index}"), ports(numbers.iter().copied().map(Some)));
            cluster.ok("POST", SERVICES, &heir).await;
        }
        check_unique(&cluster, change).await;
        for index in 0..2 {
            cluster.ok("DELETE", &format!("{SERVICES}/heir-{index}"), &json!({})).await;
        }
        cluster.send("DELETE", &format!("{SERVICES}/grown"), &json!({})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_is_still_to_let_go_of_stays_with_the_one_that_is_made_anew() {
    let cluster = Cluster::start().await;
    for round in 0..8 {
        let held = grown(&cluster, "again").await;
        let kept: Vec<u64> = held.iter().rev().step_by(3).copied().collect();
        let anew = with_ports("again", ports(kept.iter().copied().map(Some)));
        let path = format!("{SERVICES}/again");
        let made = async {
            loop {
                match cluster.send("POST", SERVICES, &anew).await {
                    (201, made) => return made,
                    (409, _) => tokio::task::yield_now().await,
                    (code, answer) => panic!("{code} {answer}"),
                }
            }
        };
        let nothing = json!({});
        let (_, made) = tokio::join!(cluster.ok("DELETE", &path, &nothing), made);
        assert_eq!(node_ports(&made), kept);
        for number in &kept {
            let number = u16::try_from(*number).expect("a port");
            let (code, answer) = cluster.send("POST", SERVICES, &service("thief", Some(number))).await;
            assert_eq!(code, 422, "round {round}: {number}: {answer}");
        }
        cluster.ok("DELETE", &path, &json!({})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_named_is_checked_and_held_whatever_the_type_of_the_service() {
    let cluster = Cluster::start().await;
    let refused = async |service: &Value, field: &str, why: &str| {
        let (code, answer) = cluster.send("POST", SERVICES, service).await;
        assert_eq!(code, 422, "{service}: {answer}");
        let cause = &answer["details"]["causes"][0];
        assert_eq!(cause["field"], field, "{answer}");
        assert!(cause["message"].as_str().is_some_and(|told| told.ends_with(why)), "{answer}");
    };
    let named = |spec: Value, number: i64| {
        let mut service = service("named", None);
        for (field, value) in spec.as_object().expect("an object") {
            service["spec"][field] = value.clone();
        }
        service["spec"]["ports"][0]["nodePort"] = json!(number);
        service
    };
    let specs = [
        json!({}),
        json!({"type": "LoadBalancer"}),
        json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false}),
        json!({"type": "ExternalName", "externalName": "example.org"}),
    ];
    let (taken, outside) = (
        "provided port is already allocated",
        "provided port is not in the valid range. The range of valid ports is 30000-32767",
    );
    cluster.ok("POST", SERVICES, &service("holder", Some(31000))).await;
    for spec in specs {
        let field = "spec.ports[0].nodePort";
        refused(&named(spec.clone(), 31000), field, taken).await;
        for number in [22, -1, 65_536 + 31_001] {
            refused(&named(spec.clone(), number), field, outside).await;
        }
        // What it has nobody else gets, before it has gone.
        cluster.ok("POST", SERVICES, &named(spec.clone(), 31001)).await;
        refused(&service("other", Some(31001)), field, taken).await;
        let path = format!("{SERVICES}/named");
        let move_it = |number: u16| json!({"spec": {"ports": [{"port": 80, "nodePort": number}]}});
        assert_eq!(cluster.send("PATCH", &path, &move_it(31000)).await.0, 422, "{spec}");
        assert_eq!(cluster.send("PATCH", &path, &move_it(22)).await.0, 422, "{spec}");
        cluster.ok("PATCH", &path, &json!({"metadata": {"labels": {"k": "v"}}})).await;
        check_unique(&cluster, &spec.to_string()).await;
        cluster.ok("DELETE", &path, &json!({})).await;
        cluster.ok("POST", SERVICES, &service("other", Some(31001))).await;
        cluster.ok("DELETE", &format!("{SERVICES}/other"), &json!({})).await;
    }
    // The port for health checks is one of them.
    let mut balanced = named(json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}), 31001);
    for (number, why) in [(31000, taken), (22, outside), (65_536 + 31_002, outside)] {
        balanced["spec"]["healthCheckNodePort"] = json!(number);
        refused(&balanced, "spec.healthCheckNodePort", why).await;
    }
    let unfit = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
    let mut inner = service("inner", None);
    inner["spec"]["type"] = json!("ClusterIP");
    inner["spec"]["healthCheckNodePort"] = json!(31000);
    refused(&inner, "spec.healthCheckNodePort", unfit).await;
    // Whatever becomes of a service, it lets go of what it has no use for.
    balanced["spec"]["healthCheckNodePort"] = json!(31002);
    for change in [
        json!({"type": "ExternalName", "externalName": "a.example", "externalTrafficPolicy": null}),
        json!({"type": "ClusterIP", "externalTrafficPolicy": null, "allocateLoadBalancerNodePorts": null}),
    ] {
        cluster.ok("POST", SERVICES, &balanced).await;
        let changed = cluster.ok("PATCH", &format!("{SERVICES}/named"), &json!({"spec": change})).await;
        assert_eq!(changed["spec"]["healthCheckNodePort"], Value::Null, "{changed}");
        assert_eq!(changed["spec"]["ports"][0]["nodePort"], Value::Null, "{changed}");
        for number in [31001, 31002] {
            cluster.ok("POST", SERVICES, &service("other", Some(number))).await;
            cluster.ok("DELETE", &format!("{SERVICES}/other"), &json!({})).await;
        }
        cluster.ok("DELETE", &format!("{SERVICES}/named"), &json!({})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_services_that_are_gone_can_be_had_again_without_a_restart() {
    let root = tempfile::tempdir().expect("temporary directory");
    let clock = Arc::new(base::SystemClock::new());
    let store = store::Embedded::open(&root.path().join("store"), store::Options::default(), clock);
    let store = Arc::new(store.expect("open the store"));
    let upkeep = |config: &mut apiserver::Config| config.upkeep = Duration::from_millis(20);
    let cluster = Cluster::with(root, store.clone(), kinds::all(), upkeep).await;
    let held = cluster.ok("POST", SERVICES, &service("held", Some(31001))).await;
    // As a server leaves it that ends before it has let go of all: of a service that is gone, and of one
    // that is there without it.
    let entry = |kind: &str, version: &str, name: &str, holder: &str| {
        let labels = json!({"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
        json!({
            "kind": kind, "apiVersion": version, "metadata": {"name": name, "uid": name, "labels": labels},
            "spec": {"parentRef": {"group": "", "resource": "services", "namespace": "default", "name": holder}},
        })
    };
    let (ports, addresses) = ("nodeports.gantry.dev/nodeports", "networking.k8s.io/ipaddresses");
    for round in 0..3 {
        for (holder, number) in [("gone", 31002), ("held", 31003)] {
            let left = entry("NodePort", "nodeports.gantry.dev/v1", &number.to_string(), holder).to_string();
            StoreExt::put(&*store, &format!("/registry/{ports}/{number}"), left).await.expect("put");
        }
        let left = entry("IPAddress", "networking.k8s.io/v1", "10.43.7.7", "gone").to_string();
        StoreExt::put(&*store, &format!("/registry/{addresses}/10.43.7.7"), left).await.expect("put");
        let mut heir = with_ports("heir", ports_of([31002, 31003]));
        heir["spec"]["clusterIP"] = json!("10.43.7.7");
        testkit::wait_until_async("what is left to be free", || async {
            match cluster.send("POST", SERVICES, &heir).await {
                (201, made) => Ok(made),
                (code, answer) => Err(format!("round {round}: {code} {answer}")),
            }
        })
        .await;
        // What is held stays so.
        assert_eq!(cluster.send("POST", SERVICES, &service("thief", Some(31001))).await.0, 422);
        assert_eq!(cluster.send("POST", SERVICES, &service("thief", Some(31002))).await.0, 422);
        let mut same_address = service("thief", None);
        same_address["spec"]["clusterIP"] = held["spec"]["clusterIP"].clone();
        assert_eq!(cluster.send("POST", SERVICES, &same_address).await.0, 422);
        cluster.ok("DELETE", &format!("{SERVICES}/heir"), &json!({})).await;
    }
}

fn ports_of(numbers: impl IntoIterator<Item = u64>) -> Value {
    ports(numbers.into_iter().map(Some))
}

/// Where the machine is said to be; it moves.
static PLACE: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0xc000_0207);

#[tokio::test(flavor = "multi_thread")]
async fn pods_reach_the_server_where_the_machine_is_wherever_that_moves_to() {
    let root = tempfile::tempdir().expect("temporary directory");
    let clock = Arc::new(base::SystemClock::new());
    let store = store::Embedded::open(&root.path().join("store"), store::Options::default(), clock);
    let store = Arc::new(store.expect("open the store"));
    let change = |config: &mut apiserver::Config| {
        config.address = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        config.upkeep = Duration::from_millis(20);
        config.own_address = Some(|| {
            let place = PLACE.load(std::sync::atomic::Ordering::Relaxed);
            std::net::IpAddr::V4(std::net::Ipv4Addr::from(place))
        });
    };
    let cluster = Cluster::with(root, store.clone(), kinds::all(), change).await;
    let shown = async || {
        let older = cluster.ok("GET", "/api/v1/namespaces/default/endpoints/kubernetes", &json!(null)).await;
        let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
        let slice = cluster.ok("GET", slices, &json!(null)).await;
        [older["subsets"][0]["addresses"][0]["ip"].clone(), slice["endpoints"][0]["addresses"][0].clone()]
    };
    assert_eq!(shown().await, ["192.0.2.7", "192.0.2.7"]);
    PLACE.store(0xc000_0208, std::sync::atomic::Ordering::Relaxed);
    testkit::wait_until_async("the new address", || async {
        let now = shown().await;
        if now == ["192.0.2.8", "192.0.2.8"] { Ok(()) } else { Err(now) }
    })
    .await;
    // Whoever removes them has them made again.
    const OLDER: &str = "/api/v1/namespaces/default/endpoints/kubernetes";
    const SLICE: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    for path in [OLDER, SLICE] {
        let before = cluster.ok("GET", path, &json!(null)).await["metadata"]["uid"].clone();
        cluster.ok("DELETE", path, &json!({})).await;
        testkit::wait_until_async("another one", || async {
            match cluster.send("GET", path, &json!(null)).await {
                (200, made) if made["metadata"]["uid"] != before => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }
    assert_eq!(shown().await, ["192.0.2.8", "192.0.2.8"]);
    // What somebody else of the same name makes of them is left to them, as long as nothing moves.
    let mut other = cluster.ok("GET", OLDER, &json!(null)).await;
    other["subsets"][0]["addresses"][0]["ip"] = json!("192.0.2.99");
    let other = cluster.ok("PUT", OLDER, &other).await;
    cluster.ok("DELETE", SLICE, &json!({})).await;
    testkit::wait_until_async("a turn of the upkeep", || async {
        match cluster.send("GET", SLICE, &json!(null)).await {
            (200, _) => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    assert_eq!(version(&cluster.ok("GET", OLDER, &json!(null)).await), version(&other));
}
