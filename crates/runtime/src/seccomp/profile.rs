//! Profiles in Docker's own format, which has more than OCI's: architectures by the machine's own,
//! and rules for some processors, capabilities and kernels only.
//!
//! Source: the behaviour of `github.com/moby/profiles`. Unlike there, a key that is not known is an
//! error: what it restricts would be lost.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Architecture;
use crate::spec::{Seccomp, SeccompAction, SeccompArg, SeccompRule};

/// Why a profile cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It is not JSON of the format.
    #[error("decode the seccomp profile")]
    Json(#[from] serde_json::Error),
    /// A key at the outermost level.
    #[error("the seccomp profile has an unknown key `{0}`")]
    Key(String),
    /// Two keys that exclude each other.
    #[error("both '{0}' and '{1}' are specified in the seccomp profile, use either '{0}' or '{1}'")]
    Both(&'static str, &'static str),
    /// A kernel version.
    #[error("`{0}` in the seccomp profile is no kernel version, for example `4.8`")]
    Kernel(String),
    /// No default action, though there are rules.
    #[error("the seccomp profile has no `defaultAction`")]
    NoDefault,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    #[serde(default)]
    default_action: Value,
    default_errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "nullable")]
    architectures: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    arch_map: Vec<ArchitectureMap>,
    #[serde(default, deserialize_with = "nullable")]
    flags: Vec<String>,
    listener_path: Option<String>,
    #[serde(default, rename = "listenerMetadata")]
    _listener_metadata: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    syscalls: Vec<Rule>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchitectureMap {
    architecture: String,
    #[serde(default, deserialize_with = "nullable")]
    sub_architectures: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    #[serde(default, deserialize_with = "nullable")]
    name: String,
    #[serde(default, deserialize_with = "nullable")]
    names: Vec<String>,
    action: SeccompAction,
    errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "nullable")]
    args: Vec<SeccompArg>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    includes: Condition,
    #[serde(default, deserialize_with = "nullable")]
    excludes: Condition,
}

/// Where a rule holds, or does not.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Condition {
    #[serde(default, deserialize_with = "nullable")]
    arches: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    caps: Vec<String>,
    min_kernel: Option<String>,
}

/// Reads a profile for a container with the named capabilities in its bounding set, on a kernel of
/// this version; `None` if the profile asks for nothing.
pub fn from_docker(
    text: &str,
    capabilities: &[String],
    kernel: (u32, u32),
) -> Result<Option<Seccomp>, ProfileError> {
    let profile: Profile = serde_json::from_str(text)?;
    // What people write beside the data for each other.
    let is_remark = |key: &str| key.starts_with(['_', '$']) || key == "comment";
    if let Some(key) = profile.others.into_keys().find(|key| !is_remark(key)) {
        return Err(ProfileError::Key(key));
    }
    let default_action = match &profile.default_action {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        value => Some(SeccompAction::deserialize(value)?),
    };
    let default_action = match default_action {
        Some(action) => action,
        None if profile.syscalls.is_empty() => return Ok(None),
        None => return Err(ProfileError::NoDefault),
    };
    if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
        return Err(ProfileError::Both("architectures", "archMap"));
    }
    let native = Architecture::native();
    let mapped = profile.arch_map.into_iter().find(|map| map.architecture == native.name());
    let mapped =
        mapped.into_iter().flat_map(|map| [map.architecture].into_iter().chain(map.sub_architectures));
    let architectures = profile.architectures.into_iter().chain(mapped).collect();
    let mut syscalls = Vec::with_capacity(profile.syscalls.len());
    for mut rule in profile.syscalls {
        if !rule.name.is_empty() {
            if !rule.names.is_empty() {
                return Err(ProfileError::Both("name", "names"));
            }
            rule.names = vec![rule.name];
        }
        if holds(&rule.includes, &rule.excludes, capabilities, kernel)? {
            syscalls.push(SeccompRule {
                names: rule.names,
                action: rule.action,
                errno_ret: rule.errno_ret,
                args: rule.args,
            });
        }
    }
    Ok(Some(Seccomp {
        default_action,
        default_errno_ret: profile.default_errno_ret,
        architectures,
        flags: profile.flags,
        listener_path: profile.listener_path,
        syscalls,
    }))
}

/// The version of the kernel that runs.
pub fn kernel() -> (u32, u32) {
    let release = rustix::system::uname();
    // A release that is no version is that of a kernel newer than any rule.
    version(&release.release().to_string_lossy()).unwrap_or((u32::MAX, 0))
}

/// Whether a rule is for this machine and container. One excluded capability, architecture or
/// kernel is enough to leave it out; all that are included must be there.
fn holds(
    includes: &Condition,
    excludes: &Condition,
    capabilities: &[String],
    kernel: (u32, u32),
) -> Result<bool, ProfileError> {
    let native = match Architecture::native() {
        Architecture::Aarch64 => "arm64",
        _ => "amd64",
    };
    let here = |condition: &Condition| condition.arches.iter().any(|name| name == native);
    let has = |name: &String| capabilities.contains(name);
    let at_least = |condition: &Condition| match condition.min_kernel.as_deref() {
        Some(text) => version(text)
            .map(|wanted| Some(kernel >= wanted))
            .ok_or_else(|| ProfileError::Kernel(text.to_owned())),
        None => Ok(None),
    };
    let (least, most) = (at_least(includes)?, at_least(excludes)?);
    let excluded = here(excludes) || excludes.caps.iter().any(has) || most == Some(true);
    let included = (includes.arches.is_empty() || here(includes))
        && includes.caps.iter().all(has)
        && least != Some(false);
    Ok(included && !excluded)
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let (first, rest) = text.split_once('.')?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    Some((first.parse().ok()?, rest[..end].parse().ok()?))
}

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(input: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: (u32, u32) = (5, 10);

    /// The names of the calls whose rules hold, or why the profile is refused.
    #[track_caller]
    fn check(rules: &str, capabilities: &[&str], expected: &str) {
        let text = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{rules}]}}"#);
        let names: Vec<_> = capabilities.iter().map(|&name| name.to_owned()).collect();
        let found = match from_docker(&text, &names, KERNEL) {
            Ok(profile) => {
                let rules = profile.expect("a profile").syscalls;
                rules.iter().flat_map(|rule| rule.names.clone()).collect::<Vec<_>>().join(" ")
            }
            Err(error) => base::error::chain(&error).to_string(),
        };
        assert!(
            found.starts_with(expected) && found.is_empty() == expected.is_empty(),
            "{found} for {rules}"
        );
    }

    fn rule(name: &str, more: &str) -> String {
        format!(r#"{{"names":["{name}"],"action":"SCMP_ACT_ALLOW"{more}}}"#)
    }

    #[test]
    fn rules_for_capabilities_hold_where_those_are() {
        let includes = rule("mount", r#","includes":{"caps":["CAP_SYS_ADMIN","CAP_CHOWN"]}"#);
        check(&includes, &["CAP_SYS_ADMIN", "CAP_CHOWN"], "mount");
        check(&includes, &["CAP_CHOWN"], "");
        let excludes = rule("clone", r#","excludes":{"caps":["CAP_SYS_ADMIN","CAP_CHOWN"]},"includes":{}"#);
        check(&excludes, &["CAP_CHOWN"], "");
        check(&excludes, &["CAP_KILL"], "clone");
    }

    #[test]
    fn rules_for_kernels_hold_from_their_version_on() {
        let least = |version: &str| rule("ptrace", &format!(r#","includes":{{"minKernel":"{version}"}}"#));
        check(&least("4.8"), &[], "ptrace");
        check(&least("5.10"), &[], "ptrace");
        check(&least("5.11"), &[], "");
        check(&least("soon"), &[], "`soon` in the seccomp profile is no kernel version");
        check(&rule("bpf", r#","excludes":{"minKernel":"5.2"}"#), &[], "");
    }

    #[test]
    fn rules_for_processors_hold_on_those() {
        let native = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let includes =
            |name: &str| rule("arch_prctl", &format!(r#","includes":{{"arches":["{name}","x32"]}}"#));
        check(&includes(native), &[], "arch_prctl");
        check(&includes("s390x"), &[], "");
        check(&rule("x", &format!(r#","excludes":{{"arches":["{native}"]}}"#)), &[], "");
    }

    #[test]
    fn what_restricts_in_an_unknown_way_is_refused() {
        check(
            &rule("x", r#","include":{"caps":["CAP_KILL"]}"#),
            &[],
            "decode the seccomp profile: unknown field",
        );
        check(
            &rule("x", r#","includes":{"cap":["CAP_KILL"]}"#),
            &[],
            "decode the seccomp profile: unknown field",
        );
        check(&rule("x", r#","name":"y""#), &[], "both 'name' and 'names' are specified");
        check(&rule("x", r#","comment":"","args":null,"excludes":{}"#), &[], "x");
        check(r#"{"name":"single","action":"SCMP_ACT_ALLOW"}"#, &[], "single");
        assert!(from_docker(r#"{"defaultAction":"SCMP_ACT_ERRNO","calls":[]}"#, &[], KERNEL).is_err());
        assert!(
            from_docker(r#"{"syscalls":[{"name":"x","action":"SCMP_ACT_ALLOW"}]}"#, &[], KERNEL).is_err()
        );
        assert!(matches!(from_docker("{}", &[], KERNEL), Ok(None)));
    }

    #[test]
    fn the_machine_s_own_entry_of_the_map_gives_the_architectures() {
        let text = |more: &str| {
            format!(
                r#"{{"defaultAction":"SCMP_ACT_ERRNO","archMap":[
                {{"architecture":"SCMP_ARCH_S390X","subArchitectures":["SCMP_ARCH_S390"]}},
                {{"architecture":"{}","subArchitectures":["SCMP_ARCH_X86"]}}]{more}}}"#,
                Architecture::native().name()
            )
        };
        let profile = from_docker(&text(""), &[], KERNEL).expect("good").expect("a profile");
        assert_eq!(profile.architectures, [Architecture::native().name(), "SCMP_ARCH_X86"]);
        let both = from_docker(&text(r#","architectures":["SCMP_ARCH_X86"]"#), &[], KERNEL);
        assert!(
            both.is_err_and(|error| error.to_string().contains("use either 'architectures' or 'archMap'"))
        );
    }
}
