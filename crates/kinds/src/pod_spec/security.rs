//! Rules of security contexts, and of kernel parameters.

pub(crate) mod annotations;
pub(crate) mod windows;

use std::collections::HashSet;

use serde_json::Value;

use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, flag, invalid, list, number, text};

use super::rules::Whole;
use super::volume::{descending, set};

const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
/// Bytes of an AppArmor profile's name.
const LONGEST_PROFILE: usize = 4095;
/// Bytes of a kernel parameter's name.
const LONGEST_SYSCTL: usize = 253;
const MAX_ID: i64 = i32::MAX as i64;

/// The security context of a pod.
pub(crate) fn of_pod(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(context) = set(spec, "securityContext") else { return };
    let path = path.child("securityContext");
    ids(context, &["fsGroup", "runAsUser", "runAsGroup"], &path, errors);
    let groups = path.child("supplementalGroups");
    for (index, group) in list(context, "supplementalGroups").iter().enumerate() {
        let id = group.as_i64().unwrap_or_default();
        invalid(errors, &groups.index(index), id, names::in_range(id, 0, MAX_ID));
    }
    if flag(spec, "shareProcessNamespace") && flag(spec, "hostPID") {
        let message = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(&path.child("shareProcessNamespace"), true, message));
    }
    let host = OfHost { network: flag(spec, "hostNetwork"), ipc: flag(spec, "hostIPC") };
    sysctls(context, host, &path, errors);
    word(context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], &path, errors);
    seccomp(context, &path, errors);
    windows::options(context, &path, errors);
    apparmor(context, &path, errors);
    word(context, "supplementalGroupsPolicy", &["Merge", "Strict"], &path, errors);
    word(context, "seLinuxChangePolicy", &["MountOption", "Recursive"], &path, errors);
}

/// The security context of a container.
pub(crate) fn of_container(context: &Value, whole: Whole<'_>, path: &Path<'_>, errors: &mut Errors) {
    ids(context, &["runAsUser", "runAsGroup"], path, errors);
    proc_mount(context, !whole.has_users_of_host(), path, errors);
    seccomp(context, path, errors);
    if context.get("allowPrivilegeEscalation") == Some(&Value::Bool(false)) {
        if flag(context, "privileged") {
            let message = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(FieldError::invalid(path, context.clone(), message));
        }
        let added = set(context, "capabilities").map_or(&[][..], |capabilities| list(capabilities, "add"));
        for _ in added.iter().filter(|one| *one == "CAP_SYS_ADMIN") {
            let message =
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(FieldError::invalid(path, context.clone(), message));
        }
    }
    windows::options(context, path, errors);
    apparmor(context, path, errors);
}

fn ids(context: &Value, fields: &[&str], path: &Path<'_>, errors: &mut Errors) {
    for name in fields {
        if let Some(id) = number(context, name) {
            invalid(errors, &path.child(name), id, names::in_range(id, 0, MAX_ID));
        }
    }
}

/// One of a few words, where there is one.
fn word(context: &Value, name: &str, supported: &[&str], path: &Path<'_>, errors: &mut Errors) {
    if let Some(word) = set(context, name).and_then(Value::as_str)
        && !supported.contains(&word)
    {
        errors.push(FieldError::not_supported(&path.child(name), word, supported));
    }
}

/// The system call filter of the security context `context`, which is at `path`.
fn seccomp(context: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(profile) = set(context, "seccompProfile") else { return };
    let path = path.child("seccompProfile");
    let kind = text(profile, "type");
    profile_type(kind, "seccompProfile", &path, errors);
    let of_name = path.child("localhostProfile");
    match (kind, set(profile, "localhostProfile")) {
        ("Localhost", None) => {
            errors.push(FieldError::required(&of_name, "must be set when seccomp type is Localhost"));
        }
        ("Localhost", Some(name)) => descending(name.as_str().unwrap_or_default(), &of_name, errors),
        (_, Some(_)) => {
            let message = "can only be set when seccomp type is Localhost";
            errors.push(FieldError::invalid(&of_name, profile.clone(), message));
        }
        (_, None) => {}
    }
}

/// The AppArmor profile of the security context `context`, which is at `path`.
fn apparmor(context: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(profile) = set(context, "appArmorProfile") else { return };
    let path = path.child("appArmorProfile");
    let kind = text(profile, "type");
    profile_type(kind, "appArmorProfile", &path, errors);
    let of_name = path.child("localhostProfile");
    const NEEDED: &str = "must be set when AppArmor type is Localhost";
    match (kind, set(profile, "localhostProfile")) {
        ("Localhost", None) => errors.push(FieldError::required(&of_name, NEEDED)),
        ("Localhost", Some(name)) => {
            let name = name.as_str().unwrap_or_default();
            if name.trim() != name {
                errors.push(FieldError::invalid(&of_name, name, "must not be padded with whitespace"));
            } else if name.is_empty() {
                errors.push(FieldError::required(&of_name, NEEDED));
            }
            if name.len() > LONGEST_PROFILE {
                errors.push(FieldError::too_long(&of_name, LONGEST_PROFILE));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            let message = "can only be set when AppArmor type is Localhost";
            errors.push(FieldError::invalid(&of_name, name.clone(), message));
        }
        _ => {}
    }
}

fn profile_type(kind: &str, field: &str, path: &Path<'_>, errors: &mut Errors) {
    if kind.is_empty() {
        let message = format!("type is required when {field} is set");
        errors.push(FieldError::required(&path.child("type"), message));
    } else if !PROFILE_TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(&path.child("type"), kind, &PROFILE_TYPES));
    }
}

/// How a container sees procfs: `own_users` says whether its pod has users of its own.
fn proc_mount(context: &Value, own_users: bool, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("procMount");
    match text(context, "procMount") {
        "" | "Default" => {}
        "Unmasked" if own_users => {}
        "Unmasked" => {
            errors.push(FieldError::invalid(
                &path,
                "Unmasked",
                "`hostUsers` must be false to use `Unmasked`",
            ));
        }
        other => errors.push(FieldError::not_supported(&path, other, &["Default", "Unmasked"])),
    }
}

/// The namespaces of the host that a pod is in, of those that kernel parameters belong to.
#[derive(Clone, Copy, Debug, Default)]
struct OfHost {
    network: bool,
    ipc: bool,
}

/// The kernel parameters of a pod's security context, which is at `path`.
fn sysctls(context: &Value, host: OfHost, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("sysctls");
    let mut seen = HashSet::new();
    for (index, sysctl) in list(context, "sysctls").iter().enumerate() {
        let (path, name) = (path.index(index), text(sysctl, "name"));
        let path = path.child("name");
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if !is_sysctl(name) {
            errors.push(FieldError::invalid(
                &path,
                name,
                format!(
                    "must have at most {LONGEST_SYSCTL} characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
                ),
            ));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        if let Some(message) = changes_host(name, host) {
            errors.push(FieldError::invalid(&path, name, message));
        }
    }
}

/// Why a kernel parameter is not this pod's to set.
fn changes_host(name: &str, host: OfHost) -> Option<&'static str> {
    // The words of the beginnings have neither dots nor slashes in them.
    let plain = name.replace('/', ".");
    let begins = |starts: &[&str]| starts.iter().any(|start| plain.starts_with(start));
    let of_ipc = plain == "kernel.sem" || begins(&["kernel.shm", "kernel.msg", "fs.mqueue."]);
    match () {
        () if host.network && begins(&["net."]) => Some("may not be specified when 'hostNetwork' is true"),
        () if host.ipc && of_ipc => Some("may not be specified when 'hostIPC' is true"),
        () => None,
    }
}

/// Whether this is how a kernel parameter may be named: words between dots or slashes.
fn is_sysctl(name: &str) -> bool {
    let end = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inner = |byte: u8| end(byte) || byte == b'-' || byte == b'_';
    let word = |word: &str| {
        let bytes = word.as_bytes();
        matches!(bytes, [first, .., last] if end(*first) && end(*last) && bytes.iter().all(|&byte| inner(byte)))
            || matches!(bytes, [one] if end(*one))
    };
    name.len() <= LONGEST_SYSCTL && name.split(['.', '/']).all(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(context: Value, expected: &[&str]) {
        let mut errors = Errors::new();
        let path = Path::root("securityContext");
        seccomp(&context, &path, &mut errors);
        apparmor(&context, &path, &mut errors);
        sysctls(&context, OfHost::default(), &path, &mut errors);
        proc_mount(&context, false, &path, &mut errors);
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found:?} does not say {expected:?}");
        }
    }

    #[test]
    fn kernel_parameters_have_names_and_each_is_named_once() {
        let named = |names: &[&str]| {
            let all: Vec<Value> = names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
            json!({"sysctls": all})
        };
        check(
            named(&[
                "kernel.shm_rmid_forced",
                "net/ipv4/conf/eth0/forwarding",
                "a",
                "net.ipv4.conf.eth0-1.x",
            ]),
            &[],
        );
        check(named(&["net.a", "net.a"]), &["Duplicate value"]);
        check(named(&[""]), &["Required value"]);
        for bad in
            ["..", "a..b", "/a", "a.", "-a", "a_", "A", "a b", "net.ipv4/../x", "a\n", &"a".repeat(254)]
        {
            check(named(&[bad]), &["must have at most 253 characters"]);
        }
    }

    #[test]
    fn an_apparmor_profile_has_a_type_and_a_name_where_it_is_the_node_s() {
        let of = |profile: Value| json!({"appArmorProfile": profile});
        check(of(json!({"type": "RuntimeDefault"})), &[]);
        check(of(json!({"type": "Localhost", "localhostProfile": "my own"})), &[]);
        check(of(json!({"type": "Localhost"})), &["must be set when AppArmor type is Localhost"]);
        check(
            of(json!({"type": "Localhost", "localhostProfile": ""})),
            &["must be set when AppArmor type is"],
        );
        check(
            of(json!({"type": "Localhost", "localhostProfile": " x"})),
            &["must not be padded with whitespace"],
        );
        check(
            of(json!({"type": "Unconfined", "localhostProfile": "x"})),
            &["can only be set when AppArmor type is Localhost"],
        );
        check(of(json!({"type": "Other"})), &["Unsupported value"]);
        check(of(json!({})), &["type is required when appArmorProfile is set"]);
    }

    #[test]
    fn procfs_is_unmasked_only_for_a_pod_with_users_of_its_own() {
        check(json!({"procMount": "Default"}), &[]);
        check(json!({"procMount": "Unmasked"}), &["`hostUsers` must be false to use `Unmasked`"]);
        check(json!({"procMount": "Odd"}), &["Unsupported value"]);
    }

    #[test]
    fn a_profile_of_the_node_is_named_by_a_path_that_leads_down() {
        let of = |profile: Value| json!({"seccompProfile": profile});
        check(of(json!({"type": "RuntimeDefault"})), &[]);
        check(of(json!({"type": "Localhost", "localhostProfile": "team/one.json"})), &[]);
        check(of(json!({"type": "Localhost"})), &["must be set when seccomp type is Localhost"]);
        check(
            of(json!({"type": "Localhost", "localhostProfile": "/etc/shadow"})),
            &["must be a relative path"],
        );
        check(of(json!({"type": "Localhost", "localhostProfile": "../x"})), &["must not contain '..'"]);
        check(of(json!({"type": "Unconfined", "localhostProfile": "x"})), &["can only be set when"]);
        check(of(json!({"type": "Other"})), &["Unsupported value"]);
        check(of(json!({})), &["type is required"]);
    }

    #[test]
    fn no_kernel_parameter_of_a_namespace_of_the_host_is_set() {
        let check = |host: OfHost, expected: &[&str]| {
            let names =
                ["net.ipv4.tcp_syncookies", "net/core/somaxconn", "kernel.shm_rmid_forced", "kernel.sem"];
            let listed: Vec<Value> = names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
            let mut errors = Errors::new();
            sysctls(&json!({"sysctls": listed}), host, &Path::root("securityContext"), &mut errors);
            let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
        };
        check(OfHost::default(), &[]);
        let network = "may not be specified when 'hostNetwork' is true";
        let ipc = "may not be specified when 'hostIPC' is true";
        check(
            OfHost { network: true, ipc: true },
            &[
                &format!(
                    "securityContext.sysctls[0].name: Invalid value: \"net.ipv4.tcp_syncookies\": {network}"
                ),
                &format!("securityContext.sysctls[1].name: Invalid value: \"net/core/somaxconn\": {network}"),
                &format!("securityContext.sysctls[2].name: Invalid value: \"kernel.shm_rmid_forced\": {ipc}"),
                &format!("securityContext.sysctls[3].name: Invalid value: \"kernel.sem\": {ipc}"),
            ],
        );
    }
}
