use serde_json::{Value, json};

use crate::table::{Table, shows};

const OPAQUE: &str = "opaque";

#[test]
fn classes() {
    let of = |change: Value| json!({ "spec": change });
    let config =
        |parameters: Value| of(json!({"config": [{OPAQUE: {"driver": "a.b", "parameters": parameters}}]}));
    let cel = |text: String| of(json!({"selectors": [{"cel": {"expression": text}}]}));
    Table::of(json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "x"}, "spec": {},
    }))
    .good(&[
        cel("device.driver == \"a.b\"".to_owned()),
        config(json!({"a": 1})),
        of(json!({"extendedResourceName": "example.com/gpu"})),
        of(json!({"selectors": vec![json!({"cel": {"expression": "true"}}); 32]})),
        json!({"metadata": {"name": "a.b"}}),
    ])
    .bad(&[
        (of(json!({"selectors": [{}]})), &["spec.selectors[0].cel: Required value"]),
        (
            of(json!({"selectors": vec![json!({"cel": {"expression": "true"}}); 33]})),
            &["spec.selectors: Too many: 33: must have at most 32 items"],
        ),
        (
            cel("a".repeat(10 * 1024 + 1)),
            &["spec.selectors[0].cel.expression: Too long: may not be more than 10240 bytes"],
        ),
        (of(json!({"config": [{}]})), &["spec.config[0].opaque: Required value"]),
        (config(Value::Null), &["spec.config[0].opaque.parameters: Required value"]),
        (
            config(json!([1])),
            &["spec.config[0].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object"],
        ),
        (
            config(json!({"a": "b".repeat(10 * 1024)})),
            &["spec.config[0].opaque.parameters: Too long: may not be more than 10240 bytes"],
        ),
        (
            of(json!({"config": [{OPAQUE: {"driver": "a/b", "parameters": {}}}]})),
            &["spec.config[0].opaque.driver: Invalid value: \"a/b\": a lowercase RFC 1123 subdomain"],
        ),
        (
            of(json!({"extendedResourceName": "gpu"})),
            &["spec.extendedResourceName: Invalid value: \"gpu\": must be a valid extended resource name"],
        ),
        (
            of(json!({"extendedResourceName": "requests.a/gpu"})),
            &["spec.extendedResourceName: Invalid value: \"requests.a/gpu\": must be a valid extended resource name"],
        ),
    ]);
}

/// Changes of what a claim asks for.
fn requests() -> (Vec<Value>, Vec<(Value, Vec<&'static str>)>) {
    let of = |change: Value| json!({ "devices": change });
    let exactly = |change: Value| {
        let whole = json!({"deviceClassName": "c"});
        let exactly = model::merge::merge_patch::apply(&whole, &change);
        of(json!({"requests": [{"name": "r", "exactly": exactly}]}))
    };
    let constraint = |one: Value| {
        of(json!({
            "requests": [
                {"name": "r", "firstAvailable": [{"name": "s", "deviceClassName": "c"}]},
            ],
            "constraints": [one],
        }))
    };
    let good = vec![
        exactly(json!({"allocationMode": "All"})),
        exactly(json!({"count": 3, "tolerations": [{"operator": "Exists"}]})),
        constraint(json!({"requests": ["r"], "matchAttribute": "a.b/c"})),
        constraint(json!({"requests": ["r/s"], "distinctAttribute": "a.b/c"})),
        of(json!({"requests": [], "config": [{"opaque": {"driver": "a", "parameters": {}}}]})),
    ];
    let bad = vec![
        (
            of(json!({"requests": [{"name": "r"}]})),
            vec![
                "devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            ],
        ),
        (
            of(json!({"requests": [{"name": "R", "exactly": {"deviceClassName": "c"}}]})),
            vec!["devices.requests[0].name: Invalid value: \"R\": a lowercase RFC 1123 label"],
        ),
        (
            exactly(json!({"deviceClassName": ""})),
            vec!["devices.requests[0].exactly.deviceClassName: Required value"],
        ),
        (
            exactly(json!({"allocationMode": "Some"})),
            vec![
                "devices.requests[0].exactly.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \
                 \"ExactCount\"",
            ],
        ),
        (
            exactly(json!({"allocationMode": "All", "count": 2})),
            vec![
                "devices.requests[0].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
            ],
        ),
        (
            exactly(json!({"count": -1})),
            vec!["devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero"],
        ),
        (
            exactly(json!({"tolerations": [{"operator": "Exists", "value": "v"}]})),
            vec![
                "devices.requests[0].exactly.tolerations[0].value: Invalid value: \"v\": must be empty for operator",
            ],
        ),
        (
            of(json!({"requests": vec![json!({"name": "r", "exactly": {"deviceClassName": "c"}}); 2]})),
            vec!["devices.requests[1]: Duplicate value: \"r\""],
        ),
        (
            constraint(json!({"requests": ["q"], "matchAttribute": "a.b/c"})),
            vec![
                "devices.constraints[0].requests[0]: Invalid value: \"q\": must be the name of a request in the claim",
            ],
        ),
        (
            constraint(json!({"matchAttribute": "c"})),
            vec![
                "devices.constraints[0].matchAttribute: Invalid value: \"c\": a fully qualified name must be a domain",
            ],
        ),
        (
            constraint(json!({})),
            vec![
                "devices.constraints[0]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\"",
            ],
        ),
        (
            of(json!({"config": [{"requests": ["r"], "opaque": {"driver": "a", "parameters": {}}}]})),
            vec![
                "devices.config[0].requests[0]: Invalid value: \"r\": must be the name of a request in the claim",
            ],
        ),
    ];
    (good, bad)
}

/// The same at another place.
fn at(place: &str, wrap: impl Fn(Value) -> Value, table: &Table) {
    let (good, bad) = requests();
    table.good(&good.into_iter().map(&wrap).collect::<Vec<_>>());
    for (change, expected) in bad {
        let expected: Vec<String> = expected.iter().map(|text| format!("{place}.{text}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        table.bad(&[(wrap(change), &expected)]);
    }
}

#[test]
fn claims() {
    let table = Table::of(json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "x", "namespace": "n"},
        "spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "c"}}]}},
    }));
    at("spec", |spec| json!({ "spec": spec }), &table);
    table.changes(&[(json!({"spec": {"devices": {"requests": null}}}), &["spec: Invalid value: {"])]);
    let result = json!({"request": "a", "driver": "d", "pool": "p", "device": "e"});
    let allocation = |change: Value| {
        let result = model::merge::merge_patch::apply(&result, &change);
        json!({"status": {"allocation": {"devices": {"results": [result]}}}})
    };
    let allocated =
        |more: Value| model::merge::merge_patch::apply(&allocation(json!({})), &json!({"status": more}));
    let consumer = json!({"resource": "pods", "name": "p", "uid": "u"});
    table
        .part(
            "status",
            &json!({}),
            &[
                (allocation(json!({})), &[]),
                (
                    allocation(json!({"request": "b"})),
                    &["status.allocation.devices.results[0].request: Invalid value: \"b\": must be the name of a request"],
                ),
                (
                    allocation(json!({"driver": "", "pool": ""})),
                    &[
                        "status.allocation.devices.results[0].driver: Required value",
                        "status.allocation.devices.results[0].driver: Invalid value: \"\": a lowercase RFC 1123",
                        "status.allocation.devices.results[0].pool: Required value",
                    ],
                ),
                (
                    allocation(json!({"shareID": "U"})),
                    &["status.allocation.devices.results[0].shareID: Invalid value: \"U\": uid must be in RFC 4122"],
                ),
                (
                    json!({"status": {"reservedFor": [consumer]}}),
                    &["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"],
                ),
                (allocated(json!({"reservedFor": [consumer]})), &[]),
                (
                    allocated(json!({"reservedFor": [consumer, consumer]})),
                    &["status.reservedFor[1]: Duplicate value: \"u\""],
                ),
                (
                    allocated(json!({"devices": [{"driver": "d", "pool": "p", "device": "f"}]})),
                    &["status.devices[0]: Invalid value: \"d/p/f\": must be an allocated device in the claim"],
                ),
                (
                    allocated(json!({"devices": [{"driver": "d", "pool": "p", "device": "e",
                        "networkData": {"ips": ["10.0.0.1"]}}]})),
                    &["status.devices[0].networkData.ips[0]: Invalid value: \"10.0.0.1\": must be a valid address in"],
                ),
            ],
        )
        .part(
            "status",
            &allocation(json!({})),
            &[
                (allocation(json!({"device": "f"})), &["status.allocation: Invalid value: {"]),
                (json!({}), &[]),
            ],
        );
}

#[test]
fn templates() {
    let table = Table::of(json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
        "metadata": {"name": "x", "namespace": "n"}, "spec": {"spec": {}},
    }));
    at("spec.spec", |spec| json!({"spec": {"spec": spec}}), &table);
    table
        .bad(&[(
            json!({"spec": {"metadata": {"labels": {"a b": "c"}}}}),
            &["spec.metadata.labels: Invalid value: \"a b\": name part must consist of"],
        )])
        .changes(&[(json!({"spec": {"metadata": {"labels": {"a": "c"}}}}), &["spec: Invalid value: {"])]);
}

#[test]
fn slices() {
    let of = |change: Value| json!({ "spec": change });
    let device = |change: Value| {
        let whole = json!({"name": "d"});
        of(json!({"devices": [model::merge::merge_patch::apply(&whole, &change)]}))
    };
    let attribute = |value: Value| device(json!({"attributes": {"a": value}}));
    let policy = |policy: Value| {
        device(json!({
            "allowMultipleAllocations": true, "capacity": {"a": {"value": "10", "requestPolicy": policy}},
        }))
    };
    const NODES: &str =
        "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let (none, two) = (
        format!("spec: Required value: {NODES}"),
        format!("spec: Invalid value: \"{{`nodeName`, `allNodes`}}\": {NODES}, but multiple fields are set"),
    );
    Table::of(json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "x"},
        "spec": {"driver": "a.b", "pool": {"name": "p", "resourceSliceCount": 1}, "nodeName": "n"},
    }))
    .good(&[
        device(json!({"attributes": {"a": {"int": 1}, "b.c/d": {"version": "1.2.3-alpha.1+b"}}})),
        policy(json!({"default": "2", "validValues": ["1", "2"]})),
        policy(json!({"default": "4", "validRange": {"min": "2", "max": "8", "step": "2"}})),
        device(json!({"taints": [{"key": "a", "effect": "NoSchedule"}]})),
        of(json!({"nodeName": null, "allNodes": true})),
        of(json!({"nodeName": null, "perDeviceNodeSelection": true, "devices": [{"name": "d", "nodeName": "n"}]})),
        of(json!({"sharedCounters": [{"name": "s", "counters": {"c": {"value": "1"}}}]})),
    ])
    .bad(&[
        (of(json!({"driver": "a/b"})), &["spec.driver: Invalid value: \"a/b\": a lowercase RFC 1123 subdomain"]),
        (of(json!({"pool": {"name": ""}})), &["spec.pool.name: Required value"]),
        (
            of(json!({"pool": {"resourceSliceCount": 0, "generation": -1}})),
            &[
                "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
                "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
            ],
        ),
        (of(json!({"nodeName": null})), &[&none]),
        (of(json!({"allNodes": true})), &[&two]),
        (
            of(json!({"nodeName": null, "nodeSelector": {"nodeSelectorTerms": [{}, {}]}})),
            &["spec.nodeSelector.nodeSelectorTerms: Invalid value: [{},{}]: must have exactly one node selector term"],
        ),
        (of(json!({"devices": [{"name": "D"}]})), &["spec.devices[0].name: Invalid value: \"D\": a lowercase RFC"]),
        (of(json!({"devices": [{"name": "d"}, {"name": "d"}]})), &["spec.devices[1]: Duplicate value: \"d\""]),
        (
            attribute(json!({})),
            &["spec.devices[0].attributes[a]: Invalid value: \"\": exactly one value must be specified"],
        ),
        (
            attribute(json!({"version": "1.2"})),
            &["spec.devices[0].attributes[a].version: Invalid value: \"1.2\": must be a string compatible with semver"],
        ),
        (
            attribute(json!({"string": "a".repeat(65)})),
            &["spec.devices[0].attributes[a].string: Too long: may not be more than 64 bytes"],
        ),
        (
            device(json!({"attributes": {"a/b/c": {"int": 1}}})),
            &["spec.devices[0].attributes: Invalid value: \"a/b/c\": must not contain more than one slash"],
        ),
        (
            device(json!({"capacity": {"a": {"value": "1", "requestPolicy": {}}}})),
            &["spec.devices[0].capacity[a].requestPolicy: Forbidden: allowMultipleAllocations must be true"],
        ),
        (
            policy(json!({"default": "3", "validValues": ["2", "1"]})),
            &[
                "spec.devices[0].capacity[a].requestPolicy.validValues[1]: Invalid value: \"1\": values must be sorted",
                "spec.devices[0].capacity[a].requestPolicy.validValues: Invalid value: \"3\": default value is not valid",
            ],
        ),
        (
            policy(json!({"default": "3", "validRange": {"min": "2", "step": "2"}})),
            &["spec.devices[0].capacity[a].requestPolicy.validRange.step: Invalid value: \"3\": value is not a multiple"],
        ),
        (
            device(json!({"taints": [{"key": "a", "effect": "Never"}]})),
            &["spec.devices[0].taints[0].effect: Unsupported value: \"Never\": supported values: \"NoExecute\", \
              \"NoSchedule\", \"None\""],
        ),
        (
            device(json!({"nodeName": "n"})),
            &["spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if"],
        ),
        (
            device(json!({"bindingConditions": ["a"]})),
            &["spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required"],
        ),
        (
            of(json!({"sharedCounters": [{"name": "s"}]})),
            &["spec.sharedCounters[0].counters: Required value"],
        ),
    ])
    .changes(&[
        (of(json!({"nodeName": "m"})), &["spec.nodeName: Invalid value: \"m\": field is immutable"]),
        (of(json!({"driver": "c"})), &["spec.driver: Invalid value: \"c\": field is immutable"]),
        (of(json!({"pool": {"generation": 2}})), &[]),
    ]);
}

#[test]
fn columns() {
    let claim = |fields: Value| {
        let whole =
            json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "x"}});
        model::merge::merge_patch::apply(&whole, &fields)
    };
    shows(claim(json!({})), json!(["x", "pending", "60m"]));
    shows(claim(json!({"status": {"allocation": {}}})), json!(["x", "allocated", "60m"]));
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:30:00Z"}});
    shows(claim(deleted), json!(["x", "deleted", "60m"]));
    let reserved = json!({"status": {"allocation": {}, "reservedFor": [{}]}});
    shows(claim(reserved), json!(["x", "allocated,reserved", "60m"]));
    let slice = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "x"},
        "spec": {"driver": "d", "pool": {"name": "p"}, "nodeName": "n"},
    });
    shows(slice, json!(["x", "n", "d", "p", "60m"]));
}
