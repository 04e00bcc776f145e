//! Stabilisation and policies, with the cases of Kubernetes' own.

use serde_json::{Value, json};

use super::*;

fn spec(least: i32, most: i32, behavior: Value) -> HorizontalPodAutoscalerSpec {
    serde_json::from_value(json!({
        "minReplicas": least,
        "maxReplicas": most,
        "scaleTargetRef": {"kind": "Deployment", "name": "d"},
        "behavior": behavior,
    }))
    .expect("a specification")
}

/// As the API fills it in.
fn rules(up: Value, down: Value) -> Value {
    let mut all = json!({
        "scaleUp": {
            "stabilizationWindowSeconds": 0, "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}],
        },
        "scaleDown": {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]},
    });
    for (side, more) in [("scaleUp", up), ("scaleDown", down)] {
        for (name, value) in more.as_object().into_iter().flatten() {
            all[side][name] = value.clone();
        }
    }
    all
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// From so many, at these seconds so many are wanted: how many there are then, and why.
fn play(spec: &HorizontalPodAutoscalerSpec, begin: i32, steps: &[(u64, i32, i32, &str, &str)]) {
    let mut history = History::default();
    let mut current = begin;
    history.begin(at(0), begin);
    for (second, wanted, expected, able, why) in steps {
        let found = limit(spec, &mut history, at(*second), current, *wanted);
        let told = (found.replicas, found.able.0, found.why.0);
        assert_eq!(told, (*expected, *able, *why), "at {second} of {steps:?}");
        assert_eq!(found.limited, found.why.0 != "DesiredWithinRange", "at {second} of {steps:?}");
        if found.replicas != current {
            history.scaled(at(*second), current, found.replicas, spec);
            current = found.replicas;
        }
    }
}

const READY: &str = "ReadyForNewScale";
const UP: &str = "ScaleUpStabilized";
const DOWN: &str = "ScaleDownStabilized";
const WITHIN: &str = "DesiredWithinRange";

#[test]
fn without_rules_a_target_grows_twofold_and_shrinks_after_five_minutes() {
    let spec = spec(2, 30, Value::Null);
    play(
        &spec,
        3,
        &[
            (15, 20, 6, READY, "ScaleUpLimit"),
            (30, 20, 12, READY, "ScaleUpLimit"),
            (45, 50, 24, READY, "ScaleUpLimit"),
            (60, 50, 30, READY, "TooManyReplicas"),
            (75, 5, 30, DOWN, "TooManyReplicas"),
            (400, 5, 5, READY, WITHIN),
            (800, 1, 2, READY, "TooFewReplicas"),
        ],
    );
    play(&spec, 1, &[(15, 9, 4, READY, "ScaleUpLimit")]);
}

#[test]
fn a_target_grows_by_the_policy_that_is_selected() {
    let all = |select: &str| {
        let policies = json!([{"type": "Pods", "value": 4, "periodSeconds": 60}, {"type": "Percent", "value": 50, "periodSeconds": 60}]);
        spec(1, 100, rules(json!({"selectPolicy": select, "policies": policies}), json!({})))
    };
    play(
        &all("Max"),
        10,
        &[
            (15, 100, 15, READY, "ScaleUpLimit"),
            // What was added within the period counts.
            (30, 100, 15, READY, "ScaleUpLimit"),
            (76, 100, 23, READY, "ScaleUpLimit"),
        ],
    );
    play(&all("Min"), 10, &[(15, 100, 14, READY, "ScaleUpLimit"), (30, 12, 14, DOWN, WITHIN)]);
    play(&all("Disabled"), 10, &[(15, 100, 10, READY, "ScaleUpLimit")]);
    // Rounded up, so that one grows at all.
    let slow = json!({"policies": [{"type": "Percent", "value": 5, "periodSeconds": 15}]});
    play(&spec(1, 100, rules(slow, json!({}))), 1, &[(15, 100, 2, READY, "ScaleUpLimit")]);
}

#[test]
fn a_target_shrinks_by_the_policy_that_is_selected() {
    let all = |select: &str| {
        let policies = json!([{"type": "Pods", "value": 4, "periodSeconds": 60}, {"type": "Percent", "value": 50, "periodSeconds": 60}]);
        let down = json!({"stabilizationWindowSeconds": 0, "selectPolicy": select, "policies": policies});
        spec(1, 100, rules(json!({}), down))
    };
    play(
        &all("Max"),
        20,
        &[
            (15, 1, 10, READY, "ScaleDownLimit"),
            (30, 1, 10, READY, "ScaleDownLimit"),
            (76, 1, 5, READY, "ScaleDownLimit"),
            (137, 0, 1, READY, "TooFewReplicas"),
        ],
    );
    play(&all("Min"), 20, &[(15, 1, 16, READY, "ScaleDownLimit")]);
    play(&all("Disabled"), 20, &[(15, 1, 20, READY, "ScaleDownLimit")]);
}

#[test]
fn recommendations_of_a_while_keep_a_target_steady() {
    let both = rules(json!({"stabilizationWindowSeconds": 60}), json!({"stabilizationWindowSeconds": 120}));
    play(
        &spec(1, 100, both),
        5,
        &[
            (15, 8, 5, UP, WITHIN),
            (30, 7, 5, UP, WITHIN),
            // What there was in the beginning is too old now.
            (61, 9, 7, UP, WITHIN),
            (75, 2, 7, DOWN, WITHIN),
            (150, 2, 7, DOWN, WITHIN),
            (182, 2, 2, READY, WITHIN),
        ],
    );
    // Nothing said: five minutes down, none up.
    play(
        &spec(1, 100, rules(json!({}), json!({}))),
        5,
        &[(15, 8, 8, READY, WITHIN), (100, 3, 8, DOWN, WITHIN), (316, 3, 3, READY, WITHIN)],
    );
}

#[test]
fn what_was_taken_away_may_come_back_at_once() {
    let behavior = rules(
        json!({"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}),
        json!({"stabilizationWindowSeconds": 0}),
    );
    play(
        &spec(1, 100, behavior),
        10,
        &[
            (15, 4, 4, READY, WITHIN),
            (30, 20, 12, READY, "ScaleUpLimit"),
            (45, 20, 12, READY, "ScaleUpLimit"),
        ],
    );
}
