//! Pods with places of their own: StatefulSets and DaemonSets, as `kubectl` rolls them.

use kubernetes_tests::{Cluster, IMAGE, Namespace};

#[test]
fn a_stateful_set_is_found_by_its_names_and_rolled_part_by_part() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("sets");
    space.apply(&format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{name: peers}}
spec: {{clusterIP: None, selector: {{app: db}}, ports: [{{name: db, port: 8080}}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: peers
  replicas: 3
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: main, image: "{IMAGE}", command: [sleep, "1000"]}}]
"#
    ));
    let rolled_out = || space.ok(&["rollout", "status", "statefulset/db", "--timeout=30s"]);
    rolled_out();
    assert_eq!(space.exec("db-1", &["hostname", "-f"]), "db-1.peers.sets.svc.cluster.local");
    let address = |pod: &str| space.field(&format!("pod/{pod}"), "{.status.podIP}");
    let is_found = |pod: &str| {
        let (name, address) = (format!("{pod}.peers.sets.svc.cluster.local"), address(pod));
        testkit::wait_until(&name, || {
            let ran = space.kubectl(&["exec", "db-0", "--", "nslookup", &name]);
            if ran.code == 0 && ran.stdout.contains(&address) { Ok(()) } else { Err((address.clone(), ran)) }
        });
    };
    let version = || space.field("statefulset/db", "{.metadata.resourceVersion}");
    let before = version();
    is_found("db-2");
    assert_eq!(version(), before, "nothing is written where nothing changes");

    let partition = |number: u32| {
        let change =
            format!(r#"{{"spec": {{"updateStrategy": {{"rollingUpdate": {{"partition": {number}}}}}}}}}"#);
        space.ok(&["patch", "statefulset", "db", "-p", &change]);
    };
    let colours = || ["db-0", "db-1", "db-2"].map(|pod| space.exec(pod, &["sh", "-c", "echo $COLOUR"]));
    partition(2);
    space.ok(&["set", "env", "statefulset/db", "COLOUR=green"]);
    let told = rolled_out();
    assert!(told.contains("partitioned roll out complete: 1 new pods have been updated"), "{told}");
    assert_eq!(colours(), ["", "", "green"]);
    // It has another address now, under the same name.
    is_found("db-2");
    partition(0);
    rolled_out();
    assert_eq!(colours(), ["green", "green", "green"]);
    let history = space.ok(&["rollout", "history", "statefulset/db"]);
    let numbers: Vec<&str> = history.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(numbers.ends_with(&["1", "2"]), "{history}");
    space.ok(&["rollout", "undo", "statefulset/db"]);
    rolled_out();
    assert_eq!(colours(), ["", "", ""]);
    let history = space.ok(&["rollout", "history", "statefulset/db", "--revision=2"]);
    assert!(history.contains("green"), "{history}");

    space.ok(&["scale", "statefulset/db", "--replicas=1"]);
    pods_are(&space, "db-0");
    let columns = space.ok(&["get", "statefulset", "db", "--no-headers"]);
    assert_eq!(columns.split_whitespace().take(2).collect::<Vec<_>>(), ["db", "1/1"]);
    // A pod that is lost has its place again.
    space.ok(&["delete", "pod", "db-0"]);
    space.wait("condition=Ready", &["pod/db-0"]);
    space.ok(&["delete", "statefulset", "db"]);
    pods_are(&space, "");
}

#[test]
fn a_daemon_set_has_a_pod_on_the_node_and_is_rolled() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("daemons");
    space.apply(&format!(
        r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: log}}
spec:
  selector: {{matchLabels: {{app: log}}}}
  template:
    metadata: {{labels: {{app: log}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: main, image: "{IMAGE}", command: [sleep, "1000"]}}]
"#
    ));
    let rolled_out = || space.ok(&["rollout", "status", "daemonset/log", "--timeout=30s"]);
    let colour = || {
        let pod = space.field("pods", "{.items[*].metadata.name}");
        space.exec(&pod, &["sh", "-c", "echo $COLOUR"])
    };
    rolled_out();
    assert_eq!(space.field("pods", "{.items[*].spec.nodeName}"), cluster.node());
    let columns = space.ok(&["get", "daemonset", "log", "--no-headers"]);
    assert_eq!(columns.split_whitespace().take(6).collect::<Vec<_>>(), ["log", "1", "1", "1", "1", "1"]);
    space.ok(&["set", "env", "daemonset/log", "COLOUR=green"]);
    rolled_out();
    assert_eq!(colour(), "green");
    // The new one is there before the old one goes.
    let surge = r#"{"spec": {"updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}}"#;
    space.ok(&["patch", "daemonset", "log", "-p", surge]);
    let before = space.field("pods", "{.items[*].metadata.name}");
    space.ok(&["rollout", "undo", "daemonset/log"]);
    rolled_out();
    testkit::wait_until("the old one to go", || {
        let pods = space.field("pods", "{.items[*].metadata.name}");
        if !pods.contains(&before) && !pods.contains(' ') { Ok(()) } else { Err(pods) }
    });
    assert_eq!(colour(), "");
    let history = space.ok(&["rollout", "history", "daemonset/log"]);
    let numbers: Vec<&str> = history.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(numbers.ends_with(&["2", "3"]), "{history}");
    space.ok(&["delete", "daemonset", "log"]);
    pods_are(&space, "");
}

/// Waits until these are the namespace's pods.
#[track_caller]
fn pods_are(space: &Namespace<'_>, wanted: &str) {
    testkit::wait_until(&format!("the pods to be {wanted:?}"), || {
        let pods = space.field("pods", "{.items[*].metadata.name}");
        if pods == wanted { Ok(()) } else { Err(pods) }
    });
}
