//! Rules of security contexts that pods and containers have in common, and of kernel parameters.

use std::collections::HashSet;

use serde_json::Value;

use model::field::{FieldError, Path};
use model::object::StringMap;
use model::validate::{Errors, list, text};

const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
/// What the name of an annotation begins with that names a container's AppArmor profile.
const APPARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
/// Bytes of an AppArmor profile's name.
const LONGEST_PROFILE: usize = 4095;
/// Bytes of a kernel parameter's name.
const LONGEST_SYSCTL: usize = 253;

/// The system call filter of the security context `context`, which is at `path`.
pub(crate) fn seccomp(context: &Value, path: &Path<'_>, errors: &mut Errors) {
    profile(context, "seccompProfile", "seccomp", path, errors, descending);
}

/// The AppArmor profile of the security context `context`, which is at `path`.
pub(crate) fn apparmor(context: &Value, path: &Path<'_>, errors: &mut Errors) {
    profile(context, "appArmorProfile", "AppArmor", path, errors, |name, path, errors| {
        if name.trim() != name {
            errors.push(FieldError::invalid(path, name, "must not be padded with whitespace"));
        } else if name.is_empty() {
            errors.push(FieldError::required(path, "must be set when AppArmor type is Localhost"));
        } else if name.len() > LONGEST_PROFILE {
            errors.push(FieldError::invalid(
                path,
                name,
                format!("must be no more than {LONGEST_PROFILE} bytes"),
            ));
        }
    });
}

/// A profile by its type and, if it is one of the node's own, its name, which `check` looks at.
fn profile(
    context: &Value,
    field: &str,
    kind_of: &str,
    path: &Path<'_>,
    errors: &mut Errors,
    check: impl Fn(&str, &Path<'_>, &mut Errors),
) {
    let Some(profile) = context.get(field).filter(|profile| !profile.is_null()) else { return };
    let path = path.child(field);
    let (kind, named) =
        (text(profile, "type"), profile.get("localhostProfile").filter(|name| !name.is_null()));
    match (kind, named) {
        ("", _) => errors
            .push(FieldError::required(&path.child("type"), format!("type is required when {field} is set"))),
        ("Localhost", None) => errors.push(FieldError::required(
            &path.child("localhostProfile"),
            format!("must be set when {kind_of} type is Localhost"),
        )),
        ("Localhost", Some(name)) => {
            check(name.as_str().unwrap_or_default(), &path.child("localhostProfile"), errors);
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => errors.push(FieldError::invalid(
            &path.child("localhostProfile"),
            name.clone(),
            format!("can only be set when {kind_of} type is Localhost"),
        )),
        ("RuntimeDefault" | "Unconfined", None) => {}
        (other, _) => errors.push(FieldError::not_supported(&path.child("type"), other, &PROFILE_TYPES)),
    }
}

/// The annotations of a pod that name the AppArmor profiles of its containers, which are called `containers`.
pub(crate) fn apparmor_annotations(
    annotations: StringMap<'_>,
    containers: &HashSet<&str>,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    for (key, value) in annotations.iter() {
        let Some(container) = key.strip_prefix(APPARMOR_ANNOTATION) else { continue };
        let path = path.child(key);
        if !containers.contains(container) {
            errors.push(FieldError::invalid(&path, container, "container not found"));
        }
        let is_known = matches!(value, "runtime/default" | "unconfined" | "")
            || value.strip_prefix("localhost/").is_some_and(|name| !name.is_empty());
        if !is_known {
            let message = format!("invalid AppArmor profile name: {value:?}");
            errors.push(FieldError::invalid(&path, value, message));
        }
    }
}

/// How a container sees procfs: `own_users` says whether its pod has users of its own.
pub(crate) fn proc_mount(context: &Value, own_users: bool, path: &Path<'_>, errors: &mut Errors) {
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
pub(crate) struct OfHost {
    pub(crate) network: bool,
    pub(crate) ipc: bool,
}

/// The kernel parameters of a pod's security context, which is at `path`.
pub(crate) fn sysctls(context: &Value, host: OfHost, path: &Path<'_>, errors: &mut Errors) {
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

/// A path that leads down from a directory of the node's.
fn descending(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.push(FieldError::required(path, "must be set when seccomp type is Localhost"));
    }
    if name.starts_with('/') {
        errors.push(FieldError::invalid(path, name, "must be a relative path"));
    }
    if name.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, name, "must not contain '..'"));
    }
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
    fn an_annotation_names_a_profile_of_a_container_that_there_is() {
        let check = |key: &str, value: &str, expected: &str| {
            let annotations = json!({format!("{APPARMOR_ANNOTATION}{key}"): value, "other": "x"});
            let mut errors = Errors::new();
            let path = Path::root("metadata");
            apparmor_annotations(
                StringMap::new(annotations.as_object()),
                &HashSet::from(["c"]),
                &path,
                &mut errors,
            );
            let found = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{found}");
        };
        for good in ["runtime/default", "unconfined", "localhost/mine", ""] {
            check("c", good, "");
        }
        check("d", "unconfined", "container not found");
        check("c", "mine", "invalid AppArmor profile name: \"mine\"");
        check("c", "localhost/", "invalid AppArmor profile name");
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
