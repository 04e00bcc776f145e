//! A container's place in a network.

use std::net::IpAddr;

use engine::network::{Endpoint, EndpointSpec};

use crate::fault::Fault;
use crate::wire::network::{EndpointIpam, EndpointResource, EndpointSettings};
use crate::words;

/// Reads what a container asks for in a network, which is `named` where it is made for it.
pub(crate) fn spec(document: &EndpointSettings, named: Option<&str>) -> Result<EndpointSpec, Fault> {
    let ipam = document.ipam_config.clone().unwrap_or_default();
    let mac = document.mac_address.as_str();
    if !mac.is_empty() && !is_mac(mac) {
        return Err(Fault::invalid(format!("invalid MAC address: {mac}")));
    }
    refuse(document)?;
    let mut wrong = Vec::new();
    let (ipv4, ipv6) =
        (address(&ipam.ipv4_address, "IPv4", &mut wrong), address(&ipam.ipv6_address, "IPv6", &mut wrong));
    let mut link_local = Vec::new();
    for text in &ipam.link_local_ips {
        match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) if !address.is_unspecified() => link_local.push(address),
            Ok(IpAddr::V6(address)) if !address.is_unspecified() => {
                return Err(Fault::unsupported(format!(
                    "the link-local IP address {address} cannot be given to a container: IPv6 is not supported"
                )));
            }
            _ => wrong.push(format!("invalid link-local IP address: {text}")),
        }
    }
    if !wrong.is_empty() {
        return Err(Fault::invalid(words::network::settings(named, &wrong.join("\n"))));
    }
    Ok(EndpointSpec {
        aliases: document.aliases.clone().unwrap_or_default(),
        ipv4,
        ipv6,
        mac_address: (!mac.is_empty()).then(|| mac.to_owned()),
        links: document.links.clone().unwrap_or_default(),
        options: document.driver_opts.clone().unwrap_or_default(),
        link_local,
        priority: document.gw_priority,
    })
}

/// The option that names the link inside.
const INTERFACE: &str = "com.docker.network.endpoint.ifname";

/// What networks here do not do.
fn refuse(document: &EndpointSettings) -> Result<(), Fault> {
    for (key, value) in document.driver_opts.iter().flatten() {
        if key == INTERFACE {
            if !names_interface(value) {
                return Err(Fault::invalid(format!("invalid interface name: {value:?}")));
            }
        } else if key.starts_with("com.docker.network.") {
            return Err(Fault::unsupported(format!(
                "the driver option \"{key}\" of an endpoint is not supported"
            )));
        }
    }
    Ok(())
}

/// Whether the kernel takes `text` as a link's name, whole.
fn names_interface(text: &str) -> bool {
    let fits = (1..16).contains(&text.len()) && !matches!(text, "." | "..");
    fits && !text.contains(|c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace() || c.is_control())
}

/// Whether `text` is six pairs of hexadecimal digits.
pub(crate) fn is_mac(text: &str) -> bool {
    let pairs: Vec<&str> = text.split([':', '-']).collect();
    pairs.len() == 6 && pairs.iter().all(|pair| pair.len() == 2 && u8::from_str_radix(pair, 16).is_ok())
}

/// Writes a container's place in a network.
pub(crate) fn settings(endpoint: &Endpoint) -> EndpointSettings {
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let text = |address: Option<String>| address.unwrap_or_default();
    EndpointSettings {
        ipam_config: ipam(&endpoint.spec),
        links: some(&endpoint.spec.links),
        aliases: some(&endpoint.spec.aliases),
        mac_address: endpoint.mac_address.clone(),
        driver_opts: (!endpoint.spec.options.is_empty()).then(|| endpoint.spec.options.clone()),
        gw_priority: endpoint.spec.priority,
        network_id: endpoint.network_id.clone(),
        endpoint_id: endpoint.endpoint_id.clone(),
        gateway: text(endpoint.gateway.map(|address| address.to_string())),
        ip_address: text(endpoint.ipv4.map(|net| net.addr().to_string())),
        ip_prefix_len: endpoint.ipv4.map(|net| net.prefix_len()).unwrap_or_default(),
        ipv6_gateway: text(endpoint.gateway_ipv6.map(|address| address.to_string())),
        global_ipv6_address: text(endpoint.ipv6.map(|net| net.addr().to_string())),
        global_ipv6_prefix_len: endpoint.ipv6.map(|net| net.prefix_len()).unwrap_or_default(),
        dns_names: some(&endpoint.names),
    }
}

/// Writes a container as a network lists it.
pub(crate) fn resource(endpoint: &Endpoint) -> EndpointResource {
    EndpointResource {
        name: endpoint.container_name.clone(),
        endpoint_id: endpoint.endpoint_id.clone(),
        mac_address: endpoint.mac_address.clone(),
        ipv4_address: endpoint.ipv4.map(|net| net.to_string()).unwrap_or_default(),
        ipv6_address: endpoint.ipv6.map(|net| net.to_string()).unwrap_or_default(),
    }
}

fn ipam(spec: &EndpointSpec) -> Option<EndpointIpam> {
    if spec.ipv4.is_none() && spec.ipv6.is_none() && spec.link_local.is_empty() {
        return None;
    }
    Some(EndpointIpam {
        ipv4_address: spec.ipv4.map(|address| address.to_string()).unwrap_or_default(),
        ipv6_address: spec.ipv6.map(|address| address.to_string()).unwrap_or_default(),
        link_local_ips: spec.link_local.iter().map(ToString::to_string).collect(),
    })
}

/// Reads an address, if there is one; what is none is told among what is `wrong`.
fn address<T: std::str::FromStr + Into<IpAddr> + Copy>(
    text: &str,
    family: &str,
    wrong: &mut Vec<String>,
) -> Option<T> {
    if text.is_empty() {
        return None;
    }
    let read = text.parse().ok().filter(|address: &T| !(*address).into().is_unspecified());
    if read.is_none() {
        wrong.push(format!("invalid {family} address: {text}"));
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(document: &str, expected: Result<&str, &str>) {
        let document: EndpointSettings = serde_json::from_str(document).expect("settings");
        let read = spec(&document, None).map(|spec| format!("{:?} {:?}", spec.ipv4, spec.mac_address));
        assert_eq!(read.map_err(|fault| fault.message), expected.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn wishes_are_read() {
        check(r#"{"IPAMConfig":{"IPv4Address":"10.1.2.3"}}"#, Ok("Some(10.1.2.3) None"));
        check(r#"{"MacAddress":"02:42:ac:11:00:02"}"#, Ok(r#"None Some("02:42:ac:11:00:02")"#));
        check(r#"{"IPAMConfig":null}"#, Ok("None None"));
    }

    #[test]
    fn what_no_network_here_does_is_refused() {
        check(
            r#"{"IPAMConfig":{"LinkLocalIPs":["fe80::1"]}}"#,
            Err("the link-local IP address fe80::1 cannot be given to a container: IPv6 is not supported"),
        );
        check(
            r#"{"DriverOpts":{"com.docker.network.endpoint.sysctls":"net.ipv4.conf.IFNAME.log_martians=1"}}"#,
            Err("the driver option \"com.docker.network.endpoint.sysctls\" of an endpoint is not supported"),
        );
    }

    #[test]
    fn a_link_has_a_name_that_the_kernel_takes() {
        for (name, fits) in [
            ("eth1", true),
            ("a.b-c_d", true),
            ("fifteen-letters", true),
            ("sixteen-letters-", false),
            ("", false),
            ("..", false),
            ("a b", false),
            ("a/b", false),
            ("eth%d", false),
            ("a:b", false),
        ] {
            let options = format!(r#"{{"DriverOpts":{{"{INTERFACE}":"{name}"}}}}"#);
            let message = format!("invalid interface name: {name:?}");
            check(&options, if fits { Ok("None None") } else { Err(message.as_str()) });
        }
    }

    #[test]
    fn impossible_addresses_are_refused() {
        check(
            r#"{"IPAMConfig":{"IPv4Address":"10.1","IPv6Address":"::","LinkLocalIPs":["x"]}}"#,
            Err(
                "invalid endpoint settings:\ninvalid IPv4 address: 10.1\ninvalid IPv6 address: ::\ninvalid link-local IP address: x",
            ),
        );
        check(r#"{"MacAddress":"02:42"}"#, Err("invalid MAC address: 02:42"));
    }
}
