//! What a create request asks for and cannot have, or cannot have together.
//!
//! Nothing that was asked for is left out in silence: what this daemon does not do is refused here,
//! in the words of the real daemon where it has any.

use super::endpoint;
use crate::fault::Fault;
use crate::wire::Map;
use crate::wire::container::host_config::{DeviceRequest, General};
use crate::wire::container::{Config, HostConfig};
use crate::wire::network::EndpointSettings;

/// What networks, names and ports cannot have together; before the modes are looked at.
pub(super) fn conflicts(config: &Config, host: &HostConfig) -> Result<(), Fault> {
    let general = &host.general;
    let mode = general.network_mode.as_str();
    if mode == "container" || mode == "container:" {
        return Err(Fault::invalid("invalid network mode: invalid container format container:<name|id>"));
    }
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if mode.starts_with("container:") {
        let conflicts = [
            (!config.hostname.is_empty(), "hostname and the network mode"),
            (!config.domainname.is_empty(), "domainname and the network mode"),
            (
                given(&general.links),
                "container type network can't be used with links. This would result in undefined behavior",
            ),
            (!general.dns.is_empty(), "dns and the network mode"),
            (!general.dns_search.is_empty(), "dns search domains and the network mode"),
            (!general.dns_options.is_empty(), "dns options and the network mode"),
            (given(&general.extra_hosts), "custom host-to-IP mapping and the network mode"),
            (!config.mac_address.is_empty(), "mac-address and the network mode"),
            (
                !general.port_bindings.is_empty() || general.publish_all_ports,
                "port publishing and the container type network mode",
            ),
            (!config.exposed_ports.is_empty(), "port exposing and the container type network mode"),
            (config.network_disabled, "a disabled network and the network mode"),
        ];
        first(&conflicts)?;
    }
    if mode == "host" {
        first(&[
            (
                given(&general.links),
                "host type networking can't be used with links. This would result in undefined behavior",
            ),
            (!config.mac_address.is_empty(), "mac-address and the network mode"),
            (config.network_disabled, "a disabled network and the network mode"),
        ])?;
    }
    if general.uts_mode == "host" {
        first(&[
            (!config.hostname.is_empty(), "hostname and the UTS mode"),
            (!config.domainname.is_empty(), "domainname and the UTS mode"),
        ])?;
    }
    Ok(())
}

fn first(conflicts: &[(bool, &str)]) -> Result<(), Fault> {
    match conflicts.iter().find(|(holds, _)| *holds) {
        Some((_, what)) => Err(Fault::invalid(format!("conflicting options: {what}"))),
        None => Ok(()),
    }
}

/// Networks that are named beside a mode which is no network of a container's own.
pub(super) fn foreign_networks(mode: &str, endpoints: &Map<Option<EndpointSettings>>) -> Result<(), Fault> {
    let others = || endpoints.keys().any(|name| name != mode && name != "default");
    match mode {
        "host" if others() => Err(Fault::invalid(
            "container cannot be disconnected from host network or connected to host network",
        )),
        "none" if others() => Err(Fault::invalid(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        )),
        mode if mode.starts_with("container:") && others() => Err(Fault::invalid(
            "container sharing network namespace with another container or host cannot be connected to any other network",
        )),
        _ => Ok(()),
    }
}

/// Wishes that this daemon does not fulfil.
pub(super) fn unsupported(config: &Config, host: &HostConfig) -> Result<(), Fault> {
    let general = &host.general;
    let invalid = |message: String| Err(Fault::invalid(message));
    if !matches!(general.isolation.to_ascii_lowercase().as_str(), "" | "default") {
        return invalid(format!("invalid isolation ({}): linux only supports 'default'", general.isolation));
    }
    if host.resources.io_maximum_bandwidth != 0 {
        return invalid(
            "invalid option: QoS maximum bandwidth configuration is not supported on linux".to_owned(),
        );
    }
    if host.resources.io_maximum_iops != 0 {
        return invalid(
            "invalid option: QoS maximum IOPs configuration is not supported on linux".to_owned(),
        );
    }
    if host.resources.cpu_count != 0 {
        return invalid("invalid option: CPU count is not supported on linux, use NanoCpus".to_owned());
    }
    if host.resources.cpu_percent != 0 {
        return invalid("invalid option: CPU percent is not supported on linux, use NanoCpus".to_owned());
    }
    if host.rest.capabilities.as_ref().is_some_and(|list| !list.is_empty()) {
        return invalid(
            "the HostConfig.Capabilities field is not supported by this daemon; use CapAdd and CapDrop to set capabilities"
                .to_owned(),
        );
    }
    if !general.cgroup.is_empty() {
        return invalid(format!(
            "invalid cgroup \"{}\": joining the cgroup of another container is not supported, use CgroupParent",
            general.cgroup
        ));
    }
    if general.annotations.contains_key("") {
        return invalid(
            "invalid Annotations: the empty string is not permitted as an annotation key".to_owned(),
        );
    }
    if let Some(request) = host.resources.device_requests.iter().flatten().next() {
        return invalid(device_request(request));
    }
    if !config.mac_address.is_empty() && !endpoint::is_mac(&config.mac_address) {
        return invalid(format!("invalid MAC address: {}", config.mac_address));
    }
    no_ipv6(general)
}

/// A key that is not known and asks for something.
///
/// The real daemon drops it. But what limits a container and is spelt wrong, has been removed, or is
/// newer than this daemon, is better not run than run without.
pub(crate) fn unknown(key: Option<String>) -> Result<(), Fault> {
    match key {
        Some(key) if key.ends_with(".KernelMemory") || key.ends_with(".KernelMemoryTCP") => {
            Err(Fault::invalid(format!(
                "the {key} field is not supported: kernels no longer limit kernel memory by itself; use Memory, which counts it"
            )))
        }
        Some(key) => Err(Fault::invalid(format!(
            "the {key} field is not supported by this daemon: leave it out, or see that it is spelt as the API has it"
        ))),
        None => Ok(()),
    }
}

/// In the words that other programs look for.
fn device_request(request: &DeviceRequest) -> String {
    let sets = request.capabilities.iter().flatten().map(|set| format!("[{}]", set.join(" ")));
    let sets = sets.collect::<Vec<_>>().join(" ");
    format!("could not select device driver \"{}\" with capabilities: [{sets}]", request.driver)
}

/// Addresses of IPv6, which no network of this engine has yet.
fn no_ipv6(general: &General) -> Result<(), Fault> {
    for (port, bindings) in &general.port_bindings {
        for binding in bindings.iter().flatten() {
            let address = binding.host_ip.trim_start_matches('[').trim_end_matches(']');
            if address.parse::<std::net::Ipv6Addr>().is_ok() {
                return Err(Fault::unsupported(format!(
                    "port {port} cannot be published on {}: IPv6 is not supported, publish it on an IPv4 address",
                    binding.host_ip
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::container::Create;
    use http::StatusCode;

    /// Checks the body of a create request; an empty message is one that passes.
    #[track_caller]
    fn check(body: &str, expected: &str) {
        let mut document = serde_json::from_str(body).expect("JSON");
        let key = super::super::keys::of_create(&mut document);
        let document: Create = serde_json::from_value(document).expect("a create request");
        let (config, host) = (&document.config, &document.host_config);
        let endpoints = &document.networking_config.endpoints_config;
        let found = conflicts(config, host)
            .and_then(|()| foreign_networks(&host.general.network_mode, endpoints))
            .and_then(|()| unsupported(config, host))
            .and_then(|()| unknown(key));
        match found {
            Ok(()) => assert_eq!("", expected, "{body}"),
            Err(fault) => {
                assert!(!expected.is_empty() && fault.message.starts_with(expected), "{fault:?} for {body}");
                assert!(matches!(fault.status, StatusCode::BAD_REQUEST | StatusCode::NOT_IMPLEMENTED));
            }
        }
    }

    fn host(members: &str) -> String {
        format!(r#"{{"Image":"a","HostConfig":{{{members}}}}}"#)
    }

    #[test]
    fn names_and_ports_do_not_go_with_the_network_of_another() {
        let with = |config: &str, host: &str| {
            format!(r#"{{"Image":"a",{config}"HostConfig":{{"NetworkMode":"container:x"{host}}}}}"#)
        };
        check(&with("", ""), "");
        let conflicts = [
            (r#""Hostname":"h","#, "", "hostname and the network mode"),
            (r#""Domainname":"d","#, "", "domainname and the network mode"),
            (r#""MacAddress":"02:42:ac:11:00:02","#, "", "mac-address and the network mode"),
            (r#""ExposedPorts":{"80/tcp":{}},"#, "", "port exposing and the container type network mode"),
            ("", r#","Dns":["1.1.1.1"]"#, "dns and the network mode"),
            ("", r#","DnsSearch":["x"]"#, "dns search domains and the network mode"),
            ("", r#","DnsOptions":["x"]"#, "dns options and the network mode"),
            ("", r#","ExtraHosts":["a:1.1.1.1"]"#, "custom host-to-IP mapping and the network mode"),
            ("", r#","PublishAllPorts":true"#, "port publishing and the container type network mode"),
            ("", r#","PortBindings":{"80/tcp":[{}]}"#, "port publishing and the container type network mode"),
            ("", r#","Links":["a:b"]"#, "container type network can't be used with links."),
        ];
        for (config, host, message) in conflicts {
            check(&with(config, host), &format!("conflicting options: {message}"));
        }
        check(
            &host(r#""NetworkMode":"container:""#),
            "invalid network mode: invalid container format container:<name|id>",
        );
        check(&host(r#""NetworkMode":"host","Links":["a:b"]"#), "conflicting options: host type networking");
        check(&host(r#""Links":["a:b"]"#), "");
        check(&host(r#""NetworkMode":"front","Links":["a:b"]"#), "");
    }

    #[test]
    fn the_host_s_name_is_not_changed_from_a_container() {
        let with = |config: &str| format!(r#"{{"Image":"a",{config},"HostConfig":{{"UTSMode":"host"}}}}"#);
        check(&with(r#""Hostname":"h""#), "conflicting options: hostname and the UTS mode");
        check(&with(r#""Domainname":"h""#), "conflicting options: domainname and the UTS mode");
        check(&with(r#""Hostname":"""#), "");
        check(r#"{"Image":"a","Hostname":"h","HostConfig":{"NetworkMode":"host"}}"#, "");
    }

    #[test]
    fn what_has_no_network_of_its_own_is_in_no_network() {
        let with = |mode: &str| {
            format!(
                r#"{{"Image":"a","HostConfig":{{"NetworkMode":"{mode}"}},"NetworkingConfig":{{"EndpointsConfig":{{"front":{{}}}}}}}}"#
            )
        };
        check(&with("host"), "container cannot be disconnected from host network");
        check(&with("none"), "container cannot be connected to multiple networks");
        check(&with("container:x"), "container sharing network namespace with another container");
        check(&with("front"), "");
        let own = r#"{"Image":"a","HostConfig":{"NetworkMode":"host"},"NetworkingConfig":{"EndpointsConfig":{"host":null}}}"#;
        check(own, "");
    }

    #[test]
    fn what_is_not_done_is_refused() {
        let refused = [
            (r#""Isolation":"hyperv""#, "invalid isolation (hyperv): linux only supports 'default'"),
            (
                r#""IOMaximumBandwidth":1"#,
                "invalid option: QoS maximum bandwidth configuration is not supported on linux",
            ),
            (
                r#""IOMaximumIOps":1"#,
                "invalid option: QoS maximum IOPs configuration is not supported on linux",
            ),
            (r#""CpuCount":1"#, "invalid option: CPU count is not supported on linux"),
            (r#""CpuPercent":1"#, "invalid option: CPU percent is not supported on linux"),
            (r#""Capabilities":["a"]"#, "the HostConfig.Capabilities field is not supported by this daemon"),
            (r#""Cgroup":"container:x""#, "invalid cgroup \"container:x\""),
            (
                r#""Annotations":{"":"x"}"#,
                "invalid Annotations: the empty string is not permitted as an annotation key",
            ),
            (
                r#""DeviceRequests":[{"Driver":"","Count":-1,"Capabilities":[["gpu"]]}]"#,
                "could not select device driver \"\" with capabilities: [[gpu]]",
            ),
            (
                r#""DeviceRequests":[{"Driver":"cdi","DeviceIDs":["x=y"]}]"#,
                "could not select device driver \"cdi\" with capabilities: []",
            ),
            (
                r#""PortBindings":{"80/tcp":[{"HostIp":"::1"}]}"#,
                "port 80/tcp cannot be published on ::1: IPv6",
            ),
            (r#""PortBindings":{"80/tcp":[{"HostIp":"::"}]}"#, "port 80/tcp cannot be published on ::: IPv6"),
            (r#""KernelMemory":4194304"#, "the HostConfig.KernelMemory field is not supported"),
            (r#""KernelMemoryTCP":4194304"#, "the HostConfig.KernelMemoryTCP field is not supported"),
            (r#""InitPath":"/x""#, "the HostConfig.InitPath field is not supported by this daemon"),
            (r#""DiskQuota":5"#, "the HostConfig.DiskQuota field is not supported by this daemon"),
            (r#""Devices":[{"PathOnHost":"/a","Access":"r"}]"#, "the HostConfig.Devices.Access field is not"),
        ];
        for (members, message) in refused {
            check(&host(members), message);
        }
    }

    #[test]
    fn an_unknown_key_that_asks_for_nothing_passes() {
        check(&host(r#""KernelMemory":0,"LxcConf":[],"New":{},"Other":null,"Off":false,"Text":"""#), "");
        check(&host(r#""Isolation":"default","Devices":null,"DeviceRequests":[]"#), "");
    }
}
