//! Documents about containers.

pub(crate) mod config;
pub(crate) mod host_config;
pub(crate) mod inspect;
pub(crate) mod mount;
pub(crate) mod small;
pub(crate) mod summary;

pub(crate) use config::{Config, Healthcheck};
pub(crate) use host_config::{HostConfig, LogConfig, PortBinding, Resources, RestartPolicy, Update};
pub(crate) use inspect::{Inspect, NetworkSettings, State};
pub(crate) use mount::{MountPoint, MountSpec};
pub(crate) use small::{Change, CreateResponse, Pruned, Top, Updated, WaitError, WaitResponse};
pub(crate) use summary::{Port, Summary};

use serde::{Deserialize, Serialize};

use crate::wire::network::NetworkingConfig;

/// The body of `POST /containers/create`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Create {
    #[serde(flatten)]
    pub(crate) config: Config,
    #[serde(rename = "HostConfig", default, deserialize_with = "crate::wire::null_is_default")]
    pub(crate) host_config: HostConfig,
    #[serde(rename = "NetworkingConfig", default, deserialize_with = "crate::wire::null_is_default")]
    pub(crate) networking_config: NetworkingConfig,
}
