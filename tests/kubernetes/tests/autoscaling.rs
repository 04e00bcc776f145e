//! What pods use, as `kubectl top` shows it, and what autoscalers make of it.

use kubernetes_tests::{Cluster, IMAGE};

#[test]
fn what_a_pod_uses_is_shown_and_scales_it() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("autoscaling");
    space.apply(&format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: burn}}
spec:
  selector: {{matchLabels: {{app: burn}}}}
  template:
    metadata: {{labels: {{app: burn}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - {{name: main, image: "{IMAGE}", command: [sh, -c, "while :; do :; done"],
            resources: {{requests: {{cpu: 50m}}, limits: {{cpu: 100m}}}}}}
        - {{name: idle, image: "{IMAGE}", command: [sleep, "4321"], resources: {{requests: {{cpu: 10m}}}}}}
"#
    ));
    space.wait("condition=Available", &["deployment/burn"]);
    let mut told = String::new();
    testkit::wait_until("what the containers use", || {
        let ran = space.kubectl(&["top", "pods", "--containers", "--no-headers"]);
        told.clone_from(&ran.stdout);
        if ran.code == 0 && told.lines().count() == 2 { Ok(()) } else { Err(ran) }
    });
    let lines: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
    let of = |name: &str| lines.iter().find(|line| line[1] == name).expect("a line for each container");
    let millis = |name: &str| of(name)[2].trim_end_matches('m').parse::<u32>().expect("thousandths");
    assert!((40..=160).contains(&millis("main")) && millis("idle") < 20, "{told}");
    assert!(of("main")[3].ends_with("Mi"), "{told}");

    let sum = space.ok(&["top", "pod", "--sum", "-l", "app=burn"]);
    assert_eq!(sum.lines().next().map(|line| line.split_whitespace().count()), Some(3), "{sum}");
    assert!(sum.lines().count() == 4 && sum.contains("________"), "{sum}");
    let nodes = cluster.ok(&["top", "nodes", "--no-headers"]);
    let columns: Vec<&str> = nodes.split_whitespace().collect();
    assert_eq!((columns.len(), columns[0]), (5, cluster.node().as_str()), "{nodes}");
    let table = space.ok(&["get", "pods.metrics.k8s.io"]);
    let heads: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(heads, ["NAME", "CPU", "MEMORY", "WINDOW"], "{table}");
    space.fails_with("", &["get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes/nobody"], "not found");

    space.ok(&["autoscale", "deployment", "burn", "--cpu-percent=50", "--max=2"]);
    space.wait_for("deployment/burn", "{.spec.replicas}", "2");
    space.wait_for(
        "hpa/burn",
        "{.status.conditions[?(@.type==\"ScalingActive\")].reason}",
        "ValidMetricFound",
    );
    let events =
        space.ok(&["get", "events", "-o", "jsonpath={.items[?(@.reason==\"SuccessfulRescale\")].message}"]);
    let why = "New size: 2; reason: cpu resource utilization (percentage of request) above target";
    assert_eq!(events, why);
}

#[test]
fn a_pod_that_is_bound_by_hand_without_room_is_refused() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("no-room");
    let node = cluster.node();
    let pod = |name: &str, more: &str| {
        format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeName: {node}
  containers:
    - {{name: main, image: "{IMAGE}", command: [sleep, "4321"]{more}}}
---
"#
        )
    };
    space.apply(&pod("cpu", ", resources: {requests: {cpu: 1000}}"));
    space.apply(&pod("memory", ", resources: {requests: {memory: 1Pi}}"));
    for (name, reason, message) in [
        (
            "cpu",
            "OutOfcpu",
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000000, used: ",
        ),
        (
            "memory",
            "OutOfmemory",
            "Pod was rejected: Node didn't have enough resource: memory, requested: 1125899906842624, used: ",
        ),
    ] {
        let pod = format!("pod/{name}");
        space.wait_for(&pod, "{.status.reason}", reason);
        let told = space.field(&pod, "{.status.message}");
        assert!(told.starts_with(message), "{told}");
        assert_eq!(space.field(&pod, "{.status.phase}"), "Failed");
    }
    assert!(space.containers().is_empty());
    space.ok(&["delete", "pods", "--all", "--timeout=20s"]);
}
