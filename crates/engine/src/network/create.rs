//! Making networks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::list::is_builtin_name;
use super::{AddressPool, Network, NetworkSpec, error};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::event::EventKind;
use crate::id::NetworkId;

impl Engine {
    /// Makes a network.
    pub async fn network_create(&self, spec: NetworkSpec) -> Result<Arc<Network>> {
        if !matches!(spec.driver.as_str(), "" | "bridge") {
            return Err(Error::not_found(format!(
                "could not resolve driver {0} in registry: plugin \"{0}\" not found",
                spec.driver
            )));
        }
        if spec.name.trim().is_empty() || spec.name.contains('/') {
            return Err(Error::invalid(format!("invalid network name: {}", spec.name)));
        }
        if is_builtin_name(&spec.name) {
            return Err(Error::new(
                Kind::Denied,
                format!("operation is not permitted on predefined {} network", spec.name),
            ));
        }
        let wanted = to_net(&spec)?;
        let made = self.inner.network.network_create(wanted).await.map_err(error)?;
        let attributes = BTreeMap::from([
            ("name".to_owned(), made.name.clone()),
            ("type".to_owned(), "bridge".to_owned()),
        ]);
        self.inner.events.emit(EventKind::Network, "create", made.id.as_str(), attributes);
        let id = NetworkId::parse(made.id.as_str())
            .map_err(|error| Error::internal("read a network's id").with_source(error))?;
        self.network_inspect(&id)
    }
}

fn to_net(spec: &NetworkSpec) -> Result<net::NetworkSpec> {
    let option = |key: &str| spec.options.get(key).map(String::as_str);
    let number = |key: &str| -> Result<Option<u32>> {
        let bad = |text: &str| Error::invalid(format!("invalid value for {key}: {text}"));
        option(key)
            .filter(|text| !text.is_empty())
            .map(|text| text.parse().map_err(|_| bad(text)))
            .transpose()
    };
    let is_off = |key| matches!(option(key), Some("0" | "f" | "F" | "FALSE" | "false" | "False"));
    let pool = |pool: &AddressPool| net::PoolSpec {
        subnet: pool.subnet.trunc(),
        range: pool.range,
        gateway: pool.gateway,
        reserved: pool.reserved.clone(),
    };
    Ok(net::NetworkSpec {
        name: spec.name.clone(),
        pools: spec.pools.iter().map(pool).collect(),
        internal: spec.internal,
        mtu: number("com.docker.network.driver.mtu")?,
        isolate_endpoints: is_off("com.docker.network.bridge.enable_icc"),
        no_masquerade: is_off("com.docker.network.bridge.enable_ip_masquerade"),
        bridge: option("com.docker.network.bridge.name").map(str::to_owned),
        host_address: option("com.docker.network.bridge.host_binding_ipv4")
            .and_then(|text| text.parse().ok()),
        options: spec.options.clone(),
        labels: spec.labels.clone(),
    })
}
