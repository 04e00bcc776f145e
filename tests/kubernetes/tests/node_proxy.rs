//! What a node is asked itself, through the API server.

use kubernetes_tests::{Cluster, IMAGE, Namespace};
use serde_json::Value;

fn path(cluster: &Cluster, rest: &str) -> String {
    format!("/api/v1/nodes/{}/proxy{rest}", cluster.node())
}

#[track_caller]
fn get(cluster: &Cluster, rest: &str) -> String {
    cluster.ok(&["get", "--raw", &path(cluster, rest)])
}

#[track_caller]
fn json(cluster: &Cluster, rest: &str) -> Value {
    serde_json::from_str(&get(cluster, rest)).expect("JSON")
}

#[track_caller]
fn refused(cluster: &Cluster, rest: &str, message: &str) {
    // It has sentences of its own for some codes; what was answered it tells only who asks for all.
    let ran = cluster.kubectl(&["get", "-v=8", "--raw", &path(cluster, rest)]);
    assert!(ran.code != 0 && ran.stderr.contains(message), "{rest}: {ran:?}");
}

fn pod(space: &Namespace<'_>) {
    space.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: box}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {{name: main, image: "{IMAGE}", command: [sh, -c, "echo said; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exec sleep 4321"],
        readinessProbe: {{exec: {{command: ["true"]}}, periodSeconds: 1}}, resources: {{limits: {{memory: 64Mi}}}}}}
"#
    ));
    space.wait("condition=Ready", &["pod/box"]);
}

/// The one of a list whose field has this value.
fn find<'a>(list: &'a Value, field: &str, name: &str) -> &'a Value {
    let items = list.as_array().map_or(&[][..], Vec::as_slice);
    items
        .iter()
        .find(|item| item.pointer(field).and_then(Value::as_str) == Some(name))
        .unwrap_or(&Value::Null)
}

#[test]
fn a_node_tells_what_it_and_its_pods_use() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("node-stats");
    pod(&space);
    let summary = json(&cluster, "/stats/summary");
    assert_eq!(summary["node"]["nodeName"], cluster.node().as_str());
    for number in [
        "/node/cpu/usageCoreNanoSeconds",
        "/node/memory/availableBytes",
        "/node/fs/capacityBytes",
        "/node/rlimit/maxpid",
    ] {
        assert!(
            summary.pointer(number).and_then(Value::as_u64).is_some_and(|found| found > 0),
            "{number}: {summary}"
        );
    }
    let uid = space.field("pod/box", "{.metadata.uid}");
    let of_pod = find(&summary["pods"], "/podRef/uid", &uid);
    let container = find(&of_pod["containers"], "/name", "main");
    for (of, number) in [
        (of_pod, "/cpu/usageCoreNanoSeconds"),
        (of_pod, "/memory/workingSetBytes"),
        (of_pod, "/network/rxBytes"),
        (of_pod, "/process_stats/process_count"),
        (container, "/cpu/usageCoreNanoSeconds"),
        (container, "/memory/usageBytes"),
        (container, "/logs/usedBytes"),
    ] {
        assert!(
            of.pointer(number).and_then(Value::as_u64).is_some_and(|found| found > 0),
            "{number}: {of_pod}"
        );
    }
    let limit = 64 << 20;
    let left = container["memory"]["availableBytes"].as_u64().expect("a number");
    assert!(left > 0 && left < limit, "{container}");
    // Looked at twice, it tells how fast.
    testkit::wait_until("a rate", || {
        let summary = json(&cluster, "/stats/summary?only_cpu_and_memory=true");
        let of_pod = find(&summary["pods"], "/podRef/uid", &uid);
        match of_pod["cpu"]["usageNanoCores"].as_u64() {
            Some(_) if of_pod.get("network").is_none() => Ok(()),
            _ => Err(summary),
        }
    });
    let labels = format!("namespace=\"{}\",pod=\"box\"", space.name());
    let text = get(&cluster, "/metrics/resource");
    let name = format!("container_memory_working_set_bytes{{container=\"main\",{labels}}} ");
    let line = text.lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("{text}"));
    let bytes: u64 = line[name.len()..].split(' ').next().expect("a number").parse().expect("a number");
    assert!(bytes > 0 && bytes < limit, "{line}");
    assert!(text.contains("\nresource_scrape_error 0"), "{text}");
    assert!(get(&cluster, "/metrics/cadvisor").contains(&labels));
    let probed = format!("{labels},pod_uid=\"{uid}\",probe_type=\"Readiness\",result=\"successful\"}}");
    let probes = get(&cluster, "/metrics/probes");
    let line = probes.lines().find(|line| line.contains(&probed)).unwrap_or_else(|| panic!("{probes}"));
    assert!(!line.ends_with(" 0"), "{line}");
    assert!(get(&cluster, "/metrics").contains("kubelet_running_pods "));
}

#[test]
fn a_node_answers_the_rest_of_a_kubelet_s_paths() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("node-paths");
    pod(&space);
    assert_eq!(get(&cluster, "/healthz"), "ok");
    assert_eq!(get(&cluster, "/healthz/syncloop"), "ok");
    assert!(get(&cluster, "/healthz?verbose").ends_with("[+]syncloop ok\nhealthz check passed"));
    let uid = space.field("pod/box", "{.metadata.uid}");
    let pods = json(&cluster, "/pods");
    assert_eq!(pods["kind"], "PodList");
    assert_eq!(find(&pods["items"], "/metadata/uid", &uid)["status"]["phase"], "Running");
    let running = json(&cluster, "/runningpods/");
    assert_eq!(find(&running["items"], "/metadata/uid", &uid)["spec"]["containers"][0]["name"], "main");
    let settings = json(&cluster, "/configz");
    assert_eq!(settings["kubeletconfig"]["clusterDomain"], "cluster.local");
    let log = format!("/containerLogs/{}/box/main", space.name());
    assert_eq!(get(&cluster, &log), "said");
    assert_eq!(get(&cluster, &format!("{log}?tailLines=0")), "");
    let run = |place: &str, command: &str| {
        let path = path(&cluster, &format!("/run/{}/{place}?cmd={command}", space.name()));
        space.kubectl_with("", &["create", "--raw", &path, "-f", "-"])
    };
    assert_eq!(run("box/main", "hostname").stdout.trim(), "box");
    assert_eq!(run(&format!("box/{uid}/main"), "echo%20a%20b").stdout.trim(), "a b");
    assert!(run("box/main", "false").stderr.contains("exited with 1"), "{:?}", run("box/main", "false"));
    assert!(run("box/none", "true").stderr.contains("container not found"), "{:?}", run("box/none", "true"));
    assert!(run("none/main", "true").stderr.contains("could not find the requested resource"));

    refused(&cluster, "/logs/", "logs endpoint is disabled.");
    refused(&cluster, "/debug/pprof/profile", "profiling endpoint is disabled.");
    refused(&cluster, &format!("/containerLogs/{}/box/none", space.name()), "not found in pod");
    refused(&cluster, &format!("/containerLogs/{}/none/main", space.name()), "does not exist");
    for trick in [
        "/none",
        "/logs/..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/pods/%2e%2e/configz",
        "/containerLogs/a%2fb/c/d",
    ] {
        refused(&cluster, trick, "Page Not Found");
    }
    let other = cluster.kubectl(&["get", "--raw", "/api/v1/nodes/other/proxy/healthz"]);
    assert!(other.stderr.contains("nodes \"other\" not found"), "{other:?}");
    // A node that somebody made up has no agent.
    space.ok_with("{apiVersion: v1, kind: Node, metadata: {name: zz-made-up}}", &["create", "-f", "-"]);
    let made_up = cluster.kubectl(&["get", "--raw", "/api/v1/nodes/zz-made-up/proxy/healthz"]);
    assert!(made_up.stderr.contains("there is no way to node"), "{made_up:?}");
    space.ok(&["delete", "node", "zz-made-up"]);

    // Who has no right to it gets nothing.
    space.ok(&["create", "serviceaccount", "reader"]);
    let user = format!("--as=system:serviceaccount:{}:reader", space.name());
    let denied = cluster.kubectl(&[&user, "get", "--raw", &path(&cluster, "/pods")]);
    assert!(denied.stderr.contains("cannot get resource \"nodes/proxy\""), "{denied:?}");
}
