//! Containers that are wrong, a line each.

use super::*;

#[test]
fn what_is_wrong_with_containers_is_told() {
    let rules = |rules: Value| container(json!({"restartPolicy": "Never", "restartPolicyRules": rules}));
    let probe = |probe: Value| container(json!({ "livenessProbe": probe }));
    let variable = |source: Value| container(json!({"env": [{"name": "A", "valueFrom": source}]}));
    let many: Vec<Value> = (0..21)
        .map(|_| json!({"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}))
        .collect();
    let claims = |used: Value| {
        let container = json!({"name": "a", "image": "i", "resources": {"claims": used}});
        pod(json!({"resourceClaims": [{"name": "c", "resourceClaimName": "x"}], "containers": [container]}))
    };
    let device = |source: Value, device: Value| {
        let mut volume = json!({"name": "v"});
        merge(&mut volume, source);
        with_volumes(json!([volume]), json!({"volumeDevices": [device]}))
    };
    let claim = || json!({"persistentVolumeClaim": {"claimName": "c"}});
    let told = check(vec![
        (
            container(json!({"name": "A"})),
            r#"spec.containers[0].name: Invalid value: "A": a lowercase RFC 1123 label…"#,
        ),
        (
            container(json!({"image": " i"})),
            r#"spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace"#,
        ),
        (
            container(json!({"terminationMessagePolicy": "Odd"})),
            r#"spec.containers[0].terminationMessagePolicy: Unsupported value: "Odd": supported values: "File", "FallbackToLogsOnError""#,
        ),
        (
            container(json!({"imagePullPolicy": "Odd"})),
            r#"spec.containers[0].imagePullPolicy: Unsupported value: "Odd": supported values: "Always", "IfNotPresent", "Never""#,
        ),
        (
            container(json!({"ports": [{"containerPort": 1, "hostIP": "x", "hostPort": 1}]})),
            r#"spec.containers[0].ports[0].hostIP: Invalid value: "x": must be a valid IP address…"#,
        ),
        (
            container(
                json!({"ports": [{"containerPort": 1, "hostPort": 1}, {"containerPort": 2, "hostPort": 1}]}),
            ),
            r#"spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//1""#,
        ),
        (
            container(json!({"ports": [{"containerPort": 1, "protocol": "ICMP"}]})),
            r#"spec.containers[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP""#,
        ),
        (
            container(json!({"env": [{"name": "a=b"}]})),
            r#"spec.containers[0].env[0].name: Invalid value: "a=b": a valid environment variable name must…"#,
        ),
        (
            container(json!({"envFrom": [{"prefix": "a=", "secretRef": {"name": "s"}}]})),
            r#"spec.containers[0].envFrom[0].prefix: Invalid value: "a=": a valid environment variable name must…"#,
        ),
        (
            container(json!({"envFrom": [{}]})),
            r#"spec.containers[0].envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`"#,
        ),
        (
            variable(json!({"resourceFieldRef": {"resource": "limits.disk"}})),
            r#"spec.containers[0].env[0].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.disk": supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory""#,
        ),
        (
            variable(json!({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}})),
            r#"spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.cpu": only divisor's values 1m and 1 are supported with the cpu resource"#,
        ),
        (
            variable(json!({"resourceFieldRef": {"resource": "limits.memory", "divisor": "3"}})),
            r#"spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.memory": only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource"#,
        ),
        (
            variable(json!({"fieldRef": {"fieldPath": "metadata.labels"}})),
            r#"spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: "metadata.name"…"#,
        ),
        (
            variable(json!({"fieldRef": {"fieldPath": "spec.x['y']"}})),
            r#"spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.x['y']": error converting fieldPath: field label does not support subscript: spec.x['y']"#,
        ),
        (
            variable(json!({"fieldRef": {"apiVersion": "v2", "fieldPath": "metadata.name"}})),
            r#"spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "metadata.name": error converting fieldPath: unsupported pod version: v2"#,
        ),
        (
            variable(json!({"fileKeyRef": {"volumeName": "v", "path": "p", "key": "K"}})),
            r#"spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Not found: "v""#,
        ),
        (
            variable(json!({"secretKeyRef": {"name": "s", "key": "a/b"}})),
            r#"spec.containers[0].env[0].valueFrom.secretKeyRef.key: Invalid value: "a/b": a valid config key must…"#,
        ),
        (
            device(json!({"emptyDir": {}}), json!({"name": "v", "devicePath": "/d"})),
            r#"spec.containers[0].volumeDevices[0].name: Invalid value: "v": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"#,
        ),
        (
            device(claim(), json!({"name": "v", "devicePath": "/a/../b"})),
            r#"spec.containers[0].volumeDevices[0].devicePath: Invalid value: "/a/../b": can not contain backsteps ('..')"#,
        ),
        (
            device(claim(), json!({"name": "w", "devicePath": "/d"})),
            r#"spec.containers[0].volumeDevices[0].name: Not found: "w""#,
        ),
        (
            with_volumes(
                json!([{"name": "v", "emptyDir": {}}]),
                json!({"volumeMounts": [{"name": "v", "mountPath": "/a", "subPath": "../b"}]}),
            ),
            r#"spec.containers[0].volumeMounts.subPath: Invalid value: "../b": must not contain '..'"#,
        ),
        (
            with_volumes(
                json!([{"name": "v", "emptyDir": {}}]),
                json!({"volumeMounts": [{"name": "v", "mountPath": "/a", "subPath": "b", "subPathExpr": "c"}]}),
            ),
            r#"spec.containers[0].volumeMounts[0].subPathExpr: Invalid value: "c": subPathExpr and subPath are mutually exclusive"#,
        ),
        (
            with_volumes(
                json!([{"name": "v", "emptyDir": {}}]),
                json!({"volumeMounts": [{"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional"}]}),
            ),
            "spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
        ),
        (
            pod(json!({"overhead": {"example.com/a": "1500m"}})),
            r#"spec.overhead.limits[example.com/a]: Invalid value: "1500m": must be an integer"#,
        ),
        (
            pod(json!({"overhead": {"requests.example.com/a": "1"}})),
            r#"spec.overhead.limits[requests.example.com/a]: Invalid value: "requests.example.com/a": doesn't follow extended resource name standard"#,
        ),
        (
            container(json!({"resources": {"limits": {"hugepages-2Mi": "2Mi"}}})),
            "spec.containers[0].resources: Forbidden: HugePages require cpu or memory",
        ),
        (
            claims(json!([{"name": "d"}])),
            r#"spec.containers[0].resources.claims[0]: Not found: "d": must be one of the names in pod.spec.resourceClaims: c"#,
        ),
        (
            claims(json!([{"name": "c"}, {"name": "c", "request": "r"}])),
            r#"spec.containers[0].resources.claims[1]: Duplicate value: "c""#,
        ),
        (
            container(json!({"resizePolicy": [{"resourceName": "disk", "restartPolicy": "NotRequired"}]})),
            r#"spec.containers[0].resizePolicy: Unsupported value: "disk": supported values: "cpu", "memory""#,
        ),
        (
            pod(
                json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "i", "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}]}),
            ),
            r#"spec.containers[0].resizePolicy: Invalid value: "RestartContainer": must be 'NotRequired' when `restartPolicy` is 'Never'"#,
        ),
        (
            container(json!({"restartPolicy": "Odd"})),
            r#"spec.containers[0].restartPolicy: Unsupported value: "Odd": supported values: "Always", "Never", "OnFailure""#,
        ),
        (
            container(
                json!({"restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]}),
            ),
            "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used",
        ),
        (
            rules(json!([{"action": "Stop", "exitCodes": {"operator": "In"}}])),
            r#"spec.containers[0].restartPolicyRules[0].action: Unsupported value: "Stop": supported values: "Restart", "RestartAllContainers""#,
        ),
        (
            rules(json!([{"action": "Restart"}])),
            "spec.containers[0].restartPolicyRules[0].exitCodes: Required value: must be specified",
        ),
        (
            rules(json!(many)),
            "spec.containers[0].restartPolicyRules: Too many: 21: must have at most 20 items",
        ),
        (
            container(json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}})),
            "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
        ),
        (
            container(json!({"lifecycle": {"preStop": {}}})),
            "spec.containers[0].lifecycle.preStop: Required value: must specify a handler type",
        ),
        (
            probe(json!({"httpGet": {"port": 1, "httpHeaders": [{"name": "a b", "value": "x"}]}})),
            r#"spec.containers[0].livenessProbe.httpGet.httpHeaders: Invalid value: "a b": a valid HTTP header must consist of…"#,
        ),
        (
            probe(json!({"httpGet": {"port": 1, "scheme": "FTP"}})),
            r#"spec.containers[0].livenessProbe.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS""#,
        ),
        (probe(json!({"exec": {}})), "spec.containers[0].livenessProbe.exec.command: Required value"),
        (
            probe(json!({"tcpSocket": {"port": 1}, "grpc": {"port": 1}})),
            "spec.containers[0].livenessProbe.grpc: Forbidden: may not specify more than 1 handler type",
        ),
        (
            init(json!({"livenessProbe": {"tcpSocket": {"port": 1}}})),
            "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ),
        (init(json!({"name": "a"})), r#"spec.initContainers[0].name: Duplicate value: "a""#),
        (
            container(json!({"securityContext": {"allowPrivilegeEscalation": false, "privileged": true}})),
            "spec.containers[0].securityContext: Invalid value: …",
        ),
        (
            container(json!({"securityContext": {"windowsOptions": {"gmsaCredentialSpec": ""}}})),
            r#"spec.containers[0].securityContext.windowsOptions.gmsaCredentialSpec: Invalid value: "": gmsaCredentialSpec cannot be an empty string"#,
        ),
    ]);
    assert!(told >= 44, "{told}");
    let unknown = pod(json!({"overhead": {"disk": "1"}}));
    assert_eq!(
        errors(&unknown),
        [
            r#"spec.overhead.limits[disk]: Invalid value: "disk": must be a standard resource type or fully qualified"#,
            r#"spec.overhead.limits[disk]: Invalid value: "disk": must be a standard resource for containers"#,
        ]
    );
}
