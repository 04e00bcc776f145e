use serde_json::{Value, json};

use crate::table::{Table, shows};

fn rule(path: Value) -> Value {
    json!({"spec": {"rules": [{"http": {"paths": [path]}}]}})
}

#[test]
fn ingresses() {
    let backend = || json!({"service": {"name": "s", "port": {"number": 80}}});
    let path = |change: Value| {
        let whole = json!({"path": "/a", "pathType": "Prefix", "backend": backend()});
        rule(model::merge::merge_patch::apply(&whole, &change))
    };
    let of = |change: Value| path(json!({ "backend": change }));
    let host = |host: &str| json!({"spec": {"rules": [{"host": host}]}});
    Table::of(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "x", "namespace": "n"},
        "spec": {"defaultBackend": backend()},
    }))
    .good(&[
        path(json!({})),
        path(json!({"pathType": "ImplementationSpecific", "path": null})),
        host("*.example.com"),
        of(json!({"service": null, "resource": {"apiGroup": "a.b", "kind": "K", "name": "n"}})),
        json!({"spec": {"ingressClassName": "c", "tls": [{"hosts": ["a.b", "*.a.b"], "secretName": "s"}]}}),
        json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "c"}}, "spec": {"ingressClassName": "c"}}),
    ])
    .bad(&[
        (
            json!({"spec": null}),
            &["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"],
        ),
        (
            path(json!({"pathType": null})),
            &["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
        ),
        (
            path(json!({"pathType": "Regex"})),
            &["spec.rules[0].http.paths[0].pathType: Unsupported value: \"Regex\": supported values: \"Exact\", \
              \"ImplementationSpecific\", \"Prefix\""],
        ),
        (
            path(json!({"path": "a//b/.."})),
            &[
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": must be an absolute path",
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": must not contain '//'",
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": cannot end with '/..'",
            ],
        ),
        (
            of(json!({"service": null})),
            &["spec.rules[0].http.paths[0].backend: Invalid value: \"\": resource or service backend is required"],
        ),
        (
            of(json!({"resource": {"kind": "K", "name": "n"}})),
            &["spec.rules[0].http.paths[0].backend: Invalid value: \"\": cannot set both resource and service backends"],
        ),
        (
            of(json!({"service": {"port": {"name": "http"}}})),
            &["spec.rules[0].http.paths[0].backend: Invalid value: \"\": cannot set both port name & port number"],
        ),
        (
            of(json!({"service": {"port": null}})),
            &["spec.rules[0].http.paths[0].backend: Required value: port name or number is required"],
        ),
        (
            of(json!({"service": {"name": "", "port": {"number": 70000}}})),
            &[
                "spec.rules[0].http.paths[0].backend.service.name: Required value",
                "spec.rules[0].http.paths[0].backend.service.port.number: Invalid value: 70000: must be between 1 \
                 and 65535, inclusive",
            ],
        ),
        (
            host("10.0.0.1"),
            &["spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address"],
        ),
        (
            host("*.*.a"),
            &["spec.rules[0].host: Invalid value: \"*.*.a\": a wildcard DNS-1123 subdomain must start with '*.', \
              followed by a valid DNS subdomain"],
        ),
        (
            json!({"spec": {"rules": [{"http": {"paths": []}}]}}),
            &["spec.rules[0].http.paths: Required value"],
        ),
        (
            json!({"spec": {"tls": [{"secretName": "A"}]}}),
            &["spec.tls[0].secretName: Invalid value: \"A\": a lowercase RFC 1123 subdomain"],
        ),
        (
            json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "d"}}, "spec": {"ingressClassName": "c"}}),
            &["annotations.kubernetes.io/ingress.class: Invalid value: \"d\": must match `ingressClassName` when \
              both are specified"],
        ),
    ])
    .part(
        "status",
        &json!({}),
        &[
            (json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}, {"hostname": "a.b"}]}}}), &[]),
            (
                json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0"}, {"hostname": "10.0.0.1"}]}}}),
                &[
                    "status.loadBalancer.ingress[0].ip: Invalid value: \"10.0.0\": must be a valid IP address",
                    "status.loadBalancer.ingress[1].hostname: Invalid value: \"10.0.0.1\": must be a DNS name, \
                     not an IP address",
                ],
            ),
        ],
    );
}

#[test]
fn ingress_classes() {
    let with = |change: Value| {
        let whole = json!({"apiGroup": "a.b", "kind": "K", "name": "n"});
        json!({"spec": {"parameters": model::merge::merge_patch::apply(&whole, &change)}})
    };
    Table::of(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "x"},
        "spec": {"controller": "example.com/c"},
    }))
    .good(&[
        with(json!({})),
        with(json!({"apiGroup": null})),
        with(json!({"scope": "Cluster"})),
        with(json!({"scope": "Namespace", "namespace": "n"})),
        json!({"spec": {"controller": "example.com/a/b"}}),
    ])
    .bad(&[
        (json!({"spec": {"controller": null}}), &["spec.controller: Required value"]),
        (
            json!({"spec": {"controller": "a"}}),
            &["spec.controller: Invalid value: \"a\": must be a domain-prefixed path (such as \"acme.io/foo\")"],
        ),
        (
            json!({"spec": {"controller": "A.b/c"}}),
            &["spec.controller: Invalid value: \"A.b\": a lowercase RFC 1123 subdomain"],
        ),
        (
            json!({"spec": {"controller": "a.b/c d"}}),
            &["spec.controller: Invalid value: \"c d\": Invalid path (regex used for validation is"],
        ),
        (
            json!({"spec": {"controller": format!("a.b/{}", "c".repeat(250))}}),
            &["spec.controller: Too long: may not be more than 250 bytes"],
        ),
        (with(json!({"kind": null})), &["spec.parameters.kind: Required value"]),
        (with(json!({"name": ""})), &["spec.parameters.name: Required value"]),
        (with(json!({"name": "a/b"})), &["spec.parameters.name: Invalid value: \"a/b\": may not contain '/'"]),
        (
            with(json!({"scope": "Node"})),
            &["spec.parameters.scope: Unsupported value: \"Node\": supported values: \"Cluster\", \"Namespace\""],
        ),
        (
            with(json!({"scope": "Namespace"})),
            &["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
        ),
        (
            with(json!({"namespace": "n"})),
            &["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
        ),
    ])
    .changes(&[(
        json!({"spec": {"controller": "example.com/d"}}),
        &["spec.controller: Invalid value: \"example.com/d\": field is immutable"],
    )]);
}

#[test]
fn network_policies() {
    let from = |peer: Value| json!({"spec": {"ingress": [{"from": [peer]}]}});
    let port = |port: Value| json!({"spec": {"egress": [{"ports": [port]}]}});
    let block = |cidr: &str, except: &str| from(json!({"ipBlock": {"cidr": cidr, "except": [except]}}));
    Table::of(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "x", "namespace": "n"},
        "spec": {},
    }))
    .good(&[
        from(json!({"podSelector": {}, "namespaceSelector": {"matchLabels": {"a": "b"}}})),
        block("10.0.0.0/8", "10.1.0.0/16"),
        block("::/0", "2001:db8::/32"),
        port(json!({"port": "http"})),
        port(json!({"port": 80, "endPort": 90, "protocol": "SCTP"})),
        json!({"spec": {"policyTypes": ["Egress"], "egress": [{}]}}),
    ])
    .bad(&[
        (from(json!({})), &["spec.ingress[0].from[0]: Required value: must specify a peer"]),
        (
            from(json!({"podSelector": {}, "ipBlock": {"cidr": "::/0"}})),
            &["spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer"],
        ),
        (from(json!({"ipBlock": {"cidr": ""}})), &["spec.ingress[0].from[0].ipBlock.cidr: Required value"]),
        (
            block("10.0.0.0", "a"),
            &["spec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"10.0.0.0\": must be a valid CIDR value"],
        ),
        (
            block("10.0.0.0/8", "10.0.0.0/8"),
            &["spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict subset \
              of `cidr`"],
        ),
        (
            block("10.0.0.0/8", "11.0.0.0/16"),
            &["spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset"],
        ),
        (
            port(json!({"port": 0})),
            &["spec.egress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"],
        ),
        (
            port(json!({"port": 80, "endPort": 70})),
            &["spec.egress[0].ports[0].endPort: Invalid value: 70: must be greater than or equal to `port`"],
        ),
        (
            port(json!({"endPort": 70})),
            &["spec.egress[0].ports[0].endPort: Invalid value: 70: may not be specified when `port` is not specified"],
        ),
        (
            port(json!({"port": "http", "endPort": 70})),
            &["spec.egress[0].ports[0].endPort: Invalid value: 70: may not be specified when `port` is non-numeric"],
        ),
        (
            port(json!({"protocol": "ICMP"})),
            &["spec.egress[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"TCP\", \"UDP\", \
              \"SCTP\""],
        ),
        (
            json!({"spec": {"policyTypes": ["Both"]}}),
            &["spec.policyTypes[0]: Unsupported value: \"Both\": supported values: \"Ingress\", \"Egress\""],
        ),
        (
            json!({"spec": {"policyTypes": ["Ingress", "Egress", "Egress"]}}),
            &["spec.policyTypes: Invalid value: [\"Ingress\",\"Egress\",\"Egress\"]: may not specify more than two \
              policyTypes"],
        ),
        (
            json!({"spec": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}}),
            &["spec.podSelector.matchExpressions[0].values: Required value: must be specified when `operator` is"],
        ),
    ]);
}

#[test]
fn networks_of_services() {
    let of = |cidrs: &[&str]| json!({"spec": {"cidrs": cidrs}});
    const FAMILY: &str =
        "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
    let two = format!("spec.cidrs: Invalid value: [\"10.0.0.0/8\",\"11.0.0.0/8\"]: {FAMILY}");
    Table::of(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "x"},
        "spec": {"cidrs": ["10.0.0.0/8"]},
    }))
    .good(&[
        of(&["10.0.0.0/8", "2001:db8::/64"]),
        of(&["2001:db8::/64", "10.0.0.0/8"]),
        of(&["192.168.0.0/24"]),
        of(&["::/96"]),
        of(&["10.1.2.3/32"]),
    ])
    .bad(&[
        (of(&[]), &["spec.cidrs: Required value: at least one CIDR required"]),
        (json!({"spec": null}), &["spec.cidrs: Required value: at least one CIDR required"]),
        (
            of(&["10.0.0.0/8", "::/0", "11.0.0.0/8"]),
            &["spec.cidrs: Invalid value: {\"cidrs\":[\"10.0.0.0/8\",\"::/0\",\"11.0.0.0/8\"]}: may only hold up to \
              2 values"],
        ),
        (of(&["10.0.0.0/8", "11.0.0.0/8"]), &[&two]),
        (of(&["10.0.0.0"]), &["spec.cidrs[0]: Invalid value: \"10.0.0.0\": must be a valid CIDR value, (e.g."]),
        (of(&["10.0.0.1/8"]), &["spec.cidrs[0]: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the"]),
        (of(&["010.0.0.0/8"]), &["spec.cidrs[0]: Invalid value: \"010.0.0.0/8\": must not have leading 0s in IP"]),
        (of(&["10.0.0.0/08"]), &["spec.cidrs[0]: Invalid value: \"10.0.0.0/08\": must not have leading 0s in IP"]),
        (
            of(&["::ffff:10.0.0.0/104"]),
            &["spec.cidrs[0]: Invalid value: \"::ffff:10.0.0.0/104\": must not have an IPv4-mapped IPv6 address"],
        ),
        (
            of(&["2001:0db8::/64"]),
            &["spec.cidrs[0]: Invalid value: \"2001:0db8::/64\": must be in canonical form (\"2001:db8::/64\")"],
        ),
    ])
    .changes(&[
        (of(&["10.0.0.0/8", "2001:db8::/64"]), &[]),
        (of(&["11.0.0.0/8"]), &["spec.cidrs[0]: Invalid value: \"11.0.0.0/8\": field is immutable"]),
        (of(&[]), &["spec.cidrs: Invalid value: []: field is immutable"]),
    ]);
}

#[test]
fn addresses() {
    let parent = |change: Value| json!({"spec": {"parentRef": change}});
    let named = |name: &str| json!({"metadata": {"name": name}});
    Table::of(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": "10.0.0.1"},
        "spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "a"}},
    }))
    .good(&[
        named("2001:db8::1"),
        parent(json!({"group": "a.b"})),
        parent(json!({"namespace": null})),
        parent(json!({"name": "A_b"})),
        named("::"),
    ])
    .bad(&[
        (named("a"), &["metadata.name: Invalid value: \"a\": must be a valid IP address, (e.g. 10.9.8.7 or"]),
        (named("10.0.0.01"), &["metadata.name: Invalid value: \"10.0.0.01\": must not have leading 0s"]),
        (
            named("2001:DB8::1"),
            &["metadata.name: Invalid value: \"2001:DB8::1\": must be in canonical form (\"2001:db8::1\")"],
        ),
        (
            named("::ffff:1.2.3.4"),
            &["metadata.name: Invalid value: \"::ffff:1.2.3.4\": must not be an IPv4-mapped IPv6 address"],
        ),
        (json!({"spec": null}), &["spec.parentRef: Required value"]),
        (parent(json!({"resource": null})), &["spec.parentRef.resource: Required value"]),
        (parent(json!({"name": ""})), &["spec.parentRef.name: Required value"]),
        (
            parent(json!({"name": "a/b"})),
            &["spec.parentRef.name: Invalid value: \"a/b\": may not contain '/'"],
        ),
        (
            parent(json!({"namespace": "%"})),
            &["spec.parentRef.namespace: Invalid value: \"%\": may not contain '%'"],
        ),
        (
            parent(json!({"group": "A"})),
            &["spec.parentRef.group: Invalid value: \"A\": a lowercase RFC 1123"],
        ),
    ])
    .changes(&[(parent(json!({"name": "b"})), &["spec.parentRef: Invalid value: {"])]);
}

#[test]
fn columns() {
    let of = |kind: &str, fields: Value| {
        let whole = json!({"apiVersion": "networking.k8s.io/v1", "kind": kind, "metadata": {"name": "x"}});
        model::merge::merge_patch::apply(&whole, &fields)
    };
    let hosts = |hosts: &[&str]| -> Value { hosts.iter().map(|host| json!({"host": host})).collect() };
    let address = json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}, {"hostname": "a.b"}]}});
    shows(
        of(
            "Ingress",
            json!({"spec": {"ingressClassName": "c", "rules": hosts(&["a", "b"]), "tls": [{}]}, "status": address}),
        ),
        json!(["x", "c", "a,b", "10.0.0.1,a.b", "80, 443", "60m"]),
    );
    shows(
        of("Ingress", json!({"spec": {"rules": hosts(&["a", "b", "c", "d", "e"])}})),
        json!(["x", "<none>", "a,b,c + 2 more...", "", "80", "60m"]),
    );
    shows(of("Ingress", json!({"spec": {"rules": [{}]}})), json!(["x", "<none>", "*", "", "80", "60m"]));
    let parameters = json!({"apiGroup": "a.b", "kind": "K", "name": "n"});
    shows(
        of("IngressClass", json!({"spec": {"controller": "e.c/i", "parameters": parameters}})),
        json!(["x", "e.c/i", "K.a.b/n", "60m"]),
    );
    shows(
        of("IngressClass", json!({"spec": {"controller": "e.c/i"}})),
        json!(["x", "e.c/i", "<none>", "60m"]),
    );
    let selector = json!({"podSelector": {"matchLabels": {"a": "b"}}});
    shows(of("NetworkPolicy", json!({ "spec": selector })), json!(["x", "a=b", "60m"]));
    shows(of("NetworkPolicy", json!({"spec": {"podSelector": {}}})), json!(["x", "<none>", "60m"]));
    shows(
        of("ServiceCIDR", json!({"spec": {"cidrs": ["10.0.0.0/8", "::/0"]}})),
        json!(["x", "10.0.0.0/8,::/0", "60m"]),
    );
    let parent = json!({"group": "A.b", "resource": "Things", "namespace": "n", "name": "m"});
    shows(of("IPAddress", json!({"spec": {"parentRef": parent}})), json!(["x", "things.A.b/n/m"]));
}
