//! Jobs from their first pod to the last, and those that a CronJob is a pattern for.

use std::collections::BTreeSet;

use kubernetes_tests::{Cluster, IMAGE};
use serde_json::Value;

#[test]
fn an_indexed_job_runs_three_at_a_time_until_every_index_has_succeeded() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("farm");
    space.apply(&format!(
        r#"
apiVersion: batch/v1
kind: Job
metadata: {{name: farm}}
spec:
  completionMode: Indexed
  completions: 6
  parallelism: 3
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: {IMAGE}
        command: [sh, -c, "echo $JOB_COMPLETION_INDEX of $(hostname)"]
"#
    ));
    space.wait("condition=complete", &["job/farm"]);
    let job = space.get(&["job", "farm"]);
    let status = &job["status"];
    assert_eq!((&status["succeeded"], &status["completedIndexes"]), (&6.into(), &"0-5".into()), "{status}");
    assert!(status["active"].is_null() && status["failed"].is_null(), "{status}");
    let conditions: Vec<&str> = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["type"].as_str())
        .collect();
    assert_eq!(conditions, ["SuccessCriteriaMet", "Complete"]);

    let pods = space.get(&["pods", "--selector", "batch.kubernetes.io/job-name=farm"]);
    let pods = pods["items"].as_array().expect("a list");
    assert_eq!(pods.len(), 6);
    let kept = |pod: &Value| pod["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
    assert!(!pods.iter().any(kept), "they are counted");
    let said: BTreeSet<String> = pods
        .iter()
        .filter_map(|pod| pod["metadata"]["name"].as_str())
        .map(|name| space.ok(&["logs", name]))
        .collect();
    let expected: BTreeSet<String> = (0..6).map(|index| format!("{index} of farm-{index}")).collect();
    assert_eq!(said, expected);
    assert!(most_at_once(pods) <= 3, "{pods:?}");
    let reasons = space.ok(&["get", "events", "-o", "jsonpath={.items[*].reason}"]);
    assert!(reasons.contains("SuccessfulCreate") && reasons.contains("Completed"), "{reasons}");
    let columns = space.ok(&["get", "job", "farm", "--no-headers"]);
    assert_eq!(columns.split_whitespace().take(3).collect::<Vec<_>>(), ["farm", "Complete", "6/6"]);

    // One by hand, of a pattern that makes none by itself for long.
    let script = "exit 3";
    space.ok(&[
        "create",
        "cronjob",
        "yearly",
        "--image",
        IMAGE,
        "--schedule=@yearly",
        "--",
        "sh",
        "-c",
        script,
    ]);
    space.ok(&[
        "patch",
        "cronjob",
        "yearly",
        "--patch",
        r#"{"spec": {"jobTemplate": {"spec": {"backoffLimit": 0,
        "template": {"spec": {"restartPolicy": "Never"}}}}}}"#,
    ]);
    space.ok(&["create", "job", "once", "--from=cronjob/yearly"]);
    space.wait("condition=failed", &["job/once"]);
    let once = space.get(&["job", "once"]);
    let failed =
        once["status"]["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Failed");
    assert_eq!(failed.map(|one| &one["reason"]), Some(&"BackoffLimitExceeded".into()));
    assert_eq!(once["status"]["failed"], 1);
    // What made it goes, and it and its pods with it.
    space.ok(&["delete", "cronjob", "yearly"]);
    space.ok(&["delete", "job", "farm"]);
    testkit::wait_until("all to be gone", || {
        let left = space.ok(&["get", "jobs,pods", "-o", "name"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

/// How many of the pods ran at the same time, by the seconds at which they began and ended.
fn most_at_once(pods: &[Value]) -> usize {
    let ended = |pod: &Value| {
        let state = pod.pointer("/status/containerStatuses/0/state/terminated").cloned().unwrap_or_default();
        let time = |name: &str| state[name].as_str().expect("it has run").to_owned();
        (time("startedAt"), time("finishedAt"))
    };
    let spans: Vec<(String, String)> = pods.iter().map(ended).collect();
    // Times are told in whole seconds: those that meet in one may have come after each other.
    spans
        .iter()
        .map(|(start, _)| spans.iter().filter(|(other, end)| other <= start && start < end).count())
        .max()
        .unwrap_or_default()
}
