//! A container's place in a network.

use engine::network::{Endpoint, EndpointSpec};

use crate::fault::Fault;
use crate::wire::network::{EndpointIpam, EndpointResource, EndpointSettings};

/// Reads what a container asks for in a network.
pub(crate) fn spec(document: &EndpointSettings) -> Result<EndpointSpec, Fault> {
    let ipam = document.ipam_config.clone().unwrap_or_default();
    let mac = document.mac_address.as_str();
    if !mac.is_empty() && !is_mac(mac) {
        return Err(Fault::invalid(format!("invalid MAC address: {mac}")));
    }
    refuse(document, &ipam)?;
    Ok(EndpointSpec {
        aliases: document.aliases.clone().unwrap_or_default(),
        ipv4: address(&ipam.ipv4_address, "IPv4")?,
        ipv6: address(&ipam.ipv6_address, "IPv6")?,
        mac_address: (!mac.is_empty()).then(|| mac.to_owned()),
        links: document.links.clone().unwrap_or_default(),
        options: document.driver_opts.clone().unwrap_or_default(),
    })
}

/// What networks here do not do.
fn refuse(document: &EndpointSettings, ipam: &EndpointIpam) -> Result<(), Fault> {
    if !ipam.ipv6_address.is_empty() {
        address::<std::net::Ipv6Addr>(&ipam.ipv6_address, "IPv6")?;
        return Err(Fault::unsupported(format!(
            "the address {} cannot be given to a container: IPv6 is not supported",
            ipam.ipv6_address
        )));
    }
    if let Some(address) = ipam.link_local_ips.first() {
        return Err(Fault::unsupported(format!(
            "the link-local IP address {address} cannot be given to a container: link-local addresses are not supported"
        )));
    }
    if let Some(key) = document
        .driver_opts
        .iter()
        .flatten()
        .map(|(key, _)| key)
        .find(|key| key.starts_with("com.docker.network."))
    {
        return Err(Fault::unsupported(format!(
            "the driver option \"{key}\" of an endpoint is not supported"
        )));
    }
    Ok(())
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
        gw_priority: 0,
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
    if spec.ipv4.is_none() && spec.ipv6.is_none() {
        return None;
    }
    Some(EndpointIpam {
        ipv4_address: spec.ipv4.map(|address| address.to_string()).unwrap_or_default(),
        ipv6_address: spec.ipv6.map(|address| address.to_string()).unwrap_or_default(),
        link_local_ips: Vec::new(),
    })
}

fn address<T: std::str::FromStr>(text: &str, family: &str) -> Result<Option<T>, Fault> {
    match text {
        "" => Ok(None),
        text => {
            text.parse().map(Some).map_err(|_| Fault::invalid(format!("invalid {family} address: {text}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(document: &str, expected: Result<&str, &str>) {
        let document: EndpointSettings = serde_json::from_str(document).expect("settings");
        let read = spec(&document).map(|spec| format!("{:?} {:?}", spec.ipv4, spec.mac_address));
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
            r#"{"IPAMConfig":{"IPv6Address":"fd00::2"}}"#,
            Err("the address fd00::2 cannot be given to a container: IPv6 is not supported"),
        );
        check(r#"{"IPAMConfig":{"IPv6Address":"x"}}"#, Err("invalid IPv6 address: x"));
        check(
            r#"{"IPAMConfig":{"LinkLocalIPs":["169.254.1.1"]}}"#,
            Err(
                "the link-local IP address 169.254.1.1 cannot be given to a container: link-local addresses are not supported",
            ),
        );
        check(
            r#"{"DriverOpts":{"com.docker.network.endpoint.sysctls":"net.ipv4.conf.IFNAME.log_martians=1"}}"#,
            Err("the driver option \"com.docker.network.endpoint.sysctls\" of an endpoint is not supported"),
        );
    }

    #[test]
    fn impossible_addresses_are_refused() {
        check(r#"{"IPAMConfig":{"IPv4Address":"10.1"}}"#, Err("invalid IPv4 address: 10.1"));
        check(r#"{"MacAddress":"02:42"}"#, Err("invalid MAC address: 02:42"));
    }
}
