//! Pods that somebody is attached to: whose the input is, and what becomes of the output.

use kubernetes_tests::{Cluster, IMAGE, Namespace};

/// Says what it reads, line by line, and when there is no more.
const ECHO: &str = "while read line; do echo got $line; done; echo closed; exit 5";

#[track_caller]
fn pod(space: &Namespace<'_>, name: &str, once: bool, script: &str) {
    space.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
    - {{name: main, image: "{IMAGE}", stdin: true, stdinOnce: {once}, command: [sh, -c, "{script}"]}}
"#
    ));
    space.wait("condition=Ready", &[&format!("pod/{name}")]);
}

/// Waits until the log of a pod is this.
#[track_caller]
fn said(space: &Namespace<'_>, name: &str, wanted: &str) {
    testkit::wait_until(wanted, || {
        let log = space.ok(&["logs", name]);
        if log == wanted { Ok(()) } else { Err(log) }
    });
}

#[test]
fn an_input_that_is_not_for_one_client_stays_open_when_one_leaves() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("attach-again");
    pod(&space, "box", false, ECHO);
    for (line, log) in
        [("one", "got one"), ("two", "got one\ngot two"), ("three", "got one\ngot two\ngot three")]
    {
        let ran = space.kubectl_with(&format!("{line}\n"), &["attach", "-i", "box"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        said(&space, "box", log);
    }
    assert_eq!(space.field("pod/box", "{.status.phase}"), "Running");
}

#[test]
fn an_input_that_is_for_one_client_ends_with_it_and_its_output_goes_on() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("attach-once");
    pod(&space, "box", true, ECHO);
    let ran = space.kubectl_with("one\n", &["attach", "-i", "-q", "box"]);
    // How the container ended is told by its pod.
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "got one\nclosed\n"), "{ran:?}");
    space.wait_for("pod/box", "{.status.phase}", "Failed");
    space.fails_with("", &["attach", "box"], "cannot attach a container in a completed pod");
}

#[test]
fn who_attaches_first_to_what_is_for_one_client_misses_nothing() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("attach-late");
    pod(&space, "box", true, "echo early; read line; echo late $line");
    said(&space, "box", "early");
    let ran = space.kubectl_with("one\n", &["attach", "-i", "-q", "box"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "early\nlate one\n"), "{ran:?}");
}

#[test]
fn what_is_run_gives_its_output_and_its_exit_code_however_short_it_is() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("run");
    let run = |name: &str, input: &str, script: &str| {
        let words =
            ["run", name, "--rm", "-i", "-q", "--restart=Never", "--image", IMAGE, "--", "sh", "-c", script];
        space.kubectl_with(input, &words)
    };
    for round in 0..5 {
        // It may have ended before anybody can attach: then its log is shown.
        let ran = run(&format!("short{round}"), "", "echo out; exit 3");
        assert_eq!((ran.code, ran.stdout.lines().next()), (3, Some("out")), "{ran:?}");
        // It waits for its client, who may come after what it says at first.
        let ran = run(&format!("waits{round}"), "word\n", "echo out; read line; echo $line; exit 4");
        assert_eq!((ran.code, ran.stdout.as_str()), (4, "out\nword\n"), "{ran:?}");
        assert!(!ran.stderr.contains("falling back to streaming logs"), "{ran:?}");
    }
    assert_eq!(run("fine", "", "true").code, 0);
    testkit::wait_until("all to be removed", || {
        let left = space.ok(&["get", "pods", "--no-headers"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}
