//! Ids, limits, images and errors, from one side to the other.

use engine::Fact as EngineFact;
use engine::image::{Image, RegistryAuth};

use crate::runtime::{
    ContainerId, Credentials, Error, Fact, ImageStatus, Kind, PodSandboxId, Port, Resources,
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

pub(super) fn auth(credentials: Credentials) -> RegistryAuth {
    let Credentials { username, password, identity_token } = credentials;
    RegistryAuth { username, password, identity_token, ..RegistryAuth::default() }
}

pub(super) fn image(image: Image) -> ImageStatus {
    ImageStatus { tags: image.tags, digests: image.digests, size: image.size, user: image.config.user }
}
