//! Those of a container in a sandbox of its own, and where those of any are.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::{EtcFiles, Resolver, resolv};
use crate::container::{ContainerRecord, NetworkMode};
use crate::engine::Engine;
use crate::error::Result;
use crate::network::{DEFAULT, Endpoint};
use crate::registry::ContainerCell;
use crate::work::in_place;

impl Engine {
    /// The directory with the files that a container sees in its `/etc`.
    pub(crate) fn files_directory(&self, cell: &ContainerCell) -> Result<PathBuf> {
        if !cell.sandbox.is_of_one() {
            return Ok(self.inner.places.sandbox(&cell.sandbox.id));
        }
        match &cell.record().spec.namespaces.network {
            // What shares a network shares its names.
            NetworkMode::Container(other) => self.files_directory(&*self.inner.registry.get(other)?),
            _ => Ok(self.inner.places.container(&cell.id)),
        }
    }

    /// Writes the files of a container that is being started, with the networks that it is in.
    pub(crate) fn write_files(&self, cell: &ContainerCell, record: &ContainerRecord) -> Result<()> {
        let mut last = cell.files.lock();
        let etc = self.etc_of(cell, record)?;
        *last = Some(in_place(|| etc.write(&self.inner.places.container(&cell.id)))?);
        Ok(())
    }

    /// Has the files of a container that runs tell of the networks that it is in, and that `record` says it is to
    /// be in.
    pub(crate) fn update_files(&self, cell: &ContainerCell, record: &ContainerRecord) -> Result<()> {
        let mut last = cell.files.lock();
        let (etc, place) = (self.etc_of(cell, record)?, self.inner.places.container(&cell.id));
        // It is known of all that run, unless their networks could not be read.
        *last = Some(in_place(|| match &*last {
            Some(last) => etc.update(&place, last),
            None => etc.write(&place),
        })?);
        Ok(())
    }

    /// Has a container's `hosts` tell where those are that it is linked to; `record` is its own where none is given.
    pub(crate) fn update_hosts(&self, cell: &ContainerCell, record: Option<&ContainerRecord>) -> Result<()> {
        let mut last = cell.files.lock();
        let own = cell.record();
        let etc = self.etc_of(cell, record.unwrap_or(&own))?;
        let place = self.inner.places.container(&cell.id);
        *last = Some(in_place(|| match &*last {
            Some(last) => etc.update_hosts(&place, last),
            None => etc.write(&place),
        })?);
        Ok(())
    }

    /// Finds out what an earlier daemon has written into the files of the containers that run, so that it can be told
    /// from what others have written there.
    pub(crate) fn learn_files(&self) {
        for cell in self.inner.registry.all() {
            if !cell.status().is_active() || !cell.sandbox.is_of_one() {
                continue;
            }
            let mut last = cell.files.lock();
            if last.is_none() {
                *last = self.etc_of(&cell, &cell.record()).map(|etc| etc.texts()).ok();
            }
        }
    }

    /// What the files say that a container of its own sandbox sees in `/etc`.
    fn etc_of<'a>(&self, cell: &ContainerCell, record: &'a ContainerRecord) -> Result<EtcFiles<'a>> {
        let endpoints = cell.sandbox.live.read().endpoints.clone();
        let endpoints: Vec<(String, Endpoint)> = endpoints.into_iter().collect();
        let of_host = self.is_in_host_network(cell);
        // Of the first of its networks that leads to the host.
        let in_order =
            record.networks.iter().filter_map(|(name, _)| endpoints.iter().find(|(at, _)| at == name));
        let gateway = in_order.chain(&endpoints).find_map(|(_, at)| at.gateway);
        // Where none does it is called as everywhere else, and cannot be reached.
        let gateway = gateway.or_else(|| self.default_gateway().filter(|_| !of_host));
        let mut names = Vec::new();
        if let Some(domain) = record.spec.domainname.as_ref().filter(|domain| !domain.is_empty()) {
            names.push(format!("{}.{domain}", record.resolved.hostname));
        }
        names.push(record.resolved.hostname.clone());
        let addresses = endpoints.iter().filter_map(|(_, at)| at.ipv4).map(|net| IpAddr::V4(net.addr()));
        let resolver = if of_host {
            Resolver { conf: self.inner.network.resolv_conf_host(), knows_names: false }
        } else {
            self.resolver_of(record)?
        };
        let own = addresses.map(|address| (address, names.clone()));
        Ok(EtcFiles {
            hostname: record.resolved.hostname.clone(),
            own: own.chain(self.link_hosts(record)).collect(),
            hosts: &record.spec.extra_hosts,
            gateway: gateway.unwrap_or(Ipv4Addr::LOCALHOST),
            resolv: resolv(resolver, &record.spec.dns, &self.inner.config.dns),
            of_host,
        })
    }

    /// The host's address in the default network.
    fn default_gateway(&self) -> Option<Ipv4Addr> {
        let pools = self.inner.network.network_find(DEFAULT).ok()?.pools;
        pools.iter().find_map(|pool| match pool.gateway {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    /// Who is asked for names: the first network that knows its containers' names, else the first.
    fn resolver_of(&self, record: &ContainerRecord) -> Result<Resolver> {
        let network = &self.inner.network;
        let mut usual = None;
        for (name, _) in &record.networks {
            let id = network.network_find(name).map_err(crate::network::error)?.id;
            let resolver = Resolver { conf: network.resolv_conf(&id), knows_names: network.knows_names(&id) };
            if resolver.knows_names {
                return Ok(resolver);
            }
            usual.get_or_insert(resolver);
        }
        Ok(usual.unwrap_or_else(|| Resolver { conf: network.resolv_conf_outside(), knows_names: false }))
    }
}
