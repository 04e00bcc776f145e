//! Pods: what their containers get, how they start, end, and are watched.

use std::process::Command;

use kubernetes_tests::{Cluster, IMAGE, Namespace};

#[test]
fn init_containers_run_in_order_before_the_others_and_share_their_volume() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("init");
    space.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: box}}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{{name: shared, emptyDir: {{}}}}]
  initContainers:
    - {{name: one, image: "{IMAGE}", command: [sh, -c, "echo one >> /s/order"], volumeMounts: [{{name: shared, mountPath: /s}}]}}
    - {{name: two, image: "{IMAGE}", command: [sh, -c, "echo two >> /s/order"], volumeMounts: [{{name: shared, mountPath: /s}}]}}
  containers:
    - {{name: main, image: "{IMAGE}", command: [sh, -c, "echo main >> /s/order; exec sleep 1000"], volumeMounts: [{{name: shared, mountPath: /s}}]}}
    - {{name: side, image: "{IMAGE}", command: [sleep, "1000"], volumeMounts: [{{name: shared, mountPath: /other}}]}}
"#
    ));
    space.wait("condition=Ready", &["pod/box"]);
    let order = testkit::wait_until("all three to write", || {
        let order = space.ok(&["exec", "box", "-c", "side", "--", "cat", "/other/order"]);
        if order.lines().count() == 3 { Ok(order) } else { Err(order) }
    });
    assert_eq!(order, "one\ntwo\nmain");
    assert_eq!(space.ok(&["get", "pod", "box", "--no-headers"]).split_whitespace().nth(1), Some("2/2"));
}

#[test]
fn config_maps_secrets_and_the_pods_own_fields_reach_the_container() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("config");
    space.ok(&["create", "configmap", "settings", "--from-literal=colour=green", "--from-literal=size=4"]);
    space.ok(&["create", "secret", "generic", "keys", "--from-literal=token=s3cret"]);
    pod(
        &space,
        "box",
        r#"command: [sleep, "1000"],
          envFrom: [{configMapRef: {name: settings}, prefix: SET_}],
          env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: keys, key: token}}},
                {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}},
                {name: SPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}},
                {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}},
                {name: JOINED, value: "$(POD)-$(TOKEN)"}],
          volumeMounts: [{name: settings, mountPath: /settings}, {name: keys, mountPath: /keys}]"#,
        "volumes: [{name: settings, configMap: {name: settings}}, {name: keys, secret: {secretName: keys, defaultMode: 256}}]",
    );
    space.wait("condition=Ready", &["pod/box"]);
    let script =
        "echo $SET_colour $SET_size $TOKEN $POD $SPACE $JOINED; cat /settings/colour; echo; cat /keys/token";
    assert_eq!(
        space.exec("box", &["sh", "-c", script]),
        "green 4 s3cret box config box-s3cret\ngreen\ns3cret"
    );
    assert_eq!(space.exec("box", &["sh", "-c", "stat -Lc %a /keys/token"]), "400");
    let ip = space.field("pod/box", "{.status.podIP}");
    assert_eq!(space.exec("box", &["sh", "-c", "echo $IP"]), ip);
    assert!(space.exec("box", &["ip", "addr"]).contains(&ip));
    let token = "cat /var/run/secrets/kubernetes.io/serviceaccount/namespace";
    assert_eq!(space.exec("box", &["sh", "-c", token]), "config");
}

#[test]
fn a_missing_config_map_holds_the_container_back_until_it_is_made() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("missing");
    pod(&space, "box", r#"command: [sleep, "1000"], envFrom: [{configMapRef: {name: late}}]"#, "");
    let reason = "{.status.containerStatuses[0].state.waiting.reason}";
    space.wait_for("pod/box", reason, "CreateContainerConfigError");
    space.ok(&["create", "configmap", "late", "--from-literal=a=b"]);
    space.wait("condition=Ready", &["pod/box"]);
    assert_eq!(space.exec("box", &["sh", "-c", "echo $a"]), "b");
}

#[test]
fn readiness_probes_of_each_kind_follow_what_they_look_at() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("probes");
    let httpd = r#"command: [sh, -c, "mkdir /www; exec httpd -f -p 8080 -h /www"]"#;
    for (name, probe, break_up, make_up) in [
        ("exec", "exec: {command: [cat, /ready]}", "rm /ready", "touch /ready"),
        ("http", "httpGet: {path: /ready.txt, port: 8080}", "rm /www/ready.txt", "touch /www/ready.txt"),
        ("tcp", "tcpSocket: {port: 9090}", "kill -9 -1", "httpd -p 9090 -h /www"),
    ] {
        pod(
            &space,
            name,
            &format!("{httpd}, readinessProbe: {{{probe}, periodSeconds: 1, failureThreshold: 1}}"),
            "",
        );
        space.wait("jsonpath={.status.phase}=Running", &[&format!("pod/{name}")]);
        assert_eq!(ready(&space, name), "False", "{name}");
        space.exec(name, &["sh", "-c", make_up]);
        space.wait("condition=Ready", &[&format!("pod/{name}")]);
        space.exec(name, &["sh", "-c", break_up]);
        space.wait("condition=Ready=false", &[&format!("pod/{name}")]);
    }
}

#[test]
fn a_container_that_fails_is_restarted_after_a_pause_and_its_last_words_are_kept() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("failing");
    pod(&space, "box", r#"command: [sh, -c, "echo words of $HOSTNAME; exit 3"]"#, "");
    space.wait_for("pod/box", "{.status.containerStatuses[0].state.waiting.reason}", "CrashLoopBackOff");
    assert_eq!(space.ok(&["logs", "--previous", "box"]), "words of box");
    let status = space.get(&["pod", "box"])["status"]["containerStatuses"][0].clone();
    assert!(status["restartCount"].as_u64() >= Some(1), "{status}");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 3, "{status}");
    event(&space, "box", "Warning/BackOff/Back-off restarting failed container main in pod box_failing(");
}

#[test]
fn an_image_that_cannot_be_had_is_tried_again_after_a_pause() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("imageless");
    let missing = "127.0.0.1:1/none:1";
    space.ok(&["run", "box", "--image", missing]);
    let reason = "{.status.containerStatuses[0].state.waiting.reason}";
    space.wait_for("pod/box", reason, "ImagePullBackOff");
    // It goes to and fro between the two.
    let why = space.kubectl(&["logs", "box"]).stderr;
    assert!(why.contains(r#"container "box" in pod "box" is waiting to start: "#), "{why}");
    event(&space, "box", &format!("Normal/BackOff/Back-off pulling image \"{missing}\""));
    event(&space, "box", "Warning/Failed/Error: ImagePullBackOff");
    // It is told again while it waits: more often than it is tried, which is after 10 s and 20 more.
    let counted = |reason: &str| -> u32 {
        let path = format!("{{range .items[?(@.reason==\"{reason}\")]}}{{.count}} {{end}}");
        let counts = space.kubectl(&["get", "events", "-o", &format!("jsonpath={path}")]).stdout;
        counts.split_whitespace().filter_map(|count| count.parse::<u32>().ok()).sum()
    };
    testkit::wait_until("it is told more often than it is tried", || {
        let (told, tried) = (counted("BackOff"), counted("Pulling"));
        if told > tried { Ok(()) } else { Err(format!("told {told} times, tried {tried} times")) }
    });
    // Of one that has ended nothing is told any more.
    space.ok(&["patch", "pod", "box", "-p", r#"{"spec": {"activeDeadlineSeconds": 1}}"#]);
    space.wait_for("pod/box", "{.status.phase}", "Failed");
    let told = counted("BackOff");
    std::thread::sleep(std::time::Duration::from_secs(12));
    assert!(counted("BackOff") <= told + 1, "{} times after {told}", counted("BackOff"));
}

#[test]
fn an_image_that_is_not_to_be_pulled_or_has_no_name_is_told_as_that() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("unpulled");
    let reason = "{.status.containerStatuses[0].state.waiting.reason}";
    for (name, image, waits, said) in [
        (
            "never",
            "none:1",
            "ErrImageNeverPull",
            "ErrImageNeverPull/Container image \"none:1\" is not present with pull policy of Never",
        ),
        (
            "nameless",
            "No/Such",
            "InvalidImageName",
            "InspectFailed/Failed to apply default image tag \"No/Such\": ",
        ),
    ] {
        // Not by `kubectl run`, which looks at names itself.
        space.apply(&format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  containers: [{{name: {name}, image: "{image}", imagePullPolicy: Never}}]
"#
        ));
        space.wait_for(&format!("pod/{name}"), reason, waits);
        event(&space, name, &format!("Warning/{said}"));
        event(&space, name, &format!("Warning/Failed/Error: {waits}"));
    }
}

#[test]
fn containers_that_share_a_process_namespace_see_each_other() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("shared");
    space.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: box}}
spec:
  terminationGracePeriodSeconds: 0
  shareProcessNamespace: true
  containers:
    - {{name: main, image: "{IMAGE}", command: [sleep, "1111"]}}
    - {{name: side, image: "{IMAGE}", command: [sleep, "2222"]}}
"#
    ));
    space.wait("condition=Ready", &["pod/box"]);
    let seen = space.ok(&["exec", "box", "-c", "side", "--", "ps", "-o", "args"]);
    assert!(seen.contains("sleep 1111") && seen.contains("sleep 2222"), "{seen}");
}

#[test]
fn kernel_settings_of_the_pod_hold_in_it_alone() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("sysctls");
    pod(
        &space,
        "box",
        r#"command: [sleep, "1000"]"#,
        r#"securityContext: {sysctls: [{name: net.ipv4.ip_local_port_range, value: "20000 20100"}, {name: kernel.shm_rmid_forced, value: "1"}]}"#,
    );
    pod(&space, "other", r#"command: [sleep, "1000"]"#, "");
    space.wait("condition=Ready", &["pod/box", "pod/other"]);
    let settings = ["cat", "/proc/sys/net/ipv4/ip_local_port_range", "/proc/sys/kernel/shm_rmid_forced"];
    assert_eq!(space.exec("box", &settings).split_whitespace().collect::<Vec<_>>(), ["20000", "20100", "1"]);
    assert!(!space.exec("other", &settings).contains("20100"));
}

#[test]
fn a_cordoned_node_takes_no_pods_until_it_is_uncordoned() {
    // Not the shared one: others need its node.
    let cluster = Cluster::start();
    let space = cluster.namespace("cordon");
    let node = cluster.node();
    cluster.ok(&["cordon", &node]);
    assert!(cluster.ok(&["get", "nodes", "--no-headers"]).contains("Ready,SchedulingDisabled"));
    pod(&space, "box", r#"command: [sleep, "1000"]"#, "");
    space.wait("condition=PodScheduled=false", &["pod/box"]);
    let said = space.field("pod/box", r#"{.status.conditions[?(@.type=="PodScheduled")].message}"#);
    assert!(said.contains("1 node(s) were unschedulable"), "{said}");
    cluster.ok(&["uncordon", &node]);
    space.wait("condition=Ready", &["pod/box"]);
}

#[test]
fn a_liveness_probe_that_fails_restarts_the_container() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("liveness");
    pod(
        &space,
        "box",
        r#"command: [sleep, "1000"],
          livenessProbe: {exec: {command: ["false"]}, periodSeconds: 1, failureThreshold: 1}"#,
        "",
    );
    testkit::wait_until("a restart", || {
        let count = space.field("pod/box", "{.status.containerStatuses[0].restartCount}");
        if count.parse::<u32>().is_ok_and(|count| count > 0) { Ok(()) } else { Err(count) }
    });
    assert!(space.ok(&["get", "events"]).contains("Unhealthy"));
}

#[test]
fn a_pod_that_runs_to_its_end_stays_with_its_result() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("results");
    for (name, code, phase) in [("good", 0, "Succeeded"), ("bad", 7, "Failed")] {
        pod(&space, name, &format!("command: [sh, -c, 'echo said; exit {code}']"), "restartPolicy: Never");
        space.wait(&format!("jsonpath={{.status.phase}}={phase}"), &[&format!("pod/{name}")]);
        let exit = "{.status.containerStatuses[0].state.terminated.exitCode}";
        assert_eq!(space.field(&format!("pod/{name}"), exit), code.to_string());
        assert_eq!(space.ok(&["logs", name]), "said");
    }
}

#[test]
fn a_pod_is_ended_when_it_has_been_active_for_as_long_as_it_may_be() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("deadline");
    pod(&space, "box", r#"command: [sleep, "1000"]"#, "activeDeadlineSeconds: 2");
    space.wait("jsonpath={.status.phase}=Failed", &["pod/box"]);
    assert_eq!(space.field("pod/box", "{.status.reason}"), "DeadlineExceeded");
    let message = "Pod was active on the node longer than the specified deadline";
    assert_eq!(space.field("pod/box", "{.status.message}"), message);
    let code = space.field("pod/box", "{.status.containerStatuses[0].state.terminated.exitCode}");
    assert_ne!(code, "0", "its container has ended by then, whatever its restart policy");
    event(&space, "box", &format!("Normal/DeadlineExceeded/{message}"));
    // One that ends in time keeps its own result.
    pod(&space, "quick", "command: ['true']", "restartPolicy: Never\n  activeDeadlineSeconds: 1000");
    space.wait("jsonpath={.status.phase}=Succeeded", &["pod/quick"]);
    space.ok(&["patch", "pod", "quick", "-p", r#"{"spec": {"activeDeadlineSeconds": 1}}"#]);
    let patched = space.field("pod/quick", "{.metadata.generation}");
    space.wait_for("pod/quick", "{.status.observedGeneration}", &patched);
    assert_eq!(space.field("pod/quick", "{.status.phase}{.status.reason}"), "Succeeded");
}

#[test]
fn a_later_deletion_shortens_the_time_that_an_earlier_one_gave() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("shortened");
    let main = r#"command: [sh, -c, "trap '' TERM; while :; do sleep 1; done"],
        lifecycle: {preStop: {sleep: {seconds: 500}}}"#;
    pod(&space, "box", main, "terminationGracePeriodSeconds: 600");
    space.wait("condition=Ready", &["pod/box"]);
    space.ok(&["delete", "pod", "box", "--wait=false"]);
    event(&space, "box", "Normal/Killing/Stopping container main");
    space.ok(&["delete", "pod", "box", "--grace-period=300", "--wait=false"]);
    space.ok(&["delete", "pod", "box", "--grace-period=1", "--timeout=20s"]);
    assert_eq!(space.containers(), [""; 0]);
}

#[test]
fn an_environment_that_doubles_holds_its_container_back() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("doubling");
    let mut doubling = format!("{{name: A0, value: {}}}", "x".repeat(1000));
    for place in 1..=35 {
        doubling += &format!(", {{name: A{place}, value: $(A{0})$(A{0})}}", place - 1);
    }
    pod(&space, "box", &format!(r#"command: [sleep, "1000"], env: [{doubling}]"#), "");
    let reason = "{.status.containerStatuses[0].state.waiting.reason}";
    space.wait_for("pod/box", reason, "CreateContainerConfigError");
    let message = space.field("pod/box", "{.status.containerStatuses[0].state.waiting.message}");
    assert!(message.starts_with("the environment is larger than 2097152 bytes"), "{message}");
}

#[test]
fn exec_carries_input_output_and_the_exit_code() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("exec");
    pod(&space, "box", r#"command: [sh, -c, "echo started; exec sleep 1000"]"#, "");
    space.wait("condition=Ready", &["pod/box"]);
    let ran = space.kubectl(&["exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 5"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (5, "out\n"), "{ran:?}");
    assert!(ran.stderr.starts_with("err\n"), "{ran:?}");
    assert_eq!(space.ok_with("some\nlines\n", &["exec", "-i", "box", "--", "wc", "-l"]), "2");
    let big = "0123456789abcde\n".repeat(20_000);
    assert_eq!(space.kubectl_with(&big, &["exec", "-i", "box", "--", "cat"]).stdout.len(), big.len());
    assert_eq!(space.ok(&["logs", "box"]), "started");
    space.fails_with("", &["exec", "box", "--", "no-such-program"], "no-such-program");
    space.fails_with("", &["exec", "absent", "--", "true"], r#"pods "absent" not found"#);
}

#[test]
fn a_port_is_forwarded_into_the_pod() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("forward");
    let serve = r#"command: [sh, -c, "mkdir /www; echo page > /www/index.html; exec httpd -f -p 8080 -h /www"],
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}"#;
    pod(&space, "box", serve, "");
    space.wait("condition=Ready", &["pod/box"]);
    let forward = space.running(&["port-forward", "pod/box", "18080:8080"]);
    forward.wait_for("Forwarding from 127.0.0.1:18080");
    for _ in 0..3 {
        assert_eq!(on_host(&cluster, "http://127.0.0.1:18080/"), "page\n");
    }
}

#[test]
fn a_pod_is_given_its_grace_period_to_end() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("grace");
    let script = "trap 'echo bye > /s/end; exit 0' TERM; touch /s/armed; while :; do sleep 0.05; done";
    let scratch = cluster.daemon.scratch("grace");
    // The polite one may take longer than the deletion waits for, and does not.
    for (name, grace, script, end) in [
        ("polite", 60, script, "bye\n"),
        ("stubborn", 2, "trap '' TERM; touch /s/armed; while :; do sleep 0.05; done", ""),
    ] {
        let own = scratch.join(name);
        std::fs::create_dir_all(&own).expect("create a directory");
        let volume = format!(
            "terminationGracePeriodSeconds: {grace}\n  volumes: [{{name: s, hostPath: {{path: {}}}}}]",
            own.display()
        );
        let main = format!("command: [sh, -c, \"{script}\"], volumeMounts: [{{name: s, mountPath: /s}}]");
        pod(&space, name, &main, &volume);
        testkit::wait_until("the trap", || if own.join("armed").exists() { Ok(()) } else { Err(name) });
        let begin = std::time::Instant::now();
        space.ok(&["delete", "pod", name, "--timeout=20s"]);
        assert_eq!(std::fs::read_to_string(own.join("end")).unwrap_or_default(), end, "{name}");
        assert!(begin.elapsed().as_secs() >= 2 || name == "polite", "{name} was not given its time");
    }
    assert_eq!(space.containers(), [""; 0]);
}

#[test]
fn user_limits_and_files_are_as_the_pod_asks() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("limits");
    pod(
        &space,
        "box",
        r#"command: [sleep, "1000"],
          securityContext: {runAsUser: 1234, runAsGroup: 50, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false},
          resources: {limits: {cpu: 250m, memory: 32Mi}, requests: {cpu: 100m, memory: 16Mi}}"#,
        "",
    );
    space.wait("condition=Ready", &["pod/box"]);
    assert_eq!(space.exec("box", &["sh", "-c", "id -u; id -g"]), "1234\n50");
    let ran = space.kubectl(&["exec", "box", "--", "touch", "/new"]);
    assert!(ran.code != 0 && ran.stderr.contains("Read-only"), "{ran:?}");
    assert_eq!(space.exec("box", &["grep", "NoNewPrivs", "/proc/1/status"]), "NoNewPrivs:\t1");
    let containers = space.containers();
    assert_eq!(containers.len(), 1, "{containers:?}");
    assert_eq!(cluster.daemon.inspect(&containers[0], "{{.HostConfig.Memory}}"), "33554432");
    assert_eq!(cluster.daemon.inspect(&containers[0], "{{.HostConfig.CpuQuota}}"), "25000");
    assert_eq!(space.field("pod/box", "{.status.qosClass}"), "Burstable");
}

#[test]
fn a_pod_that_fits_nowhere_says_why_and_is_placed_when_it_does() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("unfit");
    pod(&space, "big", r#"command: [sleep, "1000"], resources: {requests: {cpu: "1000"}}"#, "");
    pod(&space, "picky", r#"command: [sleep, "1000"]"#, "nodeSelector: {place: unfit}");
    for (name, message) in
        [("big", "Insufficient cpu"), ("picky", "didn't match Pod's node affinity/selector")]
    {
        let thing = format!("pod/{name}");
        space.wait("condition=PodScheduled=false", &[&thing]);
        let said = space.field(&thing, r#"{.status.conditions[?(@.type=="PodScheduled")].message}"#);
        assert!(said.starts_with("0/1 nodes are available") && said.contains(message), "{said}");
        testkit::wait_until("the event", || {
            let events =
                space.ok(&["get", "events", "--field-selector", &format!("involvedObject.name={name}")]);
            if events.contains("FailedScheduling") && events.contains(message) { Ok(()) } else { Err(events) }
        });
    }
    cluster.ok(&["label", "node", &cluster.node(), "place=unfit"]);
    space.wait("condition=Ready", &["pod/picky"]);
    // What somebody says that the node has may be asked for, and is given once.
    let advertise = |amount: &str| {
        let patch = format!(r#"{{"status": {{"capacity": {{"example.com/foo": {amount}}}}}}}"#);
        cluster.ok(&["patch", "node", &cluster.node(), "--subresource=status", "--type=merge", "-p", &patch]);
    };
    let asks = r#"command: [sleep, "1000"], resources: {limits: {example.com/foo: 2}}"#;
    pod(&space, "first", asks, "");
    advertise("\"3\"");
    space.wait("condition=Ready", &["pod/first"]);
    pod(&space, "second", asks, "");
    space.wait("condition=PodScheduled=false", &["pod/second"]);
    let said = space.field("pod/second", r#"{.status.conditions[?(@.type=="PodScheduled")].message}"#);
    assert!(said.contains("Insufficient example.com/foo"), "{said}");
    advertise("null");
}

#[track_caller]
fn pod(space: &Namespace<'_>, name: &str, main: &str, spec: &str) {
    let grace =
        if spec.contains("terminationGracePeriodSeconds") { "" } else { "terminationGracePeriodSeconds: 0" };
    space.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  containers:
    - {{name: main, image: "{IMAGE}", {main}}}
  {grace}
  {spec}
"#
    ));
}

/// Waits for an event of a pod: its type, its reason and how its message begins.
#[track_caller]
fn event(space: &Namespace<'_>, pod: &str, wanted: &str) {
    let selector = format!("involvedObject.name={pod}");
    let output = "jsonpath={range .items[*]}{.type}/{.reason}/{.message}{\"\\n\"}{end}";
    testkit::wait_until(wanted, || {
        let events = space.ok(&["get", "events", "--field-selector", &selector, "-o", output]);
        if events.lines().any(|event| event.starts_with(wanted)) { Ok(()) } else { Err(events) }
    });
}

#[track_caller]
fn ready(space: &Namespace<'_>, name: &str) -> String {
    space.field(&format!("pod/{name}"), r#"{.status.conditions[?(@.type=="Ready")].status}"#)
}

/// What a web server answers to a program on the cluster's host.
#[track_caller]
fn on_host(cluster: &Cluster, url: &str) -> String {
    let mut command: Command = cluster.daemon.on_host("busybox", &["wget", "-q", "-O", "-", url]);
    let output = command.output().expect("run wget");
    assert!(output.status.success(), "wget {url}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// How many processes of the node call themselves with `word`.
fn processes(word: &str) -> usize {
    let of = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).ok();
    let called = |words: &Vec<u8>| words.split(|&byte| byte == 0).any(|one| one == word.as_bytes());
    std::fs::read_dir("/proc").expect("list").flatten().filter_map(of).filter(called).count()
}

#[test]
fn a_hook_that_does_not_end_holds_up_no_deletion_and_ends_with_its_pod() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("hooks");
    for (name, seconds, delete) in [
        ("forced", "86321", &["delete", "pod", "forced", "--force", "--grace-period=0"][..]),
        ("graceful", "86322", &["delete", "pod", "graceful", "--timeout=60s"][..]),
    ] {
        let hook = format!(r#"exec: {{command: [sleep, "{seconds}"]}}"#);
        let container = format!(r#"command: [sleep, "1000"], lifecycle: {{postStart: {{{hook}}}}}"#);
        space.apply(&format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{{name: main, image: "{IMAGE}", {container}}}]
"#
        ));
        testkit::wait_until("the hook to run", || match processes(seconds) {
            1 => Ok(()),
            count => Err(count),
        });
        space.ok(delete);
        testkit::wait_until("the hook to end with its pod", || match processes(seconds) {
            0 => Ok(()),
            count => Err((count, space.kubectl(&["get", "pods"]))),
        });
    }
    testkit::wait_until("their containers to be gone", || {
        let left = space.containers();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn a_program_that_cannot_be_started_ends_a_pod_that_is_not_to_be_started_again() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("startless");
    pod(&space, "never", "command: [/no/such/program]", "restartPolicy: Never");
    space.wait("jsonpath={.status.phase}=Failed", &["pod/never"]);
    let state = space.get(&["pod", "never"])["status"]["containerStatuses"][0]["state"]["terminated"].clone();
    assert_eq!(
        (state["reason"].as_str(), state["exitCode"].as_i64()),
        (Some("StartError"), Some(128)),
        "{state}"
    );
    assert!(
        state["message"].as_str().is_some_and(|message| message.contains("no such file or directory")),
        "{state}"
    );
    // Others are tried again, with a pause that grows.
    pod(&space, "always", "command: [/no/such/program]", "");
    space.wait_for("pod/always", "{.status.containerStatuses[0].state.waiting.reason}", "CrashLoopBackOff");
    let last = "{.status.containerStatuses[0].lastState.terminated.reason}";
    assert_eq!(space.field("pod/always", last), "StartError");
    assert_eq!(space.field("pod/always", "{.status.phase}"), "Running");
}

#[test]
fn a_container_finds_its_pod_and_its_aliases_in_etc_hosts() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("hosts");
    let aliases = "hostAliases: [{ip: 1.2.3.4, hostnames: [a.example, b.example]}]";
    pod(&space, "box", r#"command: [sleep, "1000"]"#, &format!("subdomain: web\n  {aliases}"));
    space.wait("condition=Ready", &["pod/box"]);
    let hosts = space.exec("box", &["cat", "/etc/hosts"]);
    let address = space.field("pod/box", "{.status.podIP}");
    assert!(hosts.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"), "{hosts}");
    let own = format!("\n{address}\tbox.web.hosts.svc.cluster.local\tbox\n");
    assert!(hosts.contains(&own), "{hosts}");
    assert!(hosts.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\ta.example\tb.example"), "{hosts}");
    assert_eq!(
        space.exec("box", &["sh", "-c", "echo 5.6.7.8 more >> /etc/hosts && tail -n 1 /etc/hosts"]),
        "5.6.7.8 more"
    );
}

#[test]
fn a_probe_fails_once_a_period() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("periods");
    // It takes three seconds to end.
    pod(
        &space,
        "box",
        r#"command: [sh, -c, "trap 'sleep 3; exit 0' TERM; while :; do sleep 0.1; done"],
          startupProbe: {exec: {command: ["false"]}, periodSeconds: 2, failureThreshold: 3}"#,
        "terminationGracePeriodSeconds: 10",
    );
    testkit::wait_until("a restart", || {
        let count = space.field("pod/box", "{.status.containerStatuses[0].restartCount}");
        if count.parse::<u32>().is_ok_and(|count| count > 0) { Ok(()) } else { Err(count) }
    });
    let status = space.get(&["pod", "box"])["status"]["containerStatuses"][0].clone();
    let ended = &status["lastState"]["terminated"];
    let moment = |at: &serde_json::Value| -> i64 {
        let at: base::Timestamp = at.as_str().expect("a moment").parse().expect("a moment");
        at.as_second()
    };
    // From the first failure to the third are two periods.
    assert!(moment(&ended["finishedAt"]) - moment(&ended["startedAt"]) >= 4 + 2, "{status}");
}

#[test]
fn a_part_of_a_volume_that_is_made_can_be_written_to_by_whom_the_volume_can() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("parts");
    pod(
        &space,
        "box",
        r#"command: [sleep, "1000"], securityContext: {runAsUser: 1000},
          volumeMounts: [{name: e, mountPath: /e, subPath: deep/part}]"#,
        "volumes: [{name: e, emptyDir: {}}]",
    );
    space.wait("condition=Ready", &["pod/box"]);
    assert_eq!(space.exec("box", &["sh", "-c", "touch /e/file && stat -c %a /e"]), "777");
}
