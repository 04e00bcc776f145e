//! The audit log and the numbers of a daemon, as an administrator has them.

use std::path::Path;

use docker_tests::run;
use kubernetes_tests::Cluster;
use serde_json::Value;

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, nonResourceURLs: ['/readyz*', '/livez*']}
- {level: Metadata, resources: [{resources: [secrets, pods/exec]}]}
- {level: Request, verbs: [create], resources: [{resources: [configmaps]}]}
- {level: None}
";

/// The events in a file, each of which is a line.
fn events(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("read the audit log");
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn about<'a>(events: &'a [Value], resource: &str, name: &str) -> Vec<&'a Value> {
    let object =
        |event: &&Value| event["objectRef"]["resource"] == resource && event["objectRef"]["name"] == name;
    events.iter().filter(object).collect()
}

#[test]
fn what_is_asked_is_in_the_log_line_by_line_whatever_ends_the_daemon() {
    let mut cluster = Cluster::start();
    cluster.daemon.stop();
    let scratch = cluster.daemon.scratch("audit");
    let file = |name: &str| scratch.join(name).to_str().expect("a path that is text").to_owned();
    let (policy, bad, log) = (file("policy.yaml"), file("bad.yaml"), file("audit.log"));
    std::fs::write(&policy, POLICY).expect("write");
    std::fs::write(&bad, POLICY.replace("Metadata", "Everything")).expect("write");
    let refused = run(cluster.daemon.gantry("", &["up", "--audit-policy-file", &bad]), "");
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("rules[1].level: Unsupported value: \"Everything\""), "{refused:?}");
    let refused = run(cluster.daemon.gantry("", &["up", "--audit-log-mode", "sometimes"]), "");
    assert_eq!(refused.code, 2, "{refused:?}");

    let flags = ["--audit-policy-file", &policy, "--audit-log-path", &log, "--audit-log-maxsize", "1"];
    cluster
        .daemon
        .launch_with(&[&flags[..], &["--audit-log-compress", "true", "--audit-log-maxbackup", "2"]].concat());
    cluster.wait_ready();
    cluster.ok(&["create", "secret", "generic", "s", "--from-literal=password=correct-horse"]);
    cluster.ok(&["get", "secret", "s", "-o", "yaml"]);
    let found = events(Path::new(&log));
    let of = about(&found, "secrets", "s");
    let verbs: Vec<&Value> = of.iter().map(|event| &event["verb"]).collect();
    assert_eq!(verbs, ["create", "get"], "{found:?}");
    assert_eq!(of[0]["user"]["username"], "admin");
    assert!(of[0]["userAgent"].as_str().is_some_and(|agent| agent.starts_with("kubectl")), "{of:?}");
    assert_eq!(of[1]["responseStatus"]["code"], 200);
    let text = std::fs::read_to_string(&log).expect("read");
    assert!(!text.contains("correct-horse") && !text.contains("Y29ycmVjdC1ob3Jz"), "{text}");

    // What was answered is noted, though the daemon is killed at once.
    for number in 0..3 {
        cluster.ok(&["create", "configmap", &format!("before-{number}"), "--from-literal=a=1"]);
    }
    cluster.daemon.kill();
    let found = events(Path::new(&log));
    for number in 0..3 {
        let name = format!("before-{number}");
        assert_eq!(about(&found, "configmaps", &name).len(), 1, "{name}");
    }
    // What a kill in the middle of a line would leave.
    let mut cut = std::fs::read(&log).expect("read");
    cut.extend_from_slice(b"{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"Meta");
    std::fs::write(&log, cut).expect("write");
    cluster
        .daemon
        .launch_with(&[&flags[..], &["--audit-log-compress", "true", "--audit-log-maxbackup", "2"]].concat());
    cluster.wait_ready();
    let large = scratch.join("large");
    std::fs::write(&large, "x".repeat(600 << 10)).expect("write");
    for number in 0..6 {
        let from = format!("--from-file=k={}", large.display());
        cluster.ok(&["create", "configmap", &format!("large-{number}"), &from]);
    }
    let found = events(Path::new(&log));
    assert_eq!(about(&found, "configmaps", "large-5").len(), 1);
    let rotated = || {
        let names =
            std::fs::read_dir(&scratch).expect("list").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.retain(|name| name.starts_with("audit-"));
        names.sort();
        names
    };
    testkit::wait_until("two old files, compressed", || {
        let names = rotated();
        let packed = names.iter().all(|name| name.ends_with(".log.gz"));
        if names.len() == 2 && packed { Ok(()) } else { Err(format!("{names:?}")) }
    });
    let numbers = cluster.ok(&["get", "--raw", "/metrics"]);
    for start in [
        "apiserver_request_total{code=\"201\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"configmaps\"",
        "apiserver_audit_error_total{plugin=\"log\"} 0",
        "process_resident_memory_bytes ",
        "workqueue_adds_total{name=\"deployment\"}",
        "scheduler_pending_pods{queue=\"active\"} 0",
        "kubernetes_build_info{",
    ] {
        assert!(numbers.lines().any(|line| line.starts_with(start)), "{start}\n{numbers}");
    }
}
