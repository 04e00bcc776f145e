//! Deployments from creation to deletion.

use kubernetes_tests::{Cluster, IMAGE, Namespace};

#[path = "deployment/ordered.rs"]
mod ordered;

#[test]
fn a_deployment_rolls_out_scales_and_leaves_nothing_behind() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("whole-life");
    deploy(&space, "web", 2);
    assert_eq!(space.field("deployment/web", "{.status.readyReplicas}"), "2");
    assert_eq!(space.containers().len(), 2, "docker shows the pods' containers");
    space.ok(&["scale", "deployment/web", "--replicas=4"]);
    rolled_out(&space, "web");
    assert_eq!(space.containers().len(), 4);
    space.ok(&["scale", "deployment/web", "--replicas=1"]);
    testkit::wait_until("one container", || match space.containers() {
        one if one.len() == 1 => Ok(()),
        others => Err(others),
    });
    let columns = space.ok(&["get", "deployment", "web", "--no-headers"]);
    let columns: Vec<&str> = columns.split_whitespace().collect();
    assert_eq!(columns[..4], ["web", "1/1", "1", "1"]);
    space.ok(&["delete", "deployment", "web"]);
    testkit::wait_until("everything to be gone", || {
        let left = (space.ok(&["get", "replicasets,pods", "-o", "name"]), space.containers());
        if left.0.is_empty() && left.1.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn a_change_rolls_through_and_can_be_undone() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("rolling");
    deploy(&space, "web", 2);
    space.ok(&["set", "env", "deployment/web", "COLOUR=green"]);
    rolled_out(&space, "web");
    assert_eq!(colours(&space, 2), ["green", "green"]);
    let history = space.ok(&["rollout", "history", "deployment/web"]);
    assert!(history.lines().any(|line| line.starts_with('2')), "{history}");
    space.ok(&["rollout", "undo", "deployment/web"]);
    rolled_out(&space, "web");
    assert_eq!(colours(&space, 2), ["", ""]);
    let sets = space.ok(&["get", "replicasets", "-o", "jsonpath={.items[*].spec.replicas}"]);
    let mut sets: Vec<&str> = sets.split(' ').collect();
    sets.sort_unstable();
    assert_eq!(sets, ["0", "2"], "the old set comes back instead of a third");
}

#[test]
fn a_paused_deployment_waits_with_changes_until_it_is_resumed() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("paused");
    deploy(&space, "web", 1);
    space.ok(&["rollout", "pause", "deployment/web"]);
    space.ok(&["set", "env", "deployment/web", "COLOUR=blue"]);
    let generation = space.field("deployment/web", "{.metadata.generation}");
    space.wait_for("deployment/web", "{.status.observedGeneration}", &generation);
    assert_eq!(colours(&space, 1), [""]);
    assert_eq!(space.ok(&["get", "replicasets", "-o", "name"]).lines().count(), 1);
    space.ok(&["rollout", "resume", "deployment/web"]);
    rolled_out(&space, "web");
    assert_eq!(colours(&space, 1), ["blue"]);
}

#[test]
fn a_lost_pod_is_replaced() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("replaced");
    deploy(&space, "web", 1);
    let first = space.field("pods", "{.items[*].metadata.name}");
    space.ok(&["delete", "pod", &first]);
    rolled_out(&space, "web");
    let second = space.field("pods", "{.items[*].metadata.name}");
    assert_ne!(first, second);
}

#[track_caller]
fn deploy(space: &Namespace<'_>, name: &str, replicas: u32) {
    space.apply(&format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: main, image: "{IMAGE}", command: [sleep, "1000"]}}]
"#
    ));
    rolled_out(space, name);
}

#[track_caller]
fn rolled_out(space: &Namespace<'_>, name: &str) {
    space.ok(&["rollout", "status", &format!("deployment/{name}"), "--timeout=30s"]);
}

/// The variable `COLOUR` in each of the pods, once there are as many as `count`.
#[track_caller]
fn colours(space: &Namespace<'_>, count: usize) -> Vec<String> {
    let pods = testkit::wait_until("the old pods to be gone", || {
        let pods = space.field("pods", "{.items[*].metadata.name}");
        if pods.split_whitespace().count() == count { Ok(pods) } else { Err(pods) }
    });
    pods.split_whitespace().map(|pod| space.exec(pod, &["sh", "-c", "echo $COLOUR"])).collect()
}

#[test]
fn a_pod_whose_labels_no_longer_fit_is_let_go_and_replaced() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("release");
    space.ok(&["create", "deployment", "web", "--image", IMAGE, "--replicas=2", "--", "sleep", "1000"]);
    space.ok(&["rollout", "status", "deployment/web", "--timeout=30s"]);
    let pod = space.ok(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}"]);
    space.ok(&["label", "--overwrite", "pod", &pod, "app=apart"]);
    space.wait_for(&format!("pod/{pod}"), "{.metadata.ownerReferences[*].name}", "");
    testkit::wait_until("another pod in its place", || {
        let pods = space.ok(&["get", "pods", "-l", "app=web", "-o", "name"]);
        if pods.lines().count() == 2 && !pods.contains(&pod) { Ok(()) } else { Err(pods) }
    });
    assert_eq!(space.field(&format!("pod/{pod}"), "{.status.phase}"), "Running");
    space.ok(&["delete", "pod", &pod, "--now"]);
}

#[test]
fn scaling_in_the_middle_of_a_rollout_goes_to_the_old_and_the_new_in_proportion() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("proportions");
    deploy(&space, "web", 5);
    let rolling = r#"{"spec": {"strategy": {"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}}}}"#;
    space.ok(&["patch", "deployment", "web", "-p", rolling]);
    // One that never comes: five and two more are four old ones and three new ones.
    space.ok(&["set", "image", "deployment/web", "*=127.0.0.1:1/none:1"]);
    let sizes = |wanted: &str| {
        testkit::wait_until(wanted, || {
            let path = "jsonpath={range .items[*]}{.spec.replicas} {end}";
            let found =
                space.ok(&["get", "replicasets", "--sort-by=.metadata.creationTimestamp", "-o", path]);
            let mut sizes: Vec<&str> = found.split_whitespace().collect();
            // Both may be of the same second.
            sizes.sort_unstable();
            if sizes.join(" ") == wanted { Ok(()) } else { Err(found) }
        });
    };
    sizes("3 4");
    space.ok(&["scale", "deployment", "web", "--replicas=10"]);
    sizes("5 7");
    space.ok(&["scale", "deployment", "web", "--replicas=5"]);
    sizes("3 4");
}

#[test]
fn pods_that_must_not_be_near_each_other_wait_for_another_node_and_say_so() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("apart");
    deploy(&space, "web", 1);
    let affinity = r#"[{"op": "add", "path": "/spec/template/spec/affinity", "value": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}]}}},
        {"op": "replace", "path": "/spec/strategy", "value": {"type": "Recreate"}},
        {"op": "replace", "path": "/spec/replicas", "value": 2}]"#;
    space.ok(&["patch", "deployment", "web", "--type=json", "-p", affinity]);
    space.wait_for("deployment/web", "{.status.updatedReplicas}/{.status.readyReplicas}", "2/1");
    testkit::wait_until("the other to say why it waits", || {
        let events = space.ok(&["get", "events", "--field-selector", "reason=FailedScheduling"]);
        let message = "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules.";
        if events.contains(message) { Ok(()) } else { Err(events) }
    });
    // It takes the place of the first when that is gone.
    let running = || {
        space.ok(&["get", "pods", "-o", "jsonpath={.items[?(@.status.phase==\"Running\")].metadata.name}"])
    };
    let first = running();
    space.ok(&["delete", "pod", &first, "--now"]);
    testkit::wait_until("another to run", || {
        let now = running();
        if !now.is_empty() && !now.contains(&first) { Ok(()) } else { Err(now) }
    });
}
