//! Pods that somebody looks into: by containers that are added to them, and by requests that the server passes
//! on.

use kubernetes_tests::{Cluster, IMAGE, Namespace};

#[track_caller]
fn pod(space: &Namespace<'_>, name: &str, script: &str) {
    space.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {{name: main, image: "{IMAGE}", command: [sh, -c, "{script}"], ports: [{{containerPort: 8080}}]}}
"#
    ));
    space.wait("condition=Ready", &[&format!("pod/{name}")]);
}

const STATE: &str = "{.status.ephemeralContainerStatuses[0].state.terminated.exitCode}";

#[test]
fn a_container_is_added_to_a_pod_that_runs_and_sees_its_processes() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("debug");
    pod(&space, "box", "exec sleep 4321");
    let script = "cat /proc/1/cmdline | tr '\\0' ' '; hostname; exit 3";
    let words = [
        "debug",
        "box",
        "--image",
        IMAGE,
        "--target",
        "main",
        "-c",
        "look",
        "--profile",
        "general",
        "-q",
        "--",
    ];
    space.ok(&[&words[..], &["sh", "-c", script]].concat());
    space.wait_for("pod/box", STATE, "3");
    assert_eq!(space.ok(&["logs", "box", "-c", "look"]), "sleep 4321 box");
    // It is not run again, and the pod goes on as it was.
    assert_eq!(
        space.field("pod/box", "{.status.phase} {.status.containerStatuses[0].ready}"),
        "Running true"
    );
    assert_eq!(space.field("pod/box", "{.status.ephemeralContainerStatuses[0].restartCount}"), "0");

    // Another one, which waits for who attaches to it.
    let words = ["debug", "box", "-i", "-q", "--image", IMAGE, "-c", "ask", "--profile", "general", "--"];
    let script = "read line; echo got $line; cat /proc/1/comm; true";
    let ran = space.kubectl_with("word\n", &[&words[..], &["sh", "-c", script]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    space.wait_for("pod/box", &STATE.replace('0', "1"), "0");
    // It has processes of its own.
    assert_eq!(space.ok(&["logs", "box", "-c", "ask"]), "got word\nsh");
    let names = space.field("pod/box", "{.status.ephemeralContainerStatuses[*].name}");
    assert_eq!(names, "look ask");
    space.ok(&["delete", "pod", "box"]);
    testkit::wait_until("all to be removed", || {
        let left = space.containers();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn what_cannot_be_started_is_told_and_keeps_nothing_from_running() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("debug-fails");
    pod(&space, "box", "exec sleep 4321");
    let add = |name: &str, image: &str, more: &str| {
        let patch = format!(
            r#"{{"spec": {{"ephemeralContainers": [{{"name": "{name}", "image": "{image}", "imagePullPolicy": "Never"{more}}}]}}}}"#
        );
        space.ok(&["patch", "pod", "box", "--subresource", "ephemeralcontainers", "-p", &patch])
    };
    add("none", "no-such-image:1", "");
    space.wait_for(
        "pod/box",
        "{.status.ephemeralContainerStatuses[?(@.name==\"none\")].state.waiting.reason}",
        "ErrImageNeverPull",
    );
    add("wrong", IMAGE, r#", "command": ["/no/such/program"]"#);
    space.wait_for(
        "pod/box",
        "{.status.ephemeralContainerStatuses[?(@.name==\"wrong\")].state.terminated.reason}",
        "StartError",
    );
    assert_eq!(
        space.field("pod/box", "{.status.phase} {.status.containerStatuses[0].ready}"),
        "Running true"
    );
}

#[test]
fn a_pod_and_a_service_are_asked_through_the_server() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("passed-on");
    let serve = "mkdir /www; echo page > /www/index.html; exec httpd -f -p 8080 -h /www";
    pod(&space, "web", serve);
    space.ok(&["expose", "pod", "web", "--port", "80", "--target-port", "8080"]);
    let base = format!("/api/v1/namespaces/{}", space.name());
    let raw = |path: &str| space.kubectl(&["get", "--raw", &format!("{base}{path}")]);
    for path in ["/pods/web/proxy/", "/pods/web:8080/proxy/index.html", "/pods/http:web:8080/proxy/"] {
        let ran = raw(path);
        assert_eq!((ran.code, ran.stdout.trim()), (0, "page"), "{path}: {ran:?}");
    }
    for path in ["/services/web/proxy/", "/services/web:80/proxy/index.html"] {
        testkit::wait_until(path, || {
            let ran = raw(path);
            if ran.code == 0 && ran.stdout.trim() == "page" { Ok(()) } else { Err(ran) }
        });
    }
    assert!(raw("/pods/web/proxy/none").stderr.contains("the server could not find the requested resource"));
    let refused = raw("/pods/web:9/proxy/");
    assert!(refused.stderr.contains("connection refused"), "{refused:?}");
}
