//! What of a pod may change, and what of its status.

use super::*;

/// What is wrong with the change from one pod to another.
fn changed(old: &Object, new: &Object) -> Vec<String> {
    let resource = resource("v1", "Pod");
    validate::update(&*resource.rules, new, old, Scope::Namespaced).iter().map(ToString::to_string).collect()
}

#[test]
fn a_pod_that_is_there_changes_little() {
    let base =
        || pod(json!({"activeDeadlineSeconds": 10, "tolerations": [{"key": "a", "operator": "Exists"}]}));
    let with = |change: &dyn Fn(&mut Object)| {
        let mut new = base();
        change(&mut new);
        changed(&base(), &new)
    };
    let none: [&str; 0] = [];
    assert_eq!(with(&|_| {}), none);
    assert_eq!(
        with(&|pod| {
            pod.set(&["spec", "containers"], json!([{"name": "a", "image": "j", "resources": {}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "Always"}]))
        }),
        none
    );
    assert_eq!(with(&|pod| pod.set(&["spec", "activeDeadlineSeconds"], json!(5))), none);
    assert_eq!(
        with(&|pod| pod.set(&["spec", "activeDeadlineSeconds"], json!(11))),
        ["spec.activeDeadlineSeconds: Invalid value: 11: must be less than or equal to previous value"]
    );
    assert_eq!(
        with(&|pod| drop(pod.remove(&["spec", "activeDeadlineSeconds"]))),
        [
            "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"
        ]
    );
    assert_eq!(
        with(&|pod| pod.set(&["spec", "tolerations"], json!([]))),
        ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"]
    );
    assert_eq!(
        with(&|pod| pod.set(&["spec", "schedulingGates"], json!([{"name": "g"}]))),
        [
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'"
        ]
    );
    let apparmor = "container.apparmor.security.beta.kubernetes.io/a";
    assert_eq!(
        with(&|pod| pod.set_annotation(apparmor, "unconfined")),
        [format!("metadata.annotations[{apparmor}]: Forbidden: may not add AppArmor annotations")]
    );
    let errors = with(&|pod| pod.set(&["spec", "nodeSelector"], json!({"a": "b"})));
    assert!(
        errors[0].starts_with("spec: Forbidden: pod updates may not change fields other than"),
        "{errors:?}"
    );
}

#[test]
fn while_there_are_gates_more_may_be_asked_of_the_node() {
    let affinity = |terms: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    let of = |key: &str| json!({"key": key, "operator": "Exists"});
    let gated = |selector: Value, affinity: Value| {
        let mut pod = pod(json!({"schedulingGates": [{"name": "g"}], "nodeSelector": selector}));
        if !affinity.is_null() {
            pod.set(&["spec", "affinity"], affinity);
        }
        pod
    };
    let one = || affinity(json!([{"matchExpressions": [of("a")]}]));
    let two = || affinity(json!([{"matchExpressions": [of("a"), of("b")]}]));
    let none: [&str; 0] = [];
    let (a, ab) = (json!({"a": "1"}), json!({"a": "1", "b": "2"}));
    assert_eq!(changed(&gated(a.clone(), Value::Null), &gated(ab.clone(), one())), none);
    assert_eq!(changed(&gated(a.clone(), one()), &gated(ab.clone(), two())), none);
    assert_eq!(
        changed(&gated(ab, Value::Null), &gated(a.clone(), Value::Null)),
        [
            r#"spec.nodeSelector: Invalid value: {"a":"1"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)"#
        ]
    );
    let errors = changed(&gated(a.clone(), two()), &gated(a.clone(), one()));
    assert!(errors[0].contains("nodeSelectorTerms[0]: Invalid value"), "{errors:?}");
    assert!(errors[0].ends_with("only additions are allowed (no mutations or deletions)"), "{errors:?}");
    let errors =
        changed(&gated(a.clone(), one()), &gated(a, affinity(json!([{"matchExpressions": [of("a")]}, {}]))));
    assert!(
        errors[0].ends_with("no additions/deletions to non-empty NodeSelectorTerms list are allowed"),
        "{errors:?}"
    );
}

#[test]
fn what_was_wrong_before_holds_up_nothing_else() {
    let mut old = pod(json!({}));
    old.set(&["spec", "hostname"], "A");
    let mut new = old.clone();
    new.set_annotation("a", "b");
    let none: [&str; 0] = [];
    assert_eq!(changed(&old, &new), none);
    new.set(&["metadata", "labels"], json!({"a": "b c"}));
    assert_eq!(changed(&old, &new).len(), 1);
}

#[test]
fn a_status_says_nothing_impossible() {
    let base = |status: Value| {
        let mut pod = pod(json!({"restartPolicy": "Never"}));
        pod.set(&["status"], status);
        pod
    };
    let check = |old: Value, new: Value, expected: &[&str]| {
        let resource = resource("v1", "Pod");
        let errors = validate::update_status(&*resource.rules, &base(new), &base(old), Scope::Namespaced);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, expected);
    };
    let ended = json!({"containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 1}}}]});
    let runs = json!({"containerStatuses": [{"name": "a", "state": {"running": {}}}]});
    check(runs.clone(), ended.clone(), &[]);
    check(
        ended,
        runs,
        &["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"],
    );
    let empty = || json!({});
    check(empty(), json!({"podIPs": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}]}), &[]);
    check(
        empty(),
        json!({"podIPs": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]}),
        &[
            r#"status.podIPs: Invalid value: [{"ip":"192.0.2.1"},{"ip":"192.0.2.2"}]: may specify no more than one IP for each IP family"#,
        ],
    );
    check(
        empty(),
        json!({"hostIP": "192.0.2.1", "hostIPs": [{"ip": "192.0.2.2"}]}),
        &[r#"status.hostIPs[0].ip: Invalid value: "192.0.2.2": must be equal to `hostIP`"#],
    );
    check(
        empty(),
        json!({"resourceClaimStatuses": [{"name": "x"}]}),
        &[
            r#"status.resourceClaimStatuses[0].name: Invalid value: "x": must match the name of an entry in `spec.resourceClaims`"#,
        ],
    );
    check(
        json!({"qosClass": "Burstable"}),
        json!({"qosClass": "Guaranteed"}),
        &[r#"status.qosClass: Invalid value: "Guaranteed": field is immutable"#],
    );
    check(
        empty(),
        json!({"ephemeralContainerStatuses": [{"name": "e", "allocatedResourcesStatus": [{"name": "x"}]}]}),
        &[
            "status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status",
        ],
    );
}
