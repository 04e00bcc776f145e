//! Columns of Event, in either of its two groups.

use base::Timestamp;
use model::{Object, time};
use serde_json::Value;

use apiserver::table::{Column, integer, since, text, wide};

pub(crate) const COLUMNS: &[Column] = &[
    text("Last Seen", "How long ago it happened last."),
    text("Type", "Normal or Warning."),
    text("Reason", "Why, in one word."),
    text("Object", "What it happened to."),
    wide("Subobject", "Which part of it."),
    wide("Source", "Who reported it."),
    text("Message", "What happened."),
    wide("First Seen", "How long ago it happened first."),
    integer("Count", "How often it happened.").wide(),
    wide("Name", "The object's name.").naming(),
];

pub(crate) fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let either =
        |old: &[&str], new: &[&str]| object.get_str(old).or_else(|| object.get_str(new)).unwrap_or_default();
    let moment = |path: &[&str]| object.get_str(path).and_then(time::parse);
    let first = moment(&["firstTimestamp"])
        .or_else(|| moment(&["deprecatedFirstTimestamp"]))
        .or_else(|| moment(&["eventTime"]));
    let single = moment(&["lastTimestamp"]).or_else(|| moment(&["deprecatedLastTimestamp"])).or(first);
    let (last, count) = match object.get(&["series"]) {
        Some(series) => {
            (moment(&["series", "lastObservedTime"]), series["count"].as_i64().unwrap_or_default())
        }
        None => {
            let count = object.get_i64(&["count"]).or_else(|| object.get_i64(&["deprecatedCount"]));
            (single, count.filter(|count| *count != 0).unwrap_or(1))
        }
    };
    let kind = either(&["involvedObject", "kind"], &["regarding", "kind"]).to_lowercase();
    let name = either(&["involvedObject", "name"], &["regarding", "name"]);
    let target = if name.is_empty() { kind } else { format!("{kind}/{name}") };
    vec![
        since(last, now).into(),
        object.get_str(&["type"]).unwrap_or_default().into(),
        object.get_str(&["reason"]).unwrap_or_default().into(),
        target.into(),
        either(&["involvedObject", "fieldPath"], &["regarding", "fieldPath"]).into(),
        source(object).into(),
        either(&["message"], &["note"]).trim().into(),
        since(first, now).into(),
        count.into(),
        object.name().into(),
    ]
}

fn source(object: &Object) -> String {
    let part = |old: &str, reporting: &str| {
        let deprecated =
            object.get_str(&["source", old]).or_else(|| object.get_str(&["deprecatedSource", old]));
        deprecated
            .filter(|text| !text.is_empty())
            .or_else(|| object.get_str(&[reporting]))
            .unwrap_or_default()
    };
    let component = match part("component", "reportingComponent") {
        "" => object.get_str(&["reportingController"]).unwrap_or_default(),
        component => component,
    };
    let instance = part("host", "reportingInstance");
    if instance.is_empty() { component.to_owned() } else { format!("{component}, {instance}") }
}
