//! Listing containers.

use std::sync::Arc;

use base::Timestamp;

use super::spec::Port;
use super::view::{Container, ContainerFilter, PublishedPort, Status};
use crate::engine::Engine;
use crate::error::Result;
use crate::filter;
use crate::registry::Among;

impl Engine {
    /// The containers that `filter` lets through, newest first.
    pub fn container_list(&self, filter: &ContainerFilter) -> Result<Vec<Arc<Container>>> {
        let created = |reference: &Option<String>| -> Result<Option<Timestamp>> {
            match reference {
                Some(reference) => {
                    let id = self.inner.registry.find(reference)?;
                    Ok(Some(self.inner.registry.get(&id)?.record().created))
                }
                None => Ok(None),
            }
        };
        let bounds = Bounds {
            before: created(&filter.before)?,
            since: created(&filter.since)?,
            ancestors: filter.ancestors.iter().flat_map(|name| self.ancestors(name)).collect(),
        };
        let among = Among { sandbox: filter.sandbox.as_ref(), labels: &filter.labels };
        let mut cells = self.inner.registry.among(among);
        cells.retain(|cell| !cell.is_hidden());
        cells.sort_by_cached_key(|cell| std::cmp::Reverse((cell.record().created, cell.id.clone())));
        let views =
            cells.iter().map(|cell| Arc::new(self.view(cell))).filter(|view| admits(filter, &bounds, view));
        Ok(match filter.limit {
            Some(limit) => views.take(limit).collect(),
            None => views.collect(),
        })
    }

    /// The ids of the images that `name` stands for; `name` itself where there are none, for
    /// containers whose image is gone.
    fn ancestors(&self, name: &str) -> Vec<String> {
        match self.inner.images.image_get(name) {
            Ok(image) => vec![image.id.to_string(), name.to_owned()],
            Err(_) => vec![name.to_owned()],
        }
    }
}

/// What was looked up before the containers are looked through.
struct Bounds {
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    ancestors: Vec<String>,
}

fn admits(filter: &ContainerFilter, bounds: &Bounds, view: &Container) -> bool {
    let status = view.state.status;
    let shown = filter.all
        || filter.limit.is_some()
        || !filter.statuses.is_empty()
        || !filter.exit_codes.is_empty()
        || status.is_active()
        || status == Status::Restarting;
    let health = match &view.state.health {
        Some(health) => health.status.as_str(),
        None => "none",
    };
    let named = |wanted: &[String], names: &dyn Fn(&str) -> bool| {
        wanted.is_empty() || wanted.iter().any(|one| names(one))
    };
    // One of the host's, or one of the container's own.
    let published = |wanted: &String| {
        let host =
            |port: &PublishedPort| port.host.map(|host| Port { number: host.port(), ..port.container });
        view.ports.iter().filter_map(host).any(|port| port_matches(wanted, port))
    };
    let exposed = |wanted: &String| view.ports.iter().any(|port| port_matches(wanted, port.container));
    let has_port = filter.published.is_empty() && filter.exposed.is_empty()
        || filter.published.iter().any(published)
        || filter.exposed.iter().any(exposed);
    shown
        && filter::id_matches(&filter.ids, view.id.as_str())
        && (filter::name_matches(&filter.names, &view.name)
            || view.linked_as.iter().any(|name| filter::name_matches(&filter.names, name)))
        && filter::labels_match(&filter.labels, &view.resolved.labels)
        && (filter.statuses.is_empty() || filter.statuses.contains(&status))
        && (filter.exit_codes.is_empty()
            || (status == Status::Exited && filter.exit_codes.contains(&view.state.exit_code)))
        && (bounds.ancestors.is_empty()
            || bounds.ancestors.iter().any(|one| *one == view.resolved.image_id || *one == view.spec.image))
        && named(&filter.volumes, &|wanted| {
            view.mounts.iter().any(|point| point.volume.as_deref() == Some(wanted) || point.target == wanted)
        })
        && named(&filter.networks, &|wanted| {
            view.networks
                .iter()
                .any(|(name, endpoint)| name == wanted || endpoint.network_id.starts_with(wanted))
        })
        && named(&filter.health, &|wanted| wanted == health)
        && has_port
        && filter.sandbox.as_ref().is_none_or(|sandbox| *sandbox == view.sandbox)
        && bounds.before.is_none_or(|before| view.created < before)
        && bounds.since.is_none_or(|since| view.created > since)
}

/// Whether `port` is one of `wanted`: `80`, `80/udp`, `80-90/tcp`.
fn port_matches(wanted: &str, port: Port) -> bool {
    let (numbers, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else { return false };
    protocol == port.protocol.as_str() && (first..=last).contains(&port.number)
}
