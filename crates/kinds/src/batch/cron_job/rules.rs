//! Rules of CronJob.

use model::Object;
use model::field::{FieldError, Path};
use model::names::dns1123_subdomain;
use model::schedule::{self, Schedule};
use model::validate::{Errors, not_negative, one_of, text};
use serde_json::Value;

use crate::job;

/// What is made gets eleven characters more, and may have 63.
const NAME_BYTES: usize = 52;
/// A part of the name of a time zone is no longer.
const ZONE_BYTES: usize = 14;

pub(super) fn name(name: &str) -> Vec<String> {
    let mut messages = dns1123_subdomain(name);
    if name.len() > NAME_BYTES {
        messages.push(format!("must be no more than {NAME_BYTES} characters"));
    }
    messages
}

pub(super) fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let path = Path::root("spec");
    let (times, of_schedule) = (text(spec, "schedule"), path.child("schedule"));
    if times.is_empty() {
        errors.push(FieldError::required(&of_schedule, ""));
    } else if let Err(message) = Schedule::parse(times, None) {
        errors.push(FieldError::invalid(&of_schedule, times, message));
    }
    if times.contains("TZ") {
        let message = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.push(FieldError::invalid(&of_schedule, times, message));
    }
    not_negative(errors, spec, "startingDeadlineSeconds", &path);
    if let Some(zone) = spec.get("timeZone").and_then(Value::as_str) {
        time_zone(zone, &path.child("timeZone"), errors);
    }
    one_of(errors, spec, "concurrencyPolicy", &path, &["Allow", "Forbid", "Replace"]);
    let of_template = path.child("jobTemplate");
    let of_job = of_template.child("spec");
    let job = spec.pointer("/jobTemplate/spec").unwrap_or(&empty);
    job::spec(job, &of_job, errors);
    if let Some(selector) = job.get("selector") {
        let message = "`selector` will be auto-generated";
        errors.push(FieldError::invalid(&of_job.child("selector"), selector.clone(), message));
    }
    if job.get("manualSelector") == Some(&Value::Bool(true)) {
        let path = of_job.child("manualSelector");
        errors.push(FieldError::not_supported(&path, true, &["nil", "false"]));
    }
    not_negative(errors, spec, "successfulJobsHistoryLimit", &path);
    not_negative(errors, spec, "failedJobsHistoryLimit", &path);
}

fn time_zone(zone: &str, path: &Path<'_>, errors: &mut Errors) {
    if zone.is_empty() {
        errors.push(FieldError::invalid(path, zone, "timeZone must be nil or non-empty string"));
        return;
    }
    let fits = |part: &str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte);
        !matches!(part, "" | "." | "..")
            && !part.starts_with('-')
            && part.len() <= ZONE_BYTES
            && part.bytes().all(inside)
    };
    if !zone.split('/').all(fits) {
        errors.push(FieldError::invalid(path, zone, format!("unknown time zone {zone}")));
        return;
    }
    if zone.eq_ignore_ascii_case("local") {
        let message = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(FieldError::invalid(path, zone, message));
    }
    if schedule::zone(zone).is_none() {
        errors.push(FieldError::invalid(path, zone, format!("unknown time zone {zone}")));
    }
}
