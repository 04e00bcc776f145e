//! Services that are sound, and services that are not: a line each, with what Kubernetes says of it.

use model::Object;
use model::validate::{self, Scope};
use serde_json::{Value, json};

use crate::{defaulted, resource};

fn with(metadata: Value, spec: Value) -> Object {
    let mut service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"}});
    for (name, value) in metadata.as_object().expect("fields") {
        service["metadata"][name] = value.clone();
    }
    service["spec"] = json!({"ports": [{"port": 80}]});
    for (name, value) in spec.as_object().expect("fields") {
        service["spec"][name] = value.clone();
    }
    defaulted(service)
}

fn service(spec: Value) -> Object {
    with(json!({}), spec)
}

fn of_type(kind: &str, spec: Value) -> Object {
    let mut spec = spec;
    spec["type"] = kind.into();
    service(spec)
}

fn port(fields: Value) -> Object {
    let mut port = json!({"port": 80});
    for (name, value) in fields.as_object().expect("fields") {
        port[name] = value.clone();
    }
    service(json!({"ports": [port]}))
}

fn addresses(all: &[&str], spec: Value) -> Object {
    let mut spec = spec;
    spec["clusterIP"] = all.first().copied().unwrap_or_default().into();
    spec["clusterIPs"] = json!(all);
    service(spec)
}

fn annotated(annotations: Value, spec: Value) -> Object {
    with(json!({ "annotations": annotations }), spec)
}

fn errors(object: &Object) -> Vec<String> {
    let errors = validate::create(&*resource("v1", "Service").rules, object, Scope::Namespaced);
    errors.iter().map(ToString::to_string).collect()
}

const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const MODE: &str = "service.kubernetes.io/topology-mode";
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";

#[test]
fn sound_services_pass() {
    let all = [
        service(json!({})),
        service(json!({"selector": {"a": "b"}})),
        service(json!({"ports": [{"name": "a", "port": 53}, {"name": "b", "port": 53, "protocol": "UDP"}]})),
        port(json!({"targetPort": "web"})),
        port(json!({"targetPort": 8080, "appProtocol": "kubernetes.io/h2c"})),
        port(json!({"protocol": "SCTP"})),
        addresses(&["None"], json!({"ports": []})),
        addresses(&["10.43.0.1"], json!({"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"})),
        addresses(
            &["10.43.0.1", "2001:db8::1"],
            json!({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"}),
        ),
        addresses(&["2001:db8::1"], json!({"ipFamilies": ["IPv6"]})),
        addresses(&["None"], json!({"ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "RequireDualStack"})),
        service(json!({"externalIPs": ["192.0.2.1", "2001:db8::1"]})),
        service(json!({"externalIPs": ["192.0.2.1"], "externalTrafficPolicy": "Local"})),
        service(json!({"sessionAffinity": "ClientIP"})),
        service(
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86400}}}),
        ),
        service(json!({"internalTrafficPolicy": "Local"})),
        service(json!({"trafficDistribution": "PreferClose"})),
        service(json!({"trafficDistribution": "PreferSameZone"})),
        service(json!({"trafficDistribution": "PreferSameNode"})),
        service(json!({"publishNotReadyAddresses": true})),
        of_type("NodePort", json!({})),
        of_type(
            "NodePort",
            json!({"ports": [{"port": 80, "nodePort": 30080}], "externalTrafficPolicy": "Local"}),
        ),
        of_type(
            "NodePort",
            json!({"ports": [{"name": "a", "port": 53, "nodePort": 30053}, {"name": "b", "port": 53, "protocol": "UDP", "nodePort": 30053}]}),
        ),
        of_type("LoadBalancer", json!({})),
        of_type("LoadBalancer", json!({"loadBalancerSourceRanges": ["192.0.2.0/24", " 2001:db8::/32 "]})),
        of_type(
            "LoadBalancer",
            json!({"loadBalancerClass": "example.com/own", "allocateLoadBalancerNodePorts": false}),
        ),
        of_type("LoadBalancer", json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 30000})),
        of_type("ExternalName", json!({"externalName": "example.com", "ports": []})),
        of_type("ExternalName", json!({"externalName": "example.com."})),
        annotated(json!({MODE: "auto", HINTS: "auto"}), json!({})),
        annotated(json!({RANGES: "192.0.2.0/24, 198.51.100.0/24"}), json!({"type": "LoadBalancer"})),
        with(json!({"finalizers": ["example.com/x", "orphan"]}), json!({})),
    ];
    assert!(all.len() >= 30);
    for service in all {
        assert_eq!(errors(&service), Vec::<String>::new(), "{}", service.value());
    }
}

#[test]
fn what_is_wrong_with_a_service_is_told() {
    let ranges = |ranges: Value| of_type("LoadBalancer", json!({ "loadBalancerSourceRanges": ranges }));
    let of_name = |spec: Value| {
        let mut spec = spec;
        spec["externalName"] = "example.com".into();
        of_type("ExternalName", spec)
    };
    let no_config = {
        let mut service = service(json!({"sessionAffinity": "ClientIP"}));
        service.remove(&["spec", "sessionAffinityConfig"]);
        service
    };
    let no_client = {
        let mut service = service(json!({"sessionAffinity": "ClientIP"}));
        service.set(&["spec", "sessionAffinityConfig"], json!({}));
        service
    };
    let too_many = {
        let mut service = service(json!({}));
        service.set(&["spec", "sessionAffinityConfig"], json!({"clientIP": {}}));
        service
    };
    let without = |kind: &str, field: &str| {
        let mut service = of_type(kind, json!({}));
        service.remove(&["spec", field]);
        service
    };
    let address = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    let range = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    let all = vec![
        (service(json!({"ports": []})), "spec.ports: Required value".to_owned()),
        (service(json!({"ports": [{"port": 1}, {"name": "b", "port": 2}]})), "spec.ports[0].name: Required value".into()),
        (service(json!({"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]})), r#"spec.ports[1].name: Duplicate value: "a""#.into()),
        (service(json!({"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 1}]})), r#"spec.ports[1]: Duplicate value: {"protocol":"TCP","port":1}"#.into()),
        (port(json!({"name": "A"})), r#"spec.ports[0].name: Invalid value: "A": a lowercase RFC 1123 label…"#.into()),
        (port(json!({"name": "a.b"})), r#"spec.ports[0].name: Invalid value: "a.b": must not contain dots"#.into()),
        (port(json!({"port": 65536, "targetPort": 1})), "spec.ports[0].port: Invalid value: 65536: must be between 1 and 65535, inclusive".into()),
        (port(json!({"port": -1, "targetPort": 1})), "spec.ports[0].port: Invalid value: -1: must be between 1 and 65535, inclusive".into()),
        (port(json!({"targetPort": 65536})), "spec.ports[0].targetPort: Invalid value: 65536: must be between 1 and 65535, inclusive".into()),
        (port(json!({"targetPort": "A"})), r#"spec.ports[0].targetPort: Invalid value: "A": …"#.into()),
        (port(json!({"targetPort": "a--b"})), r#"spec.ports[0].targetPort: Invalid value: "a--b": must not contain consecutive hyphens"#.into()),
        (port(json!({"protocol": "ICMP"})), r#"spec.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP""#.into()),
        (port(json!({"appProtocol": "a b"})), r#"spec.ports[0].appProtocol: Invalid value: "a b": name part must…"#.into()),
        (port(json!({"nodePort": 30000})), "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'".into()),
        (of_type("NodePort", json!({"ports": [{"name": "a", "port": 1, "nodePort": 30000}, {"name": "b", "port": 2, "nodePort": 30000}]})), "spec.ports[1].nodePort: Duplicate value: 30000".into()),
        (of_type("Odd", json!({})), r#"spec.type: Unsupported value: "Odd": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort""#.into()),
        (service(json!({"selector": {"a b": "c"}})), r#"spec.selector: Invalid value: "a b": name part must…"#.into()),
        (service(json!({"selector": {"a": "b c"}})), r#"spec.selector: Invalid value: "b c": a valid label must…"#.into()),
        (service(json!({"sessionAffinity": "Odd"})), r#"spec.sessionAffinity: Unsupported value: "Odd": supported values: "ClientIP", "None""#.into()),
        (no_config, "spec.sessionAffinityConfig: Required value: when session affinity type is ClientIP".into()),
        (no_client, "spec.sessionAffinityConfig.clientIP: Required value: when session affinity type is ClientIP".into()),
        (too_many, "spec.sessionAffinityConfig: Forbidden: must not be set when session affinity is None".into()),
        (service(json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}})), "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400".into()),
        (service(json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}})), "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400".into()),
        (addresses(&["x"], json!({})), format!(r#"spec.clusterIPs[0]: Invalid value: "x": {address}"#)),
        (addresses(&["10.43.0.01"], json!({})), r#"spec.clusterIPs[0]: Invalid value: "10.43.0.01": must not have leading 0s"#.into()),
        (addresses(&["::ffff:10.43.0.1"], json!({})), r#"spec.clusterIPs[0]: Invalid value: "::ffff:10.43.0.1": must not be an IPv4-mapped IPv6 address"#.into()),
        (addresses(&["None", "10.43.0.1"], json!({})), r#"spec.clusterIPs: Invalid value: ["None","10.43.0.1"]: 'None' must be the first and only value"#.into()),
        (addresses(&["10.43.0.1", "None"], json!({})), format!(r#"spec.clusterIPs[1]: Invalid value: "None": {address}"#)),
        (addresses(&["10.43.0.1", "10.43.0.2"], json!({})), r#"spec.clusterIPs: Invalid value: ["10.43.0.1","10.43.0.2"]: may specify no more than one IP for each IP family"#.into()),
        (addresses(&["10.43.0.1", "2001:db8::1", "2001:db8::2"], json!({})), r#"spec.clusterIPs: Invalid value: ["10.43.0.1","2001:db8::1","2001:db8::2"]: may only hold up to 2 values"#.into()),
        (service(json!({"clusterIP": "10.43.0.1"})), "spec.clusterIPs: Required value".into()),
        (service(json!({"clusterIPs": ["10.43.0.1"]})), r#"spec.clusterIPs: Invalid value: ["10.43.0.1"]: must be empty when `clusterIP` is not specified"#.into()),
        (service(json!({"clusterIP": "10.43.0.2", "clusterIPs": ["10.43.0.1"]})), r#"spec.clusterIPs: Invalid value: ["10.43.0.1"]: first value must match `clusterIP`"#.into()),
        (service(json!({"ipFamilies": ["IPX"]})), r#"spec.ipFamilies[0]: Unsupported value: "IPX": supported values: "IPv4", "IPv6""#.into()),
        (service(json!({"ipFamilies": ["IPv4", "IPv4"]})), r#"spec.ipFamilies[1]: Duplicate value: "IPv4""#.into()),
        (service(json!({"ipFamilyPolicy": "Odd"})), r#"spec.ipFamilyPolicy: Unsupported value: "Odd": supported values: "PreferDualStack", "RequireDualStack", "SingleStack""#.into()),
        (addresses(&["10.43.0.1"], json!({"ipFamilies": ["IPv6"]})), r#"spec.clusterIPs[0]: Invalid value: "10.43.0.1": expected an IPv6 value as indicated by `ipFamilies[0]`"#.into()),
        (addresses(&["10.43.0.1", "2001:db8::1"], json!({"ipFamilies": ["IPv6", "IPv4"]})), "".into()),
        (addresses(&["None"], json!({"type": "NodePort"})), r#"spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services"#.into()),
        (addresses(&["None"], json!({"type": "LoadBalancer"})), r#"spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for LoadBalancer services"#.into()),
        (service(json!({"externalIPs": ["x"]})), format!(r#"spec.externalIPs[0]: Invalid value: "x": {address}"#)),
        (service(json!({"externalIPs": ["0.0.0.0"]})), r#"spec.externalIPs[0]: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0 or ::)"#.into()),
        (service(json!({"externalIPs": ["127.0.0.1"]})), r#"spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#.into()),
        (service(json!({"externalIPs": ["fe80::1"]})), r#"spec.externalIPs[0]: Invalid value: "fe80::1": may not be in the link-local range (169.254.0.0/16, fe80::/10)"#.into()),
        (service(json!({"externalTrafficPolicy": "Local"})), r#"spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services"#.into()),
        (of_type("NodePort", json!({"externalTrafficPolicy": "Odd"})), r#"spec.externalTrafficPolicy: Unsupported value: "Odd": supported values: "Cluster", "Local""#.into()),
        (without("NodePort", "externalTrafficPolicy"), "spec.externalTrafficPolicy: Required value".into()),
        (service(json!({"internalTrafficPolicy": "Odd"})), r#"spec.internalTrafficPolicy: Unsupported value: "Odd": supported values: "Cluster", "Local""#.into()),
        (without("ClusterIP", "internalTrafficPolicy"), "spec.internalTrafficPolicy: Required value".into()),
        (service(json!({"healthCheckNodePort": 30000})), "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'".into()),
        (of_type("LoadBalancer", json!({"externalTrafficPolicy": "Local"})), "spec.healthCheckNodePort: Required value".into()),
        (of_type("LoadBalancer", json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 65536})), "spec.healthCheckNodePort: Invalid value: 65536: must be between 1 and 65535, inclusive".into()),
        (ranges(json!(["x"])), format!(r#"spec.LoadBalancerSourceRanges[0]: Invalid value: "x": {range}"#)),
        (ranges(json!(["192.0.2.0"])), format!(r#"spec.LoadBalancerSourceRanges[0]: Invalid value: "192.0.2.0": {range}"#)),
        (ranges(json!(["192.0.2.0/33"])), format!(r#"spec.LoadBalancerSourceRanges[0]: Invalid value: "192.0.2.0/33": {range}"#)),
        (ranges(json!(["192.0.2.1/24"])), r#"spec.LoadBalancerSourceRanges[0]: Invalid value: "192.0.2.1/24": must not have bits set beyond the prefix length"#.into()),
        (ranges(json!(["192.0.2.0/024"])), r#"spec.LoadBalancerSourceRanges[0]: Invalid value: "192.0.2.0/024": must not have leading 0s in prefix length"#.into()),
        (service(json!({"loadBalancerSourceRanges": ["192.0.2.0/24"]})), "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'".into()),
        (annotated(json!({RANGES: "192.0.2.0/24"}), json!({})), format!("metadata.annotations[{RANGES}]: Forbidden: may only be used when `type` is 'LoadBalancer'")),
        (annotated(json!({RANGES: "x"}), json!({"type": "LoadBalancer"})), format!(r#"metadata.annotations[{RANGES}]: Invalid value: "x": {range}"#)),
        (annotated(json!({MODE: "auto", HINTS: "disabled"}), json!({})), format!(r#"metadata.annotations[{MODE}]: Invalid value: "auto": must match annotations[{HINTS}] when both are specified"#)),
        (service(json!({"allocateLoadBalancerNodePorts": true})), "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'".into()),
        (without("LoadBalancer", "allocateLoadBalancerNodePorts"), "allocateLoadBalancerNodePorts: Required value".into()),
        (service(json!({"loadBalancerClass": "a/b"})), "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'".into()),
        (of_type("LoadBalancer", json!({"loadBalancerClass": "a b"})), r#"spec.loadBalancerClass: Invalid value: "a b": name part must…"#.into()),
        (service(json!({"trafficDistribution": "Odd"})), r#"spec.trafficDistribution: Unsupported value: "Odd": supported values: "PreferClose", "PreferSameNode", "PreferSameZone""#.into()),
        (of_type("ExternalName", json!({})), "spec.externalName: Required value".into()),
        (of_type("ExternalName", json!({"externalName": "A"})), r#"spec.externalName: Invalid value: "A": a lowercase RFC 1123 subdomain…"#.into()),
        (of_name(json!({"clusterIPs": ["10.43.0.1"]})), "spec.clusterIPs: Forbidden: may not be set for ExternalName services".into()),
        (of_name(json!({"ipFamilies": ["IPv4"]})), "spec.ipFamilies: Forbidden: may not be set for ExternalName services".into()),
        (of_name(json!({"ipFamilyPolicy": "SingleStack"})), "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services".into()),
        (with(json!({"name": "1s"}), json!({})), r#"metadata.name: Invalid value: "1s": a DNS-1035 label…"#.into()),
        (with(json!({"finalizers": ["mine"]}), json!({})), r#"metadata.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified"#.into()),
    ];
    assert!(all.len() >= 60, "{}", all.len());
    for (service, expected) in all {
        let found = errors(&service);
        let is_told = match (expected.as_str(), found.as_slice()) {
            // One for each of the two.
            ("", [first, second]) => {
                first.contains("expected an IPv6") && second.contains("expected an IPv4")
            }
            (expected, found) => {
                let start = expected.trim_end_matches('…');
                let is_whole = start.len() == expected.len();
                let of = |one: &String| one.starts_with(start) && (!is_whole || one == start);
                // What is not a port's name at all is told in many ways.
                of(&found[0]) && (found.len() == 1 || !is_whole)
            }
        };
        assert!(is_told, "{expected}\n{found:#?}\n{}", service.value());
    }
}

#[test]
fn what_a_service_has_it_keeps() {
    let check = |old: Object, new: Object, expected: &[&str]| {
        let errors = validate::update(&*resource("v1", "Service").rules, &new, &old, Scope::Namespaced);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, expected);
    };
    let one = |more: Value| addresses(&["10.43.0.1"], more);
    let both = |more: Value| addresses(&["10.43.0.1", "2001:db8::1"], more);
    check(one(json!({})), both(json!({})), &[]);
    check(both(json!({})), one(json!({"ipFamilyPolicy": "SingleStack"})), &[]);
    check(
        both(json!({})),
        one(json!({})),
        &[
            "spec.ipFamilyPolicy: Invalid value: null: must be set to 'SingleStack' when releasing the secondary clusterIP",
        ],
    );
    check(
        one(json!({})),
        service(json!({})),
        &["spec.clusterIPs[0]: Invalid value: []: primary clusterIP can not be unset"],
    );
    check(
        one(json!({"ipFamilies": ["IPv4"]})),
        addresses(&["2001:db8::1"], json!({"ipFamilies": ["IPv6"]})),
        &[
            r#"spec.clusterIPs[0]: Invalid value: ["2001:db8::1"]: may not change once set"#,
            r#"spec.ipFamilies[0]: Invalid value: ["IPv6"]: may not change once set"#,
        ],
    );
    check(
        addresses(&["None"], json!({"ipFamilies": ["IPv4"]})),
        addresses(&["None"], json!({"ipFamilies": ["IPv6"]})),
        &[],
    );
    let balanced = |class: &str, port: i64| {
        let spec = json!({"loadBalancerClass": class, "externalTrafficPolicy": "Local", "healthCheckNodePort": port});
        of_type("LoadBalancer", spec)
    };
    check(
        balanced("a/b", 30000),
        balanced("a/c", 30001),
        &[
            r#"spec.loadBalancerClass: Invalid value: "a/c": may not change once set"#,
            "spec.healthCheckNodePort: Forbidden: field is immutable",
        ],
    );
}

#[test]
fn balancers_say_where_they_are() {
    let check = |kind: &str, ingress: Value, expected: &[&str]| {
        let mut service = of_type(kind, json!({"externalName": "a"}));
        service.set(&["status", "loadBalancer", "ingress"], ingress);
        let rules = resource("v1", "Service").rules;
        let errors = validate::update_status(&*rules, &service, &service, Scope::Namespaced);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, expected);
    };
    let at = "status.loadBalancer.ingress";
    check("LoadBalancer", json!([{"ip": "192.0.2.1", "ipMode": "VIP"}, {"hostname": "example.com"}]), &[]);
    check(
        "ClusterIP",
        json!([{"ip": "192.0.2.1"}]),
        &[&format!("{at}: Forbidden: may only be used when `spec.type` is 'LoadBalancer'")],
    );
    check(
        "LoadBalancer",
        json!([{"ip": "192.0.2.1"}]),
        &[&format!("{at}[0].ipMode: Required value: must be specified when `ip` is set")],
    );
    check(
        "LoadBalancer",
        json!([{"ipMode": "VIP"}]),
        &[&format!("{at}[0].ipMode: Forbidden: may not be specified when `ip` is not set")],
    );
    check(
        "LoadBalancer",
        json!([{"ip": "192.0.2.1", "ipMode": "Odd"}]),
        &[&format!(r#"{at}[0].ipMode: Unsupported value: "Odd": supported values: "Proxy", "VIP""#)],
    );
    check(
        "LoadBalancer",
        json!([{"hostname": "192.0.2.1"}]),
        &[&format!(r#"{at}[0].hostname: Invalid value: "192.0.2.1": must be a DNS name, not an IP address"#)],
    );
}
