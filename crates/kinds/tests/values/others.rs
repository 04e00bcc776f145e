//! Objects of other kinds that are sound, and that are not: a line each.

use model::Object;
use model::validate::{self, Scope};
use serde_json::{Value, json};

use crate::{defaulted, resource};

/// What is checked of objects of a kind.
struct Kind {
    version: &'static str,
    name: &'static str,
    scope: Scope,
    good: Vec<Value>,
    /// With all that is wrong with it; what ends with `…` goes on.
    bad: Vec<(Value, &'static [&'static str])>,
}

impl Kind {
    fn new(
        version: &'static str,
        name: &'static str,
        good: Vec<Value>,
        bad: Vec<(Value, &'static [&'static str])>,
    ) -> Self {
        Self { version, name, scope: Scope::Namespaced, good, bad }
    }

    fn of_cluster(self) -> Self {
        Self { scope: Scope::Cluster, ..self }
    }

    fn object(&self, fields: &Value) -> Object {
        let mut object = json!({"apiVersion": self.version, "kind": self.name, "metadata": {"name": "x"}});
        if self.scope == Scope::Namespaced {
            object["metadata"]["namespace"] = "n".into();
        }
        for (name, value) in fields.as_object().expect("fields") {
            match (name.as_str(), value) {
                ("metadata", Value::Object(fields)) => {
                    for (name, value) in fields {
                        object["metadata"][name] = value.clone();
                    }
                }
                _ => object[name] = value.clone(),
            }
        }
        defaulted(object)
    }

    fn check(&self) {
        assert!(self.good.len() >= 5 && self.bad.len() >= 10, "{}: too few", self.name);
        let errors = |fields: &Value| -> Vec<String> {
            let rules = resource(self.version, self.name).rules;
            let errors = validate::create(&*rules, &self.object(fields), self.scope);
            errors.iter().map(ToString::to_string).collect()
        };
        for fields in &self.good {
            assert_eq!(errors(fields), Vec::<String>::new(), "{}: {fields}", self.name);
        }
        for (fields, expected) in &self.bad {
            let found = errors(fields);
            let all = found.len() == expected.len()
                && found.iter().zip(*expected).all(|(found, expected)| match expected.strip_suffix('…') {
                    Some(start) => found.starts_with(start),
                    None => found == expected,
                });
            assert!(all, "{}: {fields}\n{found:#?}\n{expected:#?}", self.name);
        }
    }
}

#[test]
fn nodes() {
    let taints = |taints: Value| json!({"spec": {"taints": taints}});
    let ranges = |ranges: Value| json!({"spec": {"podCIDRs": ranges}});
    let has = |capacity: Value| json!({"status": {"capacity": capacity, "allocatable": {}}});
    Kind::new(
        "v1",
        "Node",
        vec![
            json!({}),
            taints(json!([{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoExecute", "value": "b"}])),
            ranges(json!(["10.42.0.0/24"])),
            ranges(json!(["10.42.0.0/24", "2001:db8::/64"])),
            has(json!({"cpu": "1500m", "memory": "1Gi", "example.com/gpu": 2})),
            json!({"spec": {"providerID": "a://b", "unschedulable": true}}),
        ],
        vec![
            (json!({"metadata": {"name": "A"}}), &[r#"metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain…"#]),
            (taints(json!([{"effect": "NoSchedule"}])), &[r#"metadata.taints[0].key: Invalid value: "": name part must be non-empty"#, "metadata.taints[0].key: …"]),
            (taints(json!([{"key": "a"}])), &["metadata.taints[0].effect: Required value"]),
            (taints(json!([{"key": "a", "effect": "Odd"}])), &[r#"metadata.taints[0].effect: Unsupported value: "Odd": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#]),
            (taints(json!([{"key": "a", "effect": "NoSchedule", "value": "b c"}])), &[r#"metadata.taints[0].value: Invalid value: "b c": a valid label…"#]),
            (taints(json!([{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}])), &[r#"metadata.taints[1]: Duplicate value: {"key":"a","effect":"NoSchedule"}: taints must be unique by key and effect pair"#]),
            (ranges(json!(["x"])), &[r#"spec.podCIDRs[0]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#]),
            (ranges(json!(["10.42.0.0/24", "10.43.0.0/24"])), &[r#"spec.podCIDRs: Invalid value: ["10.42.0.0/24","10.43.0.0/24"]: may specify no more than one CIDR for each IP family"#]),
            (ranges(json!(["2001:db8::/64", "2001:db8::/64"])), &["spec.podCIDRs: Invalid value: …", r#"spec.podCIDRs[1]: Duplicate value: "2001:db8::/64""#]),
            (has(json!({"cpu": "-1"})), &[r#"status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0"#]),
            (has(json!({"pods": "1500m"})), &[r#"status.capacity.pods: Invalid value: "1500m": must be an integer"#]),
            (has(json!({"example.com/gpu": "1500m"})), &[r#"status.capacity.example.com/gpu: Invalid value: "1500m": must be an integer"#]),
        ],
    )
    .of_cluster()
    .check();
}

#[test]
fn what_a_node_was_given_it_keeps() {
    let node = |spec: Value| {
        defaulted(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "x"}, "spec": spec}))
    };
    let check = |old: Value, new: Value, expected: &[&str]| {
        let rules = resource("v1", "Node").rules;
        let errors = validate::update(&*rules, &node(new), &node(old), Scope::Cluster);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, expected);
    };
    check(
        json!({}),
        json!({"podCIDRs": ["10.42.0.0/24"], "podCIDR": "10.42.0.0/24", "providerID": "a"}),
        &[],
    );
    let ranges = r#"spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid"#;
    check(json!({"podCIDRs": ["10.42.0.0/24"]}), json!({"podCIDRs": ["10.42.1.0/24"]}), &[ranges]);
    check(json!({"podCIDR": "10.42.0.0/24"}), json!({}), &[ranges]);
    check(
        json!({"providerID": "a"}),
        json!({"providerID": "b"}),
        &[r#"spec.providerID: Forbidden: node updates may not change providerID except from "" to valid"#],
    );
}

#[test]
fn endpoint_slices() {
    let slice = |kind: &str, endpoint: Value| json!({"addressType": kind, "endpoints": [endpoint]});
    let four = |more: Value| {
        let mut endpoint = json!({"addresses": ["192.0.2.1"]});
        for (name, value) in more.as_object().expect("fields") {
            endpoint[name] = value.clone();
        }
        slice("IPv4", endpoint)
    };
    let ports = |ports: Value| json!({"addressType": "IPv4", "endpoints": [], "ports": ports});
    let zones = |number: i64| {
        four(
            json!({"hints": {"forZones": (0..number).map(|n| json!({"name": format!("z{n}")})).collect::<Vec<_>>()}}),
        )
    };
    Kind::new(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        vec![
            four(json!({})),
            four(json!({"hostname": "h", "nodeName": "n", "zone": "z", "hints": {"forZones": [{"name": "z"}]}})),
            slice("IPv6", json!({"addresses": ["2001:db8::1"]})),
            slice("FQDN", json!({"addresses": ["a.example.com."]})),
            ports(json!([{"name": "a", "port": 80, "appProtocol": "http"}, {"port": 81}])),
        ],
        vec![
            (json!({"endpoints": []}), &["addressType: Required value"]),
            (slice("Odd", json!({"addresses": ["192.0.2.1"]})), &[r#"addressType: Unsupported value: "Odd": supported values: "FQDN", "IPv4", "IPv6""#]),
            (slice("IPv4", json!({"addresses": []})), &["endpoints[0].addresses: Required value: must contain at least 1 address"]),
            (slice("IPv4", json!({"addresses": ["2001:db8::1"]})), &[r#"endpoints[0].addresses[0]: Invalid value: "2001:db8::1": must be an IPv4 address"#]),
            (slice("FQDN", json!({"addresses": ["example.com"]})), &[r#"endpoints[0].addresses[0]: Invalid value: "example.com": should be a domain with at least three segments separated by dots"#]),
            (four(json!({"hostname": "A"})), &[r#"endpoints[0].hostname: Invalid value: "A": a lowercase RFC 1123 label…"#]),
            (four(json!({"nodeName": "N"})), &[r#"endpoints[0].nodeName: Invalid value: "N": a lowercase RFC 1123 subdomain…"#]),
            (four(json!({"deprecatedTopology": {"a": "b c"}})), &[r#"endpoints[0].deprecatedTopology: Invalid value: "b c": a valid label…"#]),
            (zones(9), &["endpoints[0].hints.forZones: Too many: 9: must have at most 8 items"]),
            (four(json!({"hints": {"forZones": [{"name": "z"}, {"name": "z"}]}})), &[r#"endpoints[0].hints.forZones[1].name: Duplicate value: "z""#]),
            (ports(json!([{"port": 65536}])), &["ports[0].port: Invalid value: 65536: must be between 1 and 65535, inclusive"]),
            (ports(json!([{"port": 1}, {"port": 2}])), &[r#"ports[1].name: Duplicate value: """#]),
            (ports(json!([{"port": 1, "protocol": "ICMP"}])), &[r#"ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP""#]),
            (ports(json!([{"port": 1, "appProtocol": "a b"}])), &[r#"ports[0].appProtocol: Invalid value: "a b": name part must…"#]),
        ],
    )
    .check();
}

#[test]
fn endpoints() {
    let subset =
        |addresses: Value, ports: Value| json!({"subsets": [{"addresses": addresses, "ports": ports}]});
    let address = |more: Value| {
        let mut address = json!({"ip": "192.0.2.1"});
        for (name, value) in more.as_object().expect("fields") {
            address[name] = value.clone();
        }
        subset(json!([address]), json!([{"port": 80}]))
    };
    let port = |ports: Value| subset(json!([{"ip": "192.0.2.1"}]), ports);
    Kind::new(
        "v1",
        "Endpoints",
        vec![
            json!({}),
            address(json!({"hostname": "h", "nodeName": "n"})),
            port(json!([{"name": "a", "port": 80}, {"name": "b", "port": 81, "protocol": "UDP"}])),
            port(json!([{"port": 80, "appProtocol": "http"}])),
            json!({"subsets": [{"notReadyAddresses": [{"ip": "192.0.2.1"}]}]}),
        ],
        vec![
            (json!({"subsets": [{}]}), &["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]),
            (address(json!({"ip": "x"})), &[r#"subsets[0].addresses[0].ip: Invalid value: "x": must be a valid IP address…"#]),
            (address(json!({"ip": "127.0.0.1"})), &[r#"subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range…"#]),
            (address(json!({"hostname": "A"})), &[r#"subsets[0].addresses[0].hostname: Invalid value: "A": a lowercase RFC 1123 label…"#]),
            (address(json!({"nodeName": "N"})), &[r#"subsets[0].addresses[0].nodeName: Invalid value: "N": a lowercase RFC 1123 subdomain…"#]),
            (port(json!([{"port": 1}, {"name": "b", "port": 2}])), &["subsets[0].ports[0].name: Required value"]),
            (port(json!([{"name": "A", "port": 1}])), &[r#"subsets[0].ports[0].name: Invalid value: "A": a lowercase RFC 1123 label…"#]),
            (port(json!([{"port": 0}])), &["subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"]),
            (port(json!([{"port": 1, "protocol": "ICMP"}])), &[r#"subsets[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP""#]),
            (port(json!([{"port": 1, "appProtocol": "a b"}])), &[r#"subsets[0].ports[0].appProtocol: Invalid value: "a b": name part must…"#]),
        ],
    )
    .check();
}

/// What is wrong with the metadata of any kind that belongs to a namespace.
fn of_metadata() -> Vec<(Value, &'static [&'static str])> {
    let owner = |owner: Value| json!({"metadata": {"ownerReferences": [owner]}});
    vec![
        (
            json!({"metadata": {"name": ""}}),
            &["metadata.name: Required value: name or generateName is required"],
        ),
        (
            json!({"metadata": {"name": "A"}}),
            &[r#"metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain…"#],
        ),
        (
            json!({"metadata": {"labels": {"a b": "c"}}}),
            &[r#"metadata.labels: Invalid value: "a b": name part must…"#],
        ),
        (
            json!({"metadata": {"labels": {"a": "b c"}}}),
            &[r#"metadata.labels: Invalid value: "b c": a valid label…"#],
        ),
        (
            json!({"metadata": {"annotations": {"a b": "c"}}}),
            &[r#"metadata.annotations: Invalid value: "a b": name part must…"#],
        ),
        (
            json!({"metadata": {"finalizers": ["mine"]}}),
            &[
                r#"metadata.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified"#,
            ],
        ),
        (
            json!({"metadata": {"finalizers": ["a/b/c"]}}),
            &[r#"metadata.finalizers: Invalid value: "a/b/c": a qualified name must…"#],
        ),
        (
            json!({"metadata": {"finalizers": ["orphan", "foregroundDeletion"]}}),
            &[
                r#"metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: finalizer orphan and foregroundDeletion cannot be both set"#,
            ],
        ),
        (
            owner(json!({"apiVersion": "v1", "kind": "Pod", "name": "p"})),
            &["metadata.ownerReferences[0].uid: Required value: must not be empty"],
        ),
        (
            owner(json!({"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"})),
            &["metadata.ownerReferences[0]: Invalid value: …"],
        ),
    ]
}

#[test]
fn service_accounts() {
    let good = vec![
        json!({}),
        json!({"secrets": [{"name": "s"}]}),
        json!({"imagePullSecrets": [{"name": "s"}]}),
        json!({"automountServiceAccountToken": false}),
        json!({"metadata": {"name": "a.b", "finalizers": ["example.com/a"]}}),
    ];
    Kind::new("v1", "ServiceAccount", good, of_metadata()).check();
}

#[test]
fn namespaces() {
    let bad: Vec<(Value, &'static [&'static str])> = vec![
        (
            json!({"metadata": {"name": "a.b"}}),
            &[r#"metadata.name: Invalid value: "a.b": must not contain dots"#],
        ),
        (
            json!({"metadata": {"name": "A"}}),
            &[r#"metadata.name: Invalid value: "A": a lowercase RFC 1123 label…"#, "metadata.labels: …"],
        ),
        (
            json!({"spec": {"finalizers": ["mine"]}}),
            &[
                r#"spec.finalizers: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified"#,
            ],
        ),
        (json!({"spec": {"finalizers": ["a/b/c"]}}), &["spec.finalizers: Invalid value: …"]),
    ];
    let bad = bad
        .into_iter()
        .chain(of_metadata().into_iter().filter(|(fields, _)| fields["metadata"].get("name").is_none()));
    let bad = bad.filter(|(fields, _)| {
        fields["metadata"]["name"] != "A" && fields["metadata"].get("labels").is_none()
    });
    let mut bad: Vec<_> = bad.collect();
    bad.push((
        json!({"metadata": {"generateName": "A-", "name": "a"}}),
        &[r#"metadata.generateName: Invalid value: "A-": a lowercase RFC 1123 label…"#],
    ));
    let good = vec![
        json!({}),
        json!({"spec": {"finalizers": ["kubernetes"]}}),
        json!({"spec": {"finalizers": ["example.com/a"]}}),
        json!({"metadata": {"name": "1-a"}}),
        json!({"metadata": {"annotations": {"a": "b c"}}}),
    ];
    Kind::new("v1", "Namespace", good, bad).of_cluster().check();
}

#[test]
fn a_namespace_is_active_until_it_goes() {
    let check = |deleted: Option<&str>, phase: &str, expected: &[&str]| {
        let metadata = json!({"name": "x", "deletionTimestamp": deleted});
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata, "status": {"phase": phase}});
        let mut object = defaulted(object);
        if deleted.is_none() {
            object.remove(&["metadata", "deletionTimestamp"]);
        }
        let rules = resource("v1", "Namespace").rules;
        let errors = validate::update_status(&*rules, &object, &object, Scope::Cluster);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, expected);
    };
    check(None, "Active", &[]);
    check(Some("2026-01-01T00:00:00Z"), "Terminating", &[]);
    check(
        None,
        "Terminating",
        &[
            r#"status.Phase: Invalid value: "Terminating": may only be 'Active' if `deletionTimestamp` is empty"#,
        ],
    );
    check(
        Some("2026-01-01T00:00:00Z"),
        "Active",
        &[
            r#"status.Phase: Invalid value: "Active": may only be 'Terminating' if `deletionTimestamp` is not empty"#,
        ],
    );
}

#[test]
fn config_maps_and_secrets() {
    let mut bad = of_metadata();
    bad.extend::<Vec<(Value, &'static [&'static str])>>(vec![
        (json!({"data": {"a/b": "c"}}), &[r#"data[a/b]: Invalid value: "a/b": a valid config key must…"#]),
        (json!({"data": {"..": "c"}}), &[r#"data[..]: Invalid value: "..": must not be '..'"#]),
        (
            json!({"data": {"a": "b"}, "binaryData": {"a": "Yg=="}}),
            &[r#"data[a]: Invalid value: "a": duplicate of key present in binaryData"#],
        ),
    ]);
    let good = vec![
        json!({}),
        json!({"data": {"a.b_c-d": ""}}),
        json!({"binaryData": {"a": "Yg=="}}),
        json!({"data": {"a": "b"}, "binaryData": {"c": "Yg=="}}),
        json!({"immutable": true, "data": {".a": "b"}}),
    ];
    Kind::new("v1", "ConfigMap", good, bad).check();
    let secret = |kind: &str, data: Value| json!({"type": kind, "stringData": data});
    let mut bad = of_metadata();
    bad.extend::<Vec<(Value, &'static [&'static str])>>(vec![
        (
            secret("Opaque", json!({"a b": "c"})),
            &[r#"data[a b]: Invalid value: "a b": a valid config key must…"#],
        ),
        (secret("kubernetes.io/dockercfg", json!({})), &["data[.dockercfg]: Required value"]),
        (
            secret("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": "x"})),
            &["data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": …"],
        ),
        (
            secret("kubernetes.io/basic-auth", json!({})),
            &["data[username]: Required value", "data[password]: Required value"],
        ),
        (
            secret("kubernetes.io/ssh-auth", json!({"ssh-privatekey": ""})),
            &["data[ssh-privatekey]: Required value"],
        ),
        (
            secret("kubernetes.io/tls", json!({})),
            &["data[tls.crt]: Required value", "data[tls.key]: Required value"],
        ),
        (
            secret("kubernetes.io/service-account-token", json!({})),
            &["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        ),
    ]);
    let good = vec![
        json!({}),
        secret("Opaque", json!({"a": "b"})),
        secret("example.com/own", json!({})),
        secret("kubernetes.io/basic-auth", json!({"username": ""})),
        secret("kubernetes.io/tls", json!({"tls.crt": "", "tls.key": ""})),
    ];
    Kind::new("v1", "Secret", good, bad).check();
}

#[test]
fn events() {
    let event = |more: Value| {
        let mut event = json!({
            "regarding": {"kind": "Pod", "name": "p", "namespace": "n"}, "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingController": "example.com/c", "reportingInstance": "i", "action": "a", "reason": "r", "type": "Normal",
        });
        for (name, value) in more.as_object().expect("fields") {
            event[name] = value.clone();
        }
        event
    };
    Kind::new(
        "events.k8s.io/v1",
        "Event",
        vec![
            event(json!({})),
            event(json!({"type": "Warning", "note": "n"})),
            event(json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}})),
            event(json!({"regarding": {"kind": "Pod", "namespace": "other"}})),
            event(
                json!({"metadata": {"namespace": "kube-system"}, "regarding": {"kind": "Node", "name": "x"}}),
            ),
        ],
        vec![
            (
                event(json!({"reportingController": ""})),
                &["reportingController: Required value", "reportingController: …", "reportingController: …"],
            ),
            (
                event(json!({"reportingController": "a b"})),
                &[r#"reportingController: Invalid value: "a b": name part must…"#],
            ),
            (event(json!({"reportingInstance": ""})), &["reportingInstance: Required value"]),
            (event(json!({"action": ""})), &["action: Required value"]),
            (event(json!({"reason": ""})), &["reason: Required value"]),
            (
                event(json!({"action": "a".repeat(129)})),
                &[r#"action: Invalid value: "": can have at most 128 characters"#],
            ),
            (
                event(json!({"note": "a".repeat(1025)})),
                &[r#"message: Invalid value: "": can have at most 1024 characters"#],
            ),
            (event(json!({"type": "Odd"})), &[r#"type: Invalid value: "": has invalid value: Odd"#]),
            (event(json!({"deprecatedCount": 1})), &[r#"count: Invalid value: "": needs to be unset"#]),
            (
                event(json!({"deprecatedSource": {"component": "c"}})),
                &[r#"source: Invalid value: "": needs to be unset"#],
            ),
            (
                event(json!({"series": {"count": 1, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}})),
                &[r#"series.count: Invalid value: "": should be at least 2"#],
            ),
            (
                event(json!({"regarding": {"kind": "Node"}})),
                &[r#"involvedObject.namespace: Invalid value: "": does not match event.namespace"#],
            ),
        ],
    )
    .check();
    // The old form asks for less.
    let old = |involved: Value| {
        let kind = Kind::new("v1", "Event", Vec::new(), Vec::new());
        let object = kind.object(&json!({ "involvedObject": involved }));
        validate::create(&*resource("v1", "Event").rules, &object, Scope::Namespaced).len()
    };
    assert_eq!(old(json!({"namespace": "n"})), 0);
    assert_eq!(old(json!({"namespace": "m"})), 1);
    assert_eq!(old(json!({})), 1);
}

#[test]
fn leases() {
    let spec = |spec: Value| json!({ "spec": spec });
    let mut bad = of_metadata();
    bad.extend::<Vec<(Value, &'static [&'static str])>>(vec![
        (spec(json!({"leaseDurationSeconds": 0})), &["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"]),
        (spec(json!({"leaseTransitions": -1})), &["spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0"]),
        (spec(json!({"strategy": "Odd"})), &[r#"spec.strategy.strategy: Unsupported value: "Odd": supported values: "OldestEmulationVersion""#]),
        (spec(json!({"preferredHolder": "a"})), &["spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined"]),
    ]);
    let good = vec![
        json!({}),
        spec(json!({"holderIdentity": "a", "leaseDurationSeconds": 1})),
        spec(json!({"leaseTransitions": 0})),
        spec(json!({"strategy": "example.com/own", "preferredHolder": "a"})),
        spec(json!({"strategy": "OldestEmulationVersion"})),
    ];
    Kind::new("coordination.k8s.io/v1", "Lease", good, bad).check();
}

#[test]
fn deployments_and_replica_sets() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut spec = json!({
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "i"}]}},
        });
        change(&mut spec);
        json!({ "spec": spec })
    };
    let of_both = || -> Vec<(Value, &'static [&'static str])> {
        vec![
            (
                with(&|spec| spec["replicas"] = json!(-1)),
                &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                with(&|spec| spec["minReadySeconds"] = json!(-1)),
                &["spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                with(&|spec| spec["selector"] = json!({})),
                &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
            ),
            (
                with(&|spec| spec["selector"] = json!({"matchLabels": {"app": "db"}})),
                &[
                    "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
                ],
            ),
            (
                with(&|spec| spec["template"]["metadata"]["labels"]["x"] = json!("b c")),
                &["spec.template.labels: Invalid value: \"b c\": a valid label…"],
            ),
            (
                with(&|spec| spec["template"]["spec"]["restartPolicy"] = json!("Never")),
                &[
                    "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
                ],
            ),
            (
                with(&|spec| spec["template"]["spec"]["activeDeadlineSeconds"] = json!(1)),
                &[
                    "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
                ],
            ),
            (
                with(&|spec| {
                    spec["template"]["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "i"}])
                }),
                &[
                    "spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template",
                ],
            ),
            (
                with(&|spec| spec["template"]["spec"]["dnsPolicy"] = json!("Odd")),
                &["spec.template.spec.dnsPolicy: Unsupported value: \"Odd\": …"],
            ),
            (
                with(&|spec| spec["template"]["spec"]["containers"] = json!([])),
                &["spec.template.spec.containers: Required value"],
            ),
        ]
    };
    let good = || {
        vec![
            with(&|_| {}),
            with(&|spec| spec["replicas"] = json!(0)),
            with(&|spec| spec["minReadySeconds"] = json!(3)),
            with(&|spec| {
                spec["selector"] =
                    json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]})
            }),
            // What a pod would be refused for is well in a template.
            with(&|spec| spec["template"]["spec"]["containers"][0]["image"] = json!(" ")),
        ]
    };
    Kind::new("apps/v1", "ReplicaSet", good(), of_both()).check();
    let mut bad = of_both();
    let strategy = |strategy: Value| with(&move |spec| spec["strategy"] = strategy.clone());
    bad.extend::<Vec<(Value, &'static [&'static str])>>(vec![
        (strategy(json!({"type": "Odd"})), &["spec.strategy.type: Unsupported value: \"Odd\": supported values: \"Recreate\", \"RollingUpdate\""]),
        (strategy(json!({"rollingUpdate": {"maxUnavailable": "101%"}})), &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"]),
        (with(&|spec| spec["revisionHistoryLimit"] = json!(-1)), &["spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0"]),
        (with(&|spec| spec["progressDeadlineSeconds"] = json!(0)), &["spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds"]),
    ]);
    Kind::new("apps/v1", "Deployment", good(), bad).check();
}
