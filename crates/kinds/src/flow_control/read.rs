//! The objects as `apiserver::fairness` knows them.

use apiserver::fairness::{
    Distinguisher, LevelConfiguration, PathRule, Queuing, ResourceRule, Response, Rule, Schema, Subject,
};
use model::Object;
use model::validate::{flag, list, number, text};
use serde_json::Value;

/// The lower, the earlier it is asked.
pub(super) fn precedence(schema: &Object) -> i64 {
    schema.get_i64(&["spec", "matchingPrecedence"]).unwrap_or(i64::MAX)
}

pub(super) fn schema(object: &Object) -> Schema {
    let distinguisher = match object.get_str(&["spec", "distinguisherMethod", "type"]) {
        Some("ByUser") => Some(Distinguisher::User),
        Some("ByNamespace") => Some(Distinguisher::Namespace),
        _ => None,
    };
    let level = object.get_str(&["spec", "priorityLevelConfiguration", "name"]).unwrap_or_default();
    Schema {
        name: object.name().to_owned(),
        uid: object.uid().to_owned(),
        level: level.to_owned(),
        distinguisher,
        rules: object.get_list(&["spec", "rules"]).iter().map(rule).collect(),
    }
}

fn rule(rule: &Value) -> Rule {
    Rule {
        subjects: list(rule, "subjects").iter().filter_map(subject).collect(),
        resources: list(rule, "resourceRules").iter().map(resource_rule).collect(),
        paths: list(rule, "nonResourceRules").iter().map(path_rule).collect(),
    }
}

fn subject(subject: &Value) -> Option<Subject> {
    let of = |field: &str, name: &str| text(subject.get(field).unwrap_or(&Value::Null), name).to_owned();
    match text(subject, "kind") {
        "User" => Some(Subject::User(of("user", "name"))),
        "Group" => Some(Subject::Group(of("group", "name"))),
        "ServiceAccount" => {
            let (namespace, name) = (of("serviceAccount", "namespace"), of("serviceAccount", "name"));
            Some(Subject::Account { namespace, name })
        }
        _ => None,
    }
}

fn texts(value: &Value, field: &str) -> Vec<String> {
    list(value, field).iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn resource_rule(rule: &Value) -> ResourceRule {
    ResourceRule {
        verbs: texts(rule, "verbs"),
        groups: texts(rule, "apiGroups"),
        resources: texts(rule, "resources"),
        namespaces: texts(rule, "namespaces"),
        cluster: flag(rule, "clusterScope"),
    }
}

fn path_rule(rule: &Value) -> PathRule {
    PathRule { verbs: texts(rule, "verbs"), paths: texts(rule, "nonResourceURLs") }
}

/// None of an object that contradicts itself.
pub(super) fn level(object: &Object) -> Option<LevelConfiguration> {
    let spec = object.get(&["spec"])?;
    let part = |name: &str| spec.get(name).filter(|part| part.is_object());
    let (own, response) = match (text(spec, "type"), part("exempt"), part("limited")) {
        // Nothing has to be said of one that serves everybody.
        ("Exempt", exempt, None) => (exempt.unwrap_or(&Value::Null), Response::Serve),
        ("Limited", None, Some(limited)) => (limited, response(limited.get("limitResponse")?)?),
        _ => return None,
    };
    let count = |name: &str| number(own, name).and_then(|count| u32::try_from(count).ok());
    Some(LevelConfiguration {
        name: object.name().to_owned(),
        uid: object.uid().to_owned(),
        shares: count("nominalConcurrencyShares").unwrap_or_default(),
        lends: count("lendablePercent").unwrap_or_default().min(100),
        borrows: count("borrowingLimitPercent"),
        response,
    })
}

fn response(response: &Value) -> Option<Response> {
    let queuing = response.get("queuing").filter(|queuing| queuing.is_object());
    match (text(response, "type"), queuing) {
        ("Reject", None) => Some(Response::Reject),
        ("Queue", Some(queuing)) => {
            let count = |name: &str| number(queuing, name).and_then(|count| u32::try_from(count).ok());
            Some(Response::Queue(Queuing {
                queues: count("queues")?,
                hand: count("handSize")?,
                length: count("queueLengthLimit")?,
            }))
        }
        _ => None,
    }
}
