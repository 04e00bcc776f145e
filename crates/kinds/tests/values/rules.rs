use model::Object;
use model::field::FieldError;
use model::validate::{self, Scope};
use serde_json::{Value, json};

use crate::{defaulted, resource};

/// A defaulted object of a kind.
fn object(version: &str, kind: &str, fields: Value) -> Object {
    let mut document =
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x", "namespace": "n"}});
    for (name, value) in fields.as_object().expect("fields") {
        document[name] = value.clone();
    }
    defaulted(document)
}

fn texts(errors: Vec<FieldError>) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn create(object: &Object, scope: Scope) -> Vec<FieldError> {
    validate::create(&*resource(object.api_version(), object.kind()).rules, object, scope)
}

fn update(object: &Object, old: &Object) -> Vec<FieldError> {
    validate::update(&*resource(object.api_version(), object.kind()).rules, object, old, Scope::Namespaced)
}

/// Checks the errors of creating an object.
fn check(object: &Object, expected: &[&str]) {
    assert_eq!(texts(create(object, Scope::Namespaced)), expected, "{object:?}");
}

fn pod(spec: Value) -> Object {
    object("v1", "Pod", json!({ "spec": spec }))
}

fn deployment(change: impl FnOnce(&mut Value)) -> Object {
    let mut spec = json!({
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "i"}]}},
    });
    change(&mut spec);
    object("apps/v1", "Deployment", json!({ "spec": spec }))
}

#[test]
fn sound_objects_pass() {
    check(&pod(json!({"containers": [{"name": "a", "image": "i"}]})), &[]);
    check(&deployment(|_| {}), &[]);
    check(&object("v1", "Service", json!({"spec": {"ports": [{"port": 80}]}})), &[]);
    check(&object("v1", "ConfigMap", json!({"data": {"a.b": "c"}})), &[]);
    check(&object("v1", "Secret", json!({"stringData": {"a": "c"}})), &[]);
    check(&object("example.com/v1", "Thing", json!({"spec": 1})), &[]);
}

#[test]
fn metadata_has_rules_for_every_kind() {
    let named = |metadata: Value| object("v1", "ConfigMap", json!({ "metadata": metadata }));
    check(
        &named(json!({"namespace": "n"})),
        &["metadata.name: Required value: name or generateName is required"],
    );
    check(&named(json!({"name": "a"})), &["metadata.namespace: Required value"]);
    let errors = texts(create(&named(json!({"name": "A_", "namespace": "n"})), Scope::Namespaced));
    assert!(
        errors[0]
            .starts_with("metadata.name: Invalid value: \"A_\": a lowercase RFC 1123 subdomain must consist")
    );
    assert_eq!(
        texts(create(&named(json!({"name": "a", "namespace": "n"})), Scope::Cluster)),
        ["metadata.namespace: Forbidden: not allowed on this type"]
    );
    check(
        &named(
            json!({"name": "a", "namespace": "n", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}),
        ),
        &["metadata.ownerReferences[0].uid: Required value: must not be empty"],
    );
}

#[test]
fn pods_are_checked_to_the_depth_of_their_containers() {
    check(&pod(json!({})), &["spec.containers: Required value"]);
    check(
        &pod(json!({"containers": [{"name": "a", "image": "i"}, {"name": "a"}], "restartPolicy": "Maybe"})),
        &[
            "spec.containers[1].image: Required value",
            "spec.containers[1].name: Duplicate value: \"a\"",
            "spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ],
    );
    let container = |fields: Value| {
        let mut container = json!({"name": "a", "image": "i"});
        for (name, value) in fields.as_object().expect("fields") {
            container[name] = value.clone();
        }
        pod(json!({"containers": [container]}))
    };
    check(
        &container(json!({"ports": [{"containerPort": 70000}]})),
        &[
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ],
    );
    check(
        &container(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
        &["spec.containers[0].volumeMounts[0].name: Not found: \"v\""],
    );
    let recursive = json!({
        "name": "v", "mountPath": "/v", "recursiveReadOnly": "Enabled", "mountPropagation": "HostToContainer",
    });
    check(
        &container(json!({"volumeMounts": [recursive]})),
        &[
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
            "spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
            "spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified",
        ],
    );
    check(
        &container(json!({"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}})),
        &[
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ],
    );
    check(
        &container(json!({"livenessProbe": {"successThreshold": 2}})),
        &[
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ],
    );
    check(
        &container(
            json!({"env": [{"name": "a", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]}),
        ),
        &[
            "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
        ],
    );
    check(
        &container(json!({"env": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "spec.foo"}}}]})),
        &["spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.foo\": \
           error converting fieldPath: field label not supported: spec.foo"],
    );
    check(
        &pod(
            json!({"containers": [{"name": "a", "image": "i"}], "volumes": [{"name": "v", "secret": {}, "hostPath": {"path": "/"}}]}),
        ),
        &["spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type"],
    );
}

#[test]
fn deployments_select_their_own_pods() {
    check(
        &deployment(|spec| spec["template"]["metadata"]["labels"] = json!({"app": "db"})),
        &[
            "spec.template.metadata.labels: Invalid value: {\"app\":\"db\"}: `selector` does not match template `labels`",
        ],
    );
    check(
        &deployment(|spec| spec["selector"] = json!({})),
        &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
    );
    check(
        &deployment(|spec| {
            spec["replicas"] = json!(-1);
            spec["strategy"] = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}});
        }),
        &[
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ],
    );
    check(
        &deployment(|spec| spec["strategy"] = json!({"type": "Recreate", "rollingUpdate": {}})),
        &["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
    );
}

#[test]
fn services_are_checked() {
    let service = |spec: Value| object("v1", "Service", json!({ "spec": spec }));
    check(&service(json!({})), &["spec.ports: Required value"]);
    check(&service(json!({"clusterIP": "None", "clusterIPs": ["None"]})), &[]);
    check(
        &service(json!({"ports": [{"port": 80, "nodePort": 30000}, {"port": 80, "name": "b"}]})),
        &[
            "spec.ports[0].name: Required value",
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            "spec.ports[1]: Duplicate value: {\"protocol\":\"TCP\",\"port\":80}",
        ],
    );
    check(&service(json!({"type": "ExternalName"})), &["spec.externalName: Required value"]);
    let health = |kind: &str, policy: &str| {
        let policy = Some(policy).filter(|policy| !policy.is_empty());
        let ports = json!([{"port": 80}]);
        service(json!({
            "type": kind, "externalTrafficPolicy": policy, "healthCheckNodePort": 30000, "ports": ports,
            "externalName": "a",
        }))
    };
    check(&health("LoadBalancer", "Local"), &[]);
    for (kind, policy) in
        [("LoadBalancer", "Cluster"), ("NodePort", "Local"), ("ClusterIP", ""), ("ExternalName", "")]
    {
        check(
            &health(kind, policy),
            &[
                "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' \
                 and `externalTrafficPolicy` is 'Local'",
            ],
        );
    }
    check(
        &service(json!({"clusterIP": "x", "clusterIPs": ["x"], "ports": [{"port": 80}]})),
        &[
            "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ],
    );
    let (old, new) = (
        service(json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80}]})),
        service(json!({"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.2"], "ports": [{"port": 80}]})),
    );
    assert_eq!(
        texts(update(&new, &old)),
        ["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"]
    );
}

#[test]
fn services_lead_to_nothing_that_is_the_nodes_own() {
    let loopback = "may not be in the loopback range (127.0.0.0/8, ::1/128)";
    let link_local = "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
    let group = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
    let nobody = "may not be unspecified (0.0.0.0 or ::)";
    for (kind, address, words) in [
        ("IPv4", "127.0.0.1", loopback),
        ("IPv4", "127.8.8.8", loopback),
        ("IPv6", "::1", loopback),
        ("IPv4", "169.254.169.254", link_local),
        ("IPv6", "fe80::1", link_local),
        ("IPv4", "224.0.0.5", group),
        ("IPv6", "ff02::1", group),
        ("IPv4", "0.0.0.0", nobody),
        ("IPv6", "::", nobody),
    ] {
        let slice = |named: Value| {
            let endpoints = json!([{"addresses": [address]}]);
            let fields = json!({"metadata": named, "addressType": kind, "endpoints": endpoints});
            object("discovery.k8s.io/v1", "EndpointSlice", fields)
        };
        let refused = |at: &str| format!("{at}: Invalid value: {address:?}: {words}");
        let other = json!({"name": "kubernetes", "namespace": "other"});
        check(&slice(other), &[&refused("endpoints[0].addresses[0]")]);
        // The server itself may be there.
        check(&slice(json!({"name": "kubernetes", "namespace": "default"})), &[]);
        let endpoints = json!({"subsets": [{"addresses": [{"ip": address}], "ports": [{"port": 80}]}]});
        check(&object("v1", "Endpoints", endpoints), &[&refused("subsets[0].addresses[0].ip")]);
        let spec = json!({"spec": {"ports": [{"port": 80}], "externalIPs": [address]}});
        check(&object("v1", "Service", spec), &[&refused("spec.externalIPs[0]")]);
    }
}

#[test]
fn what_may_not_change_does_not() {
    let changed = |old: &Object, place: &[&str], value: Value| {
        let mut new = old.clone();
        new.set(place, value);
        texts(update(&new, old))
    };
    let web = deployment(|_| {});
    let mut other = web.clone();
    other.set(&["spec", "selector", "matchLabels", "app"], "db");
    other.set(&["spec", "template", "metadata", "labels", "app"], "db");
    assert_eq!(
        texts(update(&other, &web)),
        ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"db\"}}: field is immutable"]
    );
    assert_eq!(changed(&web, &["spec", "replicas"], json!(3)), Vec::<String>::new());
    assert_eq!(
        changed(&web, &["metadata", "uid"], json!("u")),
        ["metadata.uid: Invalid value: \"u\": field is immutable"]
    );

    let pod = pod(json!({"containers": [{"name": "a", "image": "i"}]}));
    let errors = changed(&pod, &["spec", "hostNetwork"], json!(true));
    assert!(errors[0].starts_with(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
    ));
    assert!(errors[0].contains("+\thostNetwork: true"), "{errors:?}");
    let mut renamed = pod.clone();
    renamed.set(&["spec", "containers"], json!([]));
    assert!(
        texts(update(&renamed, &pod))
            .contains(&"spec.containers: Forbidden: pod updates may not add or remove containers".to_owned())
    );
    let mut image = pod.get(&["spec", "containers"]).expect("set").clone();
    image[0]["image"] = json!("j");
    assert_eq!(changed(&pod, &["spec", "containers"], image), Vec::<String>::new());

    let frozen = object("v1", "ConfigMap", json!({"immutable": true, "data": {"a": "b"}}));
    assert_eq!(
        changed(&frozen, &["data", "a"], json!("c")),
        ["data: Forbidden: field is immutable when `immutable` is set"]
    );
    let secret = object("v1", "Secret", json!({}));
    assert_eq!(changed(&secret, &["type"], json!("t")), ["type: Invalid value: \"t\": field is immutable"]);
}

#[test]
fn users_of_its_own_go_with_nothing_of_the_hosts() {
    let containers =
        json!([{"name": "a", "image": "i", "volumeDevices": [{"name": "d", "devicePath": "/dev/d"}]}]);
    let mut of_host = json!({
        "hostUsers": false, "hostNetwork": true, "hostPID": true, "hostIPC": true, "containers": containers,
    });
    check(
        &pod(of_host.clone()),
        &[
            "spec.containers[0].volumeDevices[0].name: Not found: \"d\"",
            "spec.hostNetwork: Forbidden: when `hostUsers` is false",
            "spec.HostPID: Forbidden: when `hostUsers` is false",
            "spec.HostIPC: Forbidden: when `hostUsers` is false",
            "spec.containers[0].volumeDevices: Forbidden: when `hostUsers` is false",
        ],
    );
    of_host["hostUsers"] = json!(true);
    of_host["volumes"] = json!([{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}]);
    check(&pod(of_host), &[]);
    let unmasked = json!([{"name": "a", "image": "i", "securityContext": {"procMount": "Unmasked"}}]);
    check(&pod(json!({"hostUsers": false, "containers": unmasked})), &[]);
    check(
        &pod(json!({"containers": unmasked})),
        &[
            "spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
        ],
    );
}

#[test]
fn secrets_hold_what_their_type_asks_for() {
    let secret = |kind: &str, data: Value| object("v1", "Secret", json!({"type": kind, "stringData": data}));
    check(&secret("kubernetes.io/tls", json!({"tls.crt": "x"})), &["data[tls.key]: Required value"]);
    check(&secret("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": "{}"})), &[]);
    check(
        &secret("kubernetes.io/service-account-token", json!({})),
        &["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
    );
}
