//! What the status of a Job may be, and become.

use std::collections::HashSet;

use model::Object;
use model::field::{FieldError, Path};
use model::validate::{Errors, not_negative};
use serde_json::Value;

use super::has;
use crate::job::{indexes, is_indexed};

pub(super) fn rules(object: &Object, old: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let status = object.get(&["status"]).unwrap_or(&empty);
    let path = Path::root("status");
    for name in ["active", "succeeded", "failed", "ready", "terminating"] {
        not_negative(errors, status, name, &path);
    }
    uncounted(object, &path, errors);
    conditions(object, &path, errors);
    finished(object, &path, errors);
    lists(object, &path, errors);
    change(object, old, &path, errors);
}

fn count(object: &Object, name: &str) -> i64 {
    object.get_i64(&["status", name]).unwrap_or_default()
}

fn refuse(errors: &mut Errors, path: &Path<'_>, message: &str) {
    errors.push(FieldError { value: None, ..FieldError::invalid(path, Value::Null, message) });
}

/// Pods that ended and are not counted yet are each told once.
fn uncounted(object: &Object, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("uncountedTerminatedPods");
    let mut seen = HashSet::new();
    for side in ["succeeded", "failed"] {
        let path = path.child(side);
        let pods = object.get_list(&["status", "uncountedTerminatedPods", side]);
        for (index, uid) in pods.iter().filter_map(Value::as_str).enumerate() {
            if uid.is_empty() {
                errors.push(FieldError::invalid(&path.index(index), uid, "must not be empty"));
            } else if !seen.insert(uid) {
                errors.push(FieldError::duplicate(&path.index(index), uid));
            }
        }
    }
}

fn conditions(object: &Object, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("conditions");
    let holds = |condition| has(object, condition);
    let (complete, failed) = (holds("Complete"), holds("Failed"));
    let (met, target) = (holds("SuccessCriteriaMet"), holds("FailureTarget"));
    let has_policy = object.get(&["spec", "successPolicy"]).is_some();
    let wrong = [
        (complete && failed, "cannot set Complete=True and Failed=true conditions"),
        (complete && target, "cannot set Complete=True and FailureTarget=true conditions"),
        (failed && !target, "cannot set Failed=True condition without the FailureTarget=true condition"),
        (
            complete && !met,
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        ),
        (met && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        (met && target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
        (
            has_policy && !met && complete,
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        ),
    ];
    for (_, message) in wrong.into_iter().filter(|(is_so, _)| *is_so) {
        refuse(errors, &path, message);
    }
}

/// What has finished has its times, and no pods.
fn finished(object: &Object, path: &Path<'_>, errors: &mut Errors) {
    let complete = has(object, "Complete");
    let is_finished = complete || has(object, "Failed");
    let time = |name: &str| object.get_str(&["status", name]);
    let (start, end) = (time("startTime"), time("completionTime"));
    let of_end = path.child("completionTime");
    if let Some(end) = end.filter(|_| !complete) {
        let message = "cannot set completionTime when there is no Complete=True condition";
        errors.push(FieldError::invalid(&of_end, end, message));
    }
    if end.is_none() && complete {
        errors.push(FieldError::required(&of_end, "completionTime is required for Complete jobs"));
    }
    let parsed = |text: Option<&str>| text.and_then(model::time::parse);
    if let (Some(from), Some(to), Some(end)) = (parsed(start), parsed(end), end)
        && to < from
    {
        let message = "completionTime cannot be set before startTime";
        errors.push(FieldError::invalid(&of_end, end, message));
    }
    if !is_finished {
        return;
    }
    if start.is_none() {
        let path = path.child("startTime");
        errors.push(FieldError::required(&path, "startTime is required for finished job"));
    }
    for name in ["active", "terminating"] {
        let count = count(object, name);
        if count > 0 {
            let message = format!("{name}>0 is invalid for finished job");
            errors.push(FieldError::invalid(&path.child(name), count, message));
        }
    }
    let place = ["status", "uncountedTerminatedPods"];
    let is_there = |side: &str| !object.get_list(&[place[0], place[1], side]).is_empty();
    if is_there("succeeded") || is_there("failed") {
        let shown = object.get(&place).cloned().unwrap_or(Value::Null);
        let message = "uncountedTerminatedPods needs to be empty for finished job";
        errors.push(FieldError::invalid(&path.child("uncountedTerminatedPods"), shown, message));
    }
}

/// The indexes that succeeded and failed.
fn lists(object: &Object, path: &Path<'_>, errors: &mut Errors) {
    let list = |name: &str| object.get_str(&["status", name]);
    let (done, failed) = (list("completedIndexes").unwrap_or_default(), list("failedIndexes"));
    let (of_done, of_failed) = (path.child("completedIndexes"), path.child("failedIndexes"));
    let per_index = object.get(&["spec", "backoffLimitPerIndex"]).is_some();
    if let Some(completions) = object.get_i64(&["spec", "completions"]) {
        let done_parts = indexes::parse(done, completions);
        if let Err(error) = &done_parts {
            let message = format!("error parsing completedIndexes: {error}");
            errors.push(FieldError::invalid(&of_done, done, message));
        }
        let failed_parts = failed.map(|failed| (failed, indexes::parse(failed, completions)));
        if let Some((failed, Err(error))) = failed_parts.as_ref().filter(|_| per_index) {
            let message = format!("error parsing failedIndexes: {error}");
            errors.push(FieldError::invalid(&of_failed, *failed, message));
        }
        if let (Ok((done, _)), Some((text, Ok((failed, _))))) = (done_parts, failed_parts)
            && let Some(index) = indexes::overlap(&done, &failed)
        {
            let message = format!("failedIndexes and completedIndexes overlap at index: {index}");
            errors.push(FieldError::invalid(&of_failed, text, message));
        }
    }
    if !done.is_empty() && !object.get(&["spec"]).is_some_and(is_indexed) {
        let message = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(FieldError::invalid(&of_done, done, message));
    }
    if let Some(failed) = failed.filter(|_| !per_index) {
        let message = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.push(FieldError::invalid(&of_failed, failed, message));
    }
    let active = count(object, "active");
    if let Some(ready) = object.get_i64(&["status", "ready"]).filter(|ready| *ready > active) {
        let message = "cannot set more ready pods than active";
        errors.push(FieldError::invalid(&path.child("ready"), ready, message));
    }
}

fn change(object: &Object, old: &Object, path: &Path<'_>, errors: &mut Errors) {
    let of_conditions = path.child("conditions");
    for condition in ["Failed", "Complete", "FailureTarget"] {
        if has(old, condition) && !has(object, condition) {
            let message = format!("cannot disable the terminal {condition}=True condition");
            refuse(errors, &of_conditions, &message);
        }
    }
    let place = |name| ["spec", name];
    let shrinks = object.get(&["spec"]).is_some_and(is_indexed)
        && object.get(&place("completions")) == object.get(&place("parallelism"));
    for (name, kept) in [("failed", true), ("succeeded", !shrinks)] {
        if kept && count(object, name) < count(old, name) {
            let message = format!("cannot decrease the {name} counter");
            errors.push(FieldError::invalid(&path.child(name), count(object, name), message));
        }
    }
    let time = |object: &Object, name: &str| object.get_str(&["status", name]).map(str::to_owned);
    let end = "completionTime";
    if let (Some(now), Some(before)) = (time(object, end), time(old, end))
        && now != before
    {
        errors.push(FieldError::invalid(&path.child(end), now, "completionTime cannot be mutated"));
    }
    let start = "startTime";
    let suspended = object.get(&["spec", "suspend"]) == Some(&Value::Bool(true));
    // What goes on begins its time anew.
    let resumes = has(old, "Suspended") && !has(object, "Suspended");
    if time(old, start).is_some() && time(old, start) != time(object, start) && !suspended && !resumes {
        let message = "startTime cannot be removed for unsuspended job";
        errors.push(FieldError::required(&path.child(start), message));
    }
    let (met, was_met) = (has(object, "SuccessCriteriaMet"), has(old, "SuccessCriteriaMet"));
    if was_met && !met {
        refuse(errors, &of_conditions, "cannot disable the SuccessCriteriaMet=True condition");
    }
    if has(old, "Complete") && !was_met && met {
        let message = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        refuse(errors, &of_conditions, message);
    }
}
