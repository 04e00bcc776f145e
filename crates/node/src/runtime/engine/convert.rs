//! Ids, limits, images and errors, from one side to the other.

use engine::Fact as EngineFact;
use engine::image::{Image, RegistryAuth};

use crate::runtime::{
    ContainerId, Credentials, Error, Fact, GroupUsage, ImageStatus, Kind, PodSandboxId, Port, Resources,
    Traffic, Usage,
};

/// What the engine says, in what the node acts on.
pub(super) fn error(said: engine::Error) -> Error {
    use engine::Kind as Said;
    let kind = match said.kind() {
        Said::NotFound => Kind::NotFound,
        Said::NotModified => Kind::Unchanged,
        Said::Invalid => Kind::Invalid,
        Said::Conflict
        | Said::Denied
        | Said::Unauthorized
        | Said::Unavailable
        | Said::NoSpace
        | Said::Unsupported
        | Said::Internal => Kind::Failed,
    };
    let fact = match said.fact() {
        Some(EngineFact::NoImage { reference }) => Some(Fact::NoImage { reference: reference.clone() }),
        Some(EngineFact::NoManifest { reference }) => Some(Fact::NoManifest { reference: reference.clone() }),
        Some(EngineFact::PullDenied { repository }) => {
            Some(Fact::PullDenied { repository: repository.clone() })
        }
        _ => None,
    };
    Error::new(kind, fact, said)
}

pub(super) fn to_container_id(id: &ContainerId) -> Result<engine::ContainerId, Error> {
    engine::ContainerId::parse(&id.0).map_err(|none| Error::new(Kind::NotFound, None, none))
}

pub(super) fn to_sandbox_id(id: &PodSandboxId) -> Result<engine::SandboxId, Error> {
    engine::SandboxId::parse(&id.0).map_err(|none| Error::new(Kind::NotFound, None, none))
}

pub(super) fn port(port: Port) -> engine::container::Port {
    use engine::container::Protocol;
    let protocol = match port.protocol {
        net::Protocol::Tcp => Protocol::Tcp,
        net::Protocol::Udp => Protocol::Udp,
        net::Protocol::Sctp => Protocol::Sctp,
    };
    engine::container::Port { number: port.number, protocol }
}

pub(super) fn resources(resources: Resources) -> engine::container::Resources {
    let Resources { memory, memory_swap, cpu_shares, cpu_quota, cpu_period, pids, oom_score_adj, oom_group } =
        resources;
    engine::container::Resources {
        memory,
        memory_swap,
        cpu_shares,
        cpu_quota,
        cpu_period,
        pids,
        oom_score_adj,
        oom_group,
        ..engine::container::Resources::default()
    }
}

/// Limits in the node's words: those that it sets itself.
pub(super) fn limits(resources: &engine::container::Resources) -> Resources {
    Resources {
        memory: resources.memory,
        memory_swap: resources.memory_swap,
        cpu_shares: resources.cpu_shares,
        cpu_quota: resources.cpu_quota,
        cpu_period: resources.cpu_period,
        pids: resources.pids,
        oom_score_adj: resources.oom_score_adj,
        oom_group: resources.oom_group,
    }
}

pub(super) fn usage(stats: &engine::container::Stats) -> Usage {
    let detail = |names: [&str; 2]| {
        // What all below take too is told by a name of its own on cgroup v1.
        let found = names.iter().find_map(|name| stats.memory.details.get(*name));
        found.copied().unwrap_or(0)
    };
    let rss = match stats.memory.details.get("anon") {
        Some(anon) => *anon,
        None => detail(["total_rss", "rss"]),
    };
    Usage {
        at: stats.read,
        cpu: stats.cpu.total,
        memory: stats.memory.usage,
        working_set: stats.memory.usage.saturating_sub(stats.memory.inactive_file),
        rss,
        page_faults: detail(["total_pgfault", "pgfault"]),
        major_page_faults: detail(["total_pgmajfault", "pgmajfault"]),
        swap: stats.memory.swap,
        pids: stats.pids.current,
    }
}

pub(super) fn group_usage(found: engine::sandbox::GroupUsage) -> GroupUsage {
    let traffic = |stats: &engine::container::NetworkStats| Traffic {
        rx_bytes: stats.rx_bytes,
        rx_errors: stats.rx_errors,
        tx_bytes: stats.tx_bytes,
        tx_errors: stats.tx_errors,
    };
    GroupUsage {
        usage: usage(&found.stats),
        memory_limit: found.memory_limit,
        cpu_quota: found.cpu_quota,
        networks: found.stats.networks.iter().map(|(name, stats)| (name.clone(), traffic(stats))).collect(),
    }
}

pub(super) fn auth(credentials: Credentials) -> RegistryAuth {
    let Credentials { username, password, identity_token } = credentials;
    RegistryAuth { username, password, identity_token, ..RegistryAuth::default() }
}

pub(super) fn image(image: Image) -> ImageStatus {
    ImageStatus { tags: image.tags, digests: image.digests, size: image.size, user: image.config.user }
}
