//! Wishes for nodes and neighbours that are wrong, a line each.

use super::*;

#[test]
fn what_is_wrong_with_where_a_pod_wants_to_be_is_told() {
    let at = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let of_nodes = |rest: &str| format!("{at}{rest}");
    let preferred = |weight: i64| {
        let terms = json!([{"weight": weight, "preference": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b c"]}]}}]);
        pod(json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}}))
    };
    let near_at = "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]";
    let of_pods = |rest: &str| format!("{near_at}{rest}");
    let expressions = |expression: Value| required_nodes(json!({"matchExpressions": [expression]}));
    let texts = [
        of_nodes(": Required value: must have at least one node selector term"),
        of_nodes(
            "[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ),
        of_nodes(
            "[0].matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
        of_nodes(
            "[0].matchExpressions[0].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'",
        ),
        of_nodes(r#"[0].matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator"#),
        of_nodes(r#"[0].matchExpressions[0].key: Invalid value: "a b": name part must…"#),
        of_nodes(r#"[0].matchExpressions[0].values[0]: Invalid value: "b c": a valid label must…"#),
        of_nodes(
            "[0].matchFields[0].values: Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        ),
        of_nodes(r#"[0].matchFields[0].key: Invalid value: "spec.x": not a valid field selector key"#),
        of_pods(r#".namespace: Invalid value: "A": a lowercase RFC 1123 label…"#),
        of_pods(".matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"),
        of_pods(
            r#".matchLabelKeys[0]: Invalid value: "k": exists in both matchLabelKeys and mismatchLabelKeys"#,
        ),
        of_pods(
            r#".labelSelector.matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator"#,
        ),
        of_pods(r#"[0]: Invalid value: "k": exists in both matchLabelKeys and labelSelector"#),
    ];
    let pods = [
        pod(
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}}),
        ),
        expressions(json!({"key": "a", "operator": "In"})),
        expressions(json!({"key": "a", "operator": "Exists", "values": ["b"]})),
        expressions(json!({"key": "a", "operator": "Gt"})),
        expressions(json!({"key": "a", "operator": "Like"})),
        expressions(json!({"key": "a b", "operator": "Exists"})),
        expressions(json!({"key": "a", "operator": "In", "values": ["b c"]})),
        required_nodes(
            json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a", "b"]}]}),
        ),
        required_nodes(json!({"matchFields": [{"key": "spec.x", "operator": "In", "values": ["a"]}]})),
        near("podAffinity", json!({"topologyKey": "z", "labelSelector": {}, "namespaces": ["A"]})),
        near("podAffinity", json!({"topologyKey": "z", "matchLabelKeys": ["k"]})),
        near(
            "podAffinity",
            json!({"topologyKey": "z", "labelSelector": {}, "matchLabelKeys": ["k"], "mismatchLabelKeys": ["k"]}),
        ),
        near(
            "podAffinity",
            json!({"topologyKey": "z", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}),
        ),
        near(
            "podAffinity",
            json!({"topologyKey": "z", "labelSelector": {"matchLabels": {"k": "a"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["a"]}]}, "matchLabelKeys": ["k"]}),
        ),
    ];
    let mut all: Vec<(Object, &str)> = pods.into_iter().zip(texts.iter().map(String::as_str)).collect();
    let constraint = "spec.topologySpreadConstraints[0]";
    let of_spread: Vec<String> = [
        ".maxSkew: Invalid value: 0: must be greater than zero",
        ".topologyKey: Required value: can not be empty",
        r#".whenUnsatisfiable: Unsupported value: "Odd": supported values: "DoNotSchedule", "ScheduleAnyway""#,
        ".minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
        ".minDomains: Invalid value: 0: must be greater than zero",
        r#".nodeAffinityPolicy: Unsupported value: "Odd": supported values: "Honor", "Ignore""#,
        r#".matchLabelKeys[0]: Invalid value: "a b": name part must…"#,
    ]
    .iter()
    .map(|rest| format!("{constraint}{rest}"))
    .collect();
    let spreads = [
        spread(json!({"maxSkew": 0})),
        spread(json!({"topologyKey": ""})),
        spread(json!({"whenUnsatisfiable": "Odd"})),
        spread(json!({"minDomains": 2, "whenUnsatisfiable": "ScheduleAnyway"})),
        spread(json!({"minDomains": 0})),
        spread(json!({"nodeAffinityPolicy": "Odd"})),
        spread(json!({"matchLabelKeys": ["a b"]})),
    ];
    all.extend(spreads.into_iter().zip(of_spread.iter().map(String::as_str)));
    let weight = "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101: must be in the range 1-100";
    all.push((preferred(101), weight));
    let twice =
        json!({"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}});
    let twice = pod(json!({"topologySpreadConstraints": [twice, twice]}));
    let again =
        format!("{constraint}.{{topologyKey, whenUnsatisfiable}}: Duplicate value: \"{{z, DoNotSchedule}}\"");
    all.push((twice, &again));
    let told = check(all);
    assert!(told >= 20, "{told}");
    // What a label may not be may be preferred all the same.
    assert_eq!(errors(&preferred(100)), Vec::<String>::new());
}
