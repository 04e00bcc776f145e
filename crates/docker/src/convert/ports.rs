//! Ports: `80/tcp`, and where they are published.

use std::collections::BTreeMap;
use std::net::IpAddr;

use engine::container::{NetworkMode, Port, PortBinding, Protocol, PublishedPort};

use crate::fault::Fault;
use crate::wire::{Empty, Map, container as wire};

/// Reads `80`, `80/tcp`, `53/udp`.
pub(crate) fn port(text: &str) -> Result<Port, Fault> {
    let invalid = || Fault::invalid(format!("invalid port specification: \"{text}\""));
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number: u16 = number.parse().map_err(|_| invalid())?;
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(invalid()),
    };
    if number == 0 {
        return Err(invalid());
    }
    Ok(Port { number, protocol })
}

/// The ports that a container exposes.
pub(crate) fn exposed(ports: &Map<Empty>) -> Result<Vec<Port>, Fault> {
    ports.keys().map(|text| port(text)).collect()
}

/// The ports that a container publishes; one that names no address of the host is not published.
pub(crate) fn bindings(ports: &Map<Option<Vec<wire::PortBinding>>>) -> Result<Vec<PortBinding>, Fault> {
    let mut bindings = Vec::new();
    for (text, wanted) in ports {
        let container = port(text)?;
        for wanted in wanted.iter().flatten() {
            bindings.push(binding(container, wanted)?);
        }
    }
    Ok(bindings)
}

fn binding(container: Port, wanted: &wire::PortBinding) -> Result<PortBinding, Fault> {
    let host_address = match wanted.host_ip.as_str() {
        "" => None,
        text => {
            let text = text.trim_start_matches('[').trim_end_matches(']');
            Some(text.parse::<IpAddr>().map_err(|_| Fault::invalid(format!("invalid IP address: {text}")))?)
        }
    };
    let (host_port, host_port_end) = host_port(&wanted.host_port)?;
    Ok(PortBinding { container, host_address, host_port, host_port_end })
}

/// Reads `8080`, `8000-8010`, nothing, and `0`, which is as good as nothing.
fn host_port(text: &str) -> Result<(Option<u16>, Option<u16>), Fault> {
    let invalid = || Fault::invalid(format!("invalid port specification: \"{text}\""));
    let number = |text: &str| text.parse::<u16>().map_err(|_| invalid());
    match text.split_once('-') {
        _ if text.is_empty() => Ok((None, None)),
        None => Ok((Some(number(text)?).filter(|&port| port != 0), None)),
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            if first == 0 || last < first {
                return Err(invalid());
            }
            Ok((Some(first), Some(last)))
        }
    }
}

/// How a protocol is written.
pub(crate) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// How a port is written.
pub(crate) fn text(port: Port) -> String {
    format!("{}/{}", port.number, protocol(port.protocol))
}

/// Ports as a set of texts.
pub(crate) fn set(ports: &[Port]) -> Map<Empty> {
    ports.iter().map(|&port| (text(port), Empty {})).collect()
}

/// The ports of a container that are told: those of one that runs and has a network of its own.
pub(crate) fn told(container: &engine::Container) -> &[PublishedPort] {
    match container.spec.namespaces.network {
        NetworkMode::Bridge | NetworkMode::Network(_) if container.state.status.is_active() => {
            &container.ports
        }
        _ => &[],
    }
}

/// Ports with where they are published; `null` for those that are only exposed.
pub(crate) fn published(ports: &[PublishedPort]) -> Map<Option<Vec<wire::PortBinding>>> {
    let mut map: BTreeMap<String, Option<Vec<wire::PortBinding>>> = BTreeMap::new();
    for port in ports {
        let bindings = map.entry(text(port.container)).or_default();
        if let Some(host) = port.host {
            let binding =
                wire::PortBinding { host_ip: host.ip().to_string(), host_port: host.port().to_string() };
            bindings.get_or_insert_default().push(binding);
        }
    }
    map
}

/// Ports as they were asked for.
pub(crate) fn wanted(ports: &[PortBinding]) -> Map<Option<Vec<wire::PortBinding>>> {
    let mut map: BTreeMap<String, Option<Vec<wire::PortBinding>>> = BTreeMap::new();
    for port in ports {
        let host_port = match (port.host_port, port.host_port_end) {
            (None, _) => String::new(),
            (Some(first), None) => first.to_string(),
            (Some(first), Some(last)) => format!("{first}-{last}"),
        };
        let host_ip = port.host_address.map(|address| address.to_string()).unwrap_or_default();
        map.entry(text(port.container))
            .or_default()
            .get_or_insert_default()
            .push(wire::PortBinding { host_ip, host_port });
    }
    map
}

/// Ports as a list shows them, one line for each address.
pub(crate) fn lines(ports: &[PublishedPort]) -> Vec<wire::Port> {
    ports
        .iter()
        .map(|port| wire::Port {
            ip: port.host.map(|host| host.ip().to_string()).unwrap_or_default(),
            private_port: port.container.number,
            public_port: port.host.map(|host| host.port()).unwrap_or_default(),
            kind: protocol(port.container.protocol).to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(document: &str, expected: Result<&str, &str>) {
        let ports = serde_json::from_str(document).expect("a map of ports");
        match (bindings(&ports), expected) {
            (Ok(found), Ok(text)) => {
                let found = serde_json::to_string(&wanted(&found)).expect("JSON");
                assert_eq!(found, text);
            }
            (Err(fault), Err(message)) => assert_eq!(fault.message, message),
            (got, wanted) => panic!("{got:?} instead of {wanted:?}"),
        }
    }

    #[test]
    fn bindings_are_read() {
        let document = r#"{"80/tcp":[{"HostIp":"","HostPort":"8080"}]}"#;
        check(document, Ok(document));
        check(
            r#"{"53/udp":[{"HostIp":"127.0.0.1","HostPort":"5300-5310"}]}"#,
            Ok(r#"{"53/udp":[{"HostIp":"127.0.0.1","HostPort":"5300-5310"}]}"#),
        );
        check(r#"{"80":[{"HostPort":"0"}]}"#, Ok(r#"{"80/tcp":[{"HostIp":"","HostPort":""}]}"#));
    }

    #[test]
    fn a_port_without_bindings_is_not_published() {
        check(r#"{"80/tcp":null,"81/tcp":[]}"#, Ok("{}"));
    }

    #[test]
    fn nonsense_is_refused() {
        check(r#"{"x/tcp":[{}]}"#, Err("invalid port specification: \"x/tcp\""));
        check(r#"{"0/tcp":[{}]}"#, Err("invalid port specification: \"0/tcp\""));
        check(r#"{"80/foo":[{}]}"#, Err("invalid port specification: \"80/foo\""));
        check(r#"{"80/tcp":[{"HostPort":"x"}]}"#, Err("invalid port specification: \"x\""));
        check(r#"{"80/tcp":[{"HostPort":"9-8"}]}"#, Err("invalid port specification: \"9-8\""));
        check(r#"{"80/tcp":[{"HostIp":"x"}]}"#, Err("invalid IP address: x"));
    }
}
