//! Rules of probes and lifecycle handlers.

use serde_json::Value;

use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, invalid, list, not_negative, number, one_of, text};

const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

/// The three probes of a container.
pub(crate) fn all(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get(name) else { continue };
        let path = path.child(name);
        handler(probe, &path, errors);
        for field in
            ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            not_negative(errors, probe, field, &path);
        }
        if let Some(seconds) = number(probe, "terminationGracePeriodSeconds").filter(|seconds| *seconds <= 0)
        {
            let path = path.child("terminationGracePeriodSeconds");
            errors.push(FieldError::invalid(&path, seconds, "must be greater than 0"));
        }
        if name != "readinessProbe" {
            if let Some(times) = number(probe, "successThreshold").filter(|times| *times != 1) {
                errors.push(FieldError::invalid(&path.child("successThreshold"), times, "must be 1"));
            }
        } else if probe.get("terminationGracePeriodSeconds").is_some() {
            let value = probe["terminationGracePeriodSeconds"].clone();
            let path = path.child("terminationGracePeriodSeconds");
            errors.push(FieldError::invalid(&path, value, "must not be set for readinessProbes"));
        }
    }
}

/// What a probe or lifecycle hook does: exactly one thing.
pub(crate) fn handler(handler: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut given = 0;
    for name in HANDLERS {
        let Some(action) = handler.get(name) else { continue };
        let path = path.child(name);
        given += 1;
        if given > 1 {
            errors.push(FieldError::forbidden(&path, "may not specify more than 1 handler type"));
            continue;
        }
        match name {
            "exec" if list(action, "command").is_empty() => {
                errors.push(FieldError::required(&path.child("command"), ""));
            }
            "httpGet" => {
                if text(action, "path").is_empty() {
                    errors.push(FieldError::required(&path.child("path"), ""));
                }
                port(action.get("port"), &path.child("port"), errors);
                one_of(errors, action, "scheme", &path, &["HTTP", "HTTPS"]);
            }
            "tcpSocket" => port(action.get("port"), &path.child("port"), errors),
            "grpc" => {
                let number = number(action, "port").unwrap_or_default();
                invalid(errors, &path.child("port"), number, names::port_number(number));
            }
            _ => {}
        }
    }
    if given == 0 {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
}

/// A port by number or by name.
pub(crate) fn port(port: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    match port {
        Some(Value::String(name)) => invalid(errors, path, name.as_str(), names::port_name(name)),
        other => {
            let number = other.and_then(Value::as_i64).unwrap_or_default();
            invalid(errors, path, number, names::port_number(number));
        }
    }
}
