//! One line of a list of containers.

use super::mount::MountPoint;
use crate::wire::Map;
use crate::wire::network::EndpointSettings;

wire! {
    /// An element of `GET /containers/json`.
    pub(crate) struct Summary {
        id: String,
        names: Vec<String>,
        image: String,
        #[serde(rename = "ImageID")]
        image_id: String,
        command: String,
        created: i64,
        ports: Vec<Port>,
        #[serde(skip_serializing_if = "Option::is_none")]
        size_rw: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        size_root_fs: Option<i64>,
        labels: Map<String>,
        state: String,
        status: String,
        host_config: SummaryHostConfig,
        network_settings: SummaryNetworks,
        mounts: Vec<MountPoint>,
    }

    /// A port that a container exposes, and where it is published.
    pub(crate) struct Port {
        #[serde(rename = "IP", skip_serializing_if = "String::is_empty")]
        ip: String,
        private_port: u16,
        #[serde(skip_serializing_if = "crate::wire::is_zero")]
        public_port: u16,
        #[serde(rename = "Type")]
        kind: String,
    }

    /// The little that a list says of the host's side.
    pub(crate) struct SummaryHostConfig {
        network_mode: String,
        #[serde(skip_serializing_if = "Map::is_empty")]
        annotations: Map<String>,
    }

    /// The networks of a container in a list.
    pub(crate) struct SummaryNetworks {
        networks: Map<EndpointSettings>,
    }
}
