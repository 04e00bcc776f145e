//! What events tell of pods: in the kubelet's words, since people and programs look for them.

use kubernetes_tests::{Cluster, IMAGE, Namespace};

/// The same image under another name.
const OTHER: &str = "busybox:other";

#[track_caller]
fn pod(space: &Namespace<'_>, name: &str, main: &str, spec: &str) {
    space.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  containers:
    - {{name: main, image: "{IMAGE}", imagePullPolicy: Never, {main}}}
  terminationGracePeriodSeconds: 0
  {spec}
"#
    ));
}

/// Waits until these are among the events of a pod: type, reason and message.
#[track_caller]
fn told(space: &Namespace<'_>, pod: &str, wanted: &[&str]) {
    let selector = format!("involvedObject.name={pod}");
    let output = "jsonpath={range .items[*]}{.type}/{.reason}/{.message}{\"\\n\"}{end}";
    testkit::wait_until(&format!("{wanted:?}"), || {
        let events = space.ok(&["get", "events", "--field-selector", &selector, "-o", output]);
        let has = |wanted: &&&str| events.lines().any(|event| event == **wanted);
        let missing: Vec<_> = wanted.iter().filter(|wanted| !has(wanted)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} of\n{events}")) }
    });
}

#[test]
fn what_kills_a_container_is_told_and_whether_it_comes_back() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("killing");
    cluster.daemon.ok(&["tag", IMAGE, OTHER]);
    let probed = |kind: &str| {
        format!(
            r#"command: [sleep, "1000"], {kind}: {{exec: {{command: ["false"]}}, periodSeconds: 1, failureThreshold: 1}}"#
        )
    };
    let never = "restartPolicy: Never";
    pod(&space, "again", &probed("livenessProbe"), "");
    pod(&space, "last", &probed("livenessProbe"), never);
    pod(&space, "slow", &probed("startupProbe"), never);
    let hook = r#"command: [sleep, "1000"], lifecycle: {postStart: {exec: {command: [sh, -c, "echo s3cret >&2; exit 1"]}}}"#;
    pod(&space, "hooked", hook, never);
    pod(&space, "plain", r#"command: [sleep, "1000"]"#, "");
    let killing = |why: &str| format!("Normal/Killing/{why}");
    let failed = |kind: &str| killing(&format!("Container main failed {kind} probe"));
    told(&space, "again", &[&format!("{}, will be restarted", failed("liveness"))]);
    told(&space, "last", &[&failed("liveness")]);
    told(&space, "slow", &[&failed("startup")]);
    let hooked = killing("FailedPostStartHook");
    told(&space, "hooked", &["Warning/FailedPostStartHook/PostStartHook failed", &hooked]);
    // One whose image changes is made anew, whatever the policy.
    let changed = "Normal/Killing/Container main definition changed, will be restarted";
    for (name, spec) in [("other", ""), ("never", never)] {
        pod(&space, name, r#"command: [sleep, "1000"]"#, spec);
        space.wait("condition=Ready", &[&format!("pod/{name}")]);
        space.ok(&["set", "image", &format!("pod/{name}"), &format!("main={OTHER}")]);
        told(&space, name, &[changed]);
        let path = "{.status.containerStatuses[0].restartCount}/{.status.containerStatuses[0].image}";
        space.wait_for(&format!("pod/{name}"), path, &format!("1/{OTHER}"));
        space.wait("condition=Ready", &[&format!("pod/{name}")]);
    }
    // What was found dead has ended for good where nothing is started again.
    for name in ["last", "slow", "hooked"] {
        space.wait_for(&format!("pod/{name}"), "{.status.phase}", "Failed");
    }
    assert!(!space.ok(&["get", "events"]).contains("s3cret"), "what a hook says may be secret");
    space.wait("condition=Ready", &["pod/plain"]);
    space.ok(&["delete", "pod", "plain"]);
    told(&space, "plain", &["Normal/Created/Container created", "Normal/Started/Container started"]);
    told(&space, "plain", &[&killing("Stopping container main")]);
}

#[test]
fn what_a_container_waits_for_is_told() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("waiting");
    let volume = "volumes: [{name: data, configMap: {name: gone}}]";
    pod(&space, "volume", "volumeMounts: [{name: data, mountPath: /data}]", volume);
    pod(&space, "variable", "env: [{name: A, valueFrom: {configMapKeyRef: {name: gone, key: a}}}]", "");
    pod(
        &space,
        "secrets",
        r#"command: [sleep, "1000"]"#,
        "imagePullSecrets: [{name: lost}, {name: also-lost}]",
    );
    pod(&space, "crash", "command: [sh, -c, exit 1]", "");
    told(
        &space,
        "volume",
        &[r#"Warning/FailedMount/MountVolume.SetUp failed for volume "data" : configmap "gone" not found"#],
    );
    told(&space, "variable", &[r#"Warning/Failed/Error: configmap "gone" not found"#]);
    told(
        &space,
        "secrets",
        &[
            "Warning/FailedToRetrieveImagePullSecret/Unable to retrieve some image pull secrets (also-lost, lost); attempting to pull the image may not succeed.",
        ],
    );
    let uid = space.field("pod/crash", "{.metadata.uid}");
    let back_off =
        format!("Warning/BackOff/Back-off restarting failed container main in pod crash_waiting({uid})");
    told(&space, "crash", &[&back_off]);
    let path = "{.status.containerStatuses[0].state.waiting.message}";
    let waits = format!("back-off 10s restarting failed container=main pod=crash_waiting({uid})");
    testkit::wait_until(&waits, || {
        let message = space.field("pod/crash", path);
        // By then it may wait for longer.
        if message == waits || message == waits.replace("10s", "20s") { Ok(()) } else { Err(message) }
    });
}

#[test]
fn an_event_says_who_tells_it_of_what() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("source");
    pod(&space, "crash", "command: [sh, -c, exit 1]", "");
    let event = testkit::wait_until("a container that was started twice", || {
        let events = space.get(&["events", "--field-selector", "involvedObject.name=crash,reason=Started"]);
        let event = events["items"][0].clone();
        if event["count"].as_i64() >= Some(2) { Ok(event) } else { Err(events) }
    });
    let node = cluster.node();
    assert_eq!(event["source"], serde_json::json!({"component": "kubelet", "host": node}));
    assert_eq!(
        (event["reportingComponent"].as_str(), event["reportingInstance"].as_str()),
        (Some("kubelet"), Some(&*node))
    );
    assert_eq!(event["involvedObject"]["fieldPath"], "spec.containers{main}");
    assert_eq!(event["involvedObject"]["uid"], space.field("pod/crash", "{.metadata.uid}"));
    assert!(event["firstTimestamp"].as_str() <= event["lastTimestamp"].as_str(), "{event}");
    let scheduled = space.get(&["events", "--field-selector", "involvedObject.name=crash,reason=Scheduled"]);
    assert_eq!(scheduled["items"][0]["source"], serde_json::json!({"component": "default-scheduler"}));
}
