//! What is odd about objects that are allowed.

use model::Object;
use serde_json::{Value, json};

use crate::{defaulted, resource};

/// What is said of a new object.
fn check(object: Value, expected: &[&str]) {
    let object = defaulted(object);
    let warnings = resource(object.api_version(), object.kind()).warnings.expect("it has some");
    assert_eq!(warnings(&object, None), expected, "{}", object.value());
}

fn check_pod(spec: Value, expected: &[&str]) {
    check(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}), expected);
}

fn check_ports(ports: Value, expected: &[&str]) {
    check_pod(json!({"containers": [{"name": "c", "image": "i", "ports": ports}]}), expected);
}

#[test]
fn ports_that_are_there_twice_are_told_with_where() {
    check_ports(json!([{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]), &[]);
    check_ports(
        json!([{"containerPort": 80}, {"containerPort": 80}, {"containerPort": 80, "hostPort": 90}]),
        &[
            "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
            "spec.containers[0].ports[2]: overlapping port definition with spec.containers[0].ports[0]",
            "spec.containers[0].ports[2]: overlapping port definition with spec.containers[0].ports[1]",
        ],
    );
    let there = json!({"containerPort": 80, "hostPort": 90, "hostIP": "192.0.2.1"});
    check_ports(
        json!([there, {"containerPort": 80, "hostPort": 90}, {"containerPort": 80, "hostPort": 91}]),
        &[
            "spec.containers[0].ports[1]: dangerously ambiguous port definition with spec.containers[0].ports[0]",
        ],
    );
    check_ports(
        json!([{"containerPort": 80, "hostIP": "192.0.2.1", "name": "n"}]),
        &["spec.containers[0].ports[0]: hostIP set without hostPort: {Name:n HostPort:0 ContainerPort:80 \
             Protocol:TCP HostIP:192.0.2.1}"],
    );
    // Of another container, and the first of all are those that begin.
    check_pod(
        json!({
            "initContainers": [{"name": "a", "image": "i", "ports": [{"containerPort": 80}]}],
            "containers": [{"name": "b", "image": "i", "ports": [{"containerPort": 80}]}],
        }),
        &["spec.containers[0].ports[0]: duplicate port definition with spec.initContainers[0].ports[0]"],
    );
}

#[test]
fn variables_that_hide_others_are_told_unless_they_go_on_with_them() {
    let variable = |value: Value| {
        let mut variable = json!({"name": "A"});
        for (field, value) in value.as_object().expect("fields") {
            variable[field] = value.clone();
        }
        json!({"containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}, variable]}]})
    };
    let hides =
        &["spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using \
                   apply"][..];
    check_pod(variable(json!({"value": "2"})), hides);
    check_pod(variable(json!({"value": "$(A)"})), hides);
    check_pod(variable(json!({"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})), hides);
    check_pod(variable(json!({"value": "$(A):2"})), &[]);
    check_pod(variable(json!({"name": "B", "value": "2"})), &[]);
}

#[test]
fn what_else_is_odd_about_pods_is_told_in_kubernetes_words() {
    let containers = json!([{
        "name": "c", "image": "i", "resources": {"limits": {"memory": "1.1Gi", "cpu": "0.5"}},
    }]);
    let token = json!({"name": "t", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token"}},
        {"configMap": {"name": "m", "items": [{"key": "k", "path": "other"}, {"key": "l", "path": "token"}]}},
    ]}});
    check(
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a.b", "annotations": {
                "scheduler.alpha.kubernetes.io/critical-pod": "",
                "seccomp.security.alpha.kubernetes.io/pod": "runtime/default",
            }},
            "spec": {
                "containers": containers,
                "nodeSelector": {"beta.kubernetes.io/arch": "amd64"},
                "topologySpreadConstraints": [{
                    "topologyKey": "failure-domain.beta.kubernetes.io/zone", "maxSkew": 1,
                    "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {},
                }],
                "volumes": [{"name": "g", "gitRepo": {"repository": "r"}}, token],
                "hostAliases": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.1"}],
                "imagePullSecrets": [{"name": "s"}, {"name": "s"}],
                "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "kubernetes.io/hostname"},
                ]}},
            },
        }),
        &[
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is \
             recommended: [must not contain dots]",
            "spec.nodeSelector[beta.kubernetes.io/arch]: deprecated since v1.14; use \"kubernetes.io/arch\" instead",
            "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated \
             since v1.17; use \"topology.kubernetes.io/zone\" instead",
            "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \
             \"priorityClassName\" field instead",
            "spec.volumes[0].gitRepo: deprecated in v1.11",
            "spec.volumes[1].projected.sources.configMap[1]: has duplicated path with ServiceAccountToken \"token\"",
            "spec.hostAliases[1].ip: duplicate ip \"192.0.2.1\"",
            "spec.imagePullSecrets[1].name: duplicate name \"s\"",
            "metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the \
             \"seccompProfile\" field instead",
            "spec.containers[0].resources.limits[memory]: fractional byte value \"1181116006400m\" is invalid, must \
             be an integer",
            "spec.containers[0].resources.requests[memory]: fractional byte value \"1181116006400m\" is invalid, \
             must be an integer",
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null \
             labelSelector results in matching no pod",
        ],
    );
}

#[test]
fn templates_are_looked_at_where_something_else_is_wanted() {
    let deployment = |generation: i64| {
        defaulted(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a.b", "generation": generation},
            "spec": {"template": {
                "metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "runtime/default"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            }},
        }))
    };
    let warnings = resource("apps/v1", "Deployment").warnings.expect("it has some");
    let told = |object: &Object, old: Option<&Object>| -> Vec<String> {
        let told = warnings(object, old).into_iter();
        told.map(|text| text.split(':').next().unwrap_or_default().to_owned()).collect()
    };
    let annotation = "spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]";
    assert_eq!(told(&deployment(1), None), ["metadata.name", annotation]);
    assert_eq!(told(&deployment(2), Some(&deployment(1))), [annotation]);
    assert_eq!(told(&deployment(1), Some(&deployment(1))), [""; 0]);
}

#[test]
fn services_are_told_what_of_them_is_ignored() {
    let service =
        |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec});
    check(service(json!({"ports": [{"port": 80}]})), &[]);
    check(
        service(json!({"clusterIP": "None", "sessionAffinity": "ClientIP", "externalIPs": ["192.0.2.1"]})),
        &[
            "spec.externalIPs is ignored for headless services",
            "spec.SessionAffinity is ignored for headless services",
        ],
    );
    check(
        service(json!({"externalName": "example.org", "trafficDistribution": "PreferClose"})),
        &[
            "spec.externalName is ignored when spec.type is not \"ExternalName\"",
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
        ],
    );
}
