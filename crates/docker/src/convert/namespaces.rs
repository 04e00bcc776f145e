//! Which namespaces a container shares with whom.

use engine::container::{NamespaceMode, Namespaces, NetworkMode};
use engine::{ContainerId, Engine};

use crate::fault::Fault;
use crate::wire::container::HostConfig;
use crate::words;

/// Reads all modes of a host configuration.
pub(crate) fn namespaces(engine: &Engine, host: &HostConfig) -> Result<Namespaces, Fault> {
    modes(host, &|name| other_container(engine, name))
}

/// Another container that a new one refers to. That there is none is the request's fault: clients
/// take "not found" for the image's, and pull it.
pub(crate) fn other_container(engine: &Engine, name: &str) -> Result<ContainerId, Fault> {
    engine.container_find(name).map_err(|error| Fault::invalid(words::message(&error)))
}

/// As [`namespaces`], with how a container is found.
pub(crate) fn modes(
    host: &HostConfig,
    find: &dyn Fn(&str) -> Result<ContainerId, Fault>,
) -> Result<Namespaces, Fault> {
    let general = &host.general;
    let other = |what: &str, mode: &str, allowed: &[(&str, NamespaceMode)]| {
        if let Some((_, mode)) = allowed.iter().find(|(word, _)| *word == mode) {
            return Ok(mode.clone());
        }
        match mode.strip_prefix("container:") {
            Some(name) if !name.is_empty() && what != "UTS" && what != "cgroup namespace" => {
                Ok(NamespaceMode::Container(find(name)?))
            }
            _ => Err(Fault::invalid(format!("invalid {what} mode: {mode}"))),
        }
    };
    let usual = [("", NamespaceMode::Default), ("host", NamespaceMode::Host)];
    let private = [("private", NamespaceMode::Private)];
    let with_private: Vec<_> = usual.iter().chain(&private).cloned().collect();
    let ipc: Vec<_> = with_private
        .iter()
        .cloned()
        .chain([("shareable", NamespaceMode::Shareable), ("none", NamespaceMode::Private)])
        .collect();
    let user = match general.userns_mode.as_str() {
        "" => NamespaceMode::Default,
        "host" => NamespaceMode::Host,
        mode => return Err(Fault::invalid(format!("invalid userns mode: {mode}"))),
    };
    Ok(Namespaces {
        network: network(&general.network_mode, find)?,
        pid: other("PID", &general.pid_mode, &usual)?,
        ipc: other("IPC", &general.ipc_mode, &ipc)?,
        uts: other("UTS", &general.uts_mode, &usual)?,
        user,
        cgroup: other("cgroup namespace", &general.cgroupns_mode, &with_private)?,
    })
}

fn network(mode: &str, find: &dyn Fn(&str) -> Result<ContainerId, Fault>) -> Result<NetworkMode, Fault> {
    Ok(match mode {
        "" | "default" | "bridge" => NetworkMode::Bridge,
        "none" => NetworkMode::None,
        "host" => NetworkMode::Host,
        other => match other.strip_prefix("container:") {
            Some("") => return Err(Fault::invalid("invalid container format container:<name|id>")),
            Some(name) => NetworkMode::Container(find(name)?),
            None => NetworkMode::Network(other.to_owned()),
        },
    })
}

/// How a network mode is written.
pub(crate) fn network_text(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::Bridge => "bridge".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::Network(name) => name.clone(),
        NetworkMode::Container(id) => format!("container:{id}"),
    }
}

/// How another mode is written; `private` is what an own namespace is called.
pub(crate) fn text(mode: &NamespaceMode, private: &str) -> String {
    match mode {
        NamespaceMode::Default => private.to_owned(),
        NamespaceMode::Private => "private".to_owned(),
        NamespaceMode::Shareable => "shareable".to_owned(),
        NamespaceMode::Host => "host".to_owned(),
        NamespaceMode::Container(id) => format!("container:{id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(document: &str, expected: Result<&str, &str>) {
        let host: HostConfig = serde_json::from_str(document).expect("a host configuration");
        let find = |name: &str| Err(Fault::not_found(format!("No such container: {name}")));
        match (modes(&host, &find), expected) {
            (Ok(found), Ok(text)) => assert_eq!(network_text(&found.network), text),
            (Err(fault), Err(message)) => assert_eq!(fault.message, message),
            (got, wanted) => panic!("{got:?} instead of {wanted:?}"),
        }
    }

    #[test]
    fn network_modes_are_read() {
        check("{}", Ok("bridge"));
        check(r#"{"NetworkMode":"default"}"#, Ok("bridge"));
        check(r#"{"NetworkMode":"none"}"#, Ok("none"));
        check(r#"{"NetworkMode":"front"}"#, Ok("front"));
        check(r#"{"NetworkMode":"container:db"}"#, Err("No such container: db"));
        check(r#"{"NetworkMode":"container:"}"#, Err("invalid container format container:<name|id>"));
    }

    #[test]
    fn modes_that_cannot_be_are_refused() {
        check(r#"{"PidMode":"x"}"#, Err("invalid PID mode: x"));
        check(r#"{"IpcMode":"x"}"#, Err("invalid IPC mode: x"));
        check(r#"{"UTSMode":"container:a"}"#, Err("invalid UTS mode: container:a"));
        check(r#"{"CgroupnsMode":"x"}"#, Err("invalid cgroup namespace mode: x"));
    }
}
