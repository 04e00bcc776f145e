//! Telling which networks and volumes a container comes to when it starts, and leaves when it ends.

use std::collections::BTreeMap;

use super::spec::NetworkMode;
use super::view::{MountKind, MountPoint};
use crate::engine::Engine;
use crate::event::EventKind;
use crate::registry::ContainerCell;

/// What a container has while it runs.
pub(crate) struct Belongings {
    /// Networks: id, name, driver.
    networks: Vec<(String, String, &'static str)>,
    volumes: Vec<MountPoint>,
}

impl Engine {
    /// What a container that runs has of networks and volumes. One of a sandbox of several has no networks of its own.
    pub(crate) fn belongings(&self, cell: &ContainerCell) -> Belongings {
        let record = cell.record();
        let none = |name: &str, driver| {
            vec![(self.without_bridge(name, driver).id.to_string(), name.to_owned(), driver)]
        };
        let networks = match record.spec.namespaces.network {
            _ if !cell.sandbox.is_of_one() => Vec::new(),
            NetworkMode::Host => none("host", "host"),
            NetworkMode::None => none("none", "null"),
            _ => {
                let live = cell.sandbox.live.read();
                let network = |(name, endpoint): (&String, &crate::network::Endpoint)| {
                    (endpoint.network_id.clone(), name.clone(), "bridge")
                };
                live.endpoints.iter().map(network).collect()
            }
        };
        let volumes = record.mounts.iter().filter(|point| point.kind == MountKind::Volume).cloned().collect();
        Belongings { networks, volumes }
    }

    /// Tells that a container has come to all of it. Whatever becomes of that, it runs.
    pub(crate) fn tell_arrival(&self, cell: &ContainerCell, belongings: &Belongings) {
        let told = base::panics::catch(|| {
            for (id, name, driver) in &belongings.networks {
                self.emit_network_of("connect", id, name, driver, cell);
            }
            for point in &belongings.volumes {
                let more = [
                    ("destination", point.target.clone()),
                    ("read/write", point.writable.to_string()),
                    ("propagation", point.propagation.clone()),
                ];
                self.emit_mount("mount", point, cell, &more);
            }
        });
        note_panic(cell, told);
    }

    /// Tells that it has left all of it. Whatever becomes of that, it has ended.
    pub(crate) fn tell_departure(&self, cell: &ContainerCell, belongings: &Belongings) {
        let told = base::panics::catch(|| {
            for (id, name, driver) in &belongings.networks {
                self.emit_network_of("disconnect", id, name, driver, cell);
            }
            for point in &belongings.volumes {
                self.emit_mount("unmount", point, cell, &[]);
            }
        });
        note_panic(cell, told);
    }

    fn emit_mount(
        &self,
        action: &'static str,
        point: &MountPoint,
        cell: &ContainerCell,
        more: &[(&str, String)],
    ) {
        let Some(name) = &point.volume else { return };
        let mut attributes = BTreeMap::from([
            ("driver".to_owned(), point.driver.clone().unwrap_or_else(|| "local".to_owned())),
            ("container".to_owned(), cell.id.to_string()),
        ]);
        attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.inner.events.emit(EventKind::Volume, action, name, attributes);
    }

    /// Tells that what is not used of a kind of things was removed.
    pub fn tell_prune(&self, kind: EventKind, reclaimed: u64) {
        let attributes = BTreeMap::from([("reclaimed".to_owned(), reclaimed.to_string())]);
        self.inner.events.emit(kind, "prune", "", attributes);
    }
}

fn note_panic(cell: &ContainerCell, told: Result<(), base::panics::Panic>) {
    if let Err(panic) = told {
        tracing::error!(container = %cell.id, %panic, "telling what a container has come to or left panicked");
    }
}
