//! A process's environment.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

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
    overlay(&mut env, &spec.secret_env.0);
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

/// Sets what `over` says in `env`: in place where it exists, and `NAME` alone removes it. Takes as long as
/// both are: images bring thousands of variables, and every further process gets them.
pub(crate) fn overlay(env: &mut Vec<String>, over: &[String]) {
    let base = std::mem::take(env);
    let mut lines: Vec<Option<&String>> = base.iter().map(Some).collect();
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(base.len());
    for (place, line) in base.iter().enumerate() {
        if let Some((name, _)) = line.split_once('=') {
            // The first of a name is the one that programs see.
            places.entry(name).or_insert(place);
        }
    }
    for entry in over {
        match entry.split_once('=') {
            Some((name, _)) => match places.entry(name) {
                Entry::Occupied(place) => lines[*place.get()] = Some(entry),
                Entry::Vacant(place) => {
                    place.insert(lines.len());
                    lines.push(Some(entry));
                }
            },
            None => {
                if let Some(place) = places.remove(entry.as_str()) {
                    lines[place] = None;
                }
            }
        }
    }
    *env = lines.into_iter().flatten().cloned().collect();
}

fn set_default(env: &mut Vec<String>, name: &str, value: &str) {
    if !value.is_empty() && !env.iter().any(|have| is_named(have, name)) {
        env.push(format!("{name}={value}"));
    }
}

fn is_named(entry: &str, name: &str) -> bool {
    entry.strip_prefix(name).is_some_and(|rest| rest.starts_with('='))
}
