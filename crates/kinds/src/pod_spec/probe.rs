//! Rules of probes and of what is done when a container begins or ends.

use serde_json::Value;

use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, invalid, list, not_negative, number, text};

use super::volume::set;

/// What a handler may do; of these a probe cannot sleep, and a hook cannot call.
const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

/// The three probes of a container, whose pod has `grace` seconds to end.
pub(crate) fn all(container: &Value, grace: Option<i64>, path: &Path<'_>, errors: &mut Errors) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = set(container, name) else { continue };
        let path = path.child(name);
        handler(probe, grace, &path, errors);
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
        } else if let Some(value) = set(probe, "terminationGracePeriodSeconds") {
            let path = path.child("terminationGracePeriodSeconds");
            errors.push(FieldError::invalid(&path, value.clone(), "must not be set for readinessProbes"));
        }
    }
}

/// What is done when a container has begun, and before it ends.
pub(crate) fn lifecycle(container: &Value, grace: Option<i64>, path: &Path<'_>, errors: &mut Errors) {
    let Some(lifecycle) = set(container, "lifecycle") else { return };
    let path = path.child("lifecycle");
    for name in ["postStart", "preStop"] {
        if let Some(of_hook) = set(lifecycle, name) {
            handler(of_hook, grace, &path.child(name), errors);
        }
    }
}

/// What a probe or lifecycle hook does: exactly one thing.
fn handler(handler: &Value, grace: Option<i64>, path: &Path<'_>, errors: &mut Errors) {
    let mut given = 0;
    for name in HANDLERS {
        let Some(action) = set(handler, name) else { continue };
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
            "httpGet" => http_get(action, &path, errors),
            "tcpSocket" => port(action.get("port"), &path.child("port"), errors),
            "grpc" => {
                let number = number(action, "port").unwrap_or_default();
                invalid(errors, &path.child("port"), number, names::port_number(number));
            }
            "sleep" => {
                let seconds = number(action, "seconds").unwrap_or_default();
                if let Some(grace) = grace.filter(|grace| !(0..=*grace).contains(&seconds)) {
                    let message =
                        format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    errors.push(FieldError::invalid(&path, seconds, message));
                }
            }
            _ => {}
        }
    }
    if given == 0 {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
}

fn http_get(action: &Value, path: &Path<'_>, errors: &mut Errors) {
    if text(action, "path").is_empty() {
        errors.push(FieldError::required(&path.child("path"), ""));
    }
    port(action.get("port"), &path.child("port"), errors);
    let schemes = ["HTTP", "HTTPS"];
    let scheme = text(action, "scheme");
    if !schemes.contains(&scheme) {
        errors.push(FieldError::not_supported(&path.child("scheme"), scheme, &schemes));
    }
    for header in list(action, "httpHeaders") {
        let name = text(header, "name");
        invalid(errors, &path.child("httpHeaders"), name, names::http_header(name));
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
