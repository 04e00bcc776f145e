//! A container as a list shows it.

use base::Timestamp;
use engine::Container;
use engine::container::{ContainerSize, MountKind};

use super::{endpoint, host_config, inspect, namespaces, ports, status};
use crate::wire::container::Summary;
use crate::wire::container::summary::{SummaryHostConfig, SummaryNetworks};

/// One line of a list.
pub(crate) fn line(container: &Container, size: Option<ContainerSize>, now: Timestamp) -> Summary {
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    Summary {
        id: container.id.to_string(),
        names: [&container.name]
            .into_iter()
            .chain(&container.linked_as)
            .map(|name| format!("/{name}"))
            .collect(),
        image: container.spec.image.clone(),
        image_id: container.resolved.image_id.clone(),
        command: command(&container.resolved.args),
        created: container.created.as_second(),
        ports: ports::lines(ports::told(container)),
        size_rw: size.map(|size| bytes(size.writable)).filter(|&size| size > 0),
        size_root_fs: size.map(|size| bytes(size.root)),
        labels: container.resolved.labels.clone(),
        state: container.state.status.as_str().to_owned(),
        status: status::sentence(&container.state, now),
        host_config: SummaryHostConfig {
            network_mode: namespaces::network_text(&container.spec.namespaces.network),
            annotations: host_config::annotations(container),
        },
        network_settings: SummaryNetworks {
            networks: container
                .networks
                .iter()
                .map(|(name, place)| (name.clone(), endpoint::settings(place)))
                .collect(),
        },
        mounts: container
            .mounts
            .iter()
            .filter(|point| point.kind != MountKind::Tmpfs)
            .map(|point| inspect::mount(container, point))
            .collect(),
    }
}

/// The command line with quotes where a shell would need them.
fn command(args: &[String]) -> String {
    let quoted = args.iter().enumerate().map(|(position, word)| match position {
        0 => word.clone(),
        _ if word.contains(' ') => format!("'{word}'"),
        _ => word.clone(),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn words_with_blanks_are_quoted() {
        let words = ["sh", "-c", "echo hi"].map(str::to_owned);
        assert_eq!(command(&words), "sh -c 'echo hi'");
    }
}
