use serde_json::{Value, json};

use crate::table::{Table, shows};

#[test]
fn schemas() {
    let of = |change: Value| json!({ "spec": change });
    let rule = |change: Value| {
        let whole = json!({
            "subjects": [{"kind": "Group", "group": {"name": "g"}}],
            "resourceRules": [{"verbs": ["get"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}],
        });
        of(json!({"rules": [model::merge::merge_patch::apply(&whole, &change)]}))
    };
    let subject = |subject: Value| rule(json!({ "subjects": [subject] }));
    let paths =
        |paths: &[&str]| rule(json!({"nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": paths}]}));
    let resources = |change: Value| {
        let whole = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["n"]});
        rule(json!({"resourceRules": [model::merge::merge_patch::apply(&whole, &change)]}))
    };
    Table::of(json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": "x"},
        "spec": {"priorityLevelConfiguration": {"name": "p"}},
    }))
    .good(&[
        rule(json!({})),
        of(json!({"distinguisherMethod": {"type": "ByUser"}, "matchingPrecedence": 10000})),
        subject(json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "n"}})),
        paths(&["/", "/a/*"]),
        resources(json!({"namespaces": null, "clusterScope": true})),
    ])
    .bad(&[
        (
            of(json!({"priorityLevelConfiguration": null})),
            &["spec.priorityLevelConfiguration.name: Required value: must reference a priority level"],
        ),
        (
            of(json!({"matchingPrecedence": -1})),
            &["spec.matchingPrecedence: Invalid value: -1: must be a positive value"],
        ),
        (
            of(json!({"matchingPrecedence": 10001})),
            &["spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"],
        ),
        (
            of(json!({"matchingPrecedence": 1})),
            &["spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"],
        ),
        (
            of(json!({"distinguisherMethod": {"type": "ByDay"}})),
            &["spec.distinguisherMethod.type: Unsupported value: {\"type\":\"ByDay\"}: supported values: \
              \"ByNamespace\", \"ByUser\""],
        ),
        (
            rule(json!({"subjects": null})),
            &["spec.rules[0].subjects: Required value: subjects must contain at least one value"],
        ),
        (
            rule(json!({"resourceRules": null})),
            &["spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty"],
        ),
        (
            subject(json!({"kind": "Robot"})),
            &["spec.rules[0].subjects[0].kind: Unsupported value: \"Robot\": supported values: \"Group\", \
              \"ServiceAccount\", \"User\""],
        ),
        (
            subject(json!({"kind": "User", "group": {"name": "g"}})),
            &[
                "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
                "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
            ],
        ),
        (
            resources(json!({"verbs": ["fly"]})),
            &["spec.rules[0].resourceRules[0].verbs: Unsupported value: [\"fly\"]: supported values: \"create\", "],
        ),
        (
            resources(json!({"namespaces": null})),
            &["spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped"],
        ),
        (
            resources(json!({"namespaces": ["A"]})),
            &["spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: \"A\": each member of this list must be \
              '*' or a DNS-1123 label; a lowercase RFC 1123 label"],
        ),
        (
            paths(&["a"]),
            &["spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"a\": must start with slash"],
        ),
        (
            paths(&["/a*"]),
            &["spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"/a*\": wildcard can only do"],
        ),
        (
            json!({"metadata": {"name": "catch-all"}}),
            &["spec: Invalid value: {"],
        ),
        (
            json!({"status": {"conditions": [{"type": "A"}, {"type": "A"}, {"type": ""}]}}),
            &[
                "status.conditions[1].type: Duplicate value: \"A\"",
                "status.conditions[2].type: Required value: must not be empty",
            ],
        ),
    ]);
}

#[test]
fn levels() {
    let of = |change: Value| json!({ "spec": change });
    let limited = |change: Value| of(json!({ "limited": change }));
    let queues = |queues: i64, hand: i64, length: i64| {
        let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": length});
        limited(json!({"limitResponse": {"type": "Queue", "queuing": queuing}}))
    };
    Table::of(json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "x"}, "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}},
    }))
    .good(&[
        limited(json!({"nominalConcurrencyShares": 0, "lendablePercent": 100, "borrowingLimitPercent": 0})),
        limited(json!({"limitResponse": {"type": "Queue", "queuing": {}}})),
        queues(128, 6, 50),
        json!({
            "metadata": {"name": "exempt"},
            "spec": {"type": "Exempt", "limited": null, "exempt": {"nominalConcurrencyShares": 5}},
        }),
        json!({"status": {"conditions": [{"type": "A", "status": "True"}]}}),
    ])
    .bad(&[
        (
            of(json!({"type": "Exempt", "limited": null})),
            &["spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'"],
        ),
        (
            of(json!({"type": "Some"})),
            &["spec.type: Unsupported value: \"Some\": supported values: \"Exempt\", \"Limited\""],
        ),
        (of(json!({"limited": null})), &["spec.limited: Required value: must not be empty when type is Limited"]),
        (of(json!({"exempt": {}})), &["spec.exempt: Forbidden: must be nil if the type is Limited"]),
        (
            limited(json!({"nominalConcurrencyShares": -1})),
            &["spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer"],
        ),
        (
            limited(json!({"lendablePercent": 101})),
            &["spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive"],
        ),
        (
            limited(json!({"borrowingLimitPercent": -1})),
            &["spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer"],
        ),
        (
            limited(json!({"limitResponse": {"type": "Drop"}})),
            &["spec.limited.limitResponse.type: Unsupported value: \"Drop\": supported values: \"Queue\", \"Reject\""],
        ),
        (
            limited(json!({"limitResponse": {"queuing": {}}})),
            &["spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited"],
        ),
        (
            limited(json!({"limitResponse": {"type": "Queue"}})),
            &["spec.limited.limitResponse.queuing: Required value: must not be empty if limited.limitResponse.type is"],
        ),
        (queues(-1, 1, 1), &[
            "spec.limited.limitResponse.queuing.queues: Invalid value: -1: must be positive",
            "spec.limited.limitResponse.queuing.handSize: Invalid value: 1: should not be greater than queues (-1)",
        ]),
        (
            queues(4, 5, 1),
            &["spec.limited.limitResponse.queuing.handSize: Invalid value: 5: should not be greater than queues (4)"],
        ),
        (
            queues(1024, 7, 1),
            &["spec.limited.limitResponse.queuing.handSize: Invalid value: 7: required entropy bits of deckSize 1024 \
              and handSize 7 should not be greater than 60"],
        ),
        (
            json!({"metadata": {"name": "exempt"}}),
            &[
                "spec.type: Invalid value: \"Limited\": type must be 'Exempt' if and only if name is 'exempt'",
                "spec: Invalid value: {",
            ],
        ),
    ]);
}

#[test]
fn what_every_cluster_has_is_good_and_complete() {
    let address = std::net::Ipv4Addr::LOCALHOST;
    let installation = apiserver::resource::Installation {
        front_proxy: std::sync::Arc::default(),
        today: "2026-01-01".to_owned(),
        address: address.into(),
        port: 1,
        service_address: address,
        service_network: "10.0.0.0/16".parse().expect("a network"),
        certificate: String::new(),
    };
    let mut counts = Vec::new();
    for entry in kinds::all() {
        let permanent = entry.permanent.clone();
        let Some(permanent) = permanent.filter(|_| entry.group == "flowcontrol.apiserver.k8s.io") else {
            continue;
        };
        let objects = permanent(&installation);
        counts.push((entry.plural.clone(), objects.len()));
        for object in objects {
            let apiserver::resource::Permanent::Reconciled(mut object, _) = object else {
                panic!("one that is looked at once")
            };
            object["apiVersion"] = entry.api_version().into();
            object["kind"] = entry.kind.as_str().into();
            let before = object["spec"].clone();
            let object = crate::defaulted(object);
            assert_eq!(object.get(&["spec"]), Some(&before), "nothing is filled in");
            assert_eq!(model::validate::create(&*entry.rules, &object, entry.scope()), [], "{object:?}");
        }
    }
    assert_eq!(counts, [("flowschemas".to_owned(), 14), ("prioritylevelconfigurations".to_owned(), 8)]);
}

#[test]
fn columns() {
    let of = |kind: &str, fields: Value| {
        let version = "flowcontrol.apiserver.k8s.io/v1";
        let whole = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}});
        model::merge::merge_patch::apply(&whole, &fields)
    };
    let spec = json!({
        "priorityLevelConfiguration": {"name": "p"}, "matchingPrecedence": 5, "distinguisherMethod": {"type": "ByUser"},
    });
    shows(of("FlowSchema", json!({ "spec": spec })), json!(["x", "p", 5, "ByUser", "60m", "?"]));
    let dangling = json!({"conditions": [{"type": "Dangling", "status": "False"}]});
    shows(of("FlowSchema", json!({"status": dangling})), json!(["x", "", 0, "<none>", "60m", "False"]));
    let queuing = json!({"queues": 1, "handSize": 2, "queueLengthLimit": 3});
    let limited = json!({"nominalConcurrencyShares": 9, "limitResponse": {"queuing": queuing}});
    shows(
        of("PriorityLevelConfiguration", json!({"spec": {"type": "Limited", "limited": limited}})),
        json!(["x", "Limited", 9, 1, 2, 3, "60m"]),
    );
    shows(
        of("PriorityLevelConfiguration", json!({"spec": {"type": "Exempt"}})),
        json!(["x", "Exempt", "<none>", "<none>", "<none>", "<none>", "60m"]),
    );
}
