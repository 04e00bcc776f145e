use apiserver::fairness::{Queuing, Response};

use super::*;
use crate::access::testing::Given;

const SCHEMAS: &str = "flowschemas";
const LEVELS: &str = "prioritylevelconfigurations";

fn schema(name: &str, level: &str, precedence: i64) -> Value {
    json!({
        "kind": "FlowSchema", "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "metadata": {"name": name, "uid": format!("uid-{name}")},
        "spec": {
            "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{
                "subjects": [
                    {"kind": "User", "user": {"name": "jane"}},
                    {"kind": "ServiceAccount", "serviceAccount": {"namespace": "n", "name": "*"}},
                    {"kind": "Group", "group": {"name": "staff"}},
                ],
                "resourceRules": [{
                    "verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["n"],
                }],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/metrics"]}],
            }],
        },
    })
}

fn level(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "uid": format!("uid-{name}")}, "spec": spec})
}

fn queued(shares: i64) -> Value {
    json!({"type": "Limited", "limited": {
        "nominalConcurrencyShares": shares, "lendablePercent": 50, "borrowingLimitPercent": 10,
        "limitResponse": {"type": "Queue", "queuing": {"queues": 64, "handSize": 6, "queueLengthLimit": 50}},
    }})
}

fn names(configuration: &Configuration) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
    let amended = configuration.amendments.iter().map(|one| {
        let message = one.object["status"]["conditions"][0]["message"].as_str().expect("a message");
        message.split('"').nth(1).expect("a name")
    });
    (
        configuration.schemas.iter().map(|schema| schema.name.as_str()).collect(),
        configuration.levels.iter().map(|level| level.name.as_str()).collect(),
        amended.collect(),
    )
}

#[test]
fn what_must_be_there_is_there_without_objects() {
    let flows = Flows::new(&Given::default());
    let configuration = flows.configuration(Timestamp::UNIX_EPOCH);
    assert_eq!(names(&configuration), (vec!["exempt", "catch-all"], vec!["exempt", "catch-all"], vec![]));
    let responses: Vec<Response> = configuration.levels.iter().map(|level| level.response).collect();
    assert_eq!(responses, [Response::Serve, Response::Reject]);
    assert!(configuration.levels.iter().all(|level| level.uid.is_empty()));
}

#[test]
fn schemas_are_in_order_and_those_without_a_level_count_for_nothing() {
    let given = Given::default();
    let flows = Flows::new(&given);
    given.put(LEVELS, level("a", queued(7)));
    given.put(SCHEMAS, schema("second", "a", 500));
    given.put(SCHEMAS, schema("first", "a", 400));
    given.put(SCHEMAS, schema("also", "a", 400));
    given.put(SCHEMAS, schema("lost", "b", 300));
    given.put(SCHEMAS, schema("z-last-of-all", "a", 10_000));
    let configuration = flows.configuration(Timestamp::UNIX_EPOCH);
    let (schemas, levels, amended) = names(&configuration);
    assert_eq!(schemas, ["exempt", "also", "first", "second", "z-last-of-all", "catch-all"]);
    assert_eq!(levels, ["a", "exempt", "catch-all"]);
    assert_eq!(amended, ["b", "a", "a", "a", "a"], "each is told");
    let first = &configuration.levels[0];
    assert_eq!((first.shares, first.lends, first.borrows), (7, 50, Some(10)));
    assert_eq!(first.response, Response::Queue(Queuing { queues: 64, hand: 6, length: 50 }));
    let read = &configuration.schemas[2];
    assert_eq!((read.uid.as_str(), read.rules[0].subjects.len()), ("uid-first", 3));
    assert_eq!(read.rules[0].resources[0].namespaces, ["n"]);
    assert_eq!(read.rules[0].paths[0].paths, ["/metrics"]);

    // Another place, another level, and gone.
    given.put(SCHEMAS, schema("second", "a", 100));
    given.put(LEVELS, level("b", queued(0)));
    given.remove(SCHEMAS, "", "first");
    let configuration = flows.configuration(Timestamp::UNIX_EPOCH);
    assert_eq!(names(&configuration).0, ["exempt", "second", "lost", "also", "z-last-of-all", "catch-all"]);
    given.remove(LEVELS, "", "a");
    let configuration = flows.configuration(Timestamp::UNIX_EPOCH);
    assert_eq!(names(&configuration).0, ["exempt", "lost", "catch-all"]);
}

#[test]
fn a_condition_is_told_until_the_object_says_it() {
    let given = Given::default();
    let flows = Flows::new(&given);
    given.put(SCHEMAS, schema("lost", "b", 300));
    let amendments = flows.configuration(Timestamp::UNIX_EPOCH).amendments;
    assert_eq!(
        amendments[0].path,
        "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/lost/status?fieldManager=api-priority-and-fairness-config-consumer-v1&force=true"
    );
    assert_eq!(
        amendments[0].object["status"]["conditions"],
        json!([{
            "type": "Dangling", "status": "True", "reason": "NotFound",
            "message": "This FlowSchema references the PriorityLevelConfiguration object named \"b\" but there is no such object",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }])
    );
    let mut told = schema("lost", "b", 300);
    told["status"] = amendments[0].object["status"].clone();
    given.put(SCHEMAS, told.clone());
    assert_eq!(flows.configuration(Timestamp::UNIX_EPOCH).amendments, []);
    given.put(LEVELS, level("b", queued(1)));
    let amendments = flows.configuration(Timestamp::UNIX_EPOCH).amendments;
    assert_eq!(amendments[0].object["status"]["conditions"][0]["reason"], "Found");
    // However many there are, so many at a time.
    (0..1000).for_each(|number| given.put(SCHEMAS, schema(&format!("s{number}"), "none", 200)));
    assert_eq!(flows.configuration(Timestamp::UNIX_EPOCH).amendments.len(), AT_ONCE);
}

#[test]
fn levels_that_contradict_themselves_are_none() {
    let given = Given::default();
    let flows = Flows::new(&given);
    for (name, spec) in [
        ("a", json!({"type": "Limited"})),
        ("b", json!({"type": "Exempt", "limited": {}})),
        ("c", json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue"}}})),
        ("d", json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject", "queuing": {}}}})),
    ] {
        given.put(LEVELS, level(name, spec));
    }
    assert_eq!(names(&flows.configuration(Timestamp::UNIX_EPOCH)).1, ["exempt", "catch-all"]);
}

#[test]
fn nothing_has_to_be_said_of_a_level_that_serves_everybody() {
    let given = Given::default();
    let flows = Flows::new(&given);
    given.put(LEVELS, level("exempt", json!({"type": "Exempt"})));
    let levels = flows.configuration(Timestamp::UNIX_EPOCH).levels;
    let exempt = levels.iter().find(|level| level.name == "exempt").expect("it is there");
    assert!(!exempt.uid.is_empty(), "{exempt:?}");
}

#[test]
fn it_is_noticed_when_objects_change() {
    let given = Given::default();
    let flows = Flows::new(&given);
    flows.configuration(Timestamp::UNIX_EPOCH);
    assert!(flows.changed().now_or_never().is_none());
    given.put(LEVELS, level("a", queued(7)));
    assert!(flows.changed().now_or_never().is_some());
    flows.configuration(Timestamp::UNIX_EPOCH);
    given.put(SCHEMAS, schema("s", "a", 7));
    assert!(flows.changed().now_or_never().is_some());
}

#[test]
fn what_was_changed_stays_where_somebody_meant_it() {
    let check = |name: &str, annotation: Option<&str>, generation: i64, expected: Option<(&str, bool)>| {
        let object = |annotation: Option<&str>, precedence: i64, generation: i64| {
            let mut object = schema(name, "a", precedence);
            object["metadata"]["generation"] = generation.into();
            if let Some(annotation) = annotation {
                object["metadata"]["annotations"] = json!({"apf.kubernetes.io/autoupdate-spec": annotation});
            }
            Object::from_value(object).expect("an object")
        };
        let existing = object(annotation, 7, generation);
        let new = reconcile(&existing, &object(Some("true"), 5, 0));
        let new = new.as_ref().map(|new| {
            let kept = new.annotation("apf.kubernetes.io/autoupdate-spec").expect("it says so");
            (kept, new.get_i64(&["spec", "matchingPrecedence"]) == Some(5))
        });
        assert_eq!(new, expected, "{name} {annotation:?} {generation}");
    };
    check("probes", Some("true"), 3, Some(("true", true)));
    check("probes", Some("false"), 1, None);
    check("probes", None, 1, Some(("true", true)));
    check("probes", None, 2, Some(("false", false)));
    check("probes", Some("nonsense"), 1, Some(("true", true)));
    check("exempt", Some("false"), 9, Some(("true", true)));
}

#[test]
fn what_the_level_without_limits_lends_is_left_to_whoever_says_it() {
    let (name, spec) = priority_level_configuration::must().into_iter().next().expect("the first");
    let wanted = own_object(name, spec);
    let mut existing = wanted.clone();
    existing.set_annotation("apf.kubernetes.io/autoupdate-spec", "true");
    existing.set(&["spec", "exempt"], json!({"nominalConcurrencyShares": 9, "lendablePercent": 50}));
    assert_eq!(reconcile(&existing, &wanted), None);
    existing.set(&["spec", "type"], "Limited");
    let new = reconcile(&existing, &wanted).expect("it is not as it must be");
    assert_eq!(new.get_str(&["spec", "type"]), Some("Exempt"));
    assert_eq!(new.get_i64(&["spec", "exempt", "lendablePercent"]), Some(50));
}
