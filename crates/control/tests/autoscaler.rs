//! An autoscaler against a real API server, and pods that leave their node.
#![forbid(unsafe_code)]

mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use apiserver::Error;
use apiserver::node::{
    Answering, Duplex, LogOptions, NoNodes, NodeRequest, NodeTransport, PodTarget, StreamOptions, Streams,
};
use bytes::Bytes;
use client::Api;
use client::api::{Patch, PatchOptions};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use serde_json::{Value, json};
use support::{Cluster, object};
use testkit::wait_until_async;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A node on which each pod uses nine tenths of a processor, and whose pods tell of a queue.
struct Busy {
    began: Instant,
    pods: Mutex<Vec<String>>,
}

impl NodeTransport for Busy {
    fn logs(
        &self,
        pod: PodTarget,
        options: LogOptions,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Bytes>, Error>> {
        NoNodes.logs(pod, options)
    }

    fn exec(
        &self,
        pod: PodTarget,
        options: StreamOptions,
        streams: Streams,
    ) -> BoxFuture<'static, Result<i32, Error>> {
        NoNodes.exec(pod, options, streams)
    }

    fn attach(
        &self,
        pod: PodTarget,
        options: StreamOptions,
        streams: Streams,
    ) -> BoxFuture<'static, Result<i32, Error>> {
        NoNodes.attach(pod, options, streams)
    }

    fn port_forward(&self, pod: PodTarget, port: u16) -> BoxFuture<'static, Result<Box<dyn Duplex>, Error>> {
        NoNodes.port_forward(pod, port)
    }

    fn ask(&self, node: String, request: NodeRequest) -> BoxFuture<'static, Result<Answering, Error>> {
        if node != "busy" {
            return NoNodes.ask(node, request);
        }
        assert_eq!(request.path, "/metrics/resource");
        let elapsed = self.began.elapsed();
        let (used, at) = (elapsed.as_secs_f64() * 0.9, 1_800_000_000_000 + elapsed.as_millis());
        let mut page =
            format!("node_cpu_usage_seconds_total {used} {at}\nnode_memory_working_set_bytes 1 {at}\n");
        for pod in self.pods.lock().expect("nobody panics with it").iter() {
            let labels = format!("{{container=\"c\",namespace=\"default\",pod=\"{pod}\"}}");
            page.push_str(&format!(
                "container_cpu_usage_seconds_total{labels} {used} {at}\ncontainer_memory_working_set_bytes{labels} 2097152 {at}\n"
            ));
        }
        let answer = http::Response::new(futures::stream::iter([Bytes::from(page)]).boxed());
        let answering: Answering = Box::pin(std::future::ready(Ok(answer)));
        Box::pin(std::future::ready(Ok(answering)))
    }

    fn dial(&self, _: String, address: SocketAddr) -> BoxFuture<'static, std::io::Result<Box<dyn Duplex>>> {
        Box::pin(async move {
            let (mut near, far) = tokio::io::duplex(1 << 16);
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                let _ = near.read(&mut asked).await;
                let page = match address.port() {
                    80 => "# TYPE queue gauge\nqueue{kind=\"a\"} 7\nqueue{kind=\"b\"} 5\n".to_owned(),
                    // More than anybody reads, of which the length is not told.
                    _ => "x 1\n".repeat(1 << 20),
                };
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
                let _ = near.write_all(format!("{head}{page}").as_bytes()).await;
            });
            Ok(Box::new(far) as Box<dyn Duplex>)
        })
    }
}

/// Says of a pod that it has run for long; what asks for it is told where.
async fn run(cluster: &Cluster, name: &str, port: u16) {
    let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
    let long_ago = "2020-01-01T00:00:00Z";
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": long_ago});
    let status = json!({"status": {"phase": "Running", "startTime": long_ago, "podIP": "10.42.0.9", "conditions": [ready]}});
    pods.patch_status(name, &Patch::Merge(status), &PatchOptions::default()).await.expect("a status");
    let asked = json!({"metadata": {"annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": port.to_string()}}});
    pods.patch(name, &Patch::Merge(asked), &PatchOptions::default()).await.expect("annotations");
}

async fn list(cluster: &Cluster) -> Vec<Pod> {
    let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
    pods.list_all(&client::ListOptions::default()).await.expect("list").items
}

fn name(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap_or_default()
}

async fn events(cluster: &Cluster, reason: &str) -> Vec<String> {
    let events = Api::<Event>::namespaced(&cluster.steady, "default");
    let events = events.list_all(&client::ListOptions::default()).await.expect("list").items;
    let of = |event: &Event| event.reason.as_deref() == Some(reason);
    events.into_iter().filter(of).filter_map(|event| event.message).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_grows_by_what_its_pods_use_and_leaves_a_tainted_node() {
    let busy = Arc::new(Busy { began: Instant::now(), pods: Mutex::default() });
    let cluster = Cluster::start_with(busy.clone()).await;
    let nodes = Api::<Node>::all(&cluster.steady);
    for node in ["busy", "gone"] {
        nodes.create(&object(json!({"metadata": {"name": node}}))).await.expect("a node");
    }
    let room = json!({"status": {"allocatable": {"cpu": "20", "memory": "4Gi", "pods": "110"}}});
    nodes.patch_status("busy", &Patch::Merge(room), &PatchOptions::default()).await.expect("room");
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}});
    let deployment = json!({
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"nodeName": "busy", "containers": [container]}},
        },
    });
    let deployments = Api::<Deployment>::namespaced(&cluster.steady, "default");
    deployments.create(&object(deployment)).await.expect("a deployment");
    wait_until_async("a pod", || async {
        let pods = list(&cluster).await;
        if pods.len() == 1 { Ok(()) } else { Err(pods) }
    })
    .await;
    let first = name(&list(&cluster).await[0]);
    busy.pods.lock().expect("nobody panics with it").push(first.clone());
    run(&cluster, &first, 80).await;

    let hpa = json!({
        "metadata": {"name": "web"},
        "spec": {
            "maxReplicas": 10,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 30}}}],
        },
    });
    let hpas = Api::<HorizontalPodAutoscaler>::namespaced(&cluster.steady, "default");
    hpas.create(&object(hpa)).await.expect("an autoscaler");
    wait_until_async("three pods, and an autoscaler that says so", || async {
        let pods = list(&cluster).await.len();
        let hpa = hpas.get("web").await.expect("the autoscaler");
        let status = hpa.status.unwrap_or_default();
        let conditions: Vec<String> = status
            .conditions
            .into_iter()
            .flatten()
            .map(|it| format!("{}={} {}", it.type_, it.status, it.reason.unwrap_or_default()))
            .collect();
        let wanted = [
            "AbleToScale=True SucceededRescale",
            "ScalingActive=True ValidMetricFound",
            "ScalingLimited=False DesiredWithinRange",
        ];
        if pods == 3 && status.desired_replicas == 3 && conditions == wanted {
            Ok(())
        } else {
            Err((pods, conditions))
        }
    })
    .await;
    let why = "New size: 3; reason: cpu resource utilization (percentage of request) above target";
    wait_until_async("the event", || async {
        let told = events(&cluster, "SuccessfulRescale").await;
        if told == [why] { Ok(()) } else { Err(told) }
    })
    .await;

    // Nodes that cannot be asked are left out, and so are pods of which nothing was measured.
    let list_of = async |path: &str| -> Vec<String> {
        let list: Value =
            cluster.steady.get(&format!("/apis/metrics.k8s.io/v1beta1/{path}")).await.expect("a list");
        let items = list["items"].as_array().expect("items").iter();
        items.map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(list_of("nodes").await, ["busy"]);
    assert_eq!(list_of("namespaces/default/pods?labelSelector=app%3Dweb").await, [&*first]);
    assert!(list_of("pods?labelSelector=app%3Dother").await.is_empty());
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/{first}");
    let one: Value = cluster.steady.get(&path).await.expect("a pod");
    assert_eq!(one["metadata"]["labels"]["app"], "web");
    let container = &one["containers"][0];
    assert_eq!((&container["name"], &container["usage"]["memory"]), (&json!("c"), &json!("2Mi")));
    let cpu: model::Quantity = serde_json::from_value(container["usage"]["cpu"].clone()).expect("an amount");
    assert!((850..=950).contains(&cpu.millis()), "{cpu}");
    let missing = cluster.steady.get::<Value>("/apis/metrics.k8s.io/v1beta1/nodes/gone").await;
    assert_eq!(
        missing.expect_err("no way to it").to_string(),
        "nodemetrics.metrics.k8s.io \"gone\" not found"
    );

    // What pods tell of themselves, by pod and by series; what tells too much tells nothing.
    let other = list(&cluster).await.iter().map(name).find(|name| *name != first).expect("another pod");
    run(&cluster, &other, 81).await;
    let custom = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/queue";
    let of_pods: Value = cluster.steady.get(custom).await.expect("values");
    let items = of_pods["items"].as_array().expect("items");
    let told: Vec<_> = items.iter().map(|item| (&item["describedObject"]["name"], &item["value"])).collect();
    assert_eq!(told, [(&json!(first), &json!("12"))]);
    let of_series: Value =
        cluster.steady.get(&format!("{custom}?metricLabelSelector=kind%3Da")).await.expect("values");
    assert_eq!(of_series["items"][0]["value"], "7");
    let none =
        cluster.steady.get::<Value>(&custom.replace("queue", "nothing")).await.expect_err("nobody tells it");
    let none = none.to_string();
    assert!(none.starts_with("the server could not find the metric nothing for pods"), "{none}");
    assert!(none.contains("it says more than"), "{none}");
    let external: Value = cluster
        .steady
        .get("/apis/external.metrics.k8s.io/v1beta1/namespaces/default/queue?labelSelector=kind%3Db")
        .await
        .expect("values");
    assert_eq!(
        (&external["items"][0]["metricLabels"], &external["items"][0]["value"]),
        (&json!({"kind": "b"}), &json!("5"))
    );

    // Pods leave a node for a taint, but for those that put up with it.
    let tolerant = json!({
        "metadata": {"name": "tolerant"},
        "spec": {"nodeName": "busy", "containers": [{"name": "c", "image": "i"}], "tolerations": [{"operator": "Exists"}]},
    });
    Api::<Pod>::namespaced(&cluster.steady, "default").create(&object(tolerant)).await.expect("a pod");
    deployments
        .patch("web", &Patch::Merge(json!({"spec": {"paused": true}})), &PatchOptions::default())
        .await
        .expect("paused");
    let taints = json!({"spec": {"taints": [{"key": "out", "effect": "NoExecute"}]}});
    nodes.patch("busy", &Patch::Merge(taints), &PatchOptions::default()).await.expect("a taint");
    wait_until_async("pods to leave", || async {
        let pod = Api::<Pod>::namespaced(&cluster.steady, "default").find(&first).await.expect("asked");
        let Some(pod) = pod else { return Err("it is gone before anybody has seen why".to_owned()) };
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let why: Vec<_> = conditions
            .filter(|it| it.type_ == "DisruptionTarget")
            .filter_map(|it| it.reason.clone())
            .collect();
        match (pod.metadata.deletion_timestamp, why.as_slice()) {
            (Some(_), [why]) if why == "DeletionByTaintManager" => Ok(()),
            (_, why) => Err(format!("{why:?}")),
        }
    })
    .await;
    let message = format!("Marking for deletion Pod default/{first}");
    wait_until_async("the event", || async {
        let told = events(&cluster, "TaintManagerEviction").await;
        if told.contains(&message) { Ok(()) } else { Err(told) }
    })
    .await;
    let tolerant =
        Api::<Pod>::namespaced(&cluster.steady, "default").get("tolerant").await.expect("it stays");
    assert!(tolerant.metadata.deletion_timestamp.is_none());
}
