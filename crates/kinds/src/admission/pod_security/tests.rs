use serde_json::json;

use super::policy::{PREFIX, Version};
use super::*;

fn object(value: Value) -> Object {
    Object::from_value(value).expect("an object")
}

/// What is said of a pod under labels: refusal, warnings, notes.
fn check(plugin: &PodSecurity, labels: Value, spec: Value, is_pod: bool, expected: &[&str]) {
    let labels: Map<String, Value> = labels
        .as_object()
        .expect("labels")
        .iter()
        .map(|(name, value)| (format!("{PREFIX}{name}"), value.clone()))
        .collect();
    let namespace = object(json!({"metadata": {"name": "space", "labels": labels}}));
    let (policy, errors) = Policy::of(|label| namespace.label(label), &plugin.defaults);
    let pod = object(json!({"spec": spec}));
    let opinion = plugin.evaluate(&policy, &errors, &pod_at(&pod, &[]).expect("a pod"), is_pod);
    let mut said: Vec<String> = opinion.refusal.into_iter().map(|why| format!("refused: {why}")).collect();
    said.extend(opinion.warnings.into_iter().map(|warning| format!("warned: {warning}")));
    said.extend(opinion.notes.into_iter().map(|(what, note)| format!("{what}: {note}")));
    assert_eq!(said, expected, "{labels:?} {spec}");
}

#[test]
fn each_mode_says_what_it_is_for() {
    let plugin = PodSecurity::default();
    let host = json!({"hostPID": true});
    let found = "host namespaces (hostPID=true)";
    check(
        &plugin,
        json!({"enforce": "baseline"}),
        host.clone(),
        true,
        &[
            &format!("refused: violates PodSecurity \"baseline:latest\": {found}"),
            "enforce-policy: baseline:latest",
        ],
    );
    check(
        &plugin,
        json!({"enforce": "baseline", "audit": "baseline", "audit-version": "v1.20"}),
        host.clone(),
        false,
        &[
            &format!("warned: would violate PodSecurity \"baseline:latest\": {found}"),
            &format!("audit-violations: would violate PodSecurity \"baseline:v1.20\": {found}"),
        ],
    );
    check(
        &plugin,
        json!({"warn": "baseline"}),
        host.clone(),
        true,
        &[
            &format!("warned: would violate PodSecurity \"baseline:latest\": {found}"),
            "enforce-policy: privileged:latest",
        ],
    );
    check(&plugin, json!({"enforce": "baseline"}), json!({}), true, &["enforce-policy: baseline:latest"]);
    check(
        &plugin,
        json!({"enforce-version": "x", "enforce": "baseline"}),
        host,
        true,
        &[
            &format!("refused: violates PodSecurity \"baseline:latest\": {found}"),
            "enforce-policy: baseline:latest",
            "error: Failed to parse policy: metadata.labels[pod-security.kubernetes.io/enforce-version]: \
             Invalid value: \"x\": must be \"latest\" or \"v1.x\"",
        ],
    );
}

#[test]
fn runtimes_that_are_exempt_are_not_looked_at_and_defaults_hold_where_labels_do_not_say() {
    let plugin = PodSecurity {
        defaults: Policy {
            enforce: Standard { level: Level::Baseline, version: Version::Minor(30) },
            ..Policy::PRIVILEGED
        },
        exempt: Exempt { runtime_classes: HashSet::from(["vm".to_owned()]), ..Exempt::default() },
    };
    let spec = |class: &str| json!({"hostPID": true, "runtimeClassName": class});
    check(&plugin, json!({}), spec("vm"), true, &["exempt: runtimeClass"]);
    check(
        &plugin,
        json!({}),
        spec("other"),
        true,
        &[
            "refused: violates PodSecurity \"baseline:v1.30\": host namespaces (hostPID=true)",
            "enforce-policy: baseline:v1.30",
        ],
    );
    let namespace = |labels: Value| object(json!({"metadata": {"name": "space", "labels": labels}}));
    let told = |labels: Value| {
        let namespace = namespace(labels);
        let (policy, _) = Policy::of(|label| namespace.label(label), &plugin.defaults);
        plugin.exemption(&namespace, &policy)
    };
    assert_eq!(told(json!({})), None);
    let labels = json!({
        "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/audit": "baseline",
        "pod-security.kubernetes.io/audit-version": "v1.2",
    });
    let said = "namespace \"space\" is exempt from Pod Security, and the policy (enforce=restricted:v1.30, \
                audit=baseline:v1.2) will be ignored";
    assert_eq!(told(labels).as_deref(), Some(said));
}

#[test]
fn a_pod_is_looked_at_again_where_its_containers_or_images_change() {
    let pod = |spec: Value| object(json!({"spec": spec}));
    let old = pod(json!({
        "initContainers": [{"name": "i", "image": "x"}], "containers": [{"name": "a", "image": "x"}],
        "ephemeralContainers": [{"name": "e", "image": "x"}],
    }));
    let cases = [
        (json!(null), "", false),
        (json!([{"name": "a", "image": "y"}]), "containers", true),
        (json!([{"name": "i", "image": "y"}]), "initContainers", true),
        (json!([{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]), "containers", true),
        (json!([{"name": "a", "image": "x", "resources": {}}]), "containers", false),
        (json!([{"name": "e", "image": "y"}]), "ephemeralContainers", true),
        (json!([{"name": "f", "image": "x"}, {"name": "e", "image": "x"}]), "ephemeralContainers", true),
        (json!([]), "ephemeralContainers", false),
    ];
    for (list, field, expected) in cases {
        let mut new = old.clone();
        new.set(&["metadata", "labels"], json!({"a": "b"}));
        if !field.is_empty() {
            new.set(&["spec", field], list.clone());
        }
        assert_eq!(is_significant(&new, &old), expected, "{field}: {list}");
    }
}

#[test]
fn templates_are_found_in_everything_that_makes_pods() {
    let spec = json!({"hostPID": true});
    let of = |group: &str, plural: &str, object: Value| {
        let object = Object::from_value(object).expect("an object");
        let path = template(group, plural).expect("it makes pods");
        pod_at(&object, path).map(|pod| pod.spec.clone())
    };
    let template = json!({"spec": spec});
    assert_eq!(of("", "podtemplates", json!({"template": template})), Some(spec.clone()));
    let plain = json!({"spec": {"template": template}});
    for (group, plural) in [
        ("", "replicationcontrollers"),
        ("apps", "deployments"),
        ("apps", "replicasets"),
        ("apps", "statefulsets"),
        ("apps", "daemonsets"),
        ("batch", "jobs"),
    ] {
        assert_eq!(of(group, plural, plain.clone()), Some(spec.clone()), "{plural}");
    }
    assert_eq!(of("batch", "cronjobs", json!({"spec": {"jobTemplate": plain}})), Some(spec));
    assert_eq!(of("", "replicationcontrollers", json!({"spec": {"replicas": 0}})), None);
}
