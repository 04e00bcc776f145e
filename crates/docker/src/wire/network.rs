//! Documents about networks.

use super::Map;

wire! {
    /// The networks that a new container joins.
    pub(crate) struct NetworkingConfig {
        endpoints_config: Map<Option<EndpointSettings>>,
    }

    /// A container's place in one network.
    pub(crate) struct EndpointSettings {
        #[serde(rename = "IPAMConfig")]
        ipam_config: Option<EndpointIpam>,
        links: Option<Vec<String>>,
        aliases: Option<Vec<String>>,
        mac_address: String,
        driver_opts: Option<Map<String>>,
        gw_priority: i64,
        #[serde(rename = "NetworkID")]
        network_id: String,
        #[serde(rename = "EndpointID")]
        endpoint_id: String,
        gateway: String,
        #[serde(rename = "IPAddress")]
        ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        ip_prefix_len: u8,
        #[serde(rename = "IPv6Gateway")]
        ipv6_gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        global_ipv6_prefix_len: u8,
        #[serde(rename = "DNSNames")]
        dns_names: Option<Vec<String>>,
    }

    /// The addresses that an endpoint asked for.
    pub(crate) struct EndpointIpam {
        #[serde(rename = "IPv4Address", skip_serializing_if = "String::is_empty")]
        ipv4_address: String,
        #[serde(rename = "IPv6Address", skip_serializing_if = "String::is_empty")]
        ipv6_address: String,
        #[serde(rename = "LinkLocalIPs", skip_serializing_if = "Vec::is_empty")]
        link_local_ips: Vec<String>,
    }

    /// A network: the answer to `GET /networks/{id}`, an element of `GET /networks`.
    pub(crate) struct Network {
        name: String,
        id: String,
        created: String,
        scope: String,
        driver: String,
        #[serde(rename = "EnableIPv4")]
        enable_ipv4: bool,
        #[serde(rename = "EnableIPv6")]
        enable_ipv6: bool,
        #[serde(rename = "IPAM")]
        ipam: Ipam,
        internal: bool,
        attachable: bool,
        ingress: bool,
        config_from: ConfigFrom,
        config_only: bool,
        containers: Map<EndpointResource>,
        options: Map<String>,
        labels: Map<String>,
    }

    /// Whose configuration a network takes.
    pub(crate) struct ConfigFrom {
        network: String,
    }

    /// How a network's addresses are given out.
    pub(crate) struct Ipam {
        driver: String,
        options: Option<Map<String>>,
        config: Vec<IpamConfig>,
    }

    /// One subnet of a network.
    pub(crate) struct IpamConfig {
        #[serde(skip_serializing_if = "String::is_empty")]
        subnet: String,
        #[serde(rename = "IPRange", skip_serializing_if = "String::is_empty")]
        ip_range: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        gateway: String,
        #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "Map::is_empty")]
        auxiliary_addresses: Map<String>,
    }

    /// A container in a network.
    pub(crate) struct EndpointResource {
        name: String,
        #[serde(rename = "EndpointID")]
        endpoint_id: String,
        mac_address: String,
        #[serde(rename = "IPv4Address")]
        ipv4_address: String,
        #[serde(rename = "IPv6Address")]
        ipv6_address: String,
    }

    /// The body of `POST /networks/create`.
    pub(crate) struct Create {
        name: String,
        check_duplicate: bool,
        driver: String,
        scope: String,
        #[serde(rename = "EnableIPv4")]
        enable_ipv4: Option<bool>,
        #[serde(rename = "EnableIPv6")]
        enable_ipv6: Option<bool>,
        #[serde(rename = "IPAM")]
        ipam: Ipam,
        internal: bool,
        attachable: bool,
        ingress: bool,
        config_only: bool,
        config_from: Option<ConfigFrom>,
        options: Map<String>,
        labels: Map<String>,
    }

    /// The answer to it.
    pub(crate) struct Created {
        id: String,
        warning: String,
    }

    /// The body of `POST /networks/{id}/connect`.
    pub(crate) struct Connect {
        container: String,
        endpoint_config: Option<EndpointSettings>,
    }

    /// The body of `POST /networks/{id}/disconnect`.
    pub(crate) struct Disconnect {
        container: String,
        force: bool,
    }

    /// The answer to `POST /networks/prune`.
    pub(crate) struct Pruned {
        networks_deleted: Option<Vec<String>>,
    }
}
