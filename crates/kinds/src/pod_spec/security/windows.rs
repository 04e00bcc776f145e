//! Rules of what a pod says of its system: Linux or Windows, and what of each goes with it.

use serde_json::Value;

use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, flag, invalid, list, text};

use crate::pod_spec::volume::set;

const NOT_FOR_WINDOWS: &str = "cannot be set for a windows pod";
const NOT_FOR_LINUX: &str = "windows options cannot be set for a linux pod";
/// Where they stand in the spec, or in its security context, that mean nothing to Windows; in the order of
/// Kubernetes.
const OF_LINUX_PODS: [&str; 15] = [
    "securityContext.appArmorProfile",
    "securityContext.seLinuxOptions",
    "hostUsers",
    "hostPID",
    "hostIPC",
    "securityContext.seccompProfile",
    "securityContext.fsGroup",
    "securityContext.fsGroupChangePolicy",
    "securityContext.sysctls",
    "shareProcessNamespace",
    "securityContext.runAsUser",
    "securityContext.runAsGroup",
    "securityContext.supplementalGroups",
    "securityContext.supplementalGroupsPolicy",
    "securityContext.seLinuxChangePolicy",
];
const OF_LINUX_CONTAINERS: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];
/// Bytes of a specification of credentials.
const LONGEST_SPEC: usize = 64 * 1024;

/// What goes with the system that a pod is for.
pub(crate) fn system(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(os) = set(spec, "os") else { return };
    let of_system = path.child("os");
    let empty = Value::Null;
    let of_pod = set(spec, "securityContext").unwrap_or(&empty);
    let context = path.child("securityContext");
    match text(os, "name") {
        "" => errors.push(FieldError::required(&of_system.child("name"), "cannot be empty")),
        "linux" => {
            if set(of_pod, "windowsOptions").is_some() {
                errors.push(FieldError::forbidden(&context.child("windowsOptions"), NOT_FOR_LINUX));
            }
            each_context(spec, path, |of_container, path| {
                if set(of_container, "windowsOptions").is_some() {
                    errors.push(FieldError::forbidden(&path.child("windowsOptions"), NOT_FOR_LINUX));
                }
            });
        }
        "windows" => {
            for place in OF_LINUX_PODS {
                let (of, path, name) = match place.split_once('.') {
                    Some((_, name)) => (of_pod, &context, name),
                    None => (spec, path, place),
                };
                let is_set = set(of, name).is_some_and(|value| match name {
                    "hostPID" | "hostIPC" => value == &Value::Bool(true),
                    "sysctls" => !list(of, name).is_empty(),
                    _ => true,
                });
                if is_set {
                    errors.push(FieldError::forbidden(&path.child(name), NOT_FOR_WINDOWS));
                }
            }
            each_context(spec, path, |of_container, path| {
                for name in OF_LINUX_CONTAINERS {
                    if set(of_container, name).is_some() {
                        errors.push(FieldError::forbidden(&path.child(name), NOT_FOR_WINDOWS));
                    }
                }
            });
        }
        other => errors.push(FieldError::not_supported(&of_system, other, &["linux", "windows"])),
    }
}

/// Calls `look` for the security context of each container that has one.
fn each_context(spec: &Value, path: &Path<'_>, mut look: impl FnMut(&Value, &Path<'_>)) {
    for kind in ["initContainers", "containers", "ephemeralContainers"] {
        let of_kind = path.child(kind);
        for (index, container) in list(spec, kind).iter().enumerate() {
            if let Some(context) = set(container, "securityContext") {
                look(context, &of_kind.index(index).child("securityContext"));
            }
        }
    }
}

/// Containers that are processes of a Windows host: all of a pod's or none, and in the host's network.
pub(crate) fn host_processes(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let of =
        |context: Option<&Value>| context?.get("windowsOptions")?.get("hostProcess").and_then(Value::as_bool);
    let of_pod = of(set(spec, "securityContext"));
    let (mut all, mut of_host) = (0, 0);
    for kind in ["initContainers", "containers", "ephemeralContainers"] {
        let of_kind = path.child(kind);
        for (index, container) in list(spec, kind).iter().enumerate() {
            all += 1;
            let of_container = of(set(container, "securityContext"));
            if let (Some(of_pod), Some(of_container)) = (of_pod, of_container)
                && of_pod != of_container
            {
                let path = of_kind.index(index);
                let path = path.child("securityContext");
                let path = path.child("windowsOptions");
                let message =
                    format!("pod hostProcess value must be identical if both are specified, was {of_pod}");
                errors.push(FieldError::invalid(&path.child("hostProcess"), of_container, message));
            }
            of_host += usize::from(of_container.or(of_pod) == Some(true));
        }
    }
    if of_host == 0 {
        return;
    }
    if of_host != all {
        let message =
            "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid(path, "", message));
    }
    if !flag(spec, "hostNetwork") {
        let message = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(&path.child("hostNetwork"), false, message));
    }
}

/// Who a process is on Windows.
pub(crate) fn options(context: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(options) = set(context, "windowsOptions") else { return };
    let path = path.child("windowsOptions");
    if let Some(name) = set(options, "gmsaCredentialSpecName").and_then(Value::as_str) {
        invalid(errors, &path.child("gmsaCredentialSpecName"), name, names::dns1123_subdomain(name));
    }
    if let Some(spec) = set(options, "gmsaCredentialSpec").and_then(Value::as_str) {
        let path = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            errors.push(FieldError::invalid(&path, spec, "gmsaCredentialSpec cannot be an empty string"));
        } else if spec.len() > LONGEST_SPEC {
            errors.push(FieldError::invalid(&path, spec, "gmsaCredentialSpec size must be under 64 KiB"));
        }
    }
    if let Some(user) = set(options, "runAsUserName").and_then(Value::as_str) {
        for message in user_name(user) {
            errors.push(FieldError::invalid(&path.child("runAsUserName"), user, message));
        }
    }
}

/// What is wrong with a user's name, which may have a domain before it: `DOMAIN\USER`.
fn user_name(name: &str) -> Vec<&'static str> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string"];
    }
    if name.bytes().any(|byte| byte.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters"];
    }
    let (domain, user) = match name.split_once('\\') {
        Some((_, user)) if user.contains('\\') => {
            return vec!["runAsUserName cannot contain more than one backslash"];
        }
        Some((domain, user)) => (Some(domain), user),
        None => (None, name),
    };
    let mut messages = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= 256 {
            messages.push("runAsUserName's Domain length must be under 256 characters");
        }
        if !is_netbios(domain) && !is_dns(domain) {
            messages.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
        }
    }
    if user.is_empty() {
        messages.push("runAsUserName's User cannot be empty");
    } else if user.len() > 104 {
        messages.push("runAsUserName's User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.bytes().all(|byte| byte == b'.' || byte == b' ') {
        messages.push("runAsUserName's User cannot contain only periods or spaces");
    }
    if user.contains(|c| "\"/\\:;|=,+*?<>@[]".contains(c)) {
        messages.push("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]");
    }
    messages
}

fn is_netbios(domain: &str) -> bool {
    !domain.starts_with('.')
        && (1..=15).contains(&domain.chars().count())
        && !domain.contains(|c| "\\/:*?\"<>|".contains(c))
}

fn is_dns(domain: &str) -> bool {
    let is_label = |label: &str| {
        let end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = label.as_bytes();
        end(bytes.first())
            && end(bytes.last())
            && bytes.len() <= 63
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::user_name;

    #[test]
    fn users_of_windows_have_names_with_or_without_a_domain() {
        for good in ["ContainerUser", "DOMAIN\\user", "example.com\\user", "a b"] {
            assert!(user_name(good).is_empty(), "{good}");
        }
        for (bad, words) in [
            ("", "empty string"),
            ("a\u{7}", "control characters"),
            ("a\\b\\c", "more than one backslash"),
            ("a\\", "User cannot be empty"),
            (".a_b_c_d_e_f_g_h_i\\x", "Domain doesn't match"),
            ("..", "only periods or spaces"),
            ("a@b", "the following characters"),
        ] {
            let messages = user_name(bad);
            assert!(messages.iter().any(|message| message.contains(words)), "{bad}: {messages:?}");
        }
    }
}
