use serde_json::{Value, json};

use crate::table::Table;

fn pod(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "i"}]})
}

fn job() -> Table {
    Table::of(json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x", "namespace": "n"},
        "spec": {
            "manualSelector": true, "selector": {"matchLabels": {"a": "b"}}, "completions": 1, "parallelism": 1,
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod("Never")},
        },
    }))
}

fn spec(spec: Value) -> Value {
    json!({ "spec": spec })
}

fn indexed(more: Value) -> Value {
    let mut spec = json!({"completionMode": "Indexed", "completions": 10, "parallelism": 10});
    for (name, value) in more.as_object().expect("fields") {
        spec[name] = value.clone();
    }
    json!({ "spec": spec })
}

#[test]
fn jobs() {
    let rule = |rule: Value| spec(json!({"podFailurePolicy": {"rules": [rule]}}));
    let codes = |codes: Value| rule(json!({"action": "FailJob", "onExitCodes": codes}));
    let success = |rule: Value| indexed(json!({"successPolicy": {"rules": [rule]}}));
    job()
        .good(&[
            spec(json!({"parallelism": 0})),
            spec(json!({"template": {"spec": {"restartPolicy": "OnFailure"}}})),
            indexed(json!({"backoffLimitPerIndex": 1, "maxFailedIndexes": 5})),
            codes(json!({"operator": "In", "values": [1, 5]})),
            rule(json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]})),
            success(json!({"succeededIndexes": "0-3,5", "succeededCount": 2})),
            spec(json!({"managedBy": "example.com/me", "ttlSecondsAfterFinished": 0})),
        ])
        .bad(&[
            (spec(json!({"parallelism": -1})), &["spec.parallelism: Invalid value: -1: must be greater than or equal to 0"]),
            (spec(json!({"backoffLimit": -1})), &["spec.backoffLimit: Invalid value: -1: must be greater"]),
            (
                spec(json!({"template": {"spec": {"restartPolicy": null}}})),
                &["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""],
            ),
            (
                spec(json!({"template": {"spec": {"restartPolicy": "OnFailure"}}, "podFailurePolicy": {"rules": []}})),
                &["spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when podFailurePolicy is specified"],
            ),
            (spec(json!({"completionMode": "Other"})), &["spec.completionMode: Unsupported value: \"Other\": supported values: \"Indexed\", \"NonIndexed\""]),
            (
                spec(json!({"backoffLimitPerIndex": 1})),
                &["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
            ),
            (
                indexed(json!({"maxFailedIndexes": 11, "backoffLimitPerIndex": 1})),
                &["spec.maxFailedIndexes: Invalid value: 11: must be less than or equal to completions"],
            ),
            (indexed(json!({"maxFailedIndexes": 1})), &["spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"]),
            (
                indexed(json!({"parallelism": 100_001})),
                &["spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed"],
            ),
            (
                codes(json!({"operator": "In", "values": [5, 0, 5]})),
                &[
                    "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
                    "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 5",
                    "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [5,0,5]: must be ordered",
                ],
            ),
            (
                codes(json!({"operator": "", "containerName": "z", "values": [1]})),
                &[
                    "spec.podFailurePolicy.rules[0].onExitCodes.operator: Required value: valid values: [\"In\" \"NotIn\"]",
                    "spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"z\": must be one of the container",
                ],
            ),
            (
                rule(json!({"action": "FailIndex"})),
                &[
                    "spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
                    "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
                ],
            ),
            (
                spec(json!({"podReplacementPolicy": "Other"})),
                &["spec.podReplacementPolicy: Unsupported value: \"Other\": supported values: \"Failed\", \"TerminatingOrFailed\""],
            ),
            (
                success(json!({"succeededIndexes": "3,2"})),
                &["spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"3,2\": error parsing succeededIndexes: non-increasing order, previous: 3, current: 2"],
            ),
            (
                success(json!({"succeededIndexes": "1", "succeededCount": 2})),
                &["spec.successPolicy.rules[0].succeededCount: Invalid value: 2: must be less than or equal to 1 (the number of indexes"],
            ),
            (success(json!({})), &["spec.successPolicy.rules[0]: Required value: at least one of succeededCount"]),
            (
                spec(json!({"managedBy": "me"})),
                &["spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")"],
            ),
            (spec(json!({"selector": null})), &["spec.selector: Required value", "spec.template.metadata.labels: Invalid value"]),
            (
                spec(json!({"manualSelector": false})),
                &[
                    "metadata.uid: Required value",
                    "spec.template.metadata.labels[controller-uid]: Required value: must be ''",
                    "spec.template.metadata.labels[job-name]: Required value: must be 'x'",
                    "spec.template.metadata.labels[batch.kubernetes.io/controller-uid]: Required value",
                    "spec.template.metadata.labels[batch.kubernetes.io/job-name]: Required value",
                    "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: `selector` not auto-generated",
                ],
            ),
        ])
        .changes(&[
            (spec(json!({"parallelism": 5, "suspend": true})), &[]),
            (spec(json!({"completions": 2})), &["spec.completions: Invalid value: 2: field is immutable"]),
            (
                spec(json!({"template": {"metadata": {"labels": {"c": "d"}}}})),
                &["spec.template: Invalid value: {"],
            ),
            (spec(json!({"managedBy": "example.com/me"})), &["spec.managedBy: Invalid value: \"example.com/me\": field is immutable"]),
        ]);
}

#[test]
fn what_becomes_of_a_job() {
    let status = |status: Value| json!({ "status": status });
    let held = |conditions: &[&str]| {
        let all: Vec<Value> = conditions.iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
        Value::from(all)
    };
    let (from, to) = ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z");
    let done = status(json!({
        "conditions": held(&["SuccessCriteriaMet", "Complete"]), "startTime": from, "completionTime": to, "succeeded": 1,
    }));
    job()
        .part("status", &json!({}), &[
            (done.clone(), &[]),
            (status(json!({"active": -1})), &["status.active: Invalid value: -1: must be greater than or equal to 0"]),
            (status(json!({"ready": 2, "active": 1})), &["status.ready: Invalid value: 2: cannot set more ready pods than active"]),
            (
                status(json!({"conditions": held(&["Failed"]), "startTime": from})),
                &["status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition"],
            ),
            (
                status(json!({"conditions": held(&["SuccessCriteriaMet", "Complete"]), "startTime": from})),
                &["status.completionTime: Required value: completionTime is required for Complete jobs"],
            ),
            (
                status(json!({"completionTime": to})),
                &["status.completionTime: Invalid value: \"2026-01-01T00:01:00Z\": cannot set completionTime when there is no Complete=True condition"],
            ),
            (
                status(json!({"completedIndexes": "1"})),
                &["status.completedIndexes: Invalid value: \"1\": error parsing completedIndexes: too large index: \"1\"", "status.completedIndexes: Invalid value: \"1\": cannot set non-empty"],
            ),
            (
                status(json!({"uncountedTerminatedPods": {"succeeded": ["a", "a"], "failed": [""]}})),
                &["status.uncountedTerminatedPods.succeeded[1]: Duplicate value: \"a\"", "status.uncountedTerminatedPods.failed[0]: Invalid value: \"\": must not be empty"],
            ),
        ])
        .part("status", &status(json!({"startTime": from})), &[(
            status(json!({"startTime": to})),
            &["status.startTime: Required value: startTime cannot be removed for unsuspended job"],
        )])
        // One that goes on begins its time anew.
        .part("status", &status(json!({"startTime": from, "conditions": held(&["Suspended"])})), &[
            (status(json!({"startTime": to})), &[]),
            (
                status(json!({"startTime": to, "conditions": held(&["Suspended"])})),
                &["status.startTime: Required value: startTime cannot be removed for unsuspended job"],
            ),
        ])
        .part("status", &done, &[
            (
                status(json!({"succeeded": 1, "startTime": from})),
                &["status.conditions: Invalid value: cannot disable the terminal Complete=True condition", "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition"],
            ),
            (
                status(json!({
                    "conditions": held(&["SuccessCriteriaMet", "Complete"]), "startTime": from, "completionTime": to,
                })),
                &["status.succeeded: Invalid value: 0: cannot decrease the succeeded counter"],
            ),
        ]);
}

#[test]
fn cron_jobs() {
    let job = |job: Value| json!({"spec": {"jobTemplate": {"spec": job}}});
    Table::of(json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "x", "namespace": "n"},
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": pod("Never")}}}},
    }))
    .good(&[
        spec(json!({"schedule": "@hourly"})),
        spec(json!({"timeZone": "Europe/Paris"})),
        spec(json!({"timeZone": "UTC", "startingDeadlineSeconds": 0})),
        spec(json!({"concurrencyPolicy": "Replace", "suspend": true})),
        job(json!({"parallelism": 3, "backoffLimit": 0})),
    ])
    .bad(&[
        (spec(json!({"schedule": ""})), &["spec.schedule: Required value"]),
        (
            spec(json!({"schedule": "* * *"})),
            &["spec.schedule: Invalid value: \"* * *\": expected exactly 5 fields, found 3: [* * *]"],
        ),
        (
            spec(json!({"schedule": "TZ=UTC * * * * *"})),
            &["spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"],
        ),
        (spec(json!({"timeZone": ""})), &["spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"]),
        (spec(json!({"timeZone": "Nowhere"})), &["spec.timeZone: Invalid value: \"Nowhere\": unknown time zone Nowhere"]),
        (spec(json!({"timeZone": "../etc"})), &["spec.timeZone: Invalid value: \"../etc\": unknown time zone ../etc"]),
        (
            spec(json!({"timeZone": "Local"})),
            &["spec.timeZone: Invalid value: \"Local\": timeZone must be an explicit time zone", "spec.timeZone: Invalid value: \"Local\": unknown"],
        ),
        (
            spec(json!({"concurrencyPolicy": "Other"})),
            &["spec.concurrencyPolicy: Unsupported value: \"Other\": supported values: \"Allow\", \"Forbid\", \"Replace\""],
        ),
        (spec(json!({"startingDeadlineSeconds": -1})), &["spec.startingDeadlineSeconds: Invalid value: -1"]),
        (spec(json!({"failedJobsHistoryLimit": -1})), &["spec.failedJobsHistoryLimit: Invalid value: -1"]),
        (
            job(json!({"manualSelector": true})),
            &["spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\""],
        ),
        (
            job(json!({"selector": {}})),
            &["spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated"],
        ),
        (
            job(json!({"template": {"spec": {"restartPolicy": "Always"}}})),
            &["spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values"],
        ),
        (
            json!({"metadata": {"name": "a".repeat(53)}}),
            &["metadata.name: Invalid value: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\": must be no more than 52 characters"],
        ),
    ]);
}
