//! What the processes of a container may do.

use engine::container::{Seccomp, Security};

use crate::fault::Fault;
use crate::wire::container::HostConfig;

/// Reads capabilities, security options and hidden paths.
pub(crate) fn security(host: &HostConfig) -> Result<Security, Fault> {
    let ties = &host.ties;
    let words = |words: &Option<crate::wire::container::config::Words>| {
        words.as_ref().map(|words| words.0.clone()).unwrap_or_default()
    };
    let mut security = Security {
        privileged: ties.privileged,
        cap_add: words(&ties.cap_add),
        cap_drop: words(&ties.cap_drop),
        masked_paths: host.rest.masked_paths.clone(),
        read_only_paths: host.rest.readonly_paths.clone(),
        options: ties.security_opt.clone().unwrap_or_default(),
        ..Security::default()
    };
    for option in ties.security_opt.iter().flatten() {
        apply(&mut security, option)?;
    }
    Ok(security)
}

fn apply(security: &mut Security, option: &str) -> Result<(), Fault> {
    if option == "no-new-privileges" {
        security.no_new_privileges = true;
        return Ok(());
    }
    if option == "disable" {
        return Ok(());
    }
    // A colon once stood where the equals sign is now.
    let Some((key, value)) = option.split_once('=').or_else(|| option.split_once(':')) else {
        return Err(Fault::invalid(format!("invalid --security-opt 1: \"{option}\"")));
    };
    match key {
        "no-new-privileges" => {
            security.no_new_privileges = value
                .parse()
                .map_err(|_| Fault::invalid(format!("invalid --security-opt 2: \"{option}\"")))?;
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
        // Kept with the options: the engine says what the host has of these.
        "label" | "apparmor" | "writable-cgroups" => {}
        _ => return Err(Fault::invalid(format!("invalid --security-opt 2: \"{option}\""))),
    }
    Ok(())
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
    }

    #[test]
    fn unknown_options_are_refused() {
        check("foo", Err("invalid --security-opt 1: \"foo\""));
        check("foo=bar", Err("invalid --security-opt 2: \"foo=bar\""));
        check("no-new-privileges=x", Err("invalid --security-opt 2: \"no-new-privileges=x\""));
    }
}
