//! A process's environment.

use runtime::defaults;

use crate::container::{ContainerSpec, ResolvedSpec};
use crate::users::Identity;

/// The environment of a container's first process.
pub(super) fn container_env(
    spec: &ContainerSpec,
    resolved: &ResolvedSpec,
    identity: &Identity,
) -> Vec<String> {
    let mut env = vec![format!("PATH={}", defaults::PATH), format!("HOSTNAME={}", resolved.hostname)];
    if spec.tty {
        env.push("TERM=xterm".to_owned());
    }
    overlay(&mut env, &resolved.env);
    set_default(&mut env, "HOME", &identity.home);
    env
}

/// The environment of a further process: the container's, and `own` over it.
pub(crate) fn exec_env(container: &[String], own: &[String], tty: bool, identity: &Identity) -> Vec<String> {
    let mut env = container.to_vec();
    if tty {
        set_default(&mut env, "TERM", "xterm");
    }
    // The container's own HOME is that of another user, unless it was asked for.
    overlay(&mut env, own);
    set_default(&mut env, "PATH", defaults::PATH);
    set_default(&mut env, "HOME", &identity.home);
    env
}

/// Sets what `over` says in `env`: in place where it exists, and `NAME` alone removes it.
pub(crate) fn overlay(env: &mut Vec<String>, over: &[String]) {
    for entry in over {
        let (name, value) = match entry.split_once('=') {
            Some((name, _)) => (name, true),
            None => (entry.as_str(), false),
        };
        let place = env.iter().position(|have| is_named(have, name));
        match (place, value) {
            (Some(place), true) => env[place].clone_from(entry),
            (Some(place), false) => drop(env.remove(place)),
            (None, true) => env.push(entry.clone()),
            (None, false) => {}
        }
    }
}

fn set_default(env: &mut Vec<String>, name: &str, value: &str) {
    if !value.is_empty() && !env.iter().any(|have| is_named(have, name)) {
        env.push(format!("{name}={value}"));
    }
}

fn is_named(entry: &str, name: &str) -> bool {
    entry.strip_prefix(name).is_some_and(|rest| rest.starts_with('='))
}
