//! Pods whose containers get other resources while they run.

use std::path::{Path, PathBuf};

use kubernetes_tests::{Cluster, IMAGE, Namespace};
use serde_json::{Value, json};

/// A pod of one container, which writes `megabytes` into memory and sleeps.
fn manifest(name: &str, requests: &Value, limits: &Value, more: &str) -> String {
    let resources = json!({"requests": requests, "limits": limits});
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {{name: main, image: "{IMAGE}", command: [sh, -c, "trap 'exit 0' TERM; sleep 4321 & wait"], resources: {resources}{more}}}
"#
    )
}

fn amounts(cpu: &str, memory: &str) -> Value {
    json!({"cpu": cpu, "memory": memory})
}

fn change(requests: &Value, limits: &Value) -> String {
    let resources = json!({"requests": requests, "limits": limits});
    json!({"spec": {"containers": [{"name": "main", "resources": resources}]}}).to_string()
}

#[track_caller]
fn resize(space: &Namespace<'_>, pod: &str, change: &str) {
    space.ok(&["patch", "pod", pod, "--subresource", "resize", "-p", change]);
}

const CONDITIONS: &str = "{range .status.conditions[*]}{.type} {end}";
const RESTARTS: &str = "{.status.containerStatuses[0].restartCount}";
const TOLD: &str = "{.status.containerStatuses[0].resources.requests.cpu} {.status.containerStatuses[0].resources.limits.cpu} \
                    {.status.containerStatuses[0].resources.limits.memory} {.status.containerStatuses[0].allocatedResources.cpu}";

#[track_caller]
fn pending(space: &Namespace<'_>, pod: &str) -> Value {
    let pod = space.get(&["pod", pod]);
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|one| one["type"] == "PodResizePending").unwrap_or_default()
}

/// The control group of a container's processes: that of memory, on a host that has one for each.
fn group(space: &Namespace<'_>, pod: &str) -> PathBuf {
    let id = space.field(&format!("pod/{pod}"), "{.status.containerStatuses[0].containerID}");
    let pid = space.inspect(id.trim_start_matches("gantry://"), "{{.State.Pid}}");
    let groups =
        std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("read the groups of a process");
    let of = |controller: &str| {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (names, path) = (fields.next()?, fields.next()?);
            let named = names.split(',').any(|name| name == controller);
            named.then(|| path.trim_start_matches('/').to_owned())
        })
    };
    match of("memory") {
        Some(path) => Path::new("/sys/fs/cgroup/memory").join(path),
        None => Path::new("/sys/fs/cgroup").join(of("").expect("the group of a process")),
    }
}

/// The limit of memory of a container's group, and of its pod's.
fn memory(space: &Namespace<'_>, pod: &str) -> [String; 2] {
    let group = group(space, pod);
    let read = |group: &Path| {
        let file = ["memory.max", "memory.limit_in_bytes"].map(|name| group.join(name));
        let text = file.iter().find_map(|file| std::fs::read_to_string(file).ok());
        text.unwrap_or_else(|| panic!("{} has no limit", group.display())).trim().to_owned()
    };
    [read(&group), read(group.parent().expect("the pod's"))]
}

fn events(space: &Namespace<'_>, pod: &str) -> Vec<String> {
    let of_pod = format!("involvedObject.name={pod}");
    let listed = space.get(&["events", "--field-selector", &of_pod]);
    let listed = listed["items"].as_array().cloned().unwrap_or_default();
    let all = listed.iter().map(|event| {
        format!(
            "{}: {}",
            event["reason"].as_str().unwrap_or_default(),
            event["message"].as_str().unwrap_or_default()
        )
    });
    all.filter(|event| event.starts_with("Resize") || event.starts_with("Killing")).collect()
}

#[test]
fn a_container_gets_more_and_less_while_it_runs() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("resize");
    space.apply(&manifest("box", &amounts("50m", "32Mi"), &amounts("200m", "64Mi"), ""));
    space.wait("condition=Ready", &["pod/box"]);
    assert_eq!(space.field("pod/box", TOLD), "50m 200m 64Mi 50m");
    let before = space.field("pod/box", "{.status.containerStatuses[0].containerID}");
    for (requests, limits, told, bytes) in [
        (amounts("100m", "48Mi"), amounts("400m", "96Mi"), "100m 400m 96Mi 100m", 96 << 20),
        (amounts("60m", "40Mi"), amounts("300m", "80Mi"), "60m 300m 80Mi 60m", 80 << 20),
    ] {
        resize(&space, "box", &change(&requests, &limits));
        space.wait_for("pod/box", TOLD, told);
        let bytes: u64 = bytes;
        assert_eq!(memory(&space, "box"), [bytes.to_string(), bytes.to_string()]);
        let generation = space.field("pod/box", "{.metadata.generation}");
        space.wait_for("pod/box", "{.status.observedGeneration}", &generation);
        testkit::wait_until("nothing to be left to do", || {
            let conditions = space.field("pod/box", CONDITIONS);
            if conditions.contains("PodResize") { Err(conditions) } else { Ok(()) }
        });
    }
    assert_eq!(space.field("pod/box", RESTARTS), "0");
    assert_eq!(space.field("pod/box", "{.status.containerStatuses[0].containerID}"), before);
    let told = events(&space, "box");
    let said = r#"ResizeStarted: Pod resize started: {"containers":[{"name":"main","resources":{"limits":{"cpu":"300m","memory":"80Mi"},"requests":{"cpu":"60m","memory":"40Mi"}}}],"generation":3}"#;
    assert!(told.iter().any(|event| event == said), "{told:#?}");
    let completed =
        said.replace("ResizeStarted: Pod resize started", "ResizeCompleted: Pod resize completed");
    assert!(told.contains(&completed), "{told:#?}");
    assert_eq!(space.field("pod/box", "{.status.allocatedResources}"), r#"{"cpu":"60m","memory":"40Mi"}"#);

    // What a program looks for of itself in a pod is what it was granted.
    let described = space.ok(&["describe", "pod", "box"]);
    assert!(described.contains("Limits:") && described.contains("memory:  80Mi"), "{described}");
}

#[test]
fn who_wants_to_be_started_anew_for_it_is() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("resize-restart");
    let policy = r#", resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]"#;
    space.apply(&manifest("box", &amounts("50m", "32Mi"), &amounts("200m", "64Mi"), policy));
    space.wait("condition=Ready", &["pod/box"]);
    resize(&space, "box", &change(&amounts("60m", "32Mi"), &amounts("200m", "64Mi")));
    space.wait_for("pod/box", TOLD, "60m 200m 64Mi 60m");
    assert_eq!(space.field("pod/box", RESTARTS), "0", "it is about memory alone");
    resize(&space, "box", &change(&amounts("60m", "32Mi"), &amounts("200m", "48Mi")));
    space.wait_for("pod/box", RESTARTS, "1");
    space.wait_for("pod/box", TOLD, "60m 200m 48Mi 60m");
    space.wait("condition=Ready", &["pod/box"]);
    let bytes = (48 << 20).to_string();
    testkit::wait_until("the pod's own limit", || {
        let found = memory(&space, "box");
        if found == [bytes.clone(), bytes.clone()] { Ok(()) } else { Err(found) }
    });
    let told = events(&space, "box");
    assert!(told.contains(&"Killing: Container main resize requires restart".to_owned()), "{told:#?}");
    assert_eq!(space.field("pod/box", "{.status.phase}"), "Running");
}

#[test]
fn nothing_gets_less_memory_than_it_uses() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("resize-used");
    let more = ", volumeMounts: [{name: memory, mountPath: /memory}]";
    let pod = manifest("box", &amounts("10m", "16Mi"), &amounts("500m", "128Mi"), more);
    space.apply(&format!("{pod}  volumes: [{{name: memory, emptyDir: {{medium: Memory}}}}]\n"));
    space.wait("condition=Ready", &["pod/box"]);
    space.exec("box", &["dd", "if=/dev/zero", "of=/memory/x", "bs=1M", "count=60"]);
    resize(&space, "box", &change(&amounts("10m", "16Mi"), &amounts("500m", "32Mi")));
    let path = r#"{.status.conditions[?(@.type=="PodResizeInProgress")].reason}"#;
    space.wait_for("pod/box", path, "Error");
    let message = space.field("pod/box", &path.replace("reason", "message"));
    let start =
        "cannot decrease memory limits: [attempting to set pod memory limit (33554432) below current usage (";
    let second = r#"attempting to set container "main" memory limit (33554432) below current usage ("#;
    assert!(message.starts_with(start) && message.contains(second), "{message}");
    let told = "{.status.containerStatuses[0].resources.limits.memory} {.spec.containers[0].resources.limits.memory}";
    assert_eq!(space.field("pod/box", told), "128Mi 32Mi");
    assert_eq!(memory(&space, "box")[0], (128u64 << 20).to_string());
    let told = events(&space, "box");
    assert!(told.iter().any(|event| event.starts_with("ResizeError: Pod resize error: ")), "{told:#?}");
    // Once it uses less it gets less.
    space.exec("box", &["rm", "/memory/x"]);
    space.wait_for("pod/box", "{.status.containerStatuses[0].resources.limits.memory}", "32Mi");
    assert_eq!(space.field("pod/box", RESTARTS), "0");
}

#[test]
fn sidecars_and_what_begins_a_pod_and_the_pod_as_a_whole_get_other_resources_too() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("resize-others");
    let container = |name: &str, more: &str| {
        format!(
            r#"{{name: {name}, image: "{IMAGE}", command: [sh, -c, "trap 'exit 0' TERM; sleep 4321 & wait"]{more}}}"#
        )
    };
    let asks = |more: &str| {
        format!(", resources: {{requests: {{cpu: 20m, memory: 16Mi}}, limits: {{memory: 64Mi}}}}{more}")
    };
    space.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: begins}}
spec:
  terminationGracePeriodSeconds: 0
  initContainers: [{}, {}]
  containers: [{}]
---
apiVersion: v1
kind: Pod
metadata: {{name: whole}}
spec:
  terminationGracePeriodSeconds: 0
  resources: {{limits: {{cpu: 300m, memory: 64Mi}}}}
  containers: [{}]
"#,
        container("side", &asks(", restartPolicy: Always")),
        container("begin", &asks("")),
        container("main", &asks("")),
        container("main", ""),
    ));
    let told = |index: usize, field: &str| format!("{{.status.initContainerStatuses[{index}].{field}}}");
    space.wait_for("pod/begins", &told(1, "started"), "true");
    for (index, name, memory) in [(0, "side", "80Mi"), (1, "begin", "96Mi")] {
        let change = json!({"spec": {"initContainers": [
            {"name": name, "resources": {"requests": {"cpu": "30m"}, "limits": {"memory": memory}}}]}});
        resize(&space, "begins", &change.to_string());
        space.wait_for("pod/begins", &told(index, "resources.limits.memory"), memory);
        assert_eq!(space.field("pod/begins", &told(index, "allocatedResources.cpu")), "30m");
        assert_eq!(space.field("pod/begins", &told(index, "restartCount")), "0");
    }
    space.wait("condition=Ready", &["pod/whole"]);
    assert_eq!(
        space.field("pod/whole", "{.status.qosClass} {.status.resources.limits.memory}"),
        "Guaranteed 64Mi"
    );
    let amounts = amounts("400m", "96Mi");
    let change = json!({"spec": {"resources": {"requests": amounts, "limits": amounts}}});
    resize(&space, "whole", &change.to_string());
    space.wait_for(
        "pod/whole",
        "{.status.resources.limits.memory} {.status.allocatedResources.cpu}",
        "96Mi 400m",
    );
    assert_eq!(memory(&space, "whole")[1], (96u64 << 20).to_string());
    assert_eq!(space.field("pod/whole", RESTARTS), "0");
    let less = json!({"spec": {"resources": {"requests": {"cpu": "100m"}}}}).to_string();
    let words = ["patch", "pod", "whole", "--subresource", "resize", "-p", &less];
    space.fails_with("", &words, "Pod QOS Class may not change as a result of resizing");
}

/// What the node has, in thousandths of processors.
fn processors(cluster: &Cluster) -> u64 {
    let text = cluster.ok(&["get", "nodes", "-o", "jsonpath={.items[0].status.allocatable.cpu}"]);
    match text.strip_suffix('m') {
        Some(millis) => millis.parse().expect("a number"),
        None => text.parse::<u64>().expect("a number") * 1000,
    }
}

#[test]
fn what_there_is_no_room_for_waits_even_for_another_daemon_and_what_never_fits_is_told() {
    let mut cluster = Cluster::start();
    let all = processors(&cluster);
    cluster.ok(&["create", "namespace", "room"]);
    let taken = format!("{}m", all - 600);
    let wanted = "900m";
    {
        let space = Namespace::of(&cluster, "room");
        for (name, cpu) in [("large", taken.as_str()), ("small", "100m"), ("waits", "100m")] {
            space.apply(&manifest(name, &amounts(cpu, "16Mi"), &json!({}), ""));
        }
        space.wait("condition=Ready", &["pod/large", "pod/small", "pod/waits"]);

        resize(&space, "small", &change(&json!({"cpu": "9999"}), &json!({})));
        testkit::wait_until("it to be told", || match pending(&space, "small") {
            condition if condition["reason"] == "Infeasible" => Ok(()),
            condition => Err(condition),
        });
        let condition = pending(&space, "small");
        let message = format!("Node didn't have enough capacity: cpu, requested: 9999000, capacity: {all}");
        assert_eq!((&condition["message"], &condition["observedGeneration"]), (&json!(message), &json!(2)));
        assert_eq!(space.field("pod/small", "{.status.containerStatuses[0].resources.requests.cpu}"), "100m");
        let told = events(&space, "small");
        assert!(
            told.iter().any(|event| event.starts_with("ResizeInfeasible: Pod resize Infeasible: ")),
            "{told:#?}"
        );
        // Asking for what it has takes it back.
        resize(&space, "small", &change(&json!({"cpu": "100m"}), &json!({})));
        testkit::wait_until("it to be forgotten", || match pending(&space, "small") {
            Value::Null => Ok(()),
            condition => Err(condition),
        });

        resize(&space, "waits", &change(&json!({"cpu": wanted}), &json!({})));
        testkit::wait_until("it to wait", || match pending(&space, "waits") {
            condition if condition["reason"] == "Deferred" => Ok(()),
            condition => Err(condition),
        });
        let message = pending(&space, "waits")["message"].as_str().unwrap_or_default().to_owned();
        let used = all - 600 + 100;
        let expected =
            format!("Node didn't have enough resource: cpu, requested: 900, used: {used}, capacity: {all}");
        assert_eq!(message, expected);
        // Whoever comes meanwhile finds that taken which is asked for.
        space.apply(&manifest("late", &amounts("300m", "16Mi"), &json!({}), ""));
        space.wait("condition=PodScheduled=False", &["pod/late"]);
        space.ok(&["delete", "pod", "late"]);
    }
    cluster.daemon.kill();
    cluster.daemon.launch();
    cluster.wait_ready();
    let space = Namespace::of(&cluster, "room");
    assert_eq!(space.field("pod/waits", "{.status.containerStatuses[0].allocatedResources.cpu}"), "100m");
    assert_eq!(pending(&space, "waits")["reason"], "Deferred");
    // Room comes where another asks for less.
    resize(&space, "large", &change(&json!({"cpu": "100m"}), &json!({})));
    space.wait_for("pod/waits", "{.status.containerStatuses[0].resources.requests.cpu}", wanted);
    testkit::wait_until("it to wait no more", || match pending(&space, "waits") {
        Value::Null => Ok(()),
        condition => Err(condition),
    });
    for pod in ["large", "small", "waits"] {
        assert_eq!(space.field(&format!("pod/{pod}"), RESTARTS), "0");
    }
}

#[test]
fn what_was_granted_is_given_though_the_daemon_was_killed_before() {
    let mut cluster = Cluster::start();
    cluster.ok(&["create", "namespace", "killed"]);
    let (uid, all) = {
        let space = Namespace::of(&cluster, "killed");
        let large = format!("{}m", processors(&cluster) - 400);
        space.apply(&manifest("large", &amounts(&large, "16Mi"), &json!({}), ""));
        space.apply(&manifest("box", &amounts("100m", "16Mi"), &amounts("1", "64Mi"), ""));
        space.wait("condition=Ready", &["pod/large", "pod/box"]);
        // It waits, so that nothing is done about it.
        resize(&space, "box", &change(&amounts("700m", "16Mi"), &amounts("1", "96Mi")));
        testkit::wait_until("it to wait", || match pending(&space, "box") {
            condition if condition["reason"] == "Deferred" => Ok(()),
            condition => Err(condition),
        });
        (space.field("pod/box", "{.metadata.uid}"), memory(&space, "box"))
    };
    assert_eq!(all, [(64u64 << 20).to_string(), (64u64 << 20).to_string()]);
    cluster.daemon.kill();
    // As if it had been granted in the moment before.
    let record = cluster.daemon.root().join("pods").join(&uid).join("resources.json");
    let text = std::fs::read_to_string(&record).expect("read the record");
    let mut granted: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(granted["containers"]["main"]["requests"]["cpu"], "100m", "{granted}");
    granted["containers"]["main"]["requests"]["cpu"] = json!("700m");
    granted["containers"]["main"]["limits"]["memory"] = json!("96Mi");
    std::fs::write(&record, granted.to_string()).expect("write the record");
    cluster.daemon.launch();
    cluster.wait_ready();
    let space = Namespace::of(&cluster, "killed");
    space.wait_for("pod/box", TOLD, "700m 1 96Mi 700m");
    let bytes = (96u64 << 20).to_string();
    assert_eq!(memory(&space, "box"), [bytes.clone(), bytes]);
    assert_eq!(space.field("pod/box", RESTARTS), "0");
    testkit::wait_until("nothing to be left to do", || match space.field("pod/box", CONDITIONS) {
        conditions if conditions.contains("PodResize") => Err(conditions),
        _ => Ok(()),
    });

    // Wherever a kill comes in between, the end is what was asked for last.
    let (mut cluster, mut last) = (cluster, String::new());
    for round in 0..4u64 {
        {
            let space = Namespace::of(&cluster, "killed");
            let cpu = format!("{}m", 110 + round);
            last = format!("{cpu} 1 {}Mi {cpu}", 70 + round);
            let limits = amounts("1", &format!("{}Mi", 70 + round));
            resize(&space, "box", &change(&amounts(&cpu, "16Mi"), &limits));
        }
        cluster.daemon.kill();
        cluster.daemon.launch();
        cluster.wait_ready();
    }
    let space = Namespace::of(&cluster, "killed");
    space.wait_for("pod/box", TOLD, &last);
    let bytes = (73u64 << 20).to_string();
    assert_eq!(memory(&space, "box"), [bytes.clone(), bytes]);
    assert_eq!(space.field("pod/box", RESTARTS), "0");
}

#[test]
fn a_flood_of_resizes_ends_with_the_last_and_one_of_a_pod_that_ends_hinders_nothing() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("resize-flood");
    space.apply(&manifest("box", &amounts("10m", "16Mi"), &amounts("500m", "64Mi"), ""));
    space.wait("condition=Ready", &["pod/box"]);
    let path = format!("/api/v1/namespaces/{}/pods/box/resize", space.name());
    for round in 0..25 {
        let limits = amounts("500m", &format!("{}Mi", 64 + round));
        resize(&space, "box", &change(&amounts("10m", "16Mi"), &limits));
    }
    space.wait_for("pod/box", TOLD, "10m 500m 88Mi 10m");
    let bytes = (88u64 << 20).to_string();
    assert_eq!(memory(&space, "box"), [bytes.clone(), bytes]);
    assert_eq!(space.field("pod/box", RESTARTS), "0");
    assert!(space.ok(&["get", "--raw", &path]).contains("\"memory\":\"88Mi\""));
    space.ok(&["delete", "pod", "box", "--wait=false", "--grace-period=5"]);
    let late = change(&amounts("10m", "16Mi"), &amounts("500m", "200Mi"));
    let _ = space.kubectl(&["patch", "pod", "box", "--subresource", "resize", "-p", &late]);
    space.wait("delete", &["pod/box"]);
}

#[test]
fn quotas_and_limits_of_the_namespace_hold_for_it() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("resize-quota");
    space.apply(
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: q}\nspec: {hard: {requests.cpu: 300m}}\n---\n\
         apiVersion: v1\nkind: LimitRange\nmetadata: {name: l}\nspec: {limits: [{type: Container, max: {memory: 256Mi}}]}\n",
    );
    space.wait_for("quota/q", "{.status.used.requests\\.cpu}", "0");
    space.apply(&manifest("box", &amounts("200m", "16Mi"), &amounts("1", "64Mi"), ""));
    space.wait("condition=Ready", &["pod/box"]);
    let refused = |cpu: &str, memory: &str, message: &str| {
        let change = change(&amounts(cpu, "16Mi"), &amounts("1", memory));
        space.fails_with("", &["patch", "pod", "box", "--subresource", "resize", "-p", &change], message);
    };
    refused(
        "400m",
        "64Mi",
        "exceeded quota: q, requested: requests.cpu=200m, used: requests.cpu=200m, limited: requests.cpu=300m",
    );
    refused("200m", "512Mi", "maximum memory usage per Container is 256Mi, but limit is 512Mi");
    resize(&space, "box", &change(&amounts("250m", "16Mi"), &amounts("1", "64Mi")));
    assert_eq!(space.field("quota/q", "{.status.used.requests\\.cpu}"), "250m");
    // What it gives back can be had by others.
    resize(&space, "box", &change(&amounts("100m", "16Mi"), &amounts("1", "64Mi")));
    space.wait_for("quota/q", "{.status.used.requests\\.cpu}", "100m");
}
