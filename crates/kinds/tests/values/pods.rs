//! Pods that are sound, and pods that are not: a line each, with what Kubernetes says of it.

#[path = "pods/change.rs"]
mod change;
#[path = "pods/containers.rs"]
mod containers;
#[path = "pods/place.rs"]
mod place;
#[path = "pods/volumes.rs"]
mod volumes;

use model::Object;
use model::validate::{self, Scope};
use serde_json::{Value, json};

use crate::{defaulted, resource};

/// A pod of one container, with these fields in its spec.
fn pod(spec: Value) -> Object {
    let mut fields = json!({"containers": [{"name": "a", "image": "i"}], "serviceAccountName": "default"});
    merge(&mut fields, spec);
    of_metadata(json!({}), fields)
}

fn of_metadata(metadata: Value, spec: Value) -> Object {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}});
    merge(&mut pod["metadata"], metadata);
    pod["spec"] = spec;
    defaulted(pod)
}

/// The same with annotations.
fn annotated(annotations: Value, spec: Value) -> Object {
    let mut fields = json!({"containers": [{"name": "a", "image": "i"}]});
    merge(&mut fields, spec);
    of_metadata(json!({ "annotations": annotations }), fields)
}

/// A pod whose only container has these fields.
fn container(fields: Value) -> Object {
    with_volumes(json!([]), fields)
}

fn with_volumes(volumes: Value, fields: Value) -> Object {
    let mut container = json!({"name": "a", "image": "i"});
    merge(&mut container, fields);
    pod(json!({"containers": [container], "volumes": volumes}))
}

fn volume(source: Value) -> Object {
    let mut volume = json!({"name": "v"});
    merge(&mut volume, source);
    pod(json!({"volumes": [volume]}))
}

fn init(fields: Value) -> Object {
    let mut container = json!({"name": "b", "image": "i"});
    merge(&mut container, fields);
    pod(json!({"initContainers": [container]}))
}

fn required_nodes(term: Value) -> Object {
    let terms = json!({"nodeSelectorTerms": [term]});
    pod(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}))
}

fn near(kind: &str, term: Value) -> Object {
    pod(json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}))
}

fn spread(fields: Value) -> Object {
    let mut constraint = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}});
    merge(&mut constraint, fields);
    pod(json!({"topologySpreadConstraints": [constraint]}))
}

fn merge(into: &mut Value, fields: Value) {
    for (name, value) in fields.as_object().expect("fields") {
        into[name] = value.clone();
    }
}

fn errors(object: &Object) -> Vec<String> {
    let resource = resource(object.api_version(), object.kind());
    let errors = validate::create(&*resource.rules, object, Scope::Namespaced);
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn sound_pods_pass() {
    let claim =
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let all = [
        pod(json!({})),
        pod(json!({"terminationGracePeriodSeconds": 0, "activeDeadlineSeconds": 1})),
        pod(json!({"restartPolicy": "Never", "dnsPolicy": "Default"})),
        pod(json!({"hostname": "h", "subdomain": "s", "hostnameOverride": "a.example.com"})),
        pod(json!({"nodeSelector": {"a": "b"}, "nodeName": "n"})),
        pod(json!({"hostAliases": [{"ip": "192.0.2.1", "hostnames": ["a.example.com"]}]})),
        pod(
            json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["2001:db8::1"], "searches": ["_a.example.com.", "."], "options": [{"name": "ndots", "value": "2"}]}}),
        ),
        pod(
            json!({"tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": 1}]}),
        ),
        pod(
            json!({"readinessGates": [{"conditionType": "example.com/x"}], "schedulingGates": [{"name": "example.com/g"}]}),
        ),
        pod(
            json!({"runtimeClassName": "r", "overhead": {"cpu": "1", "memory": "1Mi"}, "preemptionPolicy": "Never"}),
        ),
        pod(json!({"os": {"name": "linux"}, "hostUsers": false})),
        pod(
            json!({"os": {"name": "windows"}, "securityContext": {"windowsOptions": {"runAsUserName": "D\\u"}}}),
        ),
        pod(
            json!({"resourceClaims": [{"name": "c", "resourceClaimName": "x"}], "containers": [{"name": "a", "image": "i", "resources": {"claims": [{"name": "c", "request": "r"}]}}]}),
        ),
        pod(
            json!({"resources": {"limits": {"cpu": "2", "memory": "1Gi"}}, "containers": [{"name": "a", "image": "i", "resources": {"requests": {"cpu": "1"}}}]}),
        ),
        pod(
            json!({"securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "1"}], "fsGroupChangePolicy": "Always", "supplementalGroupsPolicy": "Strict", "seLinuxChangePolicy": "Recursive", "seccompProfile": {"type": "RuntimeDefault"}, "appArmorProfile": {"type": "Unconfined"}}}),
        ),
        container(
            json!({"ports": [{"containerPort": 80, "hostPort": 80, "hostIP": "192.0.2.1"}, {"containerPort": 80, "hostPort": 80, "hostIP": "192.0.2.2"}]}),
        ),
        container(
            json!({"env": [{"name": "a.b-c", "value": "x"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}}, {"name": "C", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}}, {"name": "D", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
        ),
        container(
            json!({"envFrom": [{"prefix": "a-", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}]}),
        ),
        with_volumes(
            json!([{"name": "v", "emptyDir": {}}]),
            json!({"env": [{"name": "F", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "env", "key": "K"}}}]}),
        ),
        container(
            json!({"resources": {"limits": {"cpu": "1", "hugepages-2Mi": "4Mi", "example.com/gpu": "1"}}}),
        ),
        container(
            json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]}),
        ),
        container(
            json!({"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}, {"resourceName": "memory", "restartPolicy": "RestartContainer"}]}),
        ),
        container(
            json!({"lifecycle": {"preStop": {"sleep": {"seconds": 0}}, "postStart": {"httpGet": {"port": "web", "httpHeaders": [{"name": "X-A", "value": "b"}]}}}}),
        ),
        container(
            json!({"livenessProbe": {"grpc": {"port": 1}}, "readinessProbe": {"exec": {"command": ["x"]}, "successThreshold": 2}}),
        ),
        init(json!({"restartPolicy": "Always", "startupProbe": {"tcpSocket": {"port": 1}}})),
        with_volumes(
            json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]),
            json!({"volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]}),
        ),
        with_volumes(
            json!([{"name": "v", "image": {"reference": "i"}}]),
            json!({"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a/b", "readOnly": true, "recursiveReadOnly": "Enabled"}]}),
        ),
        volume(json!({"ephemeral": {"volumeClaimTemplate": claim}})),
        volume(json!({"csi": {"driver": "csi.example.com", "nodePublishSecretRef": {"name": "s"}}})),
        volume(
            json!({"projected": {"sources": [{"secret": {"name": "s", "items": [{"key": "k", "path": "a"}]}}, {"configMap": {"name": "c"}}, {"downwardAPI": {"items": [{"path": "b", "resourceFieldRef": {"containerName": "a", "resource": "limits.cpu"}}]}}, {"serviceAccountToken": {"path": "c"}}]}}),
        ),
        volume(json!({"iscsi": {"targetPortal": "192.0.2.1", "iqn": "iqn.2024-01.org.example:x", "lun": 0}})),
        volume(json!({"nfs": {"server": "s", "path": "/p"}})),
        required_nodes(
            json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}], "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}),
        ),
        near(
            "podAntiAffinity",
            json!({"topologyKey": "host", "labelSelector": {"matchLabels": {"a": "b"}}, "matchLabelKeys": ["v"], "namespaces": ["n"]}),
        ),
        spread(json!({"minDomains": 2, "nodeTaintsPolicy": "Honor", "matchLabelKeys": ["v"]})),
        annotated(
            json!({"controller.kubernetes.io/pod-deletion-cost": "-1", "container.apparmor.security.beta.kubernetes.io/a": "localhost/x"}),
            json!({}),
        ),
    ];
    assert!(all.len() >= 30);
    for pod in all {
        assert_eq!(errors(&pod), Vec::<String>::new(), "{}", pod.value());
    }
}

/// Checks the only thing that is wrong with each pod.
fn check(all: Vec<(Object, &str)>) -> usize {
    for (pod, expected) in &all {
        let found = errors(pod);
        let is_cut = expected.ends_with('…');
        let expected = expected.trim_end_matches('…');
        let is_told = match found.as_slice() {
            [one] if is_cut => one.starts_with(expected),
            [one] => one == expected,
            _ => false,
        };
        assert!(is_told, "{expected}\n{found:#?}\n{}", pod.value());
    }
    all.len()
}

#[test]
fn what_is_wrong_with_a_pod_as_a_whole_is_told() {
    let long = "a".repeat(65);
    let several = |name: &str, value: Value| pod(json!({ name: value }));
    let told = check(vec![
        (
            several("restartPolicy", json!("Maybe")),
            r#"spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never""#,
        ),
        (
            several("dnsPolicy", json!("Odd")),
            r#"spec.dnsPolicy: Unsupported value: "Odd": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None""#,
        ),
        (
            several("dnsPolicy", json!("None")),
            "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
        ),
        (
            several("dnsConfig", json!({"nameservers": ["192.0.2.01"]})),
            r#"spec.dnsConfig.nameservers[0]: Invalid value: "192.0.2.01": must not have leading 0s"#,
        ),
        (
            several("dnsConfig", json!({"nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"]})),
            r#"spec.dnsConfig.nameservers: Invalid value: ["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4"]: must not have more than 3 nameservers"#,
        ),
        (
            several("dnsConfig", json!({"searches": ["a b"]})),
            r#"spec.dnsConfig.searches[0]: Invalid value: "a b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-', '_' or '.'…"#,
        ),
        (
            several("dnsConfig", json!({"options": [{"value": "1"}]})),
            "spec.dnsConfig.options[0]: Required value: must not be empty",
        ),
        (
            several("nodeSelector", json!({"a": "b c"})),
            r#"spec.nodeSelector: Invalid value: "b c": a valid label must be…"#,
        ),
        (
            several("serviceAccountName", json!("A")),
            r#"spec.serviceAccountName: Invalid value: "A": a lowercase RFC 1123 subdomain…"#,
        ),
        (
            several("nodeName", json!("N")),
            r#"spec.nodeName: Invalid value: "N": a lowercase RFC 1123 subdomain…"#,
        ),
        (
            several("activeDeadlineSeconds", json!(0)),
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ),
        (several("hostname", json!("a.b")), r#"spec.hostname: Invalid value: "a.b": must not contain dots"#),
        (
            several("hostnameOverride", json!(long)),
            "spec.hostnameOverride: Too long: may not be more than 64 bytes",
        ),
        (
            several("subdomain", json!("A")),
            r#"spec.subdomain: Invalid value: "A": a lowercase RFC 1123 label…"#,
        ),
        (
            several("hostAliases", json!([{"ip": "x"}])),
            r#"spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
        ),
        (
            several("hostAliases", json!([{"ip": "::ffff:192.0.2.1"}])),
            r#"spec.hostAliases[0].ip: Invalid value: "::ffff:192.0.2.1": must not be an IPv4-mapped IPv6 address"#,
        ),
        (
            several("priorityClassName", json!("A")),
            r#"spec.priorityClassName: Invalid value: "A": a lowercase RFC 1123 subdomain…"#,
        ),
        (
            several("runtimeClassName", json!("")),
            r#"spec.runtimeClassName: Invalid value: "": a lowercase RFC 1123 subdomain…"#,
        ),
        (
            several("preemptionPolicy", json!("Odd")),
            r#"spec.preemptionPolicy: Unsupported value: "Odd": supported values: "PreemptLowerPriority", "Never""#,
        ),
        (
            several("overhead", json!({"cpu": "-1"})),
            r#"spec.overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0"#,
        ),
        (
            several("os", json!({"name": "plan9"})),
            r#"spec.os: Unsupported value: "plan9": supported values: "linux", "windows""#,
        ),
        (several("os", json!({})), "spec.os.name: Required value: cannot be empty"),
        (
            pod(json!({"os": {"name": "windows"}, "hostPID": true})),
            "spec.hostPID: Forbidden: cannot be set for a windows pod",
        ),
        (
            pod(json!({"os": {"name": "linux"}, "securityContext": {"windowsOptions": {}}})),
            "spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
        ),
        (
            pod(json!({"securityContext": {"windowsOptions": {"hostProcess": true}}})),
            "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
        ),
        (
            several("readinessGates", json!([{"conditionType": "a b"}])),
            r#"spec.readinessGates[0].conditionType: Invalid value: "a b": name part must consist of…"#,
        ),
        (
            several("schedulingGates", json!([{"name": "g"}, {"name": "g"}])),
            r#"spec.schedulingGates[1]: Duplicate value: "g""#,
        ),
        (
            pod(json!({"schedulingGates": [{"name": "g"}], "nodeName": "n"})),
            "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
        ),
        (
            several("ephemeralContainers", json!([{"name": "e", "image": "i"}])),
            "spec.ephemeralContainers: Forbidden: cannot be set on create",
        ),
        (
            several("tolerations", json!([{"key": "a", "operator": "Like"}])),
            r#"spec.tolerations[0].operator: Unsupported value: "Like": supported values: "Equal", "Exists""#,
        ),
        (
            several("tolerations", json!([{"key": "a", "operator": "Exists", "value": "b"}])),
            r#"spec.tolerations[0].operator: Invalid value: "b": value must be empty when `operator` is 'Exists'"#,
        ),
        (
            several("tolerations", json!([{"operator": "Exists", "tolerationSeconds": 1}])),
            r#"spec.tolerations[0].effect: Invalid value: "": effect must be 'NoExecute' when `tolerationSeconds` is set"#,
        ),
        (
            several("tolerations", json!([{"operator": "Exists", "effect": "Odd"}])),
            r#"spec.tolerations[0].effect: Unsupported value: "Odd": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#,
        ),
        (
            several("resourceClaims", json!([{"name": "c"}])),
            r#"spec.resourceClaims[0]: Invalid value: {"name":"c"}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"#,
        ),
        (
            several("resourceClaims", json!([{"name": "c", "resourceClaimName": "A"}])),
            r#"spec.resourceClaims[0].resourceClaimName: Invalid value: "A": a lowercase RFC 1123 subdomain…"#,
        ),
        (
            pod(
                json!({"resources": {"requests": {"cpu": "1"}}, "containers": [{"name": "a", "image": "i", "resources": {"requests": {"cpu": "2"}}}]}),
            ),
            r#"spec.resources.requests[cpu]: Invalid value: "1": must be greater than or equal to aggregate container requests of 2"#,
        ),
        (
            several("resources", json!({"limits": {"ephemeral-storage": "1"}})),
            r#"spec.resources.limits[ephemeral-storage]: Unsupported value: "ephemeral-storage": supported values: "cpu", "hugepages-", "memory""#,
        ),
        (
            pod(
                json!({"resources": {"limits": {"cpu": "1"}}, "containers": [{"name": "a", "image": "i", "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}}]}),
            ),
            r#"spec.resources.containers[0][cpu].limits: Invalid value: "2": must be less than or equal to pod limits of 1"#,
        ),
        (
            pod(
                json!({"hostNetwork": true, "containers": [{"name": "a", "image": "i", "ports": [{"containerPort": 80, "hostPort": 81}]}]}),
            ),
            "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
        ),
        (
            several("securityContext", json!({"fsGroupChangePolicy": "Odd"})),
            r#"spec.securityContext.fsGroupChangePolicy: Unsupported value: "Odd": supported values: "Always", "OnRootMismatch""#,
        ),
        (
            several("securityContext", json!({"seLinuxChangePolicy": "Odd"})),
            r#"spec.securityContext.seLinuxChangePolicy: Unsupported value: "Odd": supported values: "MountOption", "Recursive""#,
        ),
        (
            several("securityContext", json!({"runAsUser": -1})),
            "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ),
        (
            several("securityContext", json!({"sysctls": [{"name": "A", "value": "1"}]})),
            r#"spec.securityContext.sysctls[0].name: Invalid value: "A": must have at most 253 characters and match regex…"#,
        ),
        (
            several("securityContext", json!({"seccompProfile": {"type": "Localhost"}})),
            "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
        ),
        (
            several("securityContext", json!({"appArmorProfile": {}})),
            "spec.securityContext.appArmorProfile.type: Required value: type is required when appArmorProfile is set",
        ),
        (
            annotated(json!({"kubernetes.io/config.mirror": "x"}), json!({})),
            r#"metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "x": must set spec.nodeName if mirror pod annotation is set"#,
        ),
        (
            of_metadata(
                json!({"finalizers": ["mine"]}),
                json!({"containers": [{"name": "a", "image": "i"}]}),
            ),
            r#"metadata.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified"#,
        ),
    ]);
    assert!(told >= 40, "{told}");
}
