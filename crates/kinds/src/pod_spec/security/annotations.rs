//! Rules of annotations that say how a pod or its containers are confined, and other things of pods that were
//! annotations once.

use serde_json::Value;

use model::field::{FieldError, Path, quote};
use model::object::StringMap;
use model::validate::{Errors, list, text};

use crate::pod_spec::rules::names;
use crate::pod_spec::volume::{descending, set};

/// What the name of an annotation begins with that names a container's AppArmor profile.
pub(crate) const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
/// The pod that the kubelet runs by itself, which the API server only shows.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// The annotations of a pod or a template, which are at `path`.
pub(crate) fn all(annotations: StringMap<'_>, spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(value) = annotations.get(MIRROR)
        && text(spec, "nodeName").is_empty()
    {
        let message = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid(&path.key(MIRROR), value, message));
    }
    if let Some(cost) = annotations.get(DELETION_COST)
        && !is_cost(cost)
    {
        errors.push(FieldError::invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer"));
    }
    for (key, value) in annotations.iter() {
        if key == SECCOMP_OF_POD || key.starts_with(SECCOMP_OF_CONTAINER) {
            seccomp(value, &path.child(key), errors);
        }
    }
    let containers = names(spec);
    for (key, value) in annotations.iter() {
        let Some(container) = key.strip_prefix(APPARMOR) else { continue };
        let path = path.key(key);
        if !containers.contains(container) {
            errors.push(FieldError::invalid(&path, container, "container not found"));
        }
        let is_known =
            matches!(value, "runtime/default" | "unconfined" | "") || value.starts_with("localhost/");
        if !is_known {
            let message = format!("invalid AppArmor profile name: {}", quote(value));
            errors.push(FieldError::invalid(&path, value, message));
        }
    }
}

/// What annotations and fields say of the same thing must be the same: rules of new pods and of templates.
pub(crate) fn agree(annotations: StringMap<'_>, spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let profile = |of: &'_ Value, field: &str| -> Option<Value> {
        set(of, "securityContext").and_then(|context| set(context, field)).cloned()
    };
    let context = path.child("securityContext");
    if let (Some(profile), Some(annotation)) =
        (profile(spec, "seccompProfile"), annotations.get(SECCOMP_OF_POD))
    {
        same(&profile, annotation, "seccomp", &context.child("seccompProfile"), errors);
    }
    let is_windows = set(spec, "os").is_some_and(|os| text(os, "name") == "windows");
    let apparmor_of_pod = profile(spec, "appArmorProfile");
    let mut apparmor = Vec::new();
    for kind in ["initContainers", "containers", "ephemeralContainers"] {
        let of_kind = path.child(kind);
        for (index, container) in list(spec, kind).iter().enumerate() {
            let path = of_kind.index(index);
            let path = path.child("securityContext");
            let name = text(container, "name");
            if let (Some(profile), Some(annotation)) = (
                profile(container, "seccompProfile"),
                annotations.get(&format!("{SECCOMP_OF_CONTAINER}{name}")),
            ) {
                same(&profile, annotation, "seccomp", &path.child("seccompProfile"), errors);
            }
            let profile = profile(container, "appArmorProfile").or_else(|| apparmor_of_pod.clone());
            if let (Some(profile), Some(annotation), false) =
                (profile, annotations.get(&format!("{APPARMOR}{name}")), is_windows)
            {
                same(&profile, annotation, "apparmor", &path.child("appArmorProfile"), &mut apparmor);
            }
        }
    }
    errors.append(&mut apparmor);
}

/// Whether an annotation and a field name the same profile.
fn same(profile: &Value, annotation: &str, of: &str, path: &Path<'_>, errors: &mut Errors) {
    let is_same_type = match text(profile, "type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => {
            annotation == "runtime/default" || (of == "seccomp" && annotation == "docker/default")
        }
        "Localhost" => match annotation.strip_prefix("localhost/") {
            Some(name) if set(profile, "localhostProfile").and_then(Value::as_str) != Some(name) => {
                let message = format!("{of} profile in annotation and field must match");
                errors.push(FieldError::forbidden(&path.child("localhostProfile"), message));
                true
            }
            other => other.is_some(),
        },
        _ => true,
    };
    if !is_same_type {
        let message = format!("{of} type in annotation and field must match");
        errors.push(FieldError::forbidden(&path.child("type"), message));
    }
}

fn seccomp(profile: &str, path: &Path<'_>, errors: &mut Errors) {
    if matches!(profile, "runtime/default" | "docker/default" | "unconfined") {
        return;
    }
    match profile.strip_prefix("localhost/") {
        Some(name) => descending(name, path, errors),
        None => errors.push(FieldError::invalid(path, profile, "must be a valid seccomp profile")),
    }
}

/// A number of 32 bits, written as a computer would write it.
fn is_cost(text: &str) -> bool {
    let begins_well = match text.as_bytes() {
        [b'0'] => true,
        [first, ..] => matches!(first, b'-' | b'1'..=b'9'),
        [] => false,
    };
    begins_well && text.parse::<i32>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(spec: Value, annotations: Value, expected: &[&str]) {
        let mut errors = Errors::new();
        let texts = || StringMap::new(annotations.as_object());
        all(texts(), &spec, &Path::root("annotations"), &mut errors);
        agree(texts(), &spec, &Path::root("spec"), &mut errors);
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    fn pod() -> Value {
        json!({"containers": [{"name": "c"}]})
    }

    #[test]
    fn an_annotation_names_a_profile_of_a_container_that_there_is() {
        let of =
            |container: &str, profile: &str| json!({format!("{APPARMOR}{container}"): profile, "o": "x"});
        for good in ["runtime/default", "unconfined", "localhost/mine", ""] {
            check(pod(), of("c", good), &[]);
        }
        let place = |name: &str| format!("annotations[{APPARMOR}{name}]: Invalid value");
        check(pod(), of("d", "unconfined"), &[&format!("{}: \"d\": container not found", place("d"))]);
        check(
            pod(),
            of("c", "mine"),
            &[&format!("{}: \"mine\": invalid AppArmor profile name: \"mine\"", place("c"))],
        );
    }

    #[test]
    fn what_annotations_and_fields_say_is_the_same() {
        let with = |field: &str, profile: Value| json!({"containers": [{"name": "c", "securityContext": {field: profile}}]});
        let apparmor = format!("{APPARMOR}c");
        let own = json!({"type": "Localhost", "localhostProfile": "a"});
        check(with("appArmorProfile", own.clone()), json!({&apparmor: "localhost/a"}), &[]);
        let at = "spec.containers[0].securityContext.appArmorProfile";
        check(
            with("appArmorProfile", own.clone()),
            json!({&apparmor: "localhost/b"}),
            &[&format!(
                "{at}.localhostProfile: Forbidden: apparmor profile in annotation and field must match"
            )],
        );
        let differs = "Forbidden: apparmor type in annotation and field must match";
        for (profile, annotation) in [
            (own, "unconfined"),
            (json!({"type": "RuntimeDefault"}), "unconfined"),
            (json!({"type": "Unconfined"}), "runtime/default"),
        ] {
            let annotations = json!({&apparmor: annotation});
            check(with("appArmorProfile", profile), annotations, &[&format!("{at}.type: {differs}")]);
        }
        let seccomp = format!("{SECCOMP_OF_CONTAINER}c");
        let default = json!({"type": "RuntimeDefault"});
        check(with("seccompProfile", default.clone()), json!({&seccomp: "docker/default"}), &[]);
        check(
            with("seccompProfile", default),
            json!({&seccomp: "unconfined"}),
            &[
                "spec.containers[0].securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match",
            ],
        );
        check(
            pod(),
            json!({SECCOMP_OF_POD: "odd"}),
            &[&format!(
                "annotations.{SECCOMP_OF_POD}: Invalid value: \"odd\": must be a valid seccomp profile"
            )],
        );
    }

    #[test]
    fn costs_are_numbers_and_mirrors_have_a_node() {
        for good in ["0", "-5", "2147483647"] {
            check(pod(), json!({DELETION_COST: good}), &[]);
        }
        for bad in ["+1", "007", "2147483648", "", "a"] {
            let place = format!("annotations[{DELETION_COST}]");
            check(
                pod(),
                json!({DELETION_COST: bad}),
                &[&format!("{place}: Invalid value: \"{bad}\": must be a 32bit integer")],
            );
        }
        check(
            pod(),
            json!({MIRROR: "x"}),
            &[&format!(
                "annotations[{MIRROR}]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set"
            )],
        );
    }
}
