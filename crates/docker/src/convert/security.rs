//! What the processes of a container may do.

use base::truth;
use engine::container::{AppArmor, Seccomp, Security};

use crate::fault::Fault;
use crate::wire::container::HostConfig;

/// Reads capabilities, security options and hidden paths.
pub(crate) fn security(host: &HostConfig) -> Result<Security, Fault> {
    let general = &host.general;
    let words = |words: &Option<crate::wire::container::config::Words>| {
        words.as_ref().map(|words| words.0.clone()).unwrap_or_default()
    };
    let mut security = Security {
        privileged: general.privileged,
        cap_add: words(&general.cap_add),
        cap_drop: words(&general.cap_drop),
        masked_paths: host.rest.masked_paths.clone(),
        read_only_paths: host.rest.readonly_paths.clone(),
        options: general.security_opt.clone().unwrap_or_default(),
        ..Security::default()
    };
    for option in general.security_opt.iter().flatten() {
        apply(&mut security, option)?;
    }
    Ok(security)
}

fn apply(security: &mut Security, option: &str) -> Result<(), Fault> {
    if option == "no-new-privileges" {
        security.no_new_privileges = true;
        return Ok(());
    }
    if option == "writable-cgroups" {
        security.writable_cgroups = Some(true);
        return Ok(());
    }
    if option == "disable" {
        return Ok(());
    }
    // A colon once stood where the equals sign is now.
    let Some((key, value)) = option.split_once('=').or_else(|| option.split_once(':')) else {
        return Err(Fault::invalid(format!("invalid --security-opt 1: \"{option}\"")));
    };
    let invalid = || Fault::invalid(format!("invalid --security-opt 2: \"{option}\""));
    match key {
        "no-new-privileges" => {
            security.no_new_privileges = truth::parse(value).ok_or_else(invalid)?;
        }
        "seccomp" => {
            security.seccomp = match value {
                "unconfined" => Seccomp::Unconfined,
                "builtin" | "default" => Seccomp::Default,
                profile => Seccomp::Profile(profile.to_owned()),
            };
        }
        "systempaths" if value == "unconfined" => {
            security.masked_paths = Some(Vec::new());
            security.read_only_paths = Some(Vec::new());
        }
        "writable-cgroups" => security.writable_cgroups = Some(truth::parse(value).ok_or_else(invalid)?),
        "apparmor" => {
            security.apparmor = match value {
                "" => AppArmor::Default,
                "unconfined" => AppArmor::Unconfined,
                name => AppArmor::Profile(name.to_owned()),
            };
        }
        "label" => label(value)?,
        _ => return Err(invalid()),
    }
    Ok(())
}

/// Labels of SELinux: this engine gives none, so that only having none can be asked for.
fn label(value: &str) -> Result<(), Fault> {
    const PARTS: [&str; 5] = ["user", "role", "type", "level", "filetype"];
    if value == "disable" {
        return Ok(());
    }
    match value.split_once(':') {
        Some((part, text)) if PARTS.contains(&part) && !text.is_empty() => Err(Fault::invalid(format!(
            "selinux label \"{value}\" is specified in --security-opt, but selinux is disabled or not supported by this engine: leave it out, or say label=disable"
        ))),
        _ => Err(Fault::invalid(format!(
            "bad label option \"{value}\", valid options 'disable' or \n'user, role, level, type, filetype' followed by ':' and a value"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(option: &str, expected: Result<(bool, Seccomp), &str>) {
        let mut security = Security::default();
        let applied = apply(&mut security, option).map(|()| (security.no_new_privileges, security.seccomp));
        assert_eq!(applied.map_err(|fault| fault.message), expected.map_err(str::to_owned), "{option}");
    }

    #[test]
    fn options_are_read() {
        check("no-new-privileges", Ok((true, Seccomp::Default)));
        check("no-new-privileges=true", Ok((true, Seccomp::Default)));
        check("no-new-privileges:false", Ok((false, Seccomp::Default)));
        check("seccomp=unconfined", Ok((false, Seccomp::Unconfined)));
        check(r#"seccomp={"a":1}"#, Ok((false, Seccomp::Profile(r#"{"a":1}"#.to_owned()))));
        check("apparmor=unconfined", Ok((false, Seccomp::Default)));
        check("label=disable", Ok((false, Seccomp::Default)));
        check("no-new-privileges=1", Ok((true, Seccomp::Default)));
    }

    #[test]
    fn apparmor_and_cgroups_are_read() {
        let read = |option: &str| {
            let mut security = Security::default();
            apply(&mut security, option).expect(option);
            (security.apparmor, security.writable_cgroups)
        };
        assert_eq!(read("apparmor=unconfined"), (AppArmor::Unconfined, None));
        assert_eq!(read("apparmor:mine"), (AppArmor::Profile("mine".to_owned()), None));
        assert_eq!(read("writable-cgroups"), (AppArmor::Default, Some(true)));
        assert_eq!(read("writable-cgroups=false"), (AppArmor::Default, Some(false)));
    }

    #[test]
    fn unknown_options_are_refused() {
        check("foo", Err("invalid --security-opt 1: \"foo\""));
        check("foo=bar", Err("invalid --security-opt 2: \"foo=bar\""));
        check("writable-cgroups=x", Err("invalid --security-opt 2: \"writable-cgroups=x\""));
        check("apparmour=x", Err("invalid --security-opt 2: \"apparmour=x\""));
        let label = "selinux label \"type:svirt_t\" is specified in --security-opt, but selinux is disabled or not supported by this engine: leave it out, or say label=disable";
        check("label=type:svirt_t", Err(label));
        check("label:type:svirt_t", Err(label));
        check(
            "label=odd",
            Err(
                "bad label option \"odd\", valid options 'disable' or \n'user, role, level, type, filetype' followed by ':' and a value",
            ),
        );
        check("no-new-privileges=x", Err("invalid --security-opt 2: \"no-new-privileges=x\""));
    }
}
